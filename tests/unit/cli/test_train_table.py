"""Rows and their task as `msqnet train` takes them, up to where training would begin."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from msqnet.cli.console import read_clips
from msqnet.cli.main import main, parse_settings
from msqnet.config import ArchConfig, AugmentationConfig, LossConfig, TableOptions, TrainConfig
from msqnet.errors import ConfigError, DatasetError
from msqnet.models import provenance_in
from msqnet.training import table_training
from msqnet.training.table_training import prepare, readable_rows
from msqnet.training.training_run import settings_of, variant

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.training.training_run import Run

ONE_EACH = "path,labels\na.mp4,x\nb.mp4,y\n"


@pytest.fixture
def folder(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    for name in ("a.mp4", "b.mp4"):
        write_video(name, 3)
    return tmp_path


def prepared(folder: Path, text: str = ONE_EACH, **changes: Any) -> Run:
    (folder / "clips.csv").write_text(text)
    settings: dict[str, Any] = {"arch": ArchConfig(), "train": TrainConfig(), "task": "auto"}
    settings |= {"split": None, "skip_errors": False, "folder": folder / "run"} | changes
    data = [str(folder / "clips.csv")]
    return prepare(data, augmentation=AugmentationConfig(), report=said, **settings)


def said(line: str) -> None:
    print(line, file=sys.stderr)


def test_task_is_seen_from_the_rows_and_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared(folder).task == "single_label"
    printed = capsys.readouterr().err
    assert (
        "task: single_label, as each of 2 rows has exactly one of 2 labels: videos will" in printed
    )
    assert "say --task multi_label" in printed

    assert prepared(folder, task="multi_label").task == "multi_label"
    assert prepared(folder, ONE_EACH.replace("y", "x|y")).task == "multi_label"
    assert "task: multi_label, as row 3 has 2 labels\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arch": variant(ArchConfig(), "open_full")}, "the head cosine scores each label"),
        (
            {"train": TrainConfig(loss=LossConfig("asymmetric"), class_balance="none")},
            "the loss asymmetric is for that task only",
        ),
    ],
)
def test_settings_for_many_labels_decide_the_task(
    changes: dict[str, Any], reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared(folder, **changes).task == "multi_label"
    assert f"task: multi_label, as {reason}" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_model_to_start_from_keeps_its_task(task: str, folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"task": task}))
    assert prepared(folder, init_from=str(folder / "model")).task == task
    several = ONE_EACH.replace("y", "x|y")
    assert prepared(folder, several, init_from=str(folder / "model")).task == "multi_label"


def test_run_that_goes_on_keeps_its_task_and_columns(folder: Path) -> None:
    run = prepared(
        folder,
        "Film,Was\na.mp4,x\nb.mp4,y\n",
        task="multi_label",
        reading=TableOptions(columns="path=Film,labels=Was"),
    )
    run.folder.mkdir()
    (run.folder / "run.yaml").write_text(yaml.safe_dump(settings_of(run), sort_keys=False))
    assert run.provenance["reading"] == {"columns": {"path": "Film", "labels": "Was"}}

    reading = table_training._remembered(TableOptions(), run.folder)
    assert reading == TableOptions(columns="path=Film,labels=Was")
    again = prepared(folder, "Film,Was,label\na.mp4,x,7\nb.mp4,y,8\n", reading=reading)
    assert again.task == "multi_label"
    assert settings_of(again) == settings_of(run)


def test_what_was_assumed_is_said_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(folder, "Video,Class,groups_of\na.mp4,x;y,1\nb.mp4,y,1\n")
    printed = capsys.readouterr().err
    assert "note: columns: path from 'Video', labels from 'Class'; --columns path=NAME" in printed
    assert "holds ';' (row 2: 'x;y')" in printed
    assert "task: multi_label, as row 2 has a label that holds ';'" in printed
    run = prepared(
        folder, "path,labels\na.mp4,x;y\nb.mp4,y\n", reading=TableOptions(label_separator=";")
    )
    assert tuple(run.labels) == ("x", "y")


def test_check_that_is_advised_reads_the_table_as_training_did(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tables").mkdir()
    table = folder / "tables" / "my rats.csv"
    table.write_text("Film,Was\na.mp4,x+y\na.mp4,x+y\nb.mp4,y\n")
    told = TableOptions("path=Film,labels=Was", str(folder), "+")
    with pytest.raises(DatasetError, match="1 errors") as found:
        readable_rows(table, None, False, told, report=said)

    advised = shlex.split(str(found.value).split("`")[1])
    assert advised[:2] == ["msqnet", "check"]
    assert main(advised[1:]) == 1
    printed = capsys.readouterr().out
    assert "1 error(s), 0 warning(s) (1 duplicate)" in printed


def test_first_of_the_warnings_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "clips.csv"
    table.write_text("path,labels\na.mp4,x\nb.mp4,X\nb.mp4,x|y\n")
    readable_rows(table, None, True, report=said)
    printed = capsys.readouterr().err
    assert "1 mislabelled; first row 3: label 'X' is written 'x' in 2 row(s))" in printed


def test_rows_without_a_split_are_not_left_out_in_silence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "more.csv").write_text("path,labels\nb.mp4,y\n")
    (folder / "clips.csv").write_text("path,labels,split\na.mp4,y,train\n")
    data = [str(folder / "clips.csv"), str(folder / "more.csv")]
    readable_rows(data, None, False, report=said)
    printed = capsys.readouterr().err
    assert f"1 row(s) have no split and are left out, first {folder / 'more.csv'}, row 2" in printed


def test_skipped_rows_are_those_of_the_table_with_the_error(folder: Path) -> None:
    (folder / "more.csv").write_text("path,labels\ngone.mp4,y\n")
    (folder / "clips.csv").write_text(ONE_EACH)
    data = [str(folder / "clips.csv"), str(folder / "more.csv")]
    with pytest.raises(DatasetError, match=r"more\.csv, row 2.*msqnet check .*clips\.csv .*more"):
        readable_rows(data, None, False, report=said)
    rows = readable_rows(data, None, True, report=said)
    assert [row.relative_path for row in rows.records] == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    "name", ["train", "evaluate", "calibrate", "embed", "zero-shot", "check", "export"]
)
def test_every_command_that_reads_tables_takes_the_same_options(name: str) -> None:
    data = ["a.csv", "b.csv"] if name == "check" else ["--data", "a.csv", "b.csv"]
    if name == "export":
        data = ["--int8", "--calibrate-on", "a.csv"]
    out = [] if name == "check" else ["--out", "o"]
    more = ["--columns", "path=Video,labels=#1", "--root", "r", "--label-separator", ";"]
    _, found = parse_settings(name, [*data, *out, *more])
    key = {"check": "table", "export": "calibrate_on"}.get(name, "data")
    assert found[key] == ("a.csv" if name == "export" else ["a.csv", "b.csv"])
    assert found["reading"] == TableOptions("path=Video,labels=#1", "r", ";")
    with pytest.raises(ConfigError, match="expected some of path, labels"):
        parse_settings(name, [*data, *out, "--columns", "video=Video"])


def test_label_that_every_row_shows_is_said_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(folder, "path,labels\na.mp4,x\nb.mp4,x|y\n")
    assert "note: every row shows 'x': add rows that lack it" in capsys.readouterr().err
    prepared(folder)
    assert "every row shows" not in capsys.readouterr().err


def test_rows_without_a_group_are_said_to_be_recordings_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(folder)
    expected = "note: no group is named: each of 2 video(s) counts as a recording of its own."
    assert expected in capsys.readouterr().err
    main(["check", str(folder / "clips.csv")])
    assert expected in " ".join(capsys.readouterr().out.split())
    prepared(folder, "path,labels,group\na.mp4,x,\nb.mp4,y,rat1\n")
    assert "no group is named" not in capsys.readouterr().err


def test_model_is_tried_on_its_table_as_it_was_read_in_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "clips.csv"
    table.write_text("Film,Was\na.mp4,x+y\nb.mp4,y\n")
    told = TableOptions("path=Film,labels=Was", None, "+")
    run = prepared(folder, table.read_text(), reading=told)
    model = {"labels": list(run.labels), "provenance": run.provenance}
    (folder / "config.json").write_text(json.dumps(model))
    provenance = provenance_in(folder)

    rows = read_clips([str(table)], TableOptions(), None, provenance)
    assert [row.labels for row in rows.records] == [("x", "y"), ("y",)]
    printed = capsys.readouterr().err
    assert "is read as in training: --columns path=Film,labels=Was --label-separator +" in printed
    other = TableOptions(columns="path=Film,labels=Was", label_separator=";")
    rows = read_clips([str(table)], other, None, provenance)
    assert rows.records[0].labels == ("x+y",)
    renamed = table.rename(folder / "others.csv")
    rows = read_clips([str(renamed)], other, None, provenance)
    assert "as in training" not in capsys.readouterr().err


def test_nothing_is_told_by_what_is_no_model(tmp_path: Path) -> None:
    assert provenance_in(tmp_path) == provenance_in("clip-zero-shot:owner/name") == {}
    assert provenance_in(None)["recipe"] == "lite"
