"""Which actions happen when in a video, of people and of animals.

The names below are found where they are defined when they are first used: importing `msqnet` alone
loads neither torch nor anything else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msqnet.clips import Box, Clip, ClipBatch, Frames
    from msqnet.config import ClipConfig, MotionBoxConfig, SegmentConfig, WindowConfig
    from msqnet.errors import MsqnetError
    from msqnet.inference.predictor import Predictor
    from msqnet.labels import LabelSet
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.models import available_models, resolve_model
    from msqnet.predictions import Segment, VideoPredictions, WindowScores
    from msqnet.training.table_training import train
    from msqnet.video.reader import open_video

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Clip",
    "ClipBatch",
    "ClipConfig",
    "Frames",
    "LabelSet",
    "MSQNet",
    "MSQNetConfig",
    "MotionBoxConfig",
    "MsqnetError",
    "Predictor",
    "Segment",
    "SegmentConfig",
    "VideoPredictions",
    "WindowConfig",
    "WindowScores",
    "__version__",
    "available_models",
    "open_video",
    "resolve_model",
    "train",
]

_NAMES_OF = {
    "clips": ("Box", "Clip", "ClipBatch", "Frames"),
    "config": ("ClipConfig", "MotionBoxConfig", "SegmentConfig", "WindowConfig"),
    "errors": ("MsqnetError",),
    "inference.predictor": ("Predictor",),
    "labels": ("LabelSet",),
    "model.configuration": ("MSQNetConfig",),
    "model.pretrained": ("MSQNet",),
    "models": ("available_models", "resolve_model"),
    "predictions": ("Segment", "VideoPredictions", "WindowScores"),
    "training.table_training": ("train",),
    "video.reader": ("open_video",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    found = getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
