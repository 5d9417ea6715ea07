"""`msqnet report`: a folder of results as one HTML file."""

from __future__ import annotations

from pathlib import Path

_DEFAULT_NAME = "report.html"


def report(results: str, out: str | None = None, preview_megabytes: float = 50.0) -> int:
    """Make one self-contained HTML file of a folder of results.

    It opens from disk in any browser, without a network: per video a player in step with the
    ethogram, segments with pictures, time budgets; for an evaluation its figures with their
    definitions, curves, confusions and the worst clips.

    Args:
        results: The folder that `msqnet predict --out` or `msqnet evaluate --out` wrote, or both.
        out: The file to write; by default report.html in the folder of results.
        preview_megabytes: What the small copies of the videos in the page may take together; of
            what does not fit, still pictures are shown. 0 for no copies at all.

    Returns:
        0; videos that are gone are noted in the page and on the screen.
    """
    from rich.console import Console
    from rich.progress import Progress

    from msqnet.errors import ConfigError
    from msqnet.report.html import write_report
    from msqnet.report.results_reader import read_results

    if preview_megabytes < 0:
        raise ConfigError(f"preview_megabytes {preview_megabytes}: expected 0 or more")
    folder = Path(results)
    path = folder / _DEFAULT_NAME if out is None else Path(out)
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; expected the name of the file to write")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("reading", total=None)

        def step(name: str, done: int, total: int) -> None:
            bars.update(bar, description=name, completed=done, total=total)

        found = read_results(folder, lambda done, total: step("reading", done, total))
        notes = write_report(found, path, preview_megabytes=preview_megabytes, progress=step)
    for note in notes:
        console.print(f"msqnet: {note}", soft_wrap=True, highlight=False, markup=False)
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    Console().print(f"written: {path} ({size})", soft_wrap=True, highlight=False, markup=False)
    return 0
