"""Videos of any container and codec that PyAV decodes, and folders of frame images.

Frames are requested by time or by index. They equal, bit for bit, those of reading the whole file.
The frame at time t is the last one whose presentation time is not after t.

A file with a damaged end stays usable: its frames are those that decode. Where that shows only
while reading, `num_frames` and `duration_seconds` become smaller and a warning is logged once.
Times behind the part that decodes raise `UnreadableVideo`; nothing is ever filled in.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import weakref
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataKind
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from msqnet.clips import Frames, Pixels
from msqnet.errors import MsqnetError, ShapeError, UnreadableVideo, VideoError, check, unexpected
from msqnet.intervals import Interval, intersect, subtract
from msqnet.video.clock import still_intervals
from msqnet.video.decoding import FALLBACK_FPS, OversizedFrames, open_stream
from msqnet.video.frame_sources import (
    ARRAY_NAME,
    IMAGE_SUFFIXES,
    ArraySource,
    FileSource,
    ImageFolderSource,
    store_content,
)
from msqnet.video.hdr import TRANSFERS, to_screen
from msqnet.video.sound import SoundTrack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from av.sidedata.sidedata import SideDataContainer
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from msqnet.video.frame_index import FrameIndex

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Video",
    "is_video_file",
    "open_video",
    "scaled_size",
]

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m", ".m2ts", ".m2t", ".mxf", ".vob", ".dv"}
    | {".dav", ".h264", ".h265", ".hevc", ".3g2", ".divx", ".rm", ".rmvb", ".f4v", ".m2v", ".ogm"}
    | {".mjpeg", ".mjpg"}
)
"""Suffixes (lower case) of videos; what other files are, `is_video_file` looks up in them."""

_OTHER_SUFFIXES = (
    ".7z .bz2 .csv .db .dll .docx .exe .flac .gz .h5 .hdf5 .html .json .log .mat .md .mp3 .npy .npz"
    " .ods .odt .onnx .parquet .pdf .pickle .pkl .pptx .pt .pth .py .pyc .rar .safetensors .so"
    " .sqlite .svg .tar .tgz .tsv .txt .wav .xls .xlsx .xml .xz .yaml .zip .zst"
)
"""Suffixes of files that are looked into no further: there may be many, and a look takes 0.1 s."""
_PICTURE_FORMATS = frozenset({"image2", "ico", "apng"})
_PICTURE_BRANDS = ("avif", "mif1", "heic", "heix", "heim", "heis")
_NUM_BYTES_LOOKED_AT = 512

_Source = FileSource | ImageFolderSource | ArraySource
_TIME_TOLERANCE_SECONDS = 5e-7
_MAX_DENOMINATOR = 1_000_000
_MAX_LISTED = 5
_NUM_SIDE_DATA_KINDS = 64
_MATRICES = {1: 1, 2: 5, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Matrices of swscale, which older PyAV have no names for, by those of ITU-T H.273 (2: none)."""

_SHORT_GAP_SECONDS = 0.25
"""Sound and pictures seldom begin and end together to a frame."""


def is_video_file(path: Path) -> bool:
    """Whether a file is a video: by its suffix, or else by what FFmpeg finds in its first bytes.

    Pictures, text and playlists are none, nor is what cannot be read.
    """
    suffix = path.suffix.lower()
    others = IMAGE_SUFFIXES.union(_OTHER_SUFFIXES.split())
    if suffix in VIDEO_SUFFIXES | others or not path.is_file():
        return suffix in VIDEO_SUFFIXES
    try:
        with path.open("rb") as file:
            start = file.read(_NUM_BYTES_LOOKED_AT)
        # FFmpeg takes some text for video, and follows playlists. A last letter may be cut off.
        if b"\0" not in start and len(start.decode("utf-8", "ignore").encode()) >= len(start) - 3:
            return False
        container, _ = open_stream(path, num_threads=1)
    except OversizedFrames:
        return True
    except (VideoError, OSError):
        return False
    with container:
        name, brand = container.format.name, container.metadata.get("major_brand")
        return not (name.endswith("_pipe") or name in _PICTURE_FORMATS or brand in _PICTURE_BRANDS)


def open_video(
    path: str | Path | Iterable[Any],
    *,
    short_side_pixels: int | None = None,
    fps: Fraction | float | None = None,
) -> Video:
    """Open a video file, a folder of frame images, or frames in memory.

    Args:
        path: of the file or folder; what a file holds, as bytes or an object with ``read``, which
            lies in a temporary file until the video is left or forgotten; or (T, H, W, 3) uint8
            RGB, or a list of (H, W, 3), with their ``fps``.
        short_side_pixels: frames are scaled down to this short side while decoding (aspect kept,
            never scaled up); None keeps their size.
        fps: frames a second of a folder of images, or of a raw stream that states no rate; 25 by
            default, which the notes say; and of frames in memory. Other files carry their times.

    Raises:
        UnreadableVideo: missing, not a video, or no frame decodes.
        EmptyVideo: no video stream, or a folder without images.
        ConfigError: a size below 1, a rate not above 0 or missing.
        ShapeError: frames of another form; a file object of text.
    """
    is_rate = fps is None or (isinstance(fps, Real) and fps > 0)
    check(is_rate, f"fps {fps!r}: expected a number of more than 0")
    if hasattr(path, "read") or isinstance(path, bytes | bytearray | memoryview):
        return _open_content(path, short_side_pixels, fps)
    try:
        return Video(_source(path, fps), short_side_pixels)
    except (MsqnetError, OSError):
        raise
    except Exception as error:  # of PyAV and FFmpeg, which meet files that nobody foresaw
        name = path if isinstance(path, str | os.PathLike) else ARRAY_NAME
        raise UnreadableVideo(unexpected(error, name)) from error


def _open_content(
    content: Any, short_side_pixels: int | None, fps: Fraction | float | None
) -> Video:
    """The video that bytes or a file object hold, under the object's name if it has one."""
    path = store_content(content)
    try:
        video = open_video(path, short_side_pixels=short_side_pixels, fps=fps)
    except BaseException:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
    video.path = Path(path.name)
    video.remove_content = weakref.finalize(video, shutil.rmtree, path.parent, True)
    return video


def _source(path: Any, fps: Fraction | float | None) -> _Source:
    rate = None if fps is None else Fraction(float(fps)).limit_denominator(_MAX_DENOMINATOR)
    if not isinstance(path, str | os.PathLike):
        if not hasattr(path, "__iter__"):
            raise ShapeError(
                f"a video as {type(path).__name__}: expected a path, bytes, a file object, or "
                "frames in memory as (T, H, W, 3) uint8"
            )
        return ArraySource(path, rate)
    path = Path(path)
    if path.is_dir():
        return ImageFolderSource(path, rate)
    if not path.is_file():
        raise UnreadableVideo(f"{path}: no such file or folder; check the path")
    if path.stat().st_size == 0:
        raise UnreadableVideo(f"{path}: the file holds 0 bytes; copy it again or drop it")
    return FileSource(path, rate)


class Video(AbstractContextManager["Video"]):
    """An open video. Use it as a context manager, or close it; made by `open_video`.

    `width` and `height` are pixels of the upright source frame, rotation metadata applied.
    """

    def __init__(self, source: _Source, short_side_pixels: int | None) -> None:
        self.path = source.path
        self.remove_content: Callable[[], object] = lambda: None
        self._source = source
        self._track: SoundTrack | None = None
        _, first_frame = source.frame(lambda index: 0)
        self._convert = _PixelConverter(first_frame, short_side_pixels)
        self.width = self._convert.source_width
        self.height = self._convert.source_height

    @property
    def num_frames(self) -> int:
        """Exact number of frames, as far as the file is known to decode."""
        return len(self._source.index)

    @property
    def start_seconds(self) -> float:
        """When the first frame is shown: after 0 where sound begins before the pictures."""
        return max(0.0, float(self._source.index.pts_seconds[0]))

    @property
    def end_seconds(self) -> float:
        """End of the last frame."""
        return self._source.index.end_seconds

    @property
    def duration_seconds(self) -> float:
        """End of the file: of its last frame, or of the sound that goes on after it."""
        index = self._source.index
        return (
            self.end_seconds
            if index.num_lost
            else max(self.end_seconds, index.facts.sound_end_seconds)
        )

    @property
    def shown_intervals(self) -> list[Interval]:
        """Where there are frames: not before the first, after the last, or where they are lost."""
        index = self._source.index
        return subtract([(self.start_seconds, self.end_seconds)], (*index.lost, *index.jumps))

    @property
    def pts_seconds(self) -> NDArray[np.float64]:
        """(num_frames,) float64, increasing; on the file's clock, as players show it."""
        return self._source.index.pts_seconds

    @property
    def average_fps(self) -> Fraction | None:
        """Frames a second as the container states it, None where it does not."""
        return self._source.average_fps

    @property
    def is_damaged(self) -> bool:
        """Whether frames are known to be lost."""
        return self._source.index.num_lost > 0 or bool(self._source.index.lost)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know about the clock of the file, and what is lost of it."""
        index, found = self._source.index, []
        if index.num_lost:
            found.append(
                f"the file is damaged: {len(index)} frames decode, up to {self.end_seconds:.3f} s; "
                "what lies behind is not predicted"
            )
        if index.lost:
            found.append(f"the file is damaged: pictures are lost {_listed(index.lost)}")
        if index.jumps:
            found.append(f"the clock of the file jumps, without pictures {_listed(index.jumps)}")
        gaps = [*index.lost, *index.jumps]
        if stills := [s for s in still_intervals(index.pts_seconds) if not intersect([s], gaps)]:
            found.append(f"no new picture comes for long {_listed(stills)}")
        if index.restarts_seconds:
            places = ", ".join(f"{seconds:.3f}" for seconds in index.restarts_seconds[:_MAX_LISTED])
            found.append(
                f"the clock of the file goes back {len(index.restarts_seconds)} time(s), as in "
                f"files that were joined; times go on there: at {places} s"
            )
        gaps = [(0.0, self.start_seconds), (self.end_seconds, self.duration_seconds)]
        gaps = [gap for gap in gaps if gap[1] - gap[0] > _SHORT_GAP_SECONDS]
        if gaps and gaps[0] not in index.lost:
            found.append(f"there is no picture {_listed(gaps)}")
        if self._convert.transfer:
            found.append(f"{self._convert.transfer} footage: mapped to the range of usual screens")
        if index.is_rate_assumed:
            found.append(f"nothing states its frame rate: {FALLBACK_FPS} assumed; --fps sets it")
        return tuple(found)

    def __exit__(self, *_error: object) -> None:
        self.close()
        self.remove_content()

    def close(self) -> None:
        """Close the file. Requesting frames afterwards opens it again."""
        self._source.close()
        if self._track is not None:
            self._track.close()

    def sound_track(self, rate: int) -> SoundTrack:
        """The sound at so many samples a second; none of images, or where the clock goes back."""
        if self._track is None or self._track.rate != rate:
            source = self._source
            is_timed = isinstance(source, FileSource) and not source.index.restarts_seconds
            self._track = SoundTrack(source.path if is_timed else None, rate)
        return self._track

    def frames_at(self, times_seconds: Sequence[float]) -> Frames:
        """The frames at T times of the file's clock, in the order given; repeats are allowed.

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
        if index.num_lost and time_seconds >= index.end_seconds:
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
            f"{len(index) + index.num_lost} frames decode, up to {index.end_seconds:.3f} s "
            f"({index.suspicion}); request earlier frames or repair the file"
        )


def _listed(intervals: Sequence[Interval]) -> str:
    """Intervals of time and their length in all."""
    parts = [f"{start:.3f} to {end:.3f}" for start, end in intervals[:_MAX_LISTED]]
    parts += ["..."] if len(intervals) > _MAX_LISTED else []
    return f"at {', '.join(parts)} s ({sum(end - start for start, end in intervals):.3f} s)"


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
        matrix = _side_data(frame).get("DISPLAYMATRIX")
        if matrix is None:
            return cls(False, 1, 1)
        a, b, _, c, d, *_ = struct.unpack_from("=9i", bytes(matrix))
        is_transposed = abs(a) + abs(d) < abs(b) + abs(c)
        x, y = (c, b) if is_transposed else (a, d)
        return cls(is_transposed, -1 if x < 0 else 1, -1 if y < 0 else 1)


def _side_data(frame: VideoFrame) -> SideDataContainer:
    """The side data of a frame, without kinds that PyAV has no name for, such as EXIF."""
    # Looking at a frame's side data ties it into a reference cycle, which would keep its pixels
    # until the next garbage collection. So we look at a copy of hardly any pixels.
    tiny = VideoReformatter().reformat(
        frame, 2, 2, "gray", interpolation=Interpolation.POINT, threads=1
    )
    with suppress(ValueError):
        return cast("SideDataContainer", tiny.side_data)
    graph = Graph()
    source = graph.add_buffer(width=2, height=2, format=tiny.format, time_base=Fraction(1))
    unnamed = set(range(_NUM_SIDE_DATA_KINDS)) - {kind.value for kind in SideDataKind}
    filters = [graph.add("sidedata", f"mode=delete:type={kind}") for kind in sorted(unnamed)]
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
    graph.push(tiny)
    return cast("SideDataContainer", cast("VideoFrame", graph.pull()).side_data)


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
    states none is taken for one of BT.601 with limited range. Both are given to PyAV in so many
    words, whose releases assume differently. Fields of interlaced frames stay woven, as stored.
    Alpha is dropped. ``transfer`` names that of footage of high dynamic range, or is empty.
    """

    def __init__(self, first_frame: VideoFrame, short_side_pixels: int | None) -> None:
        stored = first_frame.width, first_frame.height
        is_transposed = _Orientation.of(first_frame).is_transposed
        self.source_width, self.source_height = stored[::-1] if is_transposed else stored
        self._size = scaled_size(self.source_width, self.source_height, short_side_pixels)
        self._reformatter = VideoReformatter()
        self.transfer = TRANSFERS.get(int(first_frame.color_trc), "")

    def __call__(self, frame: VideoFrame) -> Pixels:
        """(3, H, W) uint8 RGB."""
        orientation = _Orientation.of(frame)  # images of a folder may each have another
        # Swapping is its own inverse: the size before orienting.
        width, height = self._size[::-1] if orientation.is_transposed else self._size
        is_full = frame.format.name.startswith("yuvj")
        color_range = int(frame.color_range) or (ColorRange.JPEG if is_full else ColorRange.MPEG)
        rgb = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb48le" if self.transfer else "rgb24",
            src_colorspace=_MATRICES.get(int(frame.colorspace)),
            src_color_range=color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        stored: NDArray[Any] = rgb.to_ndarray()  # (H, W, 3)
        if self.transfer:
            stored = to_screen(stored, self.transfer)
        upright = stored.transpose(1, 0, 2) if orientation.is_transposed else stored
        pixels = upright[:: orientation.step_y, :: orientation.step_x].transpose(2, 0, 1)
        return np.ascontiguousarray(pixels)  # (3, H, W)
