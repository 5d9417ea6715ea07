"""Odd names, many files, files that come and go: each is a row, none stops the others."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from msqnet.batch.runners import ResultsFolder, predict_into
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import find_videos, read_index
from tests.faults.processes import run
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

ODD_NAMES = (
    "spaces and 'quotes' \"double\".mov",
    "new\nline.mov",
    "carriage\rreturn.mov",
    "käse-чай-茶-🐭.mov",
    "semi;colon|pipe,comma.mov",
    "-dash.mov",
    "trailing dot..mov",
    "percent%20&#38;.mov",
    "x" * 251 + ".mov",
    os.fsdecode(b"not-utf8-\xff\xfe.mov"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos of odd names, one in a folder that links back to where it lies."""
    source = write_video(tmp_path / "source" / "clip.mov", [WHITE, BLACK] * 8)
    videos = tmp_path / "videos"
    (videos / "deep" / "er").mkdir(parents=True)
    for name in ODD_NAMES:
        (videos / name).write_bytes(source.read_bytes())
    (videos / "deep" / "er" / "in.mov").write_bytes(source.read_bytes())
    (videos / "deep" / "er" / "loop").symlink_to(videos, target_is_directory=True)
    (videos / "nowhere.mov").symlink_to(tmp_path / "gone.mov")
    return videos


def test_odd_names_are_predicted_and_found_again(folder: Path, tmp_path: Path) -> None:
    arguments = ["predict", folder, "--out", tmp_path / "out", "--device", "cpu"]
    first = run(arguments)
    assert first.exit_code == 1, first.output  # the link that leads nowhere
    rows = {row.input: row for row in read_index(tmp_path / "out" / "index.csv")}
    expected = {str(folder / name) for name in (*ODD_NAMES, "deep/er/in.mov", "nowhere.mov")}
    assert set(rows) == expected
    assert {row.status for name, row in rows.items() if not name.endswith("nowhere.mov")} == {"ok"}
    assert "no such file" in rows[str(folder / "nowhere.mov")].error
    again = run(arguments)
    rows = {row.input: row for row in read_index(tmp_path / "out" / "index.csv")}
    assert set(rows) == expected
    assert sum(row.status == "exists" for row in rows.values()) == len(expected) - 1, again.output


@pytest.mark.parametrize("num_files", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_files_in_one_folder_each_have_a_row(tmp_path: Path, num_files: int) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(num_files):
        (videos / f"{number:05}.mp4").touch()
    write_video(tmp_path / "one.mov", [WHITE, BLACK] * 8).rename(videos / "00300.mp4")
    results = ResultsFolder(tmp_path / "out")
    predictor = Predictor(BrightnessBackend())
    for video in find_videos([videos]):
        predict_into(results, video, predictor)
    rows = read_index(results.index_path)
    assert len({row.input for row in rows}) == len(rows) == num_files
    assert [Path(row.input).name for row in rows if row.status != "error"] == ["00300.mp4"]


def test_files_that_go_and_change_during_the_run_stop_nothing(tmp_path: Path) -> None:
    source = write_video(tmp_path / "source.mov", [WHITE, BLACK] * 8).read_bytes()
    videos = tmp_path / "videos"
    videos.mkdir()
    names = [f"{number:02}.mov" for number in range(8)]
    for name in names:
        (videos / name).write_bytes(source)
    index = tmp_path / "out" / "index.csv"

    def meddle() -> None:
        while not index.exists():
            time.sleep(0.01)
        (videos / names[-1]).unlink()
        (videos / names[-2]).write_bytes(source[: len(source) // 3])

    meddler = threading.Thread(target=meddle, daemon=True)
    meddler.start()
    done = run(["predict", videos, "--out", tmp_path / "out", "--device", "cpu"])
    meddler.join(10)
    assert not meddler.is_alive()
    assert done.exit_code == 1, done.output
    rows = {Path(row.input).name: row for row in read_index(index)}
    assert set(rows) == set(names)
    assert "no such file" in rows[names[-1]].error
    assert rows[names[-2]].status in ("error", "partial")
    assert {rows[name].status for name in names[:-2]} == {"ok"}
