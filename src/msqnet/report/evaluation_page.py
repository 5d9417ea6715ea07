"""The page about an evaluation: metrics, bars, curves and cells in the units of their pictures.

Axes: V rows, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msqnet.data.records import UNKNOWN
from msqnet.evaluation.protocols import METRIC_TITLES, PROTOCOL_TITLES, shown_metrics
from msqnet.metrics.average_precision import precision_recall_curve
from msqnet.report.media import clip_thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.evaluation.scored_rows import ScoreTables
    from msqnet.metrics.average_precision import BoolArray, FloatArray
    from msqnet.report.media import Progress
    from msqnet.report.results_reader import EvaluationFolder

NUM_WORST_CLIPS = 24
_NO_TARGETS = (
    "This evaluation was written without targets.parquet, so that curves, labels taken for each "
    "other and worst clips cannot be shown; evaluate again to see them."
)
_SMALLEST_SCORE = 1e-7
"""Keeps the loss of a score of exactly 0 or 1 finite; a float32 near 1 cannot come nearer."""

_NUM_PAIRS = 12
_MIN_PAIR_ROWS = 3
_MAX_MATRIX_LABELS = 40
_PLOT_LEFT, _PLOT_TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 26, 8, 168, 108
_CELL, _MATRIX_LEFT, _MATRIX_TOP = 28, 180, 130


_LABEL_NUMBERS = {"ap": "ap", "low": "ap_low", "high": "ap_high", "chance": "chance_ap"} | {
    name: name
    for name in (
        *("f1", "threshold", "positive_windows", "positive_clips", "known_windows"),
        "train_positive_windows",
    )
}
"""Numbers of a label on the page, and their columns in `per_label.csv`."""


def evaluation_page(
    evaluation: EvaluationFolder, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything that the template of an evaluation names; `progress` counts pictures."""
    metrics, tables = evaluation.metrics, evaluation.tables
    rows = _label_rows(evaluation.per_label)
    protocol = metrics.get("protocol")
    headlines, shown = _metrics_of(metrics)
    counts = {
        "num_windows": "windows",
        "num_clips": "clips",
        "num_groups": "groups",
        "num_headline_labels": "labels in macro mAP",
        "num_well_supported_labels": "well supported",
        "num_labels": "labels of the model",
    }
    page: dict[str, Any] = {
        "subject": _subject(metrics),
        "protocol": protocol,
        "is_reference": bool(protocol and protocol["is_reference"]),
        "headlines": headlines,
        "figures": shown,
        "intervals": metrics["definitions"].get("intervals", ""),
        "counts": [(metrics[key], name) for key, name in counts.items() if key in metrics],
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


def _metrics_of(metrics: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The metrics to read first, macro mAP before all, and every defined metric.

    Bounds are None where a metric has no interval.
    """
    protocol = metrics.get("protocol") or {"headline": "macro_map", "is_reference": False}
    titles = PROTOCOL_TITLES | METRIC_TITLES
    keys = ["macro_map", *(key for key in shown_metrics(protocol) if key != "macro_map")]
    found = {
        key: {
            "key": key,
            "title": titles[key],
            "value": metrics[key],
            "low": low,
            "high": high,
            "definition": metrics["definitions"].get(key, ""),
            "is_reference": protocol["is_reference"] or key == "reference_micro_ap",
        }
        for key in keys
        if key in titles and metrics.get(key) is not None
        for low, high in [metrics["intervals"].get(key, (None, None))]
    }
    first = dict.fromkeys(("macro_map", protocol["headline"], "well_supported_macro_map"))
    return [found[key] for key in first if key in found], list(found.values())


def _label_rows(per_label: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Rows of `per_label.csv`, highest AP first; numbers are None where they are not defined."""
    rows = []
    for texts in per_label:
        row: dict[str, Any] = {
            name: float(texts[column]) if texts[column] else None
            for name, column in _LABEL_NUMBERS.items()
        }
        words = f"{texts['label']}: average precision "
        if row["ap"] is None:
            words += "not defined"
        else:
            known = row["low"] is not None
            interval = f", interval {row['low']:.3f} to {row['high']:.3f}" if known else ""
            words += f"{row['ap']:.3f}{interval}, chance {row['chance']:.3f}"
        is_supported = texts["well_supported"] == "True"
        rows.append(row | {"label": texts["label"], "well_supported": is_supported, "text": words})
    return sorted(rows, key=lambda row: -1.0 if row["ap"] is None else row["ap"], reverse=True)


def _subject(metrics: dict[str, Any]) -> str:
    """Which model was evaluated on which data, as far as the files say it."""
    model = (metrics.get("model") or {}).get("name", "A model")
    data = f" on {Path(metrics['data']).name}" if metrics.get("data") else ""
    split = f", split {metrics['split']}" if metrics.get("split") else ""
    return f"{model}{data}{split}"


def _pictures(
    rows: Sequence[dict[str, Any]],
    tables: ScoreTables,
    targets: FloatArray,
    progress: Progress | None,
) -> dict[str, Any]:
    row_of = {row["label"]: row for row in rows}
    known = [row_of[label] for label in tables.labels]
    thresholds = np.array([row["threshold"] for row in known])
    is_trained = np.array([row["train_positive_windows"] != 0 for row in known])
    curves = label_curves(tables.labels, tables.scores, targets, thresholds)
    drawn = [draw_curve(curve, row_of[curve.label]["ap"] or 0.0) for curve in curves]
    # Of the trained labels that are true somewhere; others have no row to read.
    chosen = np.flatnonzero(is_trained & (targets == 1).any(axis=0))
    names = [tables.labels[k] for k in chosen]
    pairs = cooccurrence(names, tables.scores[:, chosen], targets[:, chosen], thresholds[chosen])
    worst = worst_clips(tables, targets, thresholds, is_trained, NUM_WORST_CLIPS)
    return {
        "curves": sorted(drawn, key=lambda curve: -curve.ap),
        "matrix": draw_matrix(pairs),
        "worst": _cards(worst, tables, progress),
    }


@dataclass(frozen=True)
class LabelCurve:
    """Precision against recall of one label.

    Attributes:
        recall: (n,) rising to 1.
        precision: (n,), at every distinct score.
        chance: share of positives among known rows: the precision of guessing.
        num_positives: known positive rows.
        at_threshold: recall and precision of the decisions there; None where no row reaches it.
    """

    label: str
    recall: FloatArray
    precision: FloatArray
    chance: float
    num_positives: int
    threshold: float
    at_threshold: tuple[float, float] | None


def label_curves(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> tuple[LabelCurve, ...]:
    """Curves of the labels of which both a positive and a negative are known.

    Args:
        labels: K names.
        scores: (V, K).
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: (K,), of the decisions.
    """
    curves = []
    for k, label in enumerate(labels):
        is_known = targets[:, k] != UNKNOWN
        is_positive = targets[is_known, k] == 1
        num = int(is_positive.sum())
        if not 0 < num < len(is_positive):
            continue
        curve = precision_recall_curve(scores[:, k], targets[:, k])
        is_said = scores[is_known, k] >= thresholds[k]
        hits, said = int((is_said & is_positive).sum()), int(is_said.sum())
        curves.append(
            LabelCurve(
                label=label,
                recall=curve.recall,
                precision=curve.precision,
                chance=num / len(is_positive),
                num_positives=num,
                threshold=float(thresholds[k]),
                at_threshold=(hits / num, hits / said) if said else None,
            )
        )
    return tuple(curves)


class CurveDrawing(NamedTuple):
    """A precision-recall curve in the units of its picture."""

    label: str
    ap: float
    num_positives: int
    path: str
    chance_y: float
    mark: tuple[float, float] | None
    note: str

    @property
    def text(self) -> str:
        """The picture in words."""
        return f"Precision against recall of {self.label}: AP {self.ap:.3f}; {self.note}"


def draw_curve(curve: LabelCurve, ap: float) -> CurveDrawing:
    """A curve as steps: AP counts the precision at each point for all of the recall up to it."""

    def x(recall: float) -> float:
        return round(_PLOT_LEFT + _PLOT_WIDTH * recall, 1)

    def y(precision: float) -> float:
        return round(_PLOT_TOP + _PLOT_HEIGHT * (1 - precision), 1)

    path, last = f"M{_PLOT_LEFT} {y(curve.precision[0])}", ""
    for recall, precision in zip(curve.recall.tolist(), curve.precision.tolist(), strict=True):
        step = f"V{y(precision)}H{x(recall)}"
        path, last = (path if step == last else path + step), step
    if curve.at_threshold is None:
        mark, note = None, f"no window reaches the threshold {curve.threshold:.2f}"
    else:
        recall, precision = curve.at_threshold
        mark = (x(recall), y(precision))
        note = f"at {curve.threshold:.2f}: precision {precision:.2f}, recall {recall:.2f}"
    return CurveDrawing(curve.label, ap, curve.num_positives, path, y(curve.chance), mark, note)


class Cooccurrence(NamedTuple):
    """Predictions of every label where another one is true.

    Of the rows in which label i is true and label j is known, `said[i, j]` is the share in which j
    is predicted (its score reaches its threshold) and `true[i, j]` the share in which j is true.
    Where j is predicted much more often than it is true, the model takes i for j. On the diagonal,
    `true` is 1 and `said` is the recall.
    Axes are (K, K), i before j. `num_rows` counts the rows; where there is none, `said` and `true`
    are NaN.
    """

    labels: tuple[str, ...]
    num_rows: FloatArray
    said: FloatArray
    true: FloatArray

    def largest_differences(self, count: int, min_rows: int) -> list[tuple[int, int]]:
        """At most `count` pairs (i, j) that differ in `min_rows` rows or more, largest first."""
        difference = np.abs(self.said - self.true)
        counts = (self.num_rows >= min_rows) & ~np.eye(len(self.labels), dtype=np.bool_)
        difference = np.where(counts & (difference > 0), difference, -1.0)
        order = np.argsort(-difference, axis=None, kind="stable")[:count]
        pairs = [divmod(int(place), len(self.labels)) for place in order]
        return [pair for pair in pairs if difference[pair] > 0]


def cooccurrence(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> Cooccurrence:
    """Compare predictions with truth, given each true label; arguments as for `label_curves`."""
    is_seen = (targets == 1).astype(np.float64)  # (V, K)
    is_known = (targets != UNKNOWN).astype(np.float64)
    is_said = (scores >= thresholds).astype(np.float64)
    num_rows = is_seen.T @ is_known  # (K, K)
    divisor = np.where(num_rows > 0, num_rows, np.nan)
    return Cooccurrence(
        labels=tuple(labels),
        num_rows=num_rows,
        said=(is_seen.T @ (is_said * is_known)) / divisor,
        true=(is_seen.T @ is_seen) / divisor,
    )


class Cell(NamedTuple):
    """One cell of the matrix of labels in the units of its picture."""

    x: int
    y: int
    kind: str
    strength: float
    percent: str
    text: str


class Matrix(NamedTuple):
    """Every pair of labels as cells, none where there are too many, and the largest differences."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    pairs: tuple[dict[str, Any], ...]
    min_rows: int = _MIN_PAIR_ROWS
    cell: int = _CELL
    left: int = _MATRIX_LEFT
    top: int = _MATRIX_TOP

    @property
    def width(self) -> int:
        """Of the picture; slanted names of the last columns reach over the cells."""
        return self.left + self.cell * len(self.labels) + 90

    @property
    def height(self) -> int:
        """Of the picture."""
        return self.top + self.cell * len(self.labels)


def draw_matrix(pairs: Cooccurrence) -> Matrix:
    """Cells of labels by labels, as far as a page can show them, and the largest differences."""
    largest = [
        {
            "given": pairs.labels[i],
            "label": pairs.labels[j],
            "said": float(pairs.said[i, j]),
            "true": float(pairs.true[i, j]),
            "num_rows": int(pairs.num_rows[i, j]),
        }
        for i, j in pairs.largest_differences(_NUM_PAIRS, _MIN_PAIR_ROWS)
    ]
    num = len(pairs.labels)
    places = [(i, j) for i in range(num) for j in range(num)] if num <= _MAX_MATRIX_LABELS else []
    return Matrix(pairs.labels, tuple(_cell(pairs, i, j) for i, j in places), tuple(largest))


def _cell(pairs: Cooccurrence, i: int, j: int) -> Cell:
    x, y = _MATRIX_LEFT + _CELL * j, _MATRIX_TOP + _CELL * i
    given, label, num_rows = pairs.labels[i], pairs.labels[j], int(pairs.num_rows[i, j])
    if not num_rows:
        return Cell(x, y, "is-empty", 1.0, "", f"{given}: no window where {label} is known")
    said, true = float(pairs.said[i, j]), float(pairs.true[i, j])
    kind = "is-over" if said > true else "is-under"
    return Cell(
        x=x,
        y=y,
        kind=f"{kind} is-own" if i == j else kind,
        strength=round(0.85 * abs(said - true), 3),
        percent=f"{100 * said:.0f}",
        text=f"{given} is true in {num_rows} windows: {label} is predicted in {said:.0%} of them "
        f"and true in {true:.0%}",
    )


@dataclass(frozen=True)
class WorstClip:
    """The row of a clip that a model gets most wrong.

    Attributes:
        position: of the row among the V rows.
        loss: cross-entropy of its worst label, in nats.
        is_seen: whether that label is true there; else it is known to be absent.
        expected: labels that are true.
        said: predicted labels with their scores, highest first.
        unknown_said: those of `said` that were not annotated: they may be right.
    """

    position: int
    loss: float
    label: str
    is_seen: bool
    score: float
    expected: tuple[str, ...]
    said: tuple[tuple[str, float], ...]
    unknown_said: frozenset[str]


def worst_clips(
    tables: ScoreTables,
    targets: FloatArray,
    thresholds: FloatArray,
    is_trained: BoolArray,
    count: int,
) -> tuple[WorstClip, ...]:
    """The clips with the largest loss, one row of each, the worst first.

    loss(v) = max_k -log(s_vk) if k is true in v, -log(1 - s_vk) if k is known to be absent; over
    known labels that the model was trained on.

    Args:
        tables: of V rows.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        thresholds: (K,).
        is_trained: (K,) labels that count.
        count: how many clips at most.
    """
    scores = np.clip(tables.scores, _SMALLEST_SCORE, 1 - _SMALLEST_SCORE)
    losses = -np.log(np.where(targets == 1, scores, 1 - scores))
    losses = np.where((targets != UNKNOWN) & is_trained, losses, -1.0)  # (V, K)
    found: dict[str, WorstClip] = {}
    for position in np.argsort(-losses.max(axis=1), kind="stable").tolist():
        if len(found) == count or losses[position].max() < 0:
            break
        if tables.path[position] in found:
            continue
        own, known = tables.scores[position], targets[position]
        worst = int(losses[position].argmax())
        said = [int(k) for k in np.argsort(-own, kind="stable") if own[k] >= thresholds[k]]
        found[tables.path[position]] = WorstClip(
            position=position,
            loss=float(losses[position, worst]),
            label=tables.labels[worst],
            is_seen=bool(known[worst] == 1),
            score=float(own[worst]),
            expected=tuple(tables.labels[k] for k in np.flatnonzero(known == 1)),
            said=tuple((tables.labels[k], float(own[k])) for k in said),
            unknown_said=frozenset(tables.labels[k] for k in said if known[k] == UNKNOWN),
        )
    return tuple(found.values())


def _cards(
    clips: Sequence[WorstClip], tables: ScoreTables, progress: Progress | None
) -> list[dict[str, Any]]:
    """The worst clips with their pictures, times and paths."""
    cards = []
    for number, clip in enumerate(clips, start=1):
        start, end = (
            None if np.isnan(value) else float(value)
            for value in (tables.start_seconds[clip.position], tables.end_seconds[clip.position])
        )
        picture = None
        if tables.files is not None:
            picture = clip_thumbnail(Path(tables.files[clip.position]), start, end)
        times = f"{start or 0:.2f} s to {'the end' if end is None else f'{end:.2f} s'}"
        cards.append(
            {
                "clip": clip,
                "path": tables.path[clip.position],
                "times": "whole video" if start is None and end is None else times,
                "jpeg": picture.base64 if picture else "",
            }
        )
        if progress is not None:
            progress(number, len(clips))
    return cards


def timeline_page(timeline: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template of a timeline evaluation names, from `timeline.json`."""

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    seconds, segments = timeline["per_second"], timeline["segments"]
    windows = f"{timeline['window_seconds']:g} s every {timeline['stride_seconds']:g} s"
    label_ap = seconds.get("label_ap", {})
    return {
        "subject": _subject(timeline),
        "definition": (timeline.get("protocol") or {}).get("definition", ""),
        "tiles": [
            (shown(seconds["macro_map"]), "macro AP per second"),
            (shown(seconds["macro_f1"]), "macro F1 per second"),
            (seconds["num_labels_scored"], "labels scored"),
            (seconds["num_known_seconds"], "known seconds"),
            (timeline["num_videos"], "videos"),
            (windows, "windows"),
        ],
        "counts": f"{segments['num_truths']} true segments, {segments['num_predictions']} "
        f"predicted, {segments['num_masked']} left out where nothing was annotated.",
        "map_at": segments["map_at"],
        "f1_at": segments["f1_at"],
        "label_ap": sorted(
            label_ap.items(), key=lambda item: -1.0 if item[1] is None else item[1], reverse=True
        ),
        "not_scored": timeline["not_scored"],
    }
