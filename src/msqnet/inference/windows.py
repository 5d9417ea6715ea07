"""Windows of a long video, decoded once and with few frames in memory.

Frames that several windows see are one object, by which it is known that they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from msqnet.clips import Frames
from msqnet.errors import UnreadableVideo
from msqnet.video.window_grid import WindowGrid, default_stride_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from msqnet.config import ClipConfig, WindowConfig
    from msqnet.video.reader import Video

_SAME_TIME_SECONDS = 1e-6


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One frame, the same object in all windows that see it.

    Attributes:
        pts_seconds: its own time.
        pixels: (3, H, W) uint8 RGB.
    """

    pts_seconds: float
    pixels: Tensor


class Window(NamedTuple):
    """A window and the T frames that stand for it; a frame may stand there twice."""

    start_seconds: float
    end_seconds: float
    frames: tuple[DecodedFrame, ...]

    def stacked(self) -> Frames:
        """Its frames as one tensor."""
        return Frames(
            torch.stack([frame.pixels for frame in self.frames]),
            torch.tensor([frame.pts_seconds for frame in self.frames], dtype=torch.float64),
        )


def window_lengths(
    config: WindowConfig, trained_window_seconds: float, num_frames: int
) -> tuple[float, float]:
    """Window and stride in seconds, defaults filled in.

    Args:
        config: what was asked for.
        trained_window_seconds: the length the model was trained on.
        num_frames: frames of a window; the default stride is a whole number of their intervals.

    Raises:
        ConfigError: the stride is longer than the window, so that time would go unseen.
    """
    window_seconds = config.window_seconds or trained_window_seconds
    stride_seconds = config.stride_seconds or default_stride_seconds(window_seconds, num_frames)
    WindowGrid(window_seconds, window_seconds, stride_seconds, num_frames)
    return window_seconds, stride_seconds


def iter_windows(
    video: Video, clip_config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[tuple[float, float, Frames]]:
    """As `iter_shared_windows`, each window with its frames as one tensor.

    Yields:
        Start and end in seconds, and T frames.
    """
    for window in iter_shared_windows(video, clip_config, window_seconds, stride_seconds):
        yield window.start_seconds, window.end_seconds, window.stacked()


def iter_shared_windows(
    video: Video, clip_config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[Window]:
    """The windows of a video in time order, each with its frames.

    Every frame is decoded once, however many windows see it, and is held only until the last of
    them is built. Where the file turns out to be damaged, windows go on to the end of the part
    that decodes; `Video.is_damaged` and `Video.duration_seconds` then say so.

    Args:
        video: an open video.
        clip_config: its ``num_frames`` is the number of frames of a window.
        window_seconds: length of a window; a shorter video is one window.
        stride_seconds: from one start to the next.

    Raises:
        UnreadableVideo: no window can be decoded.
        ConfigError: the stride is longer than the window.
    """
    done_seconds = 0.0
    while True:
        grid = WindowGrid(
            video.duration_seconds, window_seconds, stride_seconds, clip_config.num_frames
        )
        try:
            for window in _iter_grid(video, grid, done_seconds):
                if window.end_seconds > video.duration_seconds + _SAME_TIME_SECONDS:
                    break
                done_seconds = window.end_seconds
                yield window
        except UnreadableVideo:
            if video.duration_seconds >= grid.duration_seconds:
                raise
        # While it was read, the video may have turned out shorter than it says.
        is_as_planned = video.duration_seconds >= grid.duration_seconds
        if is_as_planned or done_seconds >= video.duration_seconds - _SAME_TIME_SECONDS:
            return


def _iter_grid(video: Video, grid: WindowGrid, done_seconds: float) -> Iterator[Window]:
    """Windows of ``grid`` that end after ``done_seconds``."""
    starts, ends = grid.starts_seconds, grid.ends_seconds
    windows = np.flatnonzero(ends > done_seconds + _SAME_TIME_SECONDS).tolist()
    times = [grid.frame_times_seconds(window).tolist() for window in windows]
    wanted = sorted({time for window_times in times for time in window_times})
    stream = zip(wanted, video.stream_at(wanted), strict=True)
    held: dict[float, DecodedFrame] = {}
    last: DecodedFrame | None = None
    for window, window_times in zip(windows, times, strict=True):
        for time in [time for time in held if time < window_times[0]]:
            del held[time]
        while window_times[-1] not in held:
            time, (pts_seconds, pixels) = next(stream)
            # Times that fall on the same frame of a slow video give the same tensor.
            if last is None or last.pixels is not pixels:
                last = DecodedFrame(pts_seconds, pixels)
            held[time] = last
        frames = tuple(held[time] for time in window_times)
        yield Window(float(starts[window]), float(ends[window]), frames)
