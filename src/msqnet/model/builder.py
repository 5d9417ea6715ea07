"""New models from pretrained parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from msqnet.errors import ConfigError
from msqnet.model.configuration import LiteConfig, MSQNetConfig, TimesformerConfig
from msqnet.model.efficientnet_lite import load_published_state_dict, pretrained_state_dict
from msqnet.model.loading import check_loaded
from msqnet.model.msqnet import MSQNet
from msqnet.model.query_encoders.clip import ClipImageEncoder, clip_text_embeddings
from msqnet.model.query_encoders.minilm import minilm_text_embeddings
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder

if TYPE_CHECKING:
    from msqnet.config import ArchConfig, ClipConfig
    from msqnet.labels import LabelSet

_RANDOM = "random"
_NONE = "none"
_RANDOM_LABEL_WIDTH = 512


def label_embeddings(text_encoder: str, labels: LabelSet) -> torch.Tensor | None:
    """(K, D_t) embeddings of the label names, or None for random queries.

    Args:
        text_encoder: ``minilm``, ``random``, or a CLIP hub id or folder.
        labels: the names; underscores are read as spaces.
    """
    if text_encoder == _RANDOM:
        return None
    if text_encoder == "minilm":
        return minilm_text_embeddings(labels.prompts)
    return clip_text_embeddings(text_encoder, labels.prompts)


def _video_part(arch: ArchConfig, clip: ClipConfig) -> tuple[Any, dict[str, torch.Tensor] | None]:
    """Configuration of the video encoder, and its pretrained weights where they are wanted."""
    num_frames = clip.num_frames
    if arch.video_encoder == "lite":
        config = LiteConfig(
            image_size=clip.size_pixels, num_frames=num_frames, num_looks=2 if clip.closeup else 1
        )
        return config, None
    if arch.video_weights == _RANDOM:
        return TimesformerConfig(image_size=clip.size_pixels, num_frames=num_frames), None
    encoder = TimesformerVideoEncoder.from_pretrained(
        str(arch.video_weights), num_frames, clip.size_pixels
    )
    return encoder.config, encoder.state_dict()


def new_model(
    arch: ArchConfig, clip: ClipConfig, labels: LabelSet, *, task: str = "multi_label"
) -> MSQNet:
    """A model ready to be trained: pretrained encoders, text-initialised queries, the rest random.

    Args:
        arch: every field set (see `msqnet.training.recipes`).
        clip: how frames become a model input.
        labels: the K labels to score.
        task: "multi_label" or "single_label".

    Raises:
        ConfigError: settings that do not fit each other.
        CheckpointError: pretrained weights that cannot be loaded whole.
        MissingExtra: parts of ``msqnet[lite]`` that are not installed.
    """
    is_lite = arch.video_encoder == "lite"
    if clip.closeup and not is_lite:
        raise ConfigError("closeup needs the lite video encoder; set arch.closeup to false")
    if is_lite and arch.image_encoder not in (_NONE, None):
        raise ConfigError("the lite video encoder is its own image encoder; set it to none")
    clip = replace(clip, num_frames=arch.num_frames or clip.num_frames)
    text = label_embeddings(str(arch.text_encoder), labels)
    video_config, video_weights = _video_part(arch, clip)
    image = None
    if not is_lite and arch.image_encoder not in (_NONE, None):
        image = ClipImageEncoder.from_pretrained(str(arch.image_encoder))
    video_query = "trunk" if is_lite else ("image" if image is not None else "none")
    model = MSQNet(
        MSQNetConfig(
            video_encoder=video_config,
            image_encoder=None if image is None else image.config,
            labels=list(labels),
            task=task,
            video_query=video_query,
            video_query_to_scores=is_lite,
            label_width=_RANDOM_LABEL_WIDTH if text is None else text.shape[1],
            width=arch.width,
            decoder_layers=arch.decoder_layers,
            decoder_heads=arch.decoder_heads,
            decoder_feedforward=arch.decoder_feedforward,
            dropout=arch.dropout,
            video_query_dropout=0.5 if is_lite else 0.0,
            query_positions=arch.query_positions,
            clip=clip.to_dict(),
        )
    )
    with torch.no_grad():
        if text is not None:
            model.query_encoder.label_embeddings.copy_(text)
        if video_weights is not None:
            model.video_encoder.load_state_dict(video_weights)
        if image is not None and model.image_encoder is not None:
            model.image_encoder.load_state_dict(image.state_dict())
    if is_lite and arch.video_weights != _RANDOM:
        load_published_state_dict(model.video_encoder.trunk.network, pretrained_state_dict())
    check_loaded(model, "the new model")
    return model


def transfer(source: MSQNet, target: MSQNet) -> tuple[list[str], list[str]]:
    """Copy everything but the label-bound rows; those for labels of the same name.

    Args:
        source: a trained model.
        target: a new one of the same sizes, for other labels.

    Returns:
        The labels whose rows were kept, and those that start anew.

    Raises:
        ConfigError: a tensor that is not bound to labels has another shape.
    """
    kept = [name for name in target.config.label_set if name in source.config.label_set]
    new = [name for name in target.config.label_set if name not in source.config.label_set]
    from_rows = source.config.label_set.indices(kept)
    to_rows = target.config.label_set.indices(kept)
    weights = source.state_dict()
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            if name not in weights:
                raise ConfigError(f"the model to start from has no {name}; are its sizes others?")
            if name in _LABEL_BOUND:
                tensor[to_rows] = weights[name][from_rows]
            elif tensor.shape == weights[name].shape:
                tensor.copy_(weights[name])
            else:
                raise ConfigError(
                    f"{name}: found {tuple(weights[name].shape)} in the model to start from, "
                    f"expected {tuple(tensor.shape)}; use the same architecture settings"
                )
    return kept, new


_LABEL_BOUND = frozenset(
    {
        "query_encoder.label_embeddings",
        "decoder.query_positions.weight",
        "head.weight",
        "head.bias",
        "query_head.weight",
        "query_head.bias",
    }
)
