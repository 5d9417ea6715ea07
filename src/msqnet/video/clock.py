"""The clock of a video file, as players show it, and what interrupts it.

Zero is where the file puts it: MP4, Matroska and AVI define one, and a picture may come later. In
streams that begin at any time, zero is the start of the first stream, be it sound. So do mpv and
Chromium; for Matroska, whose earliest packet mpv takes for zero, this is Chromium's clock.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from msqnet.intervals import Interval

_FORMATS_WITH_ZERO = frozenset({"mov", "matroska", "webm", "avi"})
_BROADCAST_FORMATS = frozenset({"mpegts", "mpeg", "dhav"})
_LATEST_START = Fraction(24 * 60 * 60)
"""Files that start later, such as fragments by the time of day, count from their start."""

_RESTART_SECONDS = 0.1
"""A step back by more is another recording; by less, pictures of which some came out of order."""

_JUMP_SECONDS, _JUMP_INTERVALS, _LOSS_INTERVALS = 1.0, 5.0, 1.5
_JITTER_SECONDS, _EVEN_SHARE, _STILL_SECONDS = 2e-3, 0.9, 0.5
_SMALL_LOSS_SECONDS = 0.25
"""Pictures that an open group of pictures loses at the start of a recording are no damage."""


def format_names(stream: VideoStream) -> frozenset[str]:
    """FFmpeg's names for the format of a file."""
    return frozenset(stream.container.format.name.split(","))


def clock_zero(stream: VideoStream) -> Fraction:
    """The time stamp, in seconds, that players show as 0."""
    starts = [
        item.start_time * item.time_base
        for item in (stream, *stream.container.streams.audio)
        if item.start_time is not None and item.time_base is not None
    ]
    earliest = min(starts, default=Fraction(0))
    has_zero = bool(_FORMATS_WITH_ZERO & format_names(stream)) and earliest < _LATEST_START
    return Fraction(0) if has_zero else earliest


def is_without_clock(stream: VideoStream) -> bool:
    """Whether a file holds no time at all: a raw stream, or one image."""
    container = cast("InputContainer", stream.container)
    starts: list[int | None] = [container.start_time, stream.start_time]
    return starts == [None, None] and container.format.name != "apng"


def continued(
    pts: Sequence[int], time_base: Fraction, *, goes_back: bool
) -> tuple[NDArray[np.int64], list[int]]:
    """Increasing times of pictures in the order of decoding, which is the truth.

    Where the clock ``goes_back``, as in files that were joined end to end, it goes on from there.
    Containers that store decoding order give times such as 1, 2, 4, 3: all there, in a wrong order.

    Returns:
        (N,) int64 times in units of `time_base`, and the numbers of the first pictures after a
        step back.
    """
    times = np.array(pts, dtype=np.int64)
    steps = np.diff(times)
    joints = np.flatnonzero(goes_back & (steps * float(time_base) < -_RESTART_SECONDS)) + 1
    usual = max(1, int(np.median(steps[steps > 0]))) if (steps > 0).any() else 1
    parts: list[NDArray[np.int64]] = []
    for part in np.split(times, joints):
        part = np.sort(part)
        parts.append(part + parts[-1][-1] + usual - part[0] if parts else part)
    return np.concatenate(parts), joints.tolist()


def jumps(
    pts_seconds: NDArray[np.float64], stream: VideoStream, is_key: Sequence[bool] | None
) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Where pictures are lost between others, and where the clock jumps without any.

    In a damaged file, pictures are lost wherever they are farther apart than usual, unless another
    recording begins there. Only recordings of broadcasts and cameras jump; elsewhere, a picture may
    be shown for long. But FFmpeg passes over damaged parts of Matroska without a word, so a long
    gap between pictures that come evenly is a loss.

    Args:
        pts_seconds: (N,) of all pictures.
        is_key: of each picture of a damaged file, whether it refers to no other; None for others.
    """
    intervals = np.diff(pts_seconds)
    if not len(intervals):
        return (), ()
    usual = float(np.median(intervals))
    is_long = intervals > max(_JUMP_SECONDS, _JUMP_INTERVALS * usual)
    is_lost = np.zeros(len(intervals), dtype=bool)
    if is_key is not None:
        is_lost = (intervals > _LOSS_INTERVALS * usual) & ~(is_long & np.array(is_key)[1:])
    if "matroska" in format_names(stream) and _are_even(intervals):
        is_lost |= is_long
    if not _BROADCAST_FORMATS & format_names(stream):
        is_long[:] = False

    def found(places: NDArray[np.bool_]) -> tuple[Interval, ...]:
        ends = [
            (pts_seconds[place] + usual, pts_seconds[place + 1]) for place in places.nonzero()[0]
        ]
        return tuple((float(start), float(end)) for start, end in ends)

    return found(is_lost), found(is_long & ~is_lost)


def _are_even(intervals: NDArray[np.float64]) -> bool:
    is_usual = np.abs(intervals - np.median(intervals)) <= _JITTER_SECONDS
    return bool(np.mean(is_usual) > _EVEN_SHARE)


def still_intervals(pts_seconds: NDArray[np.float64]) -> list[Interval]:
    """Where one picture stands for long among pictures that come evenly, as after a loss."""
    intervals = np.diff(pts_seconds)
    if not len(intervals) or not _are_even(intervals):
        return []
    is_long = intervals > max(_STILL_SECONDS, _JUMP_INTERVALS * float(np.median(intervals)))
    starts, ends = pts_seconds[:-1][is_long], pts_seconds[1:][is_long]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def leading_loss(first_seconds: float, start_seconds: float) -> tuple[Interval, ...]:
    """The interval before the first picture that decodes, where there are packets of earlier ones.

    Args:
        first_seconds: time of the first packet.
        start_seconds: time of the first picture.
    """
    first_seconds = max(0.0, first_seconds)
    is_loss = start_seconds - first_seconds > _SMALL_LOSS_SECONDS
    return ((first_seconds, start_seconds),) if is_loss else ()


def num_avi_chunks(path: Path, stream_index: int) -> int:
    """Chunks of a stream of an AVI file, also the empty ones, which repeat the picture before."""
    tags = {f"{stream_index:02d}{kind}".encode() for kind in ("dc", "db")}
    place = count = 0
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            tag, num_bytes = struct.unpack("<4sI", header)
            if not tag.strip().isalnum():
                break  # what follows is no chunk
            if tag in (b"RIFF", b"LIST"):
                place += 12  # what it holds comes next
            else:
                place += 8 + num_bytes + num_bytes % 2
                count += tag in tags
            file.seek(place)
    return count
