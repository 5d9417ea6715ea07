"""What commands print: tables and progress."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from msqnet.cli import console as module
from msqnet.cli.console import number_table, progress_bar

if TYPE_CHECKING:
    import pytest


def test_long_names_are_shown_in_full_in_a_narrow_table() -> None:
    table = number_table("", "label", *["a heading"] * 6)
    table.add_row("wall_supported_rearing", *["0.123"] * 6)
    console = Console(file=io.StringIO(), width=60)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    name = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert name == "wall_supported_rearing"


def test_progress_goes_to_a_file_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO())
    with progress_bar("preparing", console) as show:
        for seconds, done in ((30, 1), (61, 2), (62, 3), (125, 4)):
            now[0] = seconds
            show(done, 8, "features")
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "features: 25%",
        "features: 50%",
    ]


def test_nothing_is_said_about_work_of_less_than_a_minute() -> None:
    console = Console(file=io.StringIO())
    with progress_bar("clips", console) as show:
        show(1, 2)
        show(2, 2)
    assert not console.file.getvalue()  # type: ignore[attr-defined]
