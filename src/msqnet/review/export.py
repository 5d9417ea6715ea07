"""A project as the table of clips, and as annotations for every other format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msqnet.data.records import Record
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.clip_table import ClipRows, write_rows
from msqnet.formats.conversion import write_annotations
from msqnet.formats.frame_times import shown_intervals
from msqnet.intervals import (
    SAME_TIME_SECONDS,
    Span,
    covered_seconds,
    covers,
    cut,
    intersect,
    subtract,
)
from msqnet.labels import SEPARATOR, LabelSet
from msqnet.review.items import Mark, Segment, State, known_intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.intervals import Interval
    from msqnet.review.project import Label, Project, Video

POINT_SECONDS = 1.0
"""Length of the interval that a point stands for in the table, which knows no points."""

_KNOWN = SEPARATOR
"""Before a label in the time in which it is known whether it holds; no label has it in its name."""
_NO_OPTIONS: Mapping[str, str] = {}
_EVERYTHING = [(0.0, math.inf)]
_NUM_CANDIDATES = 8
"""Sets of intervals that are tried as what was looked at, the longest ones."""


@dataclass(frozen=True)
class Contents:
    """What a project holds, apart from it: it can be written while the project is changed."""

    videos: tuple[tuple[Video, tuple[Segment | Mark, ...]], ...]
    labels: tuple[Label, ...]

    @classmethod
    def of(cls, project: Project) -> Contents:
        """All of a project as it is now."""
        videos = tuple((video, project.items(video.id)) for video in project.videos())
        return cls(videos, project.labels())

    @property
    def names(self) -> LabelSet:
        """The labels in order."""
        return LabelSet(tuple(label.name for label in self.labels))

    def records(self) -> Iterator[Record]:
        """Rows of the table: pieces in which the same labels hold, and the same ones are known.

        A label that is somewhere in a row, untimed, stays a row of its own.
        """
        for video, items in self.videos:
            if items:
                yield from _records(video, items)

    def annotations(self) -> tuple[Annotations, tuple[str, ...]]:
        """Accepted segments as events; notes say what only the table holds."""
        found, num_cut, num_open = [], 0, 0
        for video, items in self.videos:
            checked, observed, is_cut = _looked_at(video, items, tuple(self.names))
            num_cut += is_cut
            num_open += sum(isinstance(item, Segment) and item.state.is_open for item in items)
            found.append(
                AnnotatedVideo(
                    *(video.path, _events(items), video.duration_seconds, checked, observed),
                    *(video.fields.get("split", ""), video.fields.get("group", "")),
                )
            )
        notes = []
        if num_open:
            notes.append(f"segments that nobody has accepted or rejected are left out: {num_open}")
        if num_cut:
            notes.append(
                "videos of which more was looked at than this format can say, which is unknown "
                f"in it; the table says all of it: {num_cut}"
            )
        points = frozenset(label.name for label in self.labels if label.is_point)
        return Annotations(tuple(found), self.names, points), tuple(notes)


def write_project_table(contents: Contents, path: Path) -> int:
    """Write the table and its labels; returns the number of rows, 0 where nothing is known yet."""
    records = tuple(contents.records())
    if records:
        write_rows(ClipRows(records, contents.names), path)
    return len(records)


def write_format(
    contents: Contents,
    name: str,
    path: Path,
    options: Mapping[str, str] = _NO_OPTIONS,
    *,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write a project in a format; returns what was written, assumed and dropped.

    `ConfigError` if something is there already, an option does not fit, or the format can only be
    read.
    """
    target = load_format(name)
    if target.write is None:
        raise ConfigError(f"{name}: {target.title} can only be read")
    if unknown := sorted(set(options) - set(target.options)):
        known = ", ".join(target.options) or "none"
        raise ConfigError(f"{name}: no option {unknown[0]!r}; known are: {known}")
    for file in (path,) if target.files is None else target.files(path):
        if file.exists() and not overwrite:
            raise ConfigError(f"{file.name} exists; choose another name, or replace it")
    if name == "table" and not options:
        num_rows = write_project_table(contents, path)
        if not num_rows:
            raise DatasetError("nothing is annotated yet, so there is no row to write")
        return (f"{path}: {num_rows} rows",)
    annotations, notes = contents.annotations()
    written = write_annotations(annotations, None, target, path, options)
    return *written, *(f"note: {note}" for note in notes)


def _events(items: Sequence[Segment | Mark]) -> tuple[Event, ...]:
    return tuple(
        Event(*(item.label, item.start, item.end, item.subject, item.modifiers, None, item.comment))
        for item in items
        if isinstance(item, Segment) and item.state is State.ACCEPTED
    )


def _spans(item: Segment, end_of_video: float) -> Iterator[Span]:
    """Where an accepted segment holds and is known; a point stands for the time around it."""
    start, end = item.start, item.end
    if end is None:
        return
    if start == end:
        start = max(0.0, start - POINT_SECONDS / 2)
        end = min(max(end_of_video, end), end + POINT_SECONDS / 2)
    if abs(end - end_of_video) <= SAME_TIME_SECONDS:
        end = end_of_video
    if end > start:
        yield Span(item.label, start, end)
        yield Span(_KNOWN + item.label, start, end)


def _records(video: Video, items: Sequence[Segment | Mark]) -> Iterator[Record]:
    length = video.duration_seconds
    end_of_video = math.inf if length is None else length
    segments = [item for item in items if isinstance(item, Segment)]
    names = {item.label for item in segments}
    names |= {name for item in items if isinstance(item, Mark) for name in item.labels}
    spans = [
        Span(_KNOWN + name, start, end)
        for name in sorted(names)
        for start, end in known_intervals(items, name)
    ]
    for item in segments:
        if item.state is State.ACCEPTED:
            spans += _spans(item, end_of_video)

    def row(start: float, end: float | None, held: Sequence[str], known: Sequence[str]) -> Record:
        return Record(
            *(0, video.path, str(video.path), tuple(held), frozenset(known), start, end),
            **video.fields,
            holds_throughout=True,
        )

    shown = shown_intervals(video.path) or _EVERYTHING
    unseen = subtract(_EVERYTHING, shown)
    for piece in cut(spans, length, unknown=unseen, min_seconds=SAME_TIME_SECONDS):
        known = [name.removeprefix(_KNOWN) for name in piece.labels if name.startswith(_KNOWN)]
        if known:
            held = sorted(name for name in piece.labels if not name.startswith(_KNOWN))
            yield row(piece.start_seconds, piece.end_seconds, held, known)
    untimed: dict[Interval, set[str]] = {}
    for item in segments:
        if item.state is State.UNTIMED:
            untimed.setdefault(item.interval, set()).add(item.label)
    for (start, end), labels in untimed.items():
        held = sorted(labels)
        found = row(start, None if math.isinf(end) else end, held, held)
        yield Record(**{**vars(found), "holds_throughout": False})


def _looked_at(
    video: Video, items: Sequence[Segment | Mark], labels: Sequence[str]
) -> tuple[frozenset[str] | None, tuple[Interval, ...] | None, bool]:
    """Labels that were looked for in all of some intervals, and these; whether that is not all.

    Formats other than the table can say no more. None stands for all labels, or the whole video.
    """
    whole = (0.0, math.inf if video.duration_seconds is None else video.duration_seconds)
    known = {
        name: intersect(known_intervals(items, name, without_open_ends=False), [whole])
        for name in labels
    }
    found = {tuple(intervals) for intervals in known.values() if intervals}
    candidates = sorted(found, key=lambda intervals: -_seconds(intervals))[:_NUM_CANDIDATES]

    def checked_in(intervals: Sequence[Interval]) -> frozenset[str]:
        return frozenset(name for name, own in known.items() if not subtract(intervals, own))

    def area(intervals: tuple[Interval, ...]) -> float:
        return _seconds(intervals) * len(checked_in(intervals))

    observed = max(candidates, key=area, default=())
    if not observed:
        return frozenset(), None, False
    checked = checked_in(observed)
    said = {name: intersect(own, observed) for name, own in known.items() if name in checked}
    for item in items:
        if isinstance(item, Segment) and item.state is State.ACCEPTED and item.end is not None:
            said.setdefault(item.label, []).append(item.interval)
    is_cut = any(
        _seconds(own) - covered_seconds(said.get(name, []), (0.0, math.inf)) > 1e-3
        for name, own in known.items()
    )
    return (
        None if len(checked) == len(labels) else checked,
        None if covers(observed, whole) else observed,
        is_cut,
    )


def _seconds(intervals: Sequence[Interval]) -> float:
    """How long intervals are together; one without an end is very long."""
    return sum(min(end, 1e9) - start for start, end in intervals)
