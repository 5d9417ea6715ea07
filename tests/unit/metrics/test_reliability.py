from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.errors import ShapeError
from msqnet.metrics.bootstrap import resampled_weights
from msqnet.metrics.reliability import (
    calibration_error_statistic,
    expected_calibration_error,
    label_calibration_errors,
    reliability_bins,
    wilson_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = -100
SCORES = np.array([[0.1, 0.95], [0.15, 0.92], [0.8, 1.0], [0.85, 0.4]])
TARGETS = np.array([[0, 1], [1, 0], [1, 1], [UNKNOWN, 0]])


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


def random_set(num_rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
