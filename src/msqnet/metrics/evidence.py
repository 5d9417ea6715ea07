"""Which labels a model was shown to recognise: what held-out rows say of each.

A label is `reliable` where it ranks held-out rows better than chance, even in an unlucky draw of
groups, and where its calibrated scores follow the video. It is `weak` where that failed, and
`untested` where no held-out row could tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.metrics.average_precision import known_cells, label_average_precisions
from msqnet.metrics.bootstrap import bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from msqnet.metrics.average_precision import FloatArray, KnownCells

Status = Literal["reliable", "weak", "untested"]

MIN_GROUPS = 2
MIN_SPREAD = 0.05
"""Calibrated scores whose middle 95 % lie closer together do not depend on the video."""


@dataclass(frozen=True)
class LabelEvidence:
    """What held-out rows showed of one label.

    Attributes:
        num_groups: scenes, subjects or recordings that show the label in held-out rows.
        ap: average precision, in [0, 1]; None where it is not defined, as are the next two.
        ap_low: lower end of its 95 % bootstrap interval over groups.
        chance: average precision of scores that know nothing: the share of positives.
        reason: a sentence for readers; empty where reliable.
    """

    status: Status
    num_groups: int = 0
    ap: float | None = None
    ap_low: float | None = None
    chance: float | None = None
    reason: str = ""


def label_evidence(
    scores: ArrayLike, targets: ArrayLike, groups: Sequence[str]
) -> tuple[LabelEvidence, ...]:
    """What held-out rows show of each label.

    Args:
        scores: (V, K) float, calibrated, in [0, 1], by models that did not see the row's group.
        targets: (V, K) of 1, 0 and `UNKNOWN`.
        groups: V names; resamples draw whole groups.

    Raises:
        ShapeError: see `known_cells`.
    """
    cells = known_cells(scores, targets)
    num_labels = cells.scores.shape[1]

    def metrics(weights: FloatArray) -> FloatArray:
        ap = label_average_precisions(cells, weights)  # (R, K)
        return np.concatenate([ap, ap - _chance(cells, weights)], axis=1)

    estimate, low, _ = bootstrap(metrics, groups)
    names = np.asarray(groups)
    found = []
    for label in range(num_labels):
        num_groups = len(set(names[cells.is_positive[:, label]].tolist()))
        if not cells.is_scorable[label]:
            reason = f"held-out rows of {num_groups} groups show it, and none lacks it"
            if not num_groups:
                reason = "no held-out row shows it"
            found.append(LabelEvidence("untested", num_groups, reason=reason))
            continue
        ap, gain_low = float(estimate[label]), float(low[num_labels + label])
        chance = ap - float(estimate[num_labels + label])
        known = cells.scores[cells.is_known[:, label], label]
        spread = float(np.subtract(*np.quantile(known, [0.975, 0.025])))
        reasons = [
            (num_groups < MIN_GROUPS, f"only {num_groups} group shows it in held-out rows"),
            (
                not gain_low > 0,
                f"on held-out rows it ranks no better than chance (average precision {ap:.2f}, "
                f"chance {chance:.2f})",
            ),
            (spread < MIN_SPREAD, "its scores hardly depend on the video"),
        ]
        reason = next((text for is_so, text in reasons if is_so), "")
        status: Status = "weak" if reason else "reliable"
        ap, ap_low, chance = (round(value, 4) for value in (ap, float(low[label]), chance))
        found.append(LabelEvidence(status, num_groups, ap, ap_low, chance, reason))
    return tuple(found)


def _chance(cells: KnownCells, weights: FloatArray) -> FloatArray:
    """(R, K) share of positives among known rows; NaN where no row has weight."""
    positive = weights @ cells.is_positive.astype(np.float64)
    known = weights @ cells.is_known.astype(np.float64)
    return np.divide(positive, known, out=np.full_like(known, np.nan), where=known > 0)
