"""Events of a video as rows of the standard table, at four levels.

A row says which labels hold in all of it, and for which labels it is known whether they do:

- ``pieces``: the video is cut wherever a label begins or ends; times are kept.
- ``events``: a row an event. A label that covers a part of it only is unknown there.
- ``windows``: equally long intervals. A label that covers half of one or more is present, one that
  covers less of it is unknown.
- ``videos``: a row a video, with every label that is seen somewhere in it.

A point event stands for an interval around it. A state without an end makes its label unknown
from its start on; in its video it was seen. A label that is not in the ethogram is known only where
it is seen. Rows end with their video, whatever events say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msqnet.errors import DatasetError
from msqnet.intervals import (
    SAME_TIME_SECONDS,
    Interval,
    Span,
    covered_seconds,
    covers,
    cut,
    subtract,
)
from msqnet.labels import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msqnet.formats.annotations import AnnotatedVideo, Event

Level = Literal["pieces", "events", "windows", "videos"]

_OPEN = SEPARATOR
"""Before a label where it is open whether it still holds; no label has it in its name."""


@dataclass(frozen=True)
class RowSettings:
    """How events become rows.

    Attributes:
        level: what a row is.
        min_seconds: shorter pieces are left out; their time is unknown then.
        point_seconds: length of the interval that a point event stands for.
        window_seconds: length of a window.
    """

    level: Level = "pieces"
    min_seconds: float = 0.0
    point_seconds: float = 1.0
    window_seconds: float = 2.0


@dataclass(frozen=True)
class Row:
    """What a row of the table says, without its video.

    Attributes:
        start_seconds: None for the start of the video.
        end_seconds: None for its end.
        labels: what holds in all of it.
        annotated: labels whose presence or absence is known.
    """

    start_seconds: float | None
    end_seconds: float | None
    labels: frozenset[str]
    annotated: frozenset[str]


def rows_of(
    video: AnnotatedVideo, ethogram: frozenset[str], settings: RowSettings
) -> Iterator[Row]:
    """The rows of one video.

    Args:
        video: its events.
        ethogram: labels that were looked for, where the video does not say it itself.
        settings: how events become rows.

    Raises:
        DatasetError: windows are wanted of a video whose length is not known.
    """
    checked = ethogram if video.checked is None else video.checked
    spans = [_span(event, video.duration_seconds, settings) for event in video.events]
    if settings.level == "videos":
        labels = frozenset(span.label.removeprefix(_OPEN) for span in spans)
        known = labels if video.observed is not None else checked | labels
        if known:
            yield Row(None, None, labels, known)
    elif settings.level == "pieces":
        yield from _pieces(video, spans, checked, settings.min_seconds)
    else:
        intervals = (
            _events(spans, video.duration_seconds)
            if settings.level == "events"
            else _windows(video, settings.window_seconds)
        )
        min_share = 1.0 if settings.level == "events" else 0.5
        for start, end in intervals:
            if video.observed is None or covers(video.observed, (start, end)):
                yield _row(start, end, spans, checked, min_share)


def _span(event: Event, duration_seconds: float | None, settings: RowSettings) -> Span:
    end_of_video = math.inf if duration_seconds is None else duration_seconds
    start, end = event.start_seconds, event.end_seconds
    if end is None:
        return Span(_OPEN + event.label, start, max(start, end_of_video))
    if event.is_point:
        start = max(0.0, start - settings.point_seconds / 2)
        end = min(max(end_of_video, event.start_seconds), end + settings.point_seconds / 2)
    if abs(end - end_of_video) <= SAME_TIME_SECONDS:
        end = end_of_video
    return Span(event.label, start, end)


def _pieces(
    video: AnnotatedVideo, spans: list[Span], checked: frozenset[str], min_seconds: float
) -> Iterator[Row]:
    unseen = [] if video.observed is None else subtract([(0.0, math.inf)], video.observed)
    for piece in cut(spans, video.duration_seconds, unknown=unseen, min_seconds=min_seconds):
        labels = frozenset(name for name in piece.labels if not name.startswith(_OPEN))
        unknown = {name.removeprefix(_OPEN) for name in piece.labels - labels}
        yield Row(piece.start_seconds, piece.end_seconds, labels, checked - unknown | labels)


def _events(spans: list[Span], duration_seconds: float | None) -> list[Interval]:
    end_of_video = math.inf if duration_seconds is None else duration_seconds
    closed = [span for span in spans if not span.label.startswith(_OPEN)]
    times = {(span.start_seconds, min(span.end_seconds, end_of_video)) for span in closed}
    return sorted((start, end) for start, end in times if end > start)


def _windows(video: AnnotatedVideo, window_seconds: float) -> list[Interval]:
    duration = video.duration_seconds
    if duration is None:
        raise DatasetError(
            f"{video.path}: its length is not known, so it cannot be cut into windows; put the "
            "video there, or take --option level=pieces"
        )
    # What a rounded length leaves over is no window of its own.
    count = max(1, math.floor(duration / window_seconds + 1e-6))
    return [
        (number * window_seconds, min(duration, (number + 1) * window_seconds))
        for number in range(count)
    ]


def _row(
    start: float, end: float, spans: list[Span], checked: frozenset[str], min_share: float
) -> Row:
    by_label: dict[str, list[Interval]] = {}
    for span in spans:
        by_label.setdefault(span.label, []).append(span.interval)
    covered = {name: covered_seconds(parts, (start, end)) for name, parts in by_label.items()}
    # Rows can be shorter than what counts as a time of its own.
    seen = [name for name in covered if covered[name] > min(SAME_TIME_SECONDS, (end - start) / 2)]
    least = min_share * (end - start) - SAME_TIME_SECONDS
    labels = frozenset(
        name for name in seen if not name.startswith(_OPEN) and covered[name] >= least
    )
    unknown = {name.removeprefix(_OPEN) for name in seen}
    return Row(start, end, labels, checked - unknown | labels)
