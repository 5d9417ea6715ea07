"""Videos to measure on, made from a real clip: H.264 with keyframes as x264 sets them."""

from __future__ import annotations

import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from msqnet.demo import FOLDER as DEMO

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path("build/bench")
_CLIP_OF_DATA = "misc/sam2__01_dog.mp4"
_DEMO_SECONDS = 12.0
_TIME_BASE = Fraction(1, 90_000)
# x264's own defaults, spelt out: a player's file has a keyframe at cuts and every 250 frames.
_X264_OPTIONS = {"preset": "medium", "crf": "23", "g": "250"}


def source_clip() -> Path:
    """A real 720p clip: of the data folder (MSQNET_DATA), else a demo clip, scaled to that size."""
    folder = os.environ.get("MSQNET_DATA")
    path = Path(folder or "", _CLIP_OF_DATA)
    if folder and path.is_file():
        return path
    return looped(DEMO / "fall_at_home.mp4", _DEMO_SECONDS, height=720)


def looped(source: Path, seconds: float, *, height: int | None = None) -> Path:
    """A video of some length, cut from a clip or made by repeating it; kept for the next run.

    Args:
        source: any video.
        seconds: length of what is made.
        height: frames are scaled to it; None keeps their size.

    Returns:
        A file in `FOLDER`.
    """
    size = "" if height is None else f"-{height}p"
    path = FOLDER / f"{source.stem}{size}-{seconds:g}s.mp4"
    if path.is_file() and path.stat().st_mtime > source.stat().st_mtime:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{os.getpid()}.mp4")
    _encode(source, part, seconds, height)
    part.replace(path)
    return path


def repeated(path: Path, times: int) -> Path:
    """A video shown several times in a row, without encoding it anew.

    Args:
        path: an H.264 file without B frames at its end, as `looped` makes.
        times: how often.
    """
    target = path.with_name(f"{path.stem}-x{times}.mp4")
    if target.is_file() and target.stat().st_mtime > path.stat().st_mtime:
        return target
    part = path.with_name(f"{target.stem}.{os.getpid()}.mp4")
    with av.open(str(path)) as source, av.open(str(part), "w") as output:
        original = source.streams.video[0]
        stream = output.add_stream_from_template(original)
        length = original.duration
        if length is None:
            raise ValueError(f"{path}: the file does not tell its length; make it anew")
        for number in range(times):
            source.seek(0, stream=original)
            for packet in source.demux(original):
                if packet.pts is None or packet.dts is None:
                    continue
                packet.pts += number * length
                packet.dts += number * length
                packet.stream = stream
                output.mux(packet)
    part.replace(target)
    return target


def _frames(source: Path) -> Iterator[tuple[float, Any]]:
    """Frames of a clip that is shown again and again, with their times in seconds.

    A whole number of them a second, so that the result is as long as it was asked for.
    """
    shown = itertools.count()
    while True:
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            rate = round(stream.average_rate or 25)
            for frame in container.decode(stream):
                yield next(shown) / rate, frame


def _encode(source: Path, target: Path, seconds: float, height: int | None) -> None:
    with av.open(str(target), "w") as output:
        stream: Any = None
        for time, frame in _frames(source):
            if time >= seconds - 1e-6:
                break
            if stream is None:
                rows = frame.height if height is None else height
                columns = round(frame.width * rows / frame.height / 2) * 2
                stream = output.add_stream("libx264", options=_X264_OPTIONS, time_base=_TIME_BASE)
                stream.width, stream.height, stream.pix_fmt = columns, rows - rows % 2, "yuv420p"
            picture = frame.reformat(stream.width, stream.height, format="yuv420p")
            picture.pts, picture.time_base = round(time / _TIME_BASE), _TIME_BASE
            picture.pict_type = 0  # the encoder decides, not the source's keyframes
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
