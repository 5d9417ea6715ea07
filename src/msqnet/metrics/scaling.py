"""Scores that mean what they say: Platt scaling, temperatures, thresholds.

All fits are over the rows where a label is known, and never change the ranking of a label. Each is
a convex problem of one or two parameters, which `scipy.optimize` solves by Newton steps in a trust
region.

Axes: V rows, K labels. Logits are (V, K) float, finite, of rows that the model was not fitted on;
scores (V, K) float in [0, 1]; targets (V, K) of 1, 0 and `UNKNOWN`. `ShapeError` where they do not
fit together, for a score outside [0, 1], and for a strength of a penalty that is not above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    FloatArray,
    PrecisionRecallCurve,
    known_cells,
    precision_recall_curve,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from msqnet.metrics.average_precision import BoolArray

DEFAULT_THRESHOLD = 0.5
_MIN_SCALE = 1e-3
_GRADIENT_TOLERANCE = 1e-9

Problem = Callable[[FloatArray], tuple[float, FloatArray, FloatArray]]
"""Loss, gradient (P,) and curvature (P, P) at a point (P,)."""


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-logits)), exact for large values of either sign."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))


def softmax(logits: FloatArray) -> FloatArray:
    """exp(z_k) / sum_j exp(z_j) over the last axis; logits of -inf get 0."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


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
        """(..., K) logits to float64 scores in [0, 1], ranked within a label as the logits are."""
        values = np.asarray(logits, dtype=np.float64)
        if values.shape[-1:] != self.scale.shape:
            raise ShapeError(f"logits: found {values.shape}, expected (..., {len(self.scale)})")
        return sigmoid(values * self.scale + self.bias)

    def then(self, later: PlattScaling) -> PlattScaling:
        """One scaling for two in a row: ``later`` on top of the logits that this one gives.

        a2 (a1 z + b1) + b2 = (a2 a1) z + (a2 b1 + b2).
        """
        if later.scale.shape != self.scale.shape:
            raise ShapeError(f"then: found {later.scale.shape}, expected {self.scale.shape}")
        return PlattScaling(later.scale * self.scale, later.scale * self.bias + later.bias)


def _minimum(problem: Problem, start: FloatArray) -> FloatArray:
    """(P,) where a convex problem is smallest with its first parameter at least `_MIN_SCALE`."""

    def descend(part: Problem, point: FloatArray) -> FloatArray:
        found: Any = minimize(
            lambda x: part(x)[:2],
            point,
            jac=True,
            hess=lambda x: part(x)[2],
            method="trust-exact",
            options={"gtol": _GRADIENT_TOLERANCE},
        )
        return np.asarray(found.x, dtype=np.float64)

    point = descend(problem, start)
    if point[0] >= _MIN_SCALE:
        return point
    # Convex with one bound: where the free minimum breaks it, the bounded one lies on it.
    point[0] = _MIN_SCALE
    if len(point) > 1:

        def others(x: FloatArray) -> tuple[float, FloatArray, FloatArray]:
            loss, gradient, curvature = problem(np.concatenate([point[:1], x]))
            return loss, gradient[1:], curvature[1:, 1:]

        point[1:] = descend(others, point[1:])
    return point


def _logistic(
    design: FloatArray, is_positive: BoolArray, strengths: FloatArray, centre: FloatArray
) -> Problem:
    """Logistic regression of (n,) bool on a (n, P) design, with a penalty.

    -sum log p(target | design x) + 1/2 sum strengths (x - centre)^2, strengths (P,) above 0
    """

    def problem(point: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        scaled, offset = design @ point, point - centre
        chance = sigmoid(scaled)
        fit = np.logaddexp(0.0, scaled).sum() - scaled[is_positive].sum()
        loss = float(fit + 0.5 * strengths @ offset**2)
        gradient = design.T @ (chance - is_positive) + strengths * offset
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(strengths)
        return loss, gradient, curvature

    return problem


def fit_platt(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    around: PlattScaling | None = None,
    scale_strength: float = 2.0,
    bias_strength: float = 0.05,
) -> PlattScaling:
    """Fit scale and bias of each label by regularised logistic regression.

    Minimises -sum log p(target | a z + b) + s/2 (a - a0)^2 + t/2 (b - b0)^2 under a > 0, with s
    `scale_strength`, t `bias_strength` and (a0, b0) of `around`, by default 1 and 0. The likelihood
    grows with the number of rows, the penalty does not: few positives leave scale and bias where
    they were. So do labels of which no positive or no negative is known.
    """
    if scale_strength <= 0 or bias_strength <= 0:
        raise ShapeError(
            f"strengths {scale_strength} and {bias_strength}: expected more than 0, "
            "as separable labels have no fit without"
        )
    cells = known_cells(logits, targets)
    num_labels = cells.scores.shape[1]
    around = around or PlattScaling(np.ones(num_labels), np.zeros(num_labels))
    around.apply(cells.scores)  # checks the number of labels
    scale, bias = around.scale.copy(), around.bias.copy()
    strengths = np.array([scale_strength, bias_strength])
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        own = cells.scores[known, label]
        design = np.stack([own, np.ones_like(own)], axis=1)  # (n, 2)
        start = np.array([scale[label], bias[label]])
        problem = _logistic(design, cells.is_positive[known, label], strengths, start)
        scale[label], bias[label] = _minimum(problem, start)
    return PlattScaling(scale, bias)


def fit_temperatures(
    logits: ArrayLike, targets: ArrayLike, *, strength: float = 2.0
) -> PlattScaling:
    """Fit one factor of the logits of each label: as `fit_platt`, with a bias of 0.

    `strength` is the penalty on a change of the factor from 1. Labels of which no positive or no
    negative is known get a scale of 1.
    """
    _check_strength(strength)
    cells = known_cells(logits, targets)
    scale = np.ones(cells.scores.shape[1])
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        own, is_positive = cells.scores[known, label, None], cells.is_positive[known, label]
        problem = _logistic(own, is_positive, np.array([strength]), np.ones(1))
        scale[label] = _minimum(problem, np.ones(1))[0]
    return PlattScaling(scale, np.zeros_like(scale))


def fit_softmax_temperature(
    logits: ArrayLike, targets: ArrayLike, *, strength: float = 2.0
) -> float:
    """The factor of the logits under which rows are as likely as can be (Guo et al. 2017).

    Minimises -sum log softmax(t z)_y + s/2 (t - 1)^2 under t > 0, with s `strength`. Labels that
    are not known in a row do not compete there. 1 where no row has exactly one label and a known
    other one.
    """
    _check_strength(strength)
    cells = known_cells(logits, targets)
    counts = (cells.is_positive.sum(axis=1) == 1) & cells.is_negative.any(axis=1)
    if not counts.any():
        return 1.0
    known, is_own = cells.is_known[counts], cells.is_positive[counts]
    values = np.where(known, cells.scores[counts], 0.0)  # (n, K)

    def problem(point: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        offset = point - 1
        scaled = np.where(known, point * values, -np.inf)
        shares = softmax(scaled)
        mean = (shares * values).sum(axis=1)
        total = np.logaddexp.reduce(scaled, axis=1).sum() - (point * values[is_own]).sum()
        gradient = (mean - values[is_own]).sum() + strength * offset
        curvature = (shares * values**2).sum() - (mean**2).sum() + strength
        loss = float(total + 0.5 * strength * (offset**2).sum())
        return loss, gradient, np.full((1, 1), curvature)

    return float(_minimum(problem, np.ones(1))[0])


def _check_strength(strength: float) -> None:
    if strength <= 0:
        raise ShapeError(f"strength {strength}: expected more than 0")


def best_f1_thresholds(
    scores: ArrayLike, targets: ArrayLike, *, min_precision: float = 0.0
) -> FloatArray:
    """The threshold of each label that gives the highest F1.

    It lies midway between the lowest score that counts as positive and the next lower one (0 below
    the lowest). Of equally good thresholds the highest is taken. Only thresholds with at least
    `min_precision` count.

    Returns:
        (K,) float64 in [0, 1]; 0.5 where no positive or no negative is known, or where no threshold
        is precise enough.
    """
    found = _thresholds(
        scores,
        targets,
        min_precision,
        lambda curve, is_precise: int(np.argmax(np.where(is_precise, curve.f1, -1.0))),
    )
    return np.where(np.isnan(found), DEFAULT_THRESHOLD, found)


def precise_thresholds(
    scores: ArrayLike, targets: ArrayLike, *, min_precision: float
) -> FloatArray:
    """The threshold of each label that finds most with the required precision.

    The lowest one whose precision, over all rows that reach it, is at least `min_precision`, above
    0 and at most 1.

    Returns:
        (K,) float64 in [0, 1]; NaN where no positive or no negative is known, or where no threshold
        is precise enough.
    """
    return _thresholds(
        scores,
        targets,
        min_precision,
        lambda _curve, is_precise: int(np.flatnonzero(is_precise)[-1]),
    )


def _thresholds(
    scores: ArrayLike,
    targets: ArrayLike,
    min_precision: float,
    choose: Callable[[PrecisionRecallCurve, BoolArray], int],
) -> FloatArray:
    """(K,) thresholds at the chosen places of the curves; NaN where none is precise enough.

    A threshold lies midway between the score of the curve and the next lower one, or 0.
    """
    cells = known_cells(scores, targets)
    check_range(cells.scores)
    result = np.full(cells.scores.shape[1], np.nan)
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        curve = precision_recall_curve(cells.scores[known, label], cells.is_positive[known, label])
        is_precise = curve.precision >= min_precision
        if is_precise.any():
            place = choose(curve, is_precise)
            upper, lower = np.append(curve.thresholds, 0.0)[place : place + 2].tolist()
            middle = (upper + lower) / 2
            # Between neighbouring floats the middle can round down onto the lower one.
            result[label] = middle if middle > lower else upper
    return result


def check_range(scores: FloatArray) -> None:
    """Refuse logits where scores in [0, 1] are expected, with a `ShapeError`."""
    if scores.min(initial=0.0) < 0 or scores.max(initial=1.0) > 1:
        raise ShapeError(
            f"scores: found {scores.min()} to {scores.max()}, expected 0 to 1; "
            "turn logits into scores first"
        )
