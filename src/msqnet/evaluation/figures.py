"""The figures about scores and targets of labelled windows, apart from how they are reported.

Axes: V windows (rows), K labels, R resamples, M figures.
"""

from __future__ import annotations

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
from msqnet.metrics.calibration import expected_calibration_error
from msqnet.metrics.classification import (
    confusion_counts,
    label_accuracy,
    label_thresholds,
    top_k_hits,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from msqnet.evaluation.rows import EvaluationRows

MIN_POSITIVE_CLIPS = 3
MIN_TRAIN_WINDOWS = 5
REFERENCE_BATCH_SIZE = 8


def num_distinct(names: Sequence[str], chosen: BoolArray) -> FloatArray:
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
class Facts:
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
    ) -> Facts:
        """Check everything against each other.

        Args:
            rows: scores, targets and who each row is.
            thresholds: one number or (K,).
            train_positives: (K,) positive training windows; None if not known.
            train_negatives: (K,) negative ones.

        Raises:
            ShapeError: parts that do not fit together, or a target that is not 1, 0 or -100.
        """
        cells, num = known_cells(rows.scores, rows.targets), len(rows.labels)
        return cls(
            rows=rows,
            cells=cells,
            thresholds=label_thresholds(thresholds, num),
            train_positives=_training_counts(train_positives, num, "train_positive_windows"),
            train_negatives=_training_counts(train_negatives, num, "train_negative_windows"),
            positive_clips=num_distinct(rows.path, cells.is_positive),
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
class Figures:
    """All figures that have an interval, as one function of row weights.

    Attributes:
        facts: about the rows.
        within_source: each label known only in rows of those sources that show it.
        within_actor: the same by actors.
        names: of the M figures.
    """

    facts: Facts
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

    @classmethod
    def of(cls, facts: Facts) -> Figures:
        """The figures of these facts."""
        rows, cells = facts.rows, facts.cells
        return cls(facts, _within(rows.source, cells), _within(rows.actor, cells))

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


def figures_without_interval(facts: Facts) -> dict[str, Any]:
    """Figures by name that are given as one number; NaN where they are not defined."""
    trained = facts.is_trained
    scores = np.asarray(facts.rows.scores)[:, trained]
    targets = np.asarray(facts.rows.targets)[:, trained]
    accuracy = label_accuracy(scores, targets, 0.5)
    return {
        "reference_micro_ap": reference_micro_ap(scores, targets, REFERENCE_BATCH_SIZE),
        "reference_batch_size": REFERENCE_BATCH_SIZE,
        **thirds_by_frequency(facts),
        "label_accuracy": accuracy.accuracy,
        "all_negative_label_accuracy": accuracy.all_negative,
        "expected_calibration_error": expected_calibration_error(scores, targets),
    }


def thirds_by_frequency(facts: Facts) -> dict[str, float]:
    """Macro mAP of headline labels in thirds by training windows; NaN without those counts."""
    ap = label_average_precisions(facts.cells, np.ones((1, len(facts.rows.path))))[0]
    labels = np.flatnonzero(facts.is_headline & ~np.isnan(facts.train_positives))
    labels = labels[np.argsort(-facts.train_positives[labels], kind="stable")]
    parts = zip(("head", "middle", "tail"), np.array_split(labels, 3), strict=True)
    return {f"{name}_macro_map": macro_map(ap[part]) for name, part in parts}
