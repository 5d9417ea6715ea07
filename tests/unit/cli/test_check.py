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
