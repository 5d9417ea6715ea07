"""Scores for the rows of a table, from a backend whose scores are known exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.errors import VideoError, VocabularyError
from msqnet.evaluation.by_protocol import evaluate_protocol, missing_labels
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.views import score_rows
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import TrainedBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = [51, 102, 153, 204]


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    """Each row one second of one video of four seconds, each second of another brightness."""
    path = write_video(tmp_path / "steps.mov", np.repeat(LEVELS, 10).tolist())
    labels = [("dark",), ("dark",), ("bright", "sit"), ("bright",)]
    records = [
        Record(
            row=index + 2,
            path=path,
            relative_path=path.name,
            labels=names,
            start_seconds=float(index),
            end_seconds=index + 1.0,
        )
        for index, names in enumerate(labels)
    ]
    return ClipTable(tmp_path / "clips.csv", tuple(records))


def test_scores_are_those_of_the_rows_own_seconds(table: ClipTable) -> None:
    bright = np.array(LEVELS) / 255
    expected = np.stack([bright, 1 - bright], axis=1)
    # The backend's float32.
    np.testing.assert_allclose(score_rows(table, TrainedBackend()), expected, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1] * 4), (3, [3, 1]), (8, [4])])
def test_batch_size_changes_no_score(table: ClipTable, batch_size: int, batches: list[int]) -> None:
    backend = TrainedBackend()
    seen: list[tuple[int, int]] = []
    scores = score_rows(
        table, backend, batch_size=batch_size, progress=lambda *counts: seen.append(counts)
    )
    assert np.array_equal(scores, score_rows(table, TrainedBackend(), batch_size=2))
    assert backend.batch_sizes == batches
    assert seen[-1] == (4, 4)


def test_table_without_rows_has_no_scores(table: ClipTable) -> None:
    assert score_rows(table.take([]), TrainedBackend()).shape == (0, 2)


def test_labels_the_model_lacks_are_named_or_refused(table: ClipTable) -> None:
    backend = TrainedBackend()
    assert list(missing_labels(table, backend, strict=False)) == ["sit"]
    with pytest.raises(VocabularyError, match=r"sit.*--strict-labels"):
        missing_labels(table, backend, strict=True)
    assert missing_labels(table.take([0, 1]), backend, strict=True) == {}


def test_strict_labels_stop_before_any_video_is_scored(table: ClipTable) -> None:
    backend = TrainedBackend()
    with pytest.raises(VocabularyError):
        evaluate_protocol(table, Predictor(backend), PROTOCOLS["standard"], strict_labels=True)
    assert backend.batch_sizes == []


def test_perfect_scores_give_a_perfect_headline(table: ClipTable) -> None:
    predictor = Predictor(TrainedBackend())
    result, scored = evaluate_protocol(table, predictor, PROTOCOLS["standard"], num_bootstrap=10)
    assert scored.scores.shape == (4, 2)
    assert result.metrics["macro_map"] == 1.0
    assert "sit" in str(result.metrics)


def test_unreadable_video_stops_an_evaluation(table: ClipTable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mov"
    broken.write_bytes(b"no video")
    row = Record(row=6, path=broken, relative_path=broken.name, labels=("dark",))
    with pytest.raises(VideoError, match=r"broken\.mov"):
        score_rows(ClipTable(table.path, (*table.records, row)), TrainedBackend())
