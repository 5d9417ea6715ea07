from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import DatasetError
from msqnet.report.results_reader import read_results

if TYPE_CHECKING:
    from pathlib import Path


def test_videos_and_failures_come_from_the_index(predicted: Path) -> None:
    found = read_results(predicted)
    assert [video.name for video in found.videos] == ["event.mov", "long.mov"]
    assert [video.status for video in found.videos] == ["ok", "ok"]
    assert [failure.name.endswith("broken.mp4") for failure in found.failures] == [True]
    assert "broken.mp4" in found.failures[0].cause
    assert found.evaluation is None
    assert found.timeline is None


def test_results_without_an_index_are_found(predicted: Path) -> None:
    (predicted / "index.csv").unlink()
    (predicted / "other.json").write_text('{"schema": 1}')
    found = read_results(predicted)
    assert [video.name for video in found.videos] == ["event.mov", "long.mov"]
    assert found.failures == ()


def test_damaged_result_is_a_failure_with_its_cause(predicted: Path) -> None:
    (predicted / "event.mov.json").write_text('{"schema_version": 1, ')
    (predicted / "long.mov.json").unlink()
    found = read_results(predicted)
    assert found.videos == ()
    causes = {failure.name: failure.cause for failure in found.failures}
    assert "not JSON" in causes["event.mov"]
    assert "No such file" in causes["long.mov"]


def test_index_cannot_name_files_elsewhere(predicted: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    (predicted / "event.mov.json").rename(outside)
    index = (predicted / "index.csv").read_text()
    for place in ("../outside.json", str(outside)):
        (predicted / "index.csv").write_text(index.replace("event.mov.json", place))
        assert [video.name for video in read_results(predicted).videos] == ["long.mov"]


def test_evaluation_is_read_with_its_scores(evaluated: Path) -> None:
    found = read_results(evaluated)
    assert found.videos == ()
    assert found.evaluation is not None
    assert found.evaluation.metrics["num_windows"] == 6
    assert found.evaluation.per_label[0]["label"] == "walk"
    assert found.evaluation.tables is not None
    assert found.evaluation.tables.scores.shape == (6, 4)


def test_evaluation_without_scores_is_read(evaluated: Path) -> None:
    (evaluated / "scores.parquet").unlink()
    evaluation = read_results(evaluated).evaluation
    assert evaluation is not None
    assert evaluation.tables is None


def test_both_kinds_in_one_folder_are_read(predicted: Path, evaluated: Path) -> None:
    for path in evaluated.iterdir():
        path.rename(predicted / path.name)
    found = read_results(predicted)
    assert len(found.videos) == 2
    assert found.evaluation is not None


def test_videos_of_a_timeline_evaluation_are_found(predicted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "timeline"
    (folder / "videos").mkdir(parents=True)
    (folder / "timeline.json").write_text(json.dumps({"num_videos": 1}))
    (predicted / "event.mov.json").rename(folder / "videos" / "0000-event.mov.json")
    found = read_results(folder)
    assert [video.name for video in found.videos] == ["videos/0000-event.mov"]
    assert found.timeline == {"num_videos": 1}


@pytest.mark.parametrize("name", ["metrics.json", "timeline.json"])
@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_evaluation_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=name):
        read_results(tmp_path)


def test_evaluation_without_its_labels_is_an_error(evaluated: Path) -> None:
    (evaluated / "per_label.csv").unlink()
    with pytest.raises(DatasetError, match=r"per_label\.csv is missing"):
        read_results(evaluated)


def test_folder_without_results_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="msqnet predict"):
        read_results(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        read_results(tmp_path / "none")
