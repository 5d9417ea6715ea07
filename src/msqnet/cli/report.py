"""`msqnet report`: a folder of results as one HTML file."""

from __future__ import annotations

from pathlib import Path

from msqnet.cli.console import progress_bar, say


def report(results: str, out: str | None = None, preview_megabytes: float = 50.0) -> int:
    """Write the results of a folder as one self-contained HTML file.

    The file opens in any browser, without a network. For each video it holds a player, the
    ethogram, the segments with pictures and the time budget; for an evaluation the metrics with
    their definitions, curves, confusions and the worst clips. The time budget of all videos is
    written beside it as a table, time_budget.csv.

    Args:
        results: The folder that `msqnet predict --out` or `msqnet evaluate --out` wrote, or both.
        out: The file to write; by default report.html in the folder of results.
        preview_megabytes: Largest total size of the video previews in the file. Videos beyond it
            are shown as still pictures; 0 for no previews.

    Returns:
        0; videos that no longer exist are noted in the file and on the screen.
    """
    from rich.console import Console

    from msqnet.errors import check
    from msqnet.inference.results import TIME_BUDGET_FILE
    from msqnet.report.html import write_report
    from msqnet.report.results_reader import read_results
    from msqnet.report.time_budget import write_time_budget

    check(preview_megabytes >= 0, f"preview_megabytes {preview_megabytes}: expected 0 or more")
    folder = Path(results)
    path = folder / "report.html" if out is None else Path(out)
    check(not path.is_dir(), f"{path}: a folder; expected the name of the file to write")
    with progress_bar("reading") as step:
        found = read_results(folder, step)
        notes = write_report(
            found,
            path,
            preview_megabytes=preview_megabytes,
            progress=lambda name, done, total: step(done, total, name),
        )
    table = path.with_name(TIME_BUDGET_FILE)
    if found.videos:
        write_time_budget((video.predictions for video in found.videos), table)
    for note in notes:
        say(Console(stderr=True), f"msqnet: {note}")
    say(Console(), f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if found.videos:
        say(Console(), f"written: {table} (seconds of every label in every video)")
    return 0
