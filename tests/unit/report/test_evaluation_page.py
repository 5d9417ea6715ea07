"""Worked by hand on the six rows of the fixture `evaluated`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.evaluation.scored_rows import ScoreTables, read_score_tables
from msqnet.report.evaluation_page import (
    label_curves,
    label_matrix,
    worst_clips,
)
from tests.fixtures.result_folders import HOSTILE_LABEL

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.metrics.average_precision import FloatArray

HALF = np.full(4, 0.5)


@pytest.fixture
def tables(evaluated: Path) -> ScoreTables:
    return read_score_tables(evaluated)


def targets_of(tables: ScoreTables) -> FloatArray:
    assert tables.targets is not None
    return tables.targets


def test_curves_are_of_labels_known_both_ways(tables: ScoreTables) -> None:
    curves = {
        curve.label: curve
        for curve in label_curves(tables.labels, tables.scores, targets_of(tables), HALF)
    }
    assert set(curves) == {"walk", "rest", HOSTILE_LABEL}  # `fly` is never seen
    walk = curves["walk"]
    assert walk.num_positives == 3
    assert walk.chance == 0.5
    assert walk.at_threshold == (pytest.approx(2 / 3), 1.0)
    rest = curves["rest"]
    np.testing.assert_allclose(rest.recall, [0.5, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(rest.precision, [1, 1 / 2, 1 / 3, 1 / 2, 1 / 3])
    assert rest.at_threshold == (1.0, 0.5)


def test_threshold_that_no_row_reaches_has_no_mark(tables: ScoreTables) -> None:
    curve, *_ = label_curves(tables.labels, tables.scores, targets_of(tables), np.full(4, 0.95))
    assert curve.at_threshold is None
    assert curve.mark is None
    assert curve.note == "no window reaches the threshold 0.95"


def test_drawn_area_below_the_steps_is_the_average_precision(tables: ScoreTables) -> None:
    from msqnet.metrics.average_precision import average_precision

    aps = average_precision(tables.scores, targets_of(tables))
    curves = label_curves(tables.labels, tables.scores, targets_of(tables), HALF)
    for curve in curves:
        path = curve.path
        start, *steps = path.replace("V", " ").replace("H", " ").removeprefix("M").split()
        x, numbers = float(start), [float(step) for step in steps[1:]]
        area = 0.0
        for y, to in zip(numbers[::2], numbers[1::2], strict=True):
            area += (to - x) / 168 * (1 - (y - 8) / 108)
            x = to
        ap = aps[tables.labels.index(curve.label)]
        assert area == pytest.approx(ap, abs=2e-3)
        assert curve.ap == pytest.approx(ap, abs=1e-12)


def test_what_is_said_is_compared_with_what_is_true(tables: ScoreTables) -> None:
    pairs = label_matrix(tables.labels, tables.scores, targets_of(tables), HALF)
    walk, odd, rest = (tables.labels.index(name) for name in ("walk", HOSTILE_LABEL, "rest"))
    assert pairs.num_rows[walk, rest] == 3
    assert pairs.said[walk, rest] == 1
    assert pairs.true[walk, rest] == pytest.approx(1 / 3)
    assert pairs.said[walk, walk] == pytest.approx(2 / 3)  # the recall
    assert pairs.true[walk, walk] == 1
    assert pairs.num_rows[walk, odd] == 0  # never known where `walk` is seen
    assert np.isnan(pairs.said[walk, odd])
    assert [(pair["given"], pair["label"]) for pair in pairs.pairs] == [("walk", "rest")]


def test_matrix_has_a_cell_for_every_pair_and_says_it_in_words(tables: ScoreTables) -> None:
    drawn = label_matrix(tables.labels, tables.scores, targets_of(tables), HALF)
    assert len(drawn.cells) == 16
    cell = next(
        item for item in drawn.cells if item["text"].startswith("walk is true in 3 windows")
    )
    assert cell["kind"] == "is-under is-own"
    texts = {item["text"]: item for item in drawn.cells}
    rest = next(texts[text] for text in texts if "walk is true" in text and "rest" in text)
    assert rest["kind"] == "is-over"
    assert rest["percent"] == "100"
    assert rest["text"].endswith("rest is predicted in 100% of them and true in 33%")


def test_too_many_labels_give_differences_and_no_matrix() -> None:
    targets = np.eye(50)
    drawn = label_matrix([str(k) for k in range(50)], 1 - targets, targets, HALF[0])
    assert drawn.cells == []


def test_worst_clips_are_by_their_worst_known_trained_label(tables: ScoreTables) -> None:
    trained = np.ones(4, dtype=np.bool_)
    first, *others = worst_clips(tables, targets_of(tables), HALF, trained, 10)
    assert (first["label"], first["is_seen"]) == ("fly", False)
    assert first["loss"] == pytest.approx(-np.log(1 - np.float32(0.999)), rel=1e-6)
    assert first["expected"] == []
    assert [name for name, _ in first["said"]] == ["fly"]
    assert len(others) == 3  # rows 3 to 5 are of one clip
    untrained = np.array([True, True, True, False])
    first, *_ = worst_clips(tables, targets_of(tables), HALF, untrained, 1)
    assert (first["label"], first["score"]) == ("rest", pytest.approx(0.8))


def test_predicted_labels_that_were_not_annotated_are_marked(tables: ScoreTables) -> None:
    clips = worst_clips(tables, targets_of(tables), HALF, np.ones(4, dtype=np.bool_), 10)
    (clip,) = (item for item in clips if item["path"] == "b.mov")
    assert clip["unknown_said"] == {HOSTILE_LABEL}
    assert clip["expected"] == ["walk", "rest"]
