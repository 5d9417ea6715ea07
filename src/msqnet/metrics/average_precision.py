"""Average precision over a whole evaluation set, with row weights for the bootstrap.

Axes: V windows (rows), K labels, R resamples. Every metric of this package takes

- scores: (V, K) float, finite; higher is more likely, and only ranks matter to average precision;
- targets: (V, K) of 1 (present), 0 (known to be absent) and `UNKNOWN` (not annotated); every metric
  is over the rows where the label is known;
- weights: (R, V) float, how often each row counts in each resample; None counts every row once.

`known_cells` and `row_weights` check them and raise `ShapeError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msqnet.errors import ShapeError
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]

# Bounds the memory of one step over all resamples: 4 million float64 are 32 MB.
_NUM_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class KnownCells:
    """Scores and targets that were checked, as arrays of one shape.

    Attributes:
        scores: (V, K) float64, finite; higher is more likely.
        is_positive: (V, K) bool.
        is_known: (V, K) bool; False where the label was not annotated.
    """

    scores: FloatArray
    is_positive: BoolArray
    is_known: BoolArray

    @property
    def is_negative(self) -> BoolArray:
        """(V, K) bool, known to be absent."""
        return self.is_known & ~self.is_positive

    @property
    def is_scorable(self) -> BoolArray:
        """(K,) bool, whether both a positive and a negative are known."""
        return np.asarray(self.is_positive.any(axis=0) & self.is_negative.any(axis=0))

    def of_labels(self, is_chosen: BoolArray) -> KnownCells:
        """The columns that (K,) ``is_chosen`` marks."""
        return KnownCells(
            self.scores[:, is_chosen], self.is_positive[:, is_chosen], self.is_known[:, is_chosen]
        )

    def within(self, names: Sequence[str]) -> KnownCells:
        """Each label known only in rows of those names that show it at least once.

        A background that gives away the source of a video does not help within a source. ``names``
        are V sources, or actors; rows without a name are left out.
        """
        values = np.asarray(names)
        is_known = np.zeros_like(self.is_known)
        for name in np.unique(values[values != ""]):
            of_name = values == name
            shows = np.any(self.is_positive[of_name], axis=0)  # (K,)
            is_known |= of_name[:, None] & shows & self.is_known
        return KnownCells(self.scores, self.is_positive & is_known, is_known)

    def ranked(self, label_index: int) -> RankedCells:
        """The known cells of one label, ranked."""
        rows = np.flatnonzero(self.is_known[:, label_index])
        return RankedCells.sort(
            rows, self.scores[rows, label_index], self.is_positive[rows, label_index]
        )

    def ranked_together(self) -> RankedCells:
        """The known cells of all labels, ranked in one list."""
        rows, labels = np.nonzero(self.is_known)
        return RankedCells.sort(rows, self.scores[rows, labels], self.is_positive[rows, labels])


def known_cells(scores: ArrayLike, targets: ArrayLike) -> KnownCells:
    """Check scores and targets of one evaluation set; bool targets are taken as 1 and 0.

    A `ShapeError` without rows, for other shapes, a score that is not finite or another target.
    """
    score_values = np.asarray(scores, dtype=np.float64)
    target_values = np.asarray(targets)
    shape = score_values.shape
    if score_values.ndim != 2 or shape != target_values.shape or shape[0] == 0:
        raise ShapeError(
            f"scores {shape} and targets {target_values.shape}: "
            "expected one shape (V, K) for both with V at least 1"
        )
    if not bool(np.isfinite(score_values).all()):
        num_bad = int((~np.isfinite(score_values)).sum())
        raise ShapeError(f"scores: {num_bad} of {score_values.size} are NaN or infinite")
    is_positive = np.asarray(target_values == 1)
    is_known = np.asarray(target_values != UNKNOWN)
    if bool((is_known & ~is_positive & (target_values != 0)).any()):
        found = np.unique(target_values)[:8].tolist()
        raise ShapeError(f"targets: found {found}, expected 1, 0 and {UNKNOWN:g} (not annotated)")
    return KnownCells(score_values, is_positive, is_known)


def row_weights(weights: ArrayLike | None, num_rows: int) -> FloatArray:
    """Row weights as (R, V) float64; `ShapeError` for another shape, a negative or no number."""
    values = np.ones((1, num_rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    is_right = values.ndim == 2 and values.shape[1] == num_rows
    if not is_right or not bool((np.isfinite(values) & (values >= 0)).all()):
        raise ShapeError(
            f"weights: found shape {values.shape}, expected (R, {num_rows}) finite and >= 0"
        )
    return values


@dataclass(frozen=True)
class RankedCells:
    """Known cells in falling order of score: sorted once, then weighted as often as wanted.

    Equal scores are one step of the curve, so the order of rows never matters.

    Attributes:
        rows: (n,) int, the row of each cell, best score first.
        positives: (p,) int, positions in `rows` that are positive, rising.
        step_starts: (m,) int, the first of `positives` in each step that holds a positive.
        step_ends: (m,) int, position in `rows` of the last cell of that step.
    """

    rows: IndexArray
    positives: IndexArray
    step_starts: IndexArray
    step_ends: IndexArray

    @classmethod
    def sort(cls, rows: IndexArray, scores: FloatArray, is_positive: BoolArray) -> RankedCells:
        """Rank cells; all arguments are (n,)."""
        order = np.argsort(-scores, kind="stable")
        ranked_scores = scores[order]
        positives = np.flatnonzero(is_positive[order])
        last_of_step = np.append(np.flatnonzero(np.diff(ranked_scores)), len(scores) - 1)
        step_of_positive = np.searchsorted(last_of_step, positives)
        steps, step_starts = np.unique(step_of_positive, return_index=True)
        return cls(rows[order], positives, step_starts, last_of_step[steps])

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """(R,) float64 for weights (R, V); NaN where no positive or no negative has weight."""
        result = np.full(len(weights), np.nan)
        if len(self.positives) in (0, len(self.rows)):
            return result
        at_once = max(1, _NUM_CELLS_AT_ONCE // len(self.rows))
        for start in range(0, len(weights), at_once):
            part = slice(start, start + at_once)
            result[part] = self._average_precision(weights[part])
        return result

    def _average_precision(self, weights: FloatArray) -> FloatArray:
        cell_weights = weights.T[self.rows]  # (R, V) -> (n, R)
        found = np.add.reduceat(cell_weights[self.positives], self.step_starts, axis=0)  # (m, R)
        num_seen = np.cumsum(cell_weights, axis=0)  # (n, R)
        num_found = np.cumsum(found, axis=0)  # (m, R)
        num_seen_at_step = num_seen[self.step_ends]  # (m, R)
        precision = np.divide(
            num_found, num_seen_at_step, out=np.zeros_like(found), where=num_seen_at_step > 0
        )
        total, total_seen = num_found[-1], num_seen[-1]
        is_defined = (total > 0) & (total < total_seen)
        summed = (found * precision).sum(axis=0)
        return np.asarray(np.where(is_defined, summed / np.where(is_defined, total, 1.0), np.nan))


def average_precision(scores: ArrayLike, targets: ArrayLike) -> FloatArray:
    """Average precision of each label over a whole evaluation set, (K,) float64 in [0, 1].

    AP_k = sum_n (R_n - R_{n-1}) P_n over the distinct scores in falling order (scikit-learn's
    definition, ties included; not interpolated), over the rows where label k is known. NaN where no
    positive or no negative is known.
    """
    return label_average_precisions(known_cells(scores, targets)).ravel()  # (1, K) -> (K,)


def label_average_precisions(cells: KnownCells, weights: ArrayLike | None = None) -> FloatArray:
    """`average_precision` in each resample, (R, K); NaN where one class has no weight."""
    checked = row_weights(weights, len(cells.scores))
    num_labels = cells.scores.shape[1]
    columns = [cells.ranked(label).average_precision(checked) for label in range(num_labels)]
    return np.stack(columns, axis=1) if columns else np.empty((len(checked), 0))


def mean_over_labels(
    values: FloatArray, select: BoolArray, weights: FloatArray | float = 1.0
) -> FloatArray:
    """(R, K) to (R,): the mean over the selected (K,) labels whose value is not NaN, else NaN.

    With (R, K) ``weights``, such as the weights of its positives, a label counts as often.
    """
    counted = np.where(select & ~np.isnan(values), weights, 0.0)
    total = counted.sum(axis=1)
    summed = (np.nan_to_num(values) * counted).sum(axis=1)
    return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))


def macro_map(ap: ArrayLike) -> float:
    """Mean of (K,) average precisions that are not NaN, each label counting the same; else NaN.

    A caller that reports it says which labels were left out.
    """
    values = np.asarray(ap, dtype=np.float64)
    return float(mean_over_labels(values[None], np.ones(values.size, dtype=np.bool_))[0])


def micro_average_precision(scores: ArrayLike, targets: ArrayLike) -> float:
    """Average precision of all known cells of all labels in one ranking.

    It compares scores of different labels, and frequent labels dominate it: a scorer that ignores
    the video and answers with label frequencies can score high. NaN where no positive or no
    negative is known.
    """
    cells = known_cells(scores, targets)
    return float(cells.ranked_together().average_precision(np.ones((1, len(cells.scores))))[0])


def reference_micro_ap(scores: ArrayLike, targets: ArrayLike, batch_size: int) -> float:
    """Micro AP of every batch, averaged over batches weighted by their size.

    The paper's released code reports this as "mAP". It depends on the order of the rows and on the
    batch size, and is no macro mAP: never show it beside one without its name. Batches in which no
    positive or no negative is known have no micro AP and are left out. The last batch may be
    smaller; `ShapeError` for a batch size below 1.
    """
    if batch_size < 1:
        raise ShapeError(f"batch_size: found {batch_size}, expected at least 1")
    score_values, target_values = np.asarray(scores), np.asarray(targets)
    known_cells(score_values, target_values)
    total = num_counted = 0.0
    for start in range(0, len(score_values), batch_size):
        scores_of_batch = score_values[start : start + batch_size]
        value = micro_average_precision(scores_of_batch, target_values[start : start + batch_size])
        if not np.isnan(value):
            total += value * len(scores_of_batch)
            num_counted += len(scores_of_batch)
    return total / num_counted if num_counted else float("nan")


def charades_classify_map(scores: ArrayLike, targets: ArrayLike) -> float:
    """Macro mAP as `Charades_v1_classify.m` computes it; a row per video, scores in [0, 1].

    That script loses the names of videos without an action and so ranks them below all others. An
    unknown label counts as 0, as the script knows no such thing.
    """
    positive = np.asarray(targets) == 1
    lowered = np.where(positive.any(axis=1, keepdims=True), scores, -1.0)
    return macro_map(average_precision(lowered, positive))


def charades_localize_map(scores: ArrayLike, targets: ArrayLike) -> float:
    """Per-frame mAP as `Charades_v1_localize.m` computes it; a row per point.

    Points of videos without an action count as negatives like any other; so do unknown labels.
    """
    return macro_map(average_precision(scores, np.asarray(targets) == 1))


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall at every distinct score, highest score first.

    Attributes:
        thresholds: (n,) float64, falling; a row counts as positive from this score on.
        precision: (n,) float64 in [0, 1].
        recall: (n,) float64 in [0, 1], rising to 1.
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray

    @property
    def f1(self) -> FloatArray:
        """(n,) float64, the harmonic mean of precision and recall."""
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        return np.divide(product, total, out=np.zeros_like(total), where=total > 0)


def precision_recall_curve(scores: ArrayLike, targets: ArrayLike) -> PrecisionRecallCurve:
    """Precision and recall of one label from (V,) scores and targets.

    `ShapeError` as `known_cells`, or if no positive is known, without which recall has no meaning.
    """
    cells = known_cells(np.atleast_2d(scores).T, np.atleast_2d(targets).T)
    rows = np.flatnonzero(cells.is_known[:, 0])
    is_positive = cells.is_positive[rows, 0]
    if not is_positive.any():
        raise ShapeError(f"targets: no known positive in {len(rows)} known rows; recall needs one")
    order = np.argsort(-cells.scores[rows, 0], kind="stable")
    ranked = cells.scores[rows, 0][order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(rows) - 1)
    num_found = np.cumsum(is_positive[order])[ends].astype(np.float64)
    return PrecisionRecallCurve(ranked[ends], num_found / (ends + 1), num_found / num_found[-1])
