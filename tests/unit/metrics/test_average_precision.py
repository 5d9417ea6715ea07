from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    average_precision,
    known_cells,
    label_average_precisions,
    macro_map,
    mean_over_labels,
    micro_average_precision,
    precision_recall_curve,
    reference_micro_ap,
)

UNKNOWN = -100

# Four windows, three labels. Label 0 is ranked + - + -, label 1 has a tie of + and - on top and
# another + below, label 2 has one unknown window.
HAND_SCORES = np.array([[0.9, 0.8, 0.1], [0.7, 0.8, 0.6], [0.5, 0.2, 0.9], [0.3, 0.1, 0.4]])
HAND_TARGETS = np.array([[1, 1, 0], [0, 0, 1], [1, 1, UNKNOWN], [0, 0, 1]])
HAND_AP = [(1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, 1.0]


def random_set(seed: int, num_rows: int = 60, num_labels: int = 5, unknown_share: float = 0.3):
    """Scores on a coarse grid, so that ties are common, and targets with unknowns."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 12, (num_rows, num_labels)) / 12
    targets = (generator.random((num_rows, num_labels)) < 0.3).astype(np.float64)
    targets[generator.random(targets.shape) < unknown_share] = UNKNOWN
    return scores, targets


def test_hand_worked_case():
    assert average_precision(HAND_SCORES, HAND_TARGETS) == pytest.approx(HAND_AP, abs=1e-15)


def test_hand_worked_micro_case():
    # Known cells by score: .9+ | .8+ .8- | .7- | .6+ | .5+ | .4+ | .3- | .2+ | .1- .1-
    expected = (1 / 1 + 2 / 3 + 3 / 5 + 4 / 6 + 5 / 7 + 6 / 9) / 6
    assert micro_average_precision(HAND_SCORES, HAND_TARGETS) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_with_ties_and_unknown_labels(seed):
    scores, targets = random_set(seed)
    for label, value in enumerate(average_precision(scores, targets)):
        known = targets[:, label] != UNKNOWN
        expected = reference.average_precision_score(targets[known, label], scores[known, label])
        assert value == pytest.approx(expected, abs=1e-12)
    known = targets != UNKNOWN
    expected = reference.average_precision_score(targets[known], scores[known])
    assert micro_average_precision(scores, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8])
def test_dtype_of_scores_and_targets_does_not_matter(dtype):
    scores, targets = random_set(0)
    ranks = (scores * 12).astype(dtype)
    assert np.array_equal(
        average_precision(ranks, targets.astype(np.int8)), average_precision(scores, targets)
    )


def test_label_without_known_positive_or_negative_is_nan():
    targets = np.array([[0, 1, UNKNOWN, 1], [0, 1, UNKNOWN, 0], [UNKNOWN, UNKNOWN, UNKNOWN, 1]])
    values = average_precision(np.random.default_rng(0).random(targets.shape), targets)
    assert np.isnan(values).tolist() == [True, True, True, False]


def test_constant_scores_give_the_share_of_positives():
    _, targets = random_set(1)
    expected = (targets == 1).sum(axis=0) / (targets != UNKNOWN).sum(axis=0)
    assert average_precision(np.full(targets.shape, 0.7), targets) == pytest.approx(expected)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_order_of_rows_never_matters(seed):
    scores, targets = random_set(seed, num_rows=20)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert np.array_equal(
        average_precision(scores, targets),
        average_precision(scores[order], targets[order]),
        equal_nan=True,
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_values_under_an_unknown_target_never_matter(seed):
    scores, targets = random_set(seed, num_rows=20)
    changed = np.where(targets == UNKNOWN, 1 - scores, scores)
    assert np.array_equal(
        average_precision(scores, targets), average_precision(changed, targets), equal_nan=True
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_weights_equal_repeated_rows(seed):
    scores, targets = random_set(seed, num_rows=20)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(scores)))
    weights[:, 0] += 1
    cells = known_cells(scores, targets)
    by_label = label_average_precisions(cells, weights)
    together = cells.ranked_together().average_precision(weights.astype(np.float64))
    for resample, counts in enumerate(weights):
        rows = np.repeat(np.arange(len(scores)), counts)
        expected = average_precision(scores[rows], targets[rows])
        assert by_label[resample] == pytest.approx(expected, abs=1e-12, nan_ok=True)
        micro = micro_average_precision(scores[rows], targets[rows])
        assert together[resample] == pytest.approx(micro, abs=1e-12, nan_ok=True)


def test_many_resamples_are_computed_in_parts_with_the_same_result(monkeypatch):
    cells = known_cells(*random_set(2))
    weights = np.random.default_rng(0).integers(0, 3, (7, 60))
    at_once = label_average_precisions(cells, weights)
    monkeypatch.setattr("msqnet.metrics.average_precision._NUM_CELLS_AT_ONCE", 100)
    # Sums over fewer columns may be added up in another order.
    assert label_average_precisions(cells, weights) == pytest.approx(at_once, abs=1e-14)


def test_means_leave_out_unselected_labels_and_nan():
    ap = [0.2, np.nan, 0.6, 1.0]
    assert macro_map(ap) == pytest.approx(0.6)
    assert np.isnan(macro_map([np.nan]))
    values = np.array([ap, ap])
    select = np.array([True, True, True, False])
    assert mean_over_labels(values, select).tolist() == pytest.approx([0.4, 0.4])
    assert np.isnan(mean_over_labels(values, np.array([False, True, False, False]))).all()


def test_weighted_map_counts_positives_of_each_resample():
    ap = np.array([[0.5, 1.0, np.nan], [0.5, 1.0, np.nan], [np.nan] * 3])
    positives = np.array([[3.0, 1.0, 9.0], [1.0, 0.0, 0.0], [3.0, 1.0, 9.0]])
    found = mean_over_labels(ap, np.array([True] * 3), positives)
    assert found[:2].tolist() == pytest.approx([(3 * 0.5 + 1.0) / 4, 0.5])
    assert np.isnan(found[2])
    assert mean_over_labels(ap, np.array([False, True, True]), positives)[0] == pytest.approx(1.0)


def test_labels_are_known_within_the_names_that_show_them():
    scores = np.tile(np.arange(5.0)[:, None], 2)
    targets = np.array([[1, 0], [0, 0], [0, 1], [0, UNKNOWN], [1, 1]])
    cells = known_cells(scores, targets).within(["farm", "farm", "lab", "lab", ""])
    assert cells.is_known.T.tolist() == [
        [True, True, False, False, False],
        [False, False, True, False, False],
    ]
    assert cells.is_positive.sum() == 2


def test_reference_micro_ap_of_one_batch_is_micro_ap():
    scores, targets = random_set(3)
    value = reference_micro_ap(scores, targets, len(scores))
    assert value == micro_average_precision(scores, targets)


def test_reference_micro_ap_weights_batches_by_size():
    scores, targets = random_set(3, num_rows=10)
    first, second = (
        micro_average_precision(scores[s], targets[s]) for s in (slice(8), slice(8, 10))
    )
    assert reference_micro_ap(scores, targets, 8) == pytest.approx((8 * first + 2 * second) / 10)


def test_reference_micro_ap_depends_on_batch_size_and_order():
    scores, targets = random_set(4)
    value = reference_micro_ap(scores, targets, 8)
    assert reference_micro_ap(scores, targets, 4) != pytest.approx(value, abs=1e-3)
    order = np.argsort(scores[:, 0])
    assert reference_micro_ap(scores[order], targets[order], 8) != pytest.approx(value, abs=1e-3)


def test_reference_micro_ap_leaves_out_batches_without_positive():
    scores, targets = np.array([[0.9], [0.1], [0.8], [0.7]]), np.array([[1], [0], [0], [0]])
    assert reference_micro_ap(scores, targets, 2) == 1.0
    assert np.isnan(reference_micro_ap(scores[2:], targets[2:], 2))


def test_precision_recall_curve_equals_scikit_learn():
    scores, targets = random_set(5)
    known = targets[:, 0] != UNKNOWN
    curve = precision_recall_curve(scores[:, 0], targets[:, 0])
    precision, recall, thresholds = reference.precision_recall_curve(
        targets[known, 0], scores[known, 0]
    )
    assert curve.thresholds == pytest.approx(thresholds[::-1])
    assert curve.precision == pytest.approx(precision[:-1][::-1])
    assert curve.recall == pytest.approx(recall[:-1][::-1])
    at_first = (targets[known, 0], scores[known, 0] >= curve.thresholds[3])
    assert curve.f1[3] == pytest.approx(reference.f1_score(*at_first))


def test_precision_recall_curve_without_positive_is_an_error():
    with pytest.raises(ShapeError, match="no known positive in 2 known rows"):
        precision_recall_curve([0.1, 0.2, 0.3], [0, 0, UNKNOWN])


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), r"\(3, 2\) and targets \(3, 1\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "V at least 1"),
        (np.zeros(3), np.zeros(3), r"one shape \(V, K\)"),
        (np.array([[0.1], [np.nan]]), np.array([[1], [0]]), "1 of 2 are NaN"),
        (np.zeros((2, 1)), np.array([[1], [0.5]]), r"found \[0.5, 1.0\], expected 1, 0 and -100"),
        (np.zeros((2, 1)), np.array([[1], [np.nan]]), "expected 1, 0 and -100"),
    ],
)
def test_wrong_input_says_what_was_found(scores, targets, message):
    with pytest.raises(ShapeError, match=message):
        average_precision(scores, targets)


@pytest.mark.parametrize("weights", [np.ones(60), np.ones((2, 59)), -np.ones((2, 60))])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(ShapeError, match=r"expected \(R, 60\)"):
        label_average_precisions(known_cells(*random_set(0)), weights)


def test_wrong_batch_size_is_refused():
    with pytest.raises(ShapeError, match="batch_size: found 0"):
        reference_micro_ap([[0.1]], [[1]], 0)
