"""Metrics of labels in time: by the second, and by segments.

Intervals are [start_seconds, end_seconds). Axes: S seconds, K labels. Predictions are predicted
segments of the evaluated videos only, ``truths`` true segments, ``unknown`` spans in which a label
was not annotated. Time without annotation does not count: seconds there have the target `UNKNOWN`,
and predictions that lie more than half in it are left out. A label index outside 0 to K - 1 is a
`ShapeError`. Overlap is temporal intersection over union.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ShapeError
from msqnet.intervals import covered_seconds
from msqnet.labels import UNKNOWN
from msqnet.metrics.average_precision import (
    FloatArray,
    RankedCells,
    known_cells,
    label_average_precisions,
    macro_map,
    mean_over_labels,
)
from msqnet.metrics.classification import confusion_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from msqnet.intervals import Interval

SEGMENT_MAP_OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SEGMENTAL_F1_OVERLAPS = (0.1, 0.25, 0.5)
# More than this share of a second or a prediction without annotation: it does not count.
_MASKED_SHARE = 0.5
# Overlaps are quotients of differences of times: one that misses its bound by this meets it.
_OVERLAP_TOLERANCE = 1e-9
_SAME_TIME_SECONDS = 1e-6


@dataclass(frozen=True)
class TimedLabel:
    """One label over one interval of one video: predicted, true, or not annotated.

    ``label_index`` is the column of the label; ``score`` says how sure a prediction is. One that
    ends before or where it starts, or a number that is not finite, is a `ShapeError`.
    """

    video: str
    label_index: int
    start_seconds: float
    end_seconds: float
    score: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.start_seconds, self.end_seconds, self.score)
        if not (np.isfinite(numbers).all() and self.start_seconds < self.end_seconds):
            raise ShapeError(f"{self}: expected finite numbers and start_seconds < end_seconds")

    @property
    def duration_seconds(self) -> float:
        """Length."""
        return self.end_seconds - self.start_seconds

    @property
    def interval(self) -> Interval:
        """Start and end."""
        return self.start_seconds, self.end_seconds

    @property
    def place(self) -> tuple[str, int]:
        """Video and label: segments are matched only within one."""
        return self.video, self.label_index

    def overlap_share(self, other: TimedLabel) -> float:
        """Temporal intersection over union, 0 to 1."""
        start = max(self.start_seconds, other.start_seconds)
        common = max(0.0, min(self.end_seconds, other.end_seconds) - start)
        return common / (self.duration_seconds + other.duration_seconds - common)


def by_place(items: Iterable[TimedLabel]) -> dict[tuple[str, int], list[TimedLabel]]:
    """Intervals by video and label, each list sorted by start."""
    grouped: dict[tuple[str, int], list[TimedLabel]] = defaultdict(list)
    for item in items:
        grouped[item.place].append(item)
    for group in grouped.values():
        group.sort(key=lambda item: (item.start_seconds, item.end_seconds))
    return dict(grouped)


def without_masked(
    predictions: Iterable[TimedLabel], unknown: Iterable[TimedLabel]
) -> list[TimedLabel]:
    """Predictions of which at most half lies where their label was not annotated."""
    spans = by_place(unknown)
    return [
        item
        for item in predictions
        if covered_seconds((span.interval for span in spans.get(item.place, ())), item.interval)
        <= _MASKED_SHARE * item.duration_seconds
    ]


def num_by_label(items: Iterable[TimedLabel], num_labels: int) -> FloatArray:
    """(K,) float64, intervals of each label."""
    indices = [item.label_index for item in items]
    if indices and not 0 <= min(indices) <= max(indices) < num_labels:
        raise ShapeError(
            f"label_index: found {min(indices)} to {max(indices)}, expected 0 to {num_labels - 1}"
        )
    return np.bincount(np.asarray(indices, dtype=np.intp), minlength=num_labels).astype(np.float64)


def per_second_scores(edges_seconds: ArrayLike, scores: ArrayLike, num_seconds: int) -> FloatArray:
    """Scores of whole seconds from a timeline: its mean over [s, s + 1), by length of the steps.

    Args:
        edges_seconds: (N + 1,) the bounds of the timeline's steps; a `ShapeError` unless they rise.
        scores: (N, K) float, constant within a step.
        num_seconds: S.

    Returns:
        (S, K) float64. A second that the timeline touches in part takes the mean over that part;
        one outside of it takes the nearest step.
    """
    edges = np.asarray(edges_seconds, dtype=np.float64)
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or edges.shape != (len(values) + 1,) or bool((np.diff(edges) <= 0).any()):
        raise ShapeError(
            f"edges_seconds {edges.shape} and scores {values.shape}: expected (N + 1,) rising "
            "and (N, K)"
        )
    starts = np.arange(num_seconds, dtype=np.float64)[:, None]  # (S, 1)
    common = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    weights = np.clip(common, 0.0, None)  # (S, N)
    covered = weights.sum(axis=1)  # (S,)
    nearest = np.clip(np.searchsorted(edges, starts[:, 0], side="right") - 1, 0, len(values) - 1)
    means = weights @ values / np.where(covered > 0, covered, 1.0)[:, None]  # (S, K)
    return np.where(covered[:, None] > 0, means, values[nearest])


def per_second_targets(
    truths: Iterable[TimedLabel],
    unknown: Iterable[TimedLabel] = (),
    *,
    num_seconds: int,
    num_labels: int,
) -> FloatArray:
    """Targets of the whole seconds of one video: (S, K) float64 of 1, 0 and `UNKNOWN`.

    A second [s, s + 1) is positive where a true segment covers at least half of it, or where it
    holds at least half of a true segment, so that every segment is positive somewhere. Of the
    others, a second is `UNKNOWN` where more than half of it was not annotated. Segments after the
    last second are left out; segments of more than one video are a `ShapeError`.
    """
    truths, unknown = list(truths), list(unknown)
    videos = sorted({item.video for item in (*truths, *unknown)})
    if len(videos) > 1:
        raise ShapeError(f"segments of {len(videos)} videos ({', '.join(videos[:4])}), expected 1")
    num_by_label((*truths, *unknown), num_labels)
    targets = np.zeros((num_seconds, num_labels))
    for (_, label), spans in by_place(unknown).items():
        intervals = [span.interval for span in spans]
        for second in range(num_seconds):
            if covered_seconds(intervals, (second, second + 1)) > _MASKED_SHARE:
                targets[second, label] = UNKNOWN
    for truth in truths:
        enough = min(0.5, truth.duration_seconds / 2) - _OVERLAP_TOLERANCE
        starts = np.arange(num_seconds)
        common = np.minimum(truth.end_seconds, starts + 1) - np.maximum(truth.start_seconds, starts)
        targets[common >= enough, truth.label_index] = 1.0
    return targets


def per_second_metrics(
    scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike = 0.5
) -> dict[str, Any]:
    """Macro AP and F1 over (S, K) seconds, those of all videos one below the other.

    Returns:
        ``macro_map`` and ``macro_f1`` over the labels that have an AP, ``num_known_seconds`` of the
        label that is known longest, ``num_labels_scored``, and ``label_ap``, (K,) float64: NaN
        where no positive or no negative second is known.
    """
    cells = known_cells(scores, targets)
    ap = label_average_precisions(cells)[0]
    is_scored = ~np.isnan(ap)
    f1 = confusion_counts(cells, thresholds).f1_per_label()
    return {
        "macro_map": macro_map(ap),
        "macro_f1": float(mean_over_labels(f1, is_scored)[0]),
        "num_known_seconds": int(cells.is_known.sum(axis=0).max(initial=0)),
        "num_labels_scored": int(is_scored.sum()),
        "label_ap": ap,
    }


def point_targets(
    truths: Iterable[TimedLabel],
    unknown: Iterable[TimedLabel],
    times: ArrayLike,
    *,
    num_labels: int,
) -> FloatArray:
    """Targets of one video at (P,) times in seconds: (P, K) float64 of 1, 0 and `UNKNOWN`."""
    at = np.asarray(times, dtype=np.float64)
    targets = np.zeros((len(at), num_labels))
    for value, items in ((UNKNOWN, unknown), (1.0, truths)):
        for item in items:
            targets[(item.start_seconds <= at) & (at < item.end_seconds), item.label_index] = value
    return targets


def _match(
    prediction: TimedLabel, candidates: Iterable[TimedLabel], min_overlap: float
) -> int | None:
    """Place of the candidate with the largest overlap, the first of equals; None for too little."""
    shares = [prediction.overlap_share(truth) for truth in candidates]
    best = int(np.argmax(shares)) if shares else None
    if best is None or shares[best] <= 0 or shares[best] < min_overlap - _OVERLAP_TOLERANCE:
        return None
    return best


def segment_average_precision(
    predictions: Iterable[TimedLabel],
    truths: Sequence[TimedLabel],
    *,
    num_labels: int,
    min_overlap: float,
) -> FloatArray:
    """Average precision of predicted segments, per label: (K,) float64 in [0, 1].

    Predictions are taken by falling score; each takes the free truth of its video and label that it
    overlaps most, if they overlap by at least `min_overlap`. Each truth is taken once; a prediction
    without a truth is a false alarm. AP_k = sum over hits of the precision there, divided by the
    number of truths (not interpolated; equal scores are one step). NaN where there is no truth.
    """
    num_truths = num_by_label(truths, num_labels)
    ranked = sorted(
        predictions,
        key=lambda item: (-item.score, item.video, item.start_seconds, item.end_seconds),
    )
    num_by_label(ranked, num_labels)
    free = by_place(truths)
    is_hit = np.zeros(len(ranked), dtype=np.bool_)
    for position, prediction in enumerate(ranked):
        candidates = free.get(prediction.place, [])
        index = _match(prediction, candidates, min_overlap)
        if index is not None:
            del candidates[index]
            is_hit[position] = True
    labels = np.array([item.label_index for item in ranked], dtype=np.intp)
    scores = np.array([item.score for item in ranked], dtype=np.float64)
    result = np.full(num_labels, np.nan)
    for label in np.flatnonzero(num_truths):
        own = labels == label
        hits = is_hit[own]
        summed = float(hits.sum())  # of the precision at each hit; 1 where all are
        if 0 < summed < len(hits):
            ranked_cells = RankedCells.sort(np.arange(len(hits)), scores[own], hits)
            summed *= float(ranked_cells.average_precision(np.ones((1, len(hits))))[0])
        result[label] = summed / num_truths[label]
    return result


def segmental_f1(
    predictions: Sequence[TimedLabel],
    truths: Sequence[TimedLabel],
    *,
    num_labels: int,
    min_overlap: float,
) -> tuple[float, FloatArray]:
    """Segmental F1 (Lea et al. 2017, "Temporal Convolutional Networks", section 4).

    A prediction belongs to the truth of its video and label that it overlaps most. A truth is hit
    if one of its predictions overlaps it by at least `min_overlap`; any further prediction is a
    false alarm, and so splitting one action into parts costs. Scores play no part. A `min_overlap`
    of 0.1, 0.25 and 0.5 gives F1@10, F1@25 and F1@50. The first result is F1 of the counts summed
    over all labels, the second that of each label, (K,) float64; NaN without a true segment.
    """
    num_truths = num_by_label(truths, num_labels)
    total = num_truths + num_by_label(predictions, num_labels)
    truths_at = by_place(truths)
    hits: set[tuple[tuple[str, int], int]] = set()
    for prediction in predictions:
        index = _match(prediction, truths_at.get(prediction.place, ()), min_overlap)
        if index is not None:
            hits.add((prediction.place, index))
    num_hits = np.bincount([label for (_, label), _ in hits], minlength=num_labels)
    per_label = np.divide(
        2 * num_hits, total, out=np.full(num_labels, np.nan), where=num_truths > 0
    )
    return float(2 * num_hits.sum() / total.sum()) if truths else float("nan"), per_label


def edit_score(predictions: Sequence[TimedLabel], truths: Sequence[TimedLabel]) -> float:
    """Segmental edit score (Lea et al. 2016, "Learning Convolutional Action Primitives"), 0 to 1.

    1 - d / max(m, n) of the labels of m predicted and n true segments in the order of their starts,
    with d the least number of labels to insert, delete or replace; the mean over videos that have
    one of either. It tells whether the right things happen in the right order, whenever. Of several
    labels at once, equal starts are in the order of the labels. NaN without any segment.
    """
    names = sorted({item.video for item in (*predictions, *truths)})
    scores = []
    for name in names:
        found, true = (
            [
                item.label_index
                for item in sorted(items, key=lambda item: (item.start_seconds, item.label_index))
                if item.video == name
            ]
            for items in (predictions, truths)
        )
        scores.append(1 - _edit_distance(found, true) / max(len(found), len(true)))
    return float(np.mean(scores)) if scores else float("nan")


def _edit_distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Levenshtein distance."""
    above = list(range(len(second) + 1))
    for row, left in enumerate(first, start=1):
        line = [row]
        for column, right in enumerate(second, start=1):
            replaced = above[column - 1] + (left != right)
            line.append(min(replaced, above[column] + 1, line[-1] + 1))
        above = line
    return above[-1]


def boundary_errors(
    predictions: Iterable[TimedLabel],
    truths: Sequence[TimedLabel],
    unknown: Iterable[TimedLabel] = (),
    end_seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """How far the borders of predicted segments lie from the true ones, and what has no partner.

    Pairs are taken by falling overlap, each segment once, one of the same video and label that
    overlap at all. A border where the annotation begins or ends, because the label is unknown
    beyond or because the video ends (at 0 and at ``end_seconds`` of a video), is no true border and
    has no error.

    Returns:
        ``start`` and ``end``: each the ``median`` and ``percentile_90`` of |predicted - true| in
        seconds, NaN without a pair, and their ``number``; ``num_missed``, true segments that no
        prediction overlaps; ``num_spurious``, predictions that overlap no true segment;
        ``num_split``, predictions that overlap a true segment beside another one that overlaps it
        more; ``num_joined``, true segments that share their prediction with another one.
    """
    pairs, missed, spurious, split, joined = [], 0, 0, 0, 0
    predictions_at, truths_at = by_place(predictions), by_place(truths)
    for place in sorted({*predictions_at, *truths_at}):
        found, true = predictions_at.get(place, []), truths_at.get(place, [])
        shares = np.array([[a.overlap_share(b) for b in true] for a in found])
        shares = shares.reshape(len(found), len(true))  # (predictions, truths)
        missed += int((shares <= 0).all(axis=0).sum())
        spurious += int((shares <= 0).all(axis=1).sum())
        split += int(np.maximum((shares > 0).sum(axis=0) - 1, 0).sum())
        joined += int(np.maximum((shares > 0).sum(axis=1) - 1, 0).sum())
        while shares.size and shares.max() > 0:
            row, column = np.unravel_index(shares.argmax(), shares.shape)
            pairs.append((found[row], true[column]))
            shares[row, :] = shares[:, column] = 0
    rims: dict[tuple[str, int], set[float]] = defaultdict(set)
    for span in unknown:
        rims[span.place].update(span.interval)
    starts, ends = [], []
    for prediction, truth in pairs:
        rim = {0.0, (end_seconds or {}).get(truth.video, np.inf), *rims[truth.place]}
        if not _is_near(truth.start_seconds, rim):
            starts.append(abs(prediction.start_seconds - truth.start_seconds))
        if not _is_near(truth.end_seconds, rim):
            ends.append(abs(prediction.end_seconds - truth.end_seconds))
    return {
        "start": _error_summary(starts),
        "end": _error_summary(ends),
        "both": _error_summary(starts + ends),
        "num_missed": missed,
        "num_spurious": spurious,
        "num_split": split,
        "num_joined": joined,
    }


def _is_near(seconds: float, others: Iterable[float]) -> bool:
    """Whether one of the others is the same time."""
    return any(abs(seconds - other) <= _SAME_TIME_SECONDS for other in others)


def _error_summary(errors: Sequence[float]) -> dict[str, float]:
    """Median and 90th percentile, NaN of none, and the number."""
    median, high = np.percentile(errors, (50, 90)) if errors else (np.nan, np.nan)
    return {"median": float(median), "percentile_90": float(high), "number": len(errors)}


def segment_metrics(
    predictions: Sequence[TimedLabel],
    truths: Sequence[TimedLabel],
    unknown: Sequence[TimedLabel] = (),
    *,
    num_labels: int,
    end_seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Segment mAP at overlaps 0.1 to 0.7, segmental F1@10/25/50 and errors of borders.

    Returns:
        ``map_at``, macro mAP over labels that have a true segment, by overlap, and ``mean_map``
        over these; ``f1_at``, micro segmental F1, by overlap in percent; ``edit_score``; the
        numbers of true segments, of predicted ones that count and of those left out
        (``num_masked``), and ``num_labels_scored`` that have a true segment; ``borders``, see
        `boundary_errors`, which takes ``end_seconds``. NaN where there is no true segment at all.
    """
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
        )[0]
        for overlap in SEGMENTAL_F1_OVERLAPS
    }
    return {
        "map_at": map_at,
        "mean_map": float(np.mean(list(map_at.values()))),
        "f1_at": f1_at,
        "edit_score": edit_score(kept, truths),
        "num_truths": len(truths),
        "num_predictions": len(kept),
        "num_masked": len(predictions) - len(kept),
        "num_labels_scored": len({truth.label_index for truth in truths}),
        "borders": boundary_errors(kept, truths, unknown, end_seconds),
    }
