"""The gain of a calibration on rows that it was not fitted on, with intervals over groups.

Axes: V rows, K labels, R resamples.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet import __version__
from msqnet.data.splits import grouped_folds
from msqnet.errors import DatasetError
from msqnet.evaluation.recalibration import (
    Calibration,
    CalibrationRows,
    cross_validated,
    enough_rows,
    fit,
    method_for,
)
from msqnet.files import plain, write_json
from msqnet.metrics.average_precision import FloatArray, known_cells, mean_over_labels
from msqnet.metrics.bootstrap import bootstrap
from msqnet.metrics.calibration import (
    ReliabilityBins,
    calibration_error_statistic,
    label_calibration_errors,
    reliability_bins,
)
from msqnet.metrics.classification import confusion_counts
from msqnet.metrics.evidence import LabelEvidence, label_evidence
from msqnet.models.card import change_config

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import CalibrationConfig
    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet
    from msqnet.metrics.average_precision import BoolArray, KnownCells
    from msqnet.model.configuration import MSQNetConfig

CALIBRATION_FILE = "calibration.json"
METRICS = ("expected_calibration_error", "brier_score", "macro_f1")
DEFINITIONS = {
    "expected_calibration_error": "Mean distance of scores from the share of positives among cells "
    "scored alike, over the known cells of the fitted labels in equally wide bins of the score.",
    "brier_score": "Mean squared distance of scores from 1 (present) or 0 (absent), same cells.",
    "macro_f1": "Mean over the fitted labels of F1 at the thresholds.",
    "before": "The model as it was given.",
    "after": "Cross-validated: each group of rows is scored by a calibration that was fitted on "
    "other groups. The stored calibration was fitted on all rows; no metric here measures it.",
    "intervals": "95 % percentile bootstrap over groups; the folds are not drawn anew.",
}

_FEW_POSITIVES = 20
_FEW_GROUPS = 10


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration with every metric of it; None where a metric is not defined.

    ``before`` are scores of the model as it was, ``after`` held-out scores; ``evidence`` is what
    these show of each label.
    """

    calibration: Calibration
    summary: dict[str, Any]
    per_label: list[dict[str, Any]]
    before: ReliabilityBins
    after: ReliabilityBins
    evidence: tuple[LabelEvidence, ...]

    def write(self, folder: Path) -> None:
        """Write `calibration.json`; the folder exists."""
        bins = {"before": vars(self.before), "after": vars(self.after)}
        document = self.summary | {
            "labels": self.per_label,
            "bins": bins,
            "definitions": DEFINITIONS,
        }
        path = folder / CALIBRATION_FILE
        write_json(path, plain(document), ensure_ascii=False, allow_nan=False)


def calibration_rows(
    table: ClipTable, labels: LabelSet, logits: FloatArray, config: CalibrationConfig
) -> CalibrationRows:
    """V rows of a table with (V, K) float64 logits, and their folds.

    Rows of one group alone are a `DatasetError`, as nothing can be held out.
    """
    groups = table.group_ids()
    num_groups = len(set(groups))
    if num_groups < 2:
        raise DatasetError(
            f"{table.path}: all {len(table)} rows are of one group, {groups[0]!r}; expected at "
            "least 2, as the gain is measured on groups that were not fitted on; name the "
            "recordings in the column 'group', or add videos"
        )
    num_folds = min(config.num_folds, num_groups)
    folds = grouped_folds(table, labels, num_folds=num_folds, seed=config.seed)
    targets = table.targets(labels).astype(np.float64)
    return CalibrationRows(labels.names, logits, targets, groups, folds)


def calibrate_rows(
    rows: CalibrationRows, now: Calibration, config: CalibrationConfig
) -> CalibrationResult:
    """Fit on all rows around what the model stores (``now``), and measure by cross-validation.

    A method that the model cannot be given is a `ConfigError`; a `DatasetError` where no label has
    enough known rows.
    """
    method = method_for(now.kind, config)
    kept = enough_rows(rows, config)
    is_chosen = np.array([name not in kept for name in rows.labels])
    if not is_chosen.any():
        listed = "; ".join(f"{name}: {reason}" for name, reason in kept.items())
        raise DatasetError(
            f"no label can be calibrated ({listed}); add annotated rows, or lower --min-windows"
        )
    new, has_threshold = fit(rows.logits, rows.targets, now, is_chosen, config)
    for label in np.flatnonzero(is_chosen & ~has_threshold):
        kept[rows.labels[label]] = (
            f"no threshold reaches a precision of {config.wanted_precision:g}: it decides as before"
        )
    sides = {
        "before": (now.scores(rows.logits), np.broadcast_to(now.thresholds, rows.targets.shape)),
        "after": cross_validated(rows, now, is_chosen, config),
    }
    overall = _overall(rows, sides, is_chosen, config)
    per_label = _per_label(rows, (now, new), sides, kept, is_chosen, config)
    num_groups = len(set(rows.groups))
    summary = {
        "settings": {
            "method": method,
            "threshold_rule": config.thresholds,
            "min_precision": config.wanted_precision,
            "min_windows": config.min_windows,
            "num_folds": len(np.unique(rows.folds)),
            "num_bins": config.num_bins,
            "num_bootstrap": config.num_bootstrap,
            "seed": config.seed,
        },
        "num_windows": len(rows.groups),
        "num_groups": num_groups,
        "num_fitted_labels": int(is_chosen.sum()),
        "overall": overall,
        "notes": _notes(per_label, num_groups, overall, config),
    }
    before, after = (
        reliability_bins(scores, rows.targets, num_bins=config.num_bins, select=is_chosen)
        for scores, _ in sides.values()
    )
    evidence = label_evidence(sides["after"][0], rows.targets, rows.groups)
    return CalibrationResult(new, plain(summary), plain(per_label), before, after, evidence)


Sides = dict[str, tuple[FloatArray, FloatArray]]
"""Scores (V, K) and thresholds (V, K) ``before`` and ``after``."""


def _decisions(rows: CalibrationRows, sides: Sides) -> list[KnownCells]:
    """Scores less thresholds, which may differ from row to row: 0 decides."""
    return [known_cells(scores - limits, rows.targets) for scores, limits in sides.values()]


def _overall(
    rows: CalibrationRows, sides: Sides, is_chosen: BoolArray, config: CalibrationConfig
) -> dict[str, Any]:
    """Every metric of `METRICS` before and after, with intervals, and their differences."""
    errors = [
        calibration_error_statistic(
            scores, rows.targets, select=is_chosen, num_bins=config.num_bins
        )
        for scores, _ in sides.values()
    ]
    decisions = _decisions(rows, sides)

    def metrics(weights: FloatArray) -> FloatArray:
        """(R, V) to (R, 3 metrics * before, after, difference)."""
        found = []
        for error, cells in zip(errors, decisions, strict=True):
            f1 = confusion_counts(cells, 0.0, weights).f1_per_label()
            found.append(np.column_stack([error(weights), mean_over_labels(f1, is_chosen)]))
        return np.concatenate([*found, found[1] - found[0]], axis=1)

    estimate, low, high = bootstrap(
        metrics, rows.groups, num_resamples=config.num_bootstrap, seed=config.seed
    )
    result: dict[str, Any] = {}
    for place, side in enumerate(("before", "after", "difference")):
        for offset, name in enumerate(METRICS):
            column = place * len(METRICS) + offset
            result.setdefault(name, {})[side] = float(estimate[column])
            result[name][f"{side}_interval"] = [float(low[column]), float(high[column])]
    return result


def _per_label(
    rows: CalibrationRows,
    fits: tuple[Calibration, Calibration],
    sides: Sides,
    kept: dict[str, str],
    is_chosen: BoolArray,
    config: CalibrationConfig,
) -> list[dict[str, Any]]:
    cells = known_cells(rows.logits, rows.targets)
    groups = np.asarray(rows.groups)
    errors = [
        label_calibration_errors(scores, rows.targets, num_bins=config.num_bins)
        for scores, _ in sides.values()
    ]
    counts = [confusion_counts(margins, 0.0) for margins in _decisions(rows, sides)]
    hits = counts[1].true_positives[0]
    named, present = (
        np.where(total > 0, total, np.nan)
        for total in (hits + counts[1].false_positives[0], hits + counts[1].false_negatives[0])
    )
    pairs = {
        "scale": [fit.scaling.scale for fit in fits],
        "bias": [fit.scaling.bias for fit in fits],
        "threshold": [fit.thresholds for fit in fits],
        "expected_calibration_error": errors,
        "f1": [part.f1_per_label()[0] for part in counts],
    }
    columns = {
        f"{name}_{side}": values
        for name, pair in pairs.items()
        for side, values in zip(sides, pair, strict=True)
    }
    columns |= {"precision_after": hits / named, "recall_after": hits / present}
    return [
        {
            "label": name,
            "kept": kept.get(name),
            "is_fitted": bool(is_chosen[label]),
            "positive_windows": int(cells.is_positive[:, label].sum()),
            "negative_windows": int(cells.is_negative[:, label].sum()),
            "positive_groups": len(set(groups[cells.is_positive[:, label]])),
            **{key: float(values[label]) for key, values in columns.items()},
        }
        for label, name in enumerate(rows.labels)
    ]


def _notes(
    per_label: list[dict[str, Any]],
    num_groups: int,
    overall: dict[str, Any],
    config: CalibrationConfig,
) -> list[str]:
    notes = []
    fitted = [item for item in per_label if item["is_fitted"]]
    few = [item for item in fitted if item["positive_windows"] < _FEW_POSITIVES]
    if few:
        listed = ", ".join(f"{item['label']} ({item['positive_windows']})" for item in few)
        notes.append(
            f"fewer than {_FEW_POSITIVES} positive windows, so that their threshold depends much "
            f"on which ones: {listed}"
        )
    if num_groups < _FEW_GROUPS:
        notes.append(f"{num_groups} groups: the intervals are rough, and rather too narrow")
    low, high = overall["expected_calibration_error"]["difference_interval"]
    if low <= 0 <= high:
        notes.append(
            "the calibration error may not have changed: the interval of the difference is "
            f"{low:+.3f} to {high:+.3f}"
        )
    elif low > 0:
        notes.append(
            "on held-out rows the calibration error is HIGHER than before: these rows do not "
            "improve the model's scores for similar ones; keep the model as it was"
        )
    if config.thresholds == "precision":  # comparisons with NaN are false
        missed = [
            f"{item['label']} ({item['precision_after']:.2f})"
            for item in fitted
            if item["kept"] is None and item["precision_after"] < config.wanted_precision
        ]
        if missed:
            notes.append(
                f"on held-out rows, less precise than {config.wanted_precision:g}: "
                f"{', '.join(missed)}"
            )
    return notes


def store_calibration(
    folder: Path,
    config: MSQNetConfig,
    result: CalibrationResult,
    *,
    data: str,
    split: str | None,
) -> None:
    """Write a calibration into the configuration of a model's folder, not in use.

    Its provenance then names the table, its split (None for all) and the rows that it was
    calibrated on, so that results of before and after can be told apart. What these rows show of
    the fitted labels replaces the evidence of training, where the model has any. ``config`` is that
    of the model as it was.
    """
    new = result.calibration
    pair = {
        "calibration_scale": new.scaling.scale.tolist(),
        "calibration_bias": new.scaling.bias.tolist(),
        "thresholds": new.thresholds.tolist(),
    }
    digest = hashlib.sha256(json.dumps(pair, sort_keys=True).encode()).hexdigest()
    record = {
        "data": data,
        "split": split,
        "num_windows": result.summary["num_windows"],
        "num_groups": result.summary["num_groups"],
        "labels": [item["label"] for item in result.per_label if item["is_fitted"]],
        "settings": result.summary["settings"],
        "digest": digest[:16],
        "msqnet": __version__,
    }
    provenance = {**(config.provenance or {}), "calibration": record}
    evidence = config.evidence and [
        asdict(new_item) if item["is_fitted"] else old
        for old, new_item, item in zip(
            config.evidence, result.evidence, result.per_label, strict=True
        )
    ]
    change_config(folder, {**pair, "evidence": evidence, "provenance": provenance})
