"""Windows to a timeline, and a timeline to segments: pure array functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.errors import ShapeError
from msqnet.predictions import FloatArray, SecondsArray, Segment, Timeline

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from msqnet.config import SegmentConfig
    from msqnet.labels import LabelSet
    from msqnet.predictions import WindowScores

Weighting = Literal["centre", "uniform"]

# Window bounds are sums and products of the same few numbers; bounds nearer than this are one.
_SAME_TIME_SECONDS = 1e-6


def merge_windows(
    windows: Sequence[WindowScores],
    edges: SecondsArray | None = None,
    *,
    weighting: Weighting = "centre",
    limit: float | None = None,
) -> Timeline:
    """Merge overlapping windows into one timeline.

    score_nk = sum_w a_w(c_n) s_wk / sum_w a_w(c_n), over the windows w that cover step n, with
    c_n the step's centre. ``centre``: a_w(c) = 1 - 2 |c - m_w| / l_w (m_w middle, l_w length of the
    window), since a window tells more about its middle than about its ends; ``uniform``: a_w = 1.

    Args:
        edges: (N + 1,) rising; by default every bound of a window, so that no step is split by one,
            the first one of bounds within a microsecond.
        weighting: how much each window that covers a step counts.
        limit: distance, merged like a score, above which a step is unknown; None knows of none.

    Returns:
        The timeline; where all windows agree on a score, exactly that score.

    Raises:
        ShapeError: no window, or a step that no window covers.
    """
    if not windows:
        raise ShapeError("no windows to merge")
    if edges is None:
        bounds = np.unique([(w.start_seconds, w.end_seconds) for w in windows])
        edges = bounds[np.diff(bounds, prepend=-np.inf) > _SAME_TIME_SECONDS]
    centres = (edges[1:] + edges[:-1]) / 2  # (N,)
    weight_sums = np.zeros(len(centres))
    distance_sums = np.zeros(len(centres))
    score_sums = np.zeros((len(centres), len(windows[0].scores)))
    for window in windows:
        first, last = np.searchsorted(centres, (window.start_seconds, window.end_seconds))
        weights = np.ones(last - first)
        if weighting == "centre":
            middle = (window.start_seconds + window.end_seconds) / 2
            half = (window.end_seconds - window.start_seconds) / 2
            weights = 1 - np.abs(centres[first:last] - middle) / half
        weight_sums[first:last] += weights
        score_sums[first:last] += weights[:, None] * window.scores.astype(np.float64)
        if limit is not None and window.distance is not None:
            distance_sums[first:last] += weights * window.distance
    if not (weight_sums > 0).all():
        unseen = centres[weight_sums <= 0][0]
        raise ShapeError(
            f"no window covers {unseen:.3f} s; the stride must not be longer than the window"
        )
    scores = np.clip(score_sums / weight_sums[:, None], 0, 1).astype(np.float32)
    is_unknown = None if limit is None else distance_sums / weight_sums > limit
    return Timeline(edges, scores, is_unknown)


def segments_from_timeline(
    timeline: Timeline,
    labels: LabelSet,
    thresholds: FloatArray,
    config: SegmentConfig,
    *,
    single_label: bool = False,
    unproven: Collection[str] = (),
) -> list[Segment]:
    """Segments: intervals in which a label is present.

    A label is present in a step where its score reaches its threshold; with ``single_label`` it
    must also be the highest one. Unknown steps show no label unless ``config.ood`` says otherwise;
    ``unproven`` labels make no segment unless ``config.include_weak`` asks for them. Gaps of up to
    ``config.max_gap_seconds`` are closed first (with ``single_label`` only those in which no other
    label is present; never one with an unknown step), then segments shorter than
    ``config.min_duration_seconds`` are dropped. The score of a segment is the mean over its time,
    closed gaps included.

    Args:
        timeline: N steps of K scores.
        labels: K names.
        thresholds: (K,); ``config.threshold`` replaces all of them where it is set.
        single_label: whether labels exclude each other.
        unproven: names of labels that the model was not shown to recognise.

    Returns:
        Segments by start, then end, then column.

    Raises:
        ShapeError: labels, thresholds and timeline differ in K.
    """
    num_labels = timeline.scores.shape[1]
    if config.threshold is not None:
        thresholds = np.full(num_labels, config.threshold, dtype=np.float32)
    if len(labels) != num_labels or np.shape(thresholds) != (num_labels,):
        raise ShapeError(
            f"timeline of {num_labels} labels with {len(labels)} names and thresholds "
            f"{np.shape(thresholds)}; expected {num_labels} of each"
        )
    # Both are float32, so that a score of 0.7 reaches a threshold of 0.7.
    active = np.asarray(timeline.scores >= np.asarray(thresholds, dtype=np.float32))  # (N, K)
    if single_label:
        active &= np.arange(num_labels) == timeline.scores.argmax(axis=1)[:, None]
    if unproven and not config.include_weak:
        active &= np.array([name not in unproven for name in labels])
    taken = np.asarray((active & single_label).any(axis=1))
    if timeline.is_unknown is not None and config.ood == "hide":
        active &= ~timeline.is_unknown[:, None]
        taken = taken | timeline.is_unknown
    edges, found = timeline.edges_seconds, []
    for column in range(num_labels):
        for first, last in _runs(active[:, column], taken, edges, config):
            scores = timeline.scores[first:last, column].astype(np.float64)
            mean = np.average(scores, weights=np.diff(edges[first : last + 1]))
            score = float(np.clip(mean, scores.min(), scores.max()))  # equal ones give that one
            found.append((float(edges[first]), float(edges[last]), column, score))
    return [Segment(labels.names[k], start, end, score) for start, end, k, score in sorted(found)]


def _runs(
    active: NDArray[np.bool_], taken: NDArray[np.bool_], edges: SecondsArray, config: SegmentConfig
) -> list[tuple[int, int]]:
    """Runs of True in ``active`` (N,) as [first, last) steps, gaps closed, short ones dropped.

    No gap covers a step that is ``taken`` (N,).
    """
    changes = np.diff(active.astype(np.int8), prepend=0, append=0)
    firsts, lasts = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    longest_gap = config.max_gap_seconds + _SAME_TIME_SECONDS
    runs: list[tuple[int, int]] = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        end = runs[-1][1] if runs else first
        if runs and edges[first] - edges[end] <= longest_gap and not taken[end:first].any():
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    shortest = config.min_duration_seconds - _SAME_TIME_SECONDS
    return [run for run in runs if edges[run[1]] - edges[run[0]] >= shortest]
