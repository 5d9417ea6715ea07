"""Tables of a camera trap data package: their schemas, rows, dates with times, and lists of tags.

Columns and their meaning: https://camtrap-dp.tdwg.org/data/ (Camtrap DP 1.0.2). The schemas in
``table_schemas.json`` are those that the standard publishes, without descriptions, so that tables
can be checked without a network. Form: https://specs.frictionlessdata.io/table-schema/.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from msqnet.documents import read_text
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

VERSION = "1.0.2"
TABLES = ("deployments", "media", "observations")
TIME_HELP = "a date and time with a time zone, such as 2026-05-01T10:00:00+02:00"
ADVICE = "correct the table or get the package again"

_MISSING = frozenset({"", "NA", "NaN", "nan"})
"""Texts that stand for an empty cell, in all three tables."""

_NUM_CHARACTERS_SHOWN = 60
_MIN_YEAR, _MAX_YEAR = 1800, 9000
"""No camera recorded in other years, and sums with them may leave the calendar."""


@cache
def table_schemas() -> dict[str, dict[str, Any]]:
    """Frictionless table schemas by the name of the table."""
    text = files(__package__).joinpath("table_schemas.json").read_text(encoding="utf-8")
    schemas: dict[str, dict[str, Any]] = json.loads(text)
    return schemas


@dataclass(frozen=True)
class TableRow:
    """One row of a table.

    Attributes:
        path: of the table.
        line: number of the line in the file that the row ends in.
        cells: text by column; empty where there is none.
    """

    path: Path
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def error(self, column: str, expected: str) -> DatasetError:
        """The error about a cell that is not as expected."""
        found = self[column]
        if len(found) > _NUM_CHARACTERS_SHOWN:
            found = found[:_NUM_CHARACTERS_SHOWN] + "..."
        return DatasetError(
            f"{self.path}, line {self.line}, {column}: found {found!r}, expected {expected}; "
            f"{ADVICE}"
        )

    def require(self, column: str) -> str:
        """The text of a cell.

        Raises:
            DatasetError: it is empty.
        """
        if not self[column]:
            raise self.error(column, "a value")
        return self[column]

    def time(self, column: str) -> datetime:
        """The date and time of a cell, with its time zone.

        Raises:
            DatasetError: it is none.
        """
        try:
            return parse_time(self[column])
        except ValueError as error:
            raise self.error(column, TIME_HELP) from error

    def probability(self, column: str) -> float | None:
        """A number in [0, 1]; None where the cell is empty.

        Raises:
            DatasetError: it is none.
        """
        if not self[column]:
            return None
        try:
            value = float(self[column])
        except ValueError as error:
            raise self.error(column, "a number from 0 to 1") from error
        if not 0 <= value <= 1:
            raise self.error(column, "a number from 0 to 1")
        return value


def parse_time(text: str) -> datetime:
    """A date and time with a time zone, in the form of ISO 8601.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    found = datetime.fromisoformat(text)
    is_plausible = _MIN_YEAR <= found.year <= _MAX_YEAR
    if found.utcoffset() is None or "T" not in text or not is_plausible:
        raise ValueError(text)
    return found


def format_time(time: datetime) -> str:
    """A date and time as the standard has it: whole seconds, and ``Z`` or the distance to UTC."""
    text = time.replace(microsecond=0).isoformat()
    return text.removesuffix("+00:00") + ("Z" if text.endswith("+00:00") else "")


def read_rows(path: Path, required: Iterable[str]) -> list[TableRow]:
    """Rows of a table; texts that stand for an empty cell become empty.

    Args:
        path: a CSV file in UTF-8.
        required: columns that have to be there.

    Raises:
        DatasetError: no such file, not such a table, or a row with another number of cells.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file, but the package needs it; get the package again")
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header, required)
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DatasetError(
                    f"{path}, line {reader.line_num}: found {len(cells)} cells, expected "
                    f"{len(header)}, one for each column; {ADVICE}"
                )
            if cells:
                texts = ("" if cell.strip() in _MISSING else cell for cell in cells)
                rows.append(TableRow(path, reader.line_num, dict(zip(header, texts, strict=True))))
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {reader.line_num}: not a row of a CSV table: {error}; {ADVICE}"
        ) from error
    return rows


def _check_header(path: Path, header: Sequence[str], required: Iterable[str]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(header) or 'nothing'}; "
            f"{ADVICE}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DatasetError(f"{path}: column {twice[0]} is there twice; {ADVICE}")


def write_rows(path: Path, table: str, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table with the columns of its schema.

    Args:
        path: of the file.
        table: one of `TABLES`.
        rows: cells by column; missing ones are written empty, those of other columns left out.

    Raises:
        DatasetError: a cell is one of the texts that stand for an empty cell.
    """
    rows = list(rows)
    columns = [field["name"] for field in table_schemas()[table]["fields"]]
    for row in rows:
        for name in columns:
            if row.get(name, "").strip() in _MISSING - {""}:
                raise DatasetError(
                    f"{name}: {row[name]!r} stands for an empty cell in Camtrap DP; rename it"
                )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, columns, restval="", extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
