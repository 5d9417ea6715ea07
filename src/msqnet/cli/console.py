"""Printing lines whose names may hold anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.report.style import printable

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print a line as it is: not wrapped, no colours, no markup."""
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)
