"""The standard table of labelled clips, as one of the formats.

Writing turns events into rows (see `msqnet.formats.rows`), with ``annotated`` = the ethogram of
the project. Reading turns rows into events: a label that holds in rows without a gap between them
is one event, so that pieces give back the events that they were cut from. A label that is unknown
in a row was not seen there: it makes no event, and counts as one that was not looked for in the
video. Labels in their order come from the table of labels beside it, where there is one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msqnet.data.records import Record
from msqnet.data.table import (
    TABLE_SUFFIXES,
    check_table_suffix,
    label_table_path,
    read_table,
    write_label_table,
    write_table,
)
from msqnet.errors import ConfigError, DatasetError, VocabularyError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import choose, choose_seconds, count_note
from msqnet.formats.rows import Level, RowSettings, rows_of
from msqnet.intervals import covers, union
from msqnet.labels import LabelSet
from msqnet.prompts import read_label_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPTIONS = {
    "level": "what a row is: pieces (cut wherever a label begins or ends), events, windows, videos",
    "min_seconds": "with level=pieces: leave out shorter pieces; their time is unknown then",
    "point_seconds": "length of the stretch that an event without a length stands for; 1",
    "window_seconds": "with level=windows: their length; 2",
    "subject": "take the events of this subject only",
    "modifiers": "true: a label with its modifiers is a label of its own, `groom (face)`",
}


@dataclass(frozen=True)
class ClipRows:
    """Rows of the standard table.

    Attributes:
        records: the rows; `Record.path` is where the video belongs, whether it is there or not.
        labels: every class in the official order, those without a single row too.
        notes: what a user should know: rows left out and why, assumptions about times.
    """

    records: tuple[Record, ...]
    labels: LabelSet
    notes: tuple[str, ...] = ()

    def annotations(self) -> Annotations:
        """Events of the rows.

        Raises:
            DatasetError: a row goes to the end of a video whose length is not known.
        """
        by_video: dict[Path, list[Record]] = {}
        for record in self.records:
            by_video.setdefault(record.path, []).append(record)
        everything = frozenset(self.labels)
        mixed = sum(len({(row.split, row.group) for row in rows}) > 1 for rows in by_video.values())
        unknown = sum(_loses_absence(rows, everything) for rows in by_video.values())
        notes = (
            *self.notes,
            *count_note(
                mixed,
                "videos with rows in several splits or groups, which are taken as those of the "
                "first",
            ),
            *count_note(
                unknown,
                "videos in which a label is absent in some rows and unknown in others, which is "
                "taken as unknown wherever it was not seen",
            ),
        )
        videos = tuple(_video(path, rows, everything) for path, rows in by_video.items())
        return Annotations(videos, self.labels, notes=notes)


def _known(rows: Sequence[Record], everything: frozenset[str]) -> list[frozenset[str]]:
    """Labels whose presence or absence is known in each row."""
    return [everything if row.annotated is None else row.annotated for row in rows]


def _loses_absence(rows: Sequence[Record], everything: frozenset[str]) -> bool:
    """Whether a label is known to be absent in some rows of a video and unknown in others."""
    known = _known(rows, everything)
    absent = {
        name for row, names in zip(rows, known, strict=True) for name in names - {*row.labels}
    }
    return not absent <= frozenset.intersection(*known)


def _video(path: Path, rows: Sequence[Record], everything: frozenset[str]) -> AnnotatedVideo:
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
    observed = tuple(union(times))
    is_whole = any(row.start_seconds is None and row.end_seconds is None for row in rows) or (
        length is not None and covers(observed, (0.0, length))
    )
    checked = frozenset.intersection(*_known(rows, everything))
    return AnnotatedVideo(
        path,
        tuple(events),
        length,
        checked=None if checked >= everything else checked,
        observed=None if is_whole else observed,
        split=rows[0].split,
        group=rows[0].group,
    )


def rows_from(annotations: Annotations, options: Mapping[str, str]) -> ClipRows:
    """Rows of all videos.

    Args:
        annotations: what was noted.
        options: some of the format's options.

    Raises:
        ConfigError: an option that does not fit.
        DatasetError: no event of the subject, or windows of a video of unknown length.
    """
    level: Level = choose(options, "level", get_args(Level))  # type: ignore[assignment]
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
    settings, ethogram = RowSettings(level, **lengths), frozenset(chosen.labels)
    records = [
        Record(
            row=0,
            path=video.path,
            relative_path=str(video.path),
            labels=tuple(sorted(row.labels)),
            annotated=row.annotated,
            start_seconds=row.start_seconds,
            end_seconds=row.end_seconds,
            split=video.split,
            group=video.group,
        )
        for video in chosen.videos
        for row in rows_of(video, ethogram, settings)
    ]
    notes = []
    subjects = {event.subject for event in annotations.events()} - {""}
    if len(subjects) > 1 and "subject" not in options:
        notes.append(
            f"labels of {len(subjects)} subjects are put together: a label is present while it "
            "holds for any of them; --option subject=NAME takes one"
        )
    if any(event.is_point for event in annotations.events()):
        notes.append(
            f"an event without a length stands for the {settings.point_seconds:g} s around it; "
            "--option point_seconds=... changes that"
        )
    if any(event.is_open for event in annotations.events()):
        notes.append(
            "a state without an end makes its label unknown from its start on, but present in a "
            "row of the whole video (level=videos)"
        )
    return ClipRows(tuple(records), chosen.all_labels(), tuple(notes))


def _of_subject(annotations: Annotations, subject: str) -> Annotations:
    found = {event.subject for event in annotations.events()}
    if subject not in found:
        names = ", ".join(sorted(name or "(none)" for name in found))
        raise ConfigError(f"option subject={subject}: no event of that subject; found: {names}")
    videos = tuple(
        replace(video, events=tuple(item for item in video.events if item.subject == subject))
        for video in annotations.videos
    )
    return replace(annotations, videos=videos)


def _with_modifiers(annotations: Annotations) -> Annotations:
    """The same with labels that have their modifiers in their names."""
    variants: dict[str, set[str]] = {}
    for event in annotations.events():
        if event.modifiers:
            variants.setdefault(event.label, set()).add(_with_modifiers_named(event).label)
    # A label that only ever stands with modifiers holds wherever one of its variants does: beside
    # them it would be a label that is absent there.
    kept = {_with_modifiers_named(event).label for event in annotations.events()}
    replaced = set(variants) - kept
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
        events = tuple(map(_with_modifiers_named, video.events))
        videos.append(replace(video, events=events, checked=checked))
    return replace(annotations, videos=tuple(videos), labels=LabelSet(tuple(names)))


def _with_modifiers_named(event: Event) -> Event:
    if not event.modifiers:
        return event
    return replace(event, label=clean_label(f"{event.label} ({', '.join(event.modifiers)})"))


def write_rows(rows: ClipRows, path: Path) -> None:
    """Write a table, and its labels beside it.

    Raises:
        DatasetError: no rows, or a name that a table cannot hold.
    """
    write_table(rows.records, path)
    write_label_table(rows.labels, label_table_path(path))


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    rows = rows_from(annotations, options)
    write_rows(rows, path)
    return rows.notes


def _files(path: Path) -> tuple[Path, ...]:
    check_table_suffix(path)
    return path, label_table_path(path)


def _read(path: Path, reading: Reading) -> Annotations:
    records = _placed(read_table(path).records, reading)
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
    return ClipRows(tuple(records), LabelSet(labels)).annotations()


def _placed(records: Sequence[Record], reading: Reading) -> list[Record]:
    """Rows whose videos are where the table says, or else where `Reading` finds them.

    Raises:
        DatasetError: two videos of the table would become the same one.
    """
    # Paths of a table have no symbolic links in their folder.
    home = replace(reading, videos=reading.videos.resolve())
    places: dict[Path, Path] = {}
    owners: dict[Path, Record] = {}
    placed = []
    for record in records:
        if record.path not in places:
            place = record.path
            # `os.path.exists` takes names of any length and character, from whatever a file holds.
            if not os.path.exists(place):  # noqa: PTH110
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
    suffixes=TABLE_SUFFIXES,
    drops=frozenset({"points", "open ends", "subjects", "modifiers", "scores", "comments"}),
    options=_OPTIONS,
    files=_files,
)
