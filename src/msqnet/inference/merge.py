"""Windows to a timeline, and a timeline to segments: pure array functions."""

from __future__ import annotations

from dataclasses import dataclass
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
# Of the reach of a border: three eighths of a window. On films of joined training clips, half a
# window and more finds the borders of others.
_CHANGE_REACH = 0.25


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
    reach_seconds: float = 0.0,
    single_label: bool = False,
    unproven: Collection[str] = (),
) -> list[Segment]:
    """Segments: intervals in which a label is present.

    A label is present in a step where its score reaches its threshold; with ``single_label`` it
    must also be the highest one. Unknown steps show no label unless ``config.ood`` says otherwise;
    ``unproven`` labels make no segment unless ``config.include_weak`` asks for them. Gaps of up to
    ``config.max_gap_seconds`` are closed first (with ``single_label`` only those in which no other
    label is present; never one with an unknown step). Each border is then placed between two steps:
    where the score, drawn as a line from the middle of one step to the middle of the next, passes
    half of the way from its lowest value outside, at most ``reach_seconds`` from the border, to its
    highest inside. A window that lies half over a border shows half of the action, whereas a low
    threshold is reached too early. Where frames were looked at, it then goes to their largest
    change of that kind within a quarter of that reach. A border at an end of the video or at an
    unknown step stays there; with ``single_label`` all stay at edges of steps, so that one label
    begins where another one ends. Last, segments shorter than ``config.min_duration_seconds`` are
    dropped. The score of a segment is the mean over the steps in which it is present, closed gaps
    included.

    Args:
        timeline: N steps of K scores.
        labels: K names.
        thresholds: (K,); ``config.threshold`` replaces all of them where it is set.
        reach_seconds: how far around a border scores bear on it; 0 leaves borders at the edges of
            steps.
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
    thresholds = np.asarray(thresholds, dtype=np.float32)
    active = np.asarray(timeline.scores >= thresholds)  # (N, K)
    if single_label:
        active &= np.arange(num_labels) == timeline.scores.argmax(axis=1)[:, None]
        reach_seconds = 0.0
    if unproven and not config.include_weak:
        active &= np.array([name not in unproven for name in labels])
    taken = np.asarray((active & single_label).any(axis=1))
    is_hidden = np.zeros(len(active), dtype=np.bool_)
    if timeline.is_unknown is not None and config.ood == "hide":
        is_hidden = timeline.is_unknown
    active &= ~is_hidden[:, None]
    edges, found = timeline.edges_seconds, []
    for column in range(num_labels):
        scores = timeline.scores[:, column].astype(np.float64)
        changes = timeline.changes[timeline.changes[:, 0] == column, 1:]
        borders = _Borders(edges, scores, is_hidden, reach_seconds, changes)
        runs = _runs(active[:, column], taken | is_hidden, edges, config)
        for (first, last), (start, end) in zip(runs, borders.of(runs), strict=True):
            if end - start < config.min_duration_seconds - _SAME_TIME_SECONDS:
                continue
            inside = scores[first:last]
            mean = np.average(inside, weights=np.diff(edges[first : last + 1]))
            score = float(np.clip(mean, inside.min(), inside.max()))  # equal ones give that one
            found.append((start, end, column, score))
    return [Segment(labels.names[k], start, end, score) for start, end, k, score in sorted(found)]


@dataclass(frozen=True)
class _Borders:
    """Places the borders of the runs of one label between the steps of a timeline.

    Args:
        edges: (N + 1,) rising.
        scores: (N,) of the label.
        is_hidden: (N,) steps without a verdict.
        reach_seconds: how far from a border scores count.
        changes: (C, 2) time and size of changes of the label, see `Timeline`.
    """

    edges: SecondsArray
    scores: SecondsArray
    is_hidden: NDArray[np.bool_]
    reach_seconds: float
    changes: SecondsArray

    def of(self, runs: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
        """Start and end of each run; they neither overlap nor vanish."""
        num_steps = len(self.scores)
        # The runs before and after each one; the first and the last reach to the timeline's ends.
        ends = [0, *(last for _, last in runs)]
        starts = [*(first for first, _ in runs), num_steps]
        found = [
            (
                self._start(first, last, ends[number]),
                self._end(first, last, starts[number + 1]),
            )
            for number, (first, last) in enumerate(runs)
        ]
        return self._to_changes(runs, found) if len(self.changes) and self.reach_seconds else found

    def _to_changes(
        self, runs: Sequence[tuple[int, int]], found: list[tuple[float, float]]
    ) -> list[tuple[float, float]]:
        """The borders moved to the largest change near them; still none overlap."""
        moved: list[tuple[float, float]] = []
        for number, ((first, last), (start, end)) in enumerate(zip(runs, found, strict=True)):
            lowest = moved[-1][1] if moved else -np.inf
            highest = found[number + 1][0] if number + 1 < len(found) else np.inf
            if self._has_verdict(first - 1):
                start = self._nearby(start, lowest, end, 1)
            if self._has_verdict(last):
                end = self._nearby(end, start, highest, -1)
            moved.append((start, end))
        return moved

    def _has_verdict(self, step: int) -> bool:
        return 0 <= step < len(self.scores) and not self.is_hidden[step]

    def _nearby(self, border: float, lowest: float, highest: float, sign: int) -> float:
        """Time of the largest change of a sign between two times; the border without any."""
        times, sizes = self.changes.T
        reach = self.reach_seconds * _CHANGE_REACH
        is_near = (np.abs(times - border) <= reach) & (lowest < times) & (times < highest)
        is_near &= sign * sizes > 0
        if not is_near.any():
            return border
        return float(times[is_near][np.argmax(np.abs(sizes[is_near]))])

    def _start(self, first: int, last: int, lowest: int) -> float:
        """Border between the steps before ``first``, from ``lowest`` on, and those up to ``last``.

        Of equal scores the nearest to each other count: two runs that share the steps between
        them cannot overlap, and no run vanishes.
        """
        outside = self._near(first, range(first - 1, lowest - 1, -1))
        inside = self._near(first, range(first, last))
        return self._crossing(outside, inside, self.edges[first])

    def _end(self, first: int, last: int, highest: int) -> float:
        """As `_start`, between the steps up to ``last`` and those behind it, up to ``highest``."""
        outside = self._near(last, range(last, highest))
        inside = self._near(last, range(last - 1, first - 1, -1))
        return self._crossing(outside, inside, self.edges[last])

    def _near(self, border: int, steps: range) -> list[int]:
        """Those of the steps, from the border outwards, that are in reach and have a verdict."""
        near = []
        for step in steps:
            centre = (self.edges[step] + self.edges[step + 1]) / 2
            if self.is_hidden[step] or abs(centre - self.edges[border]) > self.reach_seconds:
                break
            near.append(step)
        return near

    def _crossing(self, outside: list[int], inside: list[int], border: float) -> float:
        """Where the line of scores passes half way from the lowest outside to the highest inside.

        The border itself where a side has no step or no side is higher.
        """
        if not outside or not inside:
            return float(border)
        low = min(outside, key=lambda step: self.scores[step])
        high = max(inside, key=lambda step: self.scores[step])
        level = (self.scores[low] + self.scores[high]) / 2
        if not self.scores[low] < level < self.scores[high]:
            return float(border)
        towards = 1 if high > low else -1
        step = low
        while self.scores[step + towards] < level:
            step += towards
        here, there = (
            (self.edges[place] + self.edges[place + 1]) / 2 for place in (step, step + towards)
        )
        rise = self.scores[step + towards] - self.scores[step]
        return float(here + (level - self.scores[step]) / rise * (there - here))


def _runs(
    active: NDArray[np.bool_], taken: NDArray[np.bool_], edges: SecondsArray, config: SegmentConfig
) -> list[tuple[int, int]]:
    """Runs of True in ``active`` (N,) as [first, last) steps, gaps closed.

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
    return runs
