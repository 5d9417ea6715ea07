"""Windows of a long video: a thread reads ahead; each frame is decoded and encoded once.

Frames that several windows see are one object, by which it is known that they are the same.
Axes: B windows, T frames of a window, N frames.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np

from msqnet.clips import WHOLE_FRAME, Box, Frames, stacked_sound
from msqnet.errors import UnreadableVideo
from msqnet.video.sound import window_sound
from msqnet.video.transforms import (
    box_of_motion,
    grey_levels,
    is_whole_view,
    motion_crop,
    whole_view,
)
from msqnet.video.window_grid import WindowGrid

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from msqnet.clips import Pixels, SoundInput
    from msqnet.config import ClipConfig, SoundConfig, WindowConfig
    from msqnet.inference.backends import Arrays, Backend, ClipOutputs
    from msqnet.video.reader import Video

ItemT = TypeVar("ItemT")

_SAME_TIME_SECONDS = 1e-6
# Intersection over union, chosen on films of joined `train` clips (benchmarks/joined_clips.py).
_SHARED_BOX_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One frame with its own time, the same object in all windows that hold it.

    Pixels are (3, H, W) uint8 RGB; (3, S, S) of a `PreprocessedWindow`.
    """

    pts_seconds: float
    pixels: Pixels


class Window(NamedTuple):
    """A window, its T frames (a frame may stand there twice), and its sound, where it is used."""

    start_seconds: float
    end_seconds: float
    frames: tuple[DecodedFrame, ...]
    sound: SoundInput | None = None


def window_lengths(
    config: WindowConfig, trained_window_seconds: float, num_frames: int
) -> tuple[float, float]:
    """Window and stride in seconds, defaults filled in.

    Args:
        trained_window_seconds: the length the model was trained on.
        num_frames: of a window; the default stride is half a window, rounded down to a whole
            number of their intervals, so that overlapping windows share frames.

    Raises:
        ConfigError: the stride is longer than the window, which would leave gaps.
    """
    window_seconds = config.window_seconds or trained_window_seconds
    half_seconds = window_seconds * max(1, num_frames // 2) / num_frames
    stride_seconds = config.stride_seconds or half_seconds
    WindowGrid(window_seconds, window_seconds, stride_seconds, num_frames)
    return window_seconds, stride_seconds


def iter_windows(
    video: Video, clip_config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[tuple[float, float, Frames]]:
    """As `iter_shared_windows`: start and end in seconds, and the T frames as one array."""
    for window in iter_shared_windows(video, clip_config, window_seconds, stride_seconds):
        pixels = np.stack([frame.pixels for frame in window.frames])
        pts_seconds = np.array([frame.pts_seconds for frame in window.frames])
        frames = Frames(pixels, pts_seconds, window.sound)
        yield window.start_seconds, window.end_seconds, frames


def iter_shared_windows(
    video: Video, clip_config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[Window]:
    """The windows of a video in time order, each with its frames.

    Every frame is decoded once, however many windows hold it, and is kept only until the last of
    them is built. Where the file turns out to be damaged, windows go on to the end of the part
    that decodes; `Video.is_damaged` and `Video.end_seconds` then say so. `UnreadableVideo` if
    no window can be decoded, `ConfigError` for a stride that is longer than the window.
    """
    done_seconds = 0.0
    while True:
        first, end = video.start_seconds, video.end_seconds
        grid = WindowGrid(
            end - first, window_seconds, stride_seconds, clip_config.num_frames, first
        )
        try:
            for window in _iter_grid(video, grid, done_seconds, clip_config.sound):
                if window.end_seconds > video.end_seconds + _SAME_TIME_SECONDS:
                    break
                done_seconds = window.end_seconds
                yield window
        except UnreadableVideo:
            if video.end_seconds >= end:
                raise
        # While it was read, the video may have turned out shorter than it says.
        is_as_planned = video.end_seconds >= end
        if is_as_planned or done_seconds >= video.end_seconds - _SAME_TIME_SECONDS:
            return


def _iter_grid(
    video: Video, grid: WindowGrid, done_seconds: float, sound: SoundConfig | None
) -> Iterator[Window]:
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
            # Times that fall on the same frame of a slow video give the same array.
            if last is None or last.pixels is not pixels:
                last = DecodedFrame(pts_seconds, pixels)
            held[time] = last
        frames = tuple(held[time] for time in window_times)
        times_of_window = float(starts[window]), float(ends[window])
        yield Window(*times_of_window, frames, window_sound(video, *times_of_window, sound))


class PreprocessedWindow(NamedTuple):
    """A window as the model takes it: T frames in order; a frame may stand there twice.

    ``motion_crops`` are T views of these frames, (3, S, S) uint8 each, where the model takes them.
    A view that shows all of the frame is the item of ``frames`` itself. ``motion_box`` is where
    this window moves; frames that the window before has too may keep their crop from there.
    """

    start_seconds: float
    end_seconds: float
    frames: tuple[DecodedFrame, ...]
    motion_crops: tuple[DecodedFrame, ...] | None
    motion_box: Box
    sound: SoundInput | None = None


def preprocessed_windows(
    video: Video, config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[PreprocessedWindow]:
    """As `iter_shared_windows`, each frame as `evaluation_clip` of video.transforms gives it.

    Overlapping windows share motion crops too: a frame keeps its crop from the window before where
    the box that it was cut to and that of this window have `_SHARED_BOX_SHARE` in common.
    """
    views: dict[DecodedFrame, DecodedFrame] = {}
    crops: dict[DecodedFrame, tuple[Box, DecodedFrame]] = {}
    levels: dict[DecodedFrame, NDArray[np.float32]] = {}
    for window in iter_shared_windows(video, config, window_seconds, stride_seconds):
        frames = dict.fromkeys(window.frames)
        views = {
            frame: views.get(frame) or _view_of(frame, whole_view(frame.pixels[None], config))
            for frame in frames
        }
        motion_crops, box = None, WHOLE_FRAME
        if config.closeup:
            levels = {
                frame: levels[frame] if frame in levels else grey_levels(frame.pixels[None])
                for frame in frames
            }
            of_frames = np.concatenate([levels[frame] for frame in window.frames])
            _, height, width = window.frames[0].pixels.shape
            box = box_of_motion(of_frames, height, width, config.motion)
            earlier, crops = crops, {}
            for frame in frames:
                if frame in earlier and earlier[frame][0].overlap(box) >= _SHARED_BOX_SHARE:
                    crops[frame] = earlier[frame]
                elif is_whole_view(box, config):
                    crops[frame] = box, views[frame]
                else:
                    pixels = motion_crop(frame.pixels[None], config, box)
                    crops[frame] = box, _view_of(frame, pixels)
            motion_crops = tuple(crops[frame][1] for frame in window.frames)
        shown = tuple(views[frame] for frame in window.frames)
        start_seconds, end_seconds, _, sound = window
        yield PreprocessedWindow(start_seconds, end_seconds, shown, motion_crops, box, sound)


def _view_of(frame: DecodedFrame, pixels: Pixels) -> DecodedFrame:
    """The frame as ``pixels`` (1, 3, S, S) show it."""
    return DecodedFrame(frame.pts_seconds, pixels[0])


def read_ahead(items: Iterable[ItemT], size: int) -> Generator[ItemT, None, None]:
    """Iterate over items in a thread, at most ``size`` (at least 1) ahead of their reader.

    Only the thread uses the items. It has ended when the generator is exhausted or closed. An error
    in it is raised where the items are read, after those before it.
    """
    iterator, end = iter(items), object()
    thread = ThreadPoolExecutor(1, "msqnet-reader")
    try:
        ahead = deque(thread.submit(next, iterator, end) for _ in range(size))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(thread.submit(next, iterator, end))
            yield cast("ItemT", item)
    finally:
        thread.shutdown(cancel_futures=True)


class SharedFrames:
    """Scores windows in their order; keeps the features of frames that later windows may hold.

    Features are those of views, of whole frames and of motion crops, each computed once.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._held: dict[DecodedFrame, dict[str, Any]] = {}

    def outputs(self, windows: Sequence[PreprocessedWindow]) -> ClipOutputs:
        """Calibrated scores of B windows, and embeddings where the backend gives them.

        The windows follow on those of the call before.
        """
        frames = self._features([window.frames for window in windows])
        frames |= stacked_sound([window.sound for window in windows])
        crops = [window.motion_crops for window in windows if window.motion_crops is not None]
        motion_crops = self._features(crops, is_motion_crop=True) if crops else None
        found = self._backend.clip_outputs(frames, motion_crops)
        first_seconds = windows[-1].frames[0].pts_seconds
        for view in [view for view in self._held if view.pts_seconds < first_seconds]:
            del self._held[view]
        return found

    def _features(
        self, clips: Sequence[tuple[DecodedFrame, ...]], *, is_motion_crop: bool = False
    ) -> Arrays:
        """Features (B, T, ...) of B clips of T views."""
        views = dict.fromkeys(view for clip in clips for view in clip)
        if new := [view for view in views if view not in self._held]:
            pixels = np.stack([view.pixels for view in new])
            features = self._backend.frame_features(pixels, is_motion_crop=is_motion_crop)
            for place, view in enumerate(new):
                self._held[view] = {name: values[place] for name, values in features.items()}
        held = [self._held[view] for clip in clips for view in clip]
        # Some features are of whole frames only.
        names = [name for name in held[0] if all(name in features for features in held)]
        form = (len(clips), len(clips[0]))
        return {name: _stacked([features[name] for features in held], form) for name in names}


def _stacked(items: Sequence[Any], form: tuple[int, int]) -> Any:
    """B x T arrays or tensors (...) as one (B, T, ...)."""
    if isinstance(items[0], np.ndarray):
        return np.stack(items).reshape(*form, *items[0].shape)
    import torch

    return torch.stack(list(items)).unflatten(0, form)
