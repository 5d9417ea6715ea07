"""`msqnet convert` between files of annotation tools, tables and results, as a user calls it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

BORIS_PROJECT = {
    "project_format_version": "7.0",
    "subjects_conf": {},
    "behaviors_conf": {
        "0": {"type": "State event", "key": "g", "code": "groom", "modifiers": {}},
        "1": {"type": "Point event", "key": "j", "code": "jump", "modifiers": {}},
        "2": {"type": "State event", "key": "r", "code": "run", "modifiers": {}},
    },
    "observations": {
        "first": {
            "type": "MEDIA",
            "file": {"1": ["D:\\videos\\Käfig 1.mp4"]},
            "time offset": 0.0,
            "media_info": {"length": {"D:\\videos\\Käfig 1.mp4": 10.0}},
            "events": [
                [1.0, "Ada", "groom", "", ""],
                [3.0, "Ada", "groom", "", ""],
                [2.0, "Bob", "groom", "", ""],
                [4.0, "Bob", "groom", "", ""],
                [6.0, "", "jump", "", ""],
            ],
        }
    },
}


def convert(source: str, target: str, read: Path, write: Path, *options: str) -> int:
    arguments = ["convert", "--from", source, "--input", str(read), "--to", target]
    for option in options:
        arguments += ["--option", option]
    return main([*arguments, "--out", str(write)])


def rows(path: Path) -> list[tuple[object, ...]]:
    return [
        (row.start_seconds, row.end_seconds, row.labels, row.annotated)
        for row in read_table(path).records
    ]


@pytest.fixture
def boris_project(tmp_path: Path) -> Path:
    path = tmp_path / "cage.boris"
    path.write_text(json.dumps(BORIS_PROJECT), encoding="utf-8")
    return path


def test_boris_project_becomes_a_table(
    boris_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("boris", "table", boris_project, tmp_path / "clips.csv") == 0

    known = frozenset({"groom", "jump", "run"})
    assert rows(tmp_path / "clips.csv") == [
        (0.0, 1.0, (), known),
        (1.0, 4.0, ("groom",), known),
        (4.0, 5.5, (), known),
        (5.5, 6.5, ("jump",), known),
        (6.5, 10.0, (), known),
    ]
    assert read_table(tmp_path / "clips.csv").records[0].path == tmp_path / "Käfig 1.mp4"
    said = capsys.readouterr().out
    assert "1 videos with 3 events, from projects of BORIS" in said
    assert "labels of 2 subjects are put together" in said
    assert "next: msqnet check" in said


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("boris", "out.boris"),
        ("boris_events", "out.tsv"),
        ("boris_events", "out.csv"),
        ("elan", "out.eaf"),
        ("elan", "eaf"),
    ],
)
def test_boris_project_goes_through_other_formats(
    boris_project: Path, tmp_path: Path, name: str, file: str
) -> None:
    assert convert("boris", name, boris_project, tmp_path / file) == 0
    back = tmp_path / "back.boris"
    arguments = ["convert", "--from", name, "--input", str(tmp_path / file), "--to", "boris"]
    assert main([*arguments, "--root", str(tmp_path), "--out", str(back)]) == 0

    [found] = json.loads(back.read_text())["observations"].values()
    [before] = BORIS_PROJECT["observations"].values()  # type: ignore[attr-defined]
    assert [row[:5] for row in found["events"]] == sorted(before["events"])
    assert found["file"]["1"] == ["Käfig 1.mp4"]


def test_boris_takes_segments_with_their_scores(predicted: Path, tmp_path: Path) -> None:
    project = tmp_path / "scored.boris"

    assert convert("predictions", "boris", predicted, project) == 0

    document = json.loads(project.read_text())
    comments = [row[4] for item in document["observations"].values() for row in item["events"][::2]]
    assert comments
    assert all(comment.startswith("score=") for comment in comments)
    assert all(item["media_info"]["fps"] for item in document["observations"].values())
    assert convert("boris", "table", project, tmp_path / "clips.csv", "level=events") == 0
    assert {row[2] for row in rows(tmp_path / "clips.csv")} == {("bright",)}


def test_elan_files_of_predictions_become_a_table(predicted: Path, tmp_path: Path) -> None:
    assert convert("predictions", "elan", predicted, tmp_path / "eaf") == 0
    assert sorted(path.name for path in (tmp_path / "eaf").iterdir()) == ["event.eaf", "long.eaf"]

    assert convert("elan", "table", tmp_path / "eaf", tmp_path / "a.csv") == 0
    assert convert("predictions", "table", predicted, tmp_path / "b.csv") == 0

    assert rows(tmp_path / "a.csv") == rows(tmp_path / "b.csv")


def test_elan_file_of_several_videos_is_refused(
    predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("predictions", "elan", predicted, tmp_path / "all.eaf") == 1
    assert "found 2 videos, but a file of ELAN holds one; name a folder" in capsys.readouterr().err


def test_feral_labels_of_predictions_become_a_table(predicted: Path, tmp_path: Path) -> None:
    assert convert("predictions", "feral", predicted, tmp_path / "labels.json") == 0
    arguments = ["convert", "--from", "feral", "--input", str(tmp_path / "labels.json")]
    folder = json.loads(next(predicted.glob("*.json")).read_text())["path"].rpartition("/")[0]
    assert main([*arguments, "--root", folder, "--out", str(tmp_path / "a.csv")]) == 0
    assert convert("predictions", "table", predicted, tmp_path / "b.csv") == 0

    assert rows(tmp_path / "a.csv") == rows(tmp_path / "b.csv")


def test_list_of_formats_says_what_can_be_read_and_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["convert", "--from", "list"]) == 0
    said = capsys.readouterr().out
    assert "boris: projects of BORIS (--from boris --input PATH and --to boris)" in said
    assert "predictions: results of msqnet predict (--from predictions --input PATH)" in said


def test_what_a_table_does_not_know_stays_unknown(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("path,labels,start,end,annotated\na.mp4,A,0,2,A|B\na.mp4,A,2,4,A\n")

    assert convert("table", "via", table, tmp_path / "project.json") == 0
    assert convert("table", "table", table, tmp_path / "videos.csv", "level=videos") == 0

    text = (tmp_path / "project.json").read_text()
    segments = [item for item in json.loads(text)["metadata"].values() if item["z"]]
    # What was looked at, and the first label.
    assert [(item["z"], list(item["av"].values())) for item in segments] == [
        ([0, 4], ["yes"]),
        ([0, 4], ["0"]),
    ]
    [row] = read_table(tmp_path / "videos.csv").records
    assert (row.labels, row.annotated) == (("A",), frozenset({"A"}))


def test_videos_of_a_table_are_found_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").mkdir()
    table = tmp_path / "clips.csv"
    table.write_text("path,labels,start,end\nC:\\data\\a.mp4,A,0,2\n")
    (tmp_path / "clips.labels.csv").write_text("name\nB\nA\n")
    arguments = ["convert", "--from", "table", "--input", str(table), "--to", "table"]
    arguments += ["--root", str(tmp_path / "videos"), "--out", str(tmp_path / "out.csv")]

    assert main(arguments) == 0

    [row] = read_table(tmp_path / "out.csv").records
    assert (row.path, row.annotated) == (tmp_path / "videos" / "a.mp4", frozenset({"A", "B"}))
    assert (tmp_path / "out.labels.csv").read_text().splitlines()[1:] == ["B,,", "A,,"]
