"""Which windows to label next: those whose labels a model is unsure of, and that differ.

Windows are chosen one after the other. Each time the one with the highest product of uncertainty
and distance is taken, where the distance is that to the nearest window chosen before, so that two
windows that look alike are not both asked about.

Axes: N windows, K labels, D width of the embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from msqnet.predictions import FloatArray

Float64Array = NDArray[np.float64]

_SMALLEST_SHARE = 1e-12


def label_uncertainty(scores: FloatArray, *, single_label: bool = False) -> Float64Array:
    """How unsure a model is of windows.

    The entropy of the scores in bits: of the label that holds, where exactly one does; else the
    mean over the labels of the entropy of present or not.

    Args:
        scores: (N, K) float in [0, 1].
        single_label: whether scores are a softmax.

    Returns:
        (N,) float64, at least 0.

    Raises:
        ShapeError: not (N, K), or a score outside of [0, 1].
    """
    shares = np.asarray(scores, dtype=np.float64)
    if shares.ndim != 2 or not bool(((shares >= 0) & (shares <= 1)).all()):
        raise ShapeError(f"scores: found {shares.shape}, expected (N, K), all within 0 to 1")
    if single_label:
        return np.asarray(_bits(shares).sum(axis=1))
    return np.asarray((_bits(shares) + _bits(1 - shares)).mean(axis=1))


def _bits(shares: Float64Array) -> Float64Array:
    return np.asarray(-shares * np.log2(np.maximum(shares, _SMALLEST_SHARE)))


def choose(
    uncertainty: Float64Array,
    embeddings: FloatArray,
    num: int,
    *,
    known: FloatArray | None = None,
) -> list[int]:
    """Choose windows that are uncertain and unlike each other.

    Args:
        uncertainty: (N,) float, at least 0.
        embeddings: (N, D) float; compared by cosine, after the mean was taken off.
        num: how many to choose at most.
        known: (M, D) float, windows that were labelled before: the chosen ones differ from these
            too.

    Returns:
        Places of the chosen windows, the most instructive first; all N where they are no more.

    Raises:
        ShapeError: arrays that do not fit together, or a number below 1.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or uncertainty.shape != values.shape[:1] or num < 1:
        raise ShapeError(
            f"uncertainty {uncertainty.shape}, embeddings {values.shape}, num {num}: expected "
            "(N,), (N, D) and at least 1"
        )
    others = np.zeros((0, values.shape[1])) if known is None else np.asarray(known, np.float64)
    centre = np.concatenate([values, others]).mean(axis=0)
    units, known_units = _units(values - centre), _units(others - centre)
    # Cosine distances are at most 2: without anything known, uncertainty alone chooses the first.
    distance = np.full(len(units), 2.0)
    if len(known_units):
        distance = 1 - (units @ known_units.T).max(axis=1)
    is_free = np.full(len(units), True)
    chosen: list[int] = []
    for _ in range(min(num, len(units))):
        # A window that equals a chosen one has a product of 0, and still comes before taken ones.
        place = int(np.argmax(np.where(is_free, uncertainty * np.maximum(distance, 0), -1.0)))
        chosen.append(place)
        is_free[place] = False
        distance = np.minimum(distance, 1 - units @ units[place])
    return chosen


def _units(values: Float64Array) -> Float64Array:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0))
