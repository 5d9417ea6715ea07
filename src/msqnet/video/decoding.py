"""Opening a video file with PyAV, decoding it from the front, and the index of its frames.

We keep our own index of exact frame times, because no library has one that we can trust. Common
readers take the presentation times of AVI and of open GOPs, keyframe flags and frame counts at
face value, and seek to frames that differ from those of a full decode.

One pass over the packets, without decoding, gives the presentation time of every frame, and the
packets at which a fresh decoder gives the same pixels as one that read everything. Both are used
only for containers and codecs where they are known to hold. For all others the whole file is
decoded once to make the index, and is read from its start.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import av
import numpy as np
from av.stream import Disposition

from msqnet.errors import EmptyVideo, UnreadableVideo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

MAX_SIDE_PIXELS = 16384
NUM_THREADS = 2
FALLBACK_FPS = Fraction(25)
"""Rate of frames that carry neither a time nor a rate; FFmpeg assumes the same for raw streams."""

_NOT_VIDEO_FORMATS = frozenset(
    {"hls", "concat", "concatf", "dash", "sdp", "rtsp", "lavfi", "tty", "bin", "xbin", "adf", "idf"}
)
"""Playlists, addresses and text, which could make FFmpeg read other files."""

_TIMED_FORMATS = frozenset({"mov", "matroska", "webm", "flv", "mpegts"})
"""Containers that store a presentation time for each packet (AVI and ASF store decoding order)."""

_NEVER_REORDERING = frozenset(
    {"ffv1", "flv1", "gif", "h263", "png", "qtrle", "wmv1", "wmv2"}
    | {"msmpeg4v1", "msmpeg4v2", "msmpeg4v3"}
)
_NAL_CODECS = frozenset({"h264", "hevc"})
_SAFE_KEYFRAME_CODECS = frozenset({"av1", "mpeg1video", "mpeg2video", "vp9"}) | (
    _NEVER_REORDERING - {"gif", "qtrle"}
)
"""Codecs whose keyframe flag means that no later frame refers to an earlier one."""

_ONE_FRAME_A_PACKET = _SAFE_KEYFRAME_CODECS | _NEVER_REORDERING | _NAL_CODECS | {"mpeg4"}
_H264_IDR = 5
_HEVC_RANDOM_ACCESS = range(16, 22)


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
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        raise UnreadableVideo(f"{path}: no decoder for its video codec; re-encode it as H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) > MAX_SIDE_PIXELS:
        raise OversizedFrames(path, width, height)
    return stream


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Average frames a second as the container states or implies it."""
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


@dataclass(frozen=True)
class FrameIndex:
    """Times of all frames of a video in presentation order.

    Attributes:
        pts: (N,) int64, strictly increasing, in units of `time_base` seconds.
        end_pts: end of the last frame, in the same units.
        start_packets: (S,) int64, packets (counted in file order) at which decoding may start.
        start_frames: (S,) int64, the first frame that is exact after starting there.
        is_from_packets: whether times were read from packets, so that a decoded frame is
            recognised by its time; otherwise frames are counted from the file's start.
        suspicion: what is wrong with the file, which is then read with more care; or empty.
        num_lost: frames that the file announces but does not hold, or that do not decode.
    """

    pts: NDArray[np.int64]
    end_pts: int
    time_base: Fraction
    start_packets: NDArray[np.int64]
    start_frames: NDArray[np.int64]
    is_from_packets: bool
    suspicion: str = ""
    num_lost: int = 0

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def pts_seconds(self) -> NDArray[np.float64]:
        """(N,) float64, from the first frame = 0."""
        ticks = (self.pts - self.pts[0]) * self.time_base.numerator
        return np.asarray(ticks, dtype=np.float64) / self.time_base.denominator

    @property
    def duration_seconds(self) -> float:
        """From the start of the first frame to the end of the last one."""
        ticks = (self.end_pts - int(self.pts[0])) * self.time_base.numerator
        return float(ticks) / self.time_base.denominator

    def frame_with_pts(self, pts: int | None) -> int | None:
        """Number of the frame with this time, None where there is none."""
        if pts is None:
            return None
        number = int(np.searchsorted(self.pts, pts))
        return number if number < len(self) and self.pts[number] == pts else None

    def start_before(self, frame: int) -> tuple[int, int]:
        """The latest (packet, first exact frame) from which ``frame`` can be decoded."""
        place = int(np.searchsorted(self.start_frames, frame, side="right")) - 1
        return int(self.start_packets[place]), int(self.start_frames[place])

    def shortened(self, num_frames: int) -> FrameIndex:
        """The index of the first ``num_frames`` frames."""
        if num_frames >= len(self):
            return self
        kept = self.start_frames < num_frames
        return replace(
            self,
            pts=self.pts[:num_frames],
            end_pts=int(self.pts[num_frames]),
            start_packets=self.start_packets[kept],
            start_frames=self.start_frames[kept],
            num_lost=self.num_lost + len(self) - num_frames,
        )


class _Packets:
    """Results of one pass over the packets; lists are in file order."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.pts: list[int | None] = []
        self.durations: list[int] = []
        self.is_shown: list[bool] = []
        self.is_start: list[bool] = []
        self.problem = ""
        try:
            for packet in container.demux(stream):
                if packet.size > 0:  # 0: the end, or a dropped frame, nothing to decode
                    self.pts.append(packet.pts)
                    self.durations.append(packet.duration or 0)
                    self.is_shown.append(not packet.is_discard)
                    self.is_start.append(_is_start(stream, packet))
                    if packet.is_corrupt:
                        self.problem = "the container marks a packet as damaged"
        except av.FFmpegError as error:
            self.problem = str(error)


def build_index(path: Path) -> FrameIndex:
    """The index of a file: from its packets where these can be trusted, else by decoding.

    No video, or one of which no frame decodes, is an `UnreadableVideo`; one without a video stream
    or frames, an `EmptyVideo`.
    """
    container, stream = open_stream(path)
    with container:
        packets = _Packets(container, stream)
        if not packets.pts and not packets.problem:
            raise EmptyVideo(
                f"{path}: the video stream holds no frame; drop the file or write it again"
            )
        num_lost = _num_not_stored(stream, packets)
        if _are_times_clean(stream, packets):
            return _index_of_packets(stream, packets, num_lost)
    return index_by_decoding(path, num_lost)


def index_by_decoding(path: Path, num_lost: int = 0, num_threads: int = NUM_THREADS) -> FrameIndex:
    """The index of the frames that decode, from reading the whole file once.

    `num_lost` frames are already known to be missing. A damaged file is read again with one thread.
    A file of which not one frame decodes is an `UnreadableVideo`.
    """
    pts: list[int | None] = []
    duration = 0
    with FrameDecoder(path, num_threads) as decoder:
        while (frame := decoder.next_frame()) is not None:
            pts.append(frame.pts)
            duration = frame.duration or 0
        stream, problem = decoder.stream, decoder.problem
        if problem and num_threads > 1:
            return index_by_decoding(path, num_lost, num_threads=1)
        if not pts:
            raise UnreadableVideo(
                f"{path}: {decoder.num_packets} packets, none of which decodes"
                f" ({problem or 'no error named'}); re-encode the file or drop it"
            )
        times, time_base = _presentation_times(stream, pts)
    last_duration = duration if time_base == stream.time_base else 1
    return FrameIndex(
        pts=times,
        end_pts=int(times[-1]) + _last_duration(times, last_duration, stream, time_base),
        time_base=time_base,
        start_packets=np.zeros(1, np.int64),
        start_frames=np.zeros(1, np.int64),
        is_from_packets=False,
        suspicion=problem,
        num_lost=num_lost,
    )


def _presentation_times(
    stream: VideoStream, pts: Sequence[int | None]
) -> tuple[NDArray[np.int64], Fraction]:
    """Increasing times for decoded frames, whose order is the truth even where their times are not.

    Containers that store decoding order give times such as 1, 2, 4, 3: all there, in a wrong order.
    """
    known = [time for time in pts if time is not None]
    if stream.time_base is not None and len(set(known)) == len(pts):
        return np.array(sorted(known), dtype=np.int64), stream.time_base
    return np.arange(len(pts), dtype=np.int64), 1 / (frame_rate(stream) or FALLBACK_FPS)


def _last_duration(
    times: NDArray[np.int64], duration: int, stream: VideoStream, time_base: Fraction
) -> int:
    """Duration of the last frame: its own, else the usual interval, else one at the frame rate."""
    if duration > 0:
        return duration
    if len(times) > 1:
        return max(1, int(np.median(np.diff(times))))
    return max(1, round(1 / (frame_rate(stream) or FALLBACK_FPS) / time_base))


def _num_not_stored(stream: VideoStream, packets: _Packets) -> int:
    """Frames that the header promises and the file does not hold.

    MP4 also promises frames that its edit list hides, so the promise counts only where the data
    end early. AVI counts frames that a camera dropped, so there the last frame's number tells.
    """
    formats = stream.container.format.name.split(",")
    if "mov" in formats and packets.problem:
        return max(0, stream.frames - len(packets.pts))
    if "avi" in formats:
        return max(0, stream.frames - 1 - max((time or 0 for time in packets.pts), default=0))
    return 0


def _are_times_clean(stream: VideoStream, packets: _Packets) -> bool:
    """Whether packet times are those that decoded frames will have, one frame a packet."""
    codec, name = stream.codec_context.codec, stream.codec_context.codec.canonical_name
    if not (codec.intra_only or name in _ONE_FRAME_A_PACKET):
        return False
    pts = [time for time in packets.pts if time is not None]
    if not any(packets.is_shown) or len(set(pts)) != len(packets.pts):
        return False
    if _TIMED_FORMATS & set(stream.container.format.name.split(",")):
        return True
    never_reorders = codec.intra_only or name in _NEVER_REORDERING
    never_reorders |= name == "mpeg4" and not stream.codec_context.has_b_frames
    return never_reorders and pts == sorted(pts)


def _index_of_packets(stream: VideoStream, packets: _Packets, num_lost: int) -> FrameIndex:
    pts = np.array(packets.pts, dtype=np.int64)
    durations = np.array(packets.durations, dtype=np.int64)
    shown = np.flatnonzero(packets.is_shown)
    shown = shown[np.argsort(pts[shown])]
    times = pts[shown]
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts)[:-1]])
    starts = np.flatnonzero(np.array(packets.is_start) & (pts > before))
    starts = np.union1d(starts, [0])
    start_frames = np.searchsorted(times, pts[starts])
    start_frames[0] = 0
    time_base = stream.time_base or 1 / FALLBACK_FPS
    last_duration = int(durations[shown[-1]])
    return FrameIndex(
        pts=times,
        end_pts=int(times[-1]) + _last_duration(times, last_duration, stream, time_base),
        time_base=time_base,
        start_packets=starts.astype(np.int64),
        start_frames=start_frames.astype(np.int64),
        is_from_packets=True,
        suspicion=packets.problem or ("the data end early" if num_lost else ""),
        num_lost=num_lost,
    )


def _is_start(stream: VideoStream, packet: av.Packet[VideoStream]) -> bool:
    """Whether frames from this packet on are independent of all packets before it.

    The keyframe flag alone does not say so for H.264 and HEVC: with periodic intra refresh it
    marks pictures from which the image only builds up. So their picture types are read.
    """
    if not packet.is_keyframe:
        return False
    name = stream.codec_context.codec.canonical_name
    if name == "h264":
        return any(head & 0x1F == _H264_IDR for head in _nal_heads(stream, packet))
    if name == "hevc":
        heads = _nal_heads(stream, packet)
        return any((head >> 1) & 0x3F in _HEVC_RANDOM_ACCESS for head in heads)
    if name == "mpeg4":
        return not stream.codec_context.has_b_frames
    return bool(stream.codec_context.codec.intra_only) or name in _SAFE_KEYFRAME_CODECS


def _nal_heads(stream: VideoStream, packet: av.Packet[VideoStream]) -> Iterator[int]:
    """First byte of each NAL unit, whether separated by start codes or preceded by lengths."""
    payload = bytes(packet)
    extradata = stream.codec_context.extradata or b""
    if extradata[:1] != b"\x01":
        place = payload.find(b"\x00\x00\x01")
        while 0 <= place < len(payload) - 3:
            yield payload[place + 3]
            place = payload.find(b"\x00\x00\x01", place + 3)
        return
    size_byte = 4 if stream.codec_context.codec.canonical_name == "h264" else 21
    num_bytes = (extradata[size_byte] & 3) + 1 if len(extradata) > size_byte else 4
    place = 0
    while place + num_bytes < len(payload):
        yield payload[place + num_bytes]
        place += num_bytes + int.from_bytes(payload[place : place + num_bytes], "big")
