"""Decisions at a threshold: F1, accuracies. Every metric is over known cells only.

A label counts as predicted from its threshold on (score >= threshold); thresholds are one number or
(K,). Axes and the other arguments are those of `average_precision`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    BoolArray,
    FloatArray,
    KnownCells,
    average_precision,
    known_cells,
    macro_map,
    row_weights,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def label_thresholds(thresholds: ArrayLike, num_labels: int) -> FloatArray:
    """Thresholds as (K,) float64; `ShapeError` for another shape or NaN."""
    values = np.asarray(thresholds, dtype=np.float64)
    if values.shape not in ((), (num_labels,)) or bool(np.isnan(values).any()):
        raise ShapeError(
            f"thresholds: found shape {values.shape}, "
            f"expected one number or ({num_labels},), none NaN"
        )
    return np.broadcast_to(values, (num_labels,))


@dataclass(frozen=True)
class ConfusionCounts:
    """Weighted counts of each label in each resample; all arrays are (R, K) float64."""

    true_positives: FloatArray
    false_positives: FloatArray
    false_negatives: FloatArray

    def f1_per_label(self) -> FloatArray:
        """(R, K), 2 TP / (2 TP + FP + FN); NaN, not 0, for a label without a positive."""
        twice, has_positives = (
            2 * self.true_positives,
            self.true_positives + self.false_negatives > 0,
        )
        total = twice + self.false_positives + self.false_negatives
        return np.divide(twice, total, out=np.full_like(total, np.nan), where=has_positives)

    def f1_micro(self, select: BoolArray) -> FloatArray:
        """(R,), F1 of the counts summed over the selected labels."""
        counts = (self.true_positives, self.false_positives, self.false_negatives)
        summed = (count[:, select].sum(axis=1, keepdims=True) for count in counts)  # (R, 1)
        return ConfusionCounts(*summed).f1_per_label()[:, 0]


def confusion_counts(
    cells: KnownCells, thresholds: ArrayLike = 0.5, weights: ArrayLike | None = None
) -> ConfusionCounts:
    """Count hits, false alarms and misses of every label in every resample."""
    checked = row_weights(weights, len(cells.scores))
    is_predicted = cells.scores >= label_thresholds(thresholds, cells.scores.shape[1])
    kinds = (
        cells.is_positive & is_predicted,
        cells.is_negative & is_predicted,
        cells.is_positive & ~is_predicted,
    )
    return ConfusionCounts(*(checked @ kind.astype(np.float64) for kind in kinds))


def _share(weights: FloatArray, is_hit: BoolArray, counts: BoolArray) -> FloatArray:
    """(R,) weighted share of hits among the rows that count; NaN where none does."""
    total = weights @ counts.astype(np.float64)
    hits = weights @ (is_hit & counts).astype(np.float64)
    return np.asarray(np.where(total > 0, hits / np.where(total > 0, total, 1.0), np.nan))


def subset_accuracy(
    cells: KnownCells, thresholds: ArrayLike = 0.5, weights: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """Share of rows in which every label is decided correctly, as two (R,) float64 arrays.

    The first is over rows in which every label is known, the second over rows with at least one
    known label, of which only the known ones count. NaN where there is no such row.
    """
    checked = row_weights(weights, len(cells.scores))
    limits = label_thresholds(thresholds, cells.scores.shape[1])
    is_right = np.all(((cells.scores >= limits) == cells.is_positive) | ~cells.is_known, axis=1)
    is_complete, has_known = np.all(cells.is_known, axis=1), np.any(cells.is_known, axis=1)
    return _share(checked, is_right, is_complete), _share(checked, is_right, has_known)


def label_accuracy(cells: KnownCells, thresholds: ArrayLike = 0.5) -> tuple[float, float]:
    """Share of label decisions that are correct: (TP + TN) / (V K), over known cells.

    The "multilabel accuracy" of the Hockey data set (at 0.5). Rare labels make it meaningless by
    itself, so that of an answer in which no label is ever present comes second. NaN where nothing
    is known.
    """
    if not cells.is_known.any():
        return math.nan, math.nan
    limits = label_thresholds(thresholds, cells.scores.shape[1])
    is_right = (cells.scores >= limits) == cells.is_positive
    known = cells.is_known
    return float(is_right[known].mean()), float((~cells.is_positive[known]).mean())


def top_k_accuracy(
    cells: KnownCells, num_guesses: int, weights: ArrayLike | None = None
) -> FloatArray:
    """Share of single-label rows whose label is among the best guesses, (R,) float64.

    A row counts if it has exactly one positive and a known negative. Its label competes with the
    labels known for the row; of equal scores it is taken as the last, so that constant scores earn
    nothing. NaN where no row counts. Less than one guess is a `ShapeError`.
    """
    if num_guesses < 1:
        raise ShapeError(f"num_guesses: found {num_guesses}, expected at least 1")
    counts = (cells.is_positive.sum(axis=1) == 1) & cells.is_negative.any(axis=1)
    own = np.where(cells.is_positive, cells.scores, -np.inf).max(axis=1, initial=-np.inf)
    num_ahead = (cells.is_negative & (cells.scores >= own[:, None])).sum(axis=1)
    return _share(row_weights(weights, len(counts)), num_ahead < num_guesses, counts)


def hit_at_1(scores: ArrayLike, targets: ArrayLike) -> float:
    """Share of rows with a label whose highest score is that of one of their labels.

    Only known labels compete. Of equal scores a negative one is taken, so that constant scores earn
    nothing. NaN where no row has both a positive and a known negative.
    """
    cells = known_cells(scores, targets)
    counts = cells.is_positive.any(axis=1) & cells.is_negative.any(axis=1)
    if not counts.any():
        return math.nan
    own, other = (
        np.where(chosen, cells.scores, -np.inf).max(axis=1)
        for chosen in (cells.is_positive, cells.is_negative)
    )
    return float((own > other)[counts].mean())


def zero_shot_metrics(
    scores: FloatArray,
    targets: FloatArray,
    seen: Sequence[int],
    unseen: Sequence[int],
    *,
    single_label: bool,
) -> dict[str, float]:
    """Zero-shot and generalised metrics of one split of the labels.

    ``seen`` and ``unseen`` are columns of labels. Single-label sets: top-1 accuracy; ``unseen``
    among the unseen labels over rows that show one, ``generalised_*`` among all labels. Multi-label
    sets: macro mAP over all rows. There the score of a label does not depend on the labels asked
    for beside it, so ``generalised_unseen`` is ``unseen``; the harmonic mean with the seen labels
    is what the generalised setting adds.

    Returns:
        ``unseen``, ``chance_unseen``, ``generalised_seen``, ``generalised_unseen``, ``harmonic``
        (their harmonic mean, Xian et al. 2017, arXiv:1707.00600); NaN where a side has nothing to
        score. Chance is an answer that ignores the video: one of the unseen labels at random, or a
        constant score (its AP is the share of positives).
    """

    def top_1(shown: Sequence[int], candidates: Sequence[int]) -> float:
        rows = (targets[:, shown] == 1).any(axis=1)
        if not rows.any():
            return math.nan
        best = np.asarray(candidates)[scores[np.ix_(rows, candidates)].argmax(axis=1)]
        return float((targets[rows, best] == 1).mean())

    if single_label:
        everything = [*seen, *unseen]
        of_unseen, chance = top_1(unseen, unseen), 1 / len(unseen)
        first, second = top_1(seen, everything), top_1(unseen, everything)
    else:
        ap = average_precision(scores, targets)
        of_unseen = macro_map(ap[unseen])
        chance = macro_map(average_precision(np.zeros_like(scores), targets)[unseen])
        first, second = macro_map(ap[seen]), of_unseen
    total = first + second
    return {
        "unseen": of_unseen,
        "chance_unseen": chance,
        "generalised_seen": first,
        "generalised_unseen": second,
        "harmonic": 2 * first * second / total if total > 0 else math.nan,
    }
