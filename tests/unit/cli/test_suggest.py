from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table
from msqnet.inference.suggested_windows import SUGGESTION_COLUMNS
from tests.fixtures.models import tiny_model
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny_model("lite", window_seconds=1.0).save_pretrained(folder)
    return folder


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of three seconds, and one that is none."""
    folder = tmp_path / "videos"
    write_video(folder / "a.mov", [20] * 10 + [120] * 10 + [220] * 10)
    write_video(folder / "deep" / "b.mov", [60] * 10 + [160] * 10 + [60] * 10)
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_table_waits_for_labels_and_is_read_as_unknown(
    model: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "todo.csv"

    assert main(["suggest", str(videos), "--model", str(model), "--n", "4", "--out", str(out)]) == 0

    rows = rows_of(out)
    assert tuple(rows[0]) == SUGGESTION_COLUMNS
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["path"] for row in rows} <= {"videos/a.mov", "videos/deep/b.mov"}
    assert all(row["likely"].count("|") == 2 for row in rows)
    table = read_table(out)
    assert not any(record.has_known_labels for record in table.records)
    assert [record.path.exists() for record in table.records] == [True] * 4
    assert "4 windows of 2 videos" in capsys.readouterr().out


def test_windows_that_are_labelled_are_not_asked_for_again(
    model: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "todo.csv"
    known = tmp_path / "known.csv"
    known.write_text(
        "path,start,end,labels\nvideos/a.mov,0,2.1,sit\nvideos/deep/b.mov,,,walk\n",
        encoding="utf-8",
    )
    arguments = ["suggest", str(videos), "--model", str(model), "--known", str(known)]

    assert main([*arguments, "--out", str(out)]) == 0

    (row,) = rows_of(out)
    assert (row["path"], row["start"], row["end"]) == ("videos/a.mov", "2.0", "3.0")


def test_nothing_is_left_where_all_is_labelled(
    model: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.csv"
    known.write_text("path,labels\nvideos/a.mov,sit\nvideos/deep/b.mov,walk\n", encoding="utf-8")
    arguments = ["suggest", str(videos), "--model", str(model), "--known", str(known)]

    assert main([*arguments, "--out", str(tmp_path / "todo.csv")]) == 1

    assert "all 6 windows of 2 videos are labelled already" in capsys.readouterr().err


def test_video_that_cannot_be_read_is_named_and_the_others_are_used(
    model: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "todo.csv"

    assert main(["suggest", str(videos), "--model", str(model), "--out", str(out)]) == 1

    assert len(rows_of(out)) == 6
    assert "left out: " in capsys.readouterr().err


def test_table_that_may_hold_labels_is_not_replaced(
    model: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "todo.csv"
    out.write_text("mine")
    arguments = ["suggest", str(videos), "--model", str(model), "--out", str(out)]

    assert main(arguments) == 2
    assert "exists, and may hold labels by now" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert len(rows_of(out)) == 6


def test_project_of_boris_comes_back_with_what_was_seen_in_the_windows_alone(
    model: Path, videos: Path, tmp_path: Path
) -> None:
    project = tmp_path / "todo.boris"
    arguments = ["suggest", str(videos), "--model", str(model), "--n", "2", "--format", "boris"]
    assert main([*arguments, "--out", str(project)]) == 0
    content = json.loads(project.read_text())
    observations = list(content["observations"].values())
    start, end = observations[0]["observation time interval"]
    assert end - start == pytest.approx(1.0)
    # In the first window somebody sees `walk` all the time, in the second one nothing.
    observations[0]["events"] = [[time, "", "walk", "", "", "NA"] for time in (start, end)]
    project.write_text(json.dumps(content))

    table = tmp_path / "answers.csv"
    convert = ["convert", "--from", "boris", "--input", str(project), "--out", str(table)]
    assert main(convert) == 0

    first, second = sorted(read_table(table).records, key=lambda record: -len(record.labels))
    assert first.labels == ("walk",)
    assert (first.start_seconds, first.end_seconds) == pytest.approx((start, end))
    assert second.labels == ()
    assert second.end_seconds - second.start_seconds == pytest.approx(1.0)
    assert first.annotated == second.annotated == frozenset({"sit", "walk", "sleep"})


def test_tasks_of_label_studio_show_the_models_guess_and_come_back(
    model: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "todo.json"
    options = ["--n", "3", "--format", "label_studio", "--out", str(out)]
    assert main(["suggest", str(videos), "--model", str(model), *options]) == 0
    tasks = json.loads(out.read_text())
    assert len(tasks) == 3
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [1, 1, 1]
    for task in tasks:  # somebody agrees
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    out.write_text(json.dumps(tasks))

    table = tmp_path / "answers.csv"
    convert = ["convert", "--from", "label_studio", "--input", str(out), "--out", str(table)]
    assert main(convert) == 0

    records = read_table(table).records
    assert len(records) == 3
    for record in records:
        assert len(record.labels) == 1
        assert record.end_seconds - record.start_seconds == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "0"], "n 0: expected at least 1"),
        (["--out", "todo.txt"], "ends in .csv"),
        (["--format", "boris"], ".boris"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    videos: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suggest", str(videos), "--out", "todo.csv", *options]) == 2

    assert message in capsys.readouterr().err
