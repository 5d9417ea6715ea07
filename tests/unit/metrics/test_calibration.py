from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import average_precision
from msqnet.metrics.bootstrap import resampled_weights
from msqnet.metrics.calibration import (
    PlattScaling,
    best_thresholds,
    calibration_error_statistic,
    expected_calibration_error,
    fit_platt,
    fit_softmax_temperature,
    label_calibration_errors,
    reliability_bins,
    sigmoid,
    softmax,
    wilson_interval,
)

UNKNOWN = -100
SCORES = np.array([[0.1, 0.95], [0.15, 0.92], [0.8, 1.0], [0.85, 0.4]])
TARGETS = np.array([[0, 1], [1, 0], [1, 1], [UNKNOWN, 0]])


def logistic_set(scale, bias, num_rows=4000, seed=0):
    """Logits whose probability of a positive is sigmoid(scale * logit + bias)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (num_rows, len(scale)))
    chances = sigmoid(logits * np.array(scale) + np.array(bias))
    return logits, (generator.random(logits.shape) < chances).astype(np.float64)


def test_sigmoid_of_large_values_neither_overflows_nor_loses_small_scores():
    assert sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]
    assert sigmoid(np.array([-30.0]))[0] == pytest.approx(np.exp(-30), rel=1e-12)


def test_platt_finds_the_true_scale_and_bias_of_many_rows():
    platt = fit_platt(*logistic_set([0.5, 1.0, 2.0], [-1.0, 0.0, 0.5]))
    # Standard errors at 4000 rows are about 0.03 to 0.08.
    assert platt.scale == pytest.approx([0.5, 1.0, 2.0], abs=0.2)
    assert platt.bias == pytest.approx([-1.0, 0.0, 0.5], abs=0.2)


def test_platt_equals_logistic_regression_where_rows_outweigh_the_penalty():
    logits, targets = logistic_set([0.7], [-0.5], num_rows=200)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logits, targets[:, 0])
    platt = fit_platt(np.tile(logits, (1000, 1)), np.tile(targets, (1000, 1)))
    assert platt.scale[0] == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert platt.bias[0] == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_calibration_lowers_the_error_of_overconfident_scores():
    logits, targets = logistic_set([0.3], [-1.0])
    before = expected_calibration_error(sigmoid(logits), targets)
    after = expected_calibration_error(fit_platt(logits, targets).apply(logits), targets)
    assert before > 0.2
    assert after < 0.03


def test_few_positives_leave_the_scale_near_one():
    logits, targets = logistic_set([3.0], [0.0], num_rows=2000)
    many = fit_platt(logits, targets)
    few = fit_platt(logits[:6], targets[:6])
    assert abs(few.scale[0] - 1) < abs(many.scale[0] - 1) / 2


def test_labels_without_both_classes_keep_their_scores():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    targets = np.array([[0, 1, UNKNOWN]] * 5)
    platt = fit_platt(logits, targets)
    assert np.array_equal(platt.scale, np.ones(3))
    assert np.array_equal(platt.apply(logits), sigmoid(logits))


def test_unknown_rows_do_not_change_the_fit():
    logits, targets = logistic_set([0.5], [-1.0], num_rows=100)
    more_logits = np.concatenate([logits, np.full((50, 1), 7.0)])
    more_targets = np.concatenate([targets, np.full((50, 1), UNKNOWN)])
    plain, masked = fit_platt(logits, targets), fit_platt(more_logits, more_targets)
    assert (plain.scale, plain.bias) == (masked.scale, masked.bias)


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.01, 1.0, 50.0, 1e4]))
@settings(max_examples=40)
def test_calibration_never_changes_a_ranking(seed, spread):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (15, 3))
    targets = generator.choice([0, 1, UNKNOWN], (15, 3), p=[0.6, 0.3, 0.1])
    platt = fit_platt(logits, targets)
    assert (platt.scale > 0).all()
    before = average_precision(logits, targets)
    after = average_precision(logits * platt.scale + platt.bias, targets)
    assert after == pytest.approx(before, nan_ok=True)


def test_scores_that_rank_backwards_are_flattened_not_turned():
    logits = np.linspace(-3, 3, 200)[:, None]
    platt = fit_platt(logits, (logits < -1).astype(float))
    assert 0 < platt.scale[0] < 0.01
    assert platt.apply(logits).mean() == pytest.approx((logits < -1).mean(), abs=0.01)


def test_platt_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="scale > 0"):
        PlattScaling(np.array([0.0]), np.array([0.0]))
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., 2\)"):
        PlattScaling(np.ones(2), np.zeros(2)).apply(np.zeros((4, 3)))


def test_threshold_lies_midway_between_the_scores_that_it_parts():
    scores = np.array([[0.9, 0.9], [0.6, 0.6], [0.2, 0.2], [0.1, 0.1]])
    targets = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    # Label 1: one guess gives F1 2/3, three give 4/5.
    assert best_thresholds(scores, targets) == pytest.approx([0.4, 0.15])


def test_labels_without_both_classes_get_none():
    scores, targets = [[0.9, 0.8, 0.2]], [[0, 1, UNKNOWN]]
    assert np.isnan(best_thresholds(scores, targets)).all()


def test_threshold_below_all_scores_where_everything_counts_as_positive():
    threshold = best_thresholds([[0.4], [0.4], [0.4]], [[1], [1], [0]])
    assert threshold == pytest.approx([0.2])


def test_threshold_between_neighbouring_floats_still_parts_them():
    lower = 0.3
    upper = np.nextafter(lower, 1)
    (threshold,) = best_thresholds([[upper], [lower]], [[1], [0]])
    assert lower < threshold <= upper


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_no_other_threshold_is_better(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 9, (20, 1)) / 8
    targets = (generator.random((20, 1)) < 0.4).astype(float)
    targets[:2, 0] = 0, 1
    (threshold,) = best_thresholds(scores, targets)
    found = f1_score(targets[:, 0], scores[:, 0] >= threshold)
    others = [f1_score(targets[:, 0], scores[:, 0] >= value) for value in np.unique(scores)]
    assert found == pytest.approx(max(others))


def test_calibration_error_by_hand():
    # Bin [0, .5): mean score .2, share 1/2; bin [.5, 1]: mean score .8, share 1; 1 is in the last.
    scores = [[0.1], [0.3], [0.6], [1.0], [0.99]]
    targets = [[0], [1], [1], [1], [UNKNOWN]]
    value = expected_calibration_error(scores, targets, num_bins=2)
    assert value == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)


def test_calibration_error_of_certain_and_right_scores_is_zero():
    assert expected_calibration_error([[1.0], [0.0]], [[1], [0]]) == 0
    assert np.isnan(expected_calibration_error([[0.5]], [[UNKNOWN]]))


def test_logits_where_scores_are_expected_are_refused():
    with pytest.raises(ShapeError, match="turn logits into scores"):
        best_thresholds([[2.0], [-1.0]], [[1], [0]])
    with pytest.raises(ShapeError, match="turn logits into scores"):
        expected_calibration_error([[2.0]], [[1]])
    with pytest.raises(ShapeError, match="num_bins: found 0"):
        expected_calibration_error([[0.5]], [[1]], num_bins=0)


def test_two_scalings_in_a_row_are_one():
    first = PlattScaling(np.array([2.0, 0.5]), np.array([1.0, -1.0]))
    later = PlattScaling(np.array([3.0, 4.0]), np.array([-2.0, 0.25]))

    both = first.then(later)

    assert both.scale.tolist() == [6.0, 2.0]
    assert both.bias.tolist() == [3.0 * 1.0 - 2.0, 4.0 * -1.0 + 0.25]
    logits = np.random.default_rng(0).normal(size=(20, 2))
    in_turn = sigmoid(later.scale * (first.scale * logits + first.bias) + later.bias)
    assert both.apply(logits) == pytest.approx(in_turn, abs=1e-15)


def test_a_scaling_cannot_follow_one_of_other_labels():
    first, later = (PlattScaling(np.ones(num), np.zeros(num)) for num in (2, 3))

    with pytest.raises(ShapeError, match=r"found \(3,\), expected \(2,\)"):
        first.then(later)


def test_a_fit_stays_near_what_it_starts_from_and_leaves_it_with_many_rows():
    around = PlattScaling(np.array([0.2]), np.array([3.0]))
    logits, targets = logistic_set([1.5], [-0.5])

    few = fit_platt(logits[:4], targets[:4], around=around)
    many = fit_platt(logits, targets, around=around)

    assert abs(few.scale[0] - 0.2) < 0.6
    assert many.scale[0] == pytest.approx(1.5, abs=0.2)
    assert many.bias[0] == pytest.approx(-0.5, abs=0.2)


def test_labels_that_cannot_be_fitted_have_what_the_fit_starts_from():
    around = PlattScaling(np.array([0.3, 2.0]), np.array([-1.0, 1.0]))
    logits = np.random.default_rng(0).normal(size=(6, 2))

    platt = fit_platt(logits, np.array([[1, UNKNOWN]] * 6), around=around)

    assert (platt.scale.tolist(), platt.bias.tolist()) == ([0.3, 2.0], [-1.0, 1.0])


def test_temperature_finds_the_true_factor_and_never_a_bias():
    rows = logistic_set([0.4, 1.0, 2.0], [0.0, 0.0, 0.0])
    temperatures = fit_platt(*rows, fits_bias=False)

    assert temperatures.scale == pytest.approx([0.4, 1.0, 2.0], abs=0.2)
    assert temperatures.bias.tolist() == [0, 0, 0]


def test_temperature_of_a_ranking_that_is_upside_down_stays_above_zero():
    logits, targets = logistic_set([-1.0], [0.0])

    assert fit_platt(logits, targets, fits_bias=False).scale[0] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("min_precision", "expected"),
    [
        (1.0, 0.85),  # 0.9 alone
        (0.7, 0.5),  # down to 0.6: 3 of 4, where 0.7 alone has 2 of 3
        (0.6, 0.25),  # down to 0.3: 4 of 6, where 0.4 alone has 3 of 5
        (0.1, 0.1),  # all; halfway from the lowest score to 0
    ],
)
def test_precise_threshold_finds_most_at_the_wanted_precision(min_precision, expected):
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2]]).T
    targets = np.array([[1, 0, 1, 1, 0, 1, 0]]).T

    found = best_thresholds(scores, targets, rule="precision", min_precision=min_precision)[0]

    assert found == pytest.approx(expected)
    is_named = scores >= found
    assert targets[is_named].mean() >= min_precision


def test_precision_that_no_threshold_reaches_gives_none():
    scores = np.array([[0.9, 0.5], [0.2, 0.5]])
    targets = np.array([[0, 1], [1, 1]])

    thresholds = best_thresholds(scores, targets, rule="precision", min_precision=0.9)

    # The first label's best is one of two; of the second no negative is known.
    assert np.isnan(thresholds).tolist() == [True, True]


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_the_true_factor_is_found(factor: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (3000, 4))
    chances = softmax(factor * logits)
    drawn = (chances.cumsum(axis=1) < generator.random((3000, 1))).sum(axis=1)

    found = fit_softmax_temperature(logits, np.eye(4)[drawn])

    # The standard error at 3000 rows is below 0.05.
    assert found == pytest.approx(factor, rel=0.1)


def test_logits_that_tell_nothing_lose_their_weight() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 3, (500, 3))

    assert fit_softmax_temperature(logits, np.eye(3)[generator.integers(0, 3, 500)]) < 0.1


def test_labels_that_are_not_known_do_not_compete() -> None:
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 2, (100, 3))
    targets = np.eye(3)[generator.integers(0, 2, 100)]
    logits_without, targets_without = logits[:, :2], targets[:, :2]
    targets[:, 2] = UNKNOWN

    found = fit_softmax_temperature(logits, targets)

    assert found == pytest.approx(fit_softmax_temperature(logits_without, targets_without))


def test_rows_without_exactly_one_label_teach_nothing() -> None:
    assert fit_softmax_temperature(np.ones((2, 2)), np.array([[1, 1], [0, 0]])) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_fits_are_where_the_penalised_likelihood_is_flat(seed):
    logits, targets = logistic_set([0.4 + seed], [seed - 2.0], num_rows=50, seed=seed)
    platt = fit_platt(logits, targets)
    excess = (platt.apply(logits) - targets)[:, 0]
    assert excess @ logits[:, 0] + 2.0 * (platt.scale[0] - 1) == pytest.approx(0, abs=1e-6)
    assert excess.sum() + 0.05 * platt.bias[0] == pytest.approx(0, abs=1e-6)


def test_bins_hold_mean_score_and_share_of_positives() -> None:
    bins = reliability_bins(SCORES, TARGETS, num_bins=10)

    assert bins.edges == pytest.approx(np.linspace(0, 1, 11))
    assert bins.count.tolist() == [0, 2, 0, 0, 1, 0, 0, 0, 1, 3]
    assert bins.mean_score[[1, 4, 8, 9]] == pytest.approx([0.125, 0.4, 0.8, 2.87 / 3])
    assert bins.positive_share[[1, 4, 8, 9]] == pytest.approx([0.5, 0.0, 1.0, 2 / 3])
    assert np.isnan(bins.positive_share[0])


def test_bins_of_some_labels_leave_the_others_out() -> None:
    bins = reliability_bins(SCORES, TARGETS, select=np.array([True, False]))

    assert bins.count.sum() == 3


def test_bins_give_the_calibration_error() -> None:
    bins = reliability_bins(SCORES, TARGETS)

    gaps = np.nan_to_num(np.abs(bins.mean_score - bins.positive_share))
    error = (gaps * bins.count).sum() / bins.count.sum()

    assert error == pytest.approx(expected_calibration_error(SCORES, TARGETS))


def test_wilson_interval_of_known_cases() -> None:
    # 8 of 10: Wilson's 0.4901 to 0.9433, as in Newcombe (1998); 0 of 10 never ends at 0.
    low, high = wilson_interval([8, 0, 3], [10, 10, 0])

    assert low[:2] == pytest.approx([0.4901, 0.0], abs=1e-4)
    assert high[:2] == pytest.approx([0.9433, 0.2775], abs=1e-4)
    assert np.isnan([low[2], high[2]]).all()


def test_each_label_has_its_own_error() -> None:
    errors = label_calibration_errors(SCORES, np.array([[0, 1], [1, 1], [1, 1], [0, 1]]))

    # 0.1 and 0.15 with one positive, 0.8 and 0.85 with one: |0.25 - 1| + |1.65 - 1| over 4.
    assert errors[0] == pytest.approx((0.75 + 0.65) / 4)
    assert np.isnan(errors[1])


def random_set(num_rows):
    generator = np.random.default_rng(0)
    scores = generator.random((num_rows, 3))
    targets = generator.choice([0, 1, UNKNOWN], size=scores.shape).astype(np.float64)
    return scores, targets


def test_weighted_error_of_equal_weights_is_the_error() -> None:
    scores, targets = random_set(50)
    statistic = calibration_error_statistic(scores, targets, select=np.ones(3, dtype=np.bool_))

    error, brier = statistic(np.ones((1, 50)))[0]

    known = targets != UNKNOWN
    assert error == pytest.approx(expected_calibration_error(scores, targets))
    assert brier == pytest.approx(((scores - targets)[known] ** 2).mean())


def test_whole_weights_are_copies_of_rows() -> None:
    scores, targets = random_set(20)
    chosen = np.array([True, False, True])
    (weights,) = resampled_weights(np.arange(20) // 2, num_resamples=3)

    found = calibration_error_statistic(scores, targets, select=chosen)(weights)

    for values, drawn in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(20), drawn.astype(int))
        copied = expected_calibration_error(scores[rows][:, chosen], targets[rows][:, chosen])
        assert values[0] == pytest.approx(copied)


def test_an_error_needs_a_label() -> None:
    scores, targets = random_set(4)

    with pytest.raises(ShapeError, match="expected at least one"):
        calibration_error_statistic(scores, targets, select=np.zeros(3, dtype=np.bool_))
