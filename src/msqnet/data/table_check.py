"""Finds all problems of a table of labelled clips in one pass.

Errors (rows that cannot be used): ``malformed``, ``missing``, ``unreadable``, ``empty`` (0 bytes or
no picture), ``outside`` (the window starts after the video's end), ``duplicate``.

Warnings (worth a look): ``outside`` (the window ends after the video's end), ``mislabelled``
(spellings of one label, or names that are nearly equal), ``unknown`` (no label of the row is known,
or a label of the table of labels in no row), ``contradiction`` (a label that a row has is absent in
another row of a time around it), ``split_leak`` (a group on both sides of a split), ``untrained``
(a label that training never sees), ``ignored_column``.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from msqnet.config.tables import TableOptions
from msqnet.data.label_spelling import near_duplicates
from msqnet.data.records import ClipTable, Problem, Record
from msqnet.data.table import label_table_path, scan_table
from msqnet.errors import DatasetError, EmptyVideo, VideoError
from msqnet.intervals import END_TOLERANCE_SECONDS, SAME_TIME_SECONDS
from msqnet.labels import folded
from msqnet.prompts import read_label_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Progress = Callable[[int, int], None]
    """Called with the number of files looked at and the number of all files."""

TRAIN_SPLIT = "train"

_PROBE_SHORT_SIDE_PIXELS = 64
_BEFORE_END_SECONDS = 1e-3
_NUM_THREADS = 2


@dataclass(frozen=True)
class CheckReport:
    """Problems of a table in order of their rows; those of the table as a whole come last.

    ``num_rows`` includes malformed rows, ``num_files`` are the distinct videos among them;
    ``table`` has the others.
    """

    problems: tuple[Problem, ...]
    num_rows: int
    num_files: int
    table: ClipTable | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        tables = list(dict.fromkeys(problem.table for problem in self.problems))

        def order(problem: Problem) -> tuple[bool, int, int]:
            return problem.row is None, tables.index(problem.table), problem.row or 0

        object.__setattr__(self, "problems", tuple(sorted(self.problems, key=order)))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that make rows unusable."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that are worth a look."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")


def check_path(
    path: str | Path | Sequence[str | Path],
    options: TableOptions | None = None,
    *,
    decode: bool = True,
    progress: Progress | None = None,
) -> CheckReport:
    """Check tables from their files or folders, malformed rows included, as `check_table` does.

    Errors are those of `scan_table`.
    """
    table, problems = scan_table(path, options or TableOptions())
    report = check_table(table, decode=decode, progress=progress)
    malformed = {(item.table, item.row) for item in problems if item.kind == "malformed"}
    num_rows = report.num_rows + len(malformed)
    if num_rows == 0:
        problems += (Problem(None, "empty", "there is no clip in it", "error"),)
    return CheckReport((*problems, *report.problems), num_rows, report.num_files, table)


def check_table(
    table: ClipTable, *, decode: bool = True, progress: Progress | None = None
) -> CheckReport:
    """Check well-formed rows and the videos that they name.

    With `decode`, the first and the last frame that the table needs of a video are decoded; without
    it, a video must only exist and hold more than 0 bytes. Progress is told after each video.
    """
    records_of: dict[Path, list[Record]] = defaultdict(list)
    for record in table.records:
        records_of[record.path].append(record)

    def probe(path: Path) -> _FileState:
        return _probe(path, records_of[path], decode=decode)

    problems: list[Problem] = []
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for number, state in enumerate(pool.map(probe, list(records_of)), start=1):
            for record in records_of[state.path]:
                problems.extend(_find_file_problems(record, state))
            if progress is not None:
                progress(number, len(records_of))
    for find in (
        _find_duplicates,
        _find_labelling,
        _find_near_duplicates,
        _find_contradictions,
        _find_unknown,
        _find_split_leaks,
        _find_untrained,
    ):
        problems.extend(find(table))
    return CheckReport(tuple(problems), len(table), len(records_of), table)


class _FileState(NamedTuple):
    """The state of one video: the kind of problem if no frame can be had, and what is wrong.

    Frames decode from `start_seconds` to `end_seconds`; None where the file was not opened.
    """

    path: Path
    kind: Literal["missing", "unreadable", "empty"] | None = None
    message: str = ""
    end_seconds: float | None = None
    start_seconds: float = 0.0


def _probe(path: Path, records: Sequence[Record], *, decode: bool) -> _FileState:
    if not path.exists():
        return _FileState(path, "missing", f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        return _FileState(path, "empty", f"{path}: the file holds 0 bytes")
    if not decode:
        if path.is_file() and not os.access(path, os.R_OK):
            return _FileState(path, "unreadable", f"{path}: no permission to read it")
        return _FileState(path)
    from msqnet.video.reader import open_video  # imports torch

    try:
        fps = records[0].fps
        with open_video(path, short_side_pixels=_PROBE_SHORT_SIDE_PIXELS, fps=fps) as video:
            end = video.end_seconds
            start = min(end, *(record.start_seconds or 0.0 for record in records))
            latest = max(end if r.end_seconds is None else r.end_seconds for r in records)
            last = max(min(latest, end) - _BEFORE_END_SECONDS, 0.0)
            video.frames_at([min(start, last)])
            message = ""
            try:
                video.frames_at([last])
            except VideoError as error:
                message = str(error)
            if video.is_damaged and not message:
                message = f"{path}: {video.notes[0]}"
            # The end is read again: decoding shows where a damaged file ends.
            return _FileState(path, None, message, video.end_seconds, video.start_seconds)
    except EmptyVideo as error:
        return _FileState(path, "empty", str(error))
    except (VideoError, OSError) as error:
        return _FileState(path, "unreadable", str(error))


def _find_file_problems(record: Record, state: _FileState) -> Iterator[Problem]:
    path, kind, message, duration, first = state
    if kind is not None:
        if kind == "missing" and not path.drive and PureWindowsPath(record.relative_path).drive:
            message += (
                "; the path begins with a drive of Windows, which is not here: write what follows "
                "the folder of the videos, and name that folder with --root"
            )
        yield _problem(record, kind, message, "error")
    if duration is None:
        return
    start, end = record.start_seconds or 0.0, record.end_seconds
    if message and (end is None or end > duration):
        message += f"; frames decode up to {duration:.3f} s"
        yield _problem(record, "unreadable", message, "error")
    elif start >= duration:
        message = f"the window starts at {start:g} s, the video ends at {duration:.3f} s"
        yield _problem(record, "outside", message, "error")
    elif end is not None and end <= first:
        message = f"the window ends at {end:g} s, the first picture is shown at {first:.3f} s"
        yield _problem(record, "outside", message, "error")
    elif end is not None and end > duration + END_TOLERANCE_SECONDS:
        message = f"the window ends at {end:g} s, the video at {duration:.3f} s"
        yield _problem(record, "outside", message, "warning")


def _problem(
    record: Record, kind: str, message: str, severity: Literal["error", "warning"]
) -> Problem:
    return Problem(record.row, kind, message, severity, record.relative_path, record.table)


def _find_duplicates(table: ClipTable) -> Iterator[Problem]:
    first: dict[tuple[Path, float, float], Record] = {}
    for record in table.records:
        window = (record.path, *record.interval)
        earlier = first.setdefault(window, record)
        if earlier is record:
            continue
        if set(earlier.labels) == set(record.labels):
            message = f"repeats {earlier.place}: drop one of the two"
        else:
            message = f"same video and time as {earlier.place}: join the labels in one row by '|'"
        yield _problem(record, "duplicate", message, "error")


def _find_contradictions(table: ClipTable) -> Iterator[Problem]:
    """Labels that a row has, and a row whose time is around it has not."""
    rows_of: dict[Path, list[Record]] = defaultdict(list)
    for record in table.records:
        rows_of[record.path].append(record)
    for rows in rows_of.values():
        around: list[Record] = []
        for record in sorted(rows, key=lambda row: (row.interval[0], -row.interval[1])):
            start, end = record.interval
            around = [row for row in around if row.interval[1] > start]
            for other in around:
                # Equal rows are duplicates.
                if end > other.interval[1] + SAME_TIME_SECONDS or other.interval == (start, end):
                    continue
                for name in filter(other.is_absent, record.labels):
                    message = (
                        f"label {name!r} is absent in {other.place}, whose time is around this "
                        "one's: correct one of them, or do not list it as annotated there"
                    )
                    yield _problem(record, "contradiction", message, "warning")
            around.append(record)


def _find_unknown(table: ClipTable) -> Iterator[Problem]:
    """Labels of the table of labels of which no row knows anything."""
    if any(record.annotated is None for record in table.records):
        return
    known = {name for record in table.records for name in record.annotated or ()}
    for path in map(label_table_path, table.files or (table.path,)):
        try:
            names = list(read_label_table(path)) if path.is_file() else []
        except DatasetError as error:
            yield Problem(None, "malformed", str(error), "warning")
            continue
        for name in names:
            if name not in known:
                message = f"label {name!r} of {path.name} is known in no row: it cannot be learned"
                yield Problem(None, "unknown", message, "warning")


def _find_labelling(table: ClipTable) -> Iterator[Problem]:
    names_of = [
        dict.fromkeys((*record.labels, *sorted(record.annotated or ()))) for record in table.records
    ]
    num_rows = Counter(name for names in names_of for name in names)
    # Letters that look alike, such as full-width ones, are the same in the form NFKC.
    alike = {name: unicodedata.normalize("NFKC", name) for name in num_rows}
    without_spelling = {name: folded(name) for name in num_rows}
    shown = {without_spelling[name] for name in table.label_names() or num_rows}
    # The most frequent spelling is taken for the right one; of equals, the first in the table.
    right: dict[str, str] = {}
    for name, _ in num_rows.most_common():
        right.setdefault(without_spelling[name], name)
    for record, names in zip(table.records, names_of, strict=True):
        for name in names:
            usual = right[without_spelling[name]]
            if name != usual:
                show = ascii if alike[name] == alike[usual] else repr
                message = f"label {show(name)} is written {show(usual)} in {num_rows[usual]} row(s)"
                yield _problem(record, "mislabelled", message, "warning")
        if record.labels or record.annotated is None:
            continue
        if any(without_spelling[name] in shown for name in names):
            continue
        found = "no row shows what it lists as annotated" if names else "no label is known"
        message = (
            f"{found}, so the row teaches nothing; list what was checked in 'annotated', or '*' "
            "for all labels"
        )
        yield _problem(record, "unknown", message, "warning")


def _find_near_duplicates(table: ClipTable) -> Iterator[Problem]:
    rows_of: dict[str, list[Record]] = defaultdict(list)
    for record in table.records:
        for name in record.labels:
            rows_of[name].append(record)
    for rare, usual in near_duplicates({name: len(rows) for name, rows in rows_of.items()}):
        message = (
            f"label {rare!r} ({len(rows_of[rare])} row(s), first {rows_of[rare][0].place}) is "
            f"nearly {usual!r} ({len(rows_of[usual])}): if one of them is misspelt, correct it"
        )
        yield Problem(None, "mislabelled", message, "warning")


def _find_split_leaks(table: ClipTable) -> Iterator[Problem]:
    first: dict[str, Record] = {}
    is_reported: set[tuple[str, str]] = set()
    for record, group in zip(table.records, table.group_ids(), strict=True):
        if not record.split:
            continue
        earlier = first.setdefault(group, record)
        if record.split != earlier.split and (group, record.split) not in is_reported:
            is_reported.add((group, record.split))
            message = (
                f"group {group!r} is in split {record.split!r} here and in {earlier.split!r} in "
                f"{earlier.place}: scores on it will be too high"
            )
            yield _problem(record, "split_leak", message, "warning")


def _find_untrained(table: ClipTable) -> Iterator[Problem]:
    names_of: dict[str, Counter[str]] = defaultdict(Counter)
    for record in table.records:
        names_of[record.split].update(record.labels)
    if TRAIN_SPLIT not in names_of:
        return
    for split in table.split_names():
        for name in sorted(set(names_of[split]) - set(names_of[TRAIN_SPLIT])):
            message = (
                f"label {name!r} is seen in {names_of[split][name]} row(s) of split {split!r} and "
                f"in none of {TRAIN_SPLIT!r}: it cannot be learned"
            )
            yield Problem(None, "untrained", message, "warning")
