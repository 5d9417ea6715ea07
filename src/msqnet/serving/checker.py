"""Looks into an upload, in a process of its own: a video at all, and within the limits?

Everything is decided by opening and decoding, nothing by names. Torch is not loaded.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import av

from msqnet.child_process import answer_requests
from msqnet.errors import UnreadableVideo
from msqnet.serving.refusals import over_limit
from msqnet.video.decoding import (
    FALLBACK_FPS,
    FrameDecoder,
    OversizedFrames,
    frame_rate,
    open_stream,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

    from msqnet.config import ServingLimits

_MEMORY_BYTES = 4 * 2**30
# Players start at the time of the first frame or at 0; up to here that cannot be seen.
_MAX_START_SECONDS = 0.05
_PLAYABLE = {
    "video/mp4": ({"mp4"}, {"h264", "av1", "vp9"}),
    "video/webm": ({"webm"}, {"vp8", "vp9", "av1"}),
}
_PLAYABLE_PIXELS = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True)
class VideoFacts:
    """What an upload turned out to be.

    Attributes:
        width: pixels, as stored.
        height: as `width`.
        num_frames: pictures that the file holds, before decoding them.
        duration_seconds: from the first to the end of the last picture.
        codec: its name.
        media_type: type under which browsers play the file as it is; None where they do not.
    """

    width: int
    height: int
    num_frames: int
    duration_seconds: float
    codec: str
    media_type: str | None


def run_checker(connection: Connection, limits: ServingLimits) -> None:
    """The process: answers paths with `VideoFacts`, or refuses them."""
    with suppress(ImportError):  # Windows has no such limit
        import resource

        # What a header announces may be allocated before anybody looks at it.
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    av.logging.set_level(None)

    def answer(path: Path, _report: Any) -> VideoFacts:
        return inspect_video(path, limits)

    answer_requests(connection, partial(_ready, answer))


def _ready(answer: Any) -> tuple[None, Any]:
    return None, answer


def inspect_video(path: Path, limits: ServingLimits) -> VideoFacts:
    """Open a file, read its packets and decode its first frame.

    Raises:
        VideoError: not a video, or no frame of it decodes.
        Refusal: a limit is exceeded.
    """
    try:
        container, stream = open_stream(path)
    except OversizedFrames as error:
        _check_size(error.width, error.height, limits)
        raise
    with container:
        width, height = stream.codec_context.width, stream.codec_context.height
        _check_size(width, height, limits)
        num_frames, start, duration = _count(container, stream, limits)
        codec = stream.codec_context.codec.canonical_name
        media_type = _media_type(container, stream, start)
    with FrameDecoder(path) as decoder:
        frame = decoder.next_frame()
        if frame is None:
            raise UnreadableVideo(
                f"{path}: {decoder.num_packets} packets, none of which decodes "
                f"({decoder.problem or 'no error named'}); re-encode the file"
            )
        _check_size(frame.width, frame.height, limits)
        return VideoFacts(frame.width, frame.height, num_frames, duration, codec, media_type)


def _check_size(width: int, height: int, limits: ServingLimits) -> None:
    if width * height > limits.frame_pixels:
        raise over_limit(
            "frame_too_large",
            f"frames of {width}x{height} = {width * height} pixels",
            "frame_pixels",
            limits.frame_pixels,
            width * height,
        )


def _count(
    container: InputContainer, stream: VideoStream, limits: ServingLimits
) -> tuple[int, float, float]:
    """Pictures, time of the first one and length in seconds, from the packets."""
    num_frames = 0
    first = last = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            num_frames += 1
            _check_count(num_frames, limits)
            if packet.pts is not None and packet.time_base is not None:
                time = float(packet.pts * packet.time_base)
                first = time if first is None else min(first, time)
                last = time if last is None else max(last, time)
                _check_duration(last - first, limits)
    except av.FFmpegError:
        pass  # a damaged end: what decodes is predicted, and the result says so
    rate = frame_rate(stream) or FALLBACK_FPS
    if first is None or last is None or last == first:
        duration = float(num_frames / rate)
    else:
        duration = last - first + float(1 / rate)
    _check_duration(duration, limits)
    return num_frames, first or 0.0, duration


def _check_count(num_frames: int, limits: ServingLimits) -> None:
    if num_frames > limits.num_frames:
        raise over_limit(
            "too_many_frames",
            f"more than {limits.num_frames} frames",
            "num_frames",
            limits.num_frames,
            num_frames,
        )


def _check_duration(seconds: float, limits: ServingLimits) -> None:
    if seconds > limits.duration_seconds:
        raise over_limit(
            "video_too_long",
            f"a video of at least {seconds:.1f} s",
            "duration_seconds",
            limits.duration_seconds,
            round(seconds, 3),
        )


def _media_type(container: InputContainer, stream: VideoStream, start_seconds: float) -> str | None:
    formats = set(container.format.name.split(","))
    codec = stream.codec_context.codec.canonical_name
    if stream.codec_context.pix_fmt not in _PLAYABLE_PIXELS or start_seconds > _MAX_START_SECONDS:
        return None
    for media_type, (containers, codecs) in _PLAYABLE.items():
        # FFmpeg has one reader for Matroska and WebM; browsers play Matroska files of these codecs.
        if formats & containers and codec in codecs:
            return media_type
    return None
