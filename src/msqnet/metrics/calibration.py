"""Scores that mean what they say: Platt scaling, temperatures, thresholds, calibration error.

All fits are per label, over the rows where the label is known, and never change a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    BoolArray,
    FloatArray,
    KnownCells,
    PrecisionRecallCurve,
    known_cells,
    precision_recall_curve,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

DEFAULT_THRESHOLD = 0.5
_MIN_SCALE = 1e-3
_NUM_STEPS = 50
_SMALL_STEP = 1e-9


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-logits)), exact for large values of either sign."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


@dataclass(frozen=True)
class PlattScaling:
    """Per label, score = sigmoid(scale * logit + bias).

    Attributes:
        scale: (K,) float64, above 0.
        bias: (K,) float64.

    Raises:
        ShapeError: not two (K,) arrays, or a scale is not above 0.
    """

    scale: FloatArray
    bias: FloatArray

    def __post_init__(self) -> None:
        scale = np.asarray(self.scale, dtype=np.float64)
        bias = np.asarray(self.bias, dtype=np.float64)
        is_finite = bool(np.isfinite(scale).all() and np.isfinite(bias).all())
        if scale.ndim != 1 or scale.shape != bias.shape or not is_finite or (scale <= 0).any():
            raise ShapeError(
                f"PlattScaling: found scale {scale.shape} from {scale.min(initial=np.inf)} "
                f"and bias {bias.shape}, expected two finite (K,) with scale > 0"
            )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "bias", bias)

    def apply(self, logits: ArrayLike) -> FloatArray:
        """Calibrated scores.

        Args:
            logits: (..., K) float.

        Returns:
            (..., K) float64 in [0, 1], ranked within a label as the logits are.

        Raises:
            ShapeError: the last axis is not K.
        """
        values = np.asarray(logits, dtype=np.float64)
        if values.shape[-1:] != self.scale.shape:
            raise ShapeError(f"logits: found {values.shape}, expected (..., {len(self.scale)})")
        return sigmoid(values * self.scale + self.bias)

    def then(self, later: PlattScaling) -> PlattScaling:
        """One scaling for two in a row: ``later`` on top of the logits that this one gives.

        a2 (a1 z + b1) + b2 = (a2 a1) z + (a2 b1 + b2).

        Args:
            later: of the same K labels.

        Raises:
            ShapeError: another number of labels.
        """
        if later.scale.shape != self.scale.shape:
            raise ShapeError(f"then: found {later.scale.shape}, expected {self.scale.shape}")
        return PlattScaling(later.scale * self.scale, later.scale * self.bias + later.bias)


def fit_platt(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    around: PlattScaling | None = None,
    scale_strength: float = 2.0,
    bias_strength: float = 0.05,
) -> PlattScaling:
    """Fit scale and bias of each label by regularised logistic regression.

    Minimises -sum log p(target | a z + b) + s/2 (a - a0)^2 + t/2 (b - b0)^2 by Newton's method
    under a > 0, with s `scale_strength`, t `bias_strength` and (a0, b0) of `around`. The likelihood
    grows with the number of rows, the penalty does not: few positives leave scale and bias where
    they were.

    Args:
        logits: (V, K) float, finite, of rows that the model was not fitted on.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        around: what scale and bias are held at; None for 1 and 0.
        scale_strength: how strongly the scale is held.
        bias_strength: how strongly the bias is held.

    Returns:
        That of ``around`` where no positive or no negative is known.

    Raises:
        ShapeError: arrays that do not fit together, or a strength that is not above 0.
    """
    if scale_strength <= 0 or bias_strength <= 0:
        raise ShapeError(
            f"strengths {scale_strength} and {bias_strength}: expected more than 0, "
            "as separable labels have no fit without"
        )
    cells = known_cells(logits, targets)
    around = around or _identity(cells.scores.shape[1])
    around.apply(cells.scores)  # checks the number of labels
    scale, bias = around.scale.copy(), around.bias.copy()
    strengths = np.array([scale_strength, bias_strength])
    for label in np.flatnonzero(cells.is_scorable):
        centre = np.array([scale[label], bias[label]])
        scale[label], bias[label] = _LabelFit.of(cells, int(label), strengths, centre).solve()
    return PlattScaling(scale, bias)


def fit_temperatures(
    logits: ArrayLike, targets: ArrayLike, *, strength: float = 2.0
) -> PlattScaling:
    """Fit one factor of the logits a label: as `fit_platt`, with a bias of 0.

    Args:
        logits: (V, K) float, finite, of rows that the model was not fitted on.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        strength: how strongly the factor is held at 1.

    Returns:
        Scale 1 where no positive or no negative is known.

    Raises:
        ShapeError: arrays that do not fit together, or a strength that is not above 0.
    """
    if strength <= 0:
        raise ShapeError(f"strength {strength}: expected more than 0")
    cells = known_cells(logits, targets)
    scale, bias = np.ones(cells.scores.shape[1]), np.zeros(cells.scores.shape[1])
    for label in np.flatnonzero(cells.is_scorable):
        problem = _LabelFit.of(cells, int(label), np.array([strength, 1.0]), np.array([1.0, 0.0]))
        scale[label] = problem.solve_scale()
    return PlattScaling(scale, bias)


def _identity(num_labels: int) -> PlattScaling:
    return PlattScaling(np.ones(num_labels), np.zeros(num_labels))


@dataclass(frozen=True)
class _LabelFit:
    """The convex problem of one label in (scale, bias).

    Attributes:
        logits: (n,) float64.
        is_positive: (n,) bool.
        strengths: (2,) float64, of the penalties on scale and bias.
        centre: (2,) float64, where the penalties are 0.
    """

    logits: FloatArray
    is_positive: BoolArray
    strengths: FloatArray
    centre: FloatArray

    @classmethod
    def of(
        cls, cells: KnownCells, label: int, strengths: FloatArray, centre: FloatArray
    ) -> _LabelFit:
        """The problem of one label's known rows."""
        known = cells.is_known[:, label]
        logits, is_positive = cells.scores[known, label], cells.is_positive[known, label]
        return cls(logits, is_positive, strengths, centre)

    def loss(self, point: FloatArray) -> float:
        """The penalised negative log-likelihood."""
        scaled = point[0] * self.logits + point[1]
        fit = np.logaddexp(0.0, scaled).sum() - scaled[self.is_positive].sum()
        return float(fit + 0.5 * self.strengths @ (point - self.centre) ** 2)

    def solve(self) -> FloatArray:
        """(2,) scale and bias at the minimum with a scale of at least the smallest allowed."""
        point = self._descend(self.centre, np.array([True, True]))
        if point[0] < _MIN_SCALE:
            # Convex with one bound: where the free minimum breaks it, the bounded one lies on it.
            point = self._descend(np.array([_MIN_SCALE, point[1]]), np.array([False, True]))
        return point

    def solve_scale(self) -> float:
        """The scale at the minimum with the bias that the centre has."""
        point = self._descend(self.centre, np.array([True, False]))
        return max(float(point[0]), _MIN_SCALE)

    def _descend(self, point: FloatArray, is_free: BoolArray) -> FloatArray:
        design = np.stack([self.logits, np.ones_like(self.logits)], axis=1)  # (n, 2)
        loss = self.loss(point)
        for _ in range(_NUM_STEPS):
            probability = sigmoid(design @ point)
            gradient = design.T @ (probability - self.is_positive)
            gradient += self.strengths * (point - self.centre)
            curvature = (design * (probability * (1 - probability))[:, None]).T @ design
            curvature += np.diag(self.strengths)
            step = np.zeros(2)
            step[is_free] = np.linalg.solve(curvature[np.ix_(is_free, is_free)], gradient[is_free])
            # Far from the minimum a whole Newton step can overshoot.
            share = next((s for s in 0.5 ** np.arange(30) if self.loss(point - s * step) < loss), 0)
            point = point - share * step
            loss = self.loss(point)
            if float(np.abs(share * step).max()) < _SMALL_STEP:
                break
        return point


def best_f1_thresholds(
    scores: ArrayLike, targets: ArrayLike, *, min_precision: float = 0.0
) -> FloatArray:
    """The threshold of each label that gives the highest F1.

    It lies midway between the lowest score that counts as positive and the next lower one (0 below
    the lowest). Of equally good thresholds the highest is taken.

    Args:
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        min_precision: only thresholds with at least this precision count.

    Returns:
        (K,) float64 in [0, 1]; 0.5 where no positive or no negative is known, or where no threshold
        is precise enough.

    Raises:
        ShapeError: arrays that do not fit together, or a score outside [0, 1].
    """
    cells = known_cells(scores, targets)
    _check_range(cells.scores)
    result = np.full(cells.scores.shape[1], DEFAULT_THRESHOLD)
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        curve = precision_recall_curve(cells.scores[known, label], cells.is_positive[known, label])
        is_precise = curve.precision >= min_precision
        if is_precise.any():
            best = int(np.argmax(np.where(is_precise, curve.f1, -1.0)))
            result[label] = _below(curve, best)
    return result


def precise_thresholds(
    scores: ArrayLike, targets: ArrayLike, *, min_precision: float
) -> FloatArray:
    """The threshold of each label that finds most with the precision that is wanted.

    The lowest one whose precision, over all rows that reach it, is at least that.

    Args:
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        min_precision: above 0, at most 1.

    Returns:
        (K,) float64 in [0, 1]; NaN where no positive or no negative is known, or where no threshold
        is precise enough.

    Raises:
        ShapeError: arrays that do not fit together, or a score outside [0, 1].
    """
    cells = known_cells(scores, targets)
    _check_range(cells.scores)
    result = np.full(cells.scores.shape[1], np.nan)
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        curve = precision_recall_curve(cells.scores[known, label], cells.is_positive[known, label])
        precise = np.flatnonzero(curve.precision >= min_precision)
        if precise.size:
            result[label] = _below(curve, int(precise[-1]))
    return result


def _below(curve: PrecisionRecallCurve, place: int) -> float:
    """Midway between a score of the curve and the next lower one, or 0."""
    upper = float(curve.thresholds[place])
    lower = float(curve.thresholds[place + 1]) if place + 1 < len(curve.thresholds) else 0.0
    middle = (upper + lower) / 2
    # Between neighbouring floats the middle can round down onto the lower one.
    return middle if middle > lower else upper


def _check_range(scores: FloatArray) -> None:
    if scores.min(initial=0.0) < 0 or scores.max(initial=1.0) > 1:
        raise ShapeError(
            f"scores: found {scores.min()} to {scores.max()}, expected 0 to 1; "
            "turn logits into scores first"
        )


def expected_calibration_error(
    scores: ArrayLike, targets: ArrayLike, *, num_bins: int = 10
) -> float:
    """How far scores are from the share of positives among rows scored alike.

    ECE = sum_b n_b / n |mean score_b - share of positives_b| over equally wide bins of the score
    (Naeini et al. 2015; Guo et al. 2017), over the known cells of all labels together.

    Args:
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        num_bins: number of bins; each holds its lower bound, the last one also 1.

    Returns:
        0 for perfect calibration, at most 1; NaN where nothing is known.

    Raises:
        ShapeError: arrays that do not fit together, a score outside [0, 1], or no bin.
    """
    if num_bins < 1:
        raise ShapeError(f"num_bins: found {num_bins}, expected at least 1")
    cells = known_cells(scores, targets)
    _check_range(cells.scores)
    known_scores = cells.scores[cells.is_known]
    if not known_scores.size:
        return float("nan")
    bins = np.minimum((known_scores * num_bins).astype(np.intp), num_bins - 1)
    gaps = known_scores - cells.is_positive[cells.is_known]
    summed = np.bincount(bins, weights=gaps, minlength=num_bins)
    return float(np.abs(summed).sum() / known_scores.size)
