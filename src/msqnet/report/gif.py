"""The overlay of the best part of a video as an animated GIF, for pages and slides."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from msqnet.predictions import replacing
from msqnet.report.overlay import Overlay
from msqnet.report.pictures import square_size
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from msqnet.predictions import VideoPredictions

MAX_GIF_WIDTH_PIXELS = 480
MAX_GIF_SECONDS = 20.0
_FRAME_SECONDS = 0.1
_UNIT_SECONDS = 0.01
_NUM_COLOURS = 255  # and one for pixels that stay as they are
_HELD_LEVELS = 8
_NUM_PALETTE_FRAMES = 6


def gif_stretch(predictions: VideoPredictions) -> tuple[float, float]:
    """Start and end of what the GIF shows: everything, or 20 s around the highest score.

    Args:
        predictions: of the video.

    Returns:
        Seconds from the first frame.
    """
    duration = predictions.duration_seconds
    if duration <= MAX_GIF_SECONDS:
        return 0.0, duration
    peak = predictions.peaks(1)[0]
    middle = (peak.start_seconds + peak.end_seconds) / 2
    start = min(max(middle - MAX_GIF_SECONDS / 2, 0.0), duration - MAX_GIF_SECONDS)
    return start, start + MAX_GIF_SECONDS


def write_gif(
    predictions: VideoPredictions,
    video: Path,
    path: Path,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a looping GIF of 10 frames a second, at most 480 pixels wide.

    The panel is laid out for the small picture, so that its type stays readable. All frames share
    one palette, made from frames of the whole stretch, so that colours do not flicker.

    Args:
        predictions: of the video.
        video: the file or folder of images.
        path: the GIF to write; it appears when it is complete.
        progress: called with the share that is done, from 0 to 1.

    Raises:
        VideoError: the video cannot be read any more.
        OSError: the file cannot be written.
        MissingExtra: matplotlib or Pillow is not installed.
    """
    start, end = gif_stretch(predictions)
    times = _times(start, end)
    pictures = _SmallOverlay(predictions, video)
    every = max(1, len(times) // _NUM_PALETTE_FRAMES)
    palette = _palette([frame.copy() for frame in pictures.at(times[::every])])
    images = _quantised(pictures.at(times), palette, pictures.picture_height)
    if progress is not None:
        images = _counted(images, len(times), progress)
    with replacing(path) as part, part.open("wb") as file:
        next(images).save(
            file,
            format="GIF",
            save_all=True,
            append_images=images,
            duration=_durations_milliseconds(times, end),
            loop=0,
            optimize=True,
        )


class _SmallOverlay:
    """The overlay of a video at the size of a GIF.

    Args:
        predictions: of the video.
        video: the file or folder of images.

    Attributes:
        picture_height: pixels of the picture at the top of each frame.
    """

    def __init__(self, predictions: VideoPredictions, video: Path) -> None:
        self._video = video
        with open_video(video) as source:
            width, height = square_size(source)
            scale = min(1.0, MAX_GIF_WIDTH_PIXELS / width)
            self._short_side = max(1, math.ceil(scale * min(source.width, source.height)))
        size = max(1, round(scale * width)), max(1, round(scale * height))
        self._overlay = Overlay(predictions, *size)
        self.picture_height = self._overlay.picture_height

    def at(self, times: Sequence[float]) -> Iterator[NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB at each time; the next one overwrites it."""
        with open_video(self._video, short_side_pixels=self._short_side) as source:
            found = zip(times, source.stream_at(times), strict=True)
            for _, frame in self._overlay.frames((time, pixels) for time, (_, pixels) in found):
                yield frame


def _times(start: float, end: float) -> list[float]:
    count = max(1, math.ceil((end - start) / _FRAME_SECONDS - 1e-6))
    return [start + number * _FRAME_SECONDS for number in range(count)]


def _durations_milliseconds(times: Sequence[float], end: float) -> list[int]:
    """Of each frame, in whole hundredths of a second, the unit of the format."""
    units = [round((time - times[0]) / _UNIT_SECONDS) for time in (*times, end)]
    return [10 * max(1, after - before) for before, after in itertools.pairwise(units)]


def _palette(frames: Sequence[NDArray[np.uint8]]) -> Image:
    """The colours that serve all of these frames best."""
    from PIL import Image

    everything = Image.fromarray(np.concatenate(frames, axis=0))
    return everything.quantize(_NUM_COLOURS, method=Image.Quantize.FASTOCTREE)


def _quantised(
    frames: Iterator[NDArray[np.uint8]], palette: Image, picture_height: int
) -> Iterator[Image]:
    """Frames in the colours of the palette.

    Pictures are dithered, against steps in skies, panels are not, for clean type. A pixel of the
    picture that hardly changes stays as it is: noise of a camera would make files several times as
    large and shows as flicker.
    """
    held: NDArray[np.int16] | None = None
    indices = np.zeros((0, 0), np.uint8)
    for frame in frames:
        new = _in_palette(frame, palette, picture_height)
        if held is None:
            held, indices = frame.astype(np.int16), new
        is_new = (np.abs(frame - held) > _HELD_LEVELS).any(axis=2)  # (H, W)
        is_new[picture_height:] = True
        held[is_new] = frame[is_new]
        indices = np.where(is_new, new, indices)
        yield _paletted(indices, palette)


def _in_palette(frame: NDArray[np.uint8], palette: Image, picture_height: int) -> NDArray[np.uint8]:
    """(H, W) uint8, numbers of colours."""
    from PIL import Image

    parts = (
        (frame[:picture_height], Image.Dither.FLOYDSTEINBERG),
        (frame[picture_height:], Image.Dither.NONE),
    )
    quantised = (
        np.asarray(Image.fromarray(pixels).quantize(palette=palette, dither=dither))
        for pixels, dither in parts
    )
    return np.concatenate(list(quantised))


def _paletted(indices: NDArray[np.uint8], palette: Image) -> Image:
    from PIL import Image

    image = Image.fromarray(indices)
    image.putpalette(palette.getpalette() or [])
    return image


def _counted(
    images: Iterator[Image], total: int, progress: Callable[[float], None]
) -> Iterator[Image]:
    for number, image in enumerate(images, start=1):
        yield image
        progress(number / total)
