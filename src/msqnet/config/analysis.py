"""Settings of calibration and of maps of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msqnet.errors import check_numbers

CalibrationMethod = Literal["platt", "temperature"]
ThresholdRule = Literal["f1", "precision"]

# As in training: without a bound, the best F1 of a label that cannot be told flags everything.
_MIN_PRECISION: dict[ThresholdRule, float] = {"f1": 0.5, "precision": 0.9}


@dataclass(frozen=True)
class CalibrationConfig:
    """How scores and thresholds are fitted.

    Attributes:
        method: `platt` fits a scale and a bias for each label, `temperature` a scale alone; by
            default `platt`, and `temperature` for models with exactly one label at a time.
        thresholds: `f1` takes each label's threshold of the highest F1, `precision` the lowest one
            that is precise enough.
        min_precision: Precision that a threshold must reach on these rows, from 0 to 1; by default
            0.5 for `f1` and 0.9 for `precision`.
        min_windows: A label with fewer known positive or negative windows, or with positive ones of
            one group only, is not changed and is listed.
        num_folds: Parts of the rows, by groups, for the metrics on rows that were not fitted on.
        num_bins: Bins of the calibration error.
        num_bootstrap: Resamples of groups for the 95 % intervals.
        seed: Seed of parts and resamples.
    """

    method: CalibrationMethod | None = None
    thresholds: ThresholdRule = "f1"
    min_precision: float | None = None
    min_windows: int = 5
    num_folds: int = 5
    num_bins: int = 10
    num_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(
            *(self, (), ["min_precision"]), min_windows=1, num_folds=2, num_bins=1, num_bootstrap=1
        )

    @property
    def wanted_precision(self) -> float:
        """Lowest precision of a threshold on the rows."""
        chosen = self.min_precision
        return _MIN_PRECISION[self.thresholds] if chosen is None else chosen


@dataclass(frozen=True)
class EmbeddingMapConfig:
    """How a map of embeddings is made and measured.

    Attributes:
        perplexity: Number of neighbours that t-SNE keeps close to each row, roughly; by default 30,
            or a third of the other rows if that is less.
        num_neighbours: Nearest rows of other groups that vote on the labels of a row.
        num_resamples: Resamples of whole groups for the 95 % intervals; 0 for none.
        seed: Seed of the map and of the resamples; it repeats the map on the same machine.
    """

    perplexity: float | None = None
    num_neighbours: int = 5
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, ["perplexity"], num_neighbours=1, num_resamples=0, seed=0)
