"""Tables of events that BORIS exports: aggregated (a row an event), tabular (a row a start or end).

Columns are found by the names that BORIS 6 to 10 give them, in ``.tsv`` or ``.csv``; rows above
the header, which older tabular files have, may name the observation and its media. Written are
aggregated events with the columns of BORIS 8 to 10. Seconds have three decimals, as there, and more
where an event has more.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from msqnet.documents import decimal_point, read_delimited
from msqnet.errors import DatasetError
from msqnet.files import replacing
from msqnet.formats import Format
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    clean_label,
    comment_with_score,
    count_notes,
)
from msqnet.formats.boris.boris_observations import (
    CHECKED,
    NO_FOCAL_SUBJECT,
    VARIABLES,
    Coded,
    Medium,
    chosen,
    cut_to_videos,
    observation_names,
    queue,
    repeated_note,
    replaced_modifiers,
    written_medium,
    written_modifiers,
    written_variables,
)
from msqnet.formats.frame_times import duration_seconds
from msqnet.intervals import END_TOLERANCE_SECONDS
from msqnet.labels import LabelSet
from msqnet.workbooks import SPREADSHEET_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.documents import Table, TableRow, Value
    from msqnet.formats import Reading
    from msqnet.formats.annotations import Event

_ADVICE = "export the events from BORIS again"
_DELIMITERS = {".tsv": "\t", ".csv": ","}

_START, _STOP, _TIME, _BEHAVIOUR = "Start (s)", "Stop (s)", "Time", "Behavior"
_DURATION = "Duration (s)"
_STATUS = ("Behavior type", "Status")
_MODIFIERS = re.compile(r"Modifiers?(?: #?\d+)?")
_PLAYER = re.compile(r"player #(\d+): ?", re.IGNORECASE)
_MISSING = ("", "NA", "Not found")
_NOT_VIDEO = ("live", "pictures", "images")
_MEDIUM = ("Media file name", "Media file", "Media file path")
_TOTAL = "Total length"
_OF_OBSERVATION = (
    *("Observation type", "Source", "Media file(s)", "Media duration (s)"),
    *("Time offset (s)", _TOTAL),
)
"""Columns that say the same in all rows of an observation."""
_SAME_FILE_SECONDS = 0.1
"""How far lengths of files may move the border between two of them."""

_NA = "NA"
_OBSERVATION_COLUMNS = (
    *("Observation id", "Observation date", "Description", "Observation type", "Source"),
    *("Time offset (s)", "Coding duration", "Media duration (s)", "FPS (frame/s)"),
)
_SUBJECT_COLUMNS = (
    *("Subject", "Observation duration by subject by observation"),
    *("Behavior", "Behavioral category"),
)
_EVENT_COLUMNS = (
    *("Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name"),
    *("Image index start", "Image index stop", "Image file path start", "Image file path stop"),
    *("Comment start", "Comment stop"),
)


def read_events(path: Path, reading: Reading) -> Annotations:
    """The videos that a table of events is about."""
    table = read_delimited(
        path,
        _ADVICE,
        is_header=lambda names: _BEHAVIOUR in names and (_START in names or _TIME in names),
        header="columns 'Behavior', and 'Start (s)' with 'Stop (s)' or 'Time', of events of BORIS",
        delimiters=(_DELIMITERS.get(path.suffix.lower(), "\t"), "\t", ",", ";"),
        is_strict=False,
    )
    counts: Counter[str] = Counter()
    observations = chosen(_observations(table, counts), reading.options)
    videos: list[AnnotatedVideo] = []
    for name, found in observations.items():
        place = f"{path}, line {found.first.line}: observation {name!r}"
        videos += found.videos(place, reading, counts)
    coded = [item for found in observations.values() for item in found.coded]
    labels = dict.fromkeys(clean_label(item.code) for item in coded)
    states = {clean_label(item.code) for item in coded if item.start_seconds != item.end_seconds}
    notes = (
        "a table of events names behaviours that were seen only: what else was looked for, and "
        "videos without an event, are not in it",
        *count_notes(counts),
        *repeated_note(videos),
    )
    return Annotations(
        tuple(videos), LabelSet(tuple(labels)), frozenset(set(labels) - states), notes
    )


class _Named(NamedTuple):
    """A file that a row names, and the time of the row."""

    cell: Value
    seconds: float


@dataclass
class _Observation:
    """Rows of one observation: what the first one and the rows above the header say of it, events.

    `begun` are states without an end so far, by their kind; `named` are the files that rows name.
    """

    first: TableRow
    before: Mapping[str, Sequence[str]]
    coded: list[Coded] = field(default_factory=list)
    begun: dict[tuple[str, str, str], Coded] = field(default_factory=dict)
    named: list[_Named] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    def said(self, column: str) -> str:
        """What the first row, or else a row above the header, says."""
        return self.first[column].strip() or next(iter(self.before.get(column, ())), "").strip()

    def check(self, row: TableRow) -> None:
        """Raise `DatasetError` for a row that says something else of the observation."""
        for name in _OF_OBSERVATION:
            if row[name].strip() != self.first[name].strip():
                raise row.value(name).error(
                    f"{self.first[name].strip()!r} as in line {self.first.line}, which is of the "
                    "same observation"
                )
        medium = next((name for name in _MEDIUM if name in row.cells), "")
        if row[medium].strip() not in _MISSING:
            time = row.number(_START if _START in row.cells else _TIME)
            self.named.append(_Named(row.value(medium), time))

    @property
    def is_video(self) -> bool:
        """Whether it is of video files."""
        kind = self.said("Observation type").lower()
        is_live = "Live observation" in self.before or any(
            cell.value == "LIVE" for cell, _ in self.named
        )
        return not is_live and not any(word in kind for word in _NOT_VIDEO)

    def _times(self) -> Iterator[float]:
        """Starts and ends of all events."""
        for item in self.coded:
            yield from (t for t in (item.start_seconds, item.end_seconds) if t is not None)

    def players(self) -> list[list[str]]:
        """Files of the players, in order; as rows name them where the files are not listed."""
        listed = [files for name, files in self.before.items() if _PLAYER.fullmatch(f"{name}:")]
        # The pattern's group makes every second part the number of a player.
        source = self.said("Source") or self.first["Media file(s)"].strip()
        parts = _PLAYER.split(source)
        listed = listed or [part.rstrip("|").split(";") for part in parts[2::2] or parts[:1]]
        found = [[f.strip() for f in files if f.strip() not in _MISSING] for files in listed]
        named = {str(n.cell.value).strip(): None for n in sorted(self.named, key=itemgetter(1))}
        return list(filter(None, found)) or [list(named)]

    def videos(self, place: str, reading: Reading, counts: Counter[str]) -> list[AnnotatedVideo]:
        """Its videos, those of the first player."""
        if not self.is_video:
            counts["observations that are live or of pictures, which have no video"] += 1
            return []
        files, *others = self.players()
        if not files:
            counts["observations without a media file, which are left out"] += 1
            return []
        total = _number(self.said(_TOTAL))
        # BORIS writes the time of the last event where it is after the end of all files.
        if total is not None and any(abs(total - seconds) < 1e-3 for seconds in self._times()):
            counts["observations whose length is not known: it says when the last event is"] += 1
            total = None
        written = self.said("Media duration (s)").split("|")[0].split(";")
        lengths = [_number(text) for text in written]
        if len(lengths) != len(files) or None in lengths:
            lengths = [total if len(files) == 1 and not others else None] * len(files)
        offset = _number(self.said("Time offset (s)")) or 0.0
        media = queue([reading.video_path(file) for file in files], lengths, offset, place)
        self._check_media(media, None if others else total, place)
        places = {*self.first.cells, *self.before}
        variables = {name: self.said(name) for name in VARIABLES if name in places}
        # No labels that were looked for are none, not all of them.
        variables = {name: text for name, text in variables.items() if text or name == CHECKED}
        return cut_to_videos(self.coded, media, None, variables, counts, self.left_out)

    def _check_media(self, media: Sequence[Medium], total: float | None, place: str) -> None:
        """Raise `DatasetError` where rows name another file than their times, or another length."""
        for name, seconds in self.named:
            written = str(name.value).strip().replace("\\", "/").rsplit("/", 1)[-1]
            # Some versions of BORIS find the file of a time without the offset.
            times = {seconds, seconds + media[0].start_seconds}
            shown = [medium for medium in media if any(_is_near(medium, time) for time in times)]
            if shown and all(medium.path.name != written for medium in shown):
                raise name.error(
                    f"{shown[0].path.name}, which is shown at {seconds:g} s by the lengths of the "
                    "files"
                )
        lengths = [duration_seconds(medium.path, medium.length_seconds) for medium in media]
        known = sum(length for length in lengths if length is not None)
        if len(media) == 1 or total is None or None in lengths:
            return
        if abs(total - known) > END_TOLERANCE_SECONDS:
            raise DatasetError(
                f"{place}: found {_TOTAL} {total:g} s, but its files "
                f"{', '.join(medium.path.name for medium in media)} have {known:g} s; expected "
                "all files of the observation; read its project (.boris) instead"
            )


def _is_near(medium: Medium, seconds: float) -> bool:
    """Whether a file is shown at a time or next to it."""
    first, last = medium.start_seconds - _SAME_FILE_SECONDS, medium.end_seconds + _SAME_FILE_SECONDS
    return first <= seconds <= last


def _observations(table: Table, counts: Counter[str]) -> dict[str, _Observation]:
    is_aggregated = _START in table.header
    status = next((name for name in _STATUS if name in table.header), _STATUS[0])
    table.require((_START, _STOP) if is_aggregated else (_TIME, status))
    found: dict[str, _Observation] = {}
    for row in table.rows:
        name = row["Observation id"].strip()
        name = name or next(iter(table.before.get("Observation id", ())), table.path.stem)
        observation = found.setdefault(name, _Observation(row, table.before))
        observation.check(row)
        coded = _aggregated(row) if is_aggregated else _turn(row, observation, counts)
        observation.coded += [] if coded is None else [coded]
    for observation in found.values():
        counts["states without an end"] += len(observation.begun)
        observation.coded += observation.begun.values()
    return found


def _text(row: TableRow, names: Sequence[str]) -> str:
    """The cell of the first column that is there; empty where none is."""
    name = next((name for name in names if name in row.cells), "")
    return row[name].strip()


def _number(text: str) -> float | None:
    try:
        value = float(decimal_point(text.strip(), has_commas=True))
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _point(row: TableRow, seconds: float) -> Coded:
    """The behaviour of a row at a time, with its comment."""
    code = row[_BEHAVIOUR].strip()
    if not clean_label(code):
        raise row.value(_BEHAVIOUR).error("a behaviour")
    modifiers = [row[name].strip() for name in row.cells if _MODIFIERS.fullmatch(name)]
    comment = _text(row, ("Comment start", "Comment"))
    return Coded(seconds, seconds, code, row["Subject"].strip(), "|".join(modifiers), comment)


def _aggregated(row: TableRow) -> Coded:
    found = _point(row, row.number(_START))
    if _text(row, _STATUS).upper() == "POINT":
        return found
    end = None if row[_STOP].strip() in _MISSING else row.number(_STOP)
    if end is not None and end < found.start_seconds:
        raise row.value(_STOP).error(f"an end that is not before the start at {found[0]} s")
    length = None if end is None else end - found.start_seconds
    written = _number(row[_DURATION])
    if length is not None and written is not None and abs(length - written) > 0.01:
        raise row.value(_DURATION).error(f"{length:g} s, which are from start to stop")
    return found._replace(end_seconds=end, end_comment=row["Comment stop"].strip())


def _turn(row: TableRow, observation: _Observation, counts: Counter[str]) -> Coded | None:
    """The event that a row ends; None for one that it begins."""
    now = _point(row, row.number(_TIME))
    status = _text(row, _STATUS).upper()
    if status == "POINT":
        return now
    if status not in ("START", "STOP"):
        raise row.value(next(name for name in _STATUS if name in row.cells)).error(
            "START, STOP or POINT"
        )
    start = observation.begun.pop(now.kind, None)
    if status == "START":
        observation.begun[now.kind] = now._replace(end_seconds=None)
        if start is not None:
            counts["states that began anew before they ended; the first start is left out"] += 1
            observation.left_out.add(clean_label(now.code))
        return None
    if start is None:
        counts["ends of states that nobody began, which are left out"] += 1
        observation.left_out.add(clean_label(now.code))
        return None
    if now.start_seconds < start.start_seconds:
        raise row.value(_TIME).error(f"a time that is not before {start.start_seconds} s")
    return start._replace(end_seconds=now.start_seconds, end_comment=now.comment)


def write_events(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write aggregated events of all videos at once; returns notes on what was left out."""
    del options
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected .tsv or .csv")
    num_modifiers = max((len(event.modifiers) for event in annotations.events()), default=0)
    modifiers = (f"Modifier #{number}" for number in range(1, num_modifiers + 1))
    variables = written_variables(annotations)
    names = observation_names(annotations.videos)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        # BORIS ends lines so, in both kinds of file.
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
        writer.writerow(
            [*_OBSERVATION_COLUMNS, *variables, *_SUBJECT_COLUMNS, *modifiers, *_EVENT_COLUMNS]
        )
        for number, (name, video) in enumerate(zip(names, annotations.videos, strict=True)):
            own = [values[number] for values in variables.values()]
            writer.writerows(_rows(name, video, path, own, num_modifiers))
    num_lines = sum(_one_line(item.comment) != item.comment for item in annotations.events())
    num_without = sum(not video.events for video in annotations.videos)
    return count_notes(
        {
            "videos without an event, which have no row": num_without,
            **replaced_modifiers(annotations),
            "comments with line breaks, which become spaces": num_lines,
        }
    )


def _rows(
    name: str, video: AnnotatedVideo, file: Path, variables: list[str], num_modifiers: int
) -> list[list[str]]:
    medium = written_medium(video, file)
    length = _NA if medium.length_seconds is None else _decimals(medium.length_seconds)
    fps = _NA if medium.fps is None else f"{medium.fps:.3f}"
    about = [name, "", "", "Media file", f"player #1:{medium.name}", "0.0", length, length, fps]
    totals: dict[str, float] = defaultdict(float)
    for event in video.events:
        totals[event.subject] += (event.end_seconds or event.start_seconds) - event.start_seconds
    return [
        [
            *about,
            *variables,
            event.subject or NO_FOCAL_SUBJECT,
            f"{totals[event.subject]:.3f}",
            event.label,
            "Not defined",
            *written_modifiers(event, 0),
            *[""] * (num_modifiers - len(event.modifiers)),
            *_times(event),
            *(medium.name, _NA, _NA, "", "", _one_line(comment_with_score(event)), ""),
        ]
        for event in video.events
    ]


def _times(event: Event) -> list[str]:
    """Type, start, stop and duration."""
    start, end = event.start_seconds, event.end_seconds
    if end is None:
        return ["STATE", _decimals(start), _NA, _NA]
    length = _NA if event.is_point else _decimals(end - start)
    return ["POINT" if event.is_point else "STATE", _decimals(start), _decimals(end), length]


def _decimals(seconds: float) -> str:
    """Three decimals, or up to six where there are that many."""
    text = f"{seconds:.6f}"
    return text[:-3] + text[-3:].rstrip("0")


def _one_line(comment: str) -> str:
    return " ".join(comment.splitlines())


FORMAT = Format(
    "boris_events",
    "aggregated events of BORIS",
    read=read_events,
    write=write_events,
    suffixes=(".tsv", ".csv", ".txt", *SPREADSHEET_SUFFIXES),
    drops=frozenset({"ethogram", "observed intervals"}),
    options={"observation": "take this observation only"},
)
