"""Bootstrap over clips: how far a metric would move with other clips of the same kind.

Windows of one clip are alike, so whole clips (or any other groups) are drawn with replacement. A
resample is a (V,) vector of whole-number row weights; no rows are copied.

Axes: V windows, K labels, R resamples, M metrics, G clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import FloatArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

NUM_RESAMPLES = 1000
_TAILS = ((1 - 0.95) / 2, (1 + 0.95) / 2)

Statistic = Callable[[FloatArray], FloatArray]
"""Metrics of an evaluation set from row weights: (R, V) float64 to (R, M) float64."""

# Bounds the memory of the weights: 4 million float64 are 32 MB.
_NUM_WEIGHTS_AT_ONCE = 4_000_000


def resampled_weights(
    groups: Sequence[str] | ArrayLike, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[FloatArray]:
    """Row weights of resamples in which whole groups are drawn with replacement.

    ``groups``, (V,), are the clip of each row, as text or number. As many groups are drawn as there
    are; the order of rows changes nothing. Without a row or a resample it is a `ShapeError`. Each
    item is (r, V) float64 of whole numbers; the r sum to R = ``num_resamples``.
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


def percentile_interval(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bounds of the middle 95 % of (R, M) samples: two (M,) float64 arrays.

    NaN (undefined in that resample) is left out; NaN where no sample is defined.
    """
    bounds = np.full((2, samples.shape[1]), np.nan)
    for index, column in enumerate(samples.T):
        defined = column[~np.isnan(column)]
        if defined.size:
            bounds[:, index] = np.quantile(defined, _TAILS)
    return bounds[0], bounds[1]


def bootstrap(
    statistic: Statistic,
    groups: Sequence[str] | ArrayLike,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Metrics over all rows, with percentile intervals over resampled clips.

    Estimate over all rows, lower and upper bound of its 95 % interval; each (M,) float64, NaN where
    it is not defined. Arguments are those of `resampled_weights`; 0 resamples give no intervals.
    """
    estimate = statistic(np.ones((1, len(np.asarray(groups)))))[0]
    if not num_resamples:
        return estimate, np.full(len(estimate), np.nan), np.full(len(estimate), np.nan)
    drawn = resampled_weights(groups, num_resamples=num_resamples, seed=seed)
    samples = np.concatenate([statistic(weights) for weights in drawn])  # (R, M)
    return estimate, *percentile_interval(samples)
