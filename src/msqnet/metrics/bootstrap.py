"""Bootstrap over clips: how far a figure would move with other clips of the same kind.

Windows of one clip are alike, so whole clips (or any other groups) are drawn with replacement. A
resample is a (V,) vector of whole-number row weights; no rows are copied.

Axes: V windows, K labels, R resamples, M figures, G clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    FloatArray,
    known_cells,
    label_average_precisions,
    label_mask,
    mean_over_labels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95

Statistic = Callable[[FloatArray], FloatArray]
"""Figures of an evaluation set from row weights: (R, V) float64 to (R,) or (R, M) float64."""

StatisticMaker = Callable[["ArrayLike", "ArrayLike", "ArrayLike | None"], Statistic]
"""A `Statistic` from scores (V, K), targets (V, K) and a selection of labels (K,)."""

# Bounds the memory of the weights: 4 million float64 are 32 MB.
_NUM_WEIGHTS_AT_ONCE = 4_000_000


def resampled_weights(
    groups: Sequence[str] | ArrayLike, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[FloatArray]:
    """Row weights of resamples in which whole groups are drawn with replacement.

    As many groups are drawn as there are. Neither the order of rows nor the size of the parts in
    which resamples are yielded changes what is drawn.

    Args:
        groups: (V,) the clip of each row, as text or number.
        num_resamples: how many, R.
        seed: the same seed draws the same groups.

    Yields:
        (r, V) float64 whole numbers; the r sum to R.

    Raises:
        ShapeError: there is no row, or no resample is asked for.
    """
    names, group_of_row = np.unique(np.asarray(groups), return_inverse=True)
    if group_of_row.ndim != 1 or len(names) == 0 or num_resamples < 1:
        raise ShapeError(
            f"groups {np.shape(groups)}, num_resamples {num_resamples}: "
            "expected (V,) with at least 1 row, and at least 1 resample"
        )
    generator = np.random.default_rng(seed)
    shares = np.full(len(names), 1 / len(names))
    at_once = max(1, _NUM_WEIGHTS_AT_ONCE // len(group_of_row))
    for start in range(0, num_resamples, at_once):
        num = min(at_once, num_resamples - start)
        drawn = generator.multinomial(len(names), shares, size=num)  # (r, G)
        yield drawn[:, group_of_row].astype(np.float64)  # (r, V)


def _two_dimensional(values: FloatArray) -> FloatArray:
    return values[:, None] if values.ndim == 1 else values


def percentile_interval(
    samples: FloatArray, confidence: float = CONFIDENCE
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bound that hold the middle share of the samples.

    Args:
        samples: (R, M) float64; NaN (undefined in that resample) is left out.
        confidence: share of samples between the bounds.

    Returns:
        Two (M,) float64 arrays; NaN where no sample is defined.
    """
    bounds = np.full((2, samples.shape[1]), np.nan)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    for index, column in enumerate(samples.T):
        defined = column[~np.isnan(column)]
        if defined.size:
            bounds[:, index] = np.quantile(defined, tails)
    return bounds[0], bounds[1]


@dataclass(frozen=True)
class BootstrapResult:
    """Figures with their intervals.

    Attributes:
        estimate: (M,) float64, over all rows once.
        low: (M,) float64, lower bound of the interval.
        high: (M,) float64, upper bound.
        num_defined: (M,) int, resamples in which the figure could be computed.
        samples: (R, M) float64, NaN where it could not.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    num_defined: np.ndarray[tuple[int], np.dtype[np.intp]]
    samples: FloatArray


def bootstrap(
    statistic: Statistic,
    groups: Sequence[str] | ArrayLike,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> BootstrapResult:
    """Percentile intervals of any figures over resampled clips.

    Args:
        statistic: from row weights to figures.
        groups: (V,) the clip of each row.
        num_resamples: how many.
        seed: the same seed gives the same intervals.
        confidence: share of resamples between the bounds.

    Raises:
        ShapeError: there is no row, or no resample is asked for.
    """
    parts = [
        _two_dimensional(statistic(weights))
        for weights in resampled_weights(groups, num_resamples=num_resamples, seed=seed)
    ]
    samples = np.concatenate(parts)  # (R, M)
    low, high = percentile_interval(samples, confidence)
    estimate = _two_dimensional(statistic(np.ones((1, len(np.asarray(groups))))))[0]
    return BootstrapResult(estimate, low, high, (~np.isnan(samples)).sum(axis=0), samples)


def macro_map_statistic(
    scores: ArrayLike, targets: ArrayLike, select: ArrayLike | None = None
) -> Statistic:
    """Macro mAP as a function of row weights.

    In a resample that drew no positive, or no negative, of a label, that label is left out.
    """
    cells = known_cells(scores, targets)
    mask = label_mask(select, cells.scores.shape[1])

    def statistic(weights: FloatArray) -> FloatArray:
        return mean_over_labels(label_average_precisions(cells, weights), mask)

    return statistic


def micro_ap_statistic(
    scores: ArrayLike, targets: ArrayLike, select: ArrayLike | None = None
) -> Statistic:
    """Micro average precision of the selected labels as a function of row weights."""
    cells = known_cells(scores, targets)
    mask = label_mask(select, cells.scores.shape[1])
    chosen = known_cells(cells.scores[:, mask], np.asarray(targets)[:, mask])
    return chosen.ranked_together().average_precision


@dataclass(frozen=True)
class PairedDifference:
    """How much better A is than B on the same resampled clips.

    Attributes:
        figure_a: A's figure over all rows.
        figure_b: B's figure over all rows.
        difference: A's figure minus B's over all rows.
        mean_difference: mean over resamples.
        low: lower bound of the 95 % interval of the difference.
        high: upper bound.
        share_not_better: share of resamples in which A is at most as good as B.
        num_defined: resamples in which both figures could be computed.
    """

    figure_a: float
    figure_b: float
    difference: float
    mean_difference: float
    low: float
    high: float
    share_not_better: float
    num_defined: int


def paired_bootstrap(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    targets: ArrayLike,
    groups: Sequence[str] | ArrayLike,
    *,
    select: ArrayLike | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    make_statistic: StatisticMaker = macro_map_statistic,
) -> PairedDifference:
    """Compare two scorers on the same rows, resampling clips for both alike.

    Args:
        scores_a: (V, K) float.
        scores_b: (V, K) float, same rows and columns.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        groups: (V,) the clip of each row.
        select: (K,) bool, the labels that count; by default all.
        num_resamples: how many.
        seed: the same seed gives the same answer.
        make_statistic: what is compared, by default macro mAP.

    Raises:
        ShapeError: arrays that do not fit together; see `known_cells`.
    """
    statistics = [make_statistic(scores, targets, select) for scores in (scores_a, scores_b)]

    def both(weights: FloatArray) -> FloatArray:
        return np.stack([statistic(weights) for statistic in statistics], axis=1)  # (R, 2)

    result = bootstrap(both, groups, num_resamples=num_resamples, seed=seed)
    differences = result.samples[:, 0] - result.samples[:, 1]  # (R,)
    defined = differences[~np.isnan(differences)]
    low, high = percentile_interval(differences[:, None])
    figure_a, figure_b = (float(value) for value in result.estimate)
    return PairedDifference(
        figure_a=figure_a,
        figure_b=figure_b,
        difference=figure_a - figure_b,
        mean_difference=float(defined.mean()) if defined.size else float("nan"),
        low=float(low[0]),
        high=float(high[0]),
        share_not_better=float((defined <= 0).mean()) if defined.size else float("nan"),
        num_defined=int(defined.size),
    )
