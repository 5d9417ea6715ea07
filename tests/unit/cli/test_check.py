from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def table(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    write_video("a.mp4", 12)
    (tmp_path / "b[1].mp4").write_text("not a video")
    path = tmp_path / "clips.csv"
    path.write_text(
        "path,labels,start\na.mp4,x,0\nb[1].mp4,x,0\na.mp4,X,1\na.mp4,x,soon\n", encoding="utf-8"
    )
    return path


def test_problems_are_printed_with_row_numbers(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(table)]) == 1

    shown = capsys.readouterr().out
    assert re.findall(r"^ +(\d+) +(\w+: \w+)", shown, re.MULTILINE) == [
        ("3", "error: unreadable"),
        ("4", "warning: mislabelled"),
        ("4", "warning: contradiction"),
        ("5", "error: malformed"),
    ]
    assert "b[1].mp4" in "".join(shown.split())
    assert (
        f"{table}: 4 rows, 2 videos: 2 error(s), 2 warning(s) "
        "(1 unreadable, 1 mislabelled, 1 contradiction, 1 malformed)\n"
    ) in shown


def test_out_holds_the_problems(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "problems.csv"

    assert main(["check", str(table), "--out", str(out)]) == 1
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["kind"], row["severity"], row["path"]) for row in rows] == [
        ("3", "unreadable", "error", "b[1].mp4"),
        ("4", "mislabelled", "warning", "a.mp4"),
        ("4", "contradiction", "warning", "a.mp4"),
        ("5", "malformed", "error", "a.mp4"),
    ]
    assert "'soon' is not a number of seconds" in rows[3]["message"]


def test_warnings_alone_are_no_failure(
    tmp_path: Path, write_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_video("a.mp4", 12)
    write_video("b.mp4", 12)
    path = tmp_path / "clips.csv"
    path.write_text("path,labels\na.mp4,x\nb.mp4,X\n", encoding="utf-8")

    assert main(["check", str(path)]) == 0
    assert "0 error(s), 1 warning(s)" in capsys.readouterr().out


def test_sound_table_is_said_to_be_so_without_decoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_text("not opened")
    path = tmp_path / "clips.csv"
    path.write_text("path,labels\na.mp4,x\n", encoding="utf-8")

    assert main(["check", str(path), "--decode", "false"]) == 0
    assert "0 error(s), 0 warning(s); every row can be used" in capsys.readouterr().out


def test_what_is_no_table_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.csv")]) == 1
    assert "none.csv: no such file or folder" in capsys.readouterr().err


def test_labels_and_what_training_does_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clips.csv"
    rows = [("a", "rearing", "r1"), ("b", "rearin", "r1"), ("c", "rearing", "r2")]
    path.write_text(
        "Video;Behaviour;Animal;Start;Stop\n"
        + "".join(f"{v}.mp4;{label};{rat};0:01;0:03,5\n" for v, label, rat in rows)
    )
    for video, _, _ in rows:
        (tmp_path / f"{video}.mp4").write_text("not opened")

    assert main(["check", str(path), "--decode", "false"]) == 0
    shown = capsys.readouterr().out
    assert (
        "note: columns: path from 'Video', labels from 'Behaviour', end from 'Stop', group from "
        "'Animal'; --columns path=NAME changes a guess, end= drops one\n"
    ) in shown
    assert re.findall(r"(\w+) +│ +(\d) │ +(\d)", shown) == [
        ("rearing", "2", "2"),
        ("rearin", "1", "1"),
    ]
    assert "label 'rearin' (1 row(s), first row 3) is nearly 'rearing' (2)" in " ".join(
        shown.split()
    )
    for line in (
        "msqnet train would use 3 row(s):",
        "  task: single_label, as each of 3 rows has exactly one of 2 labels",
        "  window: 2 s, the longest that tells well when something was; rows are longer (2.5 s)",
        "  folds: 2 folds, each with whole groups held out; there are 2 groups",
        "  not testable, as one group alone shows them: rearin",
        "  time: about 1 min on two cores without a GPU, by an estimate",
    ):
        assert f"{line}\n" in shown


def test_plan_is_for_the_rows_that_training_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clips.csv"
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mp4").write_text("not opened")
    text = "path,labels,split\na.mp4,x,train\nb.mp4,y,train\nc.mp4,x|y,test\ngone.mp4,,train\n"
    path.write_text(text)
    assert main(["check", str(path), "--decode", "false"]) == 1
    shown = capsys.readouterr().out
    assert "would use 2 row(s)" in shown
    assert "task: single_label" in shown
    assert "window: as long as the videos of rows without an end, but at most 2 s" in shown

    path.write_text(text.replace("train", "fold1"))
    main(["check", str(path), "--decode", "false"])
    assert "training: no row has split 'train'; say --split" in capsys.readouterr().out


def test_problems_of_several_tables_name_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_text("not opened")
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("path,labels\na.mp4,x\n")
    two.write_text("file,label\ngone.mp4,x\n")
    out = tmp_path / "problems.csv"
    arguments = ["check", str(one), str(two), "--decode", "false", "--out", str(out)]
    assert main(arguments) == 1
    with out.open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["row"], row["kind"], row["table"]) == ("2", "missing", str(two))
