"""Reads sheets of Excel workbooks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from msqnet.errors import DatasetError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_sheet(path: Path, sheet: str, columns: Sequence[str]) -> dict[int, tuple[Any, ...]]:
    """The named columns of a sheet: cells by the number of the row, in the sheet's order.

    Cells are taken as they were typed: the text ``#N/A`` stays that text, which pandas would turn
    into a missing value. The header is row 1; rows without any cell are left out.

    Args:
        path: an ``.xlsx`` file.
        sheet: name of the sheet.
        columns: names in the first row; others are not read.

    Raises:
        MissingExtra: openpyxl is not installed.
        DatasetError: no workbook, or one without that sheet or column.
    """
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise MissingExtra(f"{path.name}: reading an Excel workbook", extra="datasets") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True)
    except (BadZipFile, KeyError, ValueError, OSError) as error:
        raise DatasetError(f"{path}: not a readable Excel workbook ({error})") from error
    try:
        if sheet not in book.sheetnames:
            found = ", ".join(book.sheetnames)
            raise DatasetError(f"{path}: no sheet {sheet!r}; found {found}")
        rows = book[sheet].iter_rows(values_only=True)
        header = next(rows, ())
        missing = [name for name in columns if name not in header]
        if missing:
            found = ", ".join(str(name) for name in header)
            raise DatasetError(f"{path}, sheet {sheet!r}: no column {missing[0]!r}; found {found}")
        places = [header.index(name) for name in columns]
        return {
            number: tuple(row[place] for place in places)
            for number, row in enumerate(rows, start=2)
            if any(cell is not None for cell in row)
        }
    finally:
        book.close()
