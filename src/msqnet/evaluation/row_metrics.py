"""From scores and targets of labelled windows to every metric that is reported about a model.

Axes: V windows (rows), K labels, R resamples, M metrics.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ShapeError
from msqnet.evaluation.scored_rows import METRICS_FILE, PER_LABEL_FILE
from msqnet.files import plain, replacing, write_json
from msqnet.metrics.average_precision import (
    BoolArray,
    FloatArray,
    KnownCells,
    known_cells,
    label_average_precisions,
    macro_map,
    mean_over_labels,
    reference_micro_ap,
)
from msqnet.metrics.bootstrap import NUM_RESAMPLES, bootstrap
from msqnet.metrics.calibration import expected_calibration_error
from msqnet.metrics.classification import (
    confusion_counts,
    label_accuracy,
    label_thresholds,
    subset_accuracy,
    top_k_accuracy,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from msqnet.evaluation.scored_rows import EvaluationRows

MIN_POSITIVE_CLIPS = 3
MIN_TRAIN_WINDOWS = 5
REFERENCE_BATCH_SIZE = 8

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
"""Meaning of each metric in `metrics.json`, written beside the metrics."""


@dataclass(frozen=True)
class EvaluationResult:
    """All metrics of a model on one set of rows; None where a metric is not defined.

    ``metrics`` are the plain values of `metrics.json`, ``per_label`` the rows of `per_label.csv`.
    """

    metrics: dict[str, Any]
    per_label: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Write `metrics.json` and `per_label.csv`, each replaced at once; makes the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / METRICS_FILE, self.metrics, ensure_ascii=False, allow_nan=False)
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
    """Compute every metric of `DEFINITIONS`.

    Args:
        rows: what is evaluated.
        thresholds: one number or (K,), the model's stored thresholds.
        train_positive_windows: (K,) positives in the model's training data; None if not known:
            then every label counts as trained, and nothing can be said to be well supported.
        train_negative_windows: (K,) known negatives there; only listed.
        single_label: whether a row has one label; only then top-1 and top-5 are given.
        num_bootstrap: resamples for the intervals; 0 for none.
        labels_not_in_model: labels of the table that the model lacks, with the reason; only listed.
    """
    scored = _Evaluation(rows, thresholds, train_positive_windows, train_negative_windows)
    *names, _ = scored.metrics(np.ones((1, len(rows.table))))
    estimate, low, high = bootstrap(
        lambda weights: np.column_stack(list(scored.metrics(weights).values())),
        scored.clips,
        num_resamples=num_bootstrap,
        seed=seed,
    )
    values = dict(zip(names, estimate.tolist(), strict=False))
    bounds = zip(names, low.tolist(), high.tolist(), strict=False)
    if not single_label:
        values |= {"top_1_accuracy": np.nan, "top_5_accuracy": np.nan}
    metrics: dict[str, Any] = {
        **values,
        **scored.metrics_without_interval(),
        "intervals": {
            name: [lower, upper]
            for name, lower, upper in bounds
            if not np.isnan([values[name], lower, upper]).any()
        },
        "bootstrap": {"num_resamples": num_bootstrap, "seed": seed, "unit": "clip"},
        **scored.counts(),
        **scored.left_out(labels_not_in_model or {}),
        "definitions": DEFINITIONS,
    }
    label_intervals = np.stack([low, high])[:, len(names) :]  # (2, K)
    return EvaluationResult(plain(metrics), plain(scored.label_rows(label_intervals)))


def _training_counts(counts: ArrayLike | None, num_labels: int, name: str) -> FloatArray:
    if counts is None:
        return np.full(num_labels, np.nan)
    values = np.asarray(counts, dtype=np.float64)
    if values.shape != (num_labels,):
        raise ShapeError(f"{name}: found shape {values.shape}, expected ({num_labels},)")
    return values


def _num_distinct(names: Sequence[str], chosen: BoolArray) -> FloatArray:
    """(K,) number of distinct names among the rows that (V, K) ``chosen`` marks."""
    _, index = np.unique(np.asarray(names), return_inverse=True)
    return np.array([len(np.unique(index[column])) for column in chosen.T], dtype=np.float64)


class _Evaluation:
    """Rows with the masks of labels and cells that their metrics are over.

    ``trained`` are the cells of trained labels, as decisions about the others mean nothing;
    ``within`` the cells by ``source`` and ``actor``, each label known only in rows of those
    sources, or actors, that show it. Training counts, (K,), are NaN where not known: such a label
    counts as trained, but is not well supported. ``is_headline`` are the labels of macro_map.
    """

    def __init__(
        self,
        rows: EvaluationRows,
        thresholds: ArrayLike,
        train_positives: ArrayLike | None,
        train_negatives: ArrayLike | None,
    ) -> None:
        num = len(rows.labels)
        self.rows = rows
        self.clips = rows.table.clip_ids()
        self.names_of = {
            "source": [record.source for record in rows.table.records],
            "actor": [record.actor for record in rows.table.records],
        }
        self.cells = known_cells(rows.scores, rows.targets)
        self.thresholds = label_thresholds(thresholds, num)
        self.train_positives = _training_counts(train_positives, num, "train_positive_windows")
        self.train_negatives = _training_counts(train_negatives, num, "train_negative_windows")
        self.positive_clips = _num_distinct(self.clips, self.cells.is_positive)
        self.is_trained: BoolArray = ~(self.train_positives <= 0)
        self.is_headline: BoolArray = self.is_trained & self.cells.is_scorable
        self.is_well_supported: BoolArray = (
            self.is_headline
            & (self.positive_clips >= MIN_POSITIVE_CLIPS)
            & (self.train_positives >= MIN_TRAIN_WINDOWS)
        )
        self.trained: KnownCells = self.cells.of_labels(self.is_trained)
        self.within = {kind: self.cells.within(names) for kind, names in self.names_of.items()}

    def metrics(self, weights: FloatArray) -> dict[str, FloatArray]:
        """(R, V) row weights to the (R,) metrics with an interval, then (R, K) each label's AP."""
        cells, headline = self.cells, self.is_headline
        ap = label_average_precisions(cells, weights)  # (R, K)
        within = {
            kind: label_average_precisions(part, weights) for kind, part in self.within.items()
        }
        counts = confusion_counts(cells, self.thresholds, weights)
        subsets = subset_accuracy(self.trained, self.thresholds[self.is_trained], weights)
        return {
            "macro_map": mean_over_labels(ap, headline),
            "well_supported_macro_map": mean_over_labels(ap, self.is_well_supported),
            "within_source_macro_map": mean_over_labels(within["source"], headline),
            "within_actor_macro_map": mean_over_labels(within["actor"], headline),
            "micro_ap": self.trained.ranked_together().average_precision(weights),
            "weighted_map": mean_over_labels(ap, headline, weights @ cells.is_positive),
            "macro_f1": mean_over_labels(counts.f1_per_label(), headline),
            "micro_f1": counts.f1_micro(self.is_trained),
            "subset_accuracy": subsets[0],
            "subset_accuracy_known": subsets[1],
            "top_1_accuracy": top_k_accuracy(self.trained, 1, weights),
            "top_5_accuracy": top_k_accuracy(self.trained, 5, weights),
            "ap": ap,
        }

    def metrics_without_interval(self) -> dict[str, Any]:
        """Single numbers by name; NaN where they are not defined."""
        scores = np.asarray(self.rows.scores)[:, self.is_trained]
        targets = np.asarray(self.rows.targets)[:, self.is_trained]
        accuracy, all_negative = label_accuracy(self.trained)
        # Headline labels in thirds by training windows; none without those counts.
        ap = label_average_precisions(self.cells)[0]
        labels = np.flatnonzero(self.is_headline & ~np.isnan(self.train_positives))
        labels = labels[np.argsort(-self.train_positives[labels], kind="stable")]
        thirds = zip(("head", "middle", "tail"), np.array_split(labels, 3), strict=True)
        return {
            "reference_micro_ap": reference_micro_ap(scores, targets, REFERENCE_BATCH_SIZE),
            "reference_batch_size": REFERENCE_BATCH_SIZE,
            **{f"{name}_macro_map": macro_map(ap[third]) for name, third in thirds},
            "label_accuracy": accuracy,
            "all_negative_label_accuracy": all_negative,
            "expected_calibration_error": expected_calibration_error(scores, targets),
        }

    def counts(self) -> dict[str, Any]:
        """Numbers of windows, clips, groups and labels."""
        rows, names = self.rows, np.asarray(self.rows.labels.names)
        return {
            "num_windows": len(rows.table),
            "num_clips": len(set(self.clips)),
            "num_groups": len(set(rows.table.group_ids())),
            "num_windows_all_labels_known": int(np.all(self.trained.is_known, axis=1).sum()),
            "num_labels": len(rows.labels),
            "num_headline_labels": int(self.is_headline.sum()),
            "num_well_supported_labels": int(self.is_well_supported.sum()),
            "headline_labels": names[self.is_headline].tolist(),
            "well_supported_labels": names[self.is_well_supported].tolist(),
            "labels_digest": rows.labels.digest,
        }

    def left_out(self, labels_not_in_model: Mapping[str, str]) -> dict[str, Any]:
        """Every label that some mean leaves out, with the reason."""
        names, headline, cells = self.rows.labels.names, self.is_headline, self.cells
        found = np.select(  # (K,); empty for labels of macro_map
            [
                ~self.is_trained,
                ~cells.is_known.any(axis=0),
                ~cells.is_positive.any(axis=0),
                ~cells.is_negative.any(axis=0),
            ],
            [
                "no positive in the model's training data",
                "not annotated in any evaluated row",
                "no known positive in the evaluated rows",
                "no known negative in the evaluated rows",
            ],
            "",
        )
        reasons = dict(zip(names, found.tolist(), strict=True)) | dict(labels_not_in_model)
        result: dict[str, Any] = {
            "not_scored": [{"label": name, "reason": why} for name, why in reasons.items() if why]
        }
        for kind, within in self.within.items():
            given = self.names_of[kind]
            reason = (
                f"no known negative in rows of the {kind}s that show it"
                if any(given)
                else f"no row names its {kind}"
            )
            dropped = headline & ~within.is_scorable
            result[f"num_within_{kind}_labels"] = int((headline & within.is_scorable).sum())
            result[f"num_windows_without_{kind}"] = sum(not name for name in given)
            result[f"not_scored_within_{kind}"] = [
                {"label": names[label], "reason": reason} for label in np.flatnonzero(dropped)
            ]
        return result

    def label_rows(self, intervals: FloatArray) -> list[dict[str, Any]]:
        """One row per label; intervals are (2, K)."""
        cells = self.cells
        ap = label_average_precisions(cells)[0]
        f1 = confusion_counts(cells, self.thresholds).f1_per_label()[0]
        within = {kind: label_average_precisions(part)[0] for kind, part in self.within.items()}
        known_clips = _num_distinct(self.clips, cells.is_known)
        is_positive, is_known = cells.is_positive.sum(axis=0), cells.is_known.sum(axis=0)
        return [
            {
                "label": name,
                "positive_windows": is_positive[label],
                "positive_clips": int(self.positive_clips[label]),
                "known_windows": is_known[label],
                "known_clips": int(known_clips[label]),
                "ap": ap[label],
                "ap_low": intervals[0, label],
                "ap_high": intervals[1, label],
                "chance_ap": is_positive[label] / is_known[label] if is_known[label] else None,
                "f1": f1[label],
                "threshold": self.thresholds[label],
                "train_positive_windows": _whole(self.train_positives[label]),
                "train_negative_windows": _whole(self.train_negatives[label]),
                "headline": bool(self.is_headline[label]),
                "well_supported": bool(self.is_well_supported[label]),
                "within_source_ap": within["source"][label],
                "within_actor_ap": within["actor"][label],
            }
            for label, name in enumerate(self.rows.labels)
        ]


def _whole(count: float) -> int | None:
    return None if np.isnan(count) else int(count)
