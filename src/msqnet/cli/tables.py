"""Tables of clips as commands take them: what was assumed in reading is always said."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from msqnet.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from msqnet.config import TableOptions
    from msqnet.data.records import ClipTable


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
    from rich.console import Console

    from msqnet.data.table import read_table

    told = provenance or {}
    if [told.get("data")] == [Path(item).name for item in data]:
        given, reading = reading.changes, reading.completed(told.get("reading") or {})
        taken = {name: value for name, value in reading.changes.items() if name not in given}
        if taken:
            words = " ".join(f"--{n.replace('_', '-')} {quote(v)}" for n, v in taken.items())
            say_notes(Console(stderr=True), [f"{data[0]} is read as in training: {words}"])
    table = read_table(data, reading)
    say_notes(Console(stderr=True), table.notes)
    return table.select(split)


def say_notes(console: Console, notes: Sequence[str]) -> None:
    """Print notes, one a line."""
    for note in notes:
        say(console, f"msqnet: note: {note}")
