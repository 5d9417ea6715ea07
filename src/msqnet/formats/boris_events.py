"""Tables of events that BORIS exports: aggregated (a row an event), tabular (a row a start or end).

Columns are found by the names that BORIS 6 to 10 give them, in ``.tsv`` or ``.csv``; rows before
the header, which older tabular files have, may name the observation and its media. Written are
aggregated events with the columns of BORIS 8 to 10.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, clean_label
from msqnet.formats.boris_events_writing import DELIMITERS, write_events
from msqnet.formats.boris_media import (
    VARIABLES,
    Coded,
    cut_to_videos,
    notes_of,
    queue,
    repeated_note,
)
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

ADVICE = "export the events from BORIS again"
OPTIONS = {"observation": "take this observation only"}

_START = ("Start (s)",)
_STOP = ("Stop (s)",)
_TIME = ("Time",)
_OBSERVATION = ("Observation id",)
_BEHAVIOUR = ("Behavior",)
_STATUS = ("Behavior type", "Status")
_SOURCE = ("Source", "Media file(s)")
_OF_EVENT = ("Media file name", "Media file", "Media file path")
_LENGTHS = ("Media duration (s)",)
_OFFSET = ("Time offset (s)",)
_COMMENT = ("Comment start", "Comment")
_END_COMMENT = ("Comment stop",)
_MODIFIERS = re.compile(r"Modifiers?(?: #\d+)?")
_PLAYER = re.compile(r"player #(\d+): ?", re.IGNORECASE)
_MISSING = ("", "NA", "Not found")
_NOT_VIDEO = ("live", "pictures", "images")


@dataclass(frozen=True)
class _Table:
    """Rows of a file, and what stood before its header.

    Attributes:
        path: of the file.
        header: names of columns.
        rows: lines, with their number in the file.
        before: cells by the first cell of their row.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    before: dict[str, str]

    @cached_property
    def columns(self) -> dict[str, int]:
        """Numbers of columns by their names."""
        return {name: number for number, name in reversed(list(enumerate(self.header)))}

    @cached_property
    def modifiers(self) -> tuple[str, ...]:
        """Names of the columns of modifiers."""
        return tuple(name for name in self.header if _MODIFIERS.fullmatch(name))

    def column(self, names: Sequence[str]) -> int | None:
        """The first column that has one of the names."""
        return next((self.columns[name] for name in names if name in self.columns), None)


@dataclass
class _Observation:
    """What the rows of one observation say."""

    line: int
    coded: list[Coded] = field(default_factory=list)
    begun: dict[tuple[str, str, str], Coded] = field(default_factory=dict)
    media: dict[str, None] = field(default_factory=dict)
    source: str = ""
    lengths: str = ""
    offset_seconds: float = 0.0
    variables: dict[str, str] = field(default_factory=dict)
    is_video: bool = True


def read_events(path: Path, reading: Reading) -> Annotations:
    """The videos that a table of events is about.

    Args:
        path: a file as BORIS exports it.
        reading: the folder of the videos.

    Raises:
        DatasetError: no table of events, or a row that is not as it should be.
        ConfigError: an observation that the file does not have.
    """
    table = _read_table(path)
    counts: Counter[str] = Counter()
    observations = _observations(table, counts)
    wanted = reading.options.get("observation")
    if wanted is not None:
        if wanted not in observations:
            names = ", ".join(sorted(observations)[:8])
            raise ConfigError(f"option observation={wanted}: no such observation; found: {names}")
        observations = {wanted: observations[wanted]}
    videos: list[AnnotatedVideo] = []
    for name, found in observations.items():
        videos += _videos(name, found, table, reading, counts)
    coded = [item for found in observations.values() for item in found.coded]
    labels = dict.fromkeys(clean_label(item.code) for item in coded)
    states = {clean_label(item.code) for item in coded if item.start_seconds != item.end_seconds}
    notes = [
        "a table of events names behaviours that were seen only: what else was looked for, and "
        "videos without an event, are not in it",
        *notes_of(counts),
        *repeated_note(videos),
    ]
    return Annotations(
        tuple(videos), LabelSet(tuple(labels)), frozenset(set(labels) - states), tuple(notes)
    )


def _read_table(path: Path) -> _Table:
    text = read_text(path).replace("\0", "")
    usual = DELIMITERS.get(path.suffix.lower(), "\t")
    for delimiter in dict.fromkeys((usual, "\t", ",", ";")):
        before: dict[str, str] = {}
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            for cells in lines:
                names = tuple(cell.strip() for cell in cells)
                if "Behavior" in names and not {"Start (s)", "Time"}.isdisjoint(names):
                    rows = tuple((lines.line_num, tuple(row)) for row in lines if any(row))
                    return _Table(path, names, rows, before)
                if len(names) > 1 and names[0]:
                    before[names[0]] = names[1]
        except csv.Error as error:
            raise DatasetError(
                f"{path}, line {lines.line_num}: not a table: {error}; {ADVICE}"
            ) from error
    raise DatasetError(
        f"{path}: no header of a table of events of BORIS; expected columns 'Behavior', and "
        f"'Start (s)' with 'Stop (s)' or 'Time'; {ADVICE}"
    )


def _observations(table: _Table, counts: Counter[str]) -> dict[str, _Observation]:
    is_aggregated = table.column(_START) is not None
    needed = (_START, _STOP) if is_aggregated else (_TIME, _STATUS)
    missing = [names[0] for names in needed if table.column(names) is None]
    if missing:
        raise DatasetError(
            f"{table.path}: no column {', '.join(missing)}; found {', '.join(table.header)}; "
            f"{ADVICE}"
        )
    found: dict[str, _Observation] = {}
    for line, row in table.rows:
        cells = _Cells(table, line, row)
        name = cells.text(_OBSERVATION) or table.before.get("Observation id", table.path.stem)
        if name not in found:
            found[name] = _about(cells, line)
        observation = found[name]
        if (medium := cells.text(_OF_EVENT)) not in _MISSING:
            observation.media[medium] = None
        coded = _aggregated(cells) if is_aggregated else _turn(cells, observation, counts)
        observation.coded += [] if coded is None else [coded]
    for observation in found.values():
        open_states = list(observation.begun.values())
        counts["states that nobody ended"] += len(open_states)
        observation.coded += open_states
    return found


@dataclass(frozen=True)
class _Cells:
    """A row by the names of its columns."""

    table: _Table
    line: int
    row: tuple[str, ...]

    def text(self, names: Sequence[str]) -> str:
        """The cell of a column; empty where there is no such column."""
        column = self.table.column(names)
        return "" if column is None or column >= len(self.row) else self.row[column].strip()

    def seconds(self, names: Sequence[str]) -> float:
        """The number in a cell."""
        try:
            value = float(self.text(names))
            if abs(value) < float("inf"):
                return value
        except ValueError:
            pass
        raise self.error(self.text(names), f"a number of seconds in {names[0]!r}")

    def error(self, found: str, expected: str) -> DatasetError:
        return DatasetError(
            f"{self.table.path}, line {self.line}: found {found!r}, expected {expected}; {ADVICE}"
        )


def _about(cells: _Cells, line: int) -> _Observation:
    kind = cells.text(("Observation type",)).lower()
    offset = cells.text(_OFFSET) or cells.table.before.get("Time offset (s)", "")
    source = cells.text(_SOURCE)
    players = [
        f"{name}:{value}"
        for name, value in cells.table.before.items()
        if _PLAYER.fullmatch(f"{name}:") and value
    ]
    variables = {name: cells.text((name,)) for name in VARIABLES if name in cells.table.header}
    return _Observation(
        line,
        source=source or "|".join(players),
        lengths=cells.text(_LENGTHS),
        offset_seconds=_number(offset) or 0.0,
        # No labels that were looked for are none, not all of them.
        variables={name: text for name, text in variables.items() if text or name == VARIABLES[2]},
        is_video=not any(word in kind for word in _NOT_VIDEO),
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _kind(cells: _Cells) -> tuple[str, str, str]:
    code = cells.text(_BEHAVIOUR)
    if not clean_label(code):
        raise cells.error(code, "a behaviour in 'Behavior'")
    modifiers = [cells.text((name,)) for name in cells.table.modifiers]
    return code, cells.text(("Subject",)), "|".join(modifiers)


def _aggregated(cells: _Cells) -> Coded:
    code, subject, modifiers = _kind(cells)
    start = cells.seconds(_START)
    is_point = cells.text(_STATUS).upper() == "POINT"
    is_open = not is_point and cells.text(_STOP) in _MISSING
    end = start if is_point else None if is_open else cells.seconds(_STOP)
    if end is not None and end < start:
        raise cells.error(cells.text(_STOP), f"an end that is not before the start at {start} s")
    comments = cells.text(_COMMENT), cells.text(_END_COMMENT)
    return Coded(start, end, code, subject, modifiers, *comments)


def _turn(cells: _Cells, observation: _Observation, counts: Counter[str]) -> Coded | None:
    """The event that a row ends; None for one that it begins."""
    kind = _kind(cells)
    time = cells.seconds(_TIME)
    status = cells.text(_STATUS).upper()
    now = Coded(time, time, *kind, cells.text(_COMMENT))
    if status == "POINT":
        return now
    if status == "START":
        previous = observation.begun.get(kind)
        observation.begun[kind] = Coded(time, None, *kind, now.comment)
        counts["states that began anew before they ended; the first start is left out"] += (
            previous is not None
        )
        return None
    if status != "STOP":
        raise cells.error(cells.text(_STATUS), "START, STOP or POINT")
    start = observation.begun.pop(kind, None)
    if start is None:
        counts["ends of states that nobody began, which are left out"] += 1
        return None
    if time < start.start_seconds:
        raise cells.error(cells.text(_TIME), f"a time that is not before {start.start_seconds} s")
    return Coded(start.start_seconds, time, *kind, start.comment, now.comment)


def _videos(
    name: str, found: _Observation, table: _Table, reading: Reading, counts: Counter[str]
) -> Iterable[AnnotatedVideo]:
    if not found.is_video:
        counts["observations that are live or of pictures, which are left out"] += 1
        return []
    files = list(_files(found))
    if not files:
        counts["observations without a media file, which are left out"] += 1
        return []
    first = found.lengths.split("|")[0].split(";")
    lengths = [_number(text) for text in first]
    lengths = lengths if len(lengths) == len(files) else [None] * len(files)
    place = f"{table.path}, line {found.line}: observation {name!r}"
    media = queue(
        [reading.video_path(file) for file in files], lengths, found.offset_seconds, place
    )
    return cut_to_videos(found.coded, media, None, found.variables, counts)


def _files(found: _Observation) -> Iterator[str]:
    """Files of the first player; those that rows name where the table has no list of them."""
    written = _PLAYER.split(found.source)
    # The pattern's group makes every second part the number of a player.
    source = written[2] if len(written) > 2 else written[0]
    files = [file.strip() for file in source.rstrip("|").split(";")]
    files = [file for file in files if file not in _MISSING]
    yield from files or found.media


FORMAT = Format(
    "boris_events",
    "aggregated events of BORIS",
    read=read_events,
    write=write_events,
    suffixes=(".tsv", ".csv", ".txt"),
    drops=frozenset({"ethogram", "observed intervals"}),
    options=OPTIONS,
)
