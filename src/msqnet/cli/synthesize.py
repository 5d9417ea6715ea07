"""`msqnet synthesize`: a benchmark of drawn actors with known actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def synthesize(
    out: str,
    seed: int = 0,
    clips: int = 2400,
    size: int = 128,
    workers: int = 0,
    overwrite: bool = False,
) -> int:
    """Draw videos of articulated actors that do one or more of 16 actions, with exact labels.

    Writes tables with splits for new clips, new kinds of actor, new combinations of actions and
    unseen actions, for `msqnet train` and `msqnet evaluate`.

    Args:
        out: The folder to write to; new or empty.
        seed: Everything follows from it.
        clips: Number of clips. Clip i is the same whatever their number.
        size: Width and height of the videos in pixels; even.
        workers: Processes that draw; 0 draws in this one.
        overwrite: Write into a folder that holds files; those of the same names are replaced.

    Returns:
        0: everything is written.

    Raises:
        ConfigError: a setting is out of range.
        DatasetError: the folder holds files, and may not be overwritten.
    """
    from rich.console import Console
    from rich.progress import Progress

    from msqnet.synthetic.benchmark import BenchmarkSettings, generate

    settings = BenchmarkSettings(seed, clips, size, workers)
    folder = Path(out)
    _check_empty(folder, overwrite=overwrite)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing clips", total=clips)

        def advance(num_done: int, num_clips: int) -> None:
            bar.update(task, completed=num_done, total=num_clips)

        manifest = generate(folder, settings, advance)
    _show(manifest, folder, Console())
    return 0


def _check_empty(folder: Path, *, overwrite: bool) -> None:
    from msqnet.errors import DatasetError

    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder}: a file; expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise DatasetError(f"{folder}: not empty; choose another folder, or give --overwrite")


def _show(manifest: dict[str, Any], folder: Path, console: Console) -> None:
    for name, sizes in manifest["tables"].items():
        counts = ", ".join(f"{number} {split}" for split, number in sizes.items())
        console.print(f"{folder / name}: {counts}", soft_wrap=True, highlight=False)
