"""The standard table of labelled clips, as one of the formats.

Writing turns events into rows (see `msqnet.formats.rows`), with ``annotated`` = the ethogram of
the project. Reading turns rows into events: a label that holds in rows without a gap between them
is one event, so that pieces give back the events that they were cut from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from msqnet.data.adapters.annotation_files import as_rows, choose, count_note, parse_seconds
from msqnet.data.records import Record
from msqnet.data.table import read_table
from msqnet.data.writer import label_table_path, write_label_table, write_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    Format,
    Reading,
    clean_label,
)
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.rows import Level, RowSettings, rows_of
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_TOUCH_SECONDS = 1e-6
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
        rows = [record for group in by_video.values() for record in group]
        named = {name for record in rows for name in (*record.labels, *(record.annotated or ()))}
        labels = LabelSet(tuple(sorted(named)))
    videos = tuple(_video(path, rows, labels) for path, rows in by_video.items())
    mixed = sum(len({(row.split, row.group) for row in rows}) > 1 for rows in by_video.values())
    lost = count_note(
        mixed, "videos with rows in several splits or groups, which are taken as those of the first"
    )
    return Annotations(videos, labels, notes=(*notes, *lost))


def _video(path: Path, rows: Sequence[Record], labels: LabelSet) -> AnnotatedVideo:
    length = duration_seconds(path)
    times = [_times(row, length) for row in rows]
    events = []
    for name in sorted({name for row in rows for name in row.labels}):
        parts = [time for time, row in zip(times, rows, strict=True) if name in row.labels]
        events += [Event(name, start, end) for start, end in _joined(parts)]
    everything = frozenset(labels)
    known = [everything if row.annotated is None else row.annotated for row in rows]
    opened = _opened(everything, list(zip(times, known, rows, strict=True)))
    events += [Event(name, start, None) for name, start in opened.items()]
    observed = tuple(_joined(times))
    is_whole = any(row.start_seconds is None and row.end_seconds is None for row in rows) or (
        length is not None
        and len(observed) == 1
        and observed[0][0] <= _TOUCH_SECONDS
        and observed[0][1] >= length - _TOUCH_SECONDS
    )
    checked = frozenset.intersection(*known) | frozenset(opened)
    return AnnotatedVideo(
        path,
        tuple(events),
        length,
        checked=None if checked >= everything else checked,
        observed=None if is_whole else observed,
        split=rows[0].split,
        group=rows[0].group,
    )


def _opened(
    labels: frozenset[str],
    rows: Sequence[tuple[tuple[float, float], frozenset[str], Record]],
) -> dict[str, float]:
    """Labels that are known up to some time, and from then on only where they are seen.

    That is how rows show a state that nobody ended.

    Args:
        labels: candidates.
        rows: times, known labels and record of each row of a video.

    Returns:
        When each such label begins to be open, in seconds.
    """
    opened = {}
    for name in sorted(labels):
        unknown = [start for (start, _), known, _ in rows if name not in known]
        if not unknown:
            continue
        first = min(unknown)
        earlier = [name in known for (start, _), known, _ in rows if start < first]
        later = [
            name not in known or name in row.labels
            for (start, _), known, row in rows
            if start >= first
        ]
        if earlier and all(later):
            opened[name] = first
    return opened


def _times(row: Record, length: float | None) -> tuple[float, float]:
    end = row.end_seconds if row.end_seconds is not None else length
    if end is None:
        raise DatasetError(
            f"row {row.row}: it goes to the end of {row.relative_path}, whose length is not known; "
            "put the video there, or write the row's end into the table"
        )
    return row.start_seconds or 0.0, end


def _joined(parts: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Stretches without a gap, in order, from such that touch or overlap."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(parts):
        if joined and start <= joined[-1][1] + _TOUCH_SECONDS:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


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
    del reading
    return from_records(read_table(path).records)


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
    return tuple(notes)


FORMAT = Format(
    "table",
    "the table of clips of msqnet",
    ".csv",
    frozenset(
        {"open ends", "ethogram", "unchecked labels", "observed stretches", "splits", "groups"}
    ),
    _read,
    _write,
    _OPTIONS,
)
