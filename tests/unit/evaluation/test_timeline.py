"""Timelines of whole videos against rows with times: one known event, known metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import DatasetError, VocabularyError
from msqnet.evaluation.by_protocol import evaluate_timelines, video_truth
from msqnet.inference.predictor import Predictor
from msqnet.labels import LabelSet
from tests.unit.inference.brightness import (
    BLACK,
    WHITE,
    TrainedBackend,
    record_of,
    table_of,
    write_video,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.metrics.timed_labels import TimedLabel

LABELS = LabelSet(("bright", "dark"))


@pytest.fixture
def event(tmp_path: Path) -> Path:
    """Ten seconds, white from 3 to 6 s."""
    return write_video(tmp_path / "event.mov", [BLACK] * 30 + [WHITE] * 30 + [BLACK] * 40)


@pytest.fixture
def predictor() -> Predictor:
    """One window for each second; segments without bridged gaps."""
    return predictor_of(TrainedBackend())


def predictor_of(backend: TrainedBackend) -> Predictor:
    return Predictor(
        backend,
        WindowConfig(window_seconds=1.0, stride_seconds=1.0),
        SegmentConfig(threshold=0.5, max_gap_seconds=0.0),
    )


def test_one_known_event_found_exactly_scores_one(event: Path, predictor: Predictor) -> None:
    table = table_of(
        record_of(event, 2, labels=("dark",), start_seconds=0.0, end_seconds=3.0),
        record_of(event, 3, labels=("bright",), start_seconds=3.0, end_seconds=6.0),
        record_of(event, 4, labels=("dark",), start_seconds=6.0, end_seconds=10.0),
    )
    metrics, results = evaluate_timelines(table, predictor)
    found = [(s.label, s.start_seconds, s.end_seconds) for s in results[0].segments]
    assert sorted(found) == [("bright", 3.0, 6.0), ("dark", 0.0, 3.0), ("dark", 6.0, 10.0)]
    assert metrics["num_videos"] == 1
    assert metrics["per_second"]["label_ap"] == {"bright": 1.0, "dark": 1.0}
    assert metrics["per_second"]["macro_f1"] == 1.0
    assert metrics["per_second"]["num_known_seconds"] == 10
    assert metrics["per_frame"]["macro_map"] == metrics["per_frame"]["macro_f1"] == 1.0
    assert metrics["per_frame"]["num_known_seconds"] == 10
    assert metrics["segments"]["edit_score"] == 1.0
    assert set(metrics["segments"]["map_at"].values()) == {1.0}
    assert set(metrics["segments"]["f1_at"].values()) == {1.0}


def test_seconds_that_no_row_covers_do_not_count(event: Path, predictor: Predictor) -> None:
    # The rows say nothing of 5 to 10 s, where the model finds a bright second and four dark ones.
    table = table_of(
        record_of(event, 2, labels=("dark",), start_seconds=0.0, end_seconds=3.0),
        record_of(event, 3, labels=("bright",), start_seconds=3.0, end_seconds=5.0),
    )
    metrics, _ = evaluate_timelines(table, predictor)
    assert metrics["per_second"]["num_known_seconds"] == 5
    assert metrics["per_second"]["macro_map"] == 1.0
    assert metrics["per_second"]["macro_f1"] == 1.0
    # The dark segment from 6 s on is neither right nor wrong; the bright one overlaps by 2 / 3.
    assert metrics["segments"]["num_masked"] == 1
    assert metrics["segments"]["num_predictions"] == 2
    assert metrics["segments"]["f1_at"]["50"] == 1.0
    assert metrics["segments"]["map_at"]["0.7"] == 0.5


def test_wrong_truth_costs_score(event: Path, predictor: Predictor) -> None:
    table = table_of(
        record_of(event, 2, labels=("bright",), start_seconds=0.0, end_seconds=3.0),
        record_of(event, 3, labels=("dark",), start_seconds=3.0, end_seconds=10.0),
    )
    metrics, _ = evaluate_timelines(table, predictor)
    # All three bright seconds are called dark, and three dark ones bright.
    assert metrics["per_second"]["macro_f1"] == pytest.approx((0 + 8 / 14) / 2)
    assert metrics["per_second"]["macro_map"] < 0.7


def spans(items: list[TimedLabel]) -> list[tuple[int, float, float]]:
    return [(i.label_index, i.start_seconds, i.end_seconds) for i in items]


def test_rows_that_touch_or_overlap_are_one_event(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    records = [
        record_of(path, 2, labels=("bright",), start_seconds=4.0, end_seconds=6.0),
        record_of(path, 3, labels=("bright",), start_seconds=0.0, end_seconds=2.0),
        record_of(path, 4, labels=("bright",), start_seconds=2.0, end_seconds=3.0),
        record_of(path, 5, labels=("bright",), start_seconds=1.0, end_seconds=1.5),
    ]
    truths, unknown = video_truth("a", records, LABELS, [(0.0, 8.0)], scored=LABELS)
    assert spans(truths) == [(0, 0.0, 3.0), (0, 4.0, 6.0)]
    assert spans(unknown) == [(k, *s) for k in (0, 1) for s in ((3.0, 4.0), (6.0, 8.0))]


def test_labels_that_a_row_does_not_know_are_unknown_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    bright = record_of(
        path, 2, labels=("bright",), annotated=frozenset({"bright"}), end_seconds=5.0
    )
    truths, unknown = video_truth("a", [bright], LABELS, [(0.0, 5.0)], scored=LABELS)
    assert spans(truths) == [(0, 0.0, 5.0)]
    assert spans(unknown) == [(1, 0.0, 5.0)]


def test_rows_without_times_hold_for_the_whole_video_and_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    records = [
        record_of(path, 2, labels=("dark",)),
        record_of(path, 3, labels=("bright",), start_seconds=3.0, end_seconds=99.0),
        record_of(path, 4, labels=("bright",), start_seconds=50.0, end_seconds=60.0),
    ]
    truths, unknown = video_truth("a", records, LABELS, [(0.0, 4.0)], scored=LABELS)
    assert spans(truths) == [(0, 3.0, 4.0), (1, 0.0, 4.0)]
    assert spans(unknown) == []


def test_labels_that_were_never_trained_do_not_count(event: Path) -> None:
    table = table_of(
        record_of(event, 2, labels=("dark",), start_seconds=0.0, end_seconds=3.0),
        record_of(event, 3, labels=("bright",), start_seconds=3.0, end_seconds=6.0),
    )
    predictor = predictor_of(TrainedBackend(train_positive_windows=[5, 0]))
    metrics, _ = evaluate_timelines(table, predictor)
    assert metrics["per_second"]["label_ap"] == {"bright": 1.0, "dark": None}
    assert metrics["segments"]["num_truths"] == 1


def test_labels_the_model_lacks_are_listed_or_refused(event: Path, predictor: Predictor) -> None:
    row = record_of(event, 2, labels=("bright", "sit"), start_seconds=3.0, end_seconds=6.0)
    metrics, _ = evaluate_timelines(table_of(row), predictor)
    assert list(metrics["not_scored"]) == ["sit"]
    with pytest.raises(VocabularyError, match="sit"):
        evaluate_timelines(table_of(row), predictor, strict_labels=True)


def test_table_without_times_is_refused(event: Path, predictor: Predictor) -> None:
    with pytest.raises(DatasetError, match="no row has start or end"):
        evaluate_timelines(table_of(record_of(event, labels=("bright",))), predictor)


def test_metrics_are_strict_json(event: Path, predictor: Predictor) -> None:
    # Nothing is known of "dark" here, so that its metrics are undefined.
    only_bright = record_of(
        event, labels=("bright",), annotated=frozenset({"bright"}), end_seconds=10.0
    )
    metrics, _ = evaluate_timelines(table_of(only_bright), predictor)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["per_second"]["label_ap"]["dark"] is None
