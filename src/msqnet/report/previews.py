"""Small copies of videos that fit into a page: H.264, few pixels, few frames a second, no sound."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import VideoError
from msqnet.report.video_writer import VideoWriter
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from msqnet.video.reader import Video

PREVIEW_PIXELS = 360
"""Short side of a preview; smaller videos keep their size."""

PREVIEW_FRAME_SECONDS = 1 / 12
"""Shortest time between two frames of a preview."""

_CRF = 32
_NUM_FRAMES_BETWEEN_LOOKS = 48


@dataclass(frozen=True)
class Preview:
    """The preview of one video, or why there is none.

    Attributes:
        path: the mp4; None where there is none.
        left_out: why there is none, for readers; empty where there is one.
    """

    path: Path | None
    left_out: str = ""


class PreviewWriter:
    """Writes previews until a number of bytes is used up.

    Args:
        folder: where the files go; it exists.
        max_bytes: of all previews together; 0 for none.

    Attributes:
        num_bytes: written so far.
        num_left_out: videos whose preview did not fit.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.num_bytes = 0
        self.num_left_out = 0
        self._folder = folder
        self._max_bytes = max_bytes

    def write(self, video: Path) -> Preview:
        """Write the preview of one video, unless it does not fit in what is left.

        Raises:
            VideoError: the video cannot be read.
        """
        if not self._max_bytes:
            return Preview(None, "previews are switched off")
        left = self._max_bytes - self.num_bytes
        # A folder for each, so that what the encoder has written so far can be seen.
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        path = folder / "preview.mp4"
        if not write_preview(video, path, max_bytes=left):
            self.num_left_out += 1
            allowed = f"{self._max_bytes / 1e6:g} MB"
            return Preview(None, f"it does not fit in the {allowed} that previews may take")
        self.num_bytes += path.stat().st_size
        return Preview(path)


def write_preview(video: Path, path: Path, *, max_bytes: int) -> bool:
    """Write a small copy of a video, with the times of its frames.

    Args:
        video: the video.
        path: the mp4 to write; nothing else lies in its folder.
        max_bytes: where the file grows larger, encoding stops.

    Returns:
        Whether there is a preview; where it would be larger than allowed, no file is left behind.

    Raises:
        VideoError: the video cannot be read.
    """
    with open_video(video, short_side_pixels=PREVIEW_PIXELS) as source:
        frames = _frames(source)
        last_seconds, first = next(frames)
        height, width = first.shape[1:]
        with VideoWriter(path, width=width, height=height, quality_crf=_CRF) as writer:
            writer.write(_pixels(first), last_seconds)
            for number, (last_seconds, frame) in enumerate(frames):
                writer.write(_pixels(frame), last_seconds)
                if number % _NUM_FRAMES_BETWEEN_LOOKS == 0 and _num_bytes(path.parent) > max_bytes:
                    break
            end = source.duration_seconds
            writer.close(end_seconds=end if end > last_seconds else None)
    if path.stat().st_size > max_bytes:
        path.unlink()
        return False
    return True


def _frames(source: Video) -> Iterator[tuple[float, Tensor]]:
    """Frames at times of their own, not nearer than a preview needs, as far as the file decodes."""
    times = np.arange(0, source.duration_seconds, PREVIEW_FRAME_SECONDS).tolist()
    last = -1.0
    try:
        for seconds, frame in source.stream_at(times):
            if seconds > last:
                yield seconds, frame
            last = seconds
    except VideoError:
        # What can be seen of a damaged file is shown; its notes say where it ends.
        if last < 0:
            raise


def _pixels(frame: Tensor) -> np.ndarray:
    return frame.permute(1, 2, 0).contiguous().numpy()  # (3, H, W) -> (H, W, 3)


def _num_bytes(folder: Path) -> int:
    return sum(item.stat().st_size for item in folder.iterdir())
