"""Settings as frozen dataclasses: declared once, with units, defaults, checks; no imports.

The attribute docstrings become the help of the command line.
"""

from __future__ import annotations

from msqnet.config.architecture import ArchConfig
from msqnet.config.inference import (
    CalibrationConfig,
    EmbeddingMapConfig,
    InferenceOptions,
    ModelOptions,
    Precision,
    PrecisionChoice,
    RuntimeName,
    SegmentConfig,
    ViewChoice,
    ViewConfig,
    WindowConfig,
)
from msqnet.config.preprocessing import ClipConfig, MotionBoxConfig, SoundConfig
from msqnet.config.serving import ServerLimits, ServerSettings, ServingLimits, WorkerSettings
from msqnet.config.tables import TableOptions
from msqnet.config.training import AugmentationConfig, LoraConfig, LossConfig, TrainConfig

__all__ = [
    "ArchConfig",
    "AugmentationConfig",
    "CalibrationConfig",
    "ClipConfig",
    "EmbeddingMapConfig",
    "InferenceOptions",
    "LoraConfig",
    "LossConfig",
    "ModelOptions",
    "MotionBoxConfig",
    "Precision",
    "PrecisionChoice",
    "RuntimeName",
    "SegmentConfig",
    "ServerLimits",
    "ServerSettings",
    "ServingLimits",
    "SoundConfig",
    "TableOptions",
    "TrainConfig",
    "ViewChoice",
    "ViewConfig",
    "WindowConfig",
    "WorkerSettings",
]
