"""Agreement of two annotations of the same videos: of two people, or of a person and a model.

Only time counts in which both know a label. Chance-corrected agreement is Cohen's kappa (1960,
"A coefficient of agreement for nominal scales") of present and absent, over bins of time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import DatasetError, check
from msqnet.evaluation.scored_rows import rows_by_video
from msqnet.intervals import Interval, intersect, subtract, union
from msqnet.metrics.timed_labels import TimedLabel, boundary_errors, segmental_f1
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable
    from msqnet.predictions import VideoPredictions

_BOUT_OVERLAP = 0.5


@dataclass
class Annotation:
    """Where labels hold in one video, and where that is known; in seconds, by label.

    Attributes:
        path: as the table or the result gives it.
        known_of_any: where all labels are known, also those that the annotation does not name.
    """

    path: str
    present: dict[str, list[Interval]] = field(default_factory=lambda: defaultdict(list))
    known: dict[str, list[Interval]] = field(default_factory=lambda: defaultdict(list))
    known_of_any: list[Interval] = field(default_factory=list)

    def knows(self, label: str) -> list[Interval]:
        """Where it is known whether a label holds."""
        return [*self.known.get(label, ()), *self.known_of_any]


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement on one label, or on all together, over the time that both know.

    Attributes:
        seconds: that both know.
        first_seconds: of these, with the label by the first annotation; ``second_seconds`` by the
            second.
        agreement: share of bins in which both say the same, in [0, 1].
        kappa: Cohen's kappa; NaN where both say the same everywhere without an alternative.
        first_bouts: number of intervals of the first; ``second_bouts`` of the second.
        bout_f1: F1 of bouts that overlap by at least half (intersection over union), in [0, 1]; NaN
            where the first has none.
    """

    label: str
    seconds: float
    first_seconds: float
    second_seconds: float
    agreement: float
    kappa: float
    first_bouts: int
    second_bouts: int
    bout_f1: float


@dataclass(frozen=True)
class Agreement:
    """Agreement by label that one of them has, and in all.

    ``videos`` are pairs of annotations of the same video.
    ``borders`` are the errors of the second's borders against the first's, as of
    `boundary_errors`. ``never_seen`` are labels that both know and neither has anywhere;
    ``only_first`` and the like name what has no counterpart.
    """

    labels: tuple[LabelAgreement, ...]
    total: LabelAgreement
    borders: dict[str, Any]
    videos: tuple[tuple[Annotation, Annotation], ...]
    never_seen: tuple[str, ...]
    only_first: dict[str, list[str]]
    only_second: dict[str, list[str]]


def annotations_of_table(table: ClipTable, *, is_complete: bool = False) -> list[Annotation]:
    """The rows of each video.

    A video is opened where a row has no end. With ``is_complete`` the rows are all there is to see,
    and no label holds in the rest of the video; else the rest is not known. A video that cannot be
    read is a `VideoError`.
    """
    names, found = table.label_names(), []
    for name, rows in rows_by_video(table).items():
        item = Annotation(name)
        spans = [record.interval for record in rows.records]
        end = math.inf
        if is_complete or any(math.isinf(stop) for _, stop in spans):
            with open_video(rows.records[0].path, fps=rows.records[0].fps) as video:
                end = video.end_seconds
        for record, (start, stop) in zip(rows.records, spans, strict=True):
            span = start, min(stop, end)
            for label in record.labels:
                item.present[label].append(span)
            knows = names if record.annotated is None else {*record.annotated, *record.labels}
            for label in knows:
                item.known[label].append(span)
        if is_complete:
            item.known_of_any.append((0.0, end))
        found.append(item)
    return found


def annotations_of_results(results: Iterable[VideoPredictions]) -> list[Annotation]:
    """Segments of predicted videos; known are all labels that could be in one, where it could be.

    Time that is unlike the training videos is not known.
    """
    found = []
    for result in results:
        known = subtract(result.shown, result.timeline.unknown_intervals)
        item = Annotation(result.path)
        for label in result.labels:
            if label not in result.withheld:
                item.known[label] += known
        for segment in result.segments:
            item.present[segment.label].append((segment.start_seconds, segment.end_seconds))
        found.append(item)
    return found


def agreement(
    first: Sequence[Annotation], second: Sequence[Annotation], *, bin_seconds: float = 1.0
) -> Agreement:
    """Compare two annotations of the same videos.

    Videos are matched by path, else by the end of their paths, from the file name up, where that
    tells them apart. A bin has a label whose interval holds the bin's middle.

    Raises:
        ConfigError: ``bin_seconds`` is not above 0.
        DatasetError: no video or no label is in both, or no time is known to both.
    """
    check(bin_seconds > 0, f"bin_seconds {bin_seconds:g}: expected more than 0")
    pairs = _matched(first, second)
    names = [{label for item in side for label in item.known} for side in (first, second)]
    every = names[0] | names[1]
    for side, own in zip((first, second), names, strict=True):
        if any(item.known_of_any for item in side):
            own |= every
    labels = sorted(names[0] & names[1])
    if not pairs or not labels:
        what = "label" if pairs else "video"
        told = [sorted(side)[:5] for side in names] if pairs else [_some(first), _some(second)]
        raise DatasetError(
            f"no {what} is in both: the first has {told[0]}, the second {told[1]}; expected two "
            "annotations of the same videos with the same labels"
        )
    counted = [_LabelCounts(label, index) for index, label in enumerate(labels)]
    for one, other in pairs:
        for item in counted:
            item.add(one, other, bin_seconds)
    if not any(item.bins.sum() for item in counted):
        raise DatasetError(
            "both know the same label at no time: rows of the two tables do not overlap, or leave "
            "out the other's labels in `annotated`"
        )
    seen = [item for item in counted if item.first or item.second]
    total = _joined(seen)
    used = [{item.path for item in side} for side in zip(*pairs, strict=True)]
    return Agreement(
        labels=tuple(item.result(len(labels)) for item in seen),
        total=total.result(len(labels)),
        borders=boundary_errors(total.second, total.first, total.unknown),
        videos=tuple(pairs),
        never_seen=tuple(item.label for item in counted if item not in seen and item.bins.sum()),
        only_first={
            "videos": sorted({item.path for item in first} - used[0]),
            "labels": sorted(names[0] - names[1]),
        },
        only_second={
            "videos": sorted({item.path for item in second} - used[1]),
            "labels": sorted(names[1] - names[0]),
        },
    )


def _some(side: Sequence[Annotation]) -> list[str]:
    return sorted(item.path for item in side)[:3]


def _matched(
    first: Sequence[Annotation], second: Sequence[Annotation]
) -> list[tuple[Annotation, Annotation]]:
    by_path = {item.path: item for item in second}
    pairs = [(item, by_path.pop(item.path)) for item in first if item.path in by_path]
    left = [item for item in first if item.path not in {one.path for one, _ in pairs}]
    for item in left:
        parts = PurePath(item.path.replace("\\", "/")).parts
        for length in range(1, len(parts) + 1):
            same, rivals = (
                [o for o in side if PurePath(o.path.replace("\\", "/")).parts[-length:] == end]
                for end in [parts[-length:]]
                for side in (list(by_path.values()), left)
            )
            if len(same) == len(rivals) == 1:
                pairs.append((item, by_path.pop(same[0].path)))
                break
            if not same:
                break
    return pairs


@dataclass(eq=False)
class _LabelCounts:
    """What is summed over videos for one label; ``bins`` by first (0, 1) and second (0, 1)."""

    label: str
    index: int
    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 2), np.int64))
    seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    first: list[TimedLabel] = field(default_factory=list)
    second: list[TimedLabel] = field(default_factory=list)
    unknown: list[TimedLabel] = field(default_factory=list)

    def add(self, one: Annotation, other: Annotation, bin_seconds: float) -> None:
        """Count a video."""
        sides = (one, other)
        known = intersect(*(side.knows(self.label) for side in sides))
        if not known:
            return
        present = [intersect(side.present.get(self.label, []), known) for side in sides]
        for bouts, found in zip((self.first, self.second), present, strict=True):
            bouts += [TimedLabel(one.path, self.index, *interval) for interval in found]
        end = known[-1][1]
        gaps = subtract([(min(known[0][0], 0.0), end + 1.0)], known)
        self.unknown += [TimedLabel(one.path, self.index, *interval) for interval in gaps]
        self.seconds += [_length(known), *map(_length, present)]
        numbers = np.arange(math.ceil(end / bin_seconds), dtype=np.float64)
        middles = (numbers + 0.5) * bin_seconds
        middles = middles[_inside(middles, known)]
        says = [_inside(middles, found).astype(int) for found in present]
        np.add.at(self.bins, (says[0], says[1]), 1)

    def result(self, num_labels: int) -> LabelAgreement:
        """The figures of all videos."""
        total = self.bins.sum()
        same = float(np.trace(self.bins) / total) if total else math.nan
        shares = (self.bins.sum(axis=1) * self.bins.sum(axis=0)).sum() / total**2 if total else 1.0
        return LabelAgreement(
            label=self.label,
            seconds=float(self.seconds[0]),
            first_seconds=float(self.seconds[1]),
            second_seconds=float(self.seconds[2]),
            agreement=same,
            kappa=float((same - shares) / (1 - shares)) if shares < 1 else math.nan,
            first_bouts=len(self.first),
            second_bouts=len(self.second),
            bout_f1=segmental_f1(
                self.second, self.first, num_labels=num_labels, min_overlap=_BOUT_OVERLAP
            )[0],
        )


def _joined(counted: Sequence[_LabelCounts]) -> _LabelCounts:
    """All labels as one: its bins are those of every label."""
    found = _LabelCounts("all", 0)
    for item in counted:
        found.bins += item.bins
        found.seconds += item.seconds
        found.first += item.first
        found.second += item.second
        found.unknown += item.unknown
    return found


def _length(intervals: Iterable[Interval]) -> float:
    return sum(end - start for start, end in intervals)


def _inside(times: NDArray[np.float64], intervals: Iterable[Interval]) -> NDArray[np.bool_]:
    """(N,) whether each time is in one of the intervals, which are joined first."""
    edges = np.array(union(intervals)).reshape(-1, 2)
    places = np.searchsorted(edges[:, 0], times, side="right") - 1
    is_after = places >= 0
    found: NDArray[np.bool_] = is_after.copy()
    found[is_after] = times[is_after] < edges[places[is_after], 1]
    return found
