"""Many short videos, cut from real ones, and some of them broken in several ways."""

from __future__ import annotations

import random
import shutil
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from msqnet.errors import VideoError
from msqnet.inference.results import find_videos
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_A_CLIP = 1.0
_FRAMES_A_SECOND = 4
_SHORT_SIDE_PIXELS = 112
_CLIPS_A_SOURCE = 25
_BROKEN_SHARE = 0.05


def cut_videos(source: Path, folder: Path, count: int) -> None:
    """Cut short videos from real ones, and break some; what is there from another time stays.

    Args:
        source: where real clips lie.
        folder: where to write.
        count: of all, the broken ones included.
    """
    done = folder / ".count"
    if done.exists() and done.read_text() == str(count):
        return
    shutil.rmtree(folder, ignore_errors=True)
    num_broken = round(_BROKEN_SHARE * count)
    paths = list(islice(_cut(source, folder, count), count))
    if len(paths) < count:
        raise SystemExit(f"{source}: only {len(paths)} videos could be cut of it")
    chance = random.Random(0)
    ways = cycle((_truncate, _empty, _replace_by_text, _flip))
    for path, way in zip(sorted(chance.sample(paths, num_broken)), ways, strict=False):
        path.write_bytes(way(path.read_bytes(), chance))
    done.write_text(str(count))


def _cut(source: Path, folder: Path, count: int) -> Iterator[Path]:
    videos = [video for video in find_videos([source]) if Path(video.source).is_file()]
    step = max(1, len(videos) * _CLIPS_A_SOURCE // (2 * count))
    for video in [*videos[::step], *videos]:
        try:
            with open_video(video.source, short_side_pixels=_SHORT_SIDE_PIXELS) as opened:
                num_clips = min(int(opened.duration_seconds / _SECONDS_A_CLIP), _CLIPS_A_SOURCE)
                for number in range(num_clips):
                    path = folder / Path(video.name).with_name(
                        f"{Path(video.name).stem}-{number:03}.mp4"
                    )
                    if not path.exists():
                        start = number * _SECONDS_A_CLIP
                        grid = np.arange(_FRAMES_A_SECOND) / _FRAMES_A_SECOND
                        frames = opened.frames_at([start + float(time) for time in grid])
                        yield _write(path, frames.pixels.transpose(0, 2, 3, 1))
        except VideoError as error:
            print(f"left out: {error}", file=sys.stderr)


def _write(path: Path, images: np.ndarray) -> Path:
    """Encode (T, H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = (side // 2 * 2 for side in images.shape[1:3])
    # With the index in front, a file that is cut off can be read as far as it goes.
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=_FRAMES_A_SECOND)
        stream.options = {"preset": "ultrafast", "threads": "1"}
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in images[:, :height, :width]:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(1, len(content))]


def _empty(_content: bytes, _chance: random.Random) -> bytes:
    return b""


def _replace_by_text(content: bytes, _chance: random.Random) -> bytes:
    return b"Dear sir or madam,\n" * (len(content) // 20)


def _flip(content: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(content)
    for place in chance.sample(range(len(flipped)), len(flipped) // 50):
        flipped[place] ^= 0xFF
    return bytes(flipped)
