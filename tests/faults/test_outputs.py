"""Where results cannot be written: full disks, limits, no permission."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.inference.results import read_index
from msqnet.predictions import VideoPredictions
from tests.faults.processes import run
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from collections.abc import Iterator

VIDEOS = ("a.mov", "b.mov")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter, with two videos in `videos/`."""
    folder = Path(tempfile.mkdtemp(prefix="msqnet-faults-"))
    folder.chmod(0o755)
    for name in VIDEOS:
        write_video(folder / "videos" / name, [WHITE, BLACK] * 8)
    yield folder
    shutil.rmtree(folder)


def predict(place: Path, out: Path, **limits: Any) -> tuple[int, str]:
    done = run(["predict", place / "videos", "--out", out, "--device", "cpu"], **limits)
    assert "Traceback" not in done.output
    return done.exit_code, done.output


def assert_whole(out: Path, names: tuple[str, ...] = VIDEOS) -> None:
    """Whatever carries the final name of a result is one."""
    for path in out.rglob("*.json"):
        VideoPredictions.from_json(path.read_text())
        assert path.with_name(f"{path.stem}.csv").exists()
        assert path.with_name(f"{path.stem}.scores.parquet").exists()
    assert not list(out.rglob("*.part"))
    if names:
        assert sorted(path.name for path in out.glob("*.mov.json")) == [f"{n}.json" for n in names]


def test_results_too_large_for_the_limit_are_rows_and_a_later_run_writes_them(place: Path) -> None:
    """`ulimit -f` makes every write behind the limit fail, as a disk does that is full."""
    out = place / "out"
    exit_code, output = predict(place, out, max_file_bytes=2000)
    assert exit_code == 1
    assert "File too large" in output
    rows = read_index(out / "index.csv")
    assert [(row.status, "File too large" in row.error) for row in rows] == [("error", True)] * 2
    assert not list(out.glob("*.json"))
    assert_whole(out, ())
    assert predict(place, out)[0] == 0
    assert_whole(out)


def test_index_that_cannot_be_written_ends_the_run_with_a_message(place: Path) -> None:
    exit_code, output = predict(place, place / "out", max_file_bytes=20)
    assert exit_code == 1
    assert "File too large" in output
    assert_whole(place / "out", ())


def test_full_disk_loses_nothing_that_was_finished(place: Path) -> None:
    """A file system in memory that is too small for all results."""
    out = place / "small"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        (out / "ballast").write_bytes(bytes(36_000))
        exit_code, output = predict(place, out)
        assert exit_code == 1
        assert "No space left on device" in output
        rows = read_index(out / "index.csv")
        failed = [row for row in rows if row.status != "ok"]
        assert failed, "the disk was not full"
        assert all("No space left" in row.error for row in failed)
        assert_whole(out, ())
        (out / "ballast").unlink()
        exit_code, output = predict(place, out)
        assert exit_code == 0, output
        assert_whole(out)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_output_without_permission_is_one_line_and_leaves_nothing(place: Path) -> None:
    place.chmod(0o555)
    exit_code, output = predict(place, place / "out", privileged=False)
    assert exit_code == 1
    assert "Permission denied" in output
    assert not (place / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_video_without_permission_is_a_row_beside_those_of_the_others(place: Path) -> None:
    (place / "videos" / "a.mov").chmod(0o000)
    exit_code, output = predict(place, place / "out", privileged=False)
    assert exit_code == 1, output
    rows = {Path(row.input).name: row for row in read_index(place / "out" / "index.csv")}
    assert rows["a.mov"].status == "error"
    assert "Permission denied" in rows["a.mov"].error
    assert rows["b.mov"].status == "ok"
    assert json.loads((place / "out" / "b.mov.json").read_text())["path"].endswith("b.mov")
