"""Frames as Label Studio counts them, and seconds.

Label Studio counts from 1 at the frame rate that the labelling configuration gives (``frameRate``,
24 without it), whatever rate the file has: frame f is shown from (f - 1) / rate to f / rate
seconds. A range of frames has both its ends. Sources: https://labelstud.io/tags/video and the
editor's ``VideoCanvas`` and ``Video`` components.

Where the video is there, a frame of Label Studio is the frame of the file that is shown in the
middle of that stretch, with its own time stamps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from msqnet.formats.frame_times import FrameTimes

_EPSILON_SECONDS = 1e-6
_MAX_RATE = 240.0


@dataclass(frozen=True)
class FrameClock:
    """When frames of Label Studio begin and end.

    Attributes:
        rate: frames a second that Label Studio counts by; None for those of the file.
        times: of the file; None where it is not there. One of both is known.
    """

    rate: float | None
    times: FrameTimes | None

    def start_seconds(self, frame: int) -> float:
        """When a frame begins; the end of the video for frames after it."""
        index = self._index(frame)
        if self.times is not None:
            return self.times.seconds_of(min(index, len(self.times.starts_seconds)))
        assert self.rate is not None
        return index / self.rate

    def end_seconds(self, frame: int) -> float:
        """When a frame ends; the end of the video for frames after it."""
        index = self._index(frame) + 1
        if self.times is not None:
            return self.times.seconds_of(min(index, len(self.times.starts_seconds)))
        assert self.rate is not None
        return index / self.rate

    def _index(self, frame: int) -> int:
        """The frame of the file, or of an even rate, counted from 0."""
        if self.rate is None or self.times is None:
            return frame - 1
        middle_seconds = (frame - 0.5) / self.rate
        if middle_seconds >= self.times.duration_seconds:
            return len(self.times.starts_seconds)
        return self.times.frame_at(middle_seconds)

    def frames_of(self, start_seconds: float, end_seconds: float) -> tuple[int, int]:
        """The first and the last frame of a stretch of time; at least one frame.

        Needs a rate. A stretch that begins or ends inside of a frame of the file has all of it.
        """
        assert self.rate is not None
        if self.times is None:
            first = math.floor(start_seconds * self.rate + _EPSILON_SECONDS) + 1
            last = math.ceil(end_seconds * self.rate - _EPSILON_SECONDS)
            return first, max(first, last)
        begin = self.times.frame_at(start_seconds)
        end = max(begin + 1, self.times.end_frame(end_seconds))
        first = self._first_after(self.times.seconds_of(begin))
        return first, max(first, self._first_after(self.times.seconds_of(end)) - 1)

    def _first_after(self, seconds: float) -> int:
        """The first frame whose middle is at a time or after it."""
        assert self.rate is not None
        return max(1, math.ceil((seconds - _EPSILON_SECONDS) * self.rate + 0.5))


def rate_of(times: FrameTimes) -> tuple[float, bool]:
    """The rate at which Label Studio should count, and whether the frames come at an even rate.

    At an even rate it is that of the file. Otherwise it is so high that each frame of the file has
    one of its own, up to 240 a second.
    """
    count = len(times.starts_seconds)
    even = float(f"{count / times.duration_seconds:.9g}")
    middles = (np.arange(count) + 0.5) / even
    shown = np.searchsorted(times.starts_seconds, middles + _EPSILON_SECONDS, side="right") - 1
    if bool((shown == np.arange(count)).all()):
        return even, True
    gaps = np.diff([*times.starts_seconds, times.duration_seconds])
    return min(_MAX_RATE, float(f"{1 / gaps[gaps > 0].min():.9g}")), False
