"""A folder of frame images, read as a video."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ConfigError, EmptyVideo, UnreadableVideo
from msqnet.video.decoding import FrameDecoder
from msqnet.video.index import FALLBACK_FPS, FrameIndex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from av.video.frame import VideoFrame

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
_MAX_DENOMINATOR = 1_000_000


def frame_image_paths(folder: Path) -> list[Path]:
    """The images of a folder in natural order (``2.jpg`` before ``10.jpg``); hidden ones left out.

    Raises:
        EmptyVideo: the folder holds no image.
    """
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise EmptyVideo(
            f"{folder}: a folder without frame images; expected {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(paths, key=_natural_key)


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name.lower())
    key = [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
    return key, path.name


class ImageFolderSource:
    """Frames stored as one image each, at a constant rate.

    Args:
        folder: holds the images.
        fps: frames a second, 25 by default.

    Raises:
        EmptyVideo: the folder holds no image.
        ConfigError: ``fps`` is not above 0.
    """

    def __init__(self, folder: Path, fps: Fraction | float | None = None) -> None:
        if fps is not None and not fps > 0:
            raise ConfigError(f"fps {fps}: expected more than 0")
        rate = FALLBACK_FPS if fps is None else Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
        self.path = folder
        self.average_fps: Fraction | None = rate
        self._paths = frame_image_paths(folder)
        self.index = FrameIndex(
            pts=np.arange(len(self._paths), dtype=np.int64),
            end_pts=len(self._paths),
            time_base=1 / rate,
            start_packets=np.arange(len(self._paths), dtype=np.int64),
            start_frames=np.arange(len(self._paths), dtype=np.int64),
            is_from_packets=True,
        )

        self._frame: VideoFrame | None = None
        self._position = -1

    def close(self) -> None:
        """Let go of the last image."""
        self._frame = None

    def frame(self, locate: Callable[[FrameIndex], int]) -> tuple[int, VideoFrame]:
        """Decode one image.

        Args:
            locate: gives the number of the frame.

        Returns:
            The number and the frame.

        Raises:
            UnreadableVideo: names the image that does not decode.
        """
        wanted = locate(self.index)
        if self._frame is None or wanted != self._position:
            self._frame = _decode_image(self._paths[wanted])
            self._position = wanted
        return wanted, self._frame


def _decode_image(path: Path) -> VideoFrame:
    with FrameDecoder(path) as decoder:
        frame = decoder.next_frame()
        problem = decoder.problem
    if frame is None:
        raise UnreadableVideo(
            f"{path}: the image does not decode ({problem or 'no data'}); "
            "write it again or take it out of the folder"
        )
    return frame
