"""From settings to models: the parts of a configuration, new models, models with other labels."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.config import ArchConfig, ClipConfig
from msqnet.errors import CheckpointError, check
from msqnet.labels import LabelSet
from msqnet.model.attention import attention_if_available
from msqnet.model.audio_encoders import (
    NO_ENCODER,
    AudioEncoder,
    audio_encoder_licence,
    build_audio_encoder,
    load_audio_encoder,
    sound_settings,
)
from msqnet.model.checkpoints import check_loaded, model_type_of
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.image_encoders import (
    IMAGE_ENCODERS,
    ImageEncoder,
    image_encoder_licence,
    load_image_encoder,
)
from msqnet.model.registry import (
    VIDEO_ENCODERS,
    check_encoder_settings,
    class_for_config,
    encoder_spec,
)
from msqnet.model.video_encoders.encoder import CLIP_STATISTICS, RANDOM, VideoEncoder
from msqnet.prompts import NAME_ONLY, prompts_of, read_label_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msqnet.model.pretrained import MSQNet
    from msqnet.model.text_encoders import Embedding, TextEncoder

RANDOM_LABEL_WIDTH = 512
"""Width of label queries that start from no text: the paper's D."""

_ENCODERS = ("video_encoder", "image_encoder", "audio_encoder", "text_encoder")
_SAME_IN_BOTH = (
    {field.name for field in fields(ArchConfig)} & MSQNetConfig.__annotations__.keys()
) - set(_ENCODERS)
# What encoders at hand, labels and clips tell.
_TOLD_BY_ENCODERS = {*_ENCODERS, "frame_pooling", "embedding", "label_width", "labels", "clip"}
_LABEL_BOUND = (
    *("query_encoder.label_embeddings", "decoder.query_positions.weight"),
    *("head.weight", "head.bias", "query_head.weight", "query_head.bias"),
)


def build_video_encoder(config: MSQNetConfig) -> VideoEncoder:
    """The video encoder that a configuration describes, with random weights."""
    settings: Any = config.video_encoder
    encoder_class = class_for_config(settings)
    with attention_if_available(settings):
        return encoder_class.from_model_config(config)


def build_image_encoder(config: MSQNetConfig) -> ImageEncoder | None:
    """The frozen image encoder behind the video query, with random weights; None for none."""
    if config.video_query != "image":
        return None
    settings: Any = config.image_encoder
    build: Any = IMAGE_ENCODERS.get(settings.model_type)
    check(
        build is not None,
        f"no image encoder for a configuration of type {settings.model_type!r}; "
        f"known are: {', '.join(IMAGE_ENCODERS)}",
    )
    with attention_if_available(settings):
        encoder: ImageEncoder = build(settings, projected=config.embedding == "projected")
    return encoder


def sound_encoder_of(config: MSQNetConfig) -> AudioEncoder | None:
    """The encoder of sound that a configuration describes, with random weights; None for none."""
    settings: Any = config.audio_encoder
    sound = config.clip_config.sound
    if settings is None or sound is None:
        return None
    with attention_if_available(settings):
        return build_audio_encoder(settings, sound)


def resized(pixels: Tensor, size: int) -> Tensor:
    """Clips (B, T, 3, H, W) uint8 -> (B, T, 3, size, size) uint8."""
    if pixels.shape[-1] == size:
        return pixels
    frames = pixels.flatten(0, 1).float()  # (B*T, 3, H, W)
    frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    resized: Tensor = frames.round().clamp(0, 255).to(torch.uint8)
    return resized.view(*pixels.shape[:2], *resized.shape[1:])  # (B, T, 3, size, size)


def new_model(
    arch: ArchConfig, clip: ClipConfig, labels: LabelSet, *, task: str = "multi_label"
) -> MSQNet:
    """A model ready to be trained: pretrained encoders, text-initialised queries, the rest random.

    Frames, size and motion crop of the clips are those of ``arch``. Settings that do not fit each
    other are a `ConfigError`, pretrained weights that cannot be loaded whole a `CheckpointError`,
    parts of ``msqnet[lite]`` that are not installed a `MissingExtra`.
    """
    from msqnet.model.text_encoders import embed_labels, load_text_encoder

    check_encoder_settings(arch)
    clip = clip_settings(arch, clip)
    encoder = embeddings = image = audio = None
    if arch.text_encoder != RANDOM:
        encoder = load_text_encoder(arch.text_encoder, embedding=arch.embedding)
        texts = None if arch.label_table is None else read_label_table(arch.label_table)
        embeddings = embed_labels(encoder, prompts_of(labels, arch.prompts, texts))
    check(
        bool(arch.video_weights),
        f"no hub holds official weights of {arch.video_encoder}: give a checkpoint file as "
        "--arch.video-weights, or 'random' to train from nothing",
    )
    video = encoder_spec(arch.video_encoder).load().from_arch(arch, clip)
    if arch.pixel_statistics == "clip":
        video.set_pixel_statistics(CLIP_STATISTICS)
    if arch.video_query == "image":
        image = load_image_encoder(arch.image_encoder, projected=arch.embedding == "projected")
    if arch.audio_encoder != NO_ENCODER:
        audio = load_audio_encoder(arch.audio_encoder)
    config = model_config(
        arch,
        clip,
        labels,
        task=task,
        video_encoder=video.config,
        image_encoder=None if image is None else image.config,
        audio_encoder=None if audio is None else audio.config,
        text_encoder=None if encoder is None else encoder.source,
        label_width=RANDOM_LABEL_WIDTH if embeddings is None else embeddings.shape[1],
    )
    return assembled_model(config, video, image, embeddings, audio)


def assembled_model(
    config: MSQNetConfig,
    video: VideoEncoder,
    image: ImageEncoder | None,
    text: Tensor | None,
    audio: AudioEncoder | None = None,
) -> MSQNet:
    """A new model with copies of pretrained weights, the rest random; all finite, or an error.

    ``text`` (K, D_t) float is what label queries start from; None for random ones.
    """
    from msqnet.model.pretrained import MSQNet  # which is made of the parts above

    model = MSQNet(config)
    with torch.no_grad():
        if text is not None:
            model.query_encoder.label_embeddings.copy_(text)
        model.video_encoder.load_state_dict(video.state_dict())
        if image is not None:
            model.image_encoder.load_state_dict(image.state_dict())
        if audio is not None:
            model.audio_encoder.load_state_dict(audio.state_dict())
    check_loaded(model, "the new model")
    return model


def model_config(
    arch: ArchConfig, clip: ClipConfig, labels: LabelSet, *, task: str, **encoders: Any
) -> MSQNetConfig:
    """The configuration of a new model, as for `new_model`.

    ``encoders`` are ``video_encoder``, ``image_encoder``, ``audio_encoder``, ``text_encoder`` and
    ``label_width`` of `MSQNetConfig`. Settings that do not fit each other are a `ConfigError`.
    """
    return MSQNetConfig(
        labels=list(labels),
        task=task,
        clip=clip_settings(arch, clip).as_dict(),
        **encoders,
        video_query_dropout=_query_dropout(arch.video_query),
        **{name: getattr(arch, name) for name in _SAME_IN_BOTH},
    )


def _query_dropout(video_query: str) -> float:
    # A backbone's statistics are thousands of numbers of a handful of frames.
    return 0.5 if video_query == "trunk" else 0.0


def licences_of(arch: ArchConfig) -> list[str]:
    """Licences of the published weights that a new model starts from, one line each."""
    from msqnet.model.text_encoders import text_encoder_licence

    lines = []
    if arch.video_weights != RANDOM:
        lines.append(encoder_spec(arch.video_encoder).load().licence_of(arch.video_weights))
    if arch.video_query == "image":
        lines.append(image_encoder_licence(arch.image_encoder))
    if arch.audio_encoder != NO_ENCODER and not arch.audio_encoder.endswith(f":{RANDOM}"):
        lines.append(audio_encoder_licence(arch.audio_encoder))
    if arch.text_encoder != RANDOM:
        lines.append(text_encoder_licence(arch.text_encoder))
    return list(dict.fromkeys(lines))


def clip_settings(arch: ArchConfig, clip: ClipConfig) -> ClipConfig:
    """Clip settings with the frames, size, motion crop and sound of an architecture.

    Settings of an audio encoder that cannot be read are a `CheckpointError`.
    """
    clip = replace(clip, sound=sound_settings(arch.audio_encoder))
    return _clip_in_form(clip, (arch.num_frames, arch.size_pixels, arch.closeup))


def _clip_in_form(clip: ClipConfig, form: tuple[int, int, bool]) -> ClipConfig:
    """Clip settings with other frames, size and motion crop; short sides in proportion."""
    num_frames, size_pixels, closeup = form
    return replace(
        clip,
        num_frames=num_frames,
        size_pixels=size_pixels,
        short_side_pixels=clip.short_side_pixels * size_pixels // clip.size_pixels,
        decode_short_side_pixels=clip.decode_short_side_pixels * size_pixels // clip.size_pixels,
        closeup=closeup,
    )


def model_from_encoders(
    video: VideoEncoder | str | Path,
    image: ImageEncoder | str | Path | None,
    text: TextEncoder | str | None,
    audio: AudioEncoder | str | None = None,
    *,
    labels: Iterable[str],
    clip: ClipConfig | None,
    embedding: Embedding,
    settings: Mapping[str, Any],
) -> MSQNet:
    """See `MSQNet.from_encoders`; ``settings`` are its further fields of `MSQNetConfig`."""
    from msqnet.model.text_encoders import embed_labels, load_text_encoder

    _check_settings(settings)
    check(not isinstance(labels, str), f"labels {labels!r}: expected a list of names")
    names = LabelSet(tuple(labels))
    if not isinstance(video, VideoEncoder):
        video = _load_video_encoder(video, clip or ClipConfig())
    if image is not None and not isinstance(image, ImageEncoder):
        image = load_image_encoder(image, projected=embedding == "projected")
    if isinstance(text, str):
        text = load_text_encoder(text, embedding=embedding)
    if isinstance(audio, str):
        audio = load_audio_encoder(audio)
    clip = replace(_clip_of(video, clip), sound=None if audio is None else audio.sound)
    embeddings = None
    if text is not None:
        embeddings = embed_labels(text, prompts_of(names, settings.get("prompts", NAME_ONLY)))
    config = MSQNetConfig(
        labels=list(names),
        clip=clip.as_dict(),
        # The model writes into its configurations; an encoder given to us keeps its own.
        video_encoder=copy.deepcopy(video.config),
        image_encoder=None if image is None else copy.deepcopy(image.config),
        audio_encoder=None if audio is None else copy.deepcopy(audio.config),
        embedding="projected" if image is not None and image.projected else "pooled",
        text_encoder=None if text is None else text.source,
        label_width=RANDOM_LABEL_WIDTH if embeddings is None else embeddings.shape[1],
        **{**_usual_settings(video, image, text, audio), **settings},
    )
    check(
        not config.is_open or text is not None,
        f"head {config.head!r} scores any label by its text: it needs a text encoder",
    )
    return assembled_model(config, video, image, embeddings, audio)


def _check_settings(settings: Mapping[str, Any]) -> None:
    own = {field.name for field in fields(MSQNetConfig)} & MSQNetConfig.__annotations__.keys()
    free = (own | {"attn_implementation"}) - _TOLD_BY_ENCODERS
    # Settings under their names in older versions are read too.
    foreign = sorted(settings.keys() - free - {"video_query_to_scores", "image_embedding"})
    check(
        not foreign,
        f"settings {', '.join(foreign)}: unknown, or told by the encoders and labels; expected "
        f"some of {', '.join(sorted(free))}",
    )


def _usual_settings(
    video: VideoEncoder,
    image: ImageEncoder | None,
    text: TextEncoder | None,
    audio: AudioEncoder | None,
) -> dict[str, Any]:
    """Settings that go with the encoders, where the user gives none."""
    query = "image" if image is not None else "trunk" if video.query_width else "none"
    licences = [part.licence for part in (video, image, audio, text) if part is not None]
    return {
        **video.model_settings,
        "video_query": query,
        "direct_path": query == "trunk",
        "video_query_dropout": _query_dropout(query),
        "provenance": {"pretrained_licences": list(dict.fromkeys(licences))},
    }


def _clip_of(video: VideoEncoder, clip: ClipConfig | None) -> ClipConfig:
    form = (video.num_frames, video.image_size, video.num_views > 1)
    if clip is None:
        return _clip_in_form(ClipConfig(), form)
    found = (clip.num_frames, clip.size_pixels, clip.closeup)
    check(
        found == form,
        f"clip with (num_frames, size_pixels, closeup) {found}: expected {form}, those of the "
        "video encoder",
    )
    return clip


def _load_video_encoder(name_or_folder: str | Path, clip: ClipConfig) -> VideoEncoder:
    """The encoder whose kind the checkpoint's ``config.json`` tells."""
    found = model_type_of(name_or_folder)
    specs = VIDEO_ENCODERS.values()
    known = {kind: spec for spec in specs for kind in (*spec.model_types, *spec.within)}
    if found not in known:
        raise CheckpointError(
            f"{name_or_folder}: found a model of type {found!r}, expected a video encoder: "
            f"{', '.join(known)}"
        )
    return known[found].load().from_pretrained(name_or_folder, clip.num_frames, clip.size_pixels)


def transfer(source: MSQNet, target: MSQNet) -> tuple[list[str], list[str]]:
    """Copy everything but the label-bound rows; those for labels of the same name.

    Returns the labels whose rows were kept, and those that start anew. A tensor of another shape
    that is not bound to labels is a `ConfigError`.
    """
    kept = [name for name in target.config.label_set if name in source.config.label_set]
    new = [name for name in target.config.label_set if name not in source.config.label_set]
    from_rows = source.config.label_set.indices(kept)
    to_rows = target.config.label_set.indices(kept)
    weights = source.state_dict()
    with torch.no_grad():
        for name, tensor in target.state_dict().items():
            check(name in weights, f"the model to start from has no {name}; are its sizes others?")
            if name in _LABEL_BOUND:
                tensor[to_rows] = weights[name][from_rows]
                continue
            check(
                tensor.shape == weights[name].shape,
                f"{name}: found {tuple(weights[name].shape)} in the model to start from, "
                f"expected {tuple(tensor.shape)}; use the same architecture settings",
            )
            tensor.copy_(weights[name])
    return kept, new
