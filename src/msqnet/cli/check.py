"""`msqnet check`: list all problems of a table of labelled clips, with row numbers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.data.records import Problem
    from msqnet.data.table_check import CheckReport


MAX_SHOWN = 20
"""Problems of each kind that are printed; the file of `--out` holds all."""


def check(table: str, decode: bool = True, out: str | None = None) -> int:
    """List every missing, unreadable, empty, duplicate or mislabelled row of a table.

    Rows are numbered as a spreadsheet shows them: the header is row 1. Errors make a row unusable;
    warnings are worth a look.

    Args:
        table: A table of clips (CSV or Parquet), or a folder with one folder a label.
        decode: Open every video and decode its first and last needed frame. If false, a video only
            has to exist.
        out: A CSV file to write the problems to.

    Returns:
        0 if every row can be used, 1 if there are errors.
    """
    from rich.console import Console
    from rich.progress import Progress

    from msqnet.data.table_check import check_path

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking videos", total=None)

        def advance(num_done: int, num_files: int) -> None:
            bar.update(task, completed=num_done, total=num_files)

        report = check_path(table, decode=decode, progress=advance)
    if out is not None:
        _write(Path(out), report.problems)
    _show(report, table, Console())
    return 1 if report.errors else 0


def _write(path: Path, problems: Sequence[Problem]) -> None:
    from msqnet.data.records import Problem

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(Problem)])
        writer.writeheader()
        writer.writerows(asdict(problem) for problem in problems)


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
            if num_shown[problem.kind] > MAX_SHOWN:
                continue
            colour = "red" if problem.severity == "error" else "yellow"
            text = problem.message
            if problem.path and problem.path not in text:
                text = f"{problem.path}: {text}"
            # Text, not str: square brackets in a path are no markup.
            shown.add_row(
                "" if problem.row is None else str(problem.row),
                Text(f"{problem.severity}: {problem.kind}", style=colour),
                Text(text),
            )
        console.print(shown)
        num_hidden = sum(max(count - MAX_SHOWN, 0) for count in num_shown.values())
        if num_hidden:
            console.print(
                f"... and {num_hidden} more (the first {MAX_SHOWN} of each kind are shown; "
                "--out FILE writes all)",
                soft_wrap=True,
                highlight=False,
            )
    kinds = Counter(problem.kind for problem in report.problems)
    listing = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    console.print(
        Text(
            f"{name}: {report.num_rows} rows, {report.num_files} videos: "
            f"{len(report.errors)} error(s), {len(report.warnings)} warning(s)"
            + (f" ({listing})" if listing else "; every row can be used")
        ),
        soft_wrap=True,
    )
