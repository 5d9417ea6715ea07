"""Figures that only some protocols have. Axes: V rows, K labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.metrics.average_precision import (
    BoolArray,
    FloatArray,
    average_precision,
    known_cells,
    macro_map,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BELOW_ALL = -1.0


def hit_at_1(scores: FloatArray, targets: FloatArray) -> float:
    """Share of rows with a label whose highest score is that of one of their labels.

    Args:
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`; only known labels compete.

    Returns:
        NaN where no row has both a positive and a known negative. Of equal scores a negative one
        is taken, so that constant scores earn nothing.
    """
    cells = known_cells(scores, targets)
    counts = cells.is_positive.any(axis=1) & cells.is_negative.any(axis=1)
    if not counts.any():
        return float("nan")
    best = _row_maximum(cells.scores, cells.is_positive) > _row_maximum(
        cells.scores, cells.is_negative
    )
    return float(best[counts].mean())


def _row_maximum(scores: FloatArray, chosen: BoolArray) -> FloatArray:
    return np.asarray(np.where(chosen, scores, -np.inf).max(axis=1))


def charades_classify_map(scores: FloatArray, targets: FloatArray) -> float:
    """Macro mAP as `Charades_v1_classify.m` computes it.

    That script loses the names of videos without an action and so ranks them below all others.

    Args:
        scores: (V, K) float in [0, 1], a row a video.
        targets: (V, K) of 1 and 0; what is unknown counts as 0, as the script knows no such thing.
    """
    positive = np.asarray(targets) == 1
    lowered = np.where(positive.any(axis=1, keepdims=True), scores, _BELOW_ALL)
    return macro_map(average_precision(lowered, positive))


def charades_localize_map(scores: FloatArray, targets: FloatArray) -> float:
    """Per-frame mAP as `Charades_v1_localize.m` computes it.

    Points of videos without an action count as negatives like any other there.

    Args:
        scores: (V, K) float, a row a point.
        targets: (V, K) of 1 and 0; what is unknown counts as 0, as the script knows no such thing.
    """
    return macro_map(average_precision(scores, np.asarray(targets) == 1))


@dataclass(frozen=True)
class ProtocolFigure:
    """A figure that is given only where a protocol names it.

    Attributes:
        definition: what it means, for `metrics.json`.
        compute: from scores and targets, both (V, K), to the figure.
    """

    definition: str
    compute: Callable[[FloatArray, FloatArray], float]


PROTOCOL_FIGURES: dict[str, ProtocolFigure] = {
    "hit_at_1": ProtocolFigure(
        "Share of rows with a label whose highest score is that of one of their labels.", hit_at_1
    ),
    "charades_classify_map": ProtocolFigure(
        "Mean average precision over the model's labels that the rows show, as "
        "Charades_v1_classify.m computes it: videos without an action rank below all others.",
        charades_classify_map,
    ),
    "charades_localize_map": ProtocolFigure(
        "Mean average precision over points and the model's labels that they show, as "
        "Charades_v1_localize.m computes it: actions at impossible times count as absent.",
        charades_localize_map,
    ),
}
"""By the key in `metrics.json`."""


def protocol_figures(
    names: tuple[str, ...], scores: FloatArray, targets: FloatArray
) -> dict[str, float]:
    """Those of the named figures that are particular to protocols.

    Args:
        names: keys of `metrics.json`; others are passed over.
        scores: (V, K) float.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
    """
    return {
        name: PROTOCOL_FIGURES[name].compute(scores, targets)
        for name in names
        if name in PROTOCOL_FIGURES
    }
