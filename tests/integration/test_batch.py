"""`msqnet batch` killed at random moments, by URL, and with the shipped model."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.dataset as ds
import pytest

from tests.fixtures.documents import ROOT
from tests.unit.batch import brightness_batch
from tests.unit.inference.brightness import WHITE, write_video

if TYPE_CHECKING:
    from pathlib import Path

NUM_VIDEOS = 24
NUM_BAD = 3
NUM_KILLS = 2


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short videos of all levels of grey, some of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS - NUM_BAD):
        levels = [9 * number] * 10 + [WHITE - 9 * number] * 10
        write_video(folder / f"{number % 3}" / f"{number:02}.mov", levels)
    for number in range(NUM_BAD):
        (folder / f"bad{number}.mp4").write_bytes(b"no video" * number)
    return folder


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.unit.batch.brightness_batch", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def results(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*.json")
        if ".batch" not in path.parts
    }


def assert_complete(out: Path, unbroken: Path) -> None:
    """Everything is there once, and as in a run that nothing stopped."""
    assert results(out) == results(unbroken)
    assert (out / "index.csv").read_text() == (unbroken / "index.csv").read_text()
    for table in ("segments", "scores", "videos"):
        rows, expected = (
            Counter(
                tuple(row.items())
                for row in ds.dataset(folder / "dataset" / table, partitioning="hive")
                .to_table()
                .to_pylist()
            )
            for folder in (out, unbroken)
        )
        assert rows == expected
        assert max(rows.values()) == 1


def test_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(
    tmp_path: Path, videos: Path
) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    assert brightness_batch.main([str(videos), str(unbroken), "0"]) == 1
    assert len(results(unbroken)) == NUM_VIDEOS - NUM_BAD
    chance = random.Random(0)
    num_finished: list[int] = []
    for _ in range(NUM_KILLS):
        process = start(str(videos), str(out), "2", "0.4")
        _wait_for_a_result(out, num_finished[-1] if num_finished else 0)
        time.sleep(chance.uniform(0.0, 0.4))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        num_finished.append(len(results(out)))
    assert 0 < num_finished[-1] < NUM_VIDEOS - NUM_BAD
    assert brightness_batch.main([str(videos), str(out), "2"]) == 1
    assert_complete(out, unbroken)
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


def _wait_for_a_result(out: Path, num_before: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(out.glob("[0-9]/*.json"))) <= num_before:
        time.sleep(0.02)
