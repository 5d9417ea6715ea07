"""A video with its scores under the picture: bars now, segments over time (Figure 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msqnet.report.overlay_layout import MIN_PANEL_WIDTH_PIXELS, picture_size
from msqnet.report.overlay_panel import PANEL_COLOUR, Panel
from msqnet.report.pictures import resized, square_size
from msqnet.report.video_writer import VideoWriter
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from msqnet.predictions import VideoPredictions


class Overlay:
    """Puts the panel under pictures of one size.

    Args:
        predictions: of the video.
        width: pixels of the upright picture with square pixels.
        height: as ``width``.

    Attributes:
        width: pixels of the result; that of the picture or more, so that the panel fits.
        height: pixels of the result.
        picture_height: pixels of the picture at its top.

    Raises:
        MissingExtra: matplotlib or Pillow is not installed.
    """

    def __init__(self, predictions: VideoPredictions, width: int, height: int) -> None:
        self._picture_width, self.picture_height = picture_size(width, height)
        self.width = max(self._picture_width, MIN_PANEL_WIDTH_PIXELS)
        self.panel = Panel(predictions, self.width, self.picture_height)
        self.height = self.picture_height + self.panel.layout.height
        self._canvas = np.empty((self.height, self.width, 3), np.uint8)
        self._canvas[:] = PANEL_COLOUR

    def frames(
        self, frames: Iterable[tuple[float, Tensor]]
    ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Compose frames.

        Args:
            frames: times in seconds from the first frame and (3, h, w) uint8 RGB pixels.

        Yields:
            The time and (H, W, 3) uint8 RGB, which the next one overwrites.
        """
        left = (self.width - self._picture_width) // 2
        above = self._canvas[: self.picture_height, left : left + self._picture_width]
        below = self._canvas[self.picture_height :]
        for time, picture in resized(frames, self._picture_width, self.picture_height):
            # The reader's pixels lie channel by channel; copied so, it takes a fifth of the time.
            for channel in range(3):
                above[..., channel] = picture[..., channel]
            self.panel.draw_at(time, below)
            yield time, self._canvas


def write_overlay(
    predictions: VideoPredictions,
    video: Path,
    path: Path,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a video with its scores under the picture.

    Frames keep their size and their times, and the sound is carried over. Of a damaged file it is
    the part that decodes. Memory is bounded whatever the length.

    Args:
        predictions: of the video.
        video: the file or folder of images.
        path: the mp4 to write; it appears when it is complete.
        progress: called with the share that is done, from 0 to 1.

    Raises:
        VideoError: the video cannot be read any more.
        OSError: the file cannot be written.
        MissingExtra: matplotlib or Pillow is not installed.
    """
    with open_video(video) as source:
        overlay = Overlay(predictions, *square_size(source))
        with VideoWriter(
            path, width=overlay.width, height=overlay.height, audio_from=video
        ) as writer:
            for time, frame in overlay.frames(source):
                writer.write(frame, time)
                if progress is not None:
                    progress(time / source.duration_seconds)
            writer.close(source.duration_seconds)
    if progress is not None:
        progress(1.0)
