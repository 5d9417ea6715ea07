"""The standard table of labelled clips, as one of the formats.

Writing turns events into rows; ``annotated`` is the ethogram of the project. A row says which
labels hold in all of it, and for which labels it is known whether they do:

- ``pieces``: the video is cut wherever a label begins or ends; times are kept.
- ``events``: a row an event. A label that covers only a part of it is unknown there.
- ``windows``: equally long intervals. A label that covers half of one or more is present, one that
  covers less of it is unknown.
- ``videos``: a row a video, with every label that is seen somewhere in it.

A point event stands for an interval around it. A state without an end makes its label unknown
from its start on; in its video it was seen. A label that is not in the ethogram is known only where
it is seen. Rows end with their video, whatever events say.

Reading turns rows into events: a label that holds in rows without a gap between them is one event,
so that pieces give back the events that they were cut from. A label that is unknown in a row makes
no event, and counts as one that was not looked for in the video. The order of the labels comes from
the table of labels beside it, where there is one.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.config import TableOptions
from msqnet.data.records import Record
from msqnet.data.table import (
    TABLE_SUFFIXES,
    check_table_suffix,
    label_table_path,
    read_table,
    write_label_table,
    write_table,
)
from msqnet.documents import exists
from msqnet.errors import ConfigError, DatasetError, VocabularyError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    count_notes,
    settled,
)
from msqnet.formats.frame_times import duration_seconds, shown_intervals
from msqnet.formats.options import choose, choose_seconds
from msqnet.intervals import (
    SAME_TIME_SECONDS,
    Interval,
    Span,
    by_label,
    covered_seconds,
    covers,
    cut,
    intersect,
    subtract,
    union,
)
from msqnet.labels import SEPARATOR, LabelSet
from msqnet.prompts import read_label_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

_LEVELS = ("pieces", "events", "windows", "videos")
_READING = {
    "columns": "when reading: which column is which, such as path=Video,labels=Behaviour; guessed "
    "from their names otherwise",
    "label_separator": "when reading: text between labels in a cell, beside |",
}
_OPEN = SEPARATOR
"""Before a label where it is open whether it still holds; no label has it in its name."""


@dataclass(frozen=True)
class ClipRows:
    """Rows of the standard table, and every class in the official order, also those without a row.

    `Record.path` is where the video belongs, whether it is there or not. Notes say which rows were
    left out and why, and what was assumed.
    """

    records: tuple[Record, ...]
    labels: LabelSet
    notes: tuple[str, ...] = ()

    def annotations(self) -> Annotations:
        """Events of the rows; `DatasetError` if one ends with a video of unknown length."""
        by_video: dict[Path, list[Record]] = {}
        for record in self.records:
            by_video.setdefault(record.path, []).append(record)
        num_mixed = num_unknown = 0
        videos = []
        for path, rows in by_video.items():
            num_mixed += len({(row.split, row.group) for row in rows}) > 1
            everything = frozenset(self.labels)
            known = [everything if row.annotated is None else row.annotated for row in rows]
            checked = frozenset.intersection(*known)
            # Whether a label is known to be absent in some rows and unknown in others.
            num_unknown += any(
                names - {*row.labels} - checked for row, names in zip(rows, known, strict=True)
            )
            videos.append(_video(path, rows, None if checked >= everything else checked))
        notes = {
            "videos with rows in several splits or groups, which are taken as those of the "
            "first": num_mixed,
            "videos in which a label is absent in some rows and unknown in others, which is "
            "taken as unknown wherever it was not seen": num_unknown,
        }
        return Annotations(tuple(videos), self.labels, notes=(*self.notes, *count_notes(notes)))


def _video(path: Path, rows: Sequence[Record], checked: frozenset[str] | None) -> AnnotatedVideo:
    length = duration_seconds(path)
    times = []
    for row in rows:
        end = row.end_seconds if row.end_seconds is not None else length
        if end is None:
            raise DatasetError(
                f"row {row.row}: it goes to the end of {row.relative_path}, whose length is not "
                "known; put the video there, or write the row's end into the table"
            )
        times.append((row.start_seconds or 0.0, end))
    events = []
    for name in sorted({name for row in rows for name in row.labels}):
        parts = [time for time, row in zip(times, rows, strict=True) if name in row.labels]
        events += [Event(name, start, end) for start, end in union(parts)]
    shown = shown_intervals(path) or ([] if length is None else [(0.0, length)])
    is_whole = any(row.start_seconds is None and row.end_seconds is None for row in rows) or (
        bool(shown) and not subtract(shown, times)
    )
    observed = None if is_whole else tuple(union(times))
    where = rows[0].split, rows[0].group
    return AnnotatedVideo(path, tuple(events), length, checked, observed, *where)


def rows_of(
    video: AnnotatedVideo,
    ethogram: frozenset[str],
    level: str = "pieces",
    *,
    min_seconds: float = 0.0,
    point_seconds: float = 1.0,
    window_seconds: float = 2.0,
) -> Iterator[Record]:
    """The rows of one video; `DatasetError` for windows of a video of unknown length.

    No row covers time without pictures, whatever the events say.

    Args:
        video: its events.
        ethogram: labels that were looked for, where the video does not say it itself.
        level: ``pieces``, ``events``, ``windows`` or ``videos``.
        min_seconds: shorter pieces are left out; their time is unknown then.
        point_seconds: length of the interval that a point event stands for.
        window_seconds: length of a window.
    """
    checked = video.known_of(ethogram)
    end_of_video = math.inf if video.duration_seconds is None else video.duration_seconds
    spans = [_span(event, end_of_video, point_seconds) for event in video.events]
    everything = [(0.0, math.inf)]
    shown = shown_intervals(video.path) or everything
    seen_intervals = shown if video.observed is None else intersect(shown, video.observed)

    def row(
        start: float | None, end: float | None, held: Collection[str], seen: Collection[str]
    ) -> Record:
        labels = frozenset(name for name in held if not name.startswith(_OPEN))
        known = checked - {name.removeprefix(_OPEN) for name in seen} | labels
        return Record(
            *(0, video.path, str(video.path), tuple(sorted(labels)), known, start, end),
            *(video.split, video.group),
            holds_throughout=level in ("pieces", "events"),
        )

    if level == "videos":
        labels = frozenset(span.label.removeprefix(_OPEN) for span in spans)
        record = row(None, None, labels, () if video.observed is None else checked)
        if record.annotated:
            yield record
    elif level == "pieces":
        unseen = subtract(everything, seen_intervals)
        for piece in cut(spans, video.duration_seconds, unknown=unseen, min_seconds=min_seconds):
            yield row(piece.start_seconds, piece.end_seconds, piece.labels, piece.labels)
    else:
        intervals_of = by_label(spans)
        is_events = level == "events"
        for start, end in (
            _event_intervals(spans, end_of_video, shown)
            if is_events
            else _windows(video, window_seconds, shown)
        ):
            if covers(seen_intervals, (start, end)):
                covered = {n: covered_seconds(i, (start, end)) for n, i in intervals_of.items()}
                # Rows can be shorter than the shortest difference between two times.
                shortest = min(SAME_TIME_SECONDS, (end - start) / 2)
                seen = [name for name in covered if covered[name] > shortest]
                least = (end - start) * (1.0 if is_events else 0.5) - SAME_TIME_SECONDS
                yield row(start, end, [name for name in seen if covered[name] >= least], seen)


def _span(event: Event, end_of_video: float, point_seconds: float) -> Span:
    start, end = event.start_seconds, event.end_seconds
    if end is None:
        return Span(_OPEN + event.label, start, max(start, end_of_video))
    if event.is_point:
        start = max(0.0, start - point_seconds / 2)
        end = min(max(end_of_video, event.start_seconds), end + point_seconds / 2)
    if abs(end - end_of_video) <= SAME_TIME_SECONDS:
        end = end_of_video
    return Span(event.label, start, end)


def _event_intervals(
    spans: Sequence[Span], end_of_video: float, shown: Sequence[Interval]
) -> list[Interval]:
    """The distinct intervals of events, as far as there are pictures."""
    first, last = shown[0][0], min(end_of_video, shown[-1][1])
    closed = [span for span in spans if not span.label.startswith(_OPEN)]
    times = {(max(first, span.start_seconds), min(span.end_seconds, last)) for span in closed}
    return sorted((start, end) for start, end in times if end > start)


def _windows(
    video: AnnotatedVideo, window_seconds: float, shown: Sequence[Interval]
) -> list[Interval]:
    duration, first = video.duration_seconds, shown[0][0]
    if duration is None:
        raise DatasetError(
            f"{video.path}: its length is not known, so it cannot be cut into windows; put the "
            "video there, or take --option level=pieces"
        )
    # The rest that a rounded length leaves over is no window of its own.
    end = min(duration, shown[-1][1])
    count = max(1, math.floor((end - first) / window_seconds + 1e-6))
    starts = [first + number * window_seconds for number in range(count)]
    return [(start, min(end, start + window_seconds)) for start in starts]


def rows_from(annotations: Annotations, options: Mapping[str, str]) -> ClipRows:
    """Rows of all videos, by options of the format.

    `ConfigError` for an option that does not fit, or a subject without an event; `DatasetError` for
    windows of a video of unknown length.
    """
    level = choose(options, "level", _LEVELS)
    lengths = {"min_seconds": 0.0, "point_seconds": 1.0, "window_seconds": 2.0}
    for name, default in lengths.items():
        lengths[name] = choose_seconds(options, name, default)
        if name != "min_seconds" and not lengths[name]:
            raise ConfigError(f"option {name}={options[name]}: expected more than 0 seconds")
    chosen = annotations
    if "subject" in options:
        chosen = _of_subject(chosen, options["subject"])
    if choose(options, "modifiers", ("false", "true")) == "true":
        chosen = _with_modifiers(chosen)
    ethogram = frozenset(chosen.labels)
    records = tuple(
        record for video in chosen.videos for record in rows_of(video, ethogram, level, **lengths)
    )
    notes = []
    subjects = {event.subject for event in annotations.events()} - {""}
    if len(subjects) > 1 and "subject" not in options:
        notes.append(
            f"labels of {len(subjects)} subjects are put together: a label is present while it "
            "holds for any of them; --option subject=NAME takes one"
        )
    if any(event.is_point for event in annotations.events()):
        notes.append(
            f"an event without a length stands for the {lengths['point_seconds']:g} s around it; "
            "--option point_seconds=... changes that"
        )
    if any(event.is_open for event in annotations.events()):
        notes.append(
            "a state without an end makes its label unknown from its start on, but present in a "
            "row of the whole video (level=videos)"
        )
    return ClipRows(records, chosen.all_labels(), tuple(notes))


def _of_subject(annotations: Annotations, subject: str) -> Annotations:
    found = {event.subject for event in annotations.events()}
    if subject not in found:
        names = ", ".join(sorted(name or "(none)" for name in found))
        raise ConfigError(f"option subject={subject}: no event of that subject; found: {names}")
    videos = []
    for video in annotations.videos:
        events = tuple(event for event in video.events if event.subject == subject)
        # What nobody is named for may be of this subject.
        left_out = frozenset(event.label for event in video.events if not event.subject)
        videos.append(replace(video, events=events, left_out=left_out))
    return settled(replace(annotations, videos=tuple(videos)))


def _with_modifiers(annotations: Annotations) -> Annotations:
    """The same with labels that have their modifiers in their names."""

    def named(event: Event) -> Event:
        if not event.modifiers:
            return event
        return replace(event, label=clean_label(f"{event.label} ({', '.join(event.modifiers)})"))

    variants: dict[str, set[str]] = {}
    for event in annotations.events():
        if event.modifiers:
            variants.setdefault(event.label, set()).add(named(event).label)
    # A label that only ever stands with modifiers holds wherever one of its variants does: beside
    # them it would be a label that is absent there.
    replaced = set(variants) - {named(event).label for event in annotations.events()}
    names = dict.fromkeys(
        name
        for label in annotations.labels
        for name in (*({label} - replaced), *sorted(variants.get(label, ())))
    )
    videos = []
    for video in annotations.videos:
        checked = video.checked
        if checked is not None:
            # Who looked for a label looked for it with its modifiers too.
            more = {name for label in checked for name in variants.get(label, ())}
            checked = (checked - replaced) | more
        videos.append(replace(video, events=tuple(map(named, video.events)), checked=checked))
    return replace(annotations, videos=tuple(videos), labels=LabelSet(tuple(names)))


def write_rows(rows: ClipRows, path: Path) -> tuple[str, ...]:
    """Write a table, and its labels beside it; `DatasetError` for no rows, or an unfit name."""
    write_table(rows.records, path)
    write_label_table(rows.labels, label_table_path(path))
    return ()


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    rows = rows_from(annotations, options)
    write_rows(rows, path)
    return rows.notes


def _files(path: Path) -> tuple[Path, ...]:
    check_table_suffix(path)
    return path, label_table_path(path)


def read_clip_rows(path: Path, reading: Reading) -> ClipRows:
    """The rows of a table, and its labels: those beside it, then others in order of their names.

    `DatasetError` if there is no such table, or it is malformed.
    """
    told = {name: reading.options[name] for name in _READING if name in reading.options}
    table = read_table(path, TableOptions(**told))
    records = _placed(table.records, reading)
    named = {name for row in records for name in (*row.labels, *(row.annotated or ()))}
    labels: tuple[str, ...] = ()
    labels_path = label_table_path(path)
    # A project without labels has a header there only.
    if labels_path.is_file() and len(labels_path.read_bytes().splitlines()) > 1:
        try:
            labels = LabelSet(tuple(read_label_table(labels_path))).names
        except VocabularyError as error:
            raise DatasetError(f"{labels_path}: {error}; correct the row") from error
    labels += tuple(sorted(named - set(labels)))
    return ClipRows(tuple(records), LabelSet(labels), table.notes)


def _read(path: Path, reading: Reading) -> Annotations:
    return read_clip_rows(path, reading).annotations()


def _placed(records: Sequence[Record], reading: Reading) -> list[Record]:
    """Rows whose videos are where the table says, or else where `Reading` finds them.

    `DatasetError` if two videos of the table would become the same one.
    """
    # Paths of a table have no symbolic links in their folder.
    home = replace(reading, videos=reading.videos.resolve())
    places: dict[Path, Path] = {}
    owners: dict[Path, Record] = {}
    placed = []
    for record in records:
        if record.path not in places:
            place = record.path
            if not exists(place):
                place = Path(os.path.normpath(home.video_path(record.relative_path)))
            other = owners.setdefault(place, record)
            if other.path != record.path:
                raise DatasetError(
                    f"row {record.row}: found {place} for {record.relative_path}, which is the "
                    f"video of row {other.row}, {other.relative_path}, too; expected a video each; "
                    "put both where the table says, or name their folder with --root"
                )
            places[record.path] = place
        placed.append(replace(record, path=places[record.path]))
    return placed


FORMAT = Format(
    "table",
    "the table of clips of msqnet",
    read=_read,
    write=_write,
    write_rows=write_rows,
    suffixes=TABLE_SUFFIXES,
    members=tuple(f"*{suffix}" for suffix in TABLE_SUFFIXES),
    drops=frozenset({"points", "open ends", "subjects", "modifiers", "scores", "comments"}),
    options={
        "level": "what a row is: pieces (cut wherever a label begins or ends), events, windows, "
        "videos",
        "min_seconds": "with level=pieces: leave out shorter pieces; their time is unknown then",
        "point_seconds": "length of the interval that an event without a length stands for; 1",
        "window_seconds": "with level=windows: their length; 2",
        "subject": "take the events of this subject only",
        **_READING,
        "modifiers": "true: a label with its modifiers is a label of its own, `groom (face)`",
    },
    files=_files,
)
