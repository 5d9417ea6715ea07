"""From a configuration to its encoders, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.errors import ConfigError
from msqnet.model.attention import attention_if_available
from msqnet.model.query_encoders.clip import ClipImageEncoder
from msqnet.model.query_encoders.siglip import SiglipImageEncoder
from msqnet.model.video_encoders import class_for_config
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder

if TYPE_CHECKING:
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.video_encoders.encoder import VideoEncoder

IMAGE_ENCODERS: dict[str, Any] = {
    "clip_vision_model": ClipImageEncoder,
    "siglip_vision_model": SiglipImageEncoder,
}
"""Encoders behind the video query, by the ``model_type`` of their configuration."""


def build_video_encoder(config: MSQNetConfig) -> VideoEncoder:
    """The video encoder that a configuration describes, with random weights.

    Raises:
        ConfigError: of no known type, or with settings that the type does not have.
    """
    settings: Any = config.video_encoder
    encoder_class = class_for_config(settings)
    is_timesformer = issubclass(encoder_class, TimesformerVideoEncoder)
    if config.frame_pooling != "frames" and not is_timesformer:
        raise ConfigError("frame_pooling 'flat' needs the timesformer video encoder")
    build: Any = encoder_class
    options = {"frame_pooling": config.frame_pooling} if is_timesformer else {}
    with attention_if_available(settings):
        encoder: VideoEncoder = build(settings, **options)
    return encoder


def build_image_encoder(config: MSQNetConfig) -> Any:
    """The frozen image encoder that a configuration describes, with random weights.

    Raises:
        ConfigError: of no known type.
    """
    settings: Any = config.image_encoder
    if settings.model_type not in IMAGE_ENCODERS:
        raise ConfigError(
            f"no image encoder for a configuration of type {settings.model_type!r}; "
            f"known are: {', '.join(IMAGE_ENCODERS)}"
        )
    projected = config.image_embedding == "projected"
    with attention_if_available(settings):
        return IMAGE_ENCODERS[settings.model_type](settings, projected=projected)


def resized(pixels: Tensor, size: int) -> Tensor:
    """Clips at the image encoder's size, where the video encoder's is another.

    Args:
        pixels: (B, T, 3, H, W) uint8.
        size: side of the square frames, in pixels.

    Returns:
        (B, T, 3, size, size) uint8.
    """
    if pixels.shape[-1] == size:
        return pixels
    frames = pixels.flatten(0, 1).float()  # (B*T, 3, H, W)
    frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    resized: Tensor = frames.round().clamp(0, 255).to(torch.uint8)
    return resized.view(*pixels.shape[:2], *resized.shape[1:])  # (B, T, 3, size, size)
