from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msqnet.errors import DatasetError
from msqnet.formats import Reading
from msqnet.formats.annotations import Event
from msqnet.formats.prediction_files import FORMAT, annotations_of
from msqnet.labels import LabelSet
from msqnet.predictions import Segment, Timeline, VideoPredictions, WindowScores


def result(
    path: Path, labels: tuple[str, ...], *segments: Segment, **more: Any
) -> VideoPredictions:
    scores = np.full((1, len(labels)), 0.5, np.float32)
    return VideoPredictions(
        path=str(path),
        labels=LabelSet(labels),
        duration_seconds=4.0,
        width=64,
        height=48,
        window_seconds=4.0,
        stride_seconds=4.0,
        windows=(WindowScores(0.0, 4.0, scores[0]),),
        timeline=Timeline(np.array([0.0, 4.0]), scores),
        segments=segments,
        thresholds=(0.5,) * len(labels),
        **more,
    )


def test_segments_are_events_with_scores(tmp_path: Path) -> None:
    first = result(
        tmp_path / "a.mp4",
        ("groom", "rear"),
        Segment("rear", 1.0, 2.5, 0.75),
        notes=("the end is damaged",),
        provenance={"model": {"name": "mice"}},
    )
    second = result(tmp_path / "b.mp4", ("rear", "call"))

    found = annotations_of([first, second])

    assert found.labels.names == ("groom", "rear", "call")
    assert [video.events for video in found.videos] == [
        *((Event("rear", 1.0, 2.5, score=0.75),), ()),
    ]
    assert [video.checked for video in found.videos] == [{"groom", "rear"}, {"rear", "call"}]
    assert [video.duration_seconds for video in found.videos] == [4.0, 4.0]
    assert found.notes == ("a.mp4: the end is damaged",)
    assert found.model == "msqnet mice, msqnet"


def test_what_is_not_reported_is_not_known_to_be_absent(tmp_path: Path) -> None:
    timeline = Timeline(
        np.array([0.0, 1.0, 3.0, 4.0]),
        np.zeros((3, 2), np.float32),
        np.array([False, True, False]),
    )
    plain = result(tmp_path / "a.mp4", ("groom", "rear"), unproven={"groom": "why"})
    asked = {"settings": {"segments": {"include_weak": True}}}

    (video,) = annotations_of([replace(plain, timeline=timeline)]).videos
    (reported,) = annotations_of([replace(plain, provenance=asked)]).videos

    assert (video.checked, video.observed) == ({"rear"}, ((0.0, 1.0), (3.0, 4.0)))
    assert (reported.checked, reported.observed) == (None, None)


def test_results_of_a_folder_are_read_and_other_files_passed_over(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "deep").mkdir(parents=True)
    result(tmp_path / "gone" / "a.mp4", ("rear",)).write(results / "deep" / "a.mp4")
    (results / "other.json").write_text("[1, 2]")
    (results / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.mp4").touch()

    found = FORMAT.read(results, Reading(tmp_path))

    assert [video.path for video in found.videos] == [tmp_path / "a.mp4"]
    alone = FORMAT.read(results / "deep" / "a.mp4.json", Reading(tmp_path))
    assert alone == found


def test_broken_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no result of a video in it; expected what"):
        FORMAT.read(tmp_path, Reading(tmp_path))
    binary = tmp_path / "b.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"b\.json: not JSON"):
        FORMAT.read(binary, Reading(tmp_path))
    broken = tmp_path / "a.mp4.json"
    broken.write_text('{"schema_version": 1, "path"')
    for path in (broken, tmp_path):
        with pytest.raises(DatasetError, match=r"a\.mp4\.json: not JSON"):
            FORMAT.read(path, Reading(tmp_path))


def test_a_relative_path_is_that_of_the_folder_where_it_was_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("home", "results", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "a.mp4").touch()
    result(Path("a.mp4"), ("rear",)).write(tmp_path / "results" / "a.mp4")
    monkeypatch.chdir(tmp_path / "home")

    [video] = FORMAT.read(tmp_path / "results", Reading(tmp_path / "results")).videos
    assert video.path == tmp_path / "home" / "a.mp4"

    (tmp_path / "home" / "a.mp4").rename(tmp_path / "root" / "a.mp4")
    [video] = FORMAT.read(tmp_path / "results", Reading(tmp_path / "root")).videos
    assert video.path == tmp_path / "root" / "a.mp4"


def test_hidden_folders_and_files_that_vanish_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("", ".batch/staging", "deep/.cache"):
        result(tmp_path / "a.mp4", ("rear",)).write(tmp_path / "results" / folder / "a.mp4")
    gone = tmp_path / "results" / "gone.json"
    gone.touch()
    read_bytes = Path.read_bytes

    def vanishing(path: Path) -> bytes:
        if path == gone:
            path.unlink()
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", vanishing)

    assert len(FORMAT.read(tmp_path / "results", Reading(tmp_path)).videos) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": 5}, "path: found 5, expected text"),
        ({"provenance": ["x"]}, "provenance: found"),
        ({"duration_seconds": "long"}, "duration_seconds: found 'long', expected a number of at"),
        ({"labels": ["rear", "rear"]}, "listed twice"),
        ({"segments": [{"label": "rear", "start_seconds": "1"}]}, "start_seconds: found '1'"),
        ({"segments": [{"label": "rear", "score": None}]}, "score: found None, expected a number"),
        ({"segments": [{"label": "rear", "score": 7}]}, "found score 7, expected 0 to 1"),
        ({"segments": [{"label": "rear", "start_seconds": 3}]}, "expected times of at least 0"),
        ({"segments": [{"label": "call"}]}, "unknown label"),
        ({"thresholds": [0.5, 0.5]}, "columns"),
    ],
)
def test_every_damage_of_a_result_names_its_file(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    fine = Segment("rear", 1.0, 2.0, 0.5)
    path, *_ = result(tmp_path / "a.mp4", ("rear",), fine).write(tmp_path / "a.mp4")
    document = json.loads(path.read_text())
    for segment in changes.get("segments", ()):
        segment.update({**document["segments"][0], **segment})
    path.write_text(json.dumps({**document, **changes}))

    with pytest.raises(DatasetError) as caught:
        FORMAT.read(tmp_path, Reading(tmp_path))

    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert str(caught.value).count("predict the video again") == 1


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000])
def test_json_that_cannot_be_used_names_its_file(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.json").write_text('{"schema_version": ' + value)

    with pytest.raises(DatasetError, match=r"a\.json: "):
        FORMAT.read(tmp_path, Reading(tmp_path))
