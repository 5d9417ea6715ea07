"""`msqnet agree`: two annotations of the same videos side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import number_table, read_clips, say, say_notes, shown
from msqnet.config import TableOptions

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.evaluation.agreement import Agreement, Annotation


def agree(
    annotations: list[str],
    out: str | None = None,
    complete: bool = False,
    bin_seconds: float = 1.0,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
) -> int:
    """Say how well two annotations of the same videos agree: of two people, or person and model.

    For each label: Cohen's kappa of present and absent in bins of time, and how many bouts overlap
    by half. Only time counts in which both know the label.

    Args:
        annotations: Two of them: each a table of labelled clips with start and end, see
            `msqnet check` and `msqnet convert`, or a folder of results of `msqnet predict`.
        out: Folder for agreement.csv and a picture of both for each video.
        complete: The rows of a table are all there is to see in its videos: where no row is, no
            label holds. By default that time does not count.
        bin_seconds: Length of the bins of kappa.
        reading: How tables are read.
    """
    from rich.console import Console

    from msqnet.errors import check
    from msqnet.evaluation.agreement import agreement

    check(
        len(annotations) == 2,
        f"annotations: found {len(annotations)}, expected two: msqnet agree first.csv second.csv",
    )
    first, second = (_annotations(source, reading, complete) for source in annotations)
    found = agreement(first, second, bin_seconds=bin_seconds)
    _show(Console(), found, bin_seconds)
    if out is not None:
        _write(found, Path(out))
        say(Console(), f"written: {out}")
    return 0


def _annotations(source: str, reading: TableOptions, complete: bool) -> list[Annotation]:
    from msqnet.errors import DatasetError
    from msqnet.evaluation.agreement import annotations_of_results, annotations_of_table
    from msqnet.report.results_reader import read_videos

    if not Path(source).is_dir():
        table = read_clips([source], reading, None)
        return annotations_of_table(table, is_complete=complete)
    videos, failures = read_videos(Path(source))
    say_notes([f"{item.name}: {item.cause}" for item in failures])
    if not videos:
        raise DatasetError(
            f"{source}: a folder without results of videos; expected one that `msqnet predict "
            "--out` wrote, or a table of labelled clips"
        )
    return annotations_of_results(video.predictions for video in videos)


def _show(console: Console, found: Agreement, bin_seconds: float) -> None:
    headings = ("known", "first", "second", "same", "kappa", "bouts", "F1@50")
    table = number_table(
        f"{len(found.videos)} video(s), bins of {bin_seconds:g} s; times in seconds",
        "label",
        *headings,
    )
    for item in (*found.labels, found.total):
        table.add_row(
            item.label,
            *(f"{value:.1f}" for value in (item.seconds, item.first_seconds, item.second_seconds)),
            shown(item.agreement),
            shown(item.kappa),
            f"{item.first_bouts}/{item.second_bouts}",
            shown(item.bout_f1),
        )
    console.print(table)
    for side in ("start", "end"):
        errors = found.borders[side]
        if errors["number"]:
            say(
                console,
                f"{side}s of {errors['number']} common bouts differ by {errors['median']:.2f} s "
                f"(median; 90th percentile {errors['percentile_90']:.2f} s)",
            )
    if found.never_seen:
        say(console, f"known to both, seen by neither: {', '.join(found.never_seen)}")
    for name, missing in (("first", found.only_first), ("second", found.only_second)):
        for what, items in missing.items():
            if items:
                more = f" and {len(items) - 5} more" if len(items) > 5 else ""
                say(console, f"{what} of the {name} alone: {', '.join(items[:5])}{more}")


def _write(found: Agreement, folder: Path) -> None:
    from msqnet.files import csv_writer, replacing
    from msqnet.report.figures import agreement_figure, check_can_draw_figures, save_figure

    check_can_draw_figures()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [asdict(item) for item in (*found.labels, found.total)]
    with replacing(folder / "agreement.csv") as part, part.open("w", encoding="utf-8") as file:
        writer = csv_writer(file)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    labels = [item.label for item in found.labels]
    for number, pair in enumerate(found.videos, start=1):
        name = Path(pair[0].path).name
        save_figure(agreement_figure(*pair, labels), folder / f"{number:03}_{name}.png")
