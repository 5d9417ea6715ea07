"""One temperature for all labels of a softmax, fitted on rows with exactly one label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import FloatArray, known_cells

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_MIN_FACTOR = 1e-3
_NUM_STEPS = 50
_SMALL_STEP = 1e-9


def softmax(logits: FloatArray) -> FloatArray:
    """exp(z_k) / sum_j exp(z_j) over the last axis; logits of -inf get 0."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_softmax_temperature(
    logits: ArrayLike, targets: ArrayLike, *, strength: float = 2.0
) -> float:
    """The factor of the logits under which rows are as likely as can be (Guo et al. 2017).

    Minimises -sum log softmax(t z)_y + s/2 (t - 1)^2 by Newton's method under t > 0. Labels that
    are not known in a row do not compete there.

    Args:
        logits: (V, K) float, finite, of rows that the model was not fitted on.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        strength: s, how strongly the factor is held at 1.

    Returns:
        1 where no row has exactly one label and a known other one.

    Raises:
        ShapeError: arrays that do not fit together, or a strength that is not above 0.
    """
    if strength <= 0:
        raise ShapeError(f"strength {strength}: expected more than 0")
    cells = known_cells(logits, targets)
    counts = (cells.is_positive.sum(axis=1) == 1) & cells.is_negative.any(axis=1)
    if not counts.any():
        return 1.0
    known, is_own = cells.is_known[counts], cells.is_positive[counts]
    values = np.where(known, cells.scores[counts], 0.0)  # (n, K)
    factor = 1.0
    for _ in range(_NUM_STEPS):
        shares = softmax(np.where(known, factor * values, -np.inf))
        mean = (shares * values).sum(axis=1)
        gradient = float((mean - values[is_own]).sum()) + strength * (factor - 1)
        curvature = float((shares * values**2).sum(axis=1).sum() - (mean**2).sum()) + strength
        # A factor that is halved at most never crosses 0.
        moved = max(factor - gradient / curvature, factor / 2, _MIN_FACTOR)
        step, factor = abs(moved - factor), moved
        if step < _SMALL_STEP:
            break
    return factor
