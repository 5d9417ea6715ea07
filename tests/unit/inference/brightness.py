"""Grey videos of known brightness, and a backend whose scores are an exact function of pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from msqnet.config import ClipConfig
from msqnet.data.records import ClipTable, Record
from msqnet.inference.backends import ClipOutputs
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msqnet.clips import Pixels
    from msqnet.inference.backends import Arrays
    from msqnet.model.out_of_distribution import TrainingReference
    from msqnet.predictions import FloatArray

WHITE, BLACK = 255, 0
LABELS = LabelSet(("bright", "dark"))
CLIP = ClipConfig(
    num_frames=4,
    size_pixels=16,
    resize="stretch",
    short_side_pixels=16,
    decode_short_side_pixels=16,
)


def write_video(
    path: Path,
    levels: Sequence[int],
    *,
    fps: Fraction | int = 10,
    size: tuple[int, int] = (32, 24),
) -> Path:
    """A lossless video whose frame i is all of grey level ``levels[i]``; its index comes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    with av.open(str(path), "w", format="mov", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("png", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for level in levels:
            pixels = np.full((height, width, 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_truncated_video(path: Path, levels: Sequence[int]) -> Path:
    """A video of which the last third of the bytes is missing; noise makes every frame count."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    with av.open(str(path), "w", format="mov", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb24"
        for level in levels:
            noise = random.integers(0, 8, (24, 32, 3))
            pixels = np.clip(noise + level, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return path


@dataclass
class BrightnessBackend:
    """Scores (mean brightness, 1 - mean brightness) as labels ``bright`` and ``dark``."""

    labels: LabelSet = LABELS
    clip_config: ClipConfig = CLIP
    thresholds: FloatArray = field(default_factory=lambda: np.array([0.6, 1.1], np.float32))
    single_label: bool = False
    window_seconds: float = 1.0
    provenance: dict[str, Any] = field(default_factory=lambda: {"name": "brightness"})
    batch_sizes: list[int] = field(default_factory=list)
    num_frames_seen: int = 0
    unproven: dict[str, str] = field(default_factory=dict)
    training_reference: TrainingReference | None = None

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        self.num_frames_seen += len(frames)
        return {"pixels": frames}

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        return ClipOutputs(self.score_frames(frames, motion_crops), None)

    def score_frames(self, frames: Arrays, motion_crops: Arrays | None) -> FloatArray:
        self.batch_sizes.append(len(frames["pixels"]))
        bright = frames["pixels"].mean(axis=(1, 2, 3, 4)) / WHITE  # (B,)
        return np.stack([bright, 1 - bright], axis=1).astype(np.float32)


@dataclass
class TrainedBackend(BrightnessBackend):
    """The brightness backend with the counts of a trained model."""

    train_positive_windows: list[int] | None = field(default_factory=lambda: [20, 20])
    train_negative_windows: list[int] | None = field(default_factory=lambda: [20, 20])


def record_of(path: Path, row: int = 2, **settings: Any) -> Record:
    """A row of a table, without labels unless told otherwise."""
    return Record(row=row, path=path, relative_path=path.name, **{"labels": (), **settings})


def table_of(*records: Record) -> ClipTable:
    return ClipTable(records[0].path.parent / "clips.csv", records)
