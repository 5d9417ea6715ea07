"""Tables of labelled clips as files: CSV, TSV or Parquet, or a folder per label.

Columns: ``path,labels[,start,end,annotated,split,group,actor,source,fps,extent]``; others are
ignored. Paths are relative to the table, times are seconds, labels are joined by ``|``. Labels that
differ in their Unicode form or in white space only are one. Between cells stand commas; or
semicolons or tabs, and then times may have decimal commas. The column ``annotated`` says which
labels were checked:

- no such column, or ``*``: every label was checked, so a label that is not listed is absent;
- names: these labels were checked; the row's own labels count as checked too;
- an empty cell where the column exists: only the row's own labels are known. Nothing says that
  somebody looked for the others, and unknown is not negative.

The column ``extent`` says where in the row its labels are: ``whole`` where they hold in all of it
(and checked labels that are not listed in none of it), ``somewhere`` or empty where nobody timed
them inside. Training cuts long rows that hold throughout into windows.

A folder per label holds ``<label>/clip.mp4`` or ``<split>/<label>/clip.mp4``. Every label was
checked for every clip. A clip of several labels lies in a folder named with all of them,
``walking|eating``.
"""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.config.tables import COLUMNS, TableOptions
from msqnet.data.columns import SPLIT_NAMES, ColumnMap, find_columns
from msqnet.data.joined_tables import Part, join_tables
from msqnet.data.label_spelling import no_value_notes, separator_notes, spelling_notes
from msqnet.data.records import ClipTable, Problem, Record
from msqnet.data.table_files import READABLE_SUFFIXES, Sheet, read_sheet
from msqnet.errors import ConfigError, DatasetError
from msqnet.files import replacing
from msqnet.intervals import parse_clock
from msqnet.labels import SEPARATOR, join_labels, plain_text, split_labels
from msqnet.parquet import write_parquet
from msqnet.workbooks import CELL_ERRORS, HOURS_AND_MINUTES, MERGED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from msqnet.labels import LabelSet
    from msqnet.parquet import Columns

_DEFAULTS = TableOptions()

ALL_LABELS = "*"
EXTENTS = ("whole", "somewhere")
"""Whether the labels of a row hold in all of it, or are seen somewhere in it."""
_LEFT_OUT_WHERE_EMPTY = ("fps", "extent")
_WRITTEN_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PARQUET_SUFFIXES = (".parquet", ".pq")
TABLE_SUFFIXES = (*_WRITTEN_DELIMITERS, *_PARQUET_SUFFIXES)
_NUM_ROWS_IN_ERRORS = 20


def read_table(
    path: str | Path | Sequence[str | Path], options: TableOptions = _DEFAULTS
) -> ClipTable:
    """Read a table of labelled clips, a folder per label, or several; no video is opened.

    No such file, a missing column, no rows, or malformed rows are a `DatasetError`. It counts all
    malformed rows and names the first ones, one a line. The notes of the table hold all warnings.
    """
    table, problems = scan_table(path, options)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        is_folder = any(problem.row is None for problem in errors)
        what = "clip(s) in the wrong place" if is_folder else "malformed row(s)"
        lines = [f"{table.path}: {len(errors)} {what}:"]
        for error in errors[:_NUM_ROWS_IN_ERRORS]:
            lines.append(f"  {error.place}{': ' if error.place else ''}{error.message};")
        if len(errors) > _NUM_ROWS_IN_ERRORS:
            lines.append(f"  ... and {len(errors) - _NUM_ROWS_IN_ERRORS} more;")
        lines.append("correct them and try again ('msqnet check' lists everything that is wrong)")
        raise DatasetError("\n".join(lines))
    if not table.records:
        raise DatasetError(f"{table.path}: no clip in it; a table needs at least one row")
    return replace(table, notes=(*table.notes, *(problem.message for problem in problems)))


def scan_table(
    path: str | Path | Sequence[str | Path], options: TableOptions = _DEFAULTS
) -> tuple[ClipTable, tuple[Problem, ...]]:
    """Read the well-formed rows of a table as `read_table` does, and list problems of the others.

    `DatasetError` if there is no such file, it is no table, or a required column is missing;
    `ConfigError` if options do not fit it.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if options.root is not None and not Path(options.root).is_dir():
        raise ConfigError(f"root {options.root}: no such folder; expected that of the videos")
    if len(paths) == 1:
        part, problems = _scan(paths[0], options)
        return part.table, problems
    twice = [one for one, number in Counter(one.resolve() for one in paths).items() if number > 1]
    if twice or not paths:
        raise ConfigError(
            f"tables: found {twice[0] if twice else 'none'} twice, expected each once"
        )
    parts, found = [], []
    for one in paths:
        part, problems = _scan(one, options)
        parts.append(part)
        found += [replace(problem, table=part.name) for problem in problems]
    return join_tables(parts, options), tuple(found)


def _scan(path: Path, options: TableOptions) -> tuple[Part, tuple[Problem, ...]]:
    if not path.exists():
        raise DatasetError(
            f"{path}: no such file or folder; give a table ({', '.join(READABLE_SUFFIXES)}), "
            "or a folder per label"
        )
    if path.is_dir():
        given = [name for name in ("columns", "root") if name in options.changes]
        if given:
            raise ConfigError(f"{path}: a folder per label has no {given[0]}; leave that out")
        table, problems = _scan_folder(path, options)
        says_annotated = False
    else:
        sheet = read_sheet(path, options.told_columns)
        columns = find_columns(
            path, sheet.header, [row for _, row in sheet.rows], options.told_columns
        )
        table, problems = _parse_sheet(path, sheet, columns, options)
        says_annotated = "annotated" in columns.position
    of_labels = separator_notes, no_value_notes, spelling_notes
    notes = (*table.notes, *chain.from_iterable(find(table.records) for find in of_labels))
    return Part(replace(table, notes=notes), str(path), says_annotated), problems


def _scan_folder(folder: Path, options: TableOptions) -> tuple[ClipTable, tuple[Problem, ...]]:
    """The clips of a folder per label, in order of their paths; a folder of images is one clip.

    Clips outside of the label folders are errors, label folders without a clip warnings.
    """
    root = folder.resolve()
    records: list[Record] = []
    problems: list[Problem] = []
    for place in _find_clips(root, problems):
        written = place.relative_to(root).as_posix()
        *folders, name = place.relative_to(root).parts
        split = folders.pop(0) if folders and folders[0].lower() in SPLIT_NAMES else ""
        if not folders:
            message = f"{written} lies outside of the label folders; expected <label>/{name}"
            problems.append(Problem(None, "outside", message, "error", written))
            continue
        labels = split_labels(_with_bars(folders[0], options))
        records.append(Record(len(records) + 2, place, written, labels, split=split))
    splits = {record.split for record in records if record.split}
    outside = next((record for record in records if not record.split), None)
    if splits and outside is not None:
        message = (
            f"{outside.relative_path} belongs to no split, though there is a folder "
            f"{min(splits)}; expected <split>/<label>/<clip> for all clips or for none"
        )
        problems.append(Problem(None, "mixed_layout", message, "error", outside.relative_path))
    return ClipTable(folder, tuple(records), origin=options.changes), tuple(problems)


def _find_clips(root: Path, problems: list[Problem]) -> Iterator[Path]:
    from msqnet.video.reader import IMAGE_SUFFIXES, is_video_file  # imports torch

    skipped: list[Path] = []
    for name, folders, files in os.walk(root, followlinks=True):
        place = Path(name)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        visible = [place / file for file in sorted(files) if not file.startswith(".")]
        videos = [file for file in visible if is_video_file(file)]
        others = {*visible} - {*videos}
        skipped += sorted(file for file in others if file.suffix.lower() not in IMAGE_SUFFIXES)
        if videos:
            yield from videos
        elif any(file.suffix.lower() in IMAGE_SUFFIXES for file in visible):
            yield place
        elif not folders and place != root:
            written = place.relative_to(root).as_posix()
            message = f"folder {written} holds no clip"
            problems.append(Problem(None, "empty_folder", message, "warning", written))
    if skipped:
        message = f"{len(skipped)} files are no videos, such as {skipped[0].relative_to(root)}"
        problems.append(Problem(None, "skipped_files", message, "warning"))


def _parse_sheet(
    path: Path, sheet: Sheet, columns: ColumnMap, options: TableOptions
) -> tuple[ClipTable, tuple[Problem, ...]]:
    width = len(sheet.header)
    if path.suffix.lower() == ".ods":
        _check_typed_times(path, sheet, columns)
    problems = [
        Problem(sheet.rows[0][0] - 1 if sheet.rows else 1, "ignored_column", message, "warning")
        for message in columns.ignored
    ]
    folder = (path.parent if options.root is None else Path(options.root)).resolve()
    records: list[Record] = []
    for number, values in sheet.rows:
        # Excel drops the delimiters of empty cells at the end of a row: such cells are empty.
        padded = [*values, *[""] * width]
        cells = {name: padded[place].strip() for name, place in columns.position.items()}
        row = _Row(cells, sheet, options)
        if any(value.strip() for value in values[width:]):
            row.messages.append(
                f"has {len(values)} cells, the header {width}: "
                "quote a cell that holds the delimiter"
            )
        record = row.to_record(number, folder)
        if row.messages:
            message = "; ".join(row.messages)
            problems.append(Problem(number, "malformed", message, "error", cells["path"]))
        else:
            records.append(record)
    notes = (*sheet.notes, columns.note) if columns.note else sheet.notes
    without = {role: "" for role, name in options.told_columns.items() if not name}
    named = {"columns": {**columns.renamed, **without}} if columns.renamed or without else {}
    origin = {**options.changes, **named}
    return ClipTable(path, tuple(records), notes, origin), tuple(problems)


def _check_typed_times(path: Path, sheet: Sheet, columns: ColumnMap) -> None:
    """Refuse times of whole minutes alone: a spreadsheet takes 0:05 for five minutes.

    In .xlsx, the formats of cells tell them apart.
    """
    places = [columns.position[role] for role in ("start", "end") if role in columns.position]
    times = {
        row[place].strip(): number
        for number, row in reversed(sheet.rows)
        for place in reversed(places)
        if place < len(row) and row[place].count(":") == 2
    }
    lengths = [text for text in reversed(times) if text.strip("0:")]
    if lengths and all(text.endswith(":00") for text in times):
        hours, minutes, _ = lengths[0].split(":")
        raise DatasetError(
            f"{path}: row {times[lengths[0]]}: {lengths[0]} is hours and minutes to the "
            f"spreadsheet, as are all times here; was {int(hours)}:{minutes} typed for minutes and "
            "seconds? Write seconds as numbers, such as 12.5"
        )


@dataclass
class _Row:
    """Turns the cells of one row into a record, and notes everything that is wrong."""

    cells: Mapping[str, str]
    sheet: Sheet
    options: TableOptions
    messages: list[str] = field(default_factory=list)

    def to_record(self, number: int, folder: Path) -> Record:
        written = self.cells["path"]
        if not written:
            self.messages.append("path is empty")
        self.messages += [
            f"{column} is part of merged cells, of which only the first holds the value; unmerge "
            "them and fill in every row"
            if cell == MERGED
            else f"{column} holds {cell}, an error of the spreadsheet"
            for column, cell in self.cells.items()
            if cell in CELL_ERRORS
        ]
        labels = self._names("labels")
        start, end, fps = (self._number(name) for name in ("start", "end", "fps"))
        if fps == 0:
            self.messages.append("fps 0 is not more than 0")
        if end is not None and end <= (start or 0.0):
            self.messages.append(f"end {end:g} is not after start {start or 0.0:g}")
        elif end is not None and self.sheet.is_workbook and end < (start or 0.0) + 1e-3:
            self.messages.append(
                f"start {start or 0.0:g} and end {end:g} are less than 1 ms apart; if they are "
                "parts of a day, as spreadsheets hold times, write seconds"
            )
        annotated = None
        if self.cells.get("annotated", ALL_LABELS) != ALL_LABELS:
            annotated = frozenset(self._names("annotated")) | frozenset(labels)
        others = {name: self.cells.get(name, "") for name in ("split", "group", "actor", "source")}
        place = folder / written
        if "\\" in written and not place.exists():
            place = folder / written.replace("\\", "/")
        # One file has one path however the table spells it. Not resolve(): that would ask the disk,
        # often a network drive, once for every row.
        place = Path(os.path.normpath(place))
        return Record(
            number,
            place,
            written,
            labels,
            annotated,
            start,
            end,
            **others,
            fps=fps,
            holds_throughout=self._holds_throughout(),
            parts=(),
        )

    def _holds_throughout(self) -> bool:
        text = self.cells.get("extent", "")
        if text not in (*EXTENTS, ""):
            self.messages.append(
                f"extent {text!r}: expected {' or '.join(EXTENTS)}, or an empty cell for somewhere"
            )
        return text == EXTENTS[0]

    def _number(self, column: str) -> float | None:
        text = self.cells.get(column, "")
        if not text or text in CELL_ERRORS:
            return None
        if text.endswith(HOURS_AND_MINUTES):
            self.messages.append(
                f"{column} {text} is hours and minutes to the spreadsheet; if minutes and seconds "
                "were meant, write seconds as a number, or else give the cell a format with seconds"
            )
            return None
        has_comma, is_rate = self.sheet.has_commas and text.count(",") == 1, column == "fps"
        with suppress(ValueError):
            if is_rate:
                return _rate(text.replace(",", ".") if has_comma else text)
            return parse_clock(text, has_comma=has_comma)
        problem = "is not a number of seconds such as 12.5, or a time such as 1:05 or 0:01:05.5"
        with suppress(ValueError):
            if -math.inf < float(text) < 0 and not is_rate:
                problem = "lies before the video's start, which is 0"
        if is_rate:
            problem = "is not a number of frames such as 12.5"
        self.messages.append(f"{column} {text!r} {problem}")
        return None

    def _names(self, column: str) -> tuple[str, ...]:
        text = self.cells[column]
        names = split_labels(_with_bars(text, self.options))
        if len(text.splitlines()) > 1:
            self.messages.append(
                f"{column} {text!r} has a line break; write '{SEPARATOR}' for it if it stands "
                "between labels, or else a space"
            )
        if text and not all(part.strip() for part in text.split(SEPARATOR)):
            self.messages.append(f"{column} {text!r} has an empty name beside a '{SEPARATOR}'")
        if ALL_LABELS in names:
            self.messages.append(
                f"{column} {text!r}: '{ALL_LABELS}' stands for all labels, only alone and only in "
                "'annotated'"
            )
        return names


def _with_bars(text: str, options: TableOptions) -> str:
    """Labels joined by `|` in place of the separator that was told."""
    return text.replace(options.label_separator or SEPARATOR, SEPARATOR)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < math.inf:
        raise ValueError(text)
    return rate


def write_table(records: Iterable[Record], path: str | Path) -> None:
    """Write rows so that `read_table` gives them back; an existing table is replaced at once.

    Paths of videos below the table's folder are relative to it, so that both can move together;
    others are absolute. Rows are numbered anew, from 2. The folder of the table is made. Another
    suffix, no rows, or a name that a table cannot hold are a `DatasetError`.
    """
    path = Path(path)
    check_table_suffix(path)
    folder = path.parent.resolve()
    rows = [_cells(record, folder, path) for record in records]
    if not rows:
        raise DatasetError(f"{path}: there is no row to write; a table needs at least one")
    for column in _LEFT_OUT_WHERE_EMPTY:
        if not any(row[column] for row in rows):
            rows = [{name: row[name] for name in row if name != column} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        delimiter = _WRITTEN_DELIMITERS.get(path.suffix.lower())
        if delimiter is None:
            _write_parquet(rows, part)
            return
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def check_table_suffix(path: str | Path) -> None:
    """Raise `DatasetError` for a file that `write_table` could not write."""
    suffix = Path(path).suffix
    if suffix.lower() not in TABLE_SUFFIXES:
        raise DatasetError(
            f"{path}: found {suffix or 'no suffix'}, expected {', '.join(TABLE_SUFFIXES)}"
        )


def _cells(record: Record, folder: Path, table: Path) -> dict[str, str]:
    """The row's cells by column; those of seconds are the shortest decimals of the same value."""
    place, known = record.path, record.annotated
    is_inside = place.is_relative_to(folder)
    times = record.start_seconds, record.end_seconds
    values = (
        place.relative_to(folder).as_posix() if is_inside else str(place),
        join_labels(map(plain_text, record.labels)),
        *("" if seconds is None else repr(float(seconds)) for seconds in times),
        ALL_LABELS if known is None else join_labels(map(plain_text, sorted(known))),
        *(record.split, record.group, record.actor, record.source),
        "" if record.fps is None else repr(float(record.fps)),
        EXTENTS[0] if record.holds_throughout else "",
    )
    cells = dict(zip(COLUMNS, values, strict=True))
    # Reading strips cells and takes UTF-8 only, so other text would change.
    for column, text in cells.items():
        if text != text.strip():
            raise DatasetError(
                f"{table}: {column} {text!r} begins or ends with white space, which a table cannot "
                "hold; rename it"
            )
        if text in CELL_ERRORS:
            raise DatasetError(
                f"{table}: {column} {text!r} is what spreadsheets show for an error, which a table "
                "cannot hold; rename it"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{table}: {column} {text!r} is not Unicode text, which a table cannot hold; "
                "rename it"
            ) from error
    for name in (*record.labels, *(known or ())):
        if SEPARATOR in name or plain_text(name) in ("", ALL_LABELS) or name != name.strip():
            raise DatasetError(
                f"{table}: {name!r} cannot be written as a label: it is empty, or begins or ends "
                f"with a space, or is {ALL_LABELS!r}, or holds {SEPARATOR!r}"
            )
    return cells


def _write_parquet(rows: list[dict[str, str]], path: Path) -> None:
    columns: Columns = [
        (name, "float64", [float(row[name]) if row[name] else None for row in rows])
        if name in ("start", "end", "fps")
        else (name, "string", [row[name] for row in rows])
        for name in rows[0]
    ]
    write_parquet(path, columns)


def write_label_table(labels: LabelSet, path: str | Path) -> None:
    """Write a ``.csv`` file with a row a label, and empty cells for a description and synonyms."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "description", "synonyms"))
        writer.writerows((name, "", "") for name in labels)


def label_table_path(table: str | Path) -> Path:
    """Where the labels of a table are written: ``clips.csv`` gives ``clips.labels.csv``."""
    return Path(table).with_suffix(".labels.csv")
