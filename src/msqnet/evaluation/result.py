"""From scores and targets of labelled windows to every figure that is reported about a model.

Axes: V windows (rows), K labels.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.evaluation.figures import (
    MIN_POSITIVE_CLIPS,
    MIN_TRAIN_WINDOWS,
    REFERENCE_BATCH_SIZE,
    Facts,
    Figures,
    figures_without_interval,
    num_distinct,
)
from msqnet.evaluation.plain import plain
from msqnet.evaluation.rows import EvaluationRows
from msqnet.metrics.average_precision import FloatArray, label_average_precisions
from msqnet.metrics.bootstrap import NUM_RESAMPLES, bootstrap, percentile_interval
from msqnet.metrics.classification import confusion_counts
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

__all__ = [
    "DEFINITIONS",
    "METRICS_FILE",
    "PER_LABEL_FILE",
    "REFERENCE_BATCH_SIZE",
    "EvaluationResult",
    "EvaluationRows",
    "evaluate_rows",
]

METRICS_FILE = "metrics.json"
PER_LABEL_FILE = "per_label.csv"

DEFINITIONS: dict[str, str] = {
    "macro_map": "Mean average precision over labels, every label counting the same: the labels "
    "with a positive in the model's training data and both a known positive and a known negative "
    "in the evaluated rows; each label over the rows where it is known.",
    "well_supported_macro_map": f"macro_map over labels with at least {MIN_POSITIVE_CLIPS} "
    f"positive clips here and at least {MIN_TRAIN_WINDOWS} positive training windows.",
    "within_source_macro_map": "macro_map where each label is scored only over the rows of those "
    "sources that show it: a background that tells the source does not help.",
    "within_actor_macro_map": "The same over the rows of those actors that show the label.",
    "micro_ap": "Average precision of all known cells of all trained labels in one ranking; "
    "frequent labels dominate it.",
    "weighted_map": "Mean average precision over the labels of macro_map, weighted by positives.",
    "reference_micro_ap": "Micro average precision of every batch of rows, averaged over batches "
    "weighted by size: what the paper's released code calls mAP. It depends on order and batch "
    "size and must not be compared with macro_map.",
    "head_macro_map": "macro_map over the third of its labels with most training windows.",
    "middle_macro_map": "macro_map over the middle third by training windows.",
    "tail_macro_map": "macro_map over the third with fewest training windows.",
    "macro_f1": "Mean over the labels of macro_map of F1 at the label's stored threshold.",
    "micro_f1": "F1 at the stored thresholds of the counts summed over all trained labels.",
    "subset_accuracy": "Share of rows with every trained label right at the stored thresholds, "
    "over rows in which all of them are known.",
    "subset_accuracy_known": "The same over all rows, of each only the labels known there.",
    "label_accuracy": "(TP + TN) / known cells of trained labels, at a threshold of 0.5.",
    "all_negative_label_accuracy": "label_accuracy of an answer that never names a label.",
    "top_1_accuracy": "Share of single-label rows whose label has the highest score.",
    "top_5_accuracy": "Share of single-label rows whose label is among the five highest scores.",
    "expected_calibration_error": "Mean distance of scores from the share of positives, 10 bins.",
    "intervals": "95 % percentile bootstrap over clips (all windows of a file together). A label "
    "without a positive or a negative in a resample is left out of that resample.",
}
"""What each figure in `metrics.json` means, written beside the figures."""


@dataclass(frozen=True)
class EvaluationResult:
    """Every figure about a model on one set of rows.

    Attributes:
        metrics: plain values for `metrics.json`; None where a figure is not defined.
        per_label: one row a label for `per_label.csv`; None where a figure is not defined.
    """

    metrics: dict[str, Any]
    per_label: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Write `metrics.json` and `per_label.csv`, each replaced at once.

        Args:
            folder: made if it does not exist.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / METRICS_FILE) as part:
            text = json.dumps(self.metrics, indent=2, ensure_ascii=False, allow_nan=False)
            part.write_text(text + "\n", encoding="utf-8")
        with (
            replacing(folder / PER_LABEL_FILE) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=list(self.per_label[0]))
            writer.writeheader()
            writer.writerows(self.per_label)


def evaluate_rows(
    rows: EvaluationRows,
    *,
    thresholds: ArrayLike,
    train_positive_windows: ArrayLike | None = None,
    train_negative_windows: ArrayLike | None = None,
    single_label: bool = False,
    num_bootstrap: int = NUM_RESAMPLES,
    seed: int = 0,
    labels_not_in_model: Mapping[str, str] | None = None,
) -> EvaluationResult:
    """Compute every figure of `DEFINITIONS`.

    Args:
        rows: scores, targets and who each row is.
        thresholds: one number or (K,), the model's stored thresholds.
        train_positive_windows: (K,) positives in the model's training data; None if not known:
            then every label counts as trained, and nothing can be said to be well supported.
        train_negative_windows: (K,) known negatives there; only listed.
        single_label: whether a row has one label; only then top-1 and top-5 are given.
        num_bootstrap: resamples for the intervals; 0 for none.
        seed: of the bootstrap.
        labels_not_in_model: labels of the table that the model lacks, with the reason: only listed.

    Raises:
        ShapeError: parts that do not fit together, or a target that is not 1, 0 or -100.
    """
    facts = Facts.gather(rows, thresholds, train_positive_windows, train_negative_windows)
    figures = Figures.of(facts)
    num_names = len(figures.names)
    estimate = figures(np.ones((1, len(rows.path))))[0]
    low = high = np.full(len(estimate), np.nan)
    if num_bootstrap:
        drawn = bootstrap(figures, rows.path, num_resamples=num_bootstrap, seed=seed)
        low, high = percentile_interval(drawn.samples)
    values = dict(zip(figures.names, estimate[:num_names].tolist(), strict=True))
    bounds = zip(figures.names, low[:num_names].tolist(), high[:num_names].tolist(), strict=True)
    if not single_label:
        values |= {"top_1_accuracy": np.nan, "top_5_accuracy": np.nan}
    metrics: dict[str, Any] = {
        **values,
        **figures_without_interval(facts),
        "intervals": {
            name: [lower, upper]
            for name, lower, upper in bounds
            if not np.isnan([values[name], lower, upper]).any()
        },
        "bootstrap": {"num_resamples": num_bootstrap, "seed": seed, "unit": "clip"},
        **_counts(facts),
        **_left_out(facts, figures, labels_not_in_model or {}),
        "definitions": DEFINITIONS,
    }
    label_intervals = np.stack([low[num_names:], high[num_names:]])  # (2, K)
    return EvaluationResult(plain(metrics), plain(_label_rows(facts, figures, label_intervals)))


def _counts(facts: Facts) -> dict[str, Any]:
    rows, names = facts.rows, np.asarray(facts.rows.labels.names)
    return {
        "num_windows": len(rows.path),
        "num_clips": len(set(rows.path)),
        "num_groups": len({name for name in rows.group if name}),
        "num_windows_all_labels_known": int(np.all(facts.trained_cells.is_known, axis=1).sum()),
        "num_labels": len(rows.labels),
        "num_headline_labels": int(facts.is_headline.sum()),
        "num_well_supported_labels": int(facts.is_well_supported.sum()),
        "headline_labels": names[facts.is_headline].tolist(),
        "well_supported_labels": names[facts.is_well_supported].tolist(),
        "labels_digest": rows.labels.digest,
    }


def _reason_not_scored(facts: Facts, label: int) -> str | None:
    """Why a label is not in macro_map; None if it is."""
    reasons = (
        (not facts.is_trained[label], "no positive in the model's training data"),
        (not facts.cells.is_known[:, label].any(), "not annotated in any evaluated row"),
        (not facts.cells.is_positive[:, label].any(), "no known positive in the evaluated rows"),
        (not facts.cells.is_negative[:, label].any(), "no known negative in the evaluated rows"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _left_out(
    facts: Facts, figures: Figures, labels_not_in_model: Mapping[str, str]
) -> dict[str, Any]:
    """Every label that some mean does not hold, with the reason."""
    names, headline = facts.rows.labels.names, facts.is_headline
    reasons = {name: _reason_not_scored(facts, label) for label, name in enumerate(names)}
    reasons |= labels_not_in_model
    result: dict[str, Any] = {
        "not_scored": [
            {"label": name, "reason": reason} for name, reason in reasons.items() if reason
        ]
    }
    for kind, within in (("source", figures.within_source), ("actor", figures.within_actor)):
        given: Sequence[str] = getattr(facts.rows, kind)
        has_names = any(given)
        reason = (
            f"no known negative in rows of the {kind}s that show it"
            if has_names
            else f"no row names its {kind}"
        )
        dropped = headline & ~within.is_scorable
        result[f"num_within_{kind}_labels"] = int((headline & within.is_scorable).sum())
        result[f"num_windows_without_{kind}"] = sum(not name for name in given)
        result[f"not_scored_within_{kind}"] = [
            {"label": names[label], "reason": reason} for label in np.flatnonzero(dropped)
        ]
    return result


def _label_rows(facts: Facts, figures: Figures, intervals: FloatArray) -> list[dict[str, Any]]:
    """One row a label; intervals are (2, K)."""
    cells, ones = facts.cells, np.ones((1, len(facts.rows.path)))
    ap = label_average_precisions(cells, ones)[0]
    f1 = confusion_counts(cells, facts.thresholds, ones).f1_per_label()[0]
    within_source = label_average_precisions(figures.within_source, ones)[0]
    within_actor = label_average_precisions(figures.within_actor, ones)[0]
    known_clips = num_distinct(facts.rows.path, cells.is_known)
    is_positive, is_known = cells.is_positive.sum(axis=0), cells.is_known.sum(axis=0)
    return [
        {
            "label": name,
            "positive_windows": is_positive[label],
            "positive_clips": int(facts.positive_clips[label]),
            "known_windows": is_known[label],
            "known_clips": int(known_clips[label]),
            "ap": ap[label],
            "ap_low": intervals[0, label],
            "ap_high": intervals[1, label],
            "chance_ap": is_positive[label] / is_known[label] if is_known[label] else None,
            "f1": f1[label],
            "threshold": facts.thresholds[label],
            "train_positive_windows": _whole(facts.train_positives[label]),
            "train_negative_windows": _whole(facts.train_negatives[label]),
            "headline": bool(facts.is_headline[label]),
            "well_supported": bool(facts.is_well_supported[label]),
            "within_source_ap": within_source[label],
            "within_actor_ap": within_actor[label],
        }
        for label, name in enumerate(facts.rows.labels)
    ]


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else int(count)
