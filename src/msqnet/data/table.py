"""Reads a table of labelled clips: CSV, TSV or Parquet, or a folder per label.

Columns: ``path,labels[,start,end,annotated,split,group,actor,source]``; others are ignored. Paths
are relative to the table, times are seconds, labels are joined by ``|``. What ``annotated`` says:

- no such column, or ``*``: every label was checked, so a label that is not listed is absent;
- names: these labels were checked; the row's own labels count as checked too;
- an empty cell where the column exists: only the row's own labels are known. Nothing says that
  somebody looked for the others, and unknown is not negative.
"""

from __future__ import annotations

import csv
import io
import math
import os.path
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.folder import scan_folder
from msqnet.data.records import ClipTable, Problem, Record
from msqnet.errors import DatasetError
from msqnet.labels import SEPARATOR, split_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

REQUIRED_COLUMNS = ("path", "labels")
OPTIONAL_COLUMNS = ("start", "end", "annotated", "split", "group", "actor", "source")
ALL_LABELS = "*"

_DELIMITERS = (",", ";", "\t")
_CSV_SUFFIXES = (".csv", ".tsv")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_NUM_ROWS_IN_ERRORS = 20
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_table(path: str | Path) -> ClipTable:
    """Read a table of labelled clips; the videos themselves are not opened.

    A message about malformed rows has one line a row, and reads well as a single line too.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file, or a folder with one folder per label.

    Raises:
        DatasetError: no such file, a column is missing, no rows, or malformed rows, which are all
            counted and the first ones named.
    """
    table, problems = scan_table(path)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DatasetError(_describe_malformed(table.path, errors))
    if not table.records:
        raise DatasetError(f"{table.path}: no clip in it; a table needs at least one row")
    return table


def scan_table(path: str | Path) -> tuple[ClipTable, tuple[Problem, ...]]:
    """Read what can be read: the well-formed rows, and what is wrong with the others.

    Args:
        path: as for `read_table`.

    Raises:
        DatasetError: no such file, not a table, or a required column is missing.
    """
    path = Path(path)
    if path.is_dir():
        return scan_folder(path)
    if not path.exists():
        raise DatasetError(
            f"{path}: no such file or folder; give a CSV or Parquet table, or a folder per label"
        )
    suffix = path.suffix.lower()
    if suffix in _CSV_SUFFIXES:
        sheet = _read_csv(path)
    elif suffix in _PARQUET_SUFFIXES:
        sheet = _read_parquet(path)
    else:
        raise DatasetError(
            f"{path}: found {suffix or 'no suffix'}, expected .csv, .tsv or .parquet; "
            "a spreadsheet can be saved as CSV"
        )
    return _parse_sheet(path, sheet)


def _describe_malformed(path: Path, errors: Sequence[Problem]) -> str:
    if any(problem.row is None for problem in errors):
        lines = [f"{path}: {len(errors)} clip(s) in the wrong place:"]
    else:
        lines = [f"{path}: {len(errors)} malformed row(s):"]
    for problem in errors[:_NUM_ROWS_IN_ERRORS]:
        place = "" if problem.row is None else f"row {problem.row}: "
        lines.append(f"  {place}{problem.message};")
    if len(errors) > _NUM_ROWS_IN_ERRORS:
        lines.append(f"  ... and {len(errors) - _NUM_ROWS_IN_ERRORS} more;")
    lines.append("correct them and try again ('msqnet check' lists everything that is wrong)")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Sheet:
    """Cells as text: the columns' positions by name, and the rows by spreadsheet number."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    decimal_comma: bool = False

    def cells(self, values: Sequence[str]) -> dict[str, str]:
        known = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
        # Excel drops the delimiters of empty cells at the end of a row: such cells are empty.
        return {
            name: values[position].strip() if position < len(values) else ""
            for position, name in enumerate(self.header)
            if name in known
        }


def _read_csv(path: Path) -> _Sheet:
    text = _decode(path)
    lines = text.splitlines()
    delimiter = _find_delimiter(lines[0]) if lines else ","
    try:
        # One record is one spreadsheet row, even where a quoted cell holds line breaks.
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}: not a well-formed CSV table ({error})") from error
    if not rows:
        raise DatasetError(f"{path}: the file is empty; expected a header and one row per clip")
    numbered = tuple(
        (number, tuple(cells))
        for number, cells in enumerate(rows[1:], start=2)
        if any(cell.strip() for cell in cells)
    )
    return _Sheet(_normalise_header(rows[0]), numbered, decimal_comma=delimiter == ";")


def _decode(path: Path) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.start} is not {encoding.upper()} text; save the table as "
            "'CSV UTF-8'"
        ) from error


def _find_delimiter(header_line: str) -> str:
    def is_header(delimiter: str) -> bool:
        cells = next(csv.reader([header_line], delimiter=delimiter), [])
        return len(cells) > 1 and "path" in _normalise_header(cells)

    return next((delimiter for delimiter in _DELIMITERS if is_header(delimiter)), ",")


def _normalise_header(cells: Iterable[str]) -> tuple[str, ...]:
    return tuple(cell.strip().lower() for cell in cells)


def _read_parquet(path: Path) -> _Sheet:
    import pandas as pd  # takes half a second, and CSV tables do without

    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: not a readable Parquet table ({error})") from error
    columns: list[list[str]] = []
    for position in range(frame.shape[1]):
        column = frame.iloc[:, position]
        columns.append(
            ["" if gone else str(value) for value, gone in zip(column, column.isna(), strict=True)]
        )
    rows = tuple(enumerate(zip(*columns, strict=True), start=2))
    return _Sheet(_normalise_header(str(name) for name in frame.columns), rows)


def _parse_sheet(path: Path, sheet: _Sheet) -> tuple[ClipTable, tuple[Problem, ...]]:
    _check_header(path, sheet.header)
    folder = path.parent.resolve()
    records: list[Record] = []
    problems = list(_find_ignored_columns(sheet.header))
    for number, values in sheet.rows:
        cells = sheet.cells(values)
        row = _Row(cells, sheet.decimal_comma)
        if any(value.strip() for value in values[len(sheet.header) :]):
            row.messages.append(
                f"has {len(values)} cells, the header {len(sheet.header)}: "
                "quote a cell that holds the delimiter"
            )
        record = row.to_record(number, folder)
        if row.messages:
            message = "; ".join(row.messages)
            problems.append(Problem(number, "malformed", message, "error", cells["path"]))
        else:
            records.append(record)
    return ClipTable(path, tuple(records)), tuple(problems)


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    known = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: no column {' and no column '.join(map(repr, missing))}; "
            f"found {', '.join(header) or 'nothing'}; the first row must name the columns "
            f"{','.join(REQUIRED_COLUMNS)} and may name {','.join(OPTIONAL_COLUMNS)}"
        )
    repeated = sorted({name for name in header if header.count(name) > 1 and name in known})
    if repeated:
        raise DatasetError(f"{path}: column {', '.join(map(repr, repeated))} is there twice")


def _find_ignored_columns(header: tuple[str, ...]) -> Iterator[Problem]:
    absent = [name for name in OPTIONAL_COLUMNS if name not in header]
    for name in header:
        similar = get_close_matches(name.partition("_")[0], absent, n=1, cutoff=0.8)
        if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS and similar:
            message = f"column {name!r} is ignored; if it means {similar[0]!r}, rename it"
            yield Problem(1, "ignored_column", message, "warning")


@dataclass
class _Row:
    """Turns the cells of one row into a record, and notes everything that is wrong on the way."""

    cells: Mapping[str, str]
    decimal_comma: bool
    messages: list[str] = field(default_factory=list)

    def seconds(self, column: str) -> float | None:
        text = self.cells.get(column, "")
        if not text:
            return None
        try:
            value = float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.messages.append(f"{column} {text!r} is not a number of seconds such as 12.5")
            return None
        if value < 0:
            self.messages.append(f"{column} {text!r} lies before the video's start, which is 0")
            return None
        return value

    def names(self, column: str) -> tuple[str, ...]:
        text = self.cells[column]
        names = split_labels(text)
        if text and not all(part.strip() for part in text.split(SEPARATOR)):
            self.messages.append(f"{column} {text!r} has an empty name beside a '{SEPARATOR}'")
        if ALL_LABELS in names:
            self.messages.append(
                f"{column} {text!r}: '{ALL_LABELS}' stands for all labels, only alone and only in "
                "'annotated'"
            )
        return names

    def annotated(self, labels: tuple[str, ...]) -> frozenset[str] | None:
        if self.cells.get("annotated", ALL_LABELS) == ALL_LABELS:
            return None
        return frozenset(self.names("annotated")) | frozenset(labels)

    def to_record(self, number: int, folder: Path) -> Record:
        written = self.cells["path"]
        if not written:
            self.messages.append("path is empty")
        labels = self.names("labels")
        start, end = self.seconds("start"), self.seconds("end")
        if end is not None and end <= (start or 0.0):
            self.messages.append(f"end {end:g} is not after start {start or 0.0:g}")
        return Record(
            row=number,
            path=_locate(written, folder),
            relative_path=written,
            labels=labels,
            annotated=self.annotated(labels),
            start_seconds=start,
            end_seconds=end,
            split=self.cells.get("split", ""),
            group=self.cells.get("group", ""),
            actor=self.cells.get("actor", ""),
            source=self.cells.get("source", ""),
        )


def _locate(written: str, folder: Path) -> Path:
    """Absolute path, so that one file has one path however the table spells it."""
    place = folder / written
    if "\\" in written and not place.exists():
        place = folder / written.replace("\\", "/")
    # Not resolve(): that would ask the disk, often a network drive, once for every row.
    return Path(os.path.normpath(place))
