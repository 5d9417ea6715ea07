"""Lines, tables and progress bars of commands, and the tables of clips that they take."""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msqnet.style import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from msqnet.batch.runners import ResultsFolder
    from msqnet.config import TableOptions
    from msqnet.data.records import ClipTable

_SECONDS_A_LINE = 60.0
_PACE_VARIABLE = "MSQNET_PROGRESS_SECONDS"


def say(console: Console, text: str) -> None:
    """Print a line as it is: not wrapped, no colours, no markup."""
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)


def say_notes(notes: Sequence[str], console: Console | None = None) -> None:
    """Print notes, one a line, on stderr or another console."""
    from rich.console import Console

    for note in notes:
        say(console or Console(stderr=True), f"msqnet: note: {note}")


def show_skipped(skipped: Sequence[str], index: ResultsFolder | None) -> None:
    """Count the files that are no videos on stderr, and list them in an index."""
    from msqnet.inference.results import skipped_note, skipped_row

    if index is not None:
        for path in skipped:
            index.record(skipped_row(path))
    if skipped:
        say_notes([skipped_note(skipped)])


def shown(value: float | None, digits: int = 3) -> str:
    """A metric with its decimals; a dash where it is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def number_table(title: str, name: str, *headings: str) -> Table:
    """A table whose first column holds names, shown in full, and whose others hold numbers."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column(name, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


@contextmanager
def progress_bar(name: str, console: Console | None = None) -> Iterator[Callable[..., None]]:
    """A bar on stderr, or another console, until the block ends.

    Where that is no terminal but a file or a pipe, a line says once a minute how far it is, or as
    often as MSQNET_PROGRESS_SECONDS says. The block calls what it gets with the amount that is
    done, the total, and the name of a step if a new one begins.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _line_each_minute(name, console)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    bars = Progress(
        *(TextColumn("{task.description}", markup=False), BarColumn()),
        *(TaskProgressColumn(), Remaining()),
        console=console,
        transient=True,
        redirect_stdout=False,  # tables may go to another stream
        redirect_stderr=False,
    )
    with bars:
        bar = bars.add_task(printable(name), total=None)
        yield lambda done, total, name=None: bars.update(
            bar, completed=done, total=total, description=name and printable(name)
        )


def _line_each_minute(name: str, console: Console) -> Callable[..., None]:
    """Progress in few lines, none of them for what takes less than a minute."""
    said = time.monotonic()
    pace = float(os.environ.get(_PACE_VARIABLE, _SECONDS_A_LINE))

    def show(done: float, total: float, step: str | None = None) -> None:
        nonlocal said
        if time.monotonic() - said >= pace and total:
            said = time.monotonic()
            say(console, f"{step or name}: {done / total:.0%}")

    return show


def read_clips(
    data: Sequence[str],
    reading: TableOptions,
    split: str | None,
    provenance: Mapping[str, Any] | None = None,
) -> ClipTable:
    """Rows of a split of tables; all for None. Notes go to stderr.

    ``provenance`` is that of a model: a table of the name of that which it was trained on is read
    in the same way, where ``reading`` does not say another.
    """
    from msqnet.data.table import read_table

    told = provenance or {}
    if [told.get("data")] == [Path(item).name for item in data]:
        given, reading = reading.changes, reading.completed(told.get("reading") or {})
        taken = {name: value for name, value in reading.changes.items() if name not in given}
        if taken:
            words = " ".join(f"--{n.replace('_', '-')} {quote(v)}" for n, v in taken.items())
            say_notes([f"{data[0]} is read as in training: {words}"])
    table = read_table(data, reading)
    say_notes(table.notes)
    return table.select(split)
