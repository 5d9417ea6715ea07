"""Fits the calibration of a finished model on other rows.

A model stores one pair (scale, bias) and one threshold per label. They are fitted again around the
stored ones, over the rows where the label is known. Axes: V rows, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.errors import ConfigError
from msqnet.labels import UNKNOWN
from msqnet.metrics.average_precision import FloatArray, known_cells
from msqnet.metrics.calibration import (
    PlattScaling,
    best_thresholds,
    fit_platt,
    fit_softmax_temperature,
    sigmoid,
    softmax,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.config import CalibrationConfig
    from msqnet.metrics.average_precision import BoolArray
    from msqnet.model.configuration import MSQNetConfig

Kind = Literal["each", "shared", "softmax"]
"""A sigmoid with a scaling of its own for each label, one scaling for all labels of an open
vocabulary, or a softmax over the labels."""

_MIN_GROUPS = 2
_SMALLEST_SHARE = 1e-12


@dataclass(frozen=True)
class Calibration:
    """From logits to scores of K labels, and by (K,) float64 thresholds to decisions."""

    scaling: PlattScaling
    thresholds: FloatArray
    kind: Kind

    @classmethod
    def of_model(cls, config: MSQNetConfig) -> Calibration:
        """The calibration that a model stores."""
        scale = np.asarray(config.calibration_scale, dtype=np.float64)
        bias = np.asarray(config.calibration_bias, dtype=np.float64)
        kind: Kind = "softmax" if config.task == "single_label" else "each"
        if config.is_open:  # as `MSQNet.scores` has it
            kind = "shared"
            scale, bias = (np.full(len(config.label_set), part[0]) for part in (scale, bias))
        thresholds = np.asarray(config.thresholds, dtype=np.float64)
        return cls(PlattScaling(scale, bias), thresholds, kind)

    def scores(self, logits: FloatArray) -> FloatArray:
        """(V, K) float64 in [0, 1]."""
        values = self.scaling.calibrated(logits)
        return softmax(values) if self.kind == "softmax" else sigmoid(values)

    def carried_thresholds(self, new: Calibration) -> FloatArray:
        """(K,): thresholds of new scores that decide as these do of the old ones.

        Of a softmax there are none, as the order of a label's scores changes: these are kept.
        """
        if self.kind == "softmax":
            return self.thresholds
        inside = np.clip(self.thresholds, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE)
        raw = (np.log(inside) - np.log1p(-inside) - self.scaling.bias) / self.scaling.scale
        carried = new.scaling.apply(raw)
        is_same = (self.scaling.scale == new.scaling.scale) & (
            self.scaling.bias == new.scaling.bias
        )
        is_beyond = (self.thresholds <= 0) | (self.thresholds > 1)
        return np.where(is_same | is_beyond, self.thresholds, carried)


@dataclass(frozen=True)
class CalibrationRows:
    """Rows that a model was not fitted on, with its logits.

    Attributes:
        labels: K names.
        logits: (V, K) float64, not scaled.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        groups: V names of scenes, subjects or recordings.
        folds: (V,) int, rows of one group in one fold.
    """

    labels: tuple[str, ...]
    logits: FloatArray
    targets: FloatArray
    groups: Sequence[str]
    folds: np.ndarray[tuple[int], np.dtype[np.int64]]


def method_for(kind: Kind, config: CalibrationConfig) -> Literal["platt", "temperature"]:
    """The method asked for, or the one that fits the model; no bias for each label of a softmax."""
    if kind == "softmax" and config.method == "platt":
        raise ConfigError(
            "method platt: this model has exactly one label at a time (softmax), where a bias for "
            "each label would change which one wins; expected temperature"
        )
    return config.method or ("temperature" if kind == "softmax" else "platt")


def enough_rows(rows: CalibrationRows, config: CalibrationConfig) -> dict[str, str]:
    """Labels that keep what they had, with the reason; all others are fitted."""
    cells = known_cells(rows.logits, rows.targets)
    groups = np.asarray(rows.groups)
    reasons = {}
    for label, name in enumerate(rows.labels):
        num = {
            "positive": int(cells.is_positive[:, label].sum()),
            "negative": int(cells.is_negative[:, label].sum()),
        }
        # A count of 0 is named first.
        few = [sign for sign in num if num[sign] == 0]
        few = few or [sign for sign in num if num[sign] < config.min_windows]
        num_groups = len(set(groups[cells.is_positive[:, label]]))
        if few:
            reasons[name] = (
                f"{num[few[0]]} known {few[0]} windows, expected at least {config.min_windows}"
            )
        elif num_groups < _MIN_GROUPS:
            reasons[name] = "positive windows of 1 group, expected at least 2"
    return reasons


def fit(
    logits: FloatArray,
    targets: FloatArray,
    now: Calibration,
    is_chosen: BoolArray,
    config: CalibrationConfig,
) -> tuple[Calibration, BoolArray]:
    """Fit scaling and thresholds of the labels that (K,) ``is_chosen`` marks.

    Also returns (K,) bool, labels whose threshold was fitted. A label that is not chosen, or of
    which no positive or no negative is known here, keeps what it had.
    """
    targets = np.where(is_chosen, targets, UNKNOWN)
    method = method_for(now.kind, config)
    new = replace(now, scaling=_fit_scaling(logits, targets, now, method))
    thresholds = best_thresholds(
        new.scores(logits),
        targets,
        rule=config.thresholds,
        min_precision=config.wanted_precision,
    )
    has_threshold = ~np.isnan(thresholds)
    thresholds = np.where(has_threshold, thresholds, now.carried_thresholds(new))
    return replace(new, thresholds=thresholds), has_threshold


def _fit_scaling(
    logits: FloatArray, targets: FloatArray, now: Calibration, method: str
) -> PlattScaling:
    num_labels = logits.shape[1]
    calibrated = now.scaling.calibrated(logits)
    if now.kind == "softmax":
        factor = fit_softmax_temperature(calibrated, targets)
        return now.scaling.then(PlattScaling(np.full(num_labels, factor), np.zeros(num_labels)))
    around = now.scaling
    if now.kind == "shared":  # one label of all: (V, K) -> (V * K, 1)
        around = PlattScaling(around.scale[:1], around.bias[:1])
        logits, targets, calibrated = (
            values.reshape(-1, 1) for values in (logits, targets, calibrated)
        )
    if method == "platt":
        found = fit_platt(logits, targets, around=around)
    else:
        found = around.then(fit_platt(calibrated, targets, fits_bias=False))
    scale, bias = (np.broadcast_to(values, num_labels) for values in (found.scale, found.bias))
    return PlattScaling(scale, bias)


def cross_validated(
    rows: CalibrationRows, now: Calibration, is_chosen: BoolArray, config: CalibrationConfig
) -> tuple[FloatArray, FloatArray]:
    """Score every row by a calibration that was fitted on other groups.

    A label of which no positive or no negative is known in the other groups keeps what the model
    stores; so does one that (K,) ``is_chosen`` does not mark. Scores and thresholds of each row are
    (V, K) float64 each.
    """
    scores = now.scores(rows.logits)
    thresholds = np.tile(now.thresholds, (len(scores), 1))
    for fold in np.unique(rows.folds):
        inside = rows.folds == fold
        found, _ = fit(rows.logits[~inside], rows.targets[~inside], now, is_chosen, config)
        scores[inside] = found.scores(rows.logits[inside])
        thresholds[inside] = found.thresholds
    return scores, thresholds
