"""What the page about an evaluation shows: figures, bars, curves and cells in drawing units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.evaluation.titles import FIGURE_TITLES, PROTOCOL_TITLES, shown_figures
from msqnet.report.evaluation_drawing import Matrix, draw_curve, draw_matrix
from msqnet.report.evaluation_summary import WorstClip, cooccurrence, label_curves, worst_clips
from msqnet.report.media import clip_thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msqnet.evaluation.score_tables import ScoreTables
    from msqnet.metrics.average_precision import BoolArray, FloatArray
    from msqnet.report.results_reader import EvaluationFolder

NUM_WORST_CLIPS = 24
_NO_TARGETS = (
    "This evaluation was written without targets.parquet, so that curves, labels taken for each "
    "other and worst clips cannot be shown; evaluate again to see them."
)


@dataclass(frozen=True)
class Figure:
    """One figure with its meaning; ``low`` and ``high`` are None where it has no interval."""

    key: str
    title: str
    value: float
    low: float | None
    high: float | None
    definition: str
    is_reference: bool


@dataclass(frozen=True)
class LabelRow:
    """One label's row of `per_label.csv` as numbers; None where a figure is not defined."""

    label: str
    ap: float | None
    low: float | None
    high: float | None
    chance: float | None
    f1: float | None
    threshold: float
    positive_windows: float | None
    positive_clips: float | None
    known_windows: float | None
    train_positive_windows: float | None
    headline: bool
    well_supported: bool

    @property
    def text(self) -> str:
        """What the bar shows, in words."""
        if self.ap is None:
            return f"{self.label}: average precision not defined"
        interval = f", interval {self.low:.3f} to {self.high:.3f}" if self.low is not None else ""
        return f"{self.label}: average precision {self.ap:.3f}{interval}, chance {self.chance:.3f}"


@dataclass(frozen=True)
class ClipCard:
    """One of the worst clips, with a picture."""

    clip: WorstClip
    path: str
    times: str
    jpeg: str


def figures_of(metrics: dict[str, Any]) -> tuple[list[Figure], list[Figure]]:
    """The figures to read first, macro mAP before all, and every defined figure."""
    protocol = metrics.get("protocol") or {"headline": "macro_map", "is_reference": False}
    titles = PROTOCOL_TITLES | FIGURE_TITLES
    keys = ["macro_map", *(key for key in shown_figures(protocol) if key != "macro_map")]
    figures = {
        key: Figure(
            key=key,
            title=titles[key],
            value=metrics[key],
            low=low,
            high=high,
            definition=metrics["definitions"].get(key, ""),
            is_reference=protocol["is_reference"] or key == "reference_micro_ap",
        )
        for key in keys
        if key in titles and metrics.get(key) is not None
        for low, high in [metrics["intervals"].get(key, (None, None))]
    }
    first = dict.fromkeys(("macro_map", protocol["headline"], "well_supported_macro_map"))
    return [figures[key] for key in first if key in figures], list(figures.values())


def label_rows(per_label: Sequence[dict[str, str]]) -> list[LabelRow]:
    """Rows of `per_label.csv` as numbers, highest AP first, those without an AP last."""
    rows = [
        LabelRow(
            label=row["label"],
            ap=_number(row["ap"]),
            low=_number(row["ap_low"]),
            high=_number(row["ap_high"]),
            chance=_number(row["chance_ap"]),
            f1=_number(row["f1"]),
            threshold=float(row["threshold"]),
            positive_windows=_number(row["positive_windows"]),
            positive_clips=_number(row["positive_clips"]),
            known_windows=_number(row["known_windows"]),
            train_positive_windows=_number(row["train_positive_windows"]),
            headline=row["headline"] == "True",
            well_supported=row["well_supported"] == "True",
        )
        for row in per_label
    ]
    return sorted(rows, key=lambda row: -1.0 if row.ap is None else row.ap, reverse=True)


def _number(text: str) -> float | None:
    return float(text) if text else None


def evaluation_page(
    evaluation: EvaluationFolder, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Everything that the template of an evaluation names.

    Args:
        evaluation: what was read.
        progress: called with (pictures made, pictures in all).
    """
    metrics, tables = evaluation.metrics, evaluation.tables
    rows = label_rows(evaluation.per_label)
    protocol = metrics.get("protocol")
    headlines, figures = figures_of(metrics)
    page: dict[str, Any] = {
        "subject": subject_of(metrics),
        "protocol": protocol,
        "is_reference": bool(protocol and protocol["is_reference"]),
        "headlines": headlines,
        "figures": figures,
        "intervals": metrics["definitions"].get("intervals", ""),
        "counts": _counts(metrics),
        "notes": list(metrics.get("notes", ())),
        "labels": rows,
        "not_scored": metrics["not_scored"],
        "curves": (),
        "matrix": None,
        "worst": (),
    }
    if tables is None or tables.targets is None:
        page["notes"].append(_NO_TARGETS)
        return page
    return page | _pictures(rows, tables, tables.targets, progress)


def subject_of(metrics: dict[str, Any]) -> str:
    """What was evaluated on what, as far as the files say it."""
    model = (metrics.get("model") or {}).get("name", "A model")
    data = f" on {Path(metrics['data']).name}" if metrics.get("data") else ""
    split = f", split {metrics['split']}" if metrics.get("split") else ""
    return f"{model}{data}{split}"


def _counts(metrics: dict[str, Any]) -> list[tuple[int, str]]:
    names = {
        "num_windows": "windows",
        "num_clips": "clips",
        "num_groups": "groups",
        "num_headline_labels": "labels in macro mAP",
        "num_well_supported_labels": "well supported",
        "num_labels": "labels of the model",
    }
    return [(metrics[key], name) for key, name in names.items() if key in metrics]


def _pictures(
    rows: Sequence[LabelRow],
    tables: ScoreTables,
    targets: FloatArray,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    row_of = {row.label: row for row in rows}
    known = [row_of[label] for label in tables.labels]
    thresholds = np.array([row.threshold for row in known])
    is_trained = np.array([row.train_positive_windows != 0 for row in known])
    curves = label_curves(tables.labels, tables.scores, targets, thresholds)
    drawn = [draw_curve(curve, row_of[curve.label].ap or 0.0) for curve in curves]
    worst = worst_clips(tables, targets, thresholds, is_trained, NUM_WORST_CLIPS)
    return {
        "curves": sorted(drawn, key=lambda curve: -curve.ap),
        "matrix": _matrix(tables, targets, thresholds, is_trained),
        "worst": _cards(worst, tables, progress),
    }


def _matrix(
    tables: ScoreTables, targets: FloatArray, thresholds: FloatArray, is_trained: BoolArray
) -> Matrix:
    """Of the trained labels that are true somewhere; others have no row to read."""
    chosen = np.flatnonzero(is_trained & (targets == 1).any(axis=0))
    names = [tables.labels[k] for k in chosen]
    return draw_matrix(
        cooccurrence(names, tables.scores[:, chosen], targets[:, chosen], thresholds[chosen])
    )


def _cards(
    clips: Sequence[WorstClip], tables: ScoreTables, progress: Callable[[int, int], None] | None
) -> list[ClipCard]:
    cards = []
    for number, clip in enumerate(clips, start=1):
        start, end = tables.start_seconds[clip.position], tables.end_seconds[clip.position]
        bounds = [None if np.isnan(value) else float(value) for value in (start, end)]
        picture = None
        if tables.files is not None:
            picture = clip_thumbnail(Path(tables.files[clip.position]), *bounds)
        cards.append(
            ClipCard(
                clip=clip,
                path=tables.path[clip.position],
                times=_times(*bounds),
                jpeg=picture.base64 if picture else "",
            )
        )
        if progress is not None:
            progress(number, len(clips))
    return cards


def _times(start_seconds: float | None, end_seconds: float | None) -> str:
    if start_seconds is None and end_seconds is None:
        return "whole video"
    end = "the end" if end_seconds is None else f"{end_seconds:.2f} s"
    return f"{start_seconds or 0:.2f} s to {end}"


def timeline_page(figures: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template of a timeline evaluation names.

    Args:
        figures: of `timeline.json`.
    """
    seconds, segments = figures["per_second"], figures["segments"]
    windows = f"{figures['window_seconds']:g} s every {figures['stride_seconds']:g} s"
    label_ap = seconds.get("label_ap", {})
    return {
        "subject": subject_of(figures),
        "definition": (figures.get("protocol") or {}).get("definition", ""),
        "tiles": [
            (_shown(seconds["macro_map"]), "macro AP per second"),
            (_shown(seconds["macro_f1"]), "macro F1 per second"),
            (seconds["num_labels_scored"], "labels scored"),
            (seconds["num_known_seconds"], "known seconds"),
            (figures["num_videos"], "videos"),
            (windows, "windows"),
        ],
        "counts": f"{segments['num_truths']} true segments, {segments['num_predictions']} "
        f"predicted, {segments['num_masked']} left out where nothing was annotated.",
        "map_at": segments["map_at"],
        "f1_at": segments["f1_at"],
        "label_ap": sorted(
            label_ap.items(), key=lambda item: -1.0 if item[1] is None else item[1], reverse=True
        ),
        "not_scored": figures["not_scored"],
    }


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
