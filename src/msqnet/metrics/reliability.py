"""Whether scores mean what they say: shares of positives by score, with their uncertainty.

Every metric is over the rows where the label is known. Bins are equally wide; each holds its lower
bound, the last one also 1. Axes: V windows (rows), K labels, R resamples, N bins. Scores are
(V, K) float in [0, 1], targets (V, K) of 1, 0 and `UNKNOWN`, `select` (K,) bool marks the labels
that count. `ShapeError` where they do not fit together, for a score outside [0, 1], and for no bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import FloatArray, known_cells
from msqnet.metrics.scaling import check_range

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from msqnet.metrics.average_precision import BoolArray, IndexArray
    from msqnet.metrics.bootstrap import Statistic

NUM_BINS = 10
_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityBins:
    """What scores of about the same height turned out to be; all but `edges` are (N,) float64.

    Attributes:
        edges: (N + 1,) from 0 to 1; a bin holds its lower edge, the last one also 1.
        count: known cells in the bin.
        mean_score: NaN where there are none.
        positive_share: of these cells; NaN where there are none.
        low: lower bound of Wilson's 95 % interval of that share, as if cells were independent.
        high: its upper bound.
    """

    edges: FloatArray
    count: FloatArray
    mean_score: FloatArray
    positive_share: FloatArray
    low: FloatArray
    high: FloatArray


def _binned(
    scores: ArrayLike, targets: ArrayLike, num_bins: int, select: BoolArray | None = None
) -> tuple[IndexArray, IndexArray, FloatArray, FloatArray]:
    """Row, bin, 1 or 0 for positive or not, and score of each known cell, (n,) each."""
    if num_bins < 1:
        raise ShapeError(f"num_bins: found {num_bins}, expected at least 1")
    cells = known_cells(scores, targets)
    check_range(cells.scores)
    is_chosen = cells.is_known if select is None else cells.is_known & select
    known = cells.scores[is_chosen]
    bins = np.minimum((known * num_bins).astype(np.intp), num_bins - 1)
    positive = cells.is_positive[is_chosen].astype(np.float64)
    return np.nonzero(is_chosen)[0], bins, positive, known


def expected_calibration_error(
    scores: ArrayLike, targets: ArrayLike, *, num_bins: int = NUM_BINS
) -> float:
    """How far scores are from the share of positives among rows scored alike.

    ECE = sum_b n_b / n |mean score_b - share of positives_b| over equally wide bins of the score
    (Naeini et al. 2015; Guo et al. 2017), over the known cells of all labels together.

    Returns:
        0 for perfect calibration, at most 1; NaN where nothing is known.
    """
    _, bins, is_positive, known = _binned(scores, targets, num_bins)
    if not known.size:
        return float("nan")
    summed = np.bincount(bins, weights=known - is_positive, minlength=num_bins)
    return float(np.abs(summed).sum() / known.size)


def reliability_bins(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    select: BoolArray | None = None,
) -> ReliabilityBins:
    """Known cells by score; without `select` all labels count."""
    _, bin_of_cell, is_positive, known = _binned(scores, targets, num_bins, select)
    count = np.bincount(bin_of_cell, minlength=num_bins).astype(np.float64)
    num_positive = np.bincount(bin_of_cell, weights=is_positive, minlength=num_bins)
    summed = np.bincount(bin_of_cell, weights=known, minlength=num_bins)
    some = np.where(count > 0, count, np.nan)
    low, high = wilson_interval(num_positive, count)
    edges = np.linspace(0, 1, num_bins + 1)
    return ReliabilityBins(edges, count, summed / some, num_positive / some, low, high)


def wilson_interval(num_hits: ArrayLike, num: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Wilson's 95 % interval of a share (Wilson 1927), for hits from 0 to ``num``.

    Returns:
        Lower and upper bounds in [0, 1]; NaN where ``num`` is 0.
    """
    hits, total = np.asarray(num_hits, dtype=np.float64), np.asarray(num, dtype=np.float64)
    total = np.where(total > 0, total, np.nan)
    share, z2 = hits / total, _Z_95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    spread = share * (1 - share) / total + z2 / (4 * total**2)
    half = _Z_95 * np.sqrt(spread) / (1 + z2 / total)
    return np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)


def label_calibration_errors(
    scores: ArrayLike, targets: ArrayLike, *, num_bins: int = NUM_BINS
) -> FloatArray:
    """Expected calibration error of each label by itself.

    Returns:
        (K,) float64; NaN where no positive or no negative is known: such a score can only be low,
        or only high, and says nothing of the ones between.
    """
    cells = known_cells(scores, targets)
    columns = zip(cells.scores.T, np.asarray(targets).T, strict=True)
    errors = [
        expected_calibration_error(score[:, None], target[:, None], num_bins=num_bins)
        for score, target in columns
    ]
    return np.where(cells.is_scorable, errors, np.nan)


def calibration_error_statistic(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    select: BoolArray,
    num_bins: int = NUM_BINS,
) -> Statistic:
    """Expected calibration error and Brier score as functions of row weights.

    Returns:
        From (R, V) weights to (R, 2); the Brier score is the mean squared distance of scores from
        1 or 0. NaN where nothing is known.

    Raises:
        ShapeError: no label is selected, or see above.
    """
    if not select.any():
        raise ShapeError("select: found no label, expected at least one")
    row_of_cell, bin_of_cell, is_positive, known = _binned(scores, targets, num_bins, select)
    num_rows = len(np.asarray(scores))
    gaps, squares, counts = np.zeros((num_rows, num_bins)), np.zeros(num_rows), np.zeros(num_rows)
    np.add.at(gaps, (row_of_cell, bin_of_cell), known - is_positive)
    np.add.at(squares, row_of_cell, (known - is_positive) ** 2)
    np.add.at(counts, row_of_cell, 1.0)

    def statistic(weights: FloatArray) -> FloatArray:
        total = weights @ counts  # (R,)
        some = np.where(total > 0, total, np.nan)
        error = np.abs(weights @ gaps).sum(axis=1) / some
        return np.stack([error, weights @ squares / some], axis=1)

    return statistic
