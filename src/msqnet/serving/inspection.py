"""What an upload is: whether it is a video within the limits, and whether browsers play it.

It opens and decodes the file, so it runs in the checker process only; it does not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

from msqnet.errors import UnreadableVideo
from msqnet.serving.request_errors import check_limit
from msqnet.serving.schemas import VideoFactsBody
from msqnet.video.clock import clock_zero
from msqnet.video.decoding import (
    FALLBACK_FPS,
    FrameDecoder,
    OversizedFrames,
    frame_rate,
    open_stream,
)

if TYPE_CHECKING:
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream

    from msqnet.config import ServerLimits

_PLAYABLE = {
    "video/mp4": ({"mp4"}, {"h264", "av1", "vp9"}),
    "video/webm": ({"webm"}, {"vp8", "vp9", "av1"}),
}
_PLAYABLE_PIXELS = frozenset({"yuv420p", "yuvj420p"})


def inspect_video(path: Path, limits: ServerLimits) -> VideoFactsBody:
    """Open a file, read its packets and decode its first frame.

    `VideoError` if it is no video or no frame decodes, `RequestError` if a limit is exceeded.
    """
    try:
        container, stream = open_stream(path)
    except OversizedFrames as error:
        _check_size(error.width, error.height, limits)
        raise
    with container:
        _check_size(stream.codec_context.width, stream.codec_context.height, limits)
        num_frames, duration = _read_packets(container, stream, limits)
        codec = stream.codec_context.codec.canonical_name
        media_type = playable_type(container, stream)
    with FrameDecoder(path) as decoder:
        frame = decoder.next_frame()
        if frame is None:
            raise UnreadableVideo(
                f"{path}: {decoder.num_packets} packets, none of which decodes "
                f"({decoder.problem or 'no error named'}); re-encode the file"
            )
        _check_size(frame.width, frame.height, limits)
        return VideoFactsBody(
            width=frame.width,
            height=frame.height,
            num_frames=num_frames,
            duration_seconds=duration,
            codec=codec,
            media_type=media_type,
        )


def _check_size(width: int, height: int, limits: ServerLimits) -> None:
    num_pixels = width * height
    what = f"frames of {width}x{height} = {num_pixels} pixels"
    check_limit("frame_too_large", what, "frame_pixels", limits.frame_pixels, num_pixels)


def _read_packets(
    container: InputContainer, stream: VideoStream, limits: ServerLimits
) -> tuple[int, float]:
    """Number of frames and duration in seconds, from the packets."""
    num_frames, allowed = 0, limits.num_frames
    first, last = float(clock_zero(stream)), None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            num_frames += 1
            what = f"more than {allowed} frames"
            check_limit("too_many_frames", what, "num_frames", allowed, num_frames)
            if packet.pts is not None and packet.time_base is not None:
                time = float(packet.pts * packet.time_base)
                last = time if last is None else max(last, time)
                _check_duration(last - first, limits)
    except av.FFmpegError:
        pass  # a damaged end: the frames that decode are predicted, and the result notes it
    rate = frame_rate(stream) or FALLBACK_FPS
    if last is None or last == first:
        duration = float(num_frames / rate)
    else:
        duration = last - first + float(1 / rate)
    _check_duration(duration, limits)
    return num_frames, duration


def _check_duration(seconds: float, limits: ServerLimits) -> None:
    what, allowed = f"a video of at least {seconds:.1f} s", limits.duration_seconds
    check_limit("video_too_long", what, "duration_seconds", allowed, seconds)


def playable_type(container: InputContainer, stream: VideoStream) -> str | None:
    """The media type of a file that browsers play; None for all others."""
    formats = set(container.format.name.split(","))
    codec = stream.codec_context.codec.canonical_name
    if stream.codec_context.pix_fmt not in _PLAYABLE_PIXELS:
        return None
    for media_type, (containers, codecs) in _PLAYABLE.items():
        # FFmpeg has one reader for Matroska and WebM; browsers play Matroska files of these codecs.
        if formats & containers and codec in codecs:
            return media_type
    return None
