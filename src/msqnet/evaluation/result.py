"""From scores and targets of labelled windows to every figure that is reported about a model.

Axes: V windows (rows), K labels, R resamples.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ShapeError
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
from msqnet.metrics.bootstrap import NUM_RESAMPLES, bootstrap, percentile_interval
from msqnet.metrics.calibration import expected_calibration_error
from msqnet.metrics.classification import (
    confusion_counts,
    label_accuracy,
    label_thresholds,
    top_k_hits,
)
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from msqnet.labels import LabelSet

MIN_POSITIVE_CLIPS = 3
MIN_TRAIN_WINDOWS = 5
REFERENCE_BATCH_SIZE = 8
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
class EvaluationRows:
    """Scores and targets of the evaluated windows, and who each row is.

    Attributes:
        labels: the K labels in the order of the columns.
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1 (seen), 0 (known to be absent) and -100 (not annotated).
        path: V names of the videos; rows of one path are windows of one clip.
        group: V names of scenes, subjects or recordings; empty where there is none.
        source: V names of data sets; empty where unknown.
        actor: V kinds of actors; empty where unknown.

    Raises:
        ShapeError: the parts do not fit together.
    """

    labels: LabelSet
    scores: FloatArray
    targets: FloatArray
    path: Sequence[str]
    group: Sequence[str]
    source: Sequence[str]
    actor: Sequence[str]

    def __post_init__(self) -> None:
        shape = (len(self.path), len(self.labels))
        if 0 in shape:
            raise ShapeError(f"EvaluationRows: {shape[0]} rows of {shape[1]} labels; expected some")
        for name in ("scores", "targets"):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ShapeError(f"EvaluationRows.{name}: found {found}, expected {shape}")
        for name in ("group", "source", "actor"):
            if len(getattr(self, name)) != shape[0]:
                raise ShapeError(
                    f"EvaluationRows.{name}: found {len(getattr(self, name))} names, "
                    f"expected {shape[0]}"
                )


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
    facts = _Facts.gather(rows, thresholds, train_positive_windows, train_negative_windows)
    figures = _Figures(facts, _within(rows.source, facts.cells), _within(rows.actor, facts.cells))
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
        **_figures_without_interval(facts),
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
    return EvaluationResult(_plain(metrics), _plain(_label_rows(facts, figures, label_intervals)))


def _plain(value: Any) -> Any:
    """The same with NaN as None and numpy numbers as Python's, so that it is valid JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


def _num_distinct(names: Sequence[str], chosen: BoolArray) -> FloatArray:
    """(K,) number of distinct names among the rows that (V, K) ``chosen`` marks."""
    _, index = np.unique(np.asarray(names), return_inverse=True)
    return np.array([len(np.unique(index[column])) for column in chosen.T], dtype=np.float64)


def _training_counts(counts: ArrayLike | None, num_labels: int, name: str) -> FloatArray:
    if counts is None:
        return np.full(num_labels, np.nan)
    values = np.asarray(counts, dtype=np.float64)
    if values.shape != (num_labels,):
        raise ShapeError(f"{name}: found shape {values.shape}, expected ({num_labels},)")
    return values


@dataclass(frozen=True)
class _Facts:
    """What is known before any figure is computed.

    Attributes:
        rows: as given.
        cells: scores and targets, checked.
        thresholds: (K,).
        train_positives: (K,); NaN where not known.
        train_negatives: (K,); NaN where not known.
        positive_clips: (K,) clips with a known positive.
    """

    rows: EvaluationRows
    cells: KnownCells
    thresholds: FloatArray
    train_positives: FloatArray
    train_negatives: FloatArray
    positive_clips: FloatArray

    @classmethod
    def gather(
        cls,
        rows: EvaluationRows,
        thresholds: ArrayLike,
        train_positives: ArrayLike | None,
        train_negatives: ArrayLike | None,
    ) -> _Facts:
        cells, num = known_cells(rows.scores, rows.targets), len(rows.labels)
        return cls(
            rows=rows,
            cells=cells,
            thresholds=label_thresholds(thresholds, num),
            train_positives=_training_counts(train_positives, num, "train_positive_windows"),
            train_negatives=_training_counts(train_negatives, num, "train_negative_windows"),
            positive_clips=_num_distinct(rows.path, cells.is_positive),
        )

    @property
    def is_trained(self) -> BoolArray:
        """(K,) bool; a label whose training counts are not known counts as trained."""
        return np.asarray(~(self.train_positives <= 0))

    @property
    def trained_cells(self) -> KnownCells:
        """The columns of trained labels only: what is decided about the others means nothing."""
        cells, trained = self.cells, self.is_trained
        return KnownCells(
            cells.scores[:, trained], cells.is_positive[:, trained], cells.is_known[:, trained]
        )

    @property
    def is_headline(self) -> BoolArray:
        """(K,) bool, the labels of macro_map."""
        return self.is_trained & self.cells.is_scorable

    @property
    def is_well_supported(self) -> BoolArray:
        """(K,) bool; all False where training counts are not known."""
        is_supported = self.positive_clips >= MIN_POSITIVE_CLIPS
        return self.is_headline & is_supported & (self.train_positives >= MIN_TRAIN_WINDOWS)


def _within(names: Sequence[str], cells: KnownCells) -> KnownCells:
    """Each label known only in rows of those sources, or actors, that show it at least once.

    Rows without a name are left out.
    """
    values = np.asarray(names)
    is_known = np.zeros_like(cells.is_known)
    for name in np.unique(values[values != ""]):
        of_name = values == name
        shows = np.any(cells.is_positive[of_name], axis=0)  # (K,)
        is_known |= of_name[:, None] & shows & cells.is_known
    return KnownCells(cells.scores, cells.is_positive & is_known, is_known)


def _share(weights: FloatArray, is_hit: BoolArray, counts: BoolArray) -> FloatArray:
    """(R,) weighted share of hits among the rows that count; NaN where none does."""
    total = weights @ counts.astype(np.float64)
    hits = weights @ (is_hit & counts).astype(np.float64)
    return np.asarray(np.where(total > 0, hits / np.where(total > 0, total, 1.0), np.nan))


@dataclass(frozen=True)
class _Figures:
    """All figures that have an interval, as one function of row weights."""

    facts: _Facts
    within_source: KnownCells
    within_actor: KnownCells
    names: tuple[str, ...] = field(
        default=(
            "macro_map",
            "well_supported_macro_map",
            "within_source_macro_map",
            "within_actor_macro_map",
            "micro_ap",
            "weighted_map",
            "macro_f1",
            "micro_f1",
            "subset_accuracy",
            "subset_accuracy_known",
            "top_1_accuracy",
            "top_5_accuracy",
        ),
        init=False,
    )

    def __call__(self, weights: FloatArray) -> FloatArray:
        """(R, V) row weights to (R, M + K): the figures by `names`, then the AP of each label."""
        cells, headline = self.facts.cells, self.facts.is_headline
        ap = label_average_precisions(cells, weights)  # (R, K)
        within = [
            label_average_precisions(part, weights)
            for part in (self.within_source, self.within_actor)
        ]
        columns = [
            mean_over_labels(ap, headline),
            mean_over_labels(ap, self.facts.is_well_supported),
            *(mean_over_labels(values, headline) for values in within),
            self.facts.trained_cells.ranked_together().average_precision(weights),
            self._weighted_map(ap, weights),
            *self._decisions(weights),
        ]
        return np.column_stack([*columns, ap])

    def _weighted_map(self, ap: FloatArray, weights: FloatArray) -> FloatArray:
        counts = self.facts.is_headline & ~np.isnan(ap)
        positives = np.where(counts, weights @ self.facts.cells.is_positive, 0.0)  # (R, K)
        total = positives.sum(axis=1)
        summed = (np.where(counts, ap, 0.0) * positives).sum(axis=1)
        return np.asarray(np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan))

    def _decisions(self, weights: FloatArray) -> list[FloatArray]:
        facts, cells = self.facts, self.facts.cells
        counts = confusion_counts(cells, facts.thresholds, weights)
        trained = facts.trained_cells
        is_right = (trained.scores >= facts.thresholds[facts.is_trained]) == trained.is_positive
        row_is_right = np.all(is_right | ~trained.is_known, axis=1)
        return [
            mean_over_labels(counts.f1_per_label(), facts.is_headline),
            counts.f1_micro(facts.is_trained),
            _share(weights, row_is_right, np.all(trained.is_known, axis=1)),
            _share(weights, row_is_right, np.any(trained.is_known, axis=1)),
            *(_share(weights, *top_k_hits(trained, num_guesses)) for num_guesses in (1, 5)),
        ]


def _figures_without_interval(facts: _Facts) -> dict[str, Any]:
    trained = facts.is_trained
    scores = np.asarray(facts.rows.scores)[:, trained]
    targets = np.asarray(facts.rows.targets)[:, trained]
    accuracy = label_accuracy(scores, targets, 0.5)
    return {
        "reference_micro_ap": reference_micro_ap(scores, targets, REFERENCE_BATCH_SIZE),
        "reference_batch_size": REFERENCE_BATCH_SIZE,
        **_thirds_by_frequency(facts),
        "label_accuracy": accuracy.accuracy,
        "all_negative_label_accuracy": accuracy.all_negative,
        "expected_calibration_error": expected_calibration_error(scores, targets),
    }


def _thirds_by_frequency(facts: _Facts) -> dict[str, float]:
    """Macro mAP of headline labels in thirds by training windows; NaN without those counts."""
    ap = label_average_precisions(facts.cells, np.ones((1, len(facts.rows.path))))[0]
    labels = np.flatnonzero(facts.is_headline & ~np.isnan(facts.train_positives))
    labels = labels[np.argsort(-facts.train_positives[labels], kind="stable")]
    parts = zip(("head", "middle", "tail"), np.array_split(labels, 3), strict=True)
    return {f"{name}_macro_map": macro_map(ap[part]) for name, part in parts}


def _counts(facts: _Facts) -> dict[str, Any]:
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


def _reason_not_scored(facts: _Facts, label: int) -> str | None:
    """Why a label is not in macro_map; None if it is."""
    reasons = (
        (not facts.is_trained[label], "no positive in the model's training data"),
        (not facts.cells.is_known[:, label].any(), "not annotated in any evaluated row"),
        (not facts.cells.is_positive[:, label].any(), "no known positive in the evaluated rows"),
        (not facts.cells.is_negative[:, label].any(), "no known negative in the evaluated rows"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _left_out(
    facts: _Facts, figures: _Figures, labels_not_in_model: Mapping[str, str]
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


def _label_rows(facts: _Facts, figures: _Figures, intervals: FloatArray) -> list[dict[str, Any]]:
    """One row a label; intervals are (2, K)."""
    cells, ones = facts.cells, np.ones((1, len(facts.rows.path)))
    ap = label_average_precisions(cells, ones)[0]
    f1 = confusion_counts(cells, facts.thresholds, ones).f1_per_label()[0]
    within_source = label_average_precisions(figures.within_source, ones)[0]
    within_actor = label_average_precisions(figures.within_actor, ones)[0]
    known_clips = _num_distinct(facts.rows.path, cells.is_known)
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
