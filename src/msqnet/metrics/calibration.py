"""Calibrated scores: Platt scaling, temperatures, thresholds, and how far scores can be trusted.

Everything is over the rows where a label is known. Fits never change the ranking of a label; each
is a convex problem of one or two parameters, which `scipy.optimize` solves by Newton steps in a
trust region. Bins of scores are equally wide; each holds its lower bound, the last one also 1.

Axes: V rows, K labels, R resamples, N bins. Logits are (V, K) float, finite, of rows that the model
was not fitted on; scores (V, K) float in [0, 1]; targets (V, K) of 1, 0 and `UNKNOWN`; `select`,
(K,) bool, marks the labels that count. `ShapeError` where they do not fit together, for a score
outside [0, 1], and for no bin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import FloatArray, known_cells, precision_recall_curve

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from msqnet.metrics.average_precision import BoolArray, IndexArray, KnownCells
    from msqnet.metrics.bootstrap import Statistic

NUM_BINS = 10
_Z_95 = 1.959963984540054
_MIN_SCALE = 1e-3
_GRADIENT_TOLERANCE = 1e-9
# Of the penalties on a change of scale and bias.
_STRENGTHS = np.array([2.0, 0.05])

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

    Scales, above 0, and biases are (K,) float64; anything else is a `ShapeError`.
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

    def calibrated(self, logits: ArrayLike) -> FloatArray:
        """(..., K) float64: scale * logit + bias."""
        values = np.asarray(logits, dtype=np.float64)
        if values.shape[-1:] != self.scale.shape:
            raise ShapeError(f"logits: found {values.shape}, expected (..., {len(self.scale)})")
        return np.asarray(values * self.scale + self.bias)

    def apply(self, logits: ArrayLike) -> FloatArray:
        """(..., K) logits to float64 scores in [0, 1], ranked within a label as the logits are."""
        return sigmoid(self.calibrated(logits))

    def then(self, later: PlattScaling) -> PlattScaling:
        """One scaling for two in a row: a2 (a1 z + b1) + b2 = (a2 a1) z + (a2 b1 + b2)."""
        if later.scale.shape != self.scale.shape:
            raise ShapeError(f"then: found {later.scale.shape}, expected {self.scale.shape}")
        return PlattScaling(later.scale * self.scale, later.scale * self.bias + later.bias)


def _minimum(problem: Problem, start: FloatArray) -> FloatArray:
    """(P,) where a convex problem is smallest with its first parameter at least `_MIN_SCALE`."""
    from scipy.optimize import minimize

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
    fits_bias: bool = True,
) -> PlattScaling:
    """Fit scale and bias of each label by regularised logistic regression.

    Minimises -sum log p(target | a z + b) + s/2 (a - a0)^2 + t/2 (b - b0)^2 under a > 0, with s 2,
    t 0.05 and (a0, b0) of `around`, by default 1 and 0; without `fits_bias`, b stays b0. The
    likelihood grows with the number of rows, the penalty does not: few positives leave scale and
    bias where they were. So do labels of which no positive or no negative is known.
    """
    cells = known_cells(logits, targets)
    num_labels = cells.scores.shape[1]
    around = around or PlattScaling(np.ones(num_labels), np.zeros(num_labels))
    around.calibrated(cells.scores)  # checks the number of labels
    fitted = np.stack([around.scale, around.bias], axis=1)  # (K, 2)
    num = 2 if fits_bias else 1
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        own = cells.scores[known, label]
        design = np.stack([own, np.ones_like(own)][:num], axis=1)  # (n, num)
        start = fitted[label, :num].copy()
        problem = _logistic(design, cells.is_positive[known, label], _STRENGTHS[:num], start)
        fitted[label, :num] = _minimum(problem, start)
    return PlattScaling(fitted[:, 0], fitted[:, 1])


def fit_softmax_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """The factor of the logits under which rows are as likely as can be (Guo et al. 2017).

    Minimises -sum log softmax(t z)_y + s/2 (t - 1)^2 under t > 0, with s 2. Labels that are not
    known in a row do not compete there. 1 where no row has exactly one label and a known other one.
    """
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
        gradient = (mean - values[is_own]).sum() + _STRENGTHS[0] * offset
        curvature = (shares * values**2).sum() - (mean**2).sum() + _STRENGTHS[0]
        loss = float(total + 0.5 * _STRENGTHS[0] * (offset**2).sum())
        return loss, gradient, np.full((1, 1), curvature)

    return float(_minimum(problem, np.ones(1))[0])


def best_thresholds(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    rule: Literal["f1", "precision"] = "f1",
    min_precision: float = 0.0,
) -> FloatArray:
    """The best threshold of each label among those that reach a precision of `min_precision`.

    The rule "f1" takes the one with the highest F1, of equally good ones the highest; "precision"
    the lowest one, which finds most. A threshold lies midway between the lowest score that counts
    as positive and the next lower one (0 below the lowest). The (K,) float64 are in [0, 1]; NaN
    where no positive or no negative is known, or where no threshold is precise enough.
    """
    cells = _known_scores(scores, targets)
    result = np.full(cells.scores.shape[1], np.nan)
    for label in np.flatnonzero(cells.is_scorable):
        known = cells.is_known[:, label]
        curve = precision_recall_curve(cells.scores[known, label], cells.is_positive[known, label])
        is_precise = curve.precision >= min_precision
        if is_precise.any():
            place = int(np.argmax(np.where(is_precise, curve.f1, -1.0)))
            if rule == "precision":
                place = int(np.flatnonzero(is_precise)[-1])
            upper, lower = np.append(curve.thresholds, 0.0)[place : place + 2].tolist()
            middle = (upper + lower) / 2
            # Between neighbouring floats the middle can round down onto the lower one.
            result[label] = middle if middle > lower else upper
    return result


def _known_scores(scores: ArrayLike, targets: ArrayLike) -> KnownCells:
    """As `known_cells`, of scores in [0, 1]."""
    cells = known_cells(scores, targets)
    lowest, highest = cells.scores.min(initial=0.0), cells.scores.max(initial=1.0)
    if lowest < 0 or highest > 1:
        raise ShapeError(
            f"scores: found {cells.scores.min()} to {cells.scores.max()}, expected 0 to 1; "
            "turn logits into scores first"
        )
    return cells


@dataclass(frozen=True)
class ReliabilityBins:
    """What scores of about the same height turned out to be; all but `edges` are (N,) float64.

    Attributes:
        edges: (N + 1,) from 0 to 1; a bin holds its lower edge, the last one also 1.
        count: known cells in the bin.
        mean_score: NaN where there are none.
        positive_share: of these cells; NaN where there are none.
        low: lower bound of Wilson's 95 % interval of that share, as if cells were independent.
        high: its upper bound.
    """

    edges: FloatArray
    count: FloatArray
    mean_score: FloatArray
    positive_share: FloatArray
    low: FloatArray
    high: FloatArray


def _binned(
    scores: ArrayLike, targets: ArrayLike, num_bins: int, select: BoolArray | None = None
) -> tuple[IndexArray, IndexArray, FloatArray, FloatArray]:
    """Row, bin, 1 or 0 for positive or not, and score of each known cell, (n,) each."""
    if num_bins < 1:
        raise ShapeError(f"num_bins: found {num_bins}, expected at least 1")
    cells = _known_scores(scores, targets)
    is_chosen = cells.is_known if select is None else cells.is_known & select
    known = cells.scores[is_chosen]
    bins = np.minimum((known * num_bins).astype(np.intp), num_bins - 1)
    positive = cells.is_positive[is_chosen].astype(np.float64)
    return np.nonzero(is_chosen)[0], bins, positive, known


def expected_calibration_error(
    scores: ArrayLike, targets: ArrayLike, *, num_bins: int = NUM_BINS
) -> float:
    """How far scores are from the share of positives among rows scored alike.

    ECE = sum_b n_b / n |mean score_b - share of positives_b| over equally wide bins of the score
    (Naeini et al. 2015; Guo et al. 2017), over the known cells of all labels together: 0 for
    perfect calibration, at most 1; NaN where nothing is known.
    """
    _, bins, is_positive, known = _binned(scores, targets, num_bins)
    if not known.size:
        return float("nan")
    summed = np.bincount(bins, weights=known - is_positive, minlength=num_bins)
    return float(np.abs(summed).sum() / known.size)


def reliability_bins(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    select: BoolArray | None = None,
) -> ReliabilityBins:
    """Known cells by score; without `select` all labels count."""
    _, bin_of_cell, is_positive, known = _binned(scores, targets, num_bins, select)
    count = np.bincount(bin_of_cell, minlength=num_bins).astype(np.float64)
    num_positive = np.bincount(bin_of_cell, weights=is_positive, minlength=num_bins)
    summed = np.bincount(bin_of_cell, weights=known, minlength=num_bins)
    some = np.where(count > 0, count, np.nan)
    low, high = wilson_interval(num_positive, count)
    edges = np.linspace(0, 1, num_bins + 1)
    return ReliabilityBins(edges, count, summed / some, num_positive / some, low, high)


def wilson_interval(num_hits: ArrayLike, num: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % interval of a share (Wilson 1927), in [0, 1]; NaN where ``num`` is 0."""
    hits, total = np.asarray(num_hits, dtype=np.float64), np.asarray(num, dtype=np.float64)
    total = np.where(total > 0, total, np.nan)
    share, z2 = hits / total, _Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    spread = share * (1 - share) / total + z2 / (4 * total**2)
    half = _Z_95 * np.sqrt(spread) / (1 + z2 / total)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def label_calibration_errors(
    scores: ArrayLike, targets: ArrayLike, *, num_bins: int = NUM_BINS
) -> FloatArray:
    """Expected calibration error of each label by itself, (K,) float64.

    NaN where no positive or no negative is known: such a score can only be low, or only high, and
    says nothing of the ones between.
    """
    cells = known_cells(scores, targets)
    columns = zip(cells.scores.T, np.asarray(targets).T, strict=True)
    errors = [
        expected_calibration_error(score[:, None], target[:, None], num_bins=num_bins)
        for score, target in columns
    ]
    return np.where(cells.is_scorable, errors, np.nan)


def calibration_error_statistic(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    select: BoolArray,
    num_bins: int = NUM_BINS,
) -> Statistic:
    """Expected calibration error and Brier score of (R, V) weights: (R, 2).

    The Brier score is the mean squared distance of scores from 1 or 0. NaN where nothing is known;
    a `ShapeError` where no label is selected.
    """
    if not select.any():
        raise ShapeError("select: found no label, expected at least one")
    row_of_cell, bin_of_cell, is_positive, known = _binned(scores, targets, num_bins, select)
    num_rows = len(np.asarray(scores))
    gaps, squares, counts = np.zeros((num_rows, num_bins)), np.zeros(num_rows), np.zeros(num_rows)
    np.add.at(gaps, (row_of_cell, bin_of_cell), known - is_positive)
    np.add.at(squares, row_of_cell, (known - is_positive) ** 2)
    np.add.at(counts, row_of_cell, 1.0)

    def statistic(weights: FloatArray) -> FloatArray:
        total = weights @ counts  # (R,)
        some = np.where(total > 0, total, np.nan)
        error = np.abs(weights @ gaps).sum(axis=1) / some
        return np.stack([error, weights @ squares / some], axis=1)

    return statistic
