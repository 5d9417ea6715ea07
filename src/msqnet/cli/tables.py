"""Tables of clips as commands take them: what was assumed in reading is always said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.config import TableOptions
    from msqnet.data.records import ClipTable


def read_clips(data: Sequence[str], reading: TableOptions, split: str | None) -> ClipTable:
    """Rows of a split of tables; all for None. Notes go to stderr."""
    from rich.console import Console

    from msqnet.data.table import read_table

    table = read_table(data, reading)
    say_notes(Console(stderr=True), table.notes)
    return table.select(split)


def say_notes(console: Console, notes: Sequence[str]) -> None:
    """Print notes, one a line."""
    for note in notes:
        say(console, f"msqnet: note: {note}")
