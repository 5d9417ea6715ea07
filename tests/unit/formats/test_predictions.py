from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.errors import DatasetError
from msqnet.formats.annotations import Event, Reading
from msqnet.formats.predictions import FORMAT, annotations_of
from msqnet.labels import LabelSet
from msqnet.predictions import Segment, Timeline, VideoPredictions, WindowScores

if TYPE_CHECKING:
    from pathlib import Path


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


def test_results_of_a_folder_are_read_and_other_files_passed_over(tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "deep").mkdir(parents=True)
    result(tmp_path / "gone" / "a.mp4", ("rear",)).write(results / "deep" / "a.mp4")
    (results / "other.json").write_text("[1, 2]")
    (results / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.mp4").touch()
    assert FORMAT.read is not None

    found = FORMAT.read(results, Reading(tmp_path))

    assert [video.path for video in found.videos] == [tmp_path / "a.mp4"]
    alone = FORMAT.read(results / "deep" / "a.mp4.json", Reading(tmp_path))
    assert alone == found


def test_broken_results_are_named(tmp_path: Path) -> None:
    assert FORMAT.read is not None
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
