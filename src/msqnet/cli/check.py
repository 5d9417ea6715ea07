"""`msqnet check`: list all problems of a table of labelled clips, with row numbers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import progress_bar, say

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.data.table_check import CheckReport

# Problems of each kind that are printed.
_MAX_SHOWN = 20


def check(table: str, decode: bool = True, out: str | None = None) -> int:
    """List every missing, unreadable, empty, duplicate or mislabelled row of a table.

    Rows are numbered as in a spreadsheet: the header is row 1. A row with an error cannot be used;
    a row with a warning can.

    Args:
        table: A table of clips (CSV or Parquet), or a folder with one subfolder per label.
        decode: Open every video and decode its first and last needed frame. If false, only
            check that it exists.
        out: A CSV file for the problems.

    Returns:
        0 if every row can be used, 1 if there are errors.
    """
    from rich.console import Console

    from msqnet.data.records import Problem
    from msqnet.data.table_check import check_path

    with progress_bar("checking videos") as progress:
        report = check_path(table, decode=decode, progress=progress)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with Path(out).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [item.name for item in fields(Problem)])
            writer.writeheader()
            writer.writerows(asdict(problem) for problem in report.problems)
    _show(report, table, Console())
    return 1 if report.errors else 0


def _show(report: CheckReport, name: str, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if report.problems:
        shown = Table(box=box.SIMPLE_HEAD)
        shown.add_column("row", justify="right")
        shown.add_column("problem")
        shown.add_column("what and where", overflow="fold")
        num_shown: Counter[str] = Counter()
        for problem in report.problems:
            num_shown[problem.kind] += 1
            if num_shown[problem.kind] > _MAX_SHOWN:
                continue
            place = problem.path and problem.path not in problem.message
            # Text, not str: square brackets in a path are no markup.
            shown.add_row(
                "" if problem.row is None else str(problem.row),
                Text(
                    f"{problem.severity}: {problem.kind}",
                    style="red" if problem.severity == "error" else "yellow",
                ),
                Text(f"{problem.path}: {problem.message}" if place else problem.message),
            )
        console.print(shown)
        num_hidden = sum(max(count - _MAX_SHOWN, 0) for count in num_shown.values())
        if num_hidden:
            say(
                console,
                f"... and {num_hidden} more (the first {_MAX_SHOWN} of each kind are shown; "
                "--out FILE writes all)",
            )
    kinds = Counter(problem.kind for problem in report.problems)
    listing = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    say(
        console,
        f"{name}: {report.num_rows} rows, {report.num_files} videos: "
        f"{len(report.errors)} error(s), {len(report.warnings)} warning(s)"
        + (f" ({listing})" if listing else "; every row can be used"),
    )
