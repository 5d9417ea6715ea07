"""Draw the synthetic benchmark: articulated actors that do one or more of 16 named actions.

    python paper/synthesize.py --out synthetic/

Writes videos with exact labels, and tables with splits for new clips, new kinds of actor, new
combinations of actions and unseen actions, for `msqnet train` and `msqnet evaluate`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from msqnet.cli.main import exit_code_of
from msqnet.errors import DatasetError, MsqnetError
from synthetic.benchmark import BenchmarkSettings, generate

if TYPE_CHECKING:
    from collections.abc import Sequence


def synthesize(folder: Path, settings: BenchmarkSettings, *, overwrite: bool = False) -> None:
    """Write the benchmark, and print the tables with their numbers of rows.

    Args:
        folder: new or empty.
        settings: what to draw.
        overwrite: write into a folder that holds files; those of the same names are replaced.

    Raises:
        DatasetError: the folder holds files and may not be overwritten, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: a file; expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise DatasetError(f"{folder}: not empty; choose another folder, or give --overwrite")
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing clips", total=settings.num_clips)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        manifest = generate(folder, settings, advance)
    for name, sizes in manifest["tables"].items():
        counts = ", ".join(f"{number} {split}" for split, number in sizes.items())
        print(f"{folder / name}: {counts}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write; new or empty")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--clips", type=int, default=2400, help="number of clips")
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels; even")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 draws in this one")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder with files")
    asked = parser.parse_args(argv)
    try:
        settings = BenchmarkSettings(asked.seed, asked.clips, asked.size, asked.workers)
        synthesize(asked.out, settings, overwrite=asked.overwrite)
    except MsqnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
