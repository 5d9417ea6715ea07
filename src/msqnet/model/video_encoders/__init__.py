"""Video encoders: clips in, frame memory out. One file each.

A model's configuration holds its encoder's configuration, whose ``model_type`` tells which file
belongs to it; a new model names the encoder in its settings (``--arch.video_encoder``).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from msqnet.model.video_encoders.encoder import VideoEncoder

_HERE = "msqnet.model.video_encoders"

VIDEO_ENCODERS: dict[str, str] = {
    "lite": f"{_HERE}.lite:LiteVideoEncoder",
    "timesformer": f"{_HERE}.timesformer:TimesformerVideoEncoder",
    "videomae": f"{_HERE}.videomae:VideoMAEVideoEncoder",
    "vit": f"{_HERE}.vit:FrameEncoder",
    "i3d": f"{_HERE}.i3d:I3DVideoEncoder",
    "c3d": f"{_HERE}.c3d:C3DVideoEncoder",
    "vjepa2": f"{_HERE}.vjepa2:VJEPA2VideoEncoder",
    "xclip": f"{_HERE}.xclip:XCLIPVideoEncoder",
}
"""``module:class`` by the name in the settings."""

ENCODER_OF_MODEL_TYPE: dict[str, str] = {
    "msqnet_lite": "lite",
    "timesformer": "timesformer",
    "videomae": "videomae",
    "vit": "vit",
    "clip_vision_model": "vit",
    "siglip_vision_model": "vit",
    "dinov2": "vit",
    "dinov2_with_registers": "vit",
    "dinov3_vit": "vit",
    "msqnet_i3d": "i3d",
    "msqnet_c3d": "c3d",
    "vjepa2": "vjepa2",
    "xclip_vision_model": "xclip",
}
"""Names of encoders by the ``model_type`` of their configuration."""


def video_encoder_class(name: str) -> type[VideoEncoder]:
    """The class behind a name of `VIDEO_ENCODERS`; imports its file only.

    Raises:
        ConfigError: no such encoder.
    """
    if name not in VIDEO_ENCODERS:
        raise ConfigError(f"no video encoder {name!r}; known are: {', '.join(VIDEO_ENCODERS)}")
    module, _, class_name = VIDEO_ENCODERS[name].partition(":")
    found: type[VideoEncoder] = getattr(importlib.import_module(module), class_name)
    return found


def class_for_config(config: PreTrainedConfig) -> type[VideoEncoder]:
    """The encoder that a configuration belongs to.

    Raises:
        ConfigError: of no video encoder.
    """
    if config.model_type not in ENCODER_OF_MODEL_TYPE:
        raise ConfigError(
            f"no video encoder for a configuration of type {config.model_type!r}; "
            f"known are: {', '.join(ENCODER_OF_MODEL_TYPE)}"
        )
    return video_encoder_class(ENCODER_OF_MODEL_TYPE[config.model_type])
