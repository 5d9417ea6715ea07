from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import known_cells, mean_over_labels
from msqnet.metrics.classification import (
    confusion_counts,
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


def f1_scores(scores, targets, thresholds=0.5, select=None):
    """F1 of each label, macro over those that have one, micro over the selected ones."""
    counts = confusion_counts(known_cells(scores, targets), thresholds)
    per_label = counts.f1_per_label()
    select = np.ones(per_label.shape[1], bool) if select is None else np.array(select)
    return per_label[0], mean_over_labels(per_label, select)[0], counts.f1_micro(select)[0]


@pytest.mark.parametrize("seed", range(3))
def test_f1_equals_scikit_learn(seed):
    scores, targets = random_set(seed)
    thresholds = np.array([0.25, 0.5, 0.75, 1.0])
    predicted = scores >= thresholds
    per_label, macro, micro = f1_scores(scores, targets, thresholds)
    assert per_label == pytest.approx(reference.f1_score(targets, predicted, average=None))
    assert macro == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    assert micro == pytest.approx(reference.f1_score(targets, predicted, average="micro"))


def test_f1_looks_at_known_rows_only():
    scores, targets = random_set(0, unknown_share=0.4)
    per_label, _, _ = f1_scores(scores, targets, 0.5)
    for label in range(4):
        known = targets[:, label] != UNKNOWN
        expected = reference.f1_score(targets[known, label], scores[known, label] >= 0.5)
        assert per_label[label] == pytest.approx(expected)


def test_label_without_positive_has_no_f1_and_stays_out_of_the_macro_mean():
    per_label, macro, micro = f1_scores([[0.9, 0.9], [0.1, 0.1]], [[1, 0], [0, UNKNOWN]])
    assert per_label[0] == 1
    assert np.isnan(per_label[1])
    assert macro == 1
    assert micro == pytest.approx(2 / 3)


def test_selection_holds_for_micro():
    _, _, micro = f1_scores([[0.9, 0.1], [0.1, 0.9]], [[1, 1], [0, 0]], select=[True, False])
    assert micro == 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
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
    complete, known = subset_accuracy(known_cells(scores, targets), 0.5)
    expected = reference.accuracy_score(targets, scores >= 0.5)
    assert (complete[0], known[0]) == pytest.approx((expected, expected))


def test_subset_accuracy_counts_complete_and_partly_known_rows_apart():
    scores = np.array([[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.9, 0.9]])
    targets = np.array([[1, 1], [1, 0], [1, UNKNOWN], [UNKNOWN, UNKNOWN]])
    complete, known = subset_accuracy(known_cells(scores, targets))
    assert complete[0] == 0.5
    assert known[0] == pytest.approx(2 / 3)


def test_subset_accuracy_without_a_complete_row_is_nan():
    assert np.isnan(subset_accuracy(known_cells([[0.9, 0.1]], [[1, UNKNOWN]]))[0])


def test_label_accuracy_stands_beside_the_all_negative_answer():
    targets = np.eye(12)
    accuracy, all_negative = label_accuracy(known_cells(np.zeros((12, 12)), targets))
    assert accuracy == all_negative == pytest.approx(11 / 12)
    assert label_accuracy(known_cells(targets, targets))[0] == 1


def test_label_accuracy_leaves_out_unknown_cells():
    cells = known_cells([[0.9, 0.9], [0.1, 0.9]], [[1, UNKNOWN], [0, 0]])
    assert label_accuracy(cells)[0] == pytest.approx(2 / 3)
    assert np.isnan(label_accuracy(known_cells([[0.9]], [[UNKNOWN]]))).all()


def top_k(scores, targets, num_guesses):
    return top_k_accuracy(known_cells(scores, targets), num_guesses)[0]


@pytest.mark.parametrize("num_guesses", [1, 2, 3])
def test_top_k_equals_scikit_learn_without_ties(num_guesses):
    generator = np.random.default_rng(0)
    scores, classes = generator.random((40, 5)), generator.integers(0, 5, 40)
    expected = reference.top_k_accuracy_score(classes, scores, k=num_guesses, labels=range(5))
    value = top_k(scores, np.eye(5)[classes], num_guesses)
    assert value == pytest.approx(expected)


def test_constant_scores_earn_nothing_in_top_1():
    assert top_k(np.full((3, 3), 0.5), np.eye(3), 1) == 0
    assert top_k(np.full((3, 3), 0.5), np.eye(3), 3) == 1


def test_top_k_counts_rows_with_one_positive_and_labels_that_are_known():
    scores = [[0.5, 0.9, 0.1], [0.9, 0.8, 0.1], [0.9, 0.1, 0.2], [0.9, 0.1, 0.1]]
    targets = [[1, UNKNOWN, 0], [1, 1, 0], [0, 0, 1], [1, UNKNOWN, UNKNOWN]]
    assert top_k(scores, targets, 1) == 0.5
    assert np.isnan(top_k([[0.5, 0.1]], [[1, UNKNOWN]], 1))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_weighted_shares_equal_those_of_repeated_rows(seed):
    scores, targets = random_set(seed, unknown_share=0.3)
    weights = np.random.default_rng(seed).integers(0, 3, (1, 50))
    rows = np.repeat(np.arange(50), weights[0])
    cells, repeated = known_cells(scores, targets), known_cells(scores[rows], targets[rows])
    found = [*subset_accuracy(cells, 0.5, weights), top_k_accuracy(cells, 2, weights)]
    expected = [*subset_accuracy(repeated, 0.5), top_k_accuracy(repeated, 2)]
    assert np.concatenate(found) == pytest.approx(np.concatenate(expected), nan_ok=True)


def test_wrong_thresholds_and_guesses_are_refused():
    with pytest.raises(ShapeError, match=r"found shape \(3,\), expected one number or \(2,\)"):
        f1_scores([[0.1, 0.2]], [[1, 0]], [0.1, 0.2, 0.3])
    with pytest.raises(ShapeError, match="none NaN"):
        f1_scores([[0.1, 0.2]], [[1, 0]], np.nan)
    with pytest.raises(ShapeError, match="num_guesses: found 0"):
        top_k([[0.1, 0.2]], [[1, 0]], 0)
