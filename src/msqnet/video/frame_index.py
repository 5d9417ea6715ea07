"""The index of the frames of a file: their times, and where decoding may start.

We keep our own index of exact frame times, because no library has one that we can trust. Common
readers take the presentation times of AVI and of open GOPs, keyframe flags and frame counts at
face value, and seek to frames that differ from those of a full decode.

One pass over the packets, without decoding, gives the presentation time of every frame, and the
packets at which a fresh decoder gives the same pixels as one that read everything. Both are used
only for containers and codecs where they are known to hold. For all others the whole file is
decoded once to make the index, and is read from its start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, cast

import av
import numpy as np

from msqnet.errors import EmptyVideo, UnreadableVideo
from msqnet.video.clock import (
    clock_zero,
    continued,
    format_names,
    is_without_clock,
    jumps,
    leading_loss,
    num_avi_chunks,
)
from msqnet.video.decoding import (
    FALLBACK_FPS,
    NUM_THREADS,
    FrameDecoder,
    frame_rate,
    open_stream,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from msqnet.intervals import Interval

_TIMED_FORMATS = frozenset({"mov", "matroska", "webm", "flv", "mpegts"})
"""Containers that store a presentation time for each packet (AVI and ASF store decoding order)."""

_DECODING_ORDER_FORMATS = frozenset({"avi", "asf"})
_MAX_REORDERED = 32
"""So many packets may come before that of the first picture."""

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


@dataclass(frozen=True)
class FileFacts:
    """What the packets of a file say about all of it.

    Attributes:
        zero_seconds: time stamp that players show as 0.
        sound_end_seconds: end of the sound, on the players' clock; 0 without sound.
        first_pts: time of the first picture shown, which may not decode; None if unknown.
        last_dts: time of decoding of the last picture.
        goes_back: whether the times of decoding, which rise in one recording, fall somewhere.
        end_pts: the last picture is shown at least until then.
        num_lost: frames that the file announces but does not hold.
        fps: rate of a stream that states none.
        problem: what is wrong with a packet; or empty.
    """

    zero_seconds: Fraction = Fraction(0)
    sound_end_seconds: float = 0.0
    first_pts: int | None = None
    last_dts: int = 0
    goes_back: bool = False
    end_pts: int = 0
    num_lost: int = 0
    fps: Fraction | None = None
    problem: str = ""


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
        facts: what the packets say.
        lost: intervals, on the players' clock, of which the pictures are lost.
        jumps: intervals without pictures that the clock jumps over.
        misplaced: numbers, in the order of decoding, of frames that a damaged file gives too late.
        restarts_seconds: where the clock of the file goes back, and ours goes on.
        is_rate_assumed: whether nothing states the rate of a stream without times.
    """

    pts: NDArray[np.int64]
    end_pts: int
    time_base: Fraction
    start_packets: NDArray[np.int64]
    start_frames: NDArray[np.int64]
    is_from_packets: bool
    suspicion: str = ""
    num_lost: int = 0
    facts: FileFacts = FileFacts()
    lost: tuple[Interval, ...] = ()
    jumps: tuple[Interval, ...] = ()
    misplaced: frozenset[int] = frozenset()
    restarts_seconds: tuple[float, ...] = ()
    is_rate_assumed: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def pts_seconds(self) -> NDArray[np.float64]:
        """(N,) float64, on the players' clock; negative where players show no such frame."""
        return self._seconds(self.pts)

    @property
    def end_seconds(self) -> float:
        """End of the last frame, on the players' clock."""
        return float(self._seconds(np.array([self.end_pts]))[0])

    def _seconds(self, pts: NDArray[np.int64]) -> NDArray[np.float64]:
        whole, rest = divmod(self.facts.zero_seconds / self.time_base, 1)
        ticks = (pts - int(whole)) * self.time_base.numerator
        seconds = np.asarray(ticks, dtype=np.float64) / self.time_base.denominator
        return seconds - float(rest * self.time_base)

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
    """Results of one pass over the packets; lists are in file order, times in stream units.

    ``sound_end_seconds`` is the latest end of a packet of sound, on the file's clock.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.pts: list[int | None] = []
        self.dts: list[int] = []
        self.durations: list[int] = []
        self.is_shown: list[bool] = []
        self.is_start: list[bool] = []
        self.sound_end_seconds = Fraction(0)
        self.problem = ""
        try:
            for packet in container.demux([stream, *container.streams.audio]):
                if packet.size == 0:  # the end, or a dropped frame, nothing to decode
                    continue
                if packet.stream_index == stream.index:
                    self._add(stream, cast("av.Packet[VideoStream]", packet))
                elif packet.pts is not None and packet.time_base and not packet.is_discard:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    self.sound_end_seconds = max(self.sound_end_seconds, end)
        except av.FFmpegError as error:
            self.problem = str(error)

    def _add(self, stream: VideoStream, packet: av.Packet[VideoStream]) -> None:
        self.pts.append(packet.pts)
        self.dts += [] if packet.dts is None else [packet.dts]
        self.durations.append(packet.duration or 0)
        self.is_shown.append(not packet.is_discard)
        self.is_start.append(_is_start(stream, packet))
        if packet.is_corrupt:
            self.problem = "the container marks a packet as damaged"

    @property
    def goes_back(self) -> bool:
        """Whether times of decoding fall somewhere."""
        return self.dts != sorted(self.dts)

    def facts(self, path: Path, stream: VideoStream) -> FileFacts:
        """What they say about the whole file."""
        zero = clock_zero(stream)
        pairs = zip(self.pts, self.is_shown, strict=True)
        known = [time for time, is_shown in pairs if is_shown and time is not None]
        num_lost = end_pts = 0
        if "mov" in format_names(stream) and self.problem:
            # The header also promises frames that an edit list hides.
            num_lost = stream.frames - len(self.pts)
        elif "avi" in format_names(stream):
            end_pts = max(num_avi_chunks(path, stream.index), *self.dts, 0)
            num_lost = stream.frames - end_pts
        return FileFacts(
            zero_seconds=zero,
            sound_end_seconds=max(0.0, float(self.sound_end_seconds - zero)),
            first_pts=min(known[:_MAX_REORDERED], default=None),
            last_dts=max(self.dts, default=0),
            goes_back=self.goes_back,
            end_pts=end_pts,
            num_lost=max(0, num_lost),
            problem=self.problem,
        )


def build_index(path: Path, fps: Fraction | None = None) -> FrameIndex:
    """The index of a file: from its packets where these can be trusted, else by decoding.

    ``fps`` is the rate of a stream that states none. No video, or one of which no frame decodes, is
    an `UnreadableVideo`; one without a video stream or frames, an `EmptyVideo`.
    """
    container, stream = open_stream(path)
    with container:
        packets = _Packets(container, stream)
        if not packets.pts and not packets.problem:
            raise EmptyVideo(
                f"{path}: the video stream holds no frame; drop the file or write it again"
            )
        facts = replace(packets.facts(path, stream), fps=fps)
        if _are_times_clean(stream, packets):
            return _index_of_packets(stream, packets, facts)
    return index_by_decoding(path, facts)


def index_by_decoding(path: Path, facts: FileFacts) -> FrameIndex:
    """The index of the frames that decode, from reading the whole file once.

    A damaged file is read again with one thread. A file of which not one frame decodes is an
    `UnreadableVideo`.
    """
    pts: list[int | None] = []
    is_key: list[bool] = []
    duration = 0
    with FrameDecoder(path, 1 if facts.problem else NUM_THREADS) as decoder:
        while (frame := decoder.next_frame()) is not None:
            pts.append(frame.pts)
            is_key.append(bool(frame.key_frame))
            duration = frame.duration or 0
        stream, problem = decoder.stream, decoder.problem
        if problem and not facts.problem:
            return index_by_decoding(path, replace(facts, problem=problem))
        if not pts:
            raise UnreadableVideo(
                f"{path}: {decoder.num_packets} packets, none of which decodes"
                f" ({problem or 'no error named'}); re-encode the file or drop it"
            )
        index = _index_of_frames(stream, pts, duration, facts)
        is_key = [key for number, key in enumerate(is_key) if number not in index.misplaced]
        return _with_gaps(index, stream, is_key)


def _index_of_frames(
    stream: VideoStream, pts: Sequence[int | None], duration: int, facts: FileFacts
) -> FrameIndex:
    """The index of decoded frames, by their times, or by a rate where they have none."""
    time_base, joints, misplaced = stream.time_base, list[int](), frozenset[int]()
    is_derived = bool(_DECODING_ORDER_FORMATS & format_names(stream))
    known = [] if is_without_clock(stream) else [time for time in pts if time is not None]
    if time_base is not None and len(known) == len(pts):
        if facts.problem and not (is_derived or facts.goes_back):
            latest = np.maximum.accumulate(known)
            misplaced = frozenset(np.flatnonzero(latest > known).tolist())
            pts = known = [time for number, time in enumerate(known) if number not in misplaced]
        times, joints = continued(known, time_base, goes_back=facts.goes_back)
        if is_derived:
            times -= max(0, int(times[-1]) - facts.last_dts)
    rate = frame_rate(stream) or facts.fps
    is_counted = time_base is None or len(known) < len(pts) or bool((np.diff(times) <= 0).any())
    if time_base is None or is_counted:
        times, time_base, duration = np.arange(len(pts)), 1 / (rate or FALLBACK_FPS), 1
        facts = replace(facts, zero_seconds=Fraction(0), first_pts=None)
    if joints:
        facts = replace(facts, sound_end_seconds=0.0)  # its clock goes back too
    if is_derived:
        facts = replace(facts, first_pts=None)
    end_pts = int(times[-1]) + _last_duration(times, duration, stream, time_base)
    index = FrameIndex(
        pts=times,
        end_pts=max(end_pts, facts.end_pts),
        time_base=time_base,
        start_packets=np.zeros(1, np.int64),
        start_frames=np.zeros(1, np.int64),
        is_from_packets=False,
        suspicion=facts.problem,
        num_lost=facts.num_lost,
        facts=facts,
        misplaced=misplaced,
        is_rate_assumed=is_counted and rate is None and len(pts) > 1,
    )
    restarts = tuple(float(index.pts_seconds[number]) for number in joints)
    return replace(index, restarts_seconds=restarts)


def _with_gaps(
    index: FrameIndex, stream: VideoStream, is_key: Sequence[bool] | None = None
) -> FrameIndex:
    """The same with the intervals of which pictures are missing; ``is_key`` of decoded frames."""
    lost, jumped = jumps(index.pts_seconds, stream, is_key if index.suspicion else None)
    if (first_pts := index.facts.first_pts) is not None:
        first_seconds = float(first_pts * index.time_base - index.facts.zero_seconds)
        lost = (*leading_loss(first_seconds, float(index.pts_seconds[0])), *lost)
    return replace(index, lost=lost, jumps=jumped)


def _last_duration(
    times: NDArray[np.int64], duration: int, stream: VideoStream, time_base: Fraction
) -> int:
    """Duration of the last frame: its own, else the usual interval, else one at the frame rate."""
    if duration > 0:
        return duration
    if len(times) > 1:
        return max(1, int(np.median(np.diff(times))))
    return max(1, round(1 / (frame_rate(stream) or FALLBACK_FPS) / time_base))


def _are_times_clean(stream: VideoStream, packets: _Packets) -> bool:
    """Whether packet times are those that decoded frames will have, one frame a packet."""
    codec, name = stream.codec_context.codec, stream.codec_context.codec.canonical_name
    if not (codec.intra_only or name in _ONE_FRAME_A_PACKET):
        return False
    pts = [time for time in packets.pts if time is not None]
    if is_without_clock(stream) or not any(packets.is_shown) or len(set(pts)) != len(packets.pts):
        return False
    formats = format_names(stream)
    if _TIMED_FORMATS & formats:
        is_broken = "mpegts" in formats and bool(packets.problem)
        return not (is_broken or packets.goes_back)
    never_reorders = codec.intra_only or name in _NEVER_REORDERING
    never_reorders |= name == "mpeg4" and not stream.codec_context.has_b_frames
    return never_reorders and pts == sorted(pts)


def _index_of_packets(stream: VideoStream, packets: _Packets, facts: FileFacts) -> FrameIndex:
    pts = np.array(packets.pts, dtype=np.int64)
    durations = np.array(packets.durations, dtype=np.int64)
    shown = np.flatnonzero(packets.is_shown)
    shown = shown[np.argsort(pts[shown])]
    times = pts[shown]
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(pts)[:-1]])
    is_start = np.array(packets.is_start) & (pts > before)
    is_start[0] = True
    starts = np.flatnonzero(is_start)
    start_frames = np.searchsorted(times, pts[starts])
    start_frames[0] = 0
    time_base = stream.time_base or 1 / FALLBACK_FPS
    last_duration = int(durations[shown[-1]])
    end_pts = int(times[-1]) + _last_duration(times, last_duration, stream, time_base)
    index = FrameIndex(
        pts=times,
        end_pts=max(end_pts, facts.end_pts),
        time_base=time_base,
        start_packets=starts.astype(np.int64),
        start_frames=start_frames.astype(np.int64),
        is_from_packets=True,
        suspicion=packets.problem or ("the data end early" if facts.num_lost else ""),
        num_lost=facts.num_lost,
        facts=facts,
    )
    return _with_gaps(index, stream)


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
