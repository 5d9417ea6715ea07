"""Lines and progress bars of commands."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from msqnet.report.style import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print a line as it is: not wrapped, no colours, no markup."""
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[..., None]]:
    """A bar on stderr, if that is a terminal, until the block ends.

    The block calls what it gets with the amount that is done, the total, and the name of a step if
    a new one begins.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(name, total=None)

        def update(done: float, total: float, name: str | None = None) -> None:
            bars.update(bar, completed=done, total=total, description=name)

        yield update
