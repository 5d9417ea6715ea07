"""Tables of a camera trap data package: their schemas, their rows, and dates with times.

Columns and their meaning: https://camtrap-dp.tdwg.org/data/ (Camtrap DP 1.0.2). The schemas in
``table_schemas.json`` are those that the standard publishes, without descriptions, so that tables
can be checked without a network. Form: https://specs.frictionlessdata.io/table-schema/.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from msqnet.documents import read_delimited
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msqnet.documents import TableRow

VERSION = "1.0.2"
TABLES = ("deployments", "media", "observations")
TIME_HELP = "a date and time with a time zone, such as 2026-05-01T10:00:00+02:00"

_ADVICE = "correct the table or get the package again"
_MISSING = frozenset({"", "NA", "NaN", "nan"})
"""Texts that stand for an empty cell, in all three tables."""

_MIN_YEAR, _MAX_YEAR = 1800, 9000
"""No camera recorded in other years, and sums with them may leave the calendar."""


@cache
def table_schemas() -> dict[str, dict[str, Any]]:
    """Frictionless table schemas by the name of the table."""
    text = files(__package__).joinpath("table_schemas.json").read_text(encoding="utf-8")
    schemas: dict[str, dict[str, Any]] = json.loads(text)
    return schemas


def parse_time(text: str) -> datetime:
    """A date and time in the form of ISO 8601; `ValueError` if it is none, or has no time zone."""
    found = datetime.fromisoformat(text)
    is_plausible = _MIN_YEAR <= found.year <= _MAX_YEAR
    if found.utcoffset() is None or "T" not in text or not is_plausible:
        raise ValueError(text)
    return found


def time_of(row: TableRow, column: str) -> datetime:
    """The date and time of a cell, with its time zone; `DatasetError` if it is none."""
    try:
        return parse_time(row[column])
    except ValueError as error:
        raise row.value(column).error(TIME_HELP) from error


def format_time(time: datetime) -> str:
    """A date and time as the standard has it: whole seconds, and ``Z`` or the distance to UTC."""
    text = time.replace(microsecond=0).isoformat()
    return text.removesuffix("+00:00") + ("Z" if text.endswith("+00:00") else "")


def read_rows(path: Path, required: Iterable[str]) -> list[TableRow]:
    """Rows of a CSV file with these columns; texts that stand for an empty cell become empty.

    `DatasetError` if there is no such file or table, or a row has another number of cells.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file, but the package needs it; get the package again")
    return [
        replace(row, cells={n: "" if t.strip() in _MISSING else t for n, t in row.cells.items()})
        for row in read_delimited(path, _ADVICE, required).rows
    ]


def write_rows(path: Path, table: str, rows: Iterable[Mapping[str, str]]) -> None:
    """Write one of `TABLES`; missing cells are written empty, those of other columns left out.

    `DatasetError` if a cell is one of the texts that stand for an empty cell.
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
