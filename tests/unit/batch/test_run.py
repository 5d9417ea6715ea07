from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.dataset as ds
import pytest

from msqnet.batch.run import BatchStatus, run_batch
from msqnet.batch.runners import ResultsFolder
from msqnet.batch.work_list import find_jobs
from msqnet.cli.batch import show_run, status
from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.inference.results import Outcome
from tests.unit.batch.brightness_batch import DEADLY_LEVEL, STUCK_LEVEL, runner
from tests.unit.inference.brightness import BLACK, WHITE, write_truncated_video, write_video

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from msqnet.inference.results import VideoJob

EVENT = [BLACK] * 10 + [WHITE] * 10


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three videos, one that is cut off, and two that are none."""
    folder = tmp_path / "in"
    for number in range(3):
        write_video(folder / f"{number}.mov", [80 * number] * 10 + [WHITE] * 10)
    write_truncated_video(folder / "cut.mov", [WHITE] * 40)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("Dear sir or madam")
    return folder


def run(videos: Path, out: Path, num_processes: int = 0, **settings: object) -> list[Outcome]:
    return list(
        run_batch(find_jobs([str(videos)]), runner(out, num_processes, **settings), str(out))
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_say_what_became_of_every_video(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    index = {row["input"]: row for row in rows(out / "index.csv")}
    statuses = {name.rpartition("/")[2]: row["status"] for name, row in index.items()}
    expected = {"0.mov": "ok", "1.mov": "ok", "2.mov": "ok", "cut.mov": "partial"}
    assert statuses == expected | {"empty.mp4": "error", "text.mp4": "error"}
    outputs = index[str(videos / "0.mov")]["outputs"].split("|")
    assert outputs == ["0.mov.json", "0.mov.csv", "0.mov.scores.parquet"]
    assert all((out / name).is_file() for name in outputs)
    errors = {row["name"]: row for row in rows(out / "errors.csv")}
    assert {name: row["cause"] for name, row in errors.items()} == {
        "cut.mov": "damaged",
        "empty.mp4": "bad_file",
        "text.mp4": "bad_file",
    }
    assert all(row["attempts"] == "1" and row["error"] for row in errors.values())


def test_data_set_is_read_in_one_line(tmp_path: Path, videos: Path) -> None:
    import pandas as pd

    run(videos, tmp_path / "out")
    for table in ("segments", "scores", "videos"):
        found = pd.read_parquet(tmp_path / "out" / "dataset" / table)
        assert set(found["name"]) == {"0.mov", "1.mov", "2.mov", "cut.mov"}
        assert "part" in found
    scores = ds.dataset(tmp_path / "out" / "dataset" / "scores", partitioning="hive").to_table()
    assert scores.num_rows == len(found := scores.to_pandas().drop_duplicates()) == len(found)


@pytest.mark.parametrize("num_processes", [0, 2])
def test_second_run_computes_nothing_and_leaves_the_same_tables(
    tmp_path: Path, videos: Path, num_processes: int
) -> None:
    out = tmp_path / "out"
    first = run(videos, out, num_processes)
    tables = [(out / name).read_text() for name in ("index.csv",)]
    second = run(videos, out, num_processes)
    assert sorted(item.name for item in second) == sorted(item.name for item in first)
    assert {item.name for item in second if item.existed} == {
        item.name for item in first if item.status in ("ok", "partial")
    }
    assert [(out / name).read_text() for name in ("index.csv",)] == tables


def test_rows_of_predict_are_kept(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.csv").write_text("input,outputs,status,error\n/far/z.mp4,z.mp4.json,ok,\n")
    run(videos, out)
    assert next(row["input"] for row in rows(out / "index.csv")) == "/far/z.mp4"
    assert len(rows(out / "index.csv")) == 7


def test_folder_with_another_index_is_refused_before_any_work(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="not an index of predictions"):
        run(videos, out)
    assert not (out / "0.mov.json").exists()


def test_results_folder_that_is_a_file_is_refused(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="a file; expected the folder"):
        run(videos, tmp_path / "out")


def test_two_runs_in_one_folder_are_refused_until_the_first_ends(
    tmp_path: Path, videos: Path
) -> None:
    out = tmp_path / "out"
    first = run_batch(find_jobs([str(videos)]), runner(out, 0), str(out))
    next(first)
    with pytest.raises(ConfigError, match=rf"another batch run \(process {os.getpid()} on"):
        run(videos, out)
    assert BatchStatus(str(out)).is_running
    first.close()
    assert len(run(videos, out)) == 6
    assert not BatchStatus(str(out)).is_running


def test_run_that_is_stopped_keeps_what_is_finished(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    outcomes = run_batch(find_jobs([str(videos)]), runner(out, 0), str(out))
    done = [next(outcomes).name for _ in range(2)]
    outcomes.close()
    assert [row["input"] for row in rows(out / "index.csv")] == [
        str(videos / name) for name in done
    ]
    status = BatchStatus(str(out))
    assert (status.num_videos, len(status.outcomes)) == (6, 2)


def test_lost_journal_costs_no_result(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    (out / ".batch" / "journal.jsonl").unlink()
    assert sum(item.existed for item in run(videos, out)) == 4


def test_deadly_video_costs_its_own_row_and_the_others_go_on(tmp_path: Path, videos: Path) -> None:
    write_video(videos / "1deadly.mov", [DEADLY_LEVEL] * 20)
    outcomes = {item.name: item for item in run(videos, tmp_path / "out", 2)}
    assert len(outcomes) == 7
    deadly = outcomes["1deadly.mov"]
    assert (deadly.status, deadly.cause, deadly.num_attempts) == ("error", "process_died", 2)
    assert "died 2 times" in deadly.message
    assert [outcomes[f"{number}.mov"].status for number in range(3)] == ["ok"] * 3


def test_stuck_video_is_stopped_and_the_others_go_on(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msqnet.batch.runners._GRACE_SECONDS", 0.5)
    write_video(videos / "1stuck.mov", [STUCK_LEVEL] * 20)
    outcomes = {
        item.name: item for item in run(videos, tmp_path / "out", 1, time_limit_seconds=8.0)
    }
    stuck = outcomes.pop("1stuck.mov")
    assert (stuck.status, stuck.cause) == ("timeout", "time_limit")
    assert 8 < stuck.seconds < 60
    assert [outcomes[f"{number}.mov"].status for number in range(3)] == ["ok"] * 3


def refuse() -> None:
    raise DatasetError("no such model")


def crash() -> None:
    raise RuntimeError("no such thing")


def test_model_that_cannot_be_loaded_ends_the_run(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    for load, error, message in (
        (refuse, DatasetError, "no such model"),
        (crash, MsqnetError, "RuntimeError: no such thing"),
    ):
        failing = replace(runner(out, 2), load=load)
        with pytest.raises(error, match=message):
            list(run_batch(find_jobs([str(videos)]), failing, str(out)))


def test_command_prints_progress_a_summary_and_the_exit_code(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert show_run(find_jobs([str(videos)]), runner(out, 0), out) == 1
    shown = capsys.readouterr()
    assert shown.err.count("msqnet: error: ") == 2
    assert shown.err.count("msqnet: partial: ") == 1
    assert "2 error, 3 ok, 1 partial; 6 in " in shown.out
    assert "videos/s" in shown.out
    assert status(out) == 1
    assert "6 of 6 videos: 2 error, 3 ok, 1 partial" in capsys.readouterr().out
    only = [str(videos / "0.mov")]
    assert show_run(find_jobs(only), runner(out, 0), out) == 0
    assert "1 ok, 1 of them done before" in capsys.readouterr().out
    assert status(out) == 0


def test_status_of_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no batch run was started there"):
        BatchStatus(str(tmp_path))


class Interrupted:
    """A runner during whose work the user presses Ctrl-C."""

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[Outcome, None, None]:
        yield Outcome(jobs[0].name, jobs[0].source, "ok")
        raise KeyboardInterrupt


def test_interrupt_leaves_tables_and_a_summary(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        show_run(find_jobs([str(videos)]), Interrupted(), str(out))
    assert "1 ok, 5 left" in capsys.readouterr().out
    assert len(rows(out / "index.csv")) == 1


def test_help_of_the_command_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys\nfrom msqnet.cli.main import main\n"
        "try:\n    main(['batch', 'run', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'fsspec')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("--inputs", "--processes", "--ray", "--time-limit-seconds"):
        assert word in done.stdout


def test_state_of_the_run_holds_plain_values(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    document = json.loads((out / ".batch" / "run.json").read_text())
    assert document["num_videos"] == 6


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside_of_a_file = tmp_path / "file" / "out"
    with pytest.raises(OSError, match=r"file/out: cannot write there \(Not a directory\)"):
        next(run_batch([], runner(inside_of_a_file, 0), str(inside_of_a_file)))
    with pytest.raises(OSError, match=r"file/out: cannot write there \(Not a directory\)"):
        ResultsFolder(inside_of_a_file)


def test_lock_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out" / ".batch" / "lock").mkdir(parents=True)  # a folder where the file would be
    with pytest.raises(OSError, match=r"out: cannot write there \(.*\); make it writable"):
        next(run_batch([], runner(tmp_path / "out", 0), str(tmp_path / "out")))


def test_staging_of_processes_that_work_is_kept_and_of_others_removed(tmp_path: Path) -> None:
    staging = tmp_path / "out" / ".batch" / "staging"
    host = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        alive = staging / f"msqnet-batch-{host}-{process.pid}-x"
        alive.mkdir(parents=True)
        (staging / f"msqnet-batch-elsewhere-{process.pid}-x").mkdir()
        (staging / f"msqnet-batch-{host}-999999999-x").mkdir()
        list(run_batch([], runner(tmp_path / "out", 0), str(tmp_path / "out")))
        assert list(staging.iterdir()) == [alive]
        process.communicate(b"\n")
