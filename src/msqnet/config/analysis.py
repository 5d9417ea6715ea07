"""How models are calibrated on other rows, and how their embeddings are mapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msqnet.errors import check

CalibrationMethod = Literal["platt", "temperature"]
ThresholdRule = Literal["f1", "precision"]

# As in training: without a bound, the best F1 of a label that cannot be told flags everything.
_MIN_PRECISION: dict[ThresholdRule, float] = {"f1": 0.3, "precision": 0.9}
_MIN_FOLDS = 2


@dataclass(frozen=True)
class CalibrationConfig:
    """How scores and thresholds are fitted.

    Attributes:
        method: `platt` fits a scale and a bias for each label, `temperature` a scale alone; None
            for what fits the model.
        thresholds: `f1` takes the threshold of the highest F1, `precision` the lowest one that is
            precise enough.
        min_precision: How precise a threshold has to be on the rows; None for what fits the rule.
        min_windows: A label with fewer known positive or fewer known negative windows keeps what
            it had.
        num_folds: Parts of the rows for the figures of rows that were not fitted on.
        num_bins: Of the calibration error.
        num_bootstrap: Resamples of groups for the intervals.
        seed: Of folds and resamples.
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
        share = self.min_precision
        check(share is None or 0 <= share <= 1, f"min_precision {share}: expected 0 to 1")
        check(self.min_windows >= 1, f"min_windows {self.min_windows}: expected at least 1")
        check(self.num_folds >= _MIN_FOLDS, f"num_folds {self.num_folds}: expected at least 2")
        check(self.num_bins >= 1, f"num_bins {self.num_bins}: expected at least 1")
        check(self.num_bootstrap >= 1, f"num_bootstrap {self.num_bootstrap}: expected at least 1")

    @property
    def wanted_precision(self) -> float:
        """The least precision of a threshold on the rows."""
        chosen = self.min_precision
        return _MIN_PRECISION[self.thresholds] if chosen is None else chosen


@dataclass(frozen=True)
class EmbeddingMapConfig:
    """How a map of embeddings is made and measured.

    Attributes:
        perplexity: About how many neighbours t-SNE keeps close to each row; by default 30, or a
            third of the other rows where that is less.
        num_neighbours: Nearest rows of other groups that vote on the labels of a row.
        num_resamples: Resamples of whole groups for the 95 % intervals; 0 for none.
        seed: Of the map and of the resamples; the same seed gives the same map on one machine.
    """

    perplexity: float | None = None
    num_neighbours: int = 5
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check(
            self.perplexity is None or self.perplexity > 0,
            f"perplexity {self.perplexity}: expected more than 0",
        )
        check(
            self.num_neighbours >= 1, f"num_neighbours {self.num_neighbours}: expected at least 1"
        )
        check(self.num_resamples >= 0, f"num_resamples {self.num_resamples}: expected 0 for none")
        check(self.seed >= 0, f"seed {self.seed}: expected 0 or more")
