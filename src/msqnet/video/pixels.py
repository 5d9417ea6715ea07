"""From a decoded frame to upright uint8 RGB at the size asked for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideDataContainer
    from av.video.frame import VideoFrame
    from torch import Tensor


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: first the axes are swapped, then the result is mirrored."""

    is_transposed: bool = False
    is_mirrored_x: bool = False
    is_mirrored_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """From the display matrix that cameras and phones write (and EXIF, for images).

        With the matrix rows (a, b), (c, d), a stored point (x, y) is shown at (ax + cy, bx + dy).
        """
        # Looking at a frame's side data ties it into a reference cycle, which would keep its pixels
        # until the next garbage collection. So a copy of hardly any pixels is looked at.
        tiny = VideoReformatter().reformat(
            frame, 2, 2, "gray", interpolation=Interpolation.POINT, threads=1
        )
        matrix = cast("SideDataContainer", tiny.side_data).get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d, *_ = struct.unpack_from("=9i", bytes(matrix))
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after, or, as swapping is its own inverse, before orienting."""
        return (height, width) if self.is_transposed else (width, height)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Orient (H, W, 3) pixels; a view."""
        if self.is_transposed:
            pixels = pixels.transpose(1, 0, 2)
        step_x, step_y = (-1 if self.is_mirrored_x else 1), (-1 if self.is_mirrored_y else 1)
        return pixels[::step_y, ::step_x]


def scaled_size(width: int, height: int, short_side_pixels: int | None) -> tuple[int, int]:
    """(width, height) with the short side asked for, the aspect kept; never larger than given.

    Raises:
        ConfigError: ``short_side_pixels`` is below 1.
    """
    if short_side_pixels is None:
        return width, height
    if short_side_pixels < 1:
        raise ConfigError(f"short_side_pixels {short_side_pixels}: expected at least 1")
    scale = short_side_pixels / min(width, height)
    if scale >= 1:
        return width, height
    return max(1, round(width * scale)), max(1, round(height * scale))


class PixelConverter:
    """Turns every frame of a video into tensors of one size, that of the first frame.

    Scaling averages over areas (no aliasing), in the same step as the conversion to RGB, so that a
    large frame never exists as RGB. Range and matrix are those that the frame states; a frame that
    states no matrix is taken for BT.601. Alpha is dropped.

    Args:
        first_frame: sets the size.
        short_side_pixels: short side to scale down to; None keeps the size.
    """

    def __init__(self, first_frame: VideoFrame, short_side_pixels: int | None) -> None:
        self._orientations: dict[int, Orientation] = {}
        orientation = self._orientation(first_frame)
        self.source_width, self.source_height = orientation.size(
            first_frame.width, first_frame.height
        )
        self._size = scaled_size(self.source_width, self.source_height, short_side_pixels)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Tensor:
        """(3, H, W) uint8 RGB."""
        orientation = self._orientation(frame)
        width, height = orientation.size(*self._size)
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        pixels = orientation.apply(rgb.to_ndarray())  # (H, W, 3)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # (3, H, W)

    def _orientation(self, frame: VideoFrame) -> Orientation:
        """Read once for each angle: of a file it stays, images of a folder may differ."""
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = Orientation.of(frame)
        return self._orientations[frame.rotation]
