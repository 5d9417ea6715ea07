"""`msqnet batch` killed at random moments, by URL, and with the shipped model."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

from msqnet.batch.ray_runner import RayRunner, check_reachable
from msqnet.batch.run import ERROR_COLUMNS, BatchStatus, run_batch
from msqnet.batch.work_list import find_jobs
from msqnet.cli.main import main
from msqnet.demo import FOLDER
from msqnet.errors import ConfigError, MissingExtra, MsqnetError
from msqnet.predictions import VideoPredictions
from tests.fixtures.documents import ROOT
from tests.integration.test_documented_results import documented
from tests.unit.batch import brightness_batch
from tests.unit.inference.brightness import WHITE, write_video

if TYPE_CHECKING:
    from pathlib import Path

NUM_VIDEOS = 16
NUM_BAD = 3


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


def test_run_that_is_killed_ends_as_an_unbroken_one(tmp_path: Path, videos: Path) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    assert brightness_batch.main([str(videos), str(unbroken), "0"]) == 1
    assert len(results(unbroken)) == NUM_VIDEOS - NUM_BAD
    process = start(str(videos), str(out), "2", "0.4")
    _wait_for_a_result(out)
    time.sleep(random.Random(0).uniform(0.0, 0.4))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len(results(out)) < NUM_VIDEOS - NUM_BAD
    assert brightness_batch.main([str(videos), str(out), "2"]) == 1
    assert_complete(out, unbroken)
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


@pytest.mark.slow
def test_ray_run_that_is_killed_ends_as_an_unbroken_one(tmp_path: Path, videos: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    unbroken, out = tmp_path / "unbroken", tmp_path / "out"
    assert brightness_batch.main([str(videos), str(unbroken), "0"]) == 1
    process = start(str(videos), str(out), "ray", "0.4")
    _wait_for_a_result(out)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert start(str(videos), str(out), "ray").wait(240) == 1
    assert_complete(out, unbroken)


@pytest.mark.slow
def test_ray_actor_outlives_a_deadly_video(tmp_path: Path, videos: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    folder = tmp_path / "in"
    for name in ("a.mov", "c.mov"):
        write_video(folder / name, [WHITE] * 20)
    write_video(folder / "b.mov", [brightness_batch.DEADLY_LEVEL] * 20)
    out = tmp_path / "out"
    assert start(str(folder), str(out), "ray").wait(240) == 1
    causes = {item.name: item.cause for item in BatchStatus(str(out)).outcomes}
    assert causes == {"a.mov": "", "b.mov": "process_died", "c.mov": ""}


class Unreadable:
    """What loads no model: the processes of the cluster cannot even read it."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return (int, ("not on this machine",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
def test_cluster_that_gives_up_is_one_line(tmp_path: Path, videos: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    settings = brightness_batch.job_settings(tmp_path / "out")
    runner = RayRunner(settings, Unreadable(), 1)  # type: ignore[arg-type]
    with pytest.raises(MsqnetError, match="--ray local: the cluster gave up: ") as caught:
        list(run_batch(find_jobs([str(videos)]), runner, str(tmp_path / "out")))
    assert "\n" not in str(caught.value)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'msqnet\[batch\]'"):
        brightness_batch.ray_runner(tmp_path / "out")


def test_cluster_that_does_not_answer_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_reachable(address)
        check_reachable(f"ray://{address}")
    for unreachable in (address, f"ray://{address}", "127.0.0.1:99999"):
        with pytest.raises(ConfigError, match=f"--ray {unreachable}: nobody answers"):
            check_reachable(unreachable)
    for without_port in ("auto", "local"):
        check_reachable(without_port)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["run", "--out", "out"], "required: --inputs (see: msqnet batch run --help)"),
        (["run", "--out", "out", "--inputs", "in", "--processes", "-1"], "--processes -1"),
        (
            ["run", "--out", "out", "--inputs", "in", "--gpus_per_actor", "1"],
            "--gpus-per-actor is for --ray",
        ),
        (["run", "--out", "out", "--inputs", "in", "--retries", "-1"], "retries -1"),
        (["run", "--out", "out", "--inputs", "in", "--threads", "0"], "--threads 0"),
    ],
)
def test_wrong_usage_is_refused(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch", *arguments]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_subcommand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["batch", "stop", "--out", "out"])
    assert caught.value.code == 2
    assert "invalid choice: 'stop' (choose from 'run', 'status')" in capsys.readouterr().err


def test_shipped_model_gives_what_predict_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes((FOLDER / "fall_at_home.mp4").read_bytes())
    (folder / "text.mp4").write_text("Dear sir or madam")
    single, out = tmp_path / "single", tmp_path / "out"
    options = ["--stride_seconds", "2", "--threshold", "0.3"]
    num_threads = str(torch.get_num_threads())
    assert main(["predict", str(folder), "--out", str(single), *options]) == 1
    run = ["batch", "run", "--inputs", str(folder), "--out", str(out), "--threads", num_threads]
    assert main([*run, *options]) == 1
    found, expected = results(out), results(single)
    assert list(found) == ["clip.mp4.json"]
    one, other = (VideoPredictions.from_json(texts["clip.mp4.json"]) for texts in (found, expected))
    assert np.abs(one.timeline.scores - other.timeline.scores).max() <= 1e-6
    assert one.provenance == other.provenance
    assert (out / "index.csv").read_text() == (single / "index.csv").read_text()
    assert main(["batch", "status", "--out", str(out)]) == 1
    assert "2 of 2 videos: 1 error, 1 ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "section"),
    [
        ("segments", "Segments of all videos"),
        ("scores", "Scores of all videos"),
        ("videos", "Videos"),
    ],
)
def test_data_set_has_the_documented_columns_and_types(
    tmp_path: Path, videos: Path, table: str, section: str
) -> None:
    out = tmp_path / "out"
    brightness_batch.main([str(videos / "0" / "00.mov"), str(out), "0"])
    schema = pq.read_schema(next((out / "dataset" / table).rglob("*.parquet")))
    texts = {"string": "text"}
    found = {name: str(schema.field(name).type) for name in schema.names}
    assert {name: texts.get(kind, kind) for name, kind in found.items()} == documented(section)
    assert list(documented("Errors")) == list(ERROR_COLUMNS)


def _wait_for_a_result(out: Path) -> None:
    deadline = time.monotonic() + 200  # a busy machine takes its time to start processes
    while time.monotonic() < deadline and not list(out.glob("[0-9]/*.json")):
        time.sleep(0.02)
