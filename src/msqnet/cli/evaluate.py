"""`msqnet evaluate`: a finished model against labelled clips."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.cli.console import number_table, progress_bar, read_clips, say, say_notes, shown
from msqnet.config import InferenceOptions, ModelOptions, TableOptions, ViewChoice, WindowConfig
from msqnet.errors import MissingExtra
from msqnet.evaluation.protocols import PROTOCOLS, ProtocolName

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.row_metrics import EvaluationResult
    from msqnet.inference.predictor import Predictor
    from msqnet.predictions import VideoPredictions


def evaluate(
    data: list[str],
    options: ModelOptions = ModelOptions(),  # noqa: B008 - frozen
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    split: str | None = None,
    protocol: ProtocolName | None = None,
    views: ViewChoice = ViewChoice(),  # noqa: B008 - frozen
    out: str | None = None,
    strict_labels: bool = False,
    batch_size: int = WindowConfig.batch_size,
    num_bootstrap: int = 1000,
) -> int:
    """Evaluate a finished model on labelled clips.

    The headline is macro mAP: the mean, over labels that the model was trained on and that the rows
    show both ways, of the label's average precision over the rows where it is known. Labels that
    the model does not have are listed as not scored.

    Args:
        data: Tables of clips, or folders per label; see `msqnet check`.
        options: Which model, for which labels: `--labels table` asks for those of the table.
        reading: How tables are read.
        split: Rows to evaluate on, for instance `test`; by default all.
        protocol: How to evaluate. `standard` (the default) scores one view of every row;
            `timeline` predicts whole videos and scores the timeline, for rows with start and end.
            Data sets have protocols of their own: `charades_video`, `charades_localisation`,
            `hmdb51` (top-1 of one split), `hockey_part`, `thumos14_trimmed`, `thumos14_untrimmed`.
            Those that start with `reference_` are the protocols of the paper's released code, not
            comparable with the others. The output describes the chosen one in a sentence.
        views: Views of each row; by default those of the protocol.
        out: Folder for metrics.json, per_label.csv, scores.parquet, targets.parquet and, with
            `--protocol timeline`, timeline.json, and of every video its predictions and a picture
            of them below the annotation.
        strict_labels: A label that the model does not have is an error.
        batch_size: Clips scored at a time; changes no metric.
        num_bootstrap: Resamples for the 95 % intervals over clips; 0 for none.
    """
    from rich.console import Console

    from msqnet.inference.predictor import Predictor
    from msqnet.models import provenance_in

    chosen = PROTOCOLS[protocol or "standard"]
    chosen.views_with(views)  # a wrong choice stops here, before anything is loaded
    table = read_clips(data, reading, split, provenance_in(options.model))
    if options.labels == "table":
        named = {name for record in table.records for name in record.annotated or ()}
        options = replace(options, labels=tuple(sorted(named.union(table.label_names()))))
    predictor = Predictor.from_pretrained(
        options=InferenceOptions(**asdict(options), batch_size=batch_size)
    )
    console = Console()
    folder = None if out is None else Path(out)
    provenance = predictor.backend.provenance
    if split is None and provenance.get("data") == table.path.name:
        note = (
            f"the model was trained on rows of a table {table.path.name}, and --split names none: "
            "figures on rows that it has seen say little of others; keep some back in a column "
            "split, and name them with --split"
        )
        say_notes([note])
    origin = {"model": provenance, "data": str(table.path), "split": split}
    with progress_bar("clips" if chosen.unit == "rows" else "videos") as progress:
        if chosen.unit == "timeline":
            _evaluate_timeline(console, table, predictor, folder, progress, strict_labels, origin)
            return 0
        from msqnet.evaluation.by_protocol import evaluate_protocol
        from msqnet.evaluation.scored_rows import write_score_tables

        result, rows = evaluate_protocol(
            table,
            predictor,
            chosen,
            views=views,
            batch_size=batch_size,
            strict_labels=strict_labels,
            num_bootstrap=num_bootstrap,
            progress=progress,
        )
    _print_result(console, result, chosen.beside)
    if folder is not None:
        replace(result, metrics=origin | result.metrics).write(folder)
        write_score_tables(folder, rows, result.metrics["protocol"])
        say(console, f"written: {folder}")
    return 0


def _print_protocol(console: Console, protocol: dict[str, Any]) -> None:
    views = protocol["views"]
    say(console, f"protocol {protocol['name']}: {protocol['definition']}")
    if views is not None:
        changed = ", not the protocol's own" if protocol["views_changed"] else ""
        say(
            console,
            f"views: {views['num_clips']} in time, {views['crops']} in space, {views['merge']}"
            f"{changed}",
        )


def _print_result(console: Console, result: EvaluationResult, beside: tuple[str, ...]) -> None:
    """The metrics of each label, then those of the protocol, its headline before all."""
    from rich.text import Text

    from msqnet.evaluation.protocols import METRIC_TITLES, PROTOCOL_TITLES, shown_metrics

    metrics, protocol = result.metrics, result.metrics["protocol"]
    per_label = number_table(
        f"{metrics['num_windows']} windows of {metrics['num_clips']} clips",
        "label",
        *("AP", "F1", "positive", "clips", "known", "train"),
    )
    per_label.add_column("supported")
    counts = ("positive_windows", "positive_clips", "known_windows", "train_positive_windows")
    for row in result.per_label:
        per_label.add_row(
            Text(row["label"]),
            shown(row["ap"]),
            shown(row["f1"]),
            *(str(row[name]) for name in counts),
            "yes" if row["well_supported"] else "",
        )
    console.print(per_label)
    _print_protocol(console, protocol)
    titles = PROTOCOL_TITLES | METRIC_TITLES
    mark = ", by the paper's released code's protocol" if protocol["is_reference"] else ""
    for name in shown_metrics(protocol, beside):
        if metrics.get(name) is None:
            continue
        interval = metrics["intervals"].get(name)
        bounds = f"  95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        say(console, f"{titles[name]}{mark}: {metrics[name]:.3f}{bounds}")
    for note in metrics["notes"]:
        say(console, note)
    for item in metrics["not_scored"]:
        say(console, f"not scored: {item['label']}: {item['reason']}")


def _evaluate_timeline(
    console: Console,
    table: ClipTable,
    predictor: Predictor,
    folder: Path | None,
    progress: Callable[[int, int], None],
    strict_labels: bool,
    origin: dict[str, Any],
) -> None:
    from msqnet.evaluation.by_protocol import evaluate_timelines
    from msqnet.files import write_json

    metrics, results = evaluate_timelines(
        table, predictor, strict_labels=strict_labels, progress=progress
    )
    seconds, frames = metrics["per_second"], metrics["per_frame"]
    segments = metrics["segments"]
    _print_protocol(console, metrics["protocol"])
    lines = [
        f"{metrics['num_videos']} videos, {seconds['num_known_seconds']} known seconds, "
        f"windows of {metrics['window_seconds']:g} s every {metrics['stride_seconds']:g} s",
        f"per second: macro AP {shown(seconds['macro_map'])}, "
        f"macro F1 {shown(seconds['macro_f1'])} ({seconds['num_labels_scored']} labels)",
        f"per frame, 10 a second: macro AP {shown(frames['macro_map'])}, "
        f"macro F1 {shown(frames['macro_f1'])}",
        f"segments: {segments['num_truths']} true, {segments['num_predictions']} predicted, "
        f"{segments['num_masked']} left out where nothing was annotated",
        *(f"  mAP at tIoU {overlap}: {shown(ap)}" for overlap, ap in segments["map_at"].items()),
        *(f"  F1@{overlap}: {shown(f1)}" for overlap, f1 in segments["f1_at"].items()),
        f"  edit score: {shown(segments['edit_score'])}",
        *_border_lines(segments["borders"]),
        *(f"not scored: {label}: {reason}" for label, reason in metrics["not_scored"].items()),
    ]
    for line in lines:
        say(console, line)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "timeline.json", origin | metrics, allow_nan=False)
        for number, result in enumerate(results):
            result.write(folder / "videos" / f"{number:04d}-{Path(result.path).name}")
        _draw_ethograms(console, table, results, folder / "ethograms")
        say(console, f"written: {folder}")


def _draw_ethograms(
    console: Console, table: ClipTable, results: list[VideoPredictions], folder: Path
) -> None:
    """For each video the annotation above the segments, of the model's labels."""
    from msqnet.evaluation.agreement import annotations_of_results, annotations_of_table
    from msqnet.report.figures import agreement_figure, save_figure

    labels = list(results[0].labels)
    pairs = zip(annotations_of_table(table), annotations_of_results(results), strict=True)
    folder.mkdir(exist_ok=True)
    try:
        for number, pair in enumerate(pairs):
            figure = agreement_figure(*pair, labels, names=("annotated", "predicted"))
            save_figure(figure, folder / f"{number:04d}-{Path(pair[1].path).name}.png")
    except MissingExtra as error:
        say(console, f"no pictures of the segments: {error}")


def _border_lines(borders: dict[str, Any]) -> list[str]:
    """Errors of borders and counts of segments without a partner of their own, as text."""
    errors = (
        f"  error of {kind}s: median {shown(borders[kind]['median'])} s, 90th percentile "
        f"{shown(borders[kind]['percentile_90'])} s ({borders[kind]['number']} borders)"
        for kind in ("start", "end")
    )
    counts = {name: borders[f"num_{name}"] for name in ("missed", "joined", "spurious", "split")}
    return [
        *errors,
        "  true segments: {missed} missed, {joined} joined to another".format(**counts),
        "  predicted segments: {spurious} without a true one, {split} split off".format(**counts),
    ]
