"""The standard table of labelled clips, as one of the formats.

Writing turns events into rows (see `msqnet.formats.rows`), with ``annotated`` = the ethogram of
the project. Reading turns rows into events: a label that holds in rows without a gap between them
is one event, so that pieces give back the events that they were cut from. A label that is unknown
in a row was not seen there: it makes no event, and counts as one that was not looked for in the
video. Labels in their order come from the table of labels beside it, where there is one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msqnet.data.adapters.annotation_files import as_rows, choose, count_note, parse_seconds
from msqnet.data.records import Record
from msqnet.data.table import label_table_path, read_table, write_label_table, write_table
from msqnet.errors import ConfigError, DatasetError, VocabularyError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.rows import Level, RowSettings, rows_of
from msqnet.intervals import covers, union
from msqnet.labels import LabelSet
from msqnet.prompts import read_label_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_OPTIONS = {
    "level": "what a row is: pieces (cut wherever a label begins or ends), events, windows, videos",
    "min_seconds": "with level=pieces: leave out shorter pieces; their time is unknown then",
    "point_seconds": "length of the stretch that an event without a length stands for; 1",
    "window_seconds": "with level=windows: their length; 2",
    "subject": "take the events of this subject only",
    "modifiers": "true: a label with its modifiers is a label of its own, `groom (face)`",
}


def to_records(
    annotations: Annotations, options: Mapping[str, str], folder: Path
) -> tuple[tuple[Record, ...], LabelSet]:
    """Rows of all videos, and the labels in order.

    Args:
        annotations: what was noted.
        options: some of the format's options.
        folder: that relative paths start from.

    Raises:
        ConfigError: an option that does not fit.
        DatasetError: no event of the subject, or windows of a video of unknown length.
    """
    settings = _row_settings(options)
    chosen = _with_modifiers(_of_subject(annotations, options.get("subject")), options)
    ethogram = frozenset(chosen.labels)
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
    return as_rows(records, folder), chosen.all_labels()


def from_records(
    records: Iterable[Record], labels: LabelSet | None = None, notes: Sequence[str] = ()
) -> Annotations:
    """Events of the rows of a table.

    Args:
        records: rows in any order.
        labels: the ethogram; by default every label that a row shows or was checked for.
        notes: to go with the result.

    Raises:
        DatasetError: a row goes to the end of a video whose length is not known.
    """
    by_video: dict[Path, list[Record]] = {}
    for record in records:
        by_video.setdefault(record.path, []).append(record)
    if labels is None:
        labels = LabelSet(tuple(sorted(_named(row for rows in by_video.values() for row in rows))))
    videos = tuple(_video(path, rows, labels) for path, rows in by_video.items())
    mixed = sum(len({(row.split, row.group) for row in rows}) > 1 for rows in by_video.values())
    unknown = sum(_loses_absence(rows, frozenset(labels)) for rows in by_video.values())
    lost = (
        *count_note(
            mixed,
            "videos with rows in several splits or groups, which are taken as those of the first",
        ),
        *count_note(
            unknown,
            "videos in which a label is absent in some rows and unknown in others, which is taken "
            "as unknown wherever it was not seen",
        ),
    )
    return Annotations(videos, labels, notes=(*notes, *lost))


def _named(rows: Iterable[Record]) -> set[str]:
    """Every label that a row shows or was checked for."""
    return {name for row in rows for name in (*row.labels, *(row.annotated or ()))}


def _loses_absence(rows: Sequence[Record], everything: frozenset[str]) -> bool:
    """Whether a label is known to be absent in some rows of a video and unknown in others."""
    known = [everything if row.annotated is None else row.annotated for row in rows]
    absent = {
        name for row, names in zip(rows, known, strict=True) for name in names - {*row.labels}
    }
    return not absent <= frozenset.intersection(*known)


def _video(path: Path, rows: Sequence[Record], labels: LabelSet) -> AnnotatedVideo:
    length = duration_seconds(path)
    times = [_times(row, length) for row in rows]
    events = []
    for name in sorted({name for row in rows for name in row.labels}):
        parts = [time for time, row in zip(times, rows, strict=True) if name in row.labels]
        events += [Event(name, start, end) for start, end in union(parts)]
    everything = frozenset(labels)
    known = [everything if row.annotated is None else row.annotated for row in rows]
    observed = tuple(union(times))
    is_whole = any(row.start_seconds is None and row.end_seconds is None for row in rows) or (
        length is not None and covers(observed, (0.0, length))
    )
    checked = frozenset.intersection(*known)
    return AnnotatedVideo(
        path,
        tuple(events),
        length,
        checked=None if checked >= everything else checked,
        observed=None if is_whole else observed,
        split=rows[0].split,
        group=rows[0].group,
    )


def _times(row: Record, length: float | None) -> tuple[float, float]:
    end = row.end_seconds if row.end_seconds is not None else length
    if end is None:
        raise DatasetError(
            f"row {row.row}: it goes to the end of {row.relative_path}, whose length is not known; "
            "put the video there, or write the row's end into the table"
        )
    return row.start_seconds or 0.0, end


def _row_settings(options: Mapping[str, str]) -> RowSettings:
    level: Level = choose(options, "level", get_args(Level))  # type: ignore[assignment]
    lengths: dict[str, float] = {}
    for name in ("min_seconds", "point_seconds", "window_seconds"):
        if name not in options:
            continue
        try:
            lengths[name] = parse_seconds(options[name])
        except ValueError as error:
            raise ConfigError(
                f"option {name}={options[name]}: expected a number of seconds such as 0.5"
            ) from error
        if name != "min_seconds" and not lengths[name]:
            raise ConfigError(f"option {name}={options[name]}: expected more than 0 seconds")
    return RowSettings(level, **lengths)


def _of_subject(annotations: Annotations, subject: str | None) -> Annotations:
    if subject is None:
        return annotations
    found = {event.subject for event in annotations.events()}
    if subject not in found:
        names = ", ".join(sorted(name or "(none)" for name in found))
        raise ConfigError(f"option subject={subject}: no event of that subject; found: {names}")
    videos = tuple(
        replace(video, events=tuple(item for item in video.events if item.subject == subject))
        for video in annotations.videos
    )
    return replace(annotations, videos=videos)


def _with_modifiers(annotations: Annotations, options: Mapping[str, str]) -> Annotations:
    if choose(options, "modifiers", ("false", "true")) == "false":
        return annotations
    videos = tuple(
        replace(video, events=tuple(_modified(event) for event in video.events))
        for video in annotations.videos
    )
    changed = replace(annotations, videos=videos)
    variants: dict[str, set[str]] = {}
    for event in annotations.events():
        if event.modifiers:
            variants.setdefault(event.label, set()).add(_modified(event).label)
    # A label that only ever stands with modifiers holds wherever one of its variants does: beside
    # them it would be a label that is absent there.
    replaced = set(variants) - {event.label for event in changed.events()}
    names = dict.fromkeys(
        name
        for label in annotations.labels
        for name in (*({label} - replaced), *sorted(variants.get(label, ())))
    )
    videos = tuple(_with_variants(video, variants, replaced) for video in changed.videos)
    return replace(changed, videos=videos, labels=LabelSet(tuple(names)))


def _with_variants(
    video: AnnotatedVideo, variants: Mapping[str, set[str]], replaced: set[str]
) -> AnnotatedVideo:
    """Who looked for a label looked for it with its modifiers too."""
    if video.checked is None:
        return video
    more = {name for label in video.checked for name in variants.get(label, ())}
    return replace(video, checked=(video.checked - replaced) | more)


def _modified(event: Event) -> Event:
    if not event.modifiers:
        return event
    return replace(event, label=clean_label(f"{event.label} ({', '.join(event.modifiers)})"))


def _read(path: Path, reading: Reading) -> Annotations:
    records = _placed(read_table(path).records, reading)
    labels_path = label_table_path(path)
    # A project without labels has a header there only.
    if not labels_path.is_file() or len(labels_path.read_bytes().splitlines()) < 2:
        return from_records(records)
    try:
        labels = LabelSet(tuple(read_label_table(labels_path)))
    except VocabularyError as error:
        raise DatasetError(f"{labels_path}: {error}; correct the row") from error
    others = _named(records) - set(labels)
    return from_records(records, LabelSet((*labels, *sorted(others))))


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


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    records, labels = to_records(annotations, options, path.parent)
    write_table(records, path)
    write_label_table(labels, label_table_path(path))
    notes = []
    subjects = {event.subject for event in annotations.events()} - {""}
    if len(subjects) > 1 and "subject" not in options:
        notes.append(
            f"labels of {len(subjects)} subjects are put together: a label is present while it "
            "holds for any of them; --option subject=NAME takes one"
        )
    if any(event.is_point for event in annotations.events()):
        seconds = _row_settings(options).point_seconds
        notes.append(
            f"an event without a length stands for the {seconds:g} s around it; "
            "--option point_seconds=... changes that"
        )
    if any(event.is_open for event in annotations.events()):
        notes.append(
            "a state without an end makes its label unknown from its start on, but present in a "
            "row of the whole video (level=videos)"
        )
    return tuple(notes)


FORMAT = Format(
    "table",
    "the table of clips of msqnet",
    read=_read,
    write=_write,
    suffixes=(".csv", ".tsv", ".parquet"),
    drops=frozenset({"points", "open ends", "subjects", "modifiers", "scores", "comments"}),
    options=_OPTIONS,
)
