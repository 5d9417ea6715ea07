"""Intervals of time ``[start_seconds, end_seconds)``: union, intersection, difference, coverage.

All functions share one tolerance, `SAME_TIME_SECONDS`: a gap or an overlap that is no longer than
that is none. So rows that one tool rounded to milliseconds and another did not still touch.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Interval = tuple[float, float]
"""Start and end in seconds; the end is not part of it and may be infinite."""

SAME_TIME_SECONDS = 1e-3
"""Two times that differ by at most this are the same. Annotation tools write whole milliseconds, so
equal times differ by up to one of them after rounding."""

END_TOLERANCE_SECONDS = 0.5
"""How far a time may reach beyond its video: annotators round, and so do containers."""

_CLOCK = re.compile(r"(?:(?P<hours>\d+):(?=\d\d:))?(?P<minutes>\d+):(?P<seconds>\d\d(?:[.]\d*)?)")


def parse_clock(text: str, *, has_comma: bool = True) -> float:
    """Seconds of a number, of ``m:ss`` or of ``h:mm:ss``, at least 0; `ValueError` for other text.

    With `has_comma` a comma is taken for the sign of decimals; behind minutes it is one always.
    """
    text = text.strip()
    found = _CLOCK.fullmatch(text.replace(",", "."))
    if found is None:
        seconds = float(text.replace(",", ".") if has_comma else text)
    else:
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        if seconds >= 60 or (found["hours"] and minutes >= 60):
            raise ValueError(text)
        seconds += 60 * minutes + 3600 * hours
    if not 0 <= seconds < math.inf:
        raise ValueError(text)
    return seconds


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals, disjoint and in order: those that overlap or touch are joined, empty ones go."""
    joined: list[Interval] = []
    for start, end in sorted(pair for pair in intervals if pair[0] < pair[1]):
        if joined and start <= joined[-1][1] + SAME_TIME_SECONDS:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def intersect(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """The time that both have in common, disjoint and in order."""
    common, first, second = [], union(intervals), union(others)
    i = j = 0
    while i < len(first) and j < len(second):
        start, end = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if end - start > SAME_TIME_SECONDS:
            common.append((start, end))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return common


def subtract(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """What remains of intervals without the others, disjoint and in order."""
    remaining: list[Interval] = []
    removed = union(others)
    place = 0
    for start, end in union(intervals):
        while place < len(removed) and removed[place][1] <= start:
            place += 1
        reached, next_place = start, place
        while next_place < len(removed) and removed[next_place][0] < end:
            first, last = removed[next_place]
            if first > reached + SAME_TIME_SECONDS:
                remaining.append((reached, first))
            reached, next_place = max(reached, last), next_place + 1
        if end > reached + SAME_TIME_SECONDS:
            remaining.append((reached, end))
    return remaining


def covers(intervals: Iterable[Interval], wanted: Interval) -> bool:
    """Whether intervals together cover all of another one."""
    return not subtract([wanted], intervals)


def covered_seconds(intervals: Iterable[Interval], wanted: Interval) -> float:
    """Length of the part of an interval that others cover, counted once where they overlap."""
    start, end = wanted
    return sum(max(0.0, min(end, last) - max(start, first)) for first, last in union(intervals))


class Span(NamedTuple):
    """An interval in which a label holds; it ends after its start."""

    label: str
    start_seconds: float
    end_seconds: float

    @property
    def interval(self) -> Interval:
        """Its start and end."""
        return self.start_seconds, self.end_seconds


def by_label(spans: Iterable[Span]) -> dict[str, list[Interval]]:
    """The intervals of each label, in the order of the spans."""
    found: dict[str, list[Interval]] = {}
    for span in spans:
        found.setdefault(span.label, []).append(span.interval)
    return found


class Piece(NamedTuple):
    """An interval in which the same labels hold all the time; an end of None is the video's."""

    start_seconds: float
    end_seconds: float | None
    labels: frozenset[str]


def cut(
    spans: Iterable[Span],
    end_seconds: float | None,
    *,
    unknown: Iterable[Interval] = (),
    min_seconds: float = 0.0,
) -> list[Piece]:
    """Cuts a video wherever a label begins or ends, so that each piece's labels are exactly known.

    Pieces cover the whole time, background included: rows of single spans could not say what is
    absent. They are in order, and neighbours differ in their labels.

    Args:
        spans: of all labels; they may overlap.
        end_seconds: of the video, which cuts spans off; None if unknown: the last piece is open.
        unknown: intervals about which nothing is known, whatever spans say: no piece covers them.
        min_seconds: shorter pieces are left out: their time counts as unknown.
    """
    video_end = math.inf if end_seconds is None else end_seconds
    joined = {label: union(intervals) for label, intervals in by_label(spans).items()}
    unknown = union(unknown)
    times = {0.0, video_end}
    for interval in itertools.chain(unknown, *joined.values()):
        times |= {min(time, video_end) for time in interval}

    def holds(intervals: list[Interval], start: float, end: float) -> bool:
        place = bisect_right(intervals, (start, math.inf)) - 1
        return place >= 0 and end <= intervals[place][1]

    pieces: list[Piece] = []
    for start, end in itertools.pairwise(sorted(times)):
        if holds(unknown, start, end):
            continue
        labels = frozenset(name for name, found in joined.items() if holds(found, start, end))
        if pieces and pieces[-1].end_seconds == start and pieces[-1].labels == labels:
            start = pieces.pop().start_seconds
        pieces.append(Piece(start, None if math.isinf(end) else end, labels))
    return [
        piece
        for piece in pieces
        if piece.end_seconds is None or piece.end_seconds - piece.start_seconds >= min_seconds
    ]
