"""New models from encoders at hand: what `MSQNet.from_encoders` does."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from msqnet.config import ClipConfig
from msqnet.errors import CheckpointError, ConfigError
from msqnet.labels import LabelSet
from msqnet.model.builder import (
    RANDOM_LABEL_WIDTH,
    assembled_model,
    load_image_encoder,
    query_settings,
    resized_clip,
)
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.query_encoders import load_text_encoder
from msqnet.model.query_encoders.checkpoint import model_type_of
from msqnet.model.query_encoders.image_encoder import ImageEncoder
from msqnet.model.query_encoders.text_encoder import TextEncoder, embed_labels
from msqnet.model.video_encoders import ENCODER_OF_MODEL_TYPE, video_encoder_class
from msqnet.model.video_encoders.encoder import VideoEncoder
from msqnet.model.video_encoders.lite import LiteVideoEncoder
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.prompts import NAME_ONLY, prompts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msqnet.model.msqnet import MSQNet
    from msqnet.model.query_encoders.text_encoder import Embedding

# Checkpoints of which a video encoder is one part, by their model_type.
_ENCODER_IN_WHOLE = {"clip": "vit", "siglip": "vit", "xclip": "xclip"}
_TOLD_BY_ENCODERS = frozenset(
    {
        *("video_encoder", "frame_pooling", "image_encoder", "image_embedding", "text_encoder"),
        *("label_width", "labels", "clip"),
    }
)


def model_from_encoders(
    video: VideoEncoder | str | Path,
    image: ImageEncoder | str | Path | None,
    text: TextEncoder | str | None,
    *,
    labels: Iterable[str],
    clip: ClipConfig | None,
    embedding: Embedding,
    settings: Mapping[str, Any],
) -> MSQNet:
    """What `MSQNet.from_encoders` does; ``settings`` are its further fields of `MSQNetConfig`."""
    _check_settings(settings)
    if isinstance(labels, str):
        raise ConfigError(f"labels {labels!r}: expected a list of names")
    names = LabelSet(tuple(labels))
    if not isinstance(video, VideoEncoder):
        video = _load_video_encoder(video, clip or ClipConfig())
    if image is not None and not isinstance(image, ImageEncoder):
        image = load_image_encoder(image, embedding)
    if text is not None and not isinstance(text, TextEncoder):
        text = load_text_encoder(text, embedding=embedding)
    embeddings = None
    if text is not None:
        embeddings = embed_labels(text, prompts_of(names, settings.get("prompts", NAME_ONLY)))
    config = MSQNetConfig(
        labels=list(names),
        clip=_clip_of(video, clip).to_dict(),
        # The model writes into its configurations; an encoder given to us keeps its own.
        video_encoder=copy.deepcopy(video.config),
        frame_pooling=_frame_pooling_of(video),
        image_encoder=None if image is None else copy.deepcopy(image.config),
        image_embedding="projected" if image is not None and image.projected else "pooled",
        text_encoder=None if text is None else text.source,
        label_width=RANDOM_LABEL_WIDTH if embeddings is None else embeddings.shape[1],
        **{**_usual_settings(video, image, text), **settings},
    )
    if config.is_open and text is None:
        raise ConfigError(
            f"head {config.head!r} scores any label by its text: it needs a text encoder"
        )
    return assembled_model(config, video, image, embeddings)


def _check_settings(settings: Mapping[str, Any]) -> None:
    own = {field.name for field in fields(MSQNetConfig)} & MSQNetConfig.__annotations__.keys()
    free = (own | {"attn_implementation"}) - _TOLD_BY_ENCODERS
    if foreign := sorted(settings.keys() - free):
        raise ConfigError(
            f"settings {', '.join(foreign)}: unknown, or told by the encoders and labels; expected "
            f"some of {', '.join(sorted(free))}"
        )


def _usual_settings(
    video: VideoEncoder, image: ImageEncoder | None, text: TextEncoder | None
) -> dict[str, Any]:
    """What goes with the encoders where the user says nothing else."""
    query = "image" if image is not None else "none"
    if image is None and isinstance(video, LiteVideoEncoder):
        query = "trunk"
    licences = [part.licence for part in (video, image, text) if part is not None]
    provenance = {"pretrained_licences": list(dict.fromkeys(licences))}
    return {**query_settings(query), "provenance": provenance}


def _frame_pooling_of(video: VideoEncoder) -> str:
    return video.frame_pooling if isinstance(video, TimesformerVideoEncoder) else "frames"


def _clip_of(video: VideoEncoder, clip: ClipConfig | None) -> ClipConfig:
    """The clips that an encoder takes; those that were asked for, if they are such."""
    config = video.config
    is_vjepa2 = config.model_type == "vjepa2"
    num_frames = config.frames_per_clip if is_vjepa2 else config.num_frames
    size_pixels = config.crop_size if is_vjepa2 else config.image_size
    closeup = isinstance(video, LiteVideoEncoder) and config.num_looks > 1
    if clip is None:
        return resized_clip(ClipConfig(), num_frames, size_pixels, closeup=closeup)
    found = (clip.num_frames, clip.size_pixels, clip.closeup)
    if found != (num_frames, size_pixels, closeup):
        raise ConfigError(
            f"clip with (num_frames, size_pixels, closeup) {found}: expected "
            f"{(num_frames, size_pixels, closeup)}, those of the video encoder"
        )
    return clip


def _load_video_encoder(name_or_folder: str | Path, clip: ClipConfig) -> VideoEncoder:
    """The encoder whose kind the checkpoint's ``config.json`` tells."""
    found = model_type_of(name_or_folder)
    known = {**ENCODER_OF_MODEL_TYPE, **_ENCODER_IN_WHOLE}
    if found not in known:
        raise CheckpointError(
            f"{name_or_folder}: found a model of type {found!r}, expected a video encoder: "
            f"{', '.join(known)}"
        )
    kind = video_encoder_class(known[found])
    return kind.from_pretrained(name_or_folder, clip.num_frames, clip.size_pixels)
