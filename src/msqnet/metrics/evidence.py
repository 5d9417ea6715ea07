"""Which labels a model was shown to recognise: what held-out rows say of each.

A label is `reliable` where it ranks held-out rows better than chance, even in an unlucky draw of
groups, where its calibrated scores follow the video, and where some threshold makes it more often
right than wrong. It is `weak` where that failed, and `untested` where no held-out row could tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.metrics.average_precision import known_cells, label_average_precisions
from msqnet.metrics.bootstrap import bootstrap
from msqnet.metrics.calibration import best_thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


Status = Literal["reliable", "weak", "untested"]

MIN_GROUPS = 2
MIN_SPREAD = 0.05
"""Calibrated scores whose middle 95 % lie closer together do not depend on the video."""
MIN_PRECISION = 0.5
"""What is reported should be right more often than wrong."""


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
    estimate, low, _ = bootstrap(lambda weights: label_average_precisions(cells, weights), groups)
    can_be_right = ~np.isnan(best_thresholds(scores, targets, min_precision=MIN_PRECISION))
    names = np.asarray(groups)
    found = []
    for label in range(cells.scores.shape[1]):
        num_groups = len(set(names[cells.is_positive[:, label]].tolist()))
        if not cells.is_scorable[label]:
            reason = f"held-out rows of {num_groups} groups show it, and none lacks it"
            if not num_groups:
                reason = "no held-out row shows it, or recordings of one group alone do"
            found.append(LabelEvidence("untested", num_groups, reason=reason))
            continue
        ap, ap_low = float(estimate[label]), float(low[label])
        chance = float(cells.is_positive[:, label].sum() / cells.is_known[:, label].sum())
        known = cells.scores[cells.is_known[:, label], label]
        spread = float(np.subtract(*np.quantile(known, [0.975, 0.025])))
        reasons = [
            (num_groups < MIN_GROUPS, f"only {num_groups} group shows it in held-out rows"),
            (
                not ap_low > chance,
                f"on held-out rows it may rank no better than chance ({chance:.2f}): average "
                f"precision {ap:.2f}, with a lower bound of {ap_low:.2f}",
            ),
            (spread < MIN_SPREAD, "its scores hardly depend on the video"),
            (
                not can_be_right[label],
                "on held-out rows no threshold makes it more often right than wrong",
            ),
        ]
        reason = next((text for is_so, text in reasons if is_so), "")
        status: Status = "weak" if reason else "reliable"
        ap, ap_low, chance = (round(value, 4) for value in (ap, ap_low, chance))
        found.append(LabelEvidence(status, num_groups, ap, ap_low, chance, reason))
    return tuple(found)
