"""Tables with a row an event, or a row a start or an end, under any names of columns.

CSV, TSV and spreadsheets. Which column is what is guessed from the names, and said in a note, or
told by ``columns=``: parts ``role:column``, or ``role:number`` where there is no header. Time is in
seconds, ``h:mm:ss`` too, in milliseconds, or in frames of the video; a ``stop`` in frames is the
first frame after the event, ``last`` the last one of it. Such a table says what was seen. What else
was looked for is unknown, unless ``unlisted=absent`` says that all labels of the table were.

Tools whose tables these are: The Observer XT (columns as SimBA and Bento read them), DLC2Action
(`CSVAnnotationStore`), and tab-delimited text of ELAN, which has no header, or one with a column a
tier (its class `Transcription2TabDelimitedText`).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from msqnet.data.columns import UNITS, bare_name, unit_of, unit_rank, words_of
from msqnet.documents import read_delimited
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label, count_notes
from msqnet.formats.frame_times import VideoClock, duration_seconds, parse_rate
from msqnet.formats.options import UNLISTED, choose, is_absent_if_unlisted
from msqnet.intervals import parse_clock
from msqnet.workbooks import SPREADSHEET_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from msqnet.documents import Table, TableRow, Value

SECONDS = {"seconds": 1.0, "milliseconds": 1e-3, "minutes": 60.0}
_NAMES = {
    "video": "video videofile videoname media mediafile mediafilename mediafilepath file filename "
    "filepath path clip movie recording observation observationid",
    "label": "label labels behavior behaviour action activity event annotation class classname "
    "code type tag",
    "start": "start starttime from begin begintime onset first",
    "stop": "stop stoptime end endtime to until offset",
    "last": "last",
    "duration": "duration dur",
    "time": "time timestamp timerelative",
    "status": "status eventtype behaviortype behaviourtype event",
    "subject": "subject individual animal animalid individualid actor participant fly",
    "tier": "tier",
    "modifiers": "modifiers modifier",
    "comment": "comment comments note notes remark remarks",
    "fps": "fps framerate",
    "length": "mediaduration videoduration videolength totallength",
}
"""Names of columns by what they are, without units, signs and capitals; the first ones first."""
_TIMES = ("start", "stop", "last", "duration", "time")
_SETTINGS = ("unit", "counted_from")
_ROLE = re.compile(rf"(?:^|,)\s*({'|'.join((*_NAMES, *_SETTINGS))})\s*:")
_ADVICE = "say which column is what: --option columns=video:NAME,label:NAME,start:NAME,stop:NAME"
_MISSING = ("", "NA", "NaN", "nan")
_TURNS = {"start": "start", "begin": "start", "stop": "stop", "end": "stop", "point": "point"}


@dataclass(frozen=True)
class Columns:
    """Which columns are what.

    Attributes:
        of: columns by role, those of `_NAMES`; several for labels and modifiers.
        units: of the columns of time; of `UNITS`.
        fps: frames a second, where the video does not say them or a tool counts by its own.
        counted_from: number of the first frame.
        is_guessed: whether nobody said so.
    """

    of: Mapping[str, tuple[str, ...]]
    units: Mapping[str, str] = field(default_factory=dict)
    fps: float | None = None
    counted_from: int = 0
    is_guessed: bool = False

    @classmethod
    def parse(cls, text: str, *, needs_time: bool = True) -> Columns:
        """What an option says; `ConfigError` for a role or setting that there is not."""
        before, *parts = _ROLE.split(text)
        told = {role: name.strip() for role, name in zip(parts[::2], parts[1::2], strict=True)}
        has_rate = re.match(r"\d", told.get("fps", ""))
        fps = parse_rate(told.pop("fps")) if has_rate else None
        of = {role: tuple(n.split("|")) for role, n in told.items() if role not in _SETTINGS}
        has_time = not needs_time or {"start", "time"} & of.keys()
        if before.strip() or not all(told.values()) or "label" not in of or not has_time:
            raise ConfigError(
                f"option columns={text}: expected parts ROLE:COLUMN, label and start or time among "
                f"them; roles are {', '.join((*_NAMES, *_SETTINGS))}"
            )
        unit = choose(told, "unit", ("", *UNITS))
        units = {role: unit or unit_of(of[role][0]) for role in _TIMES if role in of}
        return cls(of, units, fps, int(choose(told, "counted_from", ("0", "1"))))

    @classmethod
    def guess(cls, names: Sequence[str]) -> Columns | None:
        """What the names of columns say; None if there is no label or no time among them."""
        of = guess_roles(names)
        if "label" not in of or not {"start", "time"} & of.keys():
            return None
        if "start" in of:
            of.pop("time", None)
            of.pop("status", None)
        return cls(of, {r: unit_of(of[r][0]) for r in _TIMES if r in of}, is_guessed=True)

    def __str__(self) -> str:
        parts = [f"{role}:{'|'.join(names)}" for role, names in self.of.items()]
        units = list(dict.fromkeys(self.units.values()))
        return ",".join([*parts, *(f"unit:{unit}" for unit in units)])


def guess_roles(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Columns by what their names say that they are."""
    bare = {name: bare_name(name) for name in names if name}
    of: dict[str, tuple[str, ...]] = {}
    for role, known in _NAMES.items():
        taken = {name for found in of.values() for name in found}
        fitting = [n for word in known.split() for n in bare if bare[n] == word and n not in taken]
        if role in _TIMES:
            fitting.sort(key=lambda name: unit_rank(name))
        if fitting:
            of[role] = tuple(fitting) if role == "modifiers" else (fitting[0],)
    return of


class _Rows:
    """Reads the rows of a table into events of videos."""

    def __init__(self, path: Path, reading: Reading, table: Table, columns: Columns) -> None:
        self._path, self._reading, self._table = path, reading, table
        self._of, self._columns = columns.of, columns
        self._clocks: dict[str, VideoClock] = {}
        self._begun: dict[tuple[VideoClock, str, str], list[Event]] = defaultdict(list)
        self.found = EventLists()

    def read(self) -> EventLists:
        """Read all rows; `DatasetError` for one that cannot be read."""
        for row in self._table.rows:
            for column in self._of["label"]:
                if row[column].strip() or self._cell(row, "tier"):
                    self._add(row, column)
                elif len(self._of["label"]) == 1:
                    self.found.counts["rows without a label, which are left out"] += 1
        for (clock, *_), events in self._begun.items():
            for event in events:
                # Without an end of its own, the duration that the start names is left.
                self.found.counts["states without an end"] += event.is_point
                end = None if event.is_point else event.end_seconds
                self.found.add(clock.path, replace(event, end_seconds=end))
        return self.found

    def _cell(self, row: TableRow, role: str) -> str:
        return row[self._of[role][0]].strip() if role in self._of else ""

    def _value(self, row: TableRow, role: str) -> Value:
        return row.value(self._of[role][0])

    def _clock(self, row: TableRow) -> VideoClock:
        """The video of a row, which is checked against what the row says about it."""
        written = self._cell(row, "video")
        if written not in self._clocks:
            said = [_number_or_none(self._cell(row, role)) for role in ("fps", "length")]
            self._clocks[written] = VideoClock(
                self._reading.find_video(written, self._path),
                f"{self._path}, line {row.line}",
                fps=self._columns.fps or said[0] or None,
                length_seconds=said[1] or None,
            )
        return self._clocks[written]

    def _add(self, row: TableRow, column: str) -> None:
        clock = self._clock(row)
        tier = self._cell(row, "tier") or (column if len(self._of["label"]) > 1 else "")
        label = clean_label(row[column]) or clean_label(tier)
        subject = self._cell(row, "subject") or (tier if clean_label(tier) != label else "")
        modifiers = filter(None, (row[name].strip() for name in self._of.get("modifiers", ())))
        comment = self._cell(row, "comment")
        start, end = self._times(row, clock)
        try:
            event = Event(label, start, end, subject, tuple(modifiers), comment=comment)
        except DatasetError as error:
            raise DatasetError(f"{self._path}, line {row.line}: {error}; {_ADVICE}") from error
        length = clock.duration_seconds
        if self._columns.is_guessed and length is not None and start > length + 1:
            raise DatasetError(
                f"{self._path}, line {row.line}: found {label!r} at {start:g} s, but "
                f"{clock.path.name} has {length:g} s; expected times of that video; "
                f"{_ADVICE},unit:{' or '.join(UNITS)}"
            )
        if "status" in self._of:
            self._turn(row, event, clock)
        else:
            self.found.add(clock.path, event)

    def _turn(self, row: TableRow, event: Event, clock: VideoClock) -> None:
        """Take a start, an end or a moment, as the status says."""
        cell = self._value(row, "status")
        turns = [_TURNS[word] for word in words_of(cell.text()) if word in _TURNS]
        begun = self._begun[clock, event.label, event.subject]
        if "point" in turns:
            self.found.add(clock.path, event)
        elif turns == ["start"]:
            begun.append(event)
        elif turns != ["stop"]:
            raise cell.error("start, stop or point")
        elif begun:
            same = next((item for item in begun if item.modifiers == event.modifiers), begun[0])
            begun.remove(same)
            if event.start_seconds < same.start_seconds:
                raise cell.error(f"an end not before its start at {same.start_seconds} s")
            self.found.add(clock.path, replace(same, end_seconds=event.start_seconds))
        else:
            self.found.counts["ends of states that nobody began, which are left out"] += 1
            self.found.unclear[clock.path].add(event.label)

    def _times(self, row: TableRow, clock: VideoClock) -> tuple[float, float]:
        begin = "start" if "start" in self._of else "time"
        start = self._seconds(row, clock, begin)
        ends = ("stop", "last", "duration")
        end = next((role for role in ends if self._cell(row, role) not in _MISSING), "")
        if not end:
            return start, start
        if end != "duration":
            return start, self._seconds(row, clock, end)
        if self._columns.units[end] != "frames":
            return start, start + self._seconds(row, clock, end)
        number = self._number(row, begin) if self._columns.units[begin] == "frames" else None
        if number is None:
            raise self._value(row, end).error("a duration in seconds, as the start is")
        return start, clock.seconds_of(int(number + self._number(row, end)) - self._first)

    @property
    def _first(self) -> int:
        return self._columns.counted_from

    def _seconds(self, row: TableRow, clock: VideoClock, role: str) -> float:
        number, unit = self._number(row, role), self._columns.units[role]
        if unit != "frames":
            return number * SECONDS[unit]
        value = self._value(row, role)
        if not number.is_integer():
            raise value.error("the number of a frame")
        try:
            return clock.seconds_of(int(number) - self._first + (role == "last"))
        except DatasetError as error:
            raise DatasetError(f"{value.place}: {error}; {_ADVICE},unit:seconds") from error

    def _number(self, row: TableRow, role: str) -> float:
        value = self._value(row, role)
        try:
            return parse_clock(value.text(), has_comma=self._table.delimiter != ",")
        except ValueError as error:
            raise value.error("a time such as 12.5 or 0:12.5") from error


def _number_or_none(text: str) -> float | None:
    try:
        return parse_clock(text)
    except ValueError:
        return None


class EventLists:
    """Events of videos that a file names, without saying what else was looked for."""

    def __init__(self) -> None:
        self._events: dict[Path, list[Event]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self.unclear: dict[Path, set[str]] = defaultdict(set)
        """Labels of which a part was left out."""

    def add(self, path: Path, *events: Event) -> None:
        """Add a video, and events in it."""
        self._events[path] += events

    def annotations(self, reading: Reading, notes: Sequence[str]) -> Annotations:
        """All of it: labels are known where they are seen, or everywhere if an option says so."""
        events = [event for found in self._events.values() for event in found]
        seen = dict.fromkeys(event.label for event in events)
        is_complete = is_absent_if_unlisted(reading.options)
        labels = tuple(seen) if is_complete else ()
        videos = [
            AnnotatedVideo(
                path, tuple(found), duration_seconds(path), frozenset(labels) - self.unclear[path]
            )
            for path, found in self._events.items()
        ]
        if not is_complete:
            notes = (*notes, _UNLISTED)
        points = set(seen) - {event.label for event in events if not event.is_point}
        return Annotations.of_files(videos, labels, (*notes, *count_notes(self.counts)), points)


_UNLISTED = (
    "the file says what was seen, not what was looked for: labels are known where they are seen "
    "only; --option unlisted=absent takes all labels of the file as absent elsewhere"
)


def read_columns(
    path: Path,
    reading: Reading,
    find: Callable[[Sequence[str]], Columns | None] = Columns.guess,
    numbered: Callable[[Sequence[str]], Columns | None] | None = None,
) -> Annotations:
    """The videos of a table.

    Args:
        find: what the names in a row mean; None where it is no header.
        numbered: the same for a row of a table without a header, whose columns are numbers.
    """
    expected = "columns of labels and their times"
    if "columns" in reading.options:
        told = Columns.parse(reading.options["columns"])
        names = [name for columns in told.of.values() for name in columns]
        expected = f"columns {', '.join(names)}"
        find, numbered = partial(_if_there, told), partial(_if_numbers, told)
    chosen: list[Columns] = []

    def fits(find: Callable[[Sequence[str]], Columns | None], cells: Sequence[str]) -> bool:
        found = find(cells)
        chosen[:] = [found] if found else []
        return found is not None

    table = read_delimited(
        path,
        _ADVICE,
        is_header=partial(fits, find),
        header=f"a header with {expected}",
        delimiters=("\t", ",", ";") if path.suffix.lower() == ".tsv" else (",", ";", "\t"),
        is_strict=False,
        sheet=reading.options.get("sheet", ""),
        is_row=None if numbered is None else partial(fits, numbered),
    )
    columns = chosen[0]
    found = _Rows(path, reading, table, columns).read()
    guessed = ", as their names say; --option columns=... changes that"
    notes = [f"columns are {columns}{guessed if columns.is_guessed else ''}"]
    if "video" not in columns.of:
        notes += video_note(reading, path)
    return found.annotations(reading, notes)


def video_note(reading: Reading, file: Path) -> list[str]:
    """A note on the video of a file that names none."""
    if "video" in reading.options:
        return []
    name = reading.find_video("", file).name
    return [f"the video is {name}, after the file; --option video=NAME changes that"]


def _if_there(told: Columns, names: Sequence[str]) -> Columns | None:
    return told if {name for found in told.of.values() for name in found} <= {*names} else None


def _if_numbers(told: Columns, cells: Sequence[str]) -> Columns | None:
    """The same where columns are told by number, and a row has a time in that of the start."""
    numbers = [name for found in told.of.values() for name in found]
    if not all(name.isdecimal() and 0 < int(name) <= len(cells) for name in numbers):
        return None
    start = (told.of.get("start") or told.of["time"])[0]
    return None if _number_or_none(cells[int(start) - 1]) is None else told


_ELAN_TIMES = {
    "seconds": re.compile(r"\d\d:\d\d:\d\d[.]\d{3}|\d+[.]\d+"),
    "milliseconds": re.compile(r"\d+"),
    "": re.compile(r"\d\d:\d\d:\d\d[:;]\d\d"),
}


def _elan_header(names: Sequence[str]) -> Columns | None:
    """Columns of an export with a column a tier: their annotations are the labels."""
    found = Columns.guess([*names, "label"])
    if found is None or not {"start", "stop"} <= found.of.keys():
        return None
    of = {role: found.of[role] for role in ("video", "start", "stop") if role in found.of}
    others = re.compile(r"(Begin Time|End Time|Duration) - |File ?(Name|Path)$", re.IGNORECASE)
    of["label"] = tuple(name for name in names if name and not others.match(name))
    return Columns(of, found.units, is_guessed=True) if of["label"] else None


def _elan_row(cells: Sequence[str]) -> Columns | None:
    """Columns of an export without a header: tier, participant, times, annotation.

    There are starts, ends and maybe durations, each in one to four ways to write them.
    """
    kinds = [
        next((unit for unit, form in _ELAN_TIMES.items() if form.fullmatch(cell.strip())), None)
        for cell in cells
    ]
    first = next((n for n, kind in enumerate(kinds[:3]) if n and kind is not None), 0)
    for num_times, num_forms in itertools.product((3, 2), (4, 3, 2, 1)):
        forms = kinds[first : first + num_forms]
        end = first + num_times * num_forms
        usable = [n for n, form in enumerate(forms) if form]
        if not first or end >= len(cells) or kinds[first:end] != forms * num_times or not usable:
            continue
        start = first + usable[0]
        begin, stop, *length = (parse_clock(cells[start + n * num_forms]) for n in range(num_times))
        if stop < begin or (length and abs(begin + length[0] - stop) > 2e-3):
            continue
        of = {"tier": "1", "start": str(start + 1), "stop": str(start + num_forms + 1)}
        of |= {"label": str(end + 1)} | ({"subject": "2"} if first == 2 else {})
        # An export of several files ends with their names.
        files = [n for n, cell in enumerate(cells, start=1) if cell.lower().endswith(".eaf")]
        of |= {"video": str(files[0])} if files and files[0] > end + 1 else {}
        unit = forms[usable[0]] or ""
        units = {"start": unit, "stop": unit}
        return Columns({role: (column,) for role, column in of.items()}, units, is_guessed=True)
    return None


OPTIONS = {
    "video": "the video, where the file does not name it; otherwise the one of the file's name",
    **UNLISTED,
}
_OPTIONS = {
    "columns": "which column is what, such as video:Media,label:Event,start:From,stop:To,"
    "unit:frames,fps:25; guessed from their names otherwise",
    "sheet": "of a spreadsheet; the first with such columns otherwise",
    **OPTIONS,
}
SUFFIXES = (".csv", ".tsv", ".txt", *SPREADSHEET_SUFFIXES)

COLUMNS = Format(
    "columns",
    "tables of events with any columns",
    read=read_columns,
    suffixes=SUFFIXES,
    options=_OPTIONS,
)
NOLDUS = replace(COLUMNS, name="noldus", title="event logs of The Observer XT")
ELAN_TEXT = replace(
    COLUMNS,
    name="elan_text",
    title="tab-delimited text of ELAN",
    read=partial(read_columns, find=_elan_header, numbered=_elan_row),
)
