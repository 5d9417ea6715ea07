"""How long labels last, over all videos of a report and as a table of videos and labels."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.batch.run import run_batch
from msqnet.batch.runners import InlineRunner
from msqnet.batch.work_list import find_jobs
from msqnet.cli import main as cli
from msqnet.errors import ConfigError
from msqnet.inference.predictor import Predictor
from msqnet.predictions import Segment
from msqnet.report.results_reader import read_results
from msqnet.report.time_budget import time_budget, write_time_budget
from tests.unit.batch.brightness_batch import job_settings, load
from tests.unit.inference.brightness import WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

NAMES = ("seconds", "share", "num_segments", "mean_segment_seconds", "mean_score")


def predictions(folder: Path) -> list[VideoPredictions]:
    return [video.predictions for video in read_results(folder).videos]


def test_time_of_a_label_is_summed_over_videos(predicted: Path) -> None:
    (bright,) = time_budget(predictions(predicted))
    assert bright["label"] == "bright"
    assert bright["num_videos"] == 2
    assert bright["num_bouts"] == 3
    assert bright["total_seconds"] == pytest.approx(2 + 3 + 6)
    assert bright["share"] == pytest.approx(11 / 18)
    assert bright["mean_bout_seconds"] == pytest.approx(11 / 3)
    assert bright["mean_score"] == pytest.approx(1, abs=1e-6)


def test_without_a_segment_there_is_no_budget(predicted: Path) -> None:
    assert time_budget([replace(item, segments=()) for item in predictions(predicted)]) == []


def test_mean_score_is_weighted_by_time(predicted: Path) -> None:
    (first, *_) = predictions(predicted)
    segments = (Segment("bright", 0, 1, 0.5), Segment("bright", 2, 5, 0.9))
    (bright,) = time_budget([replace(first, segments=segments)])
    assert bright["mean_score"] == pytest.approx((0.5 + 3 * 0.9) / 4)
    assert bright["share"] == pytest.approx(4 / first.duration_seconds)


def rows(path: Path) -> dict[tuple[str, ...], list[str]]:
    """The numbers by the last part of the path, kind and label."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["path"].rpartition("/")[2], row["kind"], row["label"]): [row[n] for n in NAMES]
            for row in csv.DictReader(file)
        }


def test_table_holds_what_the_report_says_of_every_video(predicted: Path, tmp_path: Path) -> None:
    videos = predictions(predicted)
    write_time_budget(videos, tmp_path / "t.csv")
    found = rows(tmp_path / "t.csv")
    assert len(found) == 2 * len(videos)  # of both labels; no unknown time was looked for
    for video in videos:
        (bright,) = time_budget([video])
        name = video.path.rpartition("/")[2]
        values = [float(value) for value in found[name, "label", "bright"]]
        keys = ("total_seconds", "share", "num_bouts", "mean_bout_seconds", "mean_score")
        assert values == pytest.approx([bright[key] for key in keys], abs=1e-6)
        assert found[name, "label", "dark"] == ["0.0", "0.0", "0", "", ""]


def with_unknown(video: VideoPredictions, share: float) -> VideoPredictions:
    flags = np.zeros(len(video.timeline.scores), bool)
    flags[: round(share * len(flags))] = True
    return replace(video, timeline=replace(video.timeline, is_unknown=flags))


def test_unknown_time_has_its_line_and_unproven_labels_have_none(
    predicted: Path, tmp_path: Path
) -> None:
    video = replace(predictions(predicted)[0], unproven={"dark": "no evidence"})
    path = tmp_path / "t.csv"
    write_time_budget([with_unknown(video, 0.5)], path)
    found = rows(path)
    assert [key[1:] for key in found] == [("label", "bright"), ("unknown", "")]
    seconds, share, number, mean, score = found[next(reversed(found))]
    assert float(seconds) == pytest.approx(float(share) * video.duration_seconds, abs=1e-5)
    assert 0 < float(share) < 1
    assert (number, mean, score) == ("1", seconds, "")


def test_nothing_is_said_of_labels_where_all_is_unknown(predicted: Path, tmp_path: Path) -> None:
    video = replace(predictions(predicted)[0], segments=())
    write_time_budget([with_unknown(video, 1.0)], tmp_path / "t.csv")
    ((_, kind, _),) = rows(tmp_path / "t.csv")
    assert kind == "unknown"


def test_report_writes_the_table_beside_the_page(predicted: Path, tmp_path: Path) -> None:
    arguments = ["report", str(predicted), "--preview-megabytes", "0"]
    assert cli.main([*arguments, "--out", str(tmp_path / "elsewhere" / "page.html")]) == 0
    write_time_budget(predictions(predicted), tmp_path / "t.csv")
    written = tmp_path / "elsewhere" / "time_budget.csv"
    assert written.read_text() == (tmp_path / "t.csv").read_text()


def test_table_is_of_all_results_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Predictor, "from_pretrained", lambda **_: Predictor(BrightnessBackend()))
    out = tmp_path / "out"
    for name in ("a.mov", "b.mov", "broken.mov"):
        video = write_video(tmp_path / name, [WHITE] * 10)
        if name == "broken.mov":
            video.write_text("no video")
        cli.main(["predict", str(video), "--out", str(out)])
    assert {key[0] for key in rows(out / "time_budget.csv")} == {"a.mov", "b.mov"}

    only_broken = tmp_path / "other"
    cli.main(["predict", str(tmp_path / "broken.mov"), "--out", str(only_broken)])
    assert not (only_broken / "time_budget.csv").exists()


def test_batch_run_leaves_no_table_that_is_out_of_date(predicted: Path, tmp_path: Path) -> None:
    out = tmp_path / "batch"
    shutil.copytree(predicted, out)
    write_time_budget(predictions(predicted), out / "time_budget.csv")
    jobs = find_jobs([str(write_video(tmp_path / "new.mov", [WHITE] * 10))])
    list(run_batch(jobs, InlineRunner(load(), job_settings(out)), str(out)))
    assert not (out / "time_budget.csv").exists()


def test_video_cannot_take_the_name_of_the_table(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mov", [WHITE]).rename(tmp_path / "time_budget")
    with pytest.raises(ConfigError, match="cannot be named 'time_budget'"):
        find_jobs([str(tmp_path / "time_budget")])
