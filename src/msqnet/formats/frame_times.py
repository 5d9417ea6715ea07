"""Frame numbers and seconds, by a video's own time stamps where the video is there.

Division by a frame rate is wrong for a rate that varies, and drifts by seconds in an hour where
29.97 was rounded to 30. So a frame's time is its time stamp; a rate is used only where the video is
missing, with a note.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from msqnet.documents import exists
from msqnet.errors import ConfigError, DatasetError, VideoError
from msqnet.video.frame_sources import content_state
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.intervals import Interval

MAX_FRAMES = 10**7
"""Longer videos are taken for mistakes."""
_SAME_RATE = 0.01
"""Share by which rates may differ: 29.97 is often written as 30."""


@dataclass(frozen=True)
class FrameTimes:
    """Starts of N frames, (N,) float64, rising, on the clock of the file; the end of the last one.

    The file ends at ``duration_seconds``, maybe with sound after its pictures. ``shown`` are the
    intervals that have pictures.
    """

    starts_seconds: NDArray[np.float64]
    end_seconds: float
    duration_seconds: float
    shown: tuple[Interval, ...]

    @property
    def average_fps(self) -> float:
        """Frames a second, from the first frame to the end of the last."""
        return len(self.starts_seconds) / (self.end_seconds - float(self.starts_seconds[0]))

    def seconds_of(self, frame: int) -> float:
        """When a frame from 0 to N begins; N is the end. `DatasetError` if there is none such."""
        count = len(self.starts_seconds)
        if not 0 <= frame <= count:
            raise DatasetError(f"found frame {frame}, expected 0 to {count}, counted from 0")
        return self.end_seconds if frame == count else float(self.starts_seconds[frame])

    def frame_at(self, seconds: float) -> int:
        """The frame that is shown at a time: the last that begins at it or before; from 0."""
        # A millionth of a second: times that were written with six decimals find their frames.
        found = np.searchsorted(self.starts_seconds, seconds + 1e-6, side="right") - 1
        return int(np.clip(found, 0, len(self.starts_seconds) - 1))

    def end_frame(self, seconds: float) -> int:
        """The first frame that begins at a time or after it; N where there is none."""
        return int(np.searchsorted(self.starts_seconds, seconds - 1e-6, side="left"))

    def frames_of(self, start_seconds: float, end_seconds: float) -> tuple[int, int]:
        """The first frame that shows an interval, and the one after the last; at least one."""
        first = self.frame_at(start_seconds)
        return first, max(first + 1, self.end_frame(end_seconds))

    @classmethod
    def at_rate(cls, fps: float, num_frames: int) -> FrameTimes:
        """Evenly spaced frames."""
        end = num_frames / fps
        return cls(np.arange(num_frames) / fps, end, end, ((0.0, end),))


def read_frame_times(path: Path) -> FrameTimes | None:
    """The time stamps of a video; None where it is missing. `VideoError` if it is no video."""
    if not exists(path):
        return None
    return _frame_times(path, content_state(path))


@lru_cache(maxsize=256)
def _frame_times(path: Path, _state: str) -> FrameTimes:
    """Those of a file in one state: readers and writers ask for them several times."""
    with open_video(path) as video:
        ends = float(video.end_seconds), float(video.duration_seconds)
        shown = video.shown_intervals or [(video.start_seconds, video.end_seconds)]
        return FrameTimes(video.pts_seconds, *ends, tuple(shown))


def readable_times(path: Path) -> FrameTimes | None:
    """As `read_frame_times`; None also where the video cannot be read."""
    with suppress(VideoError):
        return read_frame_times(path)
    return None


def shown_intervals(path: Path) -> tuple[Interval, ...] | None:
    """Where a video has pictures; None where that is not known."""
    return times.shown if (times := readable_times(path)) else None


def duration_seconds(path: Path, written: float | None = None) -> float | None:
    """Length of a video: its own where it is there and can be read, else what a file says of it."""
    return times.duration_seconds if (times := readable_times(path)) else written


class VideoClock:
    """When the frames of a video begin, for files that count them.

    It is as the video itself says where it is there, which what a file says is checked against.

    Args:
        path: of the video, which may be missing.
        place: the file and the line that name it, for errors.
        fps: frames a second as the file says.
        length_seconds: of the video as the file says.

    Raises:
        DatasetError: the video has another rate or length.
    """

    def __init__(
        self, path: Path, place: str, fps: float | None = None, length_seconds: float | None = None
    ) -> None:
        self.path, self._place, self.fps = path, place, fps
        self.times = readable_times(path)
        self.duration_seconds = length_seconds
        if self.times is None:
            return
        self.duration_seconds = length = self.times.duration_seconds
        self.fps = rate = self.times.average_fps
        if fps is not None and abs(rate - fps) > _SAME_RATE * rate:
            raise DatasetError(
                f"{place}: found {fps:g} frames a second, but {path.name} has {rate:.5g}; expected "
                "the rate of that video; correct it, or give the video that was annotated"
            )
        if length_seconds is not None and abs(length_seconds - length) > max(1, length / 50):
            raise DatasetError(
                f"{place}: found a video of {length_seconds:g} s, but {path.name} has "
                f"{length:g} s; expected the video that was annotated"
            )

    def seconds_of(self, frame: int) -> float:
        """When a frame, counted from 0, begins; `DatasetError` without such a frame or a rate."""
        if self.times is not None:
            return self.times.seconds_of(frame)
        if self.fps is None:
            raise DatasetError(
                f"{self._place}: {self.path.name} is not there or cannot be read, and frames are "
                "counted; put it there, or give its frames a second as fps"
            )
        if not 0 <= frame <= MAX_FRAMES:
            raise DatasetError(f"found frame {frame}, expected 0 to {MAX_FRAMES}, counted from 0")
        return frame / self.fps


def rate_option(options: Mapping[str, str], place: object, title: str) -> float:
    """Frames a second of the missing video at `place`; `DatasetError` without option ``fps``."""
    if "fps" not in options:
        raise DatasetError(
            f"{place}: the video is not there, and {title} counts frames; put it there, or take "
            "--option fps=... with its frames a second"
        )
    return parse_rate(options["fps"])


def parse_rate(written: str) -> float:
    """Frames a second such as 25, 29.97 or 30000/1001; `ConfigError` if no video has them."""
    try:
        rate = float(Fraction(written))
    except (ValueError, ZeroDivisionError, OverflowError):
        rate = 0.0
    if not is_rate(rate):
        raise ConfigError(f"option fps={written}: expected frames a second such as 30000/1001")
    return rate


def check_frame_count(path: Path, length_seconds: float, rate: float) -> None:
    """Raise `DatasetError` for a length that would fill the memory with frames."""
    if length_seconds * rate > MAX_FRAMES:
        raise DatasetError(
            f"{path}: {length_seconds:g} s at {rate:g} frames a second, which are more than "
            f"{MAX_FRAMES} frames; correct its events or --option fps=..."
        )


def moved_seconds(wanted: Interval, written: Interval) -> float:
    """How far the start or the end of an interval moved to that of a frame."""
    return max(abs(old - new) for old, new in zip(wanted, written, strict=True))


def moved_note(title: str, seconds: float) -> list[str]:
    """A note on the largest such move, in a format that counts frames; none if it is tiny."""
    if seconds <= 1e-6:
        return []
    return [f"{title} stores whole frames: times moved by up to {seconds:.3g} s"]


def is_rate(value: float) -> bool:
    """Whether a number can be frames a second."""
    return 1e-3 <= value <= 1e6
