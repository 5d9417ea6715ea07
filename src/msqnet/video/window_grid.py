"""Times of frames: segments of a clip, windows over a long video. No video is touched here.

Intervals are ``[start_seconds, end_seconds)``. Where windows overlap, frame times that fall
together are the same floats, so that each frame is decoded once for all windows that hold it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ConfigError, ShapeError, check_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RELATIVE_TOLERANCE = 1e-9


def segment_times(
    start_seconds: float,
    end_seconds: float,
    num_frames: int,
    offsets: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """One time in each of ``num_frames`` equal segments of an interval: (T,), never decreasing.

    ``offsets`` (T,) in [0, 1) are places in the segments, by default the centres. A count below 1,
    an end before the start, or wrong offsets are a `ShapeError`.
    """
    if num_frames < 1:
        raise ShapeError(f"num_frames {num_frames}: expected at least 1")
    if not end_seconds >= start_seconds:
        raise ShapeError(f"[{start_seconds}, {end_seconds}) s: the end lies before the start")
    within = np.full(num_frames, 0.5) if offsets is None else np.asarray(offsets, dtype=np.float64)
    if within.shape != (num_frames,) or not np.all((within >= 0) & (within < 1)):
        raise ShapeError(f"offsets: found {offsets}, expected {num_frames} values in [0, 1)")
    segment_seconds = (end_seconds - start_seconds) / num_frames
    times: NDArray[np.float64] = start_seconds + (np.arange(num_frames) + within) * segment_seconds
    return times


@dataclass(frozen=True)
class WindowGrid:
    """Windows ``[s, s + window)`` that cover a video, and the times of their frames.

    The pictures start at ``first_seconds`` and last for ``duration_seconds``. The last window is
    moved back to end with them. A video not longer than a window has one. Frame times are the
    centres of T equal segments of each window. They are computed as a whole number of half
    segments, so that shared times are equal to the bit. With a stride that is no whole number of
    segments, windows share nothing and each has its own times.

    A duration that is not above 0 is a `ShapeError`; a window, stride or count that is not above 0,
    or a stride beyond the window, which would skip parts of the video, a `ConfigError`.
    """

    duration_seconds: float
    window_seconds: float
    stride_seconds: float
    num_frames: int
    first_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.window_seconds < math.inf:
            raise ConfigError(f"window_seconds {self.window_seconds}: expected more than 0")
        check_numbers(self, num_frames=1)
        if not 0 < self.duration_seconds < math.inf:
            raise ShapeError(f"duration_seconds {self.duration_seconds}: expected more than 0")
        if not 0 < self.stride_seconds <= self.window_seconds * (1 + _RELATIVE_TOLERANCE):
            raise ConfigError(
                f"stride_seconds {self.stride_seconds}: expected more than 0 and at most "
                f"window_seconds {self.window_seconds}, or parts of the video would not be seen"
            )

    def __len__(self) -> int:
        overhang_seconds = self.duration_seconds - self.window_seconds
        return 1 + max(0, math.ceil(overhang_seconds / self.stride_seconds - _RELATIVE_TOLERANCE))

    @property
    def starts_seconds(self) -> NDArray[np.float64]:
        """(W,) float64, increasing, the first `first_seconds`."""
        starts = np.array([self._start(window)[1] for window in range(len(self))])
        return starts + self.first_seconds

    @property
    def ends_seconds(self) -> NDArray[np.float64]:
        """(W,) float64, the last one that of the pictures."""
        end_seconds = self.first_seconds + self.duration_seconds
        ends: NDArray[np.float64] = np.minimum(
            self.starts_seconds + self.window_seconds, end_seconds
        )
        ends[-1] = end_seconds
        return ends

    def frame_times_seconds(self, window: int) -> NDArray[np.float64]:
        """(T,) float64, the times of one window's frames; a `ShapeError` for no such window."""
        if not 0 <= window < len(self):
            raise ShapeError(f"no window {window}; expected 0 to {len(self) - 1}")
        ticks, start_seconds = self._start(window)
        if ticks is None or self.duration_seconds <= self.window_seconds:
            end_seconds = start_seconds + min(self.window_seconds, self.duration_seconds)
            times = segment_times(start_seconds, end_seconds, self.num_frames)
        else:
            centres = ticks + 2 * np.arange(self.num_frames) + 1
            times = centres * self.window_seconds / (2 * self.num_frames)
        return times + self.first_seconds

    def _start(self, window: int) -> tuple[int | None, float]:
        """Start of a window in half segments, None for no whole number of these; and in seconds."""
        last_seconds = self.duration_seconds - self.window_seconds
        stride = self._ticks(self.stride_seconds)
        ticks = None if stride is None else window * stride
        if window == 0:
            ticks = 0
        elif window == len(self) - 1:
            ticks = self._ticks(last_seconds)
        if ticks is None:
            return None, min(window * self.stride_seconds, last_seconds)
        return ticks, ticks * self.window_seconds / (2 * self.num_frames)

    def _ticks(self, seconds: float) -> int | None:
        number = seconds * 2 * self.num_frames / self.window_seconds
        nearest = round(number)
        return nearest if abs(number - nearest) <= _RELATIVE_TOLERANCE * max(1, nearest) else None
