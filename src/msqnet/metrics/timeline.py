"""Figures of a timeline by the second.

Axes: S seconds, K labels. What was not annotated has the target `UNKNOWN` and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.records import UNKNOWN
from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import FloatArray, average_precision, macro_map
from msqnet.metrics.classification import f1_scores
from msqnet.metrics.timed_labels import (
    MASKED_SHARE,
    OVERLAP_TOLERANCE,
    TimedLabel,
    by_place,
    masked_seconds,
    num_by_label,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike


def per_second_scores(edges_seconds: ArrayLike, scores: ArrayLike, num_seconds: int) -> FloatArray:
    """Scores of whole seconds from a timeline: its mean over [s, s + 1), by length of the steps.

    Args:
        edges_seconds: (N + 1,) rising, the bounds of the timeline's steps.
        scores: (N, K) float, constant within a step.
        num_seconds: S.

    Returns:
        (S, K) float64. A second that the timeline touches in part takes the mean over that part;
        one outside of it takes the nearest step.

    Raises:
        ShapeError: edges and scores do not fit together, or edges do not rise.
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
    """Targets of the whole seconds of one video.

    A second [s, s + 1) is positive where a true segment covers at least half of it, or where it
    holds at least half of a true segment, so that every segment is positive somewhere. Of the
    others, a second is `UNKNOWN` where more than half of it was not annotated.

    Args:
        truths: true segments of this video.
        unknown: spans of this video in which a label was not annotated.
        num_seconds: S; what lies after it is left out.
        num_labels: K.

    Returns:
        (S, K) float64 of 1, 0 and `UNKNOWN`.

    Raises:
        ShapeError: segments of more than one video, or a label index outside 0 to K - 1.
    """
    truths, unknown = list(truths), list(unknown)
    videos = sorted({item.video for item in (*truths, *unknown)})
    if len(videos) > 1:
        raise ShapeError(f"segments of {len(videos)} videos ({', '.join(videos[:4])}), expected 1")
    num_by_label((*truths, *unknown), num_labels)
    targets = np.zeros((num_seconds, num_labels))
    for (video, label), spans in by_place(unknown).items():
        for second in range(num_seconds):
            whole = TimedLabel(video, label, second, second + 1)
            if masked_seconds(whole, spans) > MASKED_SHARE:
                targets[second, label] = UNKNOWN
    for truth in truths:
        enough = min(0.5, truth.duration_seconds / 2) - OVERLAP_TOLERANCE
        starts = np.arange(num_seconds)
        common = np.minimum(truth.end_seconds, starts + 1) - np.maximum(truth.start_seconds, starts)
        targets[common >= enough, truth.label_index] = 1.0
    return targets


@dataclass(frozen=True)
class PerSecondMetrics:
    """Figures over seconds of one or more videos.

    Attributes:
        ap: (K,) float64; NaN where no positive or no negative second is known.
        f1: (K,) float64; NaN where no positive second is known.
        macro_map: mean of the APs that are not NaN.
        macro_f1: mean of the F1s of the labels that have an AP.
        num_positive_seconds: (K,) float64.
        num_known_seconds: (K,) float64.
    """

    ap: FloatArray
    f1: FloatArray
    macro_map: float
    macro_f1: float
    num_positive_seconds: FloatArray
    num_known_seconds: FloatArray


def per_second_metrics(
    scores: ArrayLike, targets: ArrayLike, thresholds: ArrayLike = 0.5
) -> PerSecondMetrics:
    """Macro AP and F1 over seconds.

    Args:
        scores: (S, K) float, the seconds of all videos one below the other.
        targets: (S, K) of 1, 0 and `UNKNOWN`.
        thresholds: one number or (K,).

    Raises:
        ShapeError: arrays that do not fit together.
    """
    ap = average_precision(scores, targets)
    f1 = f1_scores(scores, targets, thresholds, select=~np.isnan(ap))
    values = np.asarray(targets)
    return PerSecondMetrics(
        ap=ap,
        f1=f1.per_label,
        macro_map=macro_map(ap),
        macro_f1=f1.macro,
        num_positive_seconds=(values == 1).sum(axis=0).astype(np.float64),
        num_known_seconds=(values != UNKNOWN).sum(axis=0).astype(np.float64),
    )
