"""Frames as they are to be looked at: upright, with square pixels, at a chosen size."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from msqnet.video.decoding import FrameDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from msqnet.video.reader import Video

_SIDEWAYS_DEGREES = (90, 270)


def square_size(video: Video) -> tuple[int, int]:
    """(width, height) of a video's picture once its pixels are square.

    `msqnet.video` gives frames upright, but with the pixels that are stored, which are not square
    in what comes from DVDs, camcorders and broadcasts. The side that is too short is stretched, so
    that no detail is lost.
    """
    aspect = _pixel_aspect(video.path)
    if aspect >= 1:
        return max(1, round(video.width * aspect)), video.height
    return video.width, max(1, round(video.height / aspect))


def _pixel_aspect(path: Path) -> Fraction:
    """Width by height of a pixel of the upright picture; 1 where the file states nothing."""
    if path.is_dir():
        return Fraction(1)
    with FrameDecoder(path) as decoder:
        frame = decoder.next_frame()
        aspect = decoder.stream.sample_aspect_ratio or Fraction(1)
        is_sideways = frame is not None and frame.rotation % 360 in _SIDEWAYS_DEGREES
    return 1 / aspect if is_sideways else aspect


def resized(
    frames: Iterable[tuple[float, Tensor]], width: int, height: int
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames at one size.

    Args:
        frames: times in seconds and (3, h, w) uint8 RGB pixels, as a `Video` gives them.
        width: pixels of the result.
        height: as ``width``.

    Yields:
        The time and (H, W, 3) uint8 RGB; where the size is right already, a view of what was given.
    """
    reformatter = VideoReformatter()
    for time, pixels in frames:
        image = pixels.numpy().transpose(1, 2, 0)  # (3, h, w) -> (h, w, 3)
        if image.shape[:2] == (height, width):
            yield time, image
            continue
        is_smaller = width * height < image.shape[0] * image.shape[1]
        scaled = reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24"),
            width,
            height,
            interpolation=Interpolation.AREA if is_smaller else Interpolation.BICUBIC,
        )
        yield time, np.asarray(scaled.to_ndarray(), dtype=np.uint8)
