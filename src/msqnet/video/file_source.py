"""A video file as a source of frames by number."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from msqnet.errors import UnreadableVideo
from msqnet.video.forward_pass import ForwardPass, FramesEnd, IndexDisagrees
from msqnet.video.index import build_index, index_by_decoding

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction
    from pathlib import Path

    from av.video.frame import VideoFrame

    from msqnet.video.index import FrameIndex

_logger = logging.getLogger(__name__)


class FileSource:
    """A video file and its index, which is corrected where decoding shows it wrong.

    Args:
        path: the file.

    Attributes:
        path: the file.
        index: what the file holds, as far as known.
        average_fps: as the container states it; None where it does not.

    Raises:
        UnreadableVideo: not a video, or not one frame decodes.
        EmptyVideo: no video stream, or one without frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = build_index(path)
        self.average_fps: Fraction | None = None
        self._pass: ForwardPass | None = None
        if self.index.suspicion:
            self._check_end()

    def close(self) -> None:
        """Close the file."""
        if self._pass is not None:
            self._pass.close()
        self._pass = None

    def frame(self, locate: Callable[[FrameIndex], int]) -> tuple[int, VideoFrame]:
        """A frame, cheaply where it lies ahead of the last one asked for.

        Args:
            locate: gives the number of the frame; called again where the index had to be
                corrected, and free to raise then.

        Returns:
            The number and the frame.

        Raises:
            UnreadableVideo: no frame decodes.
        """
        while True:
            wanted = locate(self.index)
            try:
                return wanted, self._pass_before(wanted).advance_to(wanted)
            except FramesEnd as end:
                if not self._is_worth_a_careful_try():
                    self._shorten(end)
            except IndexDisagrees as reason:
                if not self._is_worth_a_careful_try():
                    self._count_frames(reason)
            self.close()

    def _pass_before(self, wanted: int) -> ForwardPass:
        if self._pass is not None and wanted < self._pass.position:
            self.close()
        if self._pass is None:
            self._pass = ForwardPass(self.path, self.index)
            self.average_fps = self._pass.average_fps
        return self._pass

    def _is_worth_a_careful_try(self) -> bool:
        """Whether decoding failed for the first time; then it is tried again with one thread."""
        problem = self._pass.problem if self._pass is not None else ""
        if not problem or self.index.suspicion:
            return False
        self.index = replace(self.index, suspicion=problem)
        return True

    def _check_end(self) -> None:
        num_frames, num_lost = len(self.index), self.index.num_lost
        self.frame(lambda index: len(index) - 1)
        if num_lost and len(self.index) == num_frames:
            self._warn_of_damage(self.index.suspicion, num_frames + num_lost)

    def _warn_of_damage(self, cause: str, num_announced: int) -> None:
        _logger.warning(
            "%s: damaged (%s); %d of %d frames can be read",
            self.path,
            cause,
            len(self.index),
            num_announced,
        )

    def _shorten(self, end: FramesEnd) -> None:
        """Leave out the frames behind the last one that decodes."""
        if end.num_frames == 0:
            raise UnreadableVideo(
                f"{self.path}: no frame decodes ({end}); re-encode the file or drop it"
            )
        num_announced = len(self.index) + self.index.num_lost
        self.index = self.index.shortened(end.num_frames)
        self._warn_of_damage(str(end), num_announced)

    def _count_frames(self, reason: IndexDisagrees) -> None:
        """Replace the index by one from decoding everything."""
        _logger.info("%s: timestamps are not reliable (%s); reading in order", self.path, reason)
        num_announced = len(self.index)
        self.index = index_by_decoding(self.path, self.index.num_lost)
        if len(self.index) < num_announced:
            self._warn_of_damage(str(reason), num_announced)
