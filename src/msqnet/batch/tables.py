"""`index.csv`, as `msqnet predict` writes it, and `errors.csv`, of all videos of a journal."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from msqnet.batch.data_set import result_names
from msqnet.inference.results_folder import (
    INDEX_FILE,
    OUTPUT_SEPARATOR,
    IndexRow,
    read_index,
    write_index,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from msqnet.batch.jobs import Outcome
    from msqnet.batch.output import Output

ERRORS_FILE = "errors.csv"
ERROR_COLUMNS = ("input", "name", "status", "cause", "error", "attempts", "seconds", "digest")


def write_tables(output: Output, outcomes: Collection[Outcome]) -> None:
    """Write both tables of all videos that are known; rows of `msqnet predict` are kept.

    Args:
        output: where they go.
        outcomes: one for each video.

    Raises:
        DatasetError: an `index.csv` is there that msqnet did not write.
        OSError: they cannot be written.
    """
    with output.staging() as folder:
        rows = earlier_rows(output, folder)
        for outcome in outcomes:
            rows[outcome.source] = index_row(outcome)
        index = folder / INDEX_FILE
        write_index(index, [rows[key] for key in sorted(rows)])
        output.publish(INDEX_FILE, index)
        errors = folder / ERRORS_FILE
        _write_errors(errors, outcomes)
        output.publish(ERRORS_FILE, errors)


def earlier_rows(output: Output, folder: Path) -> dict[str, IndexRow]:
    """Rows of the index that is there, by input.

    Args:
        output: where it is.
        folder: local folder to write in.

    Raises:
        DatasetError: it is not an index of predictions.
    """
    content = output.read(INDEX_FILE)
    if content is None:
        return {}
    path = folder / "earlier.csv"
    path.write_bytes(content)
    return {row.input: row for row in read_index(path)}


def index_row(outcome: Outcome) -> IndexRow:
    """The line of a video in `index.csv`."""
    names = result_names(outcome.name) if outcome.is_answered else ()
    status = "error" if outcome.status == "timeout" else outcome.status
    return IndexRow(outcome.source, OUTPUT_SEPARATOR.join(names), status, outcome.message)


def _write_errors(path: Path, outcomes: Collection[Outcome]) -> None:
    """One line a video that was not answered, or only in part, by name."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ERROR_COLUMNS)
        for item in sorted(outcomes, key=lambda outcome: outcome.name):
            if item.status != "ok":
                writer.writerow(
                    (
                        *(item.source, item.name, item.status, item.cause, item.message),
                        *(item.num_attempts, round(item.seconds, 3), item.digest),
                    )
                )
