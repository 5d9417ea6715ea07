from __future__ import annotations

import numpy as np
import pytest

from msqnet.evaluation.figures import Facts, thirds_by_frequency
from msqnet.evaluation.plain import plain
from msqnet.evaluation.rows import EvaluationRows
from msqnet.labels import LabelSet

# Four rows; a label is positive in the first one alone, and `rank` says how many rows are scored
# above it: AP = 1 / (rank + 1). Label h has no positive here, label i none in training.
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
RANK = [0, 1, 3, 0, 1, 3, 1, 0, 0]
TRAIN = [5, 100, 40, 7, 40, 3, 60, 500, 0]


def facts_of(train_positives: list[int] | None) -> Facts:
    targets = np.zeros((4, len(NAMES)))
    targets[0] = [name != "h" for name in NAMES]
    scores = np.tile(np.array([[0.5], [0.1], [0.1], [0.1]]), len(NAMES))
    for label, rank in enumerate(RANK):
        scores[1 : 1 + rank, label] = 0.9
    rows = EvaluationRows(
        LabelSet(NAMES), scores, targets, list("wxyz"), [""] * 4, [""] * 4, [""] * 4
    )
    return Facts.gather(rows, 0.5, train_positives, None)


def test_thirds_by_training_frequency_worked_by_hand():
    # By training windows: b 100, g 60, c 40, e 40 | d 7, a 5, f 3; of equals the first label leads.
    # Seven labels make thirds of 3, 2 and 2: the first one takes what is left over.
    assert thirds_by_frequency(facts_of(TRAIN)) == {
        "head_macro_map": pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3),  # b, g, c
        "middle_macro_map": pytest.approx((1 / 2 + 1) / 2),  # e, d
        "tail_macro_map": pytest.approx((1 + 1 / 4) / 2),  # a, f
    }


def test_thirds_need_training_counts():
    assert all(np.isnan(value) for value in thirds_by_frequency(facts_of(None)).values())


def test_plain_values_are_strict_json_whatever_they_were():
    given = {"a": (np.float32(0.5), np.nan), "b": np.array([1, 2]), "c": [np.bool_(True), "x"]}
    found = plain(given)
    assert found == {"a": [0.5, None], "b": [1, 2], "c": [True, "x"]}
    assert [type(item) for item in (*found["b"], found["c"][0])] == [int, int, bool]
