from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import known_cells
from msqnet.metrics.classification import (
    confusion_counts,
    f1_scores,
    label_accuracy,
    subset_accuracy,
    top_k_accuracy,
)

UNKNOWN = -100


def random_set(seed: int, unknown_share: float = 0.0):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 12, (50, 4)) / 12
    targets = (generator.random((50, 4)) < 0.4).astype(np.float64)
    targets[generator.random(targets.shape) < unknown_share] = UNKNOWN
    return scores, targets


@pytest.mark.parametrize("seed", range(3))
def test_f1_equals_scikit_learn(seed):
    scores, targets = random_set(seed)
    thresholds = np.array([0.25, 0.5, 0.75, 1.0])
    predicted = scores >= thresholds
    result = f1_scores(scores, targets, thresholds)
    assert result.per_label == pytest.approx(reference.f1_score(targets, predicted, average=None))
    assert result.macro == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    assert result.micro == pytest.approx(reference.f1_score(targets, predicted, average="micro"))


def test_f1_looks_at_known_rows_only():
    scores, targets = random_set(0, unknown_share=0.4)
    result = f1_scores(scores, targets, 0.5)
    for label in range(4):
        known = targets[:, label] != UNKNOWN
        expected = reference.f1_score(targets[known, label], scores[known, label] >= 0.5)
        assert result.per_label[label] == pytest.approx(expected)


def test_label_without_positive_has_no_f1_and_stays_out_of_the_macro_mean():
    result = f1_scores([[0.9, 0.9], [0.1, 0.1]], [[1, 0], [0, UNKNOWN]])
    assert result.per_label[0] == 1
    assert np.isnan(result.per_label[1])
    assert result.macro == 1
    assert result.micro == pytest.approx(2 / 3)


def test_selection_holds_for_macro_and_micro():
    result = f1_scores([[0.9, 0.1], [0.1, 0.9]], [[1, 1], [0, 0]], select=[True, False])
    assert (result.macro, result.micro) == (1, 1)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_weighted_counts_equal_repeated_rows(seed):
    scores, targets = random_set(seed, unknown_share=0.3)
    weights = np.random.default_rng(seed).integers(0, 3, (1, 50))
    rows = np.repeat(np.arange(50), weights[0])
    weighted = confusion_counts(known_cells(scores, targets), 0.5, weights)
    repeated = confusion_counts(
        known_cells(scores[rows], targets[rows]), 0.5, np.ones((1, len(rows)))
    )
    assert np.array_equal(weighted.true_positives, repeated.true_positives)
    assert np.array_equal(weighted.false_positives, repeated.false_positives)
    assert np.array_equal(weighted.false_negatives, repeated.false_negatives)


def test_subset_accuracy_equals_scikit_learn_where_all_is_known():
    scores, targets = random_set(1)
    result = subset_accuracy(scores, targets, 0.5)
    expected = reference.accuracy_score(targets, scores >= 0.5)
    assert (result.complete, result.known) == pytest.approx((expected, expected))
    assert (result.num_complete, result.num_known) == (50, 50)


def test_subset_accuracy_counts_complete_and_partly_known_rows_apart():
    scores = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.9, 0.9]])
    targets = np.array([[1, 1], [1, 0], [1, UNKNOWN], [UNKNOWN, UNKNOWN]])
    result = subset_accuracy(scores, targets)
    assert (result.complete, result.num_complete) == (0.5, 2)
    assert (result.known, result.num_known) == (pytest.approx(2 / 3), 3)


def test_subset_accuracy_without_a_complete_row_is_nan():
    assert np.isnan(subset_accuracy([[0.9, 0.1]], [[1, UNKNOWN]]).complete)


def test_label_accuracy_stands_beside_the_all_negative_answer():
    targets = np.eye(12)
    result = label_accuracy(np.zeros((12, 12)), targets)
    assert result.accuracy == pytest.approx(11 / 12)
    assert result.all_negative == pytest.approx(11 / 12)
    assert label_accuracy(targets, targets).accuracy == 1


def test_label_accuracy_leaves_out_unknown_cells():
    result = label_accuracy([[0.9, 0.9], [0.1, 0.9]], [[1, UNKNOWN], [0, 0]])
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.num_cells == 3


@pytest.mark.parametrize("num_guesses", [1, 2, 3])
def test_top_k_equals_scikit_learn_without_ties(num_guesses):
    generator = np.random.default_rng(0)
    scores, classes = generator.random((40, 5)), generator.integers(0, 5, 40)
    expected = reference.top_k_accuracy_score(classes, scores, k=num_guesses, labels=range(5))
    value = top_k_accuracy(scores, np.eye(5)[classes], num_guesses)
    assert value == pytest.approx(expected)


def test_constant_scores_earn_nothing_in_top_1():
    assert top_k_accuracy(np.full((3, 3), 0.5), np.eye(3), 1) == 0
    assert top_k_accuracy(np.full((3, 3), 0.5), np.eye(3), 3) == 1


def test_top_k_counts_rows_with_one_positive_and_labels_that_are_known():
    scores = [[0.5, 0.9, 0.1], [0.9, 0.8, 0.1], [0.9, 0.1, 0.2], [0.9, 0.1, 0.1]]
    targets = [[1, UNKNOWN, 0], [1, 1, 0], [0, 0, 1], [1, UNKNOWN, UNKNOWN]]
    assert top_k_accuracy(scores, targets, 1) == 0.5
    assert np.isnan(top_k_accuracy([[0.5, 0.1]], [[1, UNKNOWN]], 1))


def test_wrong_thresholds_and_guesses_are_refused():
    with pytest.raises(ShapeError, match=r"found shape \(3,\), expected one number or \(2,\)"):
        f1_scores([[0.1, 0.2]], [[1, 0]], [0.1, 0.2, 0.3])
    with pytest.raises(ShapeError, match="none NaN"):
        f1_scores([[0.1, 0.2]], [[1, 0]], np.nan)
    with pytest.raises(ShapeError, match="num_guesses: found 0"):
        top_k_accuracy([[0.1, 0.2]], [[1, 0]], 0)
