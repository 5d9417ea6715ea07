"""Scores of whole videos and at points in time, from a model whose answers are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.config import WindowConfig
from msqnet.errors import DatasetError, UnreadableVideo
from msqnet.evaluation.whole_videos import (
    joined_targets,
    point_times,
    score_points,
    score_windows,
    targets_at,
)
from msqnet.inference.predictor import Predictor
from msqnet.labels import UNKNOWN
from tests.unit.inference.brightness import (
    BLACK,
    LABELS,
    WHITE,
    TrainedBackend,
    record_of,
    table_of,
    write_truncated_video,
    write_video,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def predictor() -> Predictor:
    """One window for each second."""
    return Predictor(TrainedBackend(), WindowConfig(window_seconds=1.0, stride_seconds=1.0))


def test_points_are_those_of_the_official_localisation() -> None:
    times = point_times(30.0)
    assert times.shape == (25,)
    assert times[[0, 1, 24]] == pytest.approx([0, 1.2, 28.8])


def test_a_row_holds_at_its_end_where_ends_are_included(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    rows = table_of(
        record_of(path, 2, end_seconds=2.0),
        record_of(path, 3, labels=("bright",), start_seconds=2.0, end_seconds=4.0),
        record_of(path, 4, start_seconds=4.0, end_seconds=6.0, annotated=frozenset({"dark"})),
    )
    times = np.array([0.0, 2.0, 3.0, 4.0, 5.0, 7.0])
    closed = targets_at(times, rows, LABELS, closed=True)
    bright = closed[:, 0]
    assert bright.tolist() == [0, 1, 1, 1, UNKNOWN, UNKNOWN]
    bright = targets_at(times, rows, LABELS, closed=False)[:, 0]
    assert bright.tolist() == [0, 1, 1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert closed[:, 1].tolist() == [0, 0, 0, 0, 0, UNKNOWN]


def test_several_rows_join_to_one_target() -> None:
    targets = np.array([[1, 0, 0, UNKNOWN], [0, 0, UNKNOWN, UNKNOWN]])
    assert joined_targets(targets).tolist() == [1, 0, UNKNOWN, UNKNOWN]


def test_points_get_the_scores_of_their_time(tmp_path: Path, predictor: Predictor) -> None:
    # White from 3 to 6 s of ten; the rows say 3 to 5 s. Points every 2 s.
    path = write_video(tmp_path / "a.mov", [BLACK] * 30 + [WHITE] * 30 + [BLACK] * 40)
    table = table_of(
        record_of(path, 2, end_seconds=3.0),
        record_of(path, 3, labels=("bright",), start_seconds=3.0, end_seconds=5.0),
        record_of(path, 4, start_seconds=5.0, end_seconds=10.0),
    )
    done: list[tuple[int, int]] = []
    scored = score_points(table, predictor, 5, lambda *counts: done.append(counts))
    assert scored.scores[:, 0].tolist() == [0, 0, 1, 0, 0]
    assert scored.targets[:, 0].tolist() == [0, 0, 1, 0, 0]
    assert [(r.start_seconds, r.end_seconds) for r in scored.table.records] == [
        (0, 0),
        (2, 2),
        (4, 4),
        (6, 6),
        (8, 8),
    ]
    assert set(scored.table.clip_ids()) == {"a.mov"}
    assert done == [(1, 1)]


def test_open_row_ends_with_its_video(tmp_path: Path, predictor: Predictor) -> None:
    path = write_video(tmp_path / "a.mov", [WHITE] * 40)
    table = table_of(record_of(path, labels=("bright",), start_seconds=1.0))
    scored = score_points(table, predictor, 4)
    assert [record.start_seconds for record in scored.table.records] == [0, 1, 2, 3]
    assert scored.targets[:, 0].tolist() == [UNKNOWN, 1, 1, 1]


def test_points_behind_the_end_of_the_video_are_refused(
    tmp_path: Path, predictor: Predictor
) -> None:
    path = write_video(tmp_path / "a.mov", [WHITE] * 40)
    table = table_of(record_of(path, labels=("bright",), end_seconds=8.0))
    with pytest.raises(DatasetError, match=r"rows end at 8 s, but the video at 4 s"):
        score_points(table, predictor)


def test_points_need_times(tmp_path: Path, predictor: Predictor) -> None:
    table = table_of(record_of(tmp_path / "a.mov", labels=("bright",)))
    with pytest.raises(DatasetError, match="level=pieces"):
        score_points(table, predictor)


@pytest.mark.parametrize(("merge", "expected"), [("mean", [0.4, 0.6]), ("max", [1.0, 1.0])])
def test_a_videos_score_is_that_of_its_windows(
    tmp_path: Path, predictor: Predictor, merge: Any, expected: list[float]
) -> None:
    half = write_video(tmp_path / "b.mov", [WHITE] * 20 + [BLACK] * 30)
    grey = write_video(tmp_path / "a.mov", [51] * 30)
    table = table_of(
        record_of(half, 2, labels=("bright",), end_seconds=2.0),
        record_of(half, 3, labels=("dark",), start_seconds=2.0, end_seconds=5.0),
        record_of(grey, 4, labels=("dark",)),
    )
    scored = score_windows(table, predictor, merge)
    assert list(scored.table.clip_ids()) == ["a.mov", "b.mov"]
    np.testing.assert_allclose(scored.scores, [[0.2, 0.8], expected], rtol=1e-6)
    assert scored.targets.tolist() == [[0, 1], [1, 1]]
    assert [record.row for record in scored.table.records] == [4, 2]


def test_videos_that_decode_in_part_are_refused(tmp_path: Path, predictor: Predictor) -> None:
    path = write_truncated_video(tmp_path / "a.mov", [WHITE] * 60)
    with pytest.raises(UnreadableVideo, match=r"a\.mov.*damaged.*whole videos"):
        score_windows(table_of(record_of(path, labels=("bright",))), predictor, "mean")
