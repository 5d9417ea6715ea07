"""`msqnet check`: all problems of a table of labelled clips, its labels, and what training does."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import number_table, progress_bar, say, say_notes
from msqnet.config import TableOptions, TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.data.table_check import CheckReport

# Problems of each kind that are printed.
_MAX_SHOWN = 20
_SECONDS_OF_FEATURES, _SECONDS_OF_DECODER = 0.9, 2.1
"""Per clip, of training `lite` with its recipe on two cores of a shared server."""


def check(
    table: list[str],
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    decode: bool = True,
    out: str | None = None,
) -> int:
    """List every missing, unreadable, empty, duplicate or mislabelled row of a table.

    Rows are numbered as in a spreadsheet: the header is row 1. A row with an error cannot be used;
    a row with a warning can. Clips and groups of each label are counted by split, and a line each
    says what `msqnet train` would do with the rows.

    Args:
        table: Tables of clips (.csv, .tsv, .xlsx, .ods, .parquet), or folders with one subfolder
            per label.
        reading: How tables are read.
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
        report = check_path(table, reading, decode=decode, progress=progress)
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with Path(out).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [item.name for item in fields(Problem)])
            writer.writeheader()
            writer.writerows(asdict(problem) for problem in report.problems)
    console = Console()
    if report.table is not None:
        say_notes(report.table.notes, console)
    _show(report, " + ".join(table), console)
    if report.table is not None and report.table.records:
        _show_labels(console, report.table)
        _show_plan(console, report.table.without(report.errors), opens=decode)
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
                problem.place.removeprefix("row "),
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


def _show_labels(console: Console, table: ClipTable) -> None:
    from rich.text import Text

    from msqnet.data.overview import count_labels

    splits, rows = count_labels(table)
    titles = [split or "no split" for split in splits] if splits != [""] else ["all"]
    shown = number_table(
        "rows and groups of each label",
        "label",
        *(heading for title in titles for heading in (title, "groups")),
    )
    for row in rows:
        pairs = zip(row.num_clips, row.num_groups, strict=True)
        shown.add_row(Text(row.name or "(no label)"), *(str(n) for pair in pairs for n in pair))
    console.print(shown)


def _show_plan(console: Console, table: ClipTable, *, opens: bool) -> None:
    """What training does with the rows that can be used."""
    from msqnet.data.overview import count_labels, seen_task, ungrouped_note
    from msqnet.data.table_check import TRAIN_SPLIT
    from msqnet.training.training_run import DECODER_ROWS, typical_window

    splits = table.split_names()
    if splits and TRAIN_SPLIT not in splits:
        say(console, f"training: no row has split {TRAIN_SPLIT!r}; say --split, one of {splits}")
        return
    rows = table.select(TRAIN_SPLIT if splits else None)
    if not rows.label_names():
        say(console, "training: no row that can be used has a label")
        return
    name, reason = seen_task(rows)
    num_groups, most = len(set(rows.group_ids())), TrainConfig.folds
    folds = f"{min(most, num_groups)} folds, each with whole groups held out; there are"
    if num_groups < 2:
        folds = "no cross-validation, which needs at least 2 groups; there is"
    unit = "group" if any(record.group for record in rows.records) else "video"
    has_decoder = len(rows) >= DECODER_ROWS
    per_clip = _SECONDS_OF_FEATURES + (_SECONDS_OF_DECODER if has_decoder else 0.0)
    minutes = max(1, round(per_clip * len(rows) / 60))
    window = "as long as the videos of rows without an end, but at most 2 s"
    if opens or all(record.end_seconds is not None for record in rows.records):
        seconds, why = typical_window(rows)
        window = f"{seconds:g} s, {why}"
    say(console, f"msqnet train would use {len(rows)} row(s):")
    say(console, f"  task: {name}, as {reason}")
    say(console, f"  window: {window}")
    say(console, f"  folds: {folds} {num_groups} {unit}{'' if num_groups == 1 else 's'}")
    ungrouped = ungrouped_note(rows)
    if ungrouped:
        say(console, f"  note: {ungrouped}")
    lone = [row.name for row in count_labels(rows)[1] if row.name and sum(row.num_groups) == 1]
    if lone:
        say(console, f"  not testable, as one {unit} alone shows them: {', '.join(lone)}")
    say(console, f"  time: about {minutes} min on two cores without a GPU, by an estimate")
