"""New models from pretrained parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from msqnet.errors import CheckpointError, ConfigError
from msqnet.model.configuration import LiteConfig, MSQNetConfig
from msqnet.model.loading import check_loaded
from msqnet.model.msqnet import MSQNet
from msqnet.model.query_encoders import load_text_encoder, text_encoder_licence
from msqnet.model.query_encoders.checkpoint import model_type_of
from msqnet.model.query_encoders.clip import PIXEL_MEAN as CLIP_MEAN
from msqnet.model.query_encoders.clip import PIXEL_STD as CLIP_STD
from msqnet.model.query_encoders.clip import ClipImageEncoder
from msqnet.model.query_encoders.siglip import SiglipImageEncoder
from msqnet.model.query_encoders.text_encoder import embed_labels
from msqnet.model.video_encoders import video_encoder_class
from msqnet.model.video_encoders.lite import LiteVideoEncoder
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.prompts import prompts_of, read_label_table

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import ArchConfig, ClipConfig
    from msqnet.labels import LabelSet
    from msqnet.model.query_encoders.image_encoder import ImageEncoder
    from msqnet.model.query_encoders.text_encoder import Embedding, TextEncoder
    from msqnet.model.video_encoders.encoder import VideoEncoder

_RANDOM = "random"
RANDOM_LABEL_WIDTH = 512
"""Width of label queries that start from no text: the paper's D."""


def text_encoder_of(arch: ArchConfig) -> TextEncoder | None:
    """The text encoder that label queries start from; None for random queries.

    Raises:
        CheckpointError: it is absent, incomplete or damaged.
        ConfigError: no such kind.
    """
    if arch.text_encoder == _RANDOM:
        return None
    return load_text_encoder(arch.text_encoder, embedding=arch.embedding)


def label_embeddings(encoder: TextEncoder, arch: ArchConfig, labels: LabelSet) -> torch.Tensor:
    """(K, D_t) embeddings of labels.

    Args:
        encoder: see `text_encoder_of`.
        arch: says how the text of a label is made.
        labels: the names; underscores are read as spaces.
    """
    texts = None if arch.label_table is None else read_label_table(arch.label_table)
    return embed_labels(encoder, prompts_of(labels, arch.prompts, texts))


def image_encoder_of(arch: ArchConfig) -> ImageEncoder | None:
    """The frozen encoder behind the video query, where there is one.

    Raises:
        CheckpointError: it is absent, incomplete, damaged or no image encoder.
    """
    if arch.video_query != "image":
        return None
    return load_image_encoder(arch.image_encoder, arch.embedding)


def load_image_encoder(name_or_folder: str | Path, embedding: Embedding) -> ImageEncoder:
    """The frozen image encoder in a checkpoint, whose ``config.json`` tells its kind.

    Args:
        name_or_folder: hub id or folder, of a CLIP or SigLIP.
        embedding: as for `load_text_encoder`.

    Raises:
        CheckpointError: it is absent, incomplete, damaged or no image encoder.
    """
    kind = model_type_of(name_or_folder)
    loader: type[ImageEncoder] = SiglipImageEncoder if "siglip" in kind else ClipImageEncoder
    return loader.from_pretrained(name_or_folder, projected=embedding == "projected")


def _lite_encoder(arch: ArchConfig, clip: ClipConfig) -> VideoEncoder:
    encoder = LiteVideoEncoder(
        LiteConfig(
            image_size=clip.size_pixels,
            num_frames=clip.num_frames,
            num_looks=2 if clip.closeup else 1,
            grid_size=arch.encoder_grid,
            hidden_size=arch.encoder_width,
            intermediate_size=2 * arch.encoder_width,
        )
    )
    if arch.video_weights != _RANDOM:
        encoder.load_trunk(arch.video_weights)
    return encoder


def new_video_encoder(arch: ArchConfig, clip: ClipConfig) -> VideoEncoder:
    """The video encoder of a new model, with its pretrained weights where they are wanted.

    Args:
        arch: which encoder and which weights.
        clip: how frames become a model input.

    Raises:
        ConfigError: settings that the encoder does not have.
        CheckpointError: weights that cannot be loaded whole.
    """
    if arch.video_encoder == "lite":
        if arch.pixel_statistics != "own":
            raise ConfigError("pixel_statistics clip: the lite encoder has its own only")
        return _lite_encoder(arch, clip)
    kind = video_encoder_class(arch.video_encoder)
    if not arch.video_weights:
        raise ConfigError(
            f"no hub holds official weights of {arch.video_encoder}: give a checkpoint file as "
            "--arch.video_weights, or 'random' to train from nothing"
        )
    if arch.video_weights == _RANDOM:
        build: Any = kind
        encoder: VideoEncoder = build(kind.default_config(clip.num_frames, clip.size_pixels))
    else:
        encoder = _pretrained_encoder(kind, arch, clip)
    if arch.pixel_statistics == "clip":
        encoder.pixel_mean.copy_(torch.tensor(CLIP_MEAN).view(-1, 1, 1))
        encoder.pixel_std.copy_(torch.tensor(CLIP_STD).view(-1, 1, 1))
    return encoder


def _pretrained_encoder(
    kind: type[VideoEncoder], arch: ArchConfig, clip: ClipConfig
) -> VideoEncoder:
    if issubclass(kind, TimesformerVideoEncoder):
        return kind.from_pretrained(
            arch.video_weights,
            clip.num_frames,
            clip.size_pixels,
            time_embeddings=arch.time_embeddings,
        )
    return kind.from_pretrained(arch.video_weights, clip.num_frames, clip.size_pixels)


def new_model(
    arch: ArchConfig, clip: ClipConfig, labels: LabelSet, *, task: str = "multi_label"
) -> MSQNet:
    """A model ready to be trained: pretrained encoders, text-initialised queries, the rest random.

    Args:
        arch: see `msqnet.training.recipes` for settings that go together.
        clip: how frames become a model input; frames, size and close-up are those of ``arch``.
        labels: the K labels to score.
        task: "multi_label" or "single_label".

    Raises:
        ConfigError: settings that do not fit each other.
        CheckpointError: pretrained weights that cannot be loaded whole.
        MissingExtra: parts of ``msqnet[lite]`` that are not installed.
    """
    clip = clip_settings(arch, clip)
    encoder = text_encoder_of(arch)
    text = None if encoder is None else label_embeddings(encoder, arch, labels)
    video = new_video_encoder(arch, clip)
    image = image_encoder_of(arch)
    config = model_config(
        arch,
        clip,
        labels,
        task=task,
        video_encoder=video.config,
        image_encoder=None if image is None else image.config,
        text_encoder=None if encoder is None else encoder.source,
        label_width=RANDOM_LABEL_WIDTH if text is None else text.shape[1],
    )
    return assembled_model(config, video, image, text)


def assembled_model(
    config: MSQNetConfig,
    video: VideoEncoder,
    image: ImageEncoder | None,
    text: torch.Tensor | None,
) -> MSQNet:
    """A new model with copies of pretrained weights, the rest random.

    Args:
        config: of the model; its encoders are those given here.
        video: the video encoder.
        image: the one behind the video query, where there is one.
        text: (K, D_t) float, what label queries start from; None for random ones.

    Raises:
        CheckpointError: a weight that is not finite.
    """
    model = MSQNet(config)
    with torch.no_grad():
        if text is not None:
            model.query_encoder.label_embeddings.copy_(text)
        model.video_encoder.load_state_dict(video.state_dict())
        if image is not None:
            model.image_encoder.load_state_dict(image.state_dict())
    check_loaded(model, "the new model")
    return model


def model_config(
    arch: ArchConfig, clip: ClipConfig, labels: LabelSet, *, task: str, **encoders: Any
) -> MSQNetConfig:
    """The configuration of a new model, apart from what its pretrained parts bring along.

    Args:
        arch: as for `new_model`.
        clip: likewise.
        labels: the K labels to score.
        task: "multi_label" or "single_label".
        encoders: what `MSQNetConfig` calls ``video_encoder``, ``image_encoder``, ``text_encoder``
            and ``label_width``.

    Raises:
        ConfigError: settings that do not fit each other.
    """
    return MSQNetConfig(
        labels=list(labels),
        task=task,
        clip=clip_settings(arch, clip).to_dict(),
        **encoders,
        **_method_settings(arch),
    )


def licences_of(arch: ArchConfig) -> list[str]:
    """Licences of the published weights that a new model starts from, one line each."""
    lines = []
    if arch.video_weights != _RANDOM:
        lines.append(_video_licence(arch))
    if arch.video_query == "image":
        kind = _type_if_known(arch.image_encoder)
        lines.append((SiglipImageEncoder if "siglip" in kind else ClipImageEncoder).licence)
    if arch.text_encoder != _RANDOM:
        lines.append(text_encoder_licence(arch.text_encoder))
    return list(dict.fromkeys(lines))


def _type_if_known(name_or_folder: str) -> str:
    """The ``model_type`` of a checkpoint; its name where the checkpoint cannot be reached."""
    try:
        return model_type_of(name_or_folder)
    except CheckpointError:
        return name_or_folder.lower()


def _video_licence(arch: ArchConfig) -> str:
    if arch.video_encoder == "vit":
        # Imports a class of transformers for each family.
        from msqnet.model.video_encoders.vit import IMAGE_ENCODER_KINDS

        found = _type_if_known(arch.video_weights)
        for kind in IMAGE_ENCODER_KINDS.values():
            if found in kind.checkpoint_types:
                return kind.licence
    return video_encoder_class(arch.video_encoder).licence


def clip_settings(arch: ArchConfig, clip: ClipConfig) -> ClipConfig:
    """Clip settings with the frames, size and close-up of an architecture."""
    return resized_clip(clip, arch.num_frames, arch.size_pixels, closeup=arch.closeup)


def resized_clip(
    clip: ClipConfig, num_frames: int, size_pixels: int, *, closeup: bool
) -> ClipConfig:
    """Clip settings of another size, their short sides in proportion."""
    return replace(
        clip,
        num_frames=num_frames,
        size_pixels=size_pixels,
        short_side_pixels=clip.short_side_pixels * size_pixels // clip.size_pixels,
        decode_short_side_pixels=clip.decode_short_side_pixels * size_pixels // clip.size_pixels,
        closeup=closeup,
    )


def _method_settings(arch: ArchConfig) -> dict[str, Any]:
    """What the model's configuration takes over from the architecture under the same name."""
    same = (
        *("frame_pooling", "prompts", "learn_label_queries", "width"),
        *("memory_encoder_layers", "memory_positions", "query_positions", "query_attention"),
        *("decoder_layers", "decoder_heads", "decoder_feedforward", "dropout"),
        *("final_norms", "head"),
    )
    return {
        **{name: getattr(arch, name) for name in same},
        **query_settings(arch.video_query),
        "image_embedding": arch.embedding,
        "video_query_to_scores": arch.direct_path,
    }


def query_settings(video_query: str) -> dict[str, Any]:
    """Settings of `MSQNetConfig` that go with the video query."""
    is_trunk = video_query == "trunk"
    return {
        "video_query": video_query,
        "video_query_to_scores": is_trunk,
        # The trunk's statistics are thousands of numbers; a clip is a handful of frames.
        "video_query_dropout": 0.5 if is_trunk else 0.0,
    }


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
