"""`msqnet convert` from and to Camtrap DP, Label Studio, VIA and CVAT, from files to files."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table
from msqnet.labels import LabelSet
from msqnet.predictions import Segment, Timeline, VideoPredictions, WindowScores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = LabelSet(("grooming", "rearing", "climbing up"))
CAMTRAP = [
    *("deployment=cage 1", "latitude=52.5", "longitude=13.4", "project=Cages"),
    *("contributor=A. Person", "sampling_design=targeted", "capture_method=timeLapse"),
    "recorded=2026-05-01T10:00:00+02:00",
]


@pytest.fixture
def results(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    """A folder with a result of `msqnet predict`, of a video beside it with a space in its name."""
    write_video("Käfig 1.mp4", 40, rate=10)
    scores = np.full((1, 3), 0.5, np.float32)
    result = VideoPredictions(
        path=str(tmp_path / "Käfig 1.mp4"),
        labels=LABELS,
        duration_seconds=4.0,
        width=128,
        height=80,
        window_seconds=4.0,
        stride_seconds=4.0,
        windows=(WindowScores(0.0, 4.0, scores[0]),),
        timeline=Timeline(np.array([0.0, 4.0]), scores),
        segments=(
            Segment("grooming", 0.5, 2.0, 0.875),
            Segment("climbing up", 1.0, 1.5, 0.75),
            Segment("grooming", 3.0, 4.0, 0.5),
        ),
        thresholds=(0.5, 0.5, 0.5),
        provenance={"model": {"name": "mice"}},
    )
    folder = tmp_path / "results"
    folder.mkdir()
    result.write(folder / "Käfig 1.mp4")
    return folder


def convert(*arguments: str) -> None:
    assert main(["convert", *arguments, "--overwrite"]) == 0


def rows(path: Path) -> list[tuple[object, ...]]:
    return [
        (record.path.name, record.labels, record.start_seconds, record.end_seconds)
        for record in read_table(path).records
    ]


@pytest.mark.parametrize(
    ("name", "out", "options"),
    [
        ("camtrap_dp", "package", CAMTRAP),
        ("label_studio", "tasks.json", []),
        ("via", "project.json", []),
        ("cvat", "tags.xml", []),
    ],
)
def test_predictions_go_to_each_tool_and_from_it_into_the_same_table(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    out: str,
    options: list[str],
) -> None:
    direct, again = tmp_path / "direct.csv", tmp_path / "again.csv"
    root = ["--root", str(tmp_path)]
    written = [part for option in options for part in ("--option", option)]

    convert("--from", "predictions", "--input", str(results), *root, "--out", str(direct))
    capsys.readouterr()
    convert(
        *("--from", "predictions", "--to", name, "--input", str(results), *root),
        *("--out", str(tmp_path / out), *written),
    )
    summary = capsys.readouterr().out
    convert("--from", name, "--input", str(tmp_path / out), *root, "--out", str(again))

    assert rows(again) == rows(direct)
    assert f"{tmp_path / out}: 1 videos with 3 events, from results of msqnet predict" in summary
    assert "has no place for" not in summary
    assert again.with_suffix(".labels.csv").read_text() == (
        direct.with_suffix(".labels.csv").read_text()
    )


@pytest.mark.parametrize("name", ["camtrap_dp", "label_studio", "via", "cvat"])
def test_each_tool_is_listed_with_its_options(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["convert", "--from", "list"]) == 0

    [entry] = [
        entry for entry in capsys.readouterr().out.split("\n\n") if entry.startswith(f"{name}: ")
    ]
    assert f"(--from {name} --input PATH and --to {name})" in entry
    assert "\n  --option " in entry


def test_camtrap_dp_names_the_model_and_says_that_it_is_valid(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "package"

    convert(
        *("--from", "predictions", "--to", "camtrap_dp", "--input", str(results)),
        *("--out", str(out), "--option", *CAMTRAP),
    )

    text = capsys.readouterr().out
    assert "note: valid by the table schemas of Camtrap DP 1.0.2, as frictionless checks it" in text
    with (out / "observations.csv").open(encoding="utf-8", newline="") as file:
        observations = list(csv.DictReader(file))
    assert {row["classifiedBy"] for row in observations} == {"msqnet mice"}
    assert [row["classificationProbability"] for row in observations] == ["0.875", "0.75", "0.5"]


def test_camtrap_dp_is_written_without_frictionless(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "frictionless", None)

    convert(
        *("--from", "predictions", "--to", "camtrap_dp", "--input", str(results)),
        *("--out", str(tmp_path / "package"), "--option", *CAMTRAP),
    )

    assert "note: not checked against the table schemas of Camtrap DP 1.0.2: that needs pip " in (
        capsys.readouterr().out
    )


def test_camtrap_dp_asks_for_what_is_missing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", "--from=predictions", "--to=camtrap_dp", "--input", str(results)]

    assert main([*arguments, "--out", str(tmp_path / "package")]) == 2

    error = capsys.readouterr().err
    assert error.startswith(f"msqnet: error: {tmp_path / 'package'}: Camtrap DP asks for what")
    assert error.count("\n") == 1


def test_camtrap_dp_may_stand_in_a_folder_that_is_there(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", "--from=predictions", "--to=camtrap_dp", "--input", str(results)]
    arguments += ["--out", str(tmp_path), "--option", *CAMTRAP]

    assert main(arguments) == 0
    with (tmp_path / "media.csv").open(encoding="utf-8", newline="") as file:
        assert [row["filePath"] for row in csv.DictReader(file)] == ["Käfig 1.mp4"]
    capsys.readouterr()
    assert main(arguments) == 2
    assert "datapackage.json exists; --overwrite replaces it" in capsys.readouterr().err


def test_label_studio_keeps_a_configuration_that_is_there(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks.xml").write_text("mine")
    arguments = ["convert", "--from=predictions", "--to=label_studio", "--input", str(results)]

    assert main([*arguments, "--out", str(tmp_path / "tasks.json")]) == 2

    assert "tasks.xml exists; --overwrite replaces it" in capsys.readouterr().err
    assert not (tmp_path / "tasks.json").exists()


def test_label_studio_tasks_hold_scores(results: Path, tmp_path: Path) -> None:
    convert(
        *("--from", "predictions", "--to", "label_studio", "--input", str(results)),
        *("--out", str(tmp_path / "tasks.json")),
    )

    [task] = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "msqnet mice"
    assert [region["score"] for region in prediction["result"]] == [0.875, 0.75, 0.5]
    assert prediction["result"][0]["value"]["ranges"] == [{"start": 6, "end": 20}]


def test_via_and_cvat_go_into_each_other(results: Path, tmp_path: Path) -> None:
    via, cvat, back = tmp_path / "a.json", tmp_path / "tags", tmp_path / "b.json"
    convert("--from", "predictions", "--to", "via", "--input", str(results), "--out", str(via))
    convert("--from", "via", "--to", "cvat", "--input", str(via), "--out", str(cvat))
    convert(
        *("--from", "cvat", "--to", "via", "--input", str(cvat)),
        *("--root", str(tmp_path), "--out", str(back)),
    )

    first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (via, back))
    assert second["metadata"] == first["metadata"]
    assert second["file"] == first["file"]


def test_cvat_says_what_its_files_cannot_hold(
    tmp_path: Path, write_video: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_video("a.mp4", 20, rate=10)
    (tmp_path / "clips.csv").write_text(
        "path,start,end,labels,annotated,split,group\n"
        "a.mp4,0,1,grooming,*,train,cage\na.mp4,1,2,,*,train,cage\n"
    )

    convert(
        *("--from", "table", "--to", "cvat", "--input", str(tmp_path / "clips.csv")),
        *("--out", str(tmp_path / "tags.xml")),
    )

    notes = [line for line in capsys.readouterr().out.splitlines() if "no place" in line]
    assert notes == [
        "note: CVAT 1.1 (XML of images or of videos) has no place for groups: videos with a group: "
        "1"
    ]
