"""Frames, boxes and clips between video and model.

Pixels are uint8 RGB, channels first; each encoder normalizes them itself. They are numpy arrays up
to the batches of a model in PyTorch: exported models run without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Pixels = NDArray[np.uint8]


def _check_pixels(pixels: Pixels | Tensor, name: str, num_dims: int, axes: str) -> None:
    is_right = (
        str(pixels.dtype).endswith("uint8")
        and pixels.ndim == num_dims
        and pixels.shape[-3] == 3
        and 0 not in pixels.shape
    )
    if not is_right:
        raise ShapeError(
            f"{name}: found {pixels.dtype} {tuple(pixels.shape)}, expected non-empty uint8 {axes}"
        )


@dataclass(frozen=True)
class Frames:
    """Frames of one video, (T, 3, H, W) uint8 RGB, upright (rotation metadata applied).

    ``pts_seconds``, (T,) float64, are presentation times counted from the video's first frame.
    """

    pixels: Pixels
    pts_seconds: NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "Frames.pixels", 4, "(T, 3, H, W)")
        if self.pts_seconds.shape != self.pixels.shape[:1]:
            raise ShapeError(
                f"Frames.pts_seconds: found {tuple(self.pts_seconds.shape)}, "
                f"expected ({self.pixels.shape[0]},)"
            )

    def __len__(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True)
class Box:
    """A rectangle as fractions of the frame: 0 is left or top, 1 right or bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ShapeError(f"{self}: expected 0 <= left < right <= 1 and 0 <= top < bottom <= 1")


WHOLE_FRAME = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Clip:
    """One model input.

    Attributes:
        pixels: (T, 3, H, W) uint8, the whole frames at the model's size.
        motion_crop: (T, 3, h, w) uint8, the motion crop; None where the model has none.
        motion_box: place of the motion crop, in fractions of the original frame.
        pts_seconds: (T,) float64, times of the frames in the video.
    """

    pixels: Pixels
    motion_crop: Pixels | None
    motion_box: Box
    pts_seconds: NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "Clip.pixels", 4, "(T, 3, H, W)")
        if (crop := self.motion_crop) is not None:
            _check_pixels(crop, "Clip.motion_crop", 4, "(T, 3, h, w)")
            if len(crop) != len(self.pixels):
                raise ShapeError(f"Clip.motion_crop: {len(crop)} frames, pixels {len(self.pixels)}")


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one shape, stacked: (B, T, 3, H, W) uint8, motion crops (B, T, 3, h, w) or None.

    In PyTorch, for models that are no exports.
    """

    pixels: Tensor
    motion_crops: Tensor | None

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "ClipBatch.pixels", 5, "(B, T, 3, H, W)")

    @classmethod
    def stack(cls, clips: Sequence[Clip]) -> ClipBatch:
        """Stack clips that all have, or all lack, a motion crop."""
        import torch

        motion_crops = [clip.motion_crop for clip in clips if clip.motion_crop is not None]
        if motion_crops and len(motion_crops) != len(clips):
            raise ShapeError(
                f"{len(motion_crops)} of {len(clips)} clips have a motion crop; all or none"
            )
        return cls(
            torch.from_numpy(np.stack([clip.pixels for clip in clips])),
            torch.from_numpy(np.stack(motion_crops)) if motion_crops else None,
        )
