"""What a competent user would write around `transformers` and PyAV: each window on its own.

Good libraries, used as their pages show: frames decoded with all of FFmpeg's threads, only those
that are needed made into arrays, resized by torch's own antialiased 8-bit kernel, fp32 models under
`torch.inference_mode`. What it does not have is what msqnet is about: windows that overlap are read
and seen again, and the modules are those of `transformers` as they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import torch
from torch.nn import functional as F

from msqnet.video.reader import open_video
from msqnet.video.window_grid import WindowGrid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from benchmarks.speed.harness import StageClock
    from benchmarks.speed.models import HuggingFaceParts
    from benchmarks.speed.settings import Settings

_SAME_TIME_SECONDS = 1e-6


def window_times(path: Path, settings: Settings) -> list[list[float]]:
    """Times of the frames of every window, as msqnet has them: the work is the same."""
    # The length in a file's header may be some milliseconds more than its frames are shown; with
    # that would come one window more than msqnet has.
    with open_video(path) as video:
        duration = video.duration_seconds
    grid = WindowGrid(
        duration, settings.window_seconds, settings.stride_seconds, settings.sizes.num_frames
    )
    return [grid.frame_times_seconds(window).tolist() for window in range(len(grid))]


def read_window(path: Path, times: Sequence[float], *, from_keyframe: bool) -> NDArray[np.uint8]:
    """The frames of one window.

    Args:
        path: the file.
        times: T seconds, increasing.
        from_keyframe: decode from the last keyframe before the window; else from the start.

    Returns:
        (T, H, W, 3) RGB: at each time the last frame that has begun.
    """
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if from_keyframe and stream.time_base is not None:
            container.seek(int(times[0] / stream.time_base), stream=stream)
        wanted = iter(times)
        time = next(wanted)
        last = None
        for frame in container.decode(stream):
            while last is not None and frame.time > time + _SAME_TIME_SECONDS:
                found.append(last.to_ndarray(format="rgb24"))
                if len(found) == len(times):
                    return np.stack(found)
                time = next(wanted)
            last = frame
        if last is None:
            raise ValueError(f"{path}: no frame from {times[0]} s on")
        found += [last.to_ndarray(format="rgb24")] * (len(times) - len(found))
    return np.stack(found)


def model_input(frames: NDArray[np.uint8], short_side_pixels: int, size_pixels: int) -> Tensor:
    """Frames (T, H, W, 3) as a clip (1, T, 3, S, S) uint8: short side, then the centre."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last
    height, width = pixels.shape[-2:]
    scale = short_side_pixels / min(height, width)
    size = [round(height * scale), round(width * scale)]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    top, left = ((side - size_pixels) // 2 for side in size)
    cut = resized[..., top : top + size_pixels, left : left + size_pixels]
    return cut.contiguous()[None]


@torch.inference_mode()
def predict(
    path: Path,
    parts: HuggingFaceParts,
    settings: Settings,
    clock: StageClock,
    *,
    from_start: bool,
) -> Tensor:
    """Scores of every window of a video.

    Stages of ``clock``, by number of the window: "keyframe/3" reads from the nearest keyframe,
    "start/3" from the start of the file, "resize/3" and "model/3" are what is done with the frames.

    Args:
        path: the file.
        parts: the models.
        settings: windows and sizes.
        clock: where the stages are counted.
        from_start: read every window from the start too, so that one run measures both ways.

    Returns:
        (W, K) float32.
    """
    sizes = settings.sizes
    scores = []
    for number, times in enumerate(window_times(path, settings)):
        with clock.stage(f"keyframe/{number}"):
            frames = read_window(path, times, from_keyframe=True)
        if from_start:
            with clock.stage(f"start/{number}"):
                read_window(path, times, from_keyframe=False)
        with clock.stage(f"resize/{number}"):
            pixels = model_input(frames, sizes.short_side_pixels, sizes.size_pixels)
        with clock.stage(f"model/{number}"):
            scores.append(parts.scores(pixels))
    return torch.cat(scores)
