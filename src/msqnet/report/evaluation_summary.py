"""Arrays for the pages about an evaluation, from scores and targets; nothing here is drawn.

Axes: V rows, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.records import UNKNOWN
from msqnet.metrics.average_precision import precision_recall_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msqnet.evaluation.score_tables import ScoreTables
    from msqnet.metrics.average_precision import BoolArray, FloatArray

_SMALLEST_SCORE = 1e-7
"""Keeps the loss of a score of exactly 0 or 1 finite; a float32 near 1 cannot come nearer."""


@dataclass(frozen=True)
class LabelCurve:
    """Precision against recall of one label.

    Attributes:
        label: its name.
        recall: (n,) rising to 1.
        precision: (n,), at every distinct score.
        chance: share of positives among known rows: the precision of guessing.
        num_positives: known positive rows.
        threshold: the stored threshold.
        at_threshold: recall and precision of the decisions there; None where no row reaches it.
    """

    label: str
    recall: FloatArray
    precision: FloatArray
    chance: float
    num_positives: int
    threshold: float
    at_threshold: tuple[float, float] | None


def label_curves(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> tuple[LabelCurve, ...]:
    """Curves of the labels of which both a positive and a negative are known.

    Args:
        labels: K names.
        scores: (V, K).
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: (K,).
    """
    curves = []
    for k, label in enumerate(labels):
        is_known = targets[:, k] != UNKNOWN
        is_positive = targets[is_known, k] == 1
        num = int(is_positive.sum())
        if not 0 < num < len(is_positive):
            continue
        curve = precision_recall_curve(scores[:, k], targets[:, k])
        is_said = scores[is_known, k] >= thresholds[k]
        hits, said = int((is_said & is_positive).sum()), int(is_said.sum())
        curves.append(
            LabelCurve(
                label=label,
                recall=curve.recall,
                precision=curve.precision,
                chance=num / len(is_positive),
                num_positives=num,
                threshold=float(thresholds[k]),
                at_threshold=(hits / num, hits / said) if said else None,
            )
        )
    return tuple(curves)


@dataclass(frozen=True)
class Cooccurrence:
    """What is said of every label where another one is true.

    Of the rows in which label i is seen and label j is known, `said[i, j]` is the share in which j
    is predicted (its score reaches its threshold) and `true[i, j]` the share in which j is seen.
    Where j is said much more often than it is seen, the model takes i for j; on the diagonal,
    `true` is 1 and `said` is the recall.

    Attributes:
        labels: the K labels.
        num_rows: (K, K) rows in which i is seen and j is known.
        said: (K, K) in [0, 1]; NaN where there is no such row.
        true: (K, K) in [0, 1]; NaN where there is no such row.
    """

    labels: tuple[str, ...]
    num_rows: NDArray[np.intp]
    said: FloatArray
    true: FloatArray

    def largest_differences(self, count: int, min_rows: int) -> list[tuple[int, int]]:
        """Pairs (i, j), i not j, whose `said` and `true` differ, the largest difference first.

        Args:
            count: how many at most.
            min_rows: pairs with fewer rows are left out.
        """
        difference = np.abs(self.said - self.true)
        counts = (self.num_rows >= min_rows) & ~np.eye(len(self.labels), dtype=np.bool_)
        difference = np.where(counts & (difference > 0), difference, -1.0)
        order = np.argsort(-difference, axis=None, kind="stable")[:count]
        pairs = [divmod(int(place), len(self.labels)) for place in order]
        return [pair for pair in pairs if difference[pair] > 0]


def cooccurrence(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> Cooccurrence:
    """Compare what is said with what is true, given each true label.

    Args:
        labels: K names.
        scores: (V, K).
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: (K,).
    """
    is_seen = (targets == 1).astype(np.float64)  # (V, K)
    is_known = (targets != UNKNOWN).astype(np.float64)
    is_said = (scores >= thresholds).astype(np.float64)
    num_rows = is_seen.T @ is_known  # (K, K)
    divisor = np.where(num_rows > 0, num_rows, np.nan)
    return Cooccurrence(
        labels=tuple(labels),
        num_rows=num_rows.astype(np.intp),
        said=(is_seen.T @ (is_said * is_known)) / divisor,
        true=(is_seen.T @ is_seen) / divisor,
    )


@dataclass(frozen=True)
class WorstClip:
    """The row of a clip that a model gets most wrong.

    Attributes:
        position: of the row among the V rows.
        loss: cross-entropy of its worst label, in nats.
        label: that label.
        is_seen: whether the label is seen there; else it is known to be absent.
        score: what the model gives it.
        expected: labels that are seen.
        said: labels that the model predicts, with their scores, highest first.
        unknown_said: those of `said` that were not annotated: they may be right.
    """

    position: int
    loss: float
    label: str
    is_seen: bool
    score: float
    expected: tuple[str, ...]
    said: tuple[tuple[str, float], ...]
    unknown_said: frozenset[str]


def worst_clips(
    tables: ScoreTables,
    targets: FloatArray,
    thresholds: FloatArray,
    is_trained: BoolArray,
    count: int,
) -> tuple[WorstClip, ...]:
    """The clips with the largest loss, one row of each, the worst first.

    loss(v) = max_k -log(s_vk) if k is seen in v, -log(1 - s_vk) if k is known to be absent; over
    known labels that the model was trained on.

    Args:
        tables: scores and who the rows are.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: (K,).
        is_trained: (K,) labels that count.
        count: how many clips at most.
    """
    scores = np.clip(tables.scores, _SMALLEST_SCORE, 1 - _SMALLEST_SCORE)
    losses = -np.log(np.where(targets == 1, scores, 1 - scores))
    losses = np.where((targets != UNKNOWN) & is_trained, losses, -1.0)  # (V, K)
    found: dict[str, WorstClip] = {}
    for position in np.argsort(-losses.max(axis=1), kind="stable").tolist():
        if len(found) == count or losses[position].max() < 0:
            break
        path = tables.path[position]
        if path not in found:
            found[path] = _worst_label(tables, targets, thresholds, losses, position)
    return tuple(found.values())


def _worst_label(
    tables: ScoreTables,
    targets: FloatArray,
    thresholds: FloatArray,
    losses: FloatArray,
    position: int,
) -> WorstClip:
    scores, known = tables.scores[position], targets[position]
    worst = int(losses[position].argmax())
    order = np.argsort(-scores, kind="stable")
    said = [int(k) for k in order if scores[k] >= thresholds[k]]
    return WorstClip(
        position=position,
        loss=float(losses[position, worst]),
        label=tables.labels[worst],
        is_seen=bool(known[worst] == 1),
        score=float(scores[worst]),
        expected=tuple(tables.labels[k] for k in np.flatnonzero(known == 1)),
        said=tuple((tables.labels[k], float(scores[k])) for k in said),
        unknown_said=frozenset(tables.labels[k] for k in said if known[k] == UNKNOWN),
    )
