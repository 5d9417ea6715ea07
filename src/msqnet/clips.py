"""Frames, sound, boxes and clips between video and model.

Pixels are uint8 RGB, channels first; each encoder normalizes them itself. They are numpy arrays up
to the batches of a model in PyTorch: exported models run without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Pixels = NDArray[np.uint8]

SPECTROGRAM = "spectrogram"
"""Name of the spectrograms (B, F, N) of clips among the inputs of a model."""
SOUND_TIMES = "sound_times"
"""Likewise of the times (B, A) of their tokens, see `SoundInput`."""
SOUND_INPUTS = (SPECTROGRAM, SOUND_TIMES)
NO_SOUND = -1.0
"""In place of the time of a token whose sound is missing."""


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
class SoundInput:
    """The sound of a window as an audio encoder takes it.

    Attributes:
        spectrogram: (F, N) float32, normalized; of no meaning where all sound is missing.
        times: (A,) float32, the middle of each token's sound as a share of the window, 0 to 1;
            `NO_SOUND` for tokens whose sound is missing.
    """

    spectrogram: NDArray[np.float32]
    times: NDArray[np.float32]

    @property
    def is_missing(self) -> bool:
        """Whether there is no sound at all."""
        return bool((self.times == NO_SOUND).all())


def stacked_sound(sounds: Sequence[SoundInput | None]) -> dict[str, Any]:
    """The inputs of B clips that all have, or all lack, a `SoundInput`: arrays by name, or none."""
    found = [sound for sound in sounds if sound is not None]
    if found and len(found) != len(sounds):
        raise ShapeError(f"{len(found)} of {len(sounds)} clips have sound inputs; all or none")
    if not found:
        return {}
    return {
        SPECTROGRAM: np.stack([sound.spectrogram for sound in found]),
        SOUND_TIMES: np.stack([sound.times for sound in found]),
    }


@dataclass(frozen=True)
class Frames:
    """Frames of one video, (T, 3, H, W) uint8 RGB, upright (rotation metadata applied).

    ``pts_seconds``, (T,) float64, are presentation times counted from the video's first frame;
    ``sound`` is that of the window they are of, where a model takes it.
    """

    pixels: Pixels
    pts_seconds: NDArray[np.float64]
    sound: SoundInput | None = None

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

    def overlap(self, other: Box) -> float:
        """Intersection over union."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        common = max(0.0, width) * max(0.0, height)
        return common / (self._area + other._area - common)

    @property
    def _area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


WHOLE_FRAME = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Clip:
    """One model input.

    Attributes:
        pixels: (T, 3, H, W) uint8, the whole frames at the model's size.
        motion_crop: (T, 3, h, w) uint8, the motion crop; None where the model has none.
        motion_box: place of the motion crop, in fractions of the original frame.
        pts_seconds: (T,) float64, times of the frames in the video.
        sound: of the window; None where the model takes none.
    """

    pixels: Pixels
    motion_crop: Pixels | None
    motion_box: Box
    pts_seconds: NDArray[np.float64]
    sound: SoundInput | None = None

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "Clip.pixels", 4, "(T, 3, H, W)")
        if (crop := self.motion_crop) is not None:
            _check_pixels(crop, "Clip.motion_crop", 4, "(T, 3, h, w)")
            if len(crop) != len(self.pixels):
                raise ShapeError(f"Clip.motion_crop: {len(crop)} frames, pixels {len(self.pixels)}")

    def inputs(self) -> dict[str, Any]:
        """What a model takes of it: tensors by name, without an axis of clips."""
        import torch

        found: dict[str, Any] = {"pixels": self.pixels}
        if self.motion_crop is not None:
            found["motion_crops"] = self.motion_crop
        found |= {name: values[0] for name, values in stacked_sound([self.sound]).items()}
        return {name: torch.from_numpy(values) for name, values in found.items()}


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one shape, stacked: (B, T, 3, H, W) uint8, motion crops (B, T, 3, h, w) or None.

    ``sound`` holds `SPECTROGRAM` and `SOUND_TIMES`, or nothing. In PyTorch, for models that are no
    exports.
    """

    pixels: Tensor
    motion_crops: Tensor | None
    sound: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_pixels(self.pixels, "ClipBatch.pixels", 5, "(B, T, 3, H, W)")

    def inputs(self) -> dict[str, Any]:
        """What a model takes of them, by name."""
        return {"pixels": self.pixels, "motion_crops": self.motion_crops, **self.sound}

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
            {
                name: torch.from_numpy(values)
                for name, values in stacked_sound([clip.sound for clip in clips]).items()
            },
        )
