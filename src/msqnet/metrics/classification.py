"""Decisions at a threshold: F1, accuracies. Every figure is over known cells only.

A label counts as predicted from its threshold on (score >= threshold). Axes: V windows, K labels,
R resamples.
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
    known_cells,
    label_mask,
    mean_over_labels,
    row_weights,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def label_thresholds(thresholds: ArrayLike, num_labels: int) -> FloatArray:
    """Thresholds as (K,) float64; a single number holds for all labels.

    Raises:
        ShapeError: neither one number nor (K,), or a threshold is NaN.
    """
    values = np.asarray(thresholds, dtype=np.float64)
    if values.shape not in ((), (num_labels,)) or bool(np.isnan(values).any()):
        raise ShapeError(
            f"thresholds: found shape {values.shape}, "
            f"expected one number or ({num_labels},), none NaN"
        )
    return np.broadcast_to(values, (num_labels,))


def _mean_or_nan(values: BoolArray) -> float:
    return float(values.mean()) if values.size else float("nan")


@dataclass(frozen=True)
class ConfusionCounts:
    """Weighted counts of each label in each resample; all arrays are (R, K) float64."""

    true_positives: FloatArray
    false_positives: FloatArray
    false_negatives: FloatArray

    def f1_per_label(self) -> FloatArray:
        """(R, K), 2 TP / (2 TP + FP + FN); NaN where no positive has weight."""
        return _f1(self.true_positives, self.false_positives, self.false_negatives)

    def f1_micro(self, select: BoolArray) -> FloatArray:
        """(R,), F1 of the counts summed over the selected labels."""
        return _f1(
            self.true_positives[:, select].sum(axis=1),
            self.false_positives[:, select].sum(axis=1),
            self.false_negatives[:, select].sum(axis=1),
        )


def _f1(true_pos: FloatArray, false_pos: FloatArray, false_neg: FloatArray) -> FloatArray:
    total = 2 * true_pos + false_pos + false_neg
    has_positives = true_pos + false_neg > 0
    return np.divide(2 * true_pos, total, out=np.full_like(total, np.nan), where=has_positives)


def confusion_counts(
    cells: KnownCells, thresholds: ArrayLike, weights: ArrayLike
) -> ConfusionCounts:
    """Count hits, false alarms and misses of every label.

    Args:
        cells: the evaluation set.
        thresholds: one number or (K,).
        weights: (R, V) float, how often each row counts.
    """
    checked = row_weights(weights, len(cells.scores))
    is_predicted = cells.scores >= label_thresholds(thresholds, cells.scores.shape[1])
    kinds = (
        cells.is_positive & is_predicted,
        cells.is_negative & is_predicted,
        cells.is_positive & ~is_predicted,
    )
    return ConfusionCounts(*(checked @ kind.astype(np.float64) for kind in kinds))


@dataclass(frozen=True)
class F1Scores:
    """F1 at given thresholds.

    Attributes:
        per_label: (K,) float64; NaN where no positive is known.
        macro: mean over the selected labels that have an F1.
        micro: F1 of the counts summed over the selected labels.
    """

    per_label: FloatArray
    macro: float
    micro: float


def f1_scores(
    scores: ArrayLike,
    targets: ArrayLike,
    thresholds: ArrayLike = 0.5,
    select: ArrayLike | None = None,
) -> F1Scores:
    """F1 of each label, and over labels.

    F1 = 2 TP / (2 TP + FP + FN). Unlike scikit-learn's, a label without a known positive is NaN
    and left out of the macro mean instead of entering it as 0.

    Args:
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: one number or (K,).
        select: (K,) bool, the labels in macro and micro; by default all.

    Raises:
        ShapeError: arrays that do not fit together; see `known_cells`.
    """
    cells = known_cells(scores, targets)
    mask = label_mask(select, cells.scores.shape[1])
    counts = confusion_counts(cells, thresholds, np.ones((1, len(cells.scores))))
    per_label = counts.f1_per_label()  # (1, K)
    macro = float(mean_over_labels(per_label, mask)[0])
    return F1Scores(per_label[0], macro, float(counts.f1_micro(mask)[0]))


def _correct_cells(cells: KnownCells, thresholds: ArrayLike) -> BoolArray:
    is_predicted = cells.scores >= label_thresholds(thresholds, cells.scores.shape[1])
    return np.asarray(is_predicted == cells.is_positive)


@dataclass(frozen=True)
class SubsetAccuracy:
    """Share of rows whose labels are all right.

    Attributes:
        complete: over rows in which every label is known; NaN where there is none.
        num_complete: number of those rows.
        known: over rows with at least one known label, of which only the known ones are looked at.
        num_known: number of those rows.
    """

    complete: float
    num_complete: int
    known: float
    num_known: int


def subset_accuracy(
    scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike = 0.5
) -> SubsetAccuracy:
    """Share of rows in which every label is decided rightly.

    Args:
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: one number or (K,).

    Raises:
        ShapeError: arrays that do not fit together; see `known_cells`.
    """
    cells = known_cells(scores, targets)
    is_right = np.all(_correct_cells(cells, thresholds) | ~cells.is_known, axis=1)
    is_complete, has_known = np.all(cells.is_known, axis=1), np.any(cells.is_known, axis=1)
    return SubsetAccuracy(
        complete=_mean_or_nan(is_right[is_complete]),
        num_complete=int(is_complete.sum()),
        known=_mean_or_nan(is_right[has_known]),
        num_known=int(has_known.sum()),
    )


@dataclass(frozen=True)
class LabelAccuracy:
    """Share of single decisions that are right, beside what saying "no" to everything gets.

    Attributes:
        accuracy: (TP + TN) / number of known cells.
        all_negative: the same for an answer in which no label is ever present.
        num_cells: number of known cells.
    """

    accuracy: float
    all_negative: float
    num_cells: int


def label_accuracy(
    scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike = 0.5
) -> LabelAccuracy:
    """Share of label decisions that are right: (TP + TN) / (V K), over known cells.

    The "multilabel accuracy" of the Hockey data set (at 0.5). Rare labels make it meaningless by
    itself, so the all-negative answer comes with it.

    Args:
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: one number or (K,).

    Raises:
        ShapeError: arrays that do not fit together; see `known_cells`.
    """
    cells = known_cells(scores, targets)
    return LabelAccuracy(
        accuracy=_mean_or_nan(_correct_cells(cells, thresholds)[cells.is_known]),
        all_negative=_mean_or_nan(~cells.is_positive[cells.is_known]),
        num_cells=int(cells.is_known.sum()),
    )


def top_k_hits(cells: KnownCells, num_guesses: int) -> tuple[BoolArray, BoolArray]:
    """Rows whose label is among the best guesses, and rows that count.

    Args:
        cells: the evaluation set.
        num_guesses: how many labels may be named.

    Returns:
        Two (V,) bool arrays. A row counts if it has exactly one positive and a known negative. Its
        label competes with the labels known for the row; of equal scores it is taken as the last,
        so that constant scores earn nothing.
    """
    counts = (cells.is_positive.sum(axis=1) == 1) & cells.is_negative.any(axis=1)
    own = np.where(cells.is_positive, cells.scores, -np.inf).max(axis=1, initial=-np.inf)
    num_ahead = (cells.is_negative & (cells.scores >= own[:, None])).sum(axis=1)
    return np.asarray(counts & (num_ahead < num_guesses)), counts


def top_k_accuracy(scores: ArrayLike, targets: ArrayLike, num_guesses: int) -> float:
    """Share of single-label rows whose label is among the best guesses; see `top_k_hits`.

    Args:
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        num_guesses: how many labels may be named.

    Returns:
        NaN where no row has exactly one positive and a known negative.

    Raises:
        ShapeError: `num_guesses` is not at least 1, or see `known_cells`.
    """
    if num_guesses < 1:
        raise ShapeError(f"num_guesses: found {num_guesses}, expected at least 1")
    is_hit, counts = top_k_hits(known_cells(scores, targets), num_guesses)
    return _mean_or_nan(is_hit[counts])
