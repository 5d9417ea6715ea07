"""Everything that is drawn of the predictions of one video, beside its result files.

The figure and the annotated video come from their own modules. The GIF is made here: the overlay of
the best part of a video, small, for pages and slides.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.files import replacing
from msqnet.inference.results import DRAWN_SUFFIXES
from msqnet.report.figures import save_figure, timeline_figure
from msqnet.report.overlay import Overlay, write_overlay
from msqnet.report.video_writer import square_size
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from msqnet.predictions import VideoPredictions

    Progress = Callable[[float], None]

MAX_GIF_WIDTH_PIXELS = 480
MAX_GIF_SECONDS = 20.0
_FRAME_SECONDS = 0.1
_UNIT_SECONDS = 0.01
_NUM_COLOURS = 255  # and one for pixels that stay as they are
_HELD_LEVELS = 8
_NUM_PALETTE_FRAMES = 6


def draw_missing(
    predictions: VideoPredictions,
    video: Path,
    stem: Path,
    suffixes: Sequence[str] = DRAWN_SUFFIXES,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Draw the figure, the annotated video and its GIF where they do not exist; returns the new.

    Args:
        video: the file or folder of images; its path may have changed since it was predicted.
        stem: folder and name of the result files, see `msqnet.predictions.result_names`.
        suffixes: those of `DRAWN_SUFFIXES` that are wanted.
        progress: called with the share that is done, from 0 to 1.

    Raises:
        VideoError: the video cannot be read any more.
        OSError: a file cannot be written; what was drawn before stays.
    """
    figure, overlay, gif = DRAWN_SUFFIXES
    paths = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    missing = [path for path in paths if not path.exists()]
    for number, path in enumerate(missing):

        def report(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(missing))

        suffix = path.name.removeprefix(stem.name)
        if suffix == figure:
            save_figure(timeline_figure(predictions), path)
        elif suffix == overlay:
            write_overlay(predictions, video, path, report)
        elif suffix == gif:
            write_gif(predictions, video, path, report)
    return tuple(missing)


def gif_interval(predictions: VideoPredictions) -> tuple[float, float]:
    """Start and end of the GIF in seconds: the whole video, or 20 s around the highest score."""
    duration = predictions.duration_seconds
    if duration <= MAX_GIF_SECONDS:
        return 0.0, duration
    peak = predictions.peaks(1)[0]
    middle = (peak.start_seconds + peak.end_seconds) / 2
    start = min(max(middle - MAX_GIF_SECONDS / 2, 0.0), duration - MAX_GIF_SECONDS)
    return start, start + MAX_GIF_SECONDS


def write_gif(
    predictions: VideoPredictions, video: Path, path: Path, progress: Progress | None = None
) -> None:
    """Write a looping GIF of 10 frames a second, at most 480 pixels wide.

    The panel is laid out for the small picture, so that its type stays readable. All frames share
    one palette, made from frames of the whole interval, so that colours do not flicker. Arguments
    and errors are those of `write_overlay`.
    """
    from PIL import Image

    times, durations = _gif_times(*gif_interval(predictions))
    fps = predictions.fps
    with open_video(video, fps=fps) as source:
        width, height = square_size(source)
        scale = min(1.0, MAX_GIF_WIDTH_PIXELS / width)
        short_side = max(1, math.ceil(scale * min(source.width, source.height)))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    overlay = Overlay(predictions, *size)

    def frames_at(times: Sequence[float]) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB at each time; the next one overwrites it."""
        with open_video(video, short_side_pixels=short_side, fps=fps) as small:
            found = zip(times, small.stream_at(times), strict=True)
            for _, frame in overlay.frames((time, pixels) for time, (_, pixels) in found):
                yield frame

    some = times[:: max(1, len(times) // _NUM_PALETTE_FRAMES)]
    examples = [frame.copy() for frame in frames_at(some)]
    palette = Image.fromarray(np.concatenate(examples)).quantize(
        _NUM_COLOURS, method=Image.Quantize.FASTOCTREE
    )

    def images() -> Iterator[Image.Image]:
        quantized = _quantized(frames_at(times), palette, overlay.picture_height)
        for number, image in enumerate(quantized, start=1):
            yield image
            if progress is not None:
                progress(number / len(times))

    rest = images()
    with replacing(path) as part, part.open("wb") as file:
        options: dict[str, Any] = {"duration": durations, "loop": 0, "optimize": True}
        next(rest).save(file, format="GIF", save_all=True, append_images=rest, **options)


def _gif_times(start: float, end: float) -> tuple[list[float], list[int]]:
    """Times of the frames in seconds, and their durations in milliseconds."""
    num_frames = max(1, math.ceil((end - start) / _FRAME_SECONDS - 1e-6))
    times = [start + number * _FRAME_SECONDS for number in range(num_frames)]
    # The format counts in hundredths of a second.
    units = [round((time - times[0]) / _UNIT_SECONDS) for time in (*times, end)]
    return times, [10 * max(1, after - before) for before, after in itertools.pairwise(units)]


def _quantized(
    frames: Iterator[NDArray[np.uint8]], palette: Image, picture_height: int
) -> Iterator[Image]:
    """Frames in the colours of the palette.

    Pictures are dithered, against steps in skies, panels are not, for clean type. A pixel of the
    picture that hardly changes stays as it is: camera noise would make files several times as large
    and shows as flicker.
    """
    from PIL import Image

    def in_palette(pixels: NDArray[np.uint8], dither: Image.Dither) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).quantize(palette=palette, dither=dither))

    held: NDArray[np.int16] | None = None
    indices = np.zeros((0, 0), np.uint8)
    for frame in frames:
        picture = in_palette(frame[:picture_height], Image.Dither.FLOYDSTEINBERG)
        panel = in_palette(frame[picture_height:], Image.Dither.NONE)
        new = np.concatenate([picture, panel])  # (H, W) uint8, numbers of colours
        if held is None:
            held, indices = frame.astype(np.int16), new
        is_new = (np.abs(frame - held) > _HELD_LEVELS).any(axis=2)  # (H, W)
        is_new[picture_height:] = True
        held[is_new] = frame[is_new]
        indices = np.where(is_new, new, indices)
        image = Image.fromarray(indices)
        image.putpalette(palette.getpalette() or [])
        yield image
