"""Small still pictures of videos, as JPEG, read in one pass through each file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msqnet.errors import MissingExtra, VideoError
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

THUMBNAIL_PIXELS = 135
"""Short side of a thumbnail."""

_JPEG_QUALITY = 72


@dataclass(frozen=True)
class Thumbnail:
    """One frame of a video.

    Attributes:
        seconds: the time that was asked for, from the first frame.
        jpeg: the picture.
    """

    seconds: float
    jpeg: bytes

    @property
    def base64(self) -> str:
        """The picture as ASCII text."""
        return base64.b64encode(self.jpeg).decode("ascii")


def video_thumbnails(path: Path, times_seconds: Sequence[float]) -> tuple[Thumbnail, ...]:
    """Pictures of a video at given times.

    Args:
        path: the video.
        times_seconds: in any order.

    Returns:
        By time; fewer than asked for where the file is damaged behind some time.

    Raises:
        VideoError: the video is gone or cannot be read.
        MissingExtra: Pillow is not installed.
    """
    found: list[Thumbnail] = []
    times = sorted(times_seconds)
    with open_video(path, short_side_pixels=THUMBNAIL_PIXELS) as video:
        frames = video.stream_at(times)
        for seconds in times:
            try:
                _, frame = next(frames)
            except VideoError:
                if found:
                    break
                raise
            found.append(Thumbnail(seconds, encode_jpeg(frame)))
    return tuple(found)


def encode_jpeg(frame: Tensor) -> bytes:
    """A (3, H, W) uint8 RGB frame as JPEG.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("a report", extra="report") from error
    buffer = io.BytesIO()
    pixels = frame.permute(1, 2, 0).contiguous().numpy()  # (3, H, W) -> (H, W, 3)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def segment_times(
    segments: Sequence[tuple[float, float]], duration_seconds: float, count: int
) -> list[float]:
    """Times of the pictures of a video: the middle of each segment, of the longest ones if many.

    Args:
        segments: start and end of each.
        duration_seconds: of the video; its middle stands for a video without segments.
        count: how many pictures at most, at least 1.
    """
    longest = sorted(segments, key=lambda span: span[0] - span[1])
    middles = dict.fromkeys((start + end) / 2 for start, end in longest)
    return sorted(list(middles)[:count]) or [duration_seconds / 2]
