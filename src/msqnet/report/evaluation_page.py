"""The page about an evaluation: metrics, bars, curves and cells in the units of their pictures.

Axes: V rows, K labels.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.evaluation.protocols import METRIC_TITLES, PROTOCOL_TITLES, shown_metrics
from msqnet.labels import UNKNOWN
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
# Keeps the loss of a score of exactly 0 or 1 finite; a float32 near 1 cannot come nearer.
_SMALLEST_SCORE = 1e-7
_NUM_PAIRS = 12
_MAX_ETHOGRAMS = 40
_MAX_MATRIX_LABELS = 40
_PLOT_LEFT, _PLOT_TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 26, 8, 168, 108


# Numbers of a label on the page, named as the columns of `per_label.csv`.
_LABEL_NUMBERS = (
    *("ap", "ap_low", "ap_high", "chance_ap", "f1", "threshold"),
    *("positive_windows", "positive_clips", "known_windows", "train_positive_windows"),
)


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
            name: float(texts[name]) if texts[name] else None for name in _LABEL_NUMBERS
        }
        words = "not defined"
        if row["ap"] is not None:
            low, high = row["ap_low"], row["ap_high"]
            interval = "" if low is None else f", interval {low:.3f} to {high:.3f}"
            words = f"{row['ap']:.3f}{interval}, chance {row['chance_ap']:.3f}"
        words = f"{texts['label']}: average precision {words}"
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
    rows: list[dict[str, Any]], tables: ScoreTables, targets: FloatArray, progress: Progress | None
) -> dict[str, Any]:
    row_of = {row["label"]: row for row in rows}
    known = [row_of[label] for label in tables.labels]
    thresholds = np.array([row["threshold"] for row in known])
    is_trained = np.array([row["train_positive_windows"] != 0 for row in known])
    curves = label_curves(tables.labels, tables.scores, targets, thresholds)
    # Of the trained labels that are true somewhere; others have no row to read.
    chosen = np.flatnonzero(is_trained & (targets == 1).any(axis=0))
    names = [tables.labels[k] for k in chosen]
    worst = worst_clips(tables, targets, thresholds, is_trained, NUM_WORST_CLIPS)
    return {
        "curves": sorted(curves, key=lambda curve: -curve.ap),
        "matrix": label_matrix(
            names, tables.scores[:, chosen], targets[:, chosen], thresholds[chosen]
        ),
        "worst": _cards(worst, tables, progress),
    }


@dataclass(frozen=True)
class LabelCurve:
    """Precision against recall of one label, and its drawing in the units of the picture.

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

    @property
    def ap(self) -> float:
        """Average precision: the area below the steps."""
        return float(self.precision @ np.diff(self.recall, prepend=0.0))

    @property
    def path(self) -> str:
        """Steps: AP counts the precision at each point for all of the recall up to it."""
        path, last = f"M{_PLOT_LEFT} {_y_of(self.precision[0])}", ""
        for recall, precision in zip(self.recall.tolist(), self.precision.tolist(), strict=True):
            step = f"V{_y_of(precision)}H{_x_of(recall)}"
            path, last = (path if step == last else path + step), step
        return path

    @property
    def chance_y(self) -> float:
        """Height of the line of guessing."""
        return _y_of(self.chance)

    @property
    def mark(self) -> tuple[float, float] | None:
        """Where the threshold is; None where no row reaches it."""
        point = self.at_threshold
        return point and (_x_of(point[0]), _y_of(point[1]))

    @property
    def note(self) -> str:
        """The decisions at the threshold in words."""
        if self.at_threshold is None:
            return f"no window reaches the threshold {self.threshold:.2f}"
        recall, precision = self.at_threshold
        return f"at {self.threshold:.2f}: precision {precision:.2f}, recall {recall:.2f}"


def _x_of(recall: float) -> float:
    return round(_PLOT_LEFT + _PLOT_WIDTH * recall, 1)


def _y_of(precision: float) -> float:
    return round(_PLOT_TOP + _PLOT_HEIGHT * (1 - precision), 1)


def label_curves(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> list[LabelCurve]:
    """Curves of the labels of which both a positive and a negative are known.

    Of K labels, scores are (V, K), targets (V, K) of 1, 0 and `UNKNOWN`, thresholds (K,).
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
    return curves


@dataclass(frozen=True)
class LabelMatrix:
    """Predictions of every label where another one is true, and their drawing.

    Of the rows in which label i is true and label j is known, `said[i, j]` is the share in which j
    is predicted (its score reaches its threshold) and `true[i, j]` the share in which j is true.
    Where j is predicted much more often than it is true, the model takes i for j. On the diagonal,
    `true` is 1 and `said` is the recall.
    Axes are (K, K), i before j. `num_rows` counts the rows; where there is none, `said` and `true`
    are NaN. The other numbers are in the units of the picture.
    """

    labels: tuple[str, ...]
    num_rows: FloatArray
    said: FloatArray
    true: FloatArray
    min_rows: int = 3
    cell: int = 28
    left: int = 180
    top: int = 130

    @property
    def width(self) -> int:
        """Of the picture; slanted names of the last columns reach over the cells."""
        return self.left + self.cell * len(self.labels) + 90

    @property
    def height(self) -> int:
        """Of the picture."""
        return self.top + self.cell * len(self.labels)

    @property
    def cells(self) -> list[dict[str, Any]]:
        """A cell for every pair of labels; none where there are too many labels for a page."""
        places = range(len(self.labels) if len(self.labels) <= _MAX_MATRIX_LABELS else 0)
        return [self._cell(i, j) for i in places for j in places]

    def _cell(self, i: int, j: int) -> dict[str, Any]:
        given, label, num_rows = self.labels[i], self.labels[j], int(self.num_rows[i, j])
        place = {"x": self.left + self.cell * j, "y": self.top + self.cell * i}
        if not num_rows:
            text = f"{given}: no window where {label} is known"
            return {**place, "kind": "is-empty", "strength": 1.0, "percent": "", "text": text}
        said, true = float(self.said[i, j]), float(self.true[i, j])
        kind = "is-over" if said > true else "is-under"
        return {
            **place,
            "kind": f"{kind} is-own" if i == j else kind,
            "strength": round(0.85 * abs(said - true), 3),
            "percent": f"{100 * said:.0f}",
            "text": f"{given} is true in {num_rows} windows: {label} is predicted in {said:.0%} of "
            f"them and true in {true:.0%}",
        }

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """The pairs that differ most in `min_rows` rows or more, largest difference first."""
        difference = np.abs(self.said - self.true)
        counts = (self.num_rows >= self.min_rows) & ~np.eye(len(self.labels), dtype=np.bool_)
        difference = np.where(counts & (difference > 0), difference, -1.0)
        order = np.argsort(-difference, axis=None, kind="stable")[:_NUM_PAIRS]
        places = (divmod(int(place), len(self.labels)) for place in order)
        return [
            {
                "given": self.labels[i],
                "label": self.labels[j],
                "said": float(self.said[i, j]),
                "true": float(self.true[i, j]),
                "num_rows": int(self.num_rows[i, j]),
            }
            for i, j in places
            if difference[i, j] > 0
        ]


def label_matrix(
    labels: Sequence[str], scores: FloatArray, targets: FloatArray, thresholds: FloatArray
) -> LabelMatrix:
    """Compare predictions with truth, given each true label; arguments as for `label_curves`."""
    is_seen = (targets == 1).astype(np.float64)  # (V, K)
    is_known = (targets != UNKNOWN).astype(np.float64)
    is_said = (scores >= thresholds).astype(np.float64)
    num_rows = is_seen.T @ is_known  # (K, K)
    divisor = np.where(num_rows > 0, num_rows, np.nan)
    return LabelMatrix(
        labels=tuple(labels),
        num_rows=num_rows,
        said=(is_seen.T @ (is_said * is_known)) / divisor,
        true=(is_seen.T @ is_seen) / divisor,
    )


def worst_clips(
    tables: ScoreTables,
    targets: FloatArray,
    thresholds: FloatArray,
    is_trained: BoolArray,
    count: int,
) -> list[dict[str, Any]]:
    """The clips with the largest loss, one row of each, the worst first.

    loss(v) = max_k -log(s_vk) if k is true in v, -log(1 - s_vk) if k is known to be absent; over
    known labels that the model was trained on. `targets` are (V, K) of 1, 0 and `UNKNOWN`,
    `thresholds` and `is_trained` are (K,).

    Returns:
        For each clip the position of its row, the cross-entropy of its worst label in nats, that
        label with its score and whether it is true there, the true labels (`expected`), and the
        predicted ones with their scores (`said`); of these, `unknown_said` were not annotated and
        may be right.
    """
    scores = np.clip(tables.scores, _SMALLEST_SCORE, 1 - _SMALLEST_SCORE)
    losses = -np.log(np.where(targets == 1, scores, 1 - scores))
    losses = np.where((targets != UNKNOWN) & is_trained, losses, -1.0)  # (V, K)
    found: dict[str, dict[str, Any]] = {}
    for position in np.argsort(-losses.max(axis=1), kind="stable").tolist():
        path, own, known = tables.path[position], tables.scores[position], targets[position]
        if len(found) == count or losses[position].max() < 0:
            break
        if path in found:
            continue
        worst = int(losses[position].argmax())
        said = [int(k) for k in np.argsort(-own, kind="stable") if own[k] >= thresholds[k]]
        found[path] = {
            "position": position,
            "path": path,
            "loss": float(losses[position, worst]),
            "label": tables.labels[worst],
            "is_seen": bool(known[worst] == 1),
            "score": float(own[worst]),
            "expected": [tables.labels[k] for k in np.flatnonzero(known == 1)],
            "said": [(tables.labels[k], float(own[k])) for k in said],
            "unknown_said": {tables.labels[k] for k in said if known[k] == UNKNOWN},
        }
    return list(found.values())


def _cards(
    clips: Sequence[dict[str, Any]], tables: ScoreTables, progress: Progress | None
) -> list[dict[str, Any]]:
    cards = []
    for number, clip in enumerate(clips, start=1):
        row = clip["position"]
        start, end = (
            None if np.isnan(value) else float(value)
            for value in (tables.start_seconds[row], tables.end_seconds[row])
        )
        files = tables.files
        jpeg = "" if files is None else clip_thumbnail(Path(files[row]), start, end)
        times = f"{start or 0:.2f} s to {'the end' if end is None else f'{end:.2f} s'}"
        if start is None and end is None:
            times = "whole video"
        cards.append(clip | {"times": times, "jpeg": jpeg})
        if progress is not None:
            progress(number, len(clips))
    return cards


def timeline_page(timeline: dict[str, Any], ethograms: Sequence[Path] = ()) -> dict[str, Any]:
    """Everything that the template of a timeline evaluation names, from `timeline.json`.

    ``ethograms`` are PNG pictures of annotated and predicted segments, of which the first few are
    shown.
    """

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    seconds, segments = timeline["per_second"], timeline["segments"]
    frames = timeline.get("per_frame")  # not in evaluations of earlier versions
    windows = f"{timeline['window_seconds']:g} s every {timeline['stride_seconds']:g} s"
    label_ap = seconds.get("label_ap", {})
    borders = ""
    if "borders" in segments:  # not in evaluations of earlier versions
        error = segments["borders"]["both"]
        borders = (
            f" Borders are off by {shown(error['median'])} s (median) and "
            f"{shown(error['percentile_90'])} s (90th percentile)."
        )
    return {
        "subject": _subject(timeline),
        "definition": (timeline.get("protocol") or {}).get("definition", ""),
        "tiles": [
            (shown(seconds["macro_map"]), "macro AP per second"),
            (shown(seconds["macro_f1"]), "macro F1 per second"),
            *([(shown(frames["macro_map"]), "macro AP per frame")] if frames else ()),
            (seconds["num_labels_scored"], "labels scored"),
            (seconds["num_known_seconds"], "known seconds"),
            (timeline["num_videos"], "videos"),
            (windows, "windows"),
        ],
        "counts": f"{segments['num_truths']} true segments, {segments['num_predictions']} "
        f"predicted, {segments['num_masked']} left out where nothing was annotated." + borders,
        "ethograms": [
            (path.stem.partition("-")[2], b64encode(path.read_bytes()).decode("ascii"))
            for path in ethograms[:_MAX_ETHOGRAMS]
        ],
        "num_ethograms": len(ethograms),
        "map_at": segments["map_at"],
        "f1_at": segments["f1_at"],
        "label_ap": sorted(
            label_ap.items(), key=lambda item: -1.0 if item[1] is None else item[1], reverse=True
        ),
        "not_scored": timeline["not_scored"],
    }
