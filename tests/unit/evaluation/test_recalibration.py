"""Calibrations whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from msqnet.config import CalibrationConfig
from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.calibration_results import CalibrationResult, calibrate_rows
from msqnet.evaluation.recalibration import (
    Calibration,
    CalibrationRows,
    cross_validated,
    enough_rows,
    fit,
)
from msqnet.metrics.calibration import PlattScaling, sigmoid, softmax
from tests.fixtures.models import tiny_config

UNKNOWN = -100.0
QUICK = CalibrationConfig(num_bootstrap=20)


def overconfident_rows(num_rows: int = 600, num_labels: int = 2) -> CalibrationRows:
    """Logits three times as large as they should be, and too high; ten rows a group."""
    generator = np.random.default_rng(0)
    true_logits = generator.normal(-1, 1.5, (num_rows, num_labels))
    targets = (generator.random(true_logits.shape) < sigmoid(true_logits)).astype(np.float64)
    names = tuple(f"label {index}" for index in range(num_labels))
    groups = [str(row // 10) for row in range(num_rows)]
    folds = np.arange(num_rows) // 10 % 5
    return CalibrationRows(names, 3 * true_logits + 2, targets, groups, folds)


def unscaled(num_labels: int = 2, kind: Any = "each") -> Calibration:
    scaling = PlattScaling(np.ones(num_labels), np.zeros(num_labels))
    return Calibration(scaling, np.full(num_labels, 0.5), kind)


def everything(rows: CalibrationRows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.full(len(rows.labels), True)


def test_the_scale_and_bias_that_were_spoilt_are_found_again() -> None:
    rows = overconfident_rows(3000)

    scaling = fit(rows.logits, rows.targets, unscaled(), everything(rows), QUICK)[0].scaling

    assert scaling.scale == pytest.approx([1 / 3] * 2, abs=0.06)
    assert scaling.bias == pytest.approx([-2 / 3] * 2, abs=0.15)


def test_labels_that_are_not_chosen_have_what_they_had() -> None:
    rows = overconfident_rows()
    now = replace(unscaled(), thresholds=np.array([0.5, 0.7]))

    new, has_threshold = fit(rows.logits, rows.targets, now, np.array([True, False]), QUICK)

    assert (new.scaling.scale[1], new.thresholds[1]) == (1.0, 0.7)
    assert (new.scaling.scale != 1).tolist() == [True, False]
    assert has_threshold.tolist() == [True, False]


def test_a_threshold_that_is_kept_decides_as_before_although_scores_change() -> None:
    rows = overconfident_rows()
    now = replace(unscaled(), thresholds=np.array([0.9, 0.2]))
    precise = CalibrationConfig(thresholds="precision", min_precision=1.0)
    spoilt = replace(rows, targets=np.where(rows.logits > 9, 0.0, rows.targets))

    new, has_threshold = fit(spoilt.logits, spoilt.targets, now, everything(rows), precise)

    assert has_threshold.tolist() == [False, False]
    assert not np.allclose(new.scaling.scale, 1)
    before = now.scores(rows.logits) >= now.thresholds
    assert np.array_equal(new.scores(rows.logits) >= new.thresholds, before)


def test_temperature_keeps_the_place_where_the_model_says_one_half() -> None:
    rows = overconfident_rows()
    now = replace(unscaled(), scaling=PlattScaling(np.array([0.5, 2.0]), np.array([1.0, -3.0])))

    new = fit(
        rows.logits, rows.targets, now, everything(rows), CalibrationConfig(method="temperature")
    )[0]

    assert new.scaling.bias / new.scaling.scale == pytest.approx([2.0, -1.5])
    assert not np.allclose(new.scaling.scale, now.scaling.scale)


def test_labels_of_an_open_vocabulary_share_one_scaling() -> None:
    rows = overconfident_rows(3000)

    new = fit(rows.logits, rows.targets, unscaled(kind="shared"), everything(rows), QUICK)[0]

    assert len(set(new.scaling.scale)) == len(set(new.scaling.bias)) == 1
    assert new.scaling.scale[0] == pytest.approx(1 / 3, abs=0.05)


def single_label_rows() -> CalibrationRows:
    rows = overconfident_rows(1000, 3)
    generator = np.random.default_rng(1)
    chances = softmax(rows.logits / 3)
    drawn = (chances.cumsum(axis=1) < generator.random((1000, 1))).sum(axis=1)
    return replace(rows, targets=np.eye(3)[drawn])


def test_a_softmax_gets_one_temperature_and_its_order_stays() -> None:
    rows = single_label_rows()

    new = fit(rows.logits, rows.targets, unscaled(3, "softmax"), everything(rows), QUICK)[0]

    assert new.scaling.scale == pytest.approx([1 / 3] * 3, abs=0.05)
    best = new.scores(rows.logits).argmax(axis=1)
    assert np.array_equal(best, rows.logits.argmax(axis=1))


def test_a_bias_for_each_label_of_a_softmax_is_refused() -> None:
    rows = single_label_rows()

    with pytest.raises(ConfigError, match="expected temperature"):
        calibrate_rows(rows, unscaled(3, "softmax"), CalibrationConfig(method="platt"))


def test_no_row_is_scored_by_a_calibration_that_saw_its_group() -> None:
    rows = overconfident_rows(100)
    now, chosen = unscaled(), everything(rows)

    held_out, _ = cross_validated(rows, now, chosen, QUICK)

    lies = replace(rows, targets=np.where((rows.folds == 0)[:, None], 1.0, rows.targets))
    told, _ = cross_validated(lies, now, chosen, QUICK)
    first = rows.folds == 0
    assert np.array_equal(held_out[first], told[first])
    assert not np.array_equal(held_out[~first], told[~first])


@pytest.mark.parametrize(
    ("column", "groups", "reason"),
    [
        ([1, 1, 0, 0, 0, 0], "abcdef", "2 known positive windows, expected at least 3"),
        ([1, 1, 1, 0, 0, UNKNOWN], "abcdef", "2 known negative windows, expected at least 3"),
        ([0, 0, 0, 0, 0, 0], "abcdef", "0 known positive windows, expected at least 3"),
        ([1, 1, 1, 0, 0, 0], "aaabcd", "positive windows of 1 group, expected at least 2"),
    ],
)
def test_labels_with_too_few_windows_or_groups_are_kept(
    column: list[float], groups: str, reason: str
) -> None:
    targets = np.array([column, [1, 0, 1, 0, 1, 0]]).T
    rows = CalibrationRows(("few", "enough"), np.zeros((6, 2)), targets, list(groups), np.arange(6))

    assert enough_rows(rows, CalibrationConfig(min_windows=3)) == {"few": reason}


def calibrated(**changes: Any) -> CalibrationResult:
    return calibrate_rows(overconfident_rows(), unscaled(), replace(QUICK, **changes))


def test_held_out_error_falls_where_scores_were_overconfident() -> None:
    overall = calibrated().summary["overall"]["expected_calibration_error"]

    assert overall["before"] > 0.15
    assert overall["after"] < 0.08
    assert overall["difference"] == pytest.approx(overall["after"] - overall["before"])
    assert overall["difference_interval"][1] < 0


def test_wanted_precision_is_about_reached_on_rows_that_were_not_fitted_on() -> None:
    figures = calibrated(thresholds="precision", min_precision=0.8)

    for item in figures.per_label:
        assert item["precision_after"] == pytest.approx(0.8, abs=0.12)
        assert item["threshold_after"] > 0.5


def test_rows_that_leave_nothing_to_fit_are_refused_label_by_label() -> None:
    with pytest.raises(DatasetError, match=r"label 0: \d+ known positive windows.*label 1: "):
        calibrated(min_windows=1000)


def test_few_positive_windows_are_noted_with_their_number() -> None:
    rows = overconfident_rows(40)
    num = int((rows.targets[:, 0] == 1).sum())
    (note,) = [
        note
        for note in calibrate_rows(rows, unscaled(), QUICK).summary["notes"]
        if note.startswith("fewer than 20")
    ]

    assert f"label 0 ({num})" in note


def test_what_a_model_stores_is_what_it_scores_with() -> None:
    closed = Calibration.of_model(
        tiny_config("lite", calibration_scale=[1.0, 2.0, 3.0], calibration_bias=[0.0, 1.0, 2.0])
    )
    softmaxed = Calibration.of_model(tiny_config("lite", task="single_label"))

    assert closed.kind == "each"
    assert closed.scores(np.zeros((1, 3)))[0] == pytest.approx(sigmoid(np.array([0.0, 1.0, 2.0])))
    assert softmaxed.scores(np.zeros((1, 3)))[0] == pytest.approx([1 / 3] * 3)
