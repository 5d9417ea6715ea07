"""Opening a video file with PyAV, and decoding it from the front."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from msqnet.errors import EmptyVideo, UnreadableVideo
from msqnet.video.clock import is_without_clock

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MAX_SIDE_PIXELS = 16384
NUM_THREADS = 2
FALLBACK_FPS = Fraction(25)
"""Rate of frames that carry neither a time nor a rate."""

_NOT_VIDEO_FORMATS = frozenset(
    {"hls", "concat", "concatf", "dash", "sdp", "rtsp", "lavfi", "tty", "bin", "xbin", "adf", "idf"}
)
"""Playlists, addresses and text, which could make FFmpeg read other files."""


class OversizedFrames(UnreadableVideo):
    """Frames with a side longer than `MAX_SIDE_PIXELS`; has their width and height in pixels."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        super().__init__(
            f"{path}: frames of {width}x{height} pixels; "
            f"at most {MAX_SIDE_PIXELS} a side can be read, scale the file down"
        )
        self.width = width
        self.height = height


def open_stream(path: Path, num_threads: int = NUM_THREADS) -> tuple[InputContainer, VideoStream]:
    """Open a file and pick its video stream; the caller closes the container.

    Not a video, no decoder for it, or frames over 16384 pixels a side: `UnreadableVideo`. No video
    stream: `EmptyVideo`.
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
    # An animated AVIF has two default streams: the film, and its first picture.
    default = [s for s in streams if s.disposition & Disposition.default] or streams[:1]
    stream = max(default, key=lambda item: item.frames)
    if stream.codec_context is None:
        raise UnreadableVideo(f"{path}: no decoder for its video codec; re-encode it as H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) > MAX_SIDE_PIXELS:
        raise OversizedFrames(path, width, height)
    return stream


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames a second as the container states or implies it, or a raw stream's headers."""
    if is_without_clock(stream):
        return stream.codec_context.framerate or None
    return stream.average_rate or stream.guessed_rate or None


class FrameDecoder:
    """Frames of a file in presentation order, from packets read once from the front.

    Packets that do not decode are passed over, as players do; `problem` is the last error, or
    empty. The caller counts the frames and notices what is missing.

    Decode damaged files with one thread: with more, an error can take good frames with it.
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

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._ready.clear()
        self._container.close()

    def skip_to(self, packet: int) -> None:
        """Drop what is being decoded and go on at packet number ``packet``, still unread."""
        self.stream.codec_context.flush_buffers()
        self._ready.clear()
        self._resume_packet = packet

    def next_frame(self) -> VideoFrame | None:
        """The next decoded frame, None after the last."""
        while not self._ready and not self._is_drained:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                self.problem = str(error.strerror)
                packet = None
            self._is_drained = packet is None
            if packet is not None:
                self.num_packets += packet.size > 0
                # An empty packet would be taken for the end of the stream.
                if packet.size == 0 or self.num_packets <= self._resume_packet:
                    continue
            try:
                self._ready.extend(self.stream.decode(packet))
            except av.FFmpegError as error:
                self.problem = str(error.strerror)
        return self._ready.popleft() if self._ready else None
