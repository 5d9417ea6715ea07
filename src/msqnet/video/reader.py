"""Videos of any container and codec that PyAV decodes, and folders of frame images.

Frames are requested by time or by index. They equal, bit for bit, those of reading the whole file.
The frame at time t is the last one whose presentation time is not after t.

A file with a damaged end stays usable: its frames are those that decode. Where that shows only
while reading, `num_frames` and `duration_seconds` become smaller and a warning is logged once.
Times behind the part that decodes raise `UnreadableVideo`; nothing is ever filled in.
"""

from __future__ import annotations

import math
import struct
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from msqnet.clips import Frames, Pixels
from msqnet.errors import ShapeError, UnreadableVideo, check
from msqnet.video.frame_sources import IMAGE_SUFFIXES, FileSource, ImageFolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from fractions import Fraction

    from av.sidedata.sidedata import SideDataContainer
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from msqnet.video.decoding import FrameIndex

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Video", "open_video", "scaled_size"]

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m"}
)
"""Suffixes (lower case) by which a walk through a folder recognises videos."""

_TIME_TOLERANCE_SECONDS = 5e-7


def open_video(
    path: str | Path,
    *,
    short_side_pixels: int | None = None,
    fps: Fraction | float | None = None,
) -> Video:
    """Open a video file or a folder of frame images.

    Args:
        short_side_pixels: frames are scaled down to this short side while decoding (aspect kept,
            never scaled up); None keeps their size.
        fps: frames a second of a folder of images, 25 by default. Files carry their own times.

    Raises:
        UnreadableVideo: missing, not a video, or no frame decodes.
        EmptyVideo: no video stream, or a folder without images.
        ConfigError: a size below 1 or a rate not above 0.
    """
    path = Path(path)
    if path.is_dir():
        return Video(ImageFolderSource(path, fps), short_side_pixels)
    if not path.is_file():
        raise UnreadableVideo(f"{path}: no such file or folder; check the path")
    if path.stat().st_size == 0:
        raise UnreadableVideo(f"{path}: the file holds 0 bytes; copy it again or drop it")
    return Video(FileSource(path), short_side_pixels)


class Video(AbstractContextManager["Video"]):
    """An open video. Use it as a context manager, or close it; made by `open_video`.

    `width` and `height` are pixels of the upright source frame, rotation metadata applied.
    """

    def __init__(
        self, source: FileSource | ImageFolderSource, short_side_pixels: int | None
    ) -> None:
        self.path = source.path
        self._source = source
        _, first_frame = source.frame(lambda index: 0)
        self._convert = _PixelConverter(first_frame, short_side_pixels)
        self.width = self._convert.source_width
        self.height = self._convert.source_height

    @property
    def num_frames(self) -> int:
        """Exact number of frames, as far as the file is known to decode."""
        return len(self._source.index)

    @property
    def duration_seconds(self) -> float:
        """End of the last frame, counted from the start of the first one."""
        return self._source.index.duration_seconds

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """(num_frames,) float64, increasing, the first 0."""
        return self._source.index.pts_seconds

    @property
    def average_fps(self) -> Fraction | None:
        """Frames a second as the container states it, None where it does not."""
        return self._source.average_fps

    @property
    def is_damaged(self) -> bool:
        """Whether frames are known to be lost at the end."""
        return self._source.index.num_lost > 0

    def __exit__(self, *_error: object) -> None:
        self._source.close()

    def close(self) -> None:
        """Close the file. Requesting frames afterwards opens it again."""
        self._source.close()

    def frames_at(self, times_seconds: Sequence[float]) -> Frames:
        """The frames at T times from the first frame, in the order given; repeats are allowed.

        Times before the first frame give the first one, times after the last frame the last one.
        A time behind the part of a damaged file that decodes is an `UnreadableVideo`; none, or one
        that is not a number, a `ShapeError`.
        """
        order = sorted(range(len(times_seconds)), key=lambda place: times_seconds[place])
        return _in_order(order, self.stream_at(times_seconds[place] for place in order))

    def frames_by_index(self, indices: Sequence[int]) -> Frames:
        """T frames by their numbers in presentation order; as `frames_at`.

        A number that the video never held is a `ShapeError`.
        """
        order = sorted(range(len(indices)), key=lambda place: indices[place])
        locators = (partial(self._place_of_number, number) for number in sorted(indices))
        return _in_order(order, self._stream(locators))

    def stream_at(self, times_seconds: Iterable[float]) -> Iterator[tuple[float, Pixels]]:
        """One frame for each time, lazily, in one pass and with a few frames in memory.

        Yields the frame's own time and its (3, H, W) uint8 RGB pixels. Times that fall on the same
        frame yield the same array. A time that is smaller than the one before it is a
        `ShapeError`; other errors are those of `frames_at`, all frames before being yielded.
        """
        times = _never_decreasing(times_seconds)
        return self._stream(partial(self._place_of_time, time) for time in times)

    def __iter__(self) -> Iterator[tuple[float, Pixels]]:
        """All frames in order, as `stream_at` yields them; ends where the file stops decoding."""
        number = 0

        def next_or_last(index: FrameIndex) -> int:
            return min(number, len(index) - 1)

        while number < self.num_frames:
            found, frame = self._source.frame(next_or_last)
            if found != number:
                return
            yield float(self.pts_seconds[found]), self._convert(frame)
            number += 1

    def _stream(
        self, locators: Iterable[Callable[[FrameIndex], int]]
    ) -> Iterator[tuple[float, Pixels]]:
        last: tuple[float, Pixels] | None = None
        last_number = -1
        for locate in locators:
            number, frame = self._source.frame(locate)
            if last is None or number != last_number:
                last = float(self._source.index.pts_seconds[number]), self._convert(frame)
                last_number = number
            yield last

    def _place_of_time(self, time_seconds: float, index: FrameIndex) -> int:
        time = time_seconds + _TIME_TOLERANCE_SECONDS
        if index.num_lost and time_seconds >= index.duration_seconds:
            raise self._behind_the_end(f"{time_seconds:.3f} s", index)
        return max(int(np.searchsorted(index.pts_seconds, time, side="right")) - 1, 0)

    def _place_of_number(self, number: int, index: FrameIndex) -> int:
        if 0 <= number < len(index):
            return number
        if len(index) <= number < len(index) + index.num_lost:
            raise self._behind_the_end(f"frame {number}", index)
        raise ShapeError(f"{self.path}: no frame {number}; expected 0 to {len(index) - 1}")

    def _behind_the_end(self, wanted: str, index: FrameIndex) -> UnreadableVideo:
        return UnreadableVideo(
            f"{self.path}: {wanted} cannot be read: the file is damaged, only {len(index)} of "
            f"{len(index) + index.num_lost} frames decode, up to {index.duration_seconds:.3f} s "
            f"({index.suspicion}); request earlier frames or repair the file"
        )


def _never_decreasing(times_seconds: Iterable[float]) -> Iterator[float]:
    last = -math.inf
    for time in times_seconds:
        if not time >= last:
            raise ShapeError(f"time {time} s after {last} s; expected times that never decrease")
        last = time
        yield time


def _in_order(order: Sequence[int], found: Iterable[tuple[float, Pixels]]) -> Frames:
    """Put frames that were read by increasing time where they were requested."""
    if not order:
        raise ShapeError("no frame requested; expected at least one time or index")
    pts_seconds = np.empty(len(order))
    pixels: Pixels | None = None
    for place, (time, frame) in zip(order, found, strict=True):
        if pixels is None:
            pixels = np.empty((len(order), *frame.shape), np.uint8)  # (T, 3, H, W)
        pixels[place] = frame
        pts_seconds[place] = time
    if pixels is None:
        raise ShapeError("no frame was read")
    return Frames(pixels, pts_seconds)


class _Orientation(NamedTuple):
    """How stored pixels become upright: first the axes are swapped, then the result is mirrored."""

    is_transposed: bool
    step_x: int
    step_y: int

    @classmethod
    def of(cls, frame: VideoFrame) -> _Orientation:
        """From the display matrix that cameras and phones write (and EXIF, for images).

        With the matrix rows (a, b), (c, d), a stored point (x, y) is shown at (ax + cy, bx + dy).
        """
        # Looking at a frame's side data ties it into a reference cycle, which would keep its pixels
        # until the next garbage collection. So we look at a copy of hardly any pixels.
        tiny = VideoReformatter().reformat(
            frame, 2, 2, "gray", interpolation=Interpolation.POINT, threads=1
        )
        matrix = cast("SideDataContainer", tiny.side_data).get("DISPLAYMATRIX")
        if matrix is None:
            return cls(False, 1, 1)
        a, b, _, c, d, *_ = struct.unpack_from("=9i", bytes(matrix))
        is_transposed = abs(a) + abs(d) < abs(b) + abs(c)
        x, y = (c, b) if is_transposed else (a, d)
        return cls(is_transposed, -1 if x < 0 else 1, -1 if y < 0 else 1)


def scaled_size(width: int, height: int, short_side_pixels: int | None) -> tuple[int, int]:
    """(width, height) with this short side, at least 1, and the same aspect; never larger."""
    if short_side_pixels is None:
        return width, height
    check(short_side_pixels >= 1, f"short_side_pixels {short_side_pixels}: expected at least 1")
    scale = min(1.0, short_side_pixels / min(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class _PixelConverter:
    """Turns every frame of a video into upright RGB arrays of one size, that of the first frame.

    Scaling averages over areas (no aliasing), in the same step as the conversion to RGB, so that a
    large frame never exists as RGB. Range and matrix are those that the frame states; a frame that
    states no matrix is taken for BT.601. Alpha is dropped.
    """

    def __init__(self, first_frame: VideoFrame, short_side_pixels: int | None) -> None:
        self._orientations: dict[int, _Orientation] = {}
        stored = first_frame.width, first_frame.height
        is_transposed = self._orientation(first_frame).is_transposed
        self.source_width, self.source_height = stored[::-1] if is_transposed else stored
        self._size = scaled_size(self.source_width, self.source_height, short_side_pixels)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Pixels:
        """(3, H, W) uint8 RGB."""
        orientation = self._orientation(frame)
        # Swapping is its own inverse: the size before orienting.
        width, height = self._size[::-1] if orientation.is_transposed else self._size
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        stored = rgb.to_ndarray()  # (H, W, 3)
        upright = stored.transpose(1, 0, 2) if orientation.is_transposed else stored
        pixels = upright[:: orientation.step_y, :: orientation.step_x].transpose(2, 0, 1)
        return np.ascontiguousarray(pixels)  # (3, H, W)

    def _orientation(self, frame: VideoFrame) -> _Orientation:
        """Read once for each angle: it is the same all over a file, but not over a folder."""
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = _Orientation.of(frame)
        return self._orientations[frame.rotation]
