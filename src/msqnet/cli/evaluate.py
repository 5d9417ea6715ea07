"""`msqnet evaluate`: a finished model against labelled clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.result import EvaluationResult
    from msqnet.inference.predictor import Predictor

_HEADLINES = (
    ("macro_map", "macro mAP"),
    ("well_supported_macro_map", "macro mAP, well-supported labels"),
    ("within_source_macro_map", "macro mAP within source"),
    ("within_actor_macro_map", "macro mAP within actor"),
    ("micro_ap", "micro AP"),
    ("weighted_map", "weighted mAP"),
    ("reference_micro_ap", "reference micro-AP (mean over batches)"),
    ("macro_f1", "macro F1 at the stored thresholds"),
    ("micro_f1", "micro F1 at the stored thresholds"),
    ("subset_accuracy", "subset accuracy, rows with all labels known"),
    ("top_1_accuracy", "top-1 accuracy"),
    ("top_5_accuracy", "top-5 accuracy"),
)


def evaluate(
    data: str,
    model: str | None = None,
    split: str | None = None,
    out: str | None = None,
    timeline: bool = False,
    strict_labels: bool = False,
    batch_size: int = 8,
    num_bootstrap: int = 1000,
    device: str = "auto",
) -> int:
    """Evaluate a finished model on labelled clips.

    The headline is macro mAP: the mean, over labels that the model was trained on and that the rows
    show both ways, of the label's average precision over the rows where it is known. Labels that
    the model does not have are listed as not scored.

    Args:
        data: Table of clips (.csv, .tsv, .parquet) or folder per label; see `msqnet check`.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        split: Rows to evaluate on, for instance `test`; by default all.
        out: Folder for metrics.json, per_label.csv, scores.parquet and, with `--timeline`,
            timeline.json and the predictions of every video.
        timeline: Predict whole videos instead of rows and score the timeline; needs rows with start
            and end.
        strict_labels: A label that the model does not have is an error.
        batch_size: Clips scored at a time; changes no figure.
        num_bootstrap: Resamples for the 95 % intervals over clips; 0 for none.
        device: auto, cpu, cuda, cuda:1, mps, ...

    Returns:
        Exit code.
    """
    from rich.console import Console
    from rich.progress import Progress

    from msqnet.config import WindowConfig
    from msqnet.data.table import read_table
    from msqnet.inference.predictor import Predictor

    table = read_table(data).select(split)
    window = WindowConfig(batch_size=batch_size)
    predictor = Predictor.from_pretrained(model, device=device, window=window)
    console = Console()
    folder = None if out is None else Path(out)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("videos" if timeline else "clips", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total)

        if timeline:
            _evaluate_timeline(console, table, predictor, folder, progress, strict_labels)
            return 0
        from msqnet.evaluation.evaluate import evaluate_table

        result, scores = evaluate_table(
            table,
            predictor.backend,
            batch_size=batch_size,
            strict_labels=strict_labels,
            num_bootstrap=num_bootstrap,
            progress=progress,
        )
    _print_result(console, result)
    if folder is not None:
        result.write(folder)
        _write_scores(folder / "scores.parquet", table, predictor, scores)
        console.print(f"written: {folder}", soft_wrap=True)
    return 0


def _write_scores(path: Path, table: ClipTable, predictor: Predictor, scores: Any) -> None:
    """One line a row: its number in the table, its path and times, a score per label."""
    import pandas as pd

    from msqnet.predictions import replacing

    rows = pd.DataFrame(
        {
            "row": [record.row for record in table.records],
            "path": table.clip_ids(),
            "start_seconds": [record.start_seconds for record in table.records],
            "end_seconds": [record.end_seconds for record in table.records],
        }
    )
    columns = pd.DataFrame(scores, columns=list(predictor.backend.labels))
    with replacing(path) as partial:
        pd.concat([rows, columns], axis=1).to_parquet(partial)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print_result(console: Console, result: EvaluationResult) -> None:
    from rich.table import Table

    metrics = result.metrics
    per_label = Table(title=f"{metrics['num_windows']} windows of {metrics['num_clips']} clips")
    per_label.add_column("label")
    for heading in ("AP", "F1", "positive windows", "clips", "known windows", "train windows"):
        per_label.add_column(heading, justify="right")
    per_label.add_column("well supported")
    for row in result.per_label:
        per_label.add_row(
            row["label"],
            _shown(row["ap"]),
            _shown(row["f1"]),
            str(row["positive_windows"]),
            str(row["positive_clips"]),
            str(row["known_windows"]),
            str(row["train_positive_windows"]),
            "yes" if row["well_supported"] else "",
        )
    console.print(per_label)
    for name, title in _HEADLINES:
        if metrics.get(name) is None:
            continue
        interval = metrics["intervals"].get(name)
        bounds = f"  95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        console.print(f"{title}: {metrics[name]:.3f}{bounds}", highlight=False)
    for item in metrics["not_scored"]:
        console.print(f"not scored: {item['label']}: {item['reason']}", highlight=False)


def _evaluate_timeline(
    console: Console,
    table: ClipTable,
    predictor: Predictor,
    folder: Path | None,
    progress: Callable[[int, int], None],
    strict_labels: bool,
) -> None:
    from msqnet.evaluation.timeline import evaluate_timelines, write_figures

    figures, results = evaluate_timelines(
        table, predictor, strict_labels=strict_labels, progress=progress
    )
    seconds, segments = figures["per_second"], figures["segments"]
    console.print(
        f"{figures['num_videos']} videos, {seconds['num_known_seconds']} known seconds, "
        f"windows of {figures['window_seconds']:g} s every {figures['stride_seconds']:g} s"
    )
    console.print(
        f"per second: macro AP {_shown(seconds['macro_map'])}, "
        f"macro F1 {_shown(seconds['macro_f1'])} ({seconds['num_labels_scored']} labels)"
    )
    console.print(
        f"segments: {segments['num_truths']} true, {segments['num_predictions']} predicted, "
        f"{segments['num_masked']} left out where nothing was annotated"
    )
    for overlap, value in segments["map_at"].items():
        console.print(f"  mAP at tIoU {overlap}: {_shown(value)}", highlight=False)
    for overlap, value in segments["f1_at"].items():
        console.print(f"  F1@{overlap}: {_shown(value)}", highlight=False)
    for label, reason in figures["not_scored"].items():
        console.print(f"not scored: {label}: {reason}", highlight=False)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_figures(figures, folder / "timeline.json")
        for number, result in enumerate(results):
            result.write(folder / "videos" / f"{number:04d}-{Path(result.path).name}")
        console.print(f"written: {folder}", soft_wrap=True)
