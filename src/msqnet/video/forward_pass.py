"""One pass forward through a video file that decodes no more than it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.video.decoding import NUM_THREADS, FrameDecoder
from msqnet.video.index import frame_rate

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path

    from av.video.frame import VideoFrame

    from msqnet.video.index import FrameIndex


class FramesEnd(Exception):  # noqa: N818 - a signal between two classes, never seen by a caller
    """The file decodes no further than `num_frames`."""

    def __init__(self, num_frames: int, problem: str) -> None:
        super().__init__(problem)
        self.num_frames = num_frames


class IndexDisagrees(Exception):  # noqa: N818 - as above
    """A decoded frame is not the one that the index announced."""


class ForwardPass:
    """Frames of a file by increasing number, skipping packets that no wanted frame needs.

    Where the next wanted frame lies behind a later starting point, the packets up to it are read
    but not decoded. Every decoded frame is checked against the index, so that a wrong one is never
    returned.

    Attributes:
        index: what the pass was made for.
        position: number of the last frame decoded, -1 before the first.
        average_fps: as the container states it; None where it does not.
    """

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self.index = index
        self._decoder = FrameDecoder(path, 1 if index.suspicion else NUM_THREADS)
        self.average_fps: Fraction | None = frame_rate(self._decoder.stream)
        self._first_exact = 0
        self._frame: VideoFrame | None = None
        self.position = -1

    @property
    def problem(self) -> str:
        """The last error of reading or decoding; empty where there was none."""
        return self._decoder.problem

    def close(self) -> None:
        """Close the file."""
        self._frame = None
        self._decoder.close()

    def advance_to(self, wanted: int) -> VideoFrame:
        """Frame ``wanted``, which must not lie before `position`.

        Raises:
            FramesEnd: the file decodes no further.
            IndexDisagrees: what is decoded is not what the index says.
        """
        if self._frame is not None and wanted == self.position:
            return self._frame
        packet, first_exact = self.index.start_before(wanted)
        if packet > self._decoder.num_packets:
            self._decoder.skip_to(packet)
            self._first_exact = first_exact
            self.position = first_exact - 1
        frame = self._next_frame()
        while self.position < wanted:
            frame = self._next_frame()
        self._frame = frame
        return frame

    def _next_frame(self) -> VideoFrame:
        while True:
            frame = self._decoder.next_frame()
            if frame is None:
                raise FramesEnd(self.position + 1, self._decoder.problem or "the data end there")
            expected = self.position + 1
            if not self.index.is_from_packets:
                self.position = expected
                return frame
            number = self.index.frame_with_pts(frame.pts)
            if number is not None and number < self._first_exact:
                continue  # shown before the starting point but stored after it: not exact
            if number != expected:
                raise IndexDisagrees(f"expected frame {expected}, found pts {frame.pts}")
            self.position = expected
            return frame
