"""Sources of frames by number: a file, also one of bytes, a folder of images, arrays; digests."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from msqnet.errors import EmptyVideo, ShapeError, UnreadableVideo, check
from msqnet.video.decoding import FALLBACK_FPS, NUM_THREADS, FrameDecoder, frame_rate
from msqnet.video.frame_index import FrameIndex, build_index, index_by_decoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
ARRAY_NAME = "frames"
"""What stands for the path of a video that is no file."""
_logger = logging.getLogger(__name__)


class _FramesEnd(Exception):  # noqa: N818 - a signal between two classes, never seen by a caller
    """The file decodes no further than `num_frames`."""

    def __init__(self, num_frames: int, problem: str) -> None:
        super().__init__(problem)
        self.num_frames = num_frames


class _IndexDisagrees(Exception):  # noqa: N818 - as above
    """A decoded frame is not the one that the index announced."""


class _ForwardPass:
    """Frames of a file by increasing number, skipping packets that no wanted frame needs.

    Where the next wanted frame lies behind a later starting point, the packets up to it are read
    but not decoded. Every decoded frame is checked against the index, so that a wrong one is never
    returned.

    `position` is the number of the last frame decoded, -1 before the first.
    """

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self._index = index
        self.decoder = FrameDecoder(path, 1 if index.suspicion else NUM_THREADS)
        self._first_exact = self._num_decoded = 0
        self._frame: VideoFrame | None = None
        self.position = -1

    def advance_to(self, wanted: int) -> VideoFrame:
        """Frame ``wanted``, which must not lie before `position`."""
        if self._frame is not None and wanted == self.position:
            return self._frame
        packet, first_exact = self._index.start_before(wanted)
        if packet > self.decoder.num_packets:
            self.decoder.skip_to(packet)
            self._first_exact = first_exact
            self.position = first_exact - 1
        frame = self._next_frame()
        while self.position < wanted:
            frame = self._next_frame()
        self._frame = frame
        return frame

    def _next_frame(self) -> VideoFrame:
        expected = self.position + 1
        while True:
            frame = self.decoder.next_frame()
            if frame is None:
                raise _FramesEnd(expected, self.decoder.problem or "the data end there")
            self._num_decoded += 1
            if self._num_decoded - 1 in self._index.misplaced:
                continue
            if self._index.is_from_packets:
                number = self._index.frame_with_pts(frame.pts)
                if number is not None and number < self._first_exact:
                    continue  # shown before the starting point but stored after it: not exact
                if number != expected:
                    raise _IndexDisagrees(f"expected frame {expected}, found pts {frame.pts}")
            self.position = expected
            return frame


class FileSource:
    """A video file and its index, which is corrected where decoding shows it wrong.

    ``average_fps`` is as the container states it, or None. Errors are those of `build_index`.
    """

    def __init__(self, path: Path, fps: Fraction | None = None) -> None:
        self.path = path
        self.index = build_index(path, fps)
        self.average_fps: Fraction | None = None
        self._pass: _ForwardPass | None = None
        if self.index.suspicion:
            num_frames, num_lost = len(self.index), self.index.num_lost
            self.frame(lambda index: len(index) - 1)
            if num_lost and len(self.index) == num_frames:
                self._warn_of_damage(self.index.suspicion, num_frames + num_lost)

    def close(self) -> None:
        """Close the file."""
        if self._pass is not None:
            self._pass.decoder.close()
        self._pass = None

    def frame(self, locate: Callable[[FrameIndex], int]) -> tuple[int, VideoFrame]:
        """The number and the frame; cheap if it lies ahead of the last one requested.

        ``locate`` gives the number; it is called again where the index had to be corrected, and
        free to raise then. No frame that decodes is an `UnreadableVideo`.
        """
        while True:
            wanted = locate(self.index)
            try:
                return wanted, self._pass_before(wanted).advance_to(wanted)
            except _FramesEnd as end:
                if not self._is_worth_a_careful_try():
                    self._shorten(end)
            except _IndexDisagrees as reason:
                if not self._is_worth_a_careful_try():
                    self._count_frames(reason)
            self.close()

    def _pass_before(self, wanted: int) -> _ForwardPass:
        if self._pass is not None and wanted < self._pass.position:
            self.close()
        if self._pass is None:
            self._pass = _ForwardPass(self.path, self.index)
            self.average_fps = frame_rate(self._pass.decoder.stream)
        return self._pass

    def _is_worth_a_careful_try(self) -> bool:
        """Whether decoding failed for the first time; then it is tried again with one thread."""
        problem = self._pass.decoder.problem if self._pass is not None else ""
        is_first = bool(problem) and not self.index.suspicion
        if is_first:
            self.index = replace(self.index, suspicion=problem)
        return is_first

    def _warn_of_damage(self, cause: str, num_announced: int) -> None:
        text = "%s: damaged (%s); %d of %d frames can be read"
        _logger.warning(text, self.path, cause, len(self.index), num_announced)

    def _shorten(self, end: _FramesEnd) -> None:
        """Leave out the frames behind the last one that decodes."""
        if end.num_frames == 0:
            raise UnreadableVideo(
                f"{self.path}: no frame decodes ({end}); re-encode the file or drop it"
            )
        num_announced = len(self.index) + self.index.num_lost
        self.index = self.index.shortened(end.num_frames)
        self._warn_of_damage(str(end), num_announced)

    def _count_frames(self, reason: _IndexDisagrees) -> None:
        """Replace the index by one from decoding everything."""
        _logger.info("%s: timestamps are not reliable (%s); reading in order", self.path, reason)
        num_announced = len(self.index)
        facts = self.index.facts
        facts = replace(facts, problem=facts.problem or self.index.suspicion)
        self.index = index_by_decoding(self.path, facts)
        if len(self.index) < num_announced:
            self._warn_of_damage(str(reason), num_announced)


def frame_image_paths(folder: Path) -> list[Path]:
    """The images of a folder in natural order (``2.jpg`` before ``10.jpg``); hidden ones left out.

    None is an `EmptyVideo`.
    """

    def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"([0-9]+)", path.name.lower())
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name

    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise EmptyVideo(
            f"{folder}: no video and no frame image in this folder; expected files such as .mp4, "
            f"or frames as {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(paths, key=natural_key)


class _StillsSource(ABC):
    """Frames that each stand alone, at a constant rate; `_load` gives one by its number."""

    def __init__(
        self, path: Path, num_frames: int, rate: Fraction, *, is_rate_assumed: bool = False
    ) -> None:
        self.path = path
        self.average_fps: Fraction | None = rate
        numbers = np.arange(num_frames, dtype=np.int64)
        self.index = FrameIndex(
            pts=numbers,
            end_pts=len(numbers),
            time_base=1 / rate,
            start_packets=numbers,
            start_frames=numbers,
            is_from_packets=True,
            is_rate_assumed=is_rate_assumed,
        )
        self._last: tuple[int, VideoFrame] | None = None

    @abstractmethod
    def _load(self, number: int) -> VideoFrame: ...

    def close(self) -> None:
        """Let go of the last frame."""
        self._last = None

    def frame(self, locate: Callable[[FrameIndex], int]) -> tuple[int, VideoFrame]:
        """The number and the frame; an `UnreadableVideo` names an image that is damaged."""
        wanted = locate(self.index)
        if self._last is None or wanted != self._last[0]:
            self._last = wanted, self._load(wanted)
        return self._last


class ImageFolderSource(_StillsSource):
    """Frames stored as one image each, at a constant rate: 25 frames a second by default."""

    def __init__(self, folder: Path, fps: Fraction | None = None) -> None:
        self._paths = frame_image_paths(folder)
        num_frames = len(self._paths)
        is_assumed = fps is None and num_frames > 1
        super().__init__(folder, num_frames, fps or FALLBACK_FPS, is_rate_assumed=is_assumed)

    def _load(self, number: int) -> VideoFrame:
        path = self._paths[number]
        with FrameDecoder(path) as decoder:
            frame, problem = decoder.next_frame(), decoder.problem
        if frame is None:
            raise UnreadableVideo(
                f"{path}: the image does not decode ({problem or 'no data'}); "
                "write it again or take it out of the folder"
            )
        return frame


class ArraySource(_StillsSource):
    """Frames in memory: (T, H, W, 3) uint8 RGB, or a sequence of T that are alike.

    None is an `EmptyVideo`, another form a `ShapeError`, no rate a `ConfigError`.
    """

    def __init__(self, frames: Iterable[Any], fps: Fraction | None) -> None:
        self._frames = [np.asarray(frame) for frame in frames]
        if not self._frames:
            raise EmptyVideo("frames: found none; expected at least one of (H, W, 3) uint8 RGB")
        first = self._frames[0].shape
        for number, frame in enumerate(self._frames):
            is_picture = frame.ndim == 3 and frame.shape[2] == 3 and frame.size
            if frame.dtype != np.uint8 or not is_picture or frame.shape != first:
                raise ShapeError(
                    f"frames: found {frame.dtype} of shape {frame.shape} as number {number} and "
                    f"{first} first; expected uint8 RGB of (H, W, 3), alike in all"
                )
        check(fps is not None, "frames in memory carry no times; give their rate with fps=25, say")
        super().__init__(Path(ARRAY_NAME), len(self._frames), cast("Fraction", fps))

    def _load(self, number: int) -> VideoFrame:
        pixels = np.ascontiguousarray(self._frames[number])
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.color_range = ColorRange.JPEG
        return frame


def store_content(content: Any) -> Path:
    """Write bytes, or what a file object gives, into a new temporary folder; returns the file.

    It has the object's name, if that has one. The folder is the caller's to remove; after an error
    it is gone. Nothing to read is an `UnreadableVideo`, text a `ShapeError`.
    """
    told = getattr(content, "name", None)
    name = PurePath(told).name.strip(".") if isinstance(told, str) else ""
    shown = name or type(content).__name__
    folder = tempfile.mkdtemp(prefix="msqnet-")
    try:
        path = Path(folder, name or "video")
        with path.open("wb") as file:
            if hasattr(content, "read"):
                shutil.copyfileobj(content, file)
            else:
                file.write(content)
        if path.stat().st_size == 0:
            raise UnreadableVideo(
                f"{shown}: reading gives no bytes; one that was read before needs seek(0)"
            )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TypeError | UnicodeDecodeError):
            raise ShapeError(f"{shown}: reading gives no bytes; open the file as 'rb'") from error
        raise
    return path


def _content(video: Path, describe: Callable[[Path], str]) -> str:
    """The description of a file, or a digest of those of all images of a folder of frames."""
    if not video.is_dir():
        return describe(video)
    parts = [f"{path.name} {describe(path)}" for path in frame_image_paths(video)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_digest(video: Path) -> str:
    """SHA-256 of a file, or of all images of a folder of frames: 64 hexadecimal digits.

    A file that cannot be read is an `OSError`, a folder without images an `EmptyVideo`.
    """

    def digest(path: Path) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _content(video, digest)


def content_state(video: Path) -> str:
    """Size and times of change: another text after a change, found without reading the video.

    Programs can set the time of the last change of the content (mtime) back, but not that of the
    inode (ctime). Such a change is missed only where a file system keeps no ctime. Errors are those
    of `content_digest`.
    """

    def times(path: Path) -> str:
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

    return _content(video, times)
