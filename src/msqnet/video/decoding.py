"""Opening a file with PyAV and decoding its frames from the front."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from msqnet.errors import EmptyVideo, UnreadableVideo

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_SIDE_PIXELS = 16384
NUM_THREADS = 2
_NOT_VIDEO_FORMATS = frozenset(
    {"hls", "concat", "concatf", "dash", "sdp", "rtsp", "lavfi", "tty", "bin", "xbin", "adf", "idf"}
)
"""Lists of other files, addresses or text: nothing that a video file should turn out to be."""


def open_stream(path: Path, num_threads: int = NUM_THREADS) -> tuple[InputContainer, VideoStream]:
    """Open a file and pick its video stream; the caller closes the container.

    Raises:
        UnreadableVideo: not a video, no decoder for it, or frames over 16384 pixels a side.
        EmptyVideo: no video stream.
    """
    options = {"protocol_whitelist": "file", "pattern_type": "none"}
    try:
        container = av.open(str(path.absolute()), options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise UnreadableVideo(
            f"{path}: not a video that can be opened ({error.strerror}); "
            "check that the file is complete, or re-encode it"
        ) from error
    try:
        stream = _video_stream(path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = num_threads
        return container, stream
    except BaseException:
        container.close()
        raise


class OversizedFrames(UnreadableVideo):
    """Frames with a longer side than can be read.

    Attributes:
        width: pixels, as the file states them.
        height: as ``width``.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(
            f"{path}: frames of {width}x{height} pixels; "
            f"at most {MAX_SIDE_PIXELS} a side can be read, scale the file down"
        )
        self.width = width
        self.height = height


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    name = container.format.name
    if _NOT_VIDEO_FORMATS & set(name.split(",")):
        raise UnreadableVideo(f"{path}: not a video but {container.format.long_name} ({name})")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise EmptyVideo(
            f"{path}: no video stream (found {len(container.streams.audio)} audio stream(s)); "
            "give a file with pictures"
        )
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        raise UnreadableVideo(f"{path}: no decoder for its video codec; re-encode it as H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) > MAX_SIDE_PIXELS:
        raise OversizedFrames(path, width, height)
    return stream


class FrameDecoder:
    """Frames of a file in presentation order, from packets read once from the front.

    Packets that do not decode are passed over, as players do; `problem` says why. What is missing
    is noticed by who counts the frames.

    Args:
        path: the file.
        num_threads: 1 for damaged files: with more, an error can take good frames with it.

    Attributes:
        stream: the open video stream.
        num_packets: packets read so far.
        problem: the last error of reading or decoding; empty where there was none.
    """

    def __init__(self, path: Path, num_threads: int = NUM_THREADS) -> None:
        self._container, self.stream = open_stream(path, num_threads)
        self._packets = self._container.demux(self.stream)
        self._ready: deque[VideoFrame] = deque()
        self._resume_packet = 0
        self._is_drained = False
        self.num_packets = 0
        self.problem = ""

    def __enter__(self) -> FrameDecoder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._ready.clear()
        self._container.close()

    def skip_to(self, packet: int) -> None:
        """Forget what is being decoded and go on at packet number ``packet``, still unread."""
        self.stream.codec_context.flush_buffers()
        self._ready.clear()
        self._resume_packet = packet

    def next_frame(self) -> VideoFrame | None:
        """The next decoded frame, None after the last."""
        while not self._ready:
            if self._is_drained:
                return None
            self._feed()
        return self._ready.popleft()

    def _feed(self) -> None:
        try:
            packet = next(self._packets, None)
        except av.FFmpegError as error:
            self.problem = str(error.strerror)
            packet = None
        if packet is None:
            self._is_drained = True
            self._decode(None)
        elif packet.size > 0:  # an empty packet would be taken for the end of the stream
            self.num_packets += 1
            if self.num_packets > self._resume_packet:
                self._decode(packet)

    def _decode(self, packet: av.Packet[VideoStream] | None) -> None:
        try:
            self._ready.extend(self.stream.decode(packet))
        except av.FFmpegError as error:
            self.problem = str(error.strerror)
