"""Damaged videos: never a crash, a hang or much memory; always a row."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import pytest

from msqnet.demo import demo_clips
from msqnet.inference.results import read_index
from tests.faults.mutations import MUTATIONS, write_mutated
from tests.faults.processes import run

MAX_BYTES = 2 * 10**9
OTHER_CONTAINERS = (
    (".mkv", "libx264", "yuv420p"),
    (".mov", "mpeg4", "yuv420p"),
    (".ts", "mpeg2video", "yuv420p"),
    (".webm", "libvpx-vp9", "yuv420p"),
    (".gif", "gif", "rgb8"),
)
"""Suffix, codec and pixel format."""

FEW, MANY = len(MUTATIONS), 1000


def predict_mutated(sources: list[Path], folder: Path, count: int) -> None:
    videos = folder / "videos"
    videos.mkdir()
    written = write_mutated(sources, videos, count, seed=0)
    options = ("--window_seconds", 2, "--stride_seconds", 2, "--device", "cpu")
    done = run(
        ["predict", videos, "--out", folder / "results", *options],
        timeout_seconds=240 + 20 * count,
    )
    assert done.exit_code in (0, 1), done.output
    rows = read_index(folder / "results" / "index.csv")
    assert sorted(Path(row.input).name for row in rows) == [path.name for path in written]
    assert all(row.error for row in rows if row.status != "ok")
    for row in rows:
        for name in row.outputs.split("|") if row.outputs else ():
            assert (folder / "results" / name).stat().st_size
    counts = Counter(row.status for row in rows)
    print(
        f"{count} damaged videos: {dict(counts)}; peak memory {done.peak_bytes / 1e6:.0f} MB; "
        f"{done.seconds:.0f} s"
    )
    assert done.peak_bytes < MAX_BYTES


def test_damaged_videos_each_give_a_row(tmp_path: Path) -> None:
    paths = [clip.path for clip in demo_clips()]
    predict_mutated([path for path in paths if path.stat().st_size < 5e5], tmp_path, FEW)


def in_other_containers(source: Path, folder: Path) -> list[Path]:
    """The first two seconds of a clip in the containers and codecs that cameras and sites give."""
    folder.mkdir(parents=True)
    written = []
    for suffix, codec, pixels in OTHER_CONTAINERS:
        path = folder / f"{source.stem}{suffix}"
        with av.open(str(source)) as given, av.open(str(path), "w") as made:
            video = given.streams.video[0]
            stream = made.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, pixels
            for number, frame in enumerate(given.decode(video)):
                if number == 20:
                    break
                small = frame.reformat(width=160, height=120, format=pixels)
                small.pts, small.time_base = number, Fraction(1, 10)
                made.mux(stream.encode(small))
            made.mux(stream.encode(None))
        written.append(path)
    return written


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_thousand_damaged_real_clips_each_give_a_row(real_data: Path, tmp_path: Path) -> None:
    """Short real clips as they come (.mp4 and .avi), and some of them in other containers."""
    sources = []
    for folder in ("surv_fight", "mouse_bsoid_v1", "mouse_bsoid_v2", "yolo_behavior_rat", "misc"):
        found = [
            path
            for path in sorted((real_data / folder).rglob("*"))
            if path.suffix in (".mp4", ".avi") and path.stat().st_size < 1.5e6
        ]
        if not found:
            pytest.skip(f"no short clips in {real_data / folder}")
        sources += found[:: max(1, len(found) // 12)]
        sources += in_other_containers(found[0], tmp_path / "sources" / folder)
    assert len({path.suffix for path in sources}) == 2 + len(OTHER_CONTAINERS)
    predict_mutated(sources, tmp_path, MANY)
