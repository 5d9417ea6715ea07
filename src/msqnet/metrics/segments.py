"""Figures of segments: mAP over temporal overlaps, segmental F1.

Axes: K labels. What was not annotated is masked, see `without_masked`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.metrics.average_precision import BoolArray, FloatArray, RankedCells, macro_map
from msqnet.metrics.timed_labels import (
    OVERLAP_TOLERANCE,
    Place,
    TimedLabel,
    by_place,
    num_by_label,
    without_masked,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEGMENT_MAP_OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SEGMENTAL_F1_OVERLAPS = (0.1, 0.25, 0.5)


def _match_by_score(
    predictions: Sequence[TimedLabel], truths: dict[Place, list[TimedLabel]], min_overlap: float
) -> BoolArray:
    """Whether each prediction finds a truth of its own, the best first; (n,) bool."""
    taken: set[tuple[Place, int]] = set()
    is_hit = np.zeros(len(predictions), dtype=np.bool_)
    for position, prediction in enumerate(predictions):
        place = (prediction.video, prediction.label_index)
        free = [
            (prediction.overlap_share(truth), -index)
            for index, truth in enumerate(truths.get(place, ()))
            if (place, index) not in taken
        ]
        overlap, negative_index = max(free, default=(0.0, 0))
        if overlap > 0 and overlap >= min_overlap - OVERLAP_TOLERANCE:
            taken.add((place, -negative_index))
            is_hit[position] = True
    return is_hit


def segment_average_precision(
    predictions: Iterable[TimedLabel],
    truths: Iterable[TimedLabel],
    unknown: Iterable[TimedLabel] = (),
    *,
    num_labels: int,
    min_overlap: float,
) -> FloatArray:
    """Average precision of predicted segments, per label.

    Predictions are taken by falling score; each takes the free truth of its video and label that it
    overlaps most, if their intersection over union is at least `min_overlap`. Each truth is taken
    once; a prediction without a truth is a false alarm. AP_k = sum over hits of the precision
    there, divided by the number of truths (not interpolated; equal scores are one step).

    Args:
        predictions: predicted segments of the evaluated videos only.
        truths: true segments.
        unknown: spans in which a label was not annotated; a prediction that lies more than half in
            them is left out.
        num_labels: K.
        min_overlap: smallest intersection over union of a hit.

    Returns:
        (K,) float64 in [0, 1]; NaN where a label has no true segment.

    Raises:
        ShapeError: a label index outside 0 to K - 1.
    """
    truths = list(truths)
    num_truths = num_by_label(truths, num_labels)
    kept = sorted(
        without_masked(predictions, unknown),
        key=lambda item: (-item.score, item.video, item.start_seconds, item.end_seconds),
    )
    num_by_label(kept, num_labels)
    is_hit = _match_by_score(kept, by_place(truths), min_overlap)
    labels = np.array([item.label_index for item in kept], dtype=np.intp)
    scores = np.array([item.score for item in kept], dtype=np.float64)
    result = np.full(num_labels, np.nan)
    for label in np.flatnonzero(num_truths):
        own = labels == label
        result[label] = _summed_precision(scores[own], is_hit[own]) / num_truths[label]
    return result


def _summed_precision(scores: FloatArray, is_hit: BoolArray) -> float:
    """Sum over hits of the precision at their score."""
    if not is_hit.any():
        return 0.0
    if is_hit.all():
        return float(is_hit.sum())
    ranked = RankedCells.sort(np.arange(len(scores)), scores, is_hit)
    return float(ranked.average_precision(np.ones((1, len(scores))))[0] * is_hit.sum())


@dataclass(frozen=True)
class SegmentalF1:
    """F1 of segments at one overlap.

    Attributes:
        per_label: (K,) float64; NaN where a label has no true segment.
        macro: mean over labels that have an F1.
        micro: F1 of the counts summed over all labels; NaN without any true segment.
    """

    per_label: FloatArray
    macro: float
    micro: float


def segmental_f1(
    predictions: Iterable[TimedLabel],
    truths: Iterable[TimedLabel],
    unknown: Iterable[TimedLabel] = (),
    *,
    num_labels: int,
    min_overlap: float,
) -> SegmentalF1:
    """Segmental F1 (Lea et al. 2017, "Temporal Convolutional Networks", section 4), per label.

    A prediction belongs to the truth of its video and label that it overlaps most. A truth is hit
    if one of its predictions has an intersection over union of at least `min_overlap`; any further
    prediction is a false alarm, and so splitting one action into pieces costs. Scores play no part.

    Args:
        predictions: predicted segments of the evaluated videos only.
        truths: true segments.
        unknown: spans in which a label was not annotated, see `segment_average_precision`.
        num_labels: K.
        min_overlap: 0.1, 0.25 and 0.5 give F1@10, F1@25 and F1@50.

    Raises:
        ShapeError: a label index outside 0 to K - 1.
    """
    truths, kept = list(truths), without_masked(predictions, unknown)
    num_truths, num_kept = num_by_label(truths, num_labels), num_by_label(kept, num_labels)
    truths_at = by_place(truths)
    hits: set[tuple[Place, int]] = set()
    for prediction in kept:
        place = (prediction.video, prediction.label_index)
        overlap, negative_index = max(
            (
                (prediction.overlap_share(truth), -index)
                for index, truth in enumerate(truths_at.get(place, ()))
            ),
            default=(0.0, 0),
        )
        if overlap > 0 and overlap >= min_overlap - OVERLAP_TOLERANCE:
            hits.add((place, -negative_index))
    num_hits = np.zeros(num_labels)
    for (_, label), _ in hits:
        num_hits[label] += 1
    total = num_truths + num_kept
    per_label = np.divide(
        2 * num_hits, total, out=np.full(num_labels, np.nan), where=num_truths > 0
    )
    micro = float(2 * num_hits.sum() / total.sum()) if truths else float("nan")
    return SegmentalF1(per_label, macro_map(per_label), micro)


@dataclass(frozen=True)
class SegmentMetrics:
    """Segment figures of a set of videos.

    Attributes:
        map_at: macro mAP over labels that have a true segment, by intersection over union.
        mean_map: mean over these overlaps.
        f1_at: micro segmental F1, by intersection over union in percent.
        num_truths: true segments.
        num_predictions: predicted segments that count.
        num_masked: predicted segments left out, as they lie mostly where nothing was annotated.
        num_labels_scored: labels that have a true segment.
    """

    map_at: dict[str, float]
    mean_map: float
    f1_at: dict[str, float]
    num_truths: int
    num_predictions: int
    num_masked: int
    num_labels_scored: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; NaN where there is no true segment at all."""
        return asdict(self)


def segment_metrics(
    predictions: Iterable[TimedLabel],
    truths: Iterable[TimedLabel],
    unknown: Iterable[TimedLabel] = (),
    *,
    num_labels: int,
) -> SegmentMetrics:
    """Segment mAP at overlaps 0.1 to 0.7 and segmental F1@10/25/50.

    Args:
        predictions: predicted segments of the evaluated videos only.
        truths: true segments.
        unknown: spans in which a label was not annotated.
        num_labels: K.

    Raises:
        ShapeError: a label index outside 0 to K - 1.
    """
    predictions, truths = list(predictions), list(truths)
    kept = without_masked(predictions, unknown)
    map_at = {
        f"{overlap:.1f}": macro_map(
            segment_average_precision(kept, truths, num_labels=num_labels, min_overlap=overlap)
        )
        for overlap in SEGMENT_MAP_OVERLAPS
    }
    f1_at = {
        f"{100 * overlap:.0f}": segmental_f1(
            kept, truths, num_labels=num_labels, min_overlap=overlap
        ).micro
        for overlap in SEGMENTAL_F1_OVERLAPS
    }
    return SegmentMetrics(
        map_at=map_at,
        mean_map=float(np.mean(list(map_at.values()))),
        f1_at=f1_at,
        num_truths=len(truths),
        num_predictions=len(kept),
        num_masked=len(predictions) - len(kept),
        num_labels_scored=len({truth.label_index for truth in truths}),
    )
