"""Which windows to label next: those whose labels a model is unsure of, and that differ.

All windows, those that are labelled already too, are put into as many groups of like ones as there
will be labelled windows. Of each group in which none is labelled, the window is taken whose labels
the model is least sure of; large groups come first. So two windows that look alike are not both
asked about, and what is rare is not asked about before what is common, as it would be if windows
had to be as far from each other as can be.

Axes: N windows, M labelled ones, K labels, D width of the embedding, C groups.
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
_SAME = 1e-9
_NUM_AXES = 48
_NUM_STEPS = 50


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
    seed: int = 0,
) -> list[int]:
    """Choose windows that are uncertain and unlike each other.

    Args:
        uncertainty: (N,) float, at least 0.
        embeddings: (N, D) float; compared by direction, after the mean was taken off.
        num: how many to choose at most.
        known: (M, D) float, windows that were labelled before: what is like them is not chosen
            before what is not.
        seed: of where groups start.

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
    units = _directions(np.concatenate([values, others]))
    group = _groups_of_like(units, num + len(others), seed)
    own, taken = group[: len(values)], set(group[len(values) :].tolist())
    sizes = np.bincount(own)
    best: list[int] = []
    for place in np.argsort(-sizes, kind="stable").tolist():
        members = np.flatnonzero(own == place)
        if members.size and place not in taken:
            best.append(int(members[np.argmax(uncertainty[members])]))
    # Groups can be fewer than was asked for, where windows are the same: then by uncertainty alone.
    rest = np.argsort(-uncertainty, kind="stable").tolist()
    return list(dict.fromkeys([*best, *rest]))[:num]


def _directions(values: Float64Array) -> Float64Array:
    """Rows less their mean, along the main axes, scaled to length 1."""
    centred = values - values.mean(axis=0)
    if centred.shape[1] > _NUM_AXES:
        axes = np.linalg.svd(centred, full_matrices=False)[2][:_NUM_AXES]
        centred = centred @ axes.T
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(lengths > 0, lengths, 1.0))


def _groups_of_like(units: Float64Array, num: int, seed: int) -> NDArray[np.int64]:
    """(N + M,) the group of each row: k-means, started as by Arthur and Vassilvitskii (2007)."""
    rng = np.random.default_rng(seed)
    centres = units[rng.integers(len(units))][None]
    squares = _squared_distances(units, centres)[:, 0]
    while len(centres) < num and squares.sum() > _SMALLEST_SHARE:
        centre = units[rng.choice(len(units), p=squares / squares.sum())][None]
        centres = np.concatenate([centres, centre])
        squares = np.minimum(squares, _squared_distances(units, centre)[:, 0])
    group = np.zeros(len(units), dtype=np.int64)
    for _ in range(_NUM_STEPS):
        moved = _squared_distances(units, centres).argmin(axis=1)
        if np.array_equal(moved, group):
            break
        group = moved
        for place in np.unique(group):
            centres[place] = units[group == place].mean(axis=0)
    return group


def _squared_distances(units: Float64Array, centres: Float64Array) -> Float64Array:
    """(N, C); tiny differences, which rounding may make negative, are 0."""
    found = (units**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * units @ centres.T
    return np.asarray(np.where(found < _SAME, 0.0, found))
