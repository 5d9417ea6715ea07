"""Cells of tables of clips as text, from CSV, Parquet and spreadsheet files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msqnet.data.columns import is_header
from msqnet.documents import read_csv_rows
from msqnet.errors import DatasetError, needs_extra
from msqnet.workbooks import read_sheets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Rows = list[tuple[int, Sequence[str]]]

_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_SHEET_SUFFIXES = (".xlsx", ".xlsm", ".ods")
READABLE_SUFFIXES = (*_TEXT_SUFFIXES, *_PARQUET_SUFFIXES, *_SHEET_SUFFIXES)
_ADVICE = "save the table as 'CSV UTF-8'"


class Sheet(NamedTuple):
    """Cells as text.

    Attributes:
        header: names of columns, without space around them.
        rows: those below it that are not empty, by the numbers that a spreadsheet shows.
        has_commas: whether numbers may have decimal commas.
        is_workbook: whether times may have been typed into cells that know times of the day.
        notes: what a user should know.
    """

    header: tuple[str, ...]
    rows: Rows
    has_commas: bool = False
    is_workbook: bool = False
    notes: tuple[str, ...] = ()


_MAX_ROWS_ABOVE = 20


def read_sheet(path: Path, told: Mapping[str, str]) -> Sheet:
    """The cells of a table; `told` are names of columns that it is known by.

    `DatasetError` if the file is no table, or empty.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE_SUFFIXES:
        raise DatasetError(
            f"{path}: found {suffix or 'no suffix'}, expected {', '.join(READABLE_SUFFIXES)}"
        )
    if suffix in _PARQUET_SUFFIXES:
        return _read_parquet(path)
    if suffix in _SHEET_SUFFIXES:
        return _read_workbook(path, told)
    rows, delimiter, note = read_csv_rows(path, _ADVICE, lambda cells: is_header(cells, told))
    numbered = _filled(rows, told)
    if not numbered:
        raise DatasetError(f"{path}: the file is empty; expected a header and one row per clip")
    notes = (note,) if note else ()
    return Sheet(_header(numbered[0][1]), numbered[1:], delimiter != ",", notes=notes)


def _filled(rows: Sequence[Sequence[str]], told: Mapping[str, str]) -> Rows:
    """Rows with any cells and their numbers, from the header on: a title may stand above it."""
    filled = [(number, row) for number, row in enumerate(rows, 1) if any(map(str.strip, row))]
    if filled and not is_header(filled[0][1], told):
        for place, (_, row) in enumerate(filled[:_MAX_ROWS_ABOVE]):
            if is_header(row, told, wholly=True):
                return filled[place:]
    return filled


def _header(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(cell.split()) for cell in cells)


def _read_parquet(path: Path) -> Sheet:
    with needs_extra(f"{path.name}: reading Parquet", extra="pandas"):
        import pandas as pd  # takes half a second, and CSV tables do without
        import pyarrow as _  # noqa: F401 - which pandas reads it by

    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: not a readable Parquet table ({error})") from error
    cells = frame.astype(object).map(str).where(frame.notna(), "")
    rows: Rows = list(enumerate(cells.itertuples(index=False, name=None), start=2))
    return Sheet(_header([str(name) for name in frame.columns]), rows)


def _read_workbook(path: Path, told: Mapping[str, str]) -> Sheet:
    """The first sheet that has the columns, or else the first one with any cells."""
    sheets = read_sheets(path, "save it as .xlsx or .csv", extra="train", marks_unsure=True)
    filled = {name: rows for name, cells in sheets.items() if (rows := _filled(cells, told))}
    if not filled:
        raise DatasetError(f"{path}: no sheet has cells; expected a header and one row per clip")
    fitting = [name for name, rows in filled.items() if is_header(rows[0][1], told)]
    chosen, *others = fitting or list(filled)[:1]
    notes = []
    if others:
        notes.append(
            f"{path}: sheet {chosen!r} is read, and {', '.join(map(repr, others))} not, which "
            "could be read too; save a sheet as a file of its own to use it"
        )
    (_, names), *rows = filled[chosen]
    # Cells that were only coloured or bordered have no name, and nothing below.
    width = max(n for n, name in enumerate(names, 1) if name.strip())
    return Sheet(_header(names[:width]), rows, True, True, tuple(notes))
