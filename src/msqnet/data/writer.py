"""Writes the table that `msqnet.data.table` reads, and the table of its labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.table import ALL_LABELS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from msqnet.errors import DatasetError
from msqnet.labels import SEPARATOR, join_labels
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.data.records import Record
    from msqnet.labels import LabelSet

COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
LABEL_COLUMNS = ("name", "description", "synonyms")
LABEL_TABLE_SUFFIX = ".labels.csv"
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SECONDS_COLUMNS = ("start", "end")


def write_table(records: Iterable[Record], path: str | Path) -> None:
    """Write rows so that `read_table` gives them back; a table that is there is replaced at once.

    Videos in the table's folder, or below, are written relative to it, so that both can move
    together; all others by their absolute path. Rows are numbered anew, from 2.

    Args:
        records: at least one.
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file; its folder is made.

    Raises:
        DatasetError: another suffix, no rows, or a name that a table cannot hold.
    """
    path = Path(path)
    check_table_suffix(path)
    folder = path.parent.resolve()
    rows = [_cells(record, folder, path) for record in records]
    if not rows:
        raise DatasetError(f"{path}: there is no row to write; a table needs at least one")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        if path.suffix.lower() in _DELIMITERS:
            _write_text(rows, part, _DELIMITERS[path.suffix.lower()])
        else:
            _write_parquet(rows, part)


def write_label_table(labels: LabelSet, path: str | Path) -> None:
    """Write one row a label, in order, with empty cells for a description and for synonyms.

    Args:
        labels: every label of the table, those that no row shows too.
        path: a ``.csv`` file, usually `label_table_path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LABEL_COLUMNS)
        writer.writerows((name, "", "") for name in labels)


def label_table_path(table: str | Path) -> Path:
    """Where the labels of a table are written: ``clips.csv`` gives ``clips.labels.csv``."""
    return Path(table).with_suffix(LABEL_TABLE_SUFFIX)


def check_table_suffix(path: str | Path) -> None:
    """Refuse a file that `write_table` could not write.

    Raises:
        DatasetError: the suffix is none of `TABLE_SUFFIXES`.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in TABLE_SUFFIXES:
        raise DatasetError(
            f"{path}: found {suffix or 'no suffix'}, expected {', '.join(TABLE_SUFFIXES)}"
        )


def _cells(record: Record, folder: Path, table: Path) -> dict[str, str]:
    """The row's cells by column; those of seconds are the shortest decimals of the same value."""
    place = record.path
    annotated = ALL_LABELS if record.annotated is None else join_labels(sorted(record.annotated))
    cells = {
        "path": place.relative_to(folder).as_posix()
        if place.is_relative_to(folder)
        else str(place),
        "labels": join_labels(record.labels),
        "start": _decimals(record.start_seconds),
        "end": _decimals(record.end_seconds),
        "annotated": annotated,
        "split": record.split,
        "group": record.group,
        "actor": record.actor,
        "source": record.source,
    }
    for column, text in cells.items():
        _check_text(text, column, table)
    for name in (*record.labels, *(record.annotated or ())):
        if SEPARATOR in name or name in ("", ALL_LABELS) or name != name.strip():
            raise DatasetError(
                f"{table}: {name!r} cannot be written as a label: it is empty, or begins or ends "
                f"with a space, or is {ALL_LABELS!r}, or holds {SEPARATOR!r}"
            )
    return cells


def _check_text(text: str, column: str, table: Path) -> None:
    """Refuse what reading would change: it strips cells and takes UTF-8 only."""
    if text != text.strip():
        raise DatasetError(
            f"{table}: {column} {text!r} begins or ends with white space, which a table cannot "
            "hold; rename it"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{table}: {column} {text!r} is not Unicode text, which a table cannot hold; rename it"
        ) from error


def _decimals(seconds: float | None) -> str:
    return "" if seconds is None else repr(float(seconds))


def _write_text(rows: list[dict[str, str]], path: Path, delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(rows: list[dict[str, str]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: pa.array([float(row[name]) if row[name] else None for row in rows], pa.float64())
        if name in _SECONDS_COLUMNS
        else pa.array([row[name] for row in rows], pa.string())
        for name in COLUMNS
    }
    pq.write_table(pa.table(columns), path)
