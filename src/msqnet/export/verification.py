"""Whether exported graphs give PyTorch's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.clips import ClipBatch
from msqnet.errors import ExportError
from msqnet.inference.backends import clip_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.clips import Clip
    from msqnet.inference.backends import Backend

TOLERANCE = 1e-4
"""Scores of float32 graphs differ by no more: about a hundred times what rounding makes of them."""

_BATCH_SIZE = 4


@dataclass(frozen=True)
class Verification:
    """How two backends' scores compare on the same clips.

    Attributes:
        num_clips: that were compared.
        max_difference: largest absolute difference of a score.
        mean_difference: mean absolute difference of scores.
        tolerance: what was allowed; None where the difference was only measured.
    """

    num_clips: int
    max_difference: float
    mean_difference: float
    tolerance: float | None


def verify(
    reference: Backend, exported: Backend, clips: Sequence[Clip], tolerance: float | None
) -> Verification:
    """Compare scores, of clips by themselves and in batches.

    Args:
        reference: the model in PyTorch.
        exported: what was made of it.
        clips: real ones, at least one.
        tolerance: largest difference that is accepted; None accepts every finite one.

    Raises:
        ExportError: the scores differ by more, or are no numbers.
    """
    if not clips:
        raise ExportError("no clip to check the export on; name videos with --videos")
    # Two ways to cut them up: a batch size that was traced as a constant shows in one of them.
    batches = [[clip] for clip in clips]
    batches += [list(clips[i : i + _BATCH_SIZE]) for i in range(0, len(clips), _BATCH_SIZE)]
    differences = []
    for batch in batches:
        stacked = ClipBatch.stack(batch)
        expected, found = clip_scores(reference, stacked), clip_scores(exported, stacked)
        if expected.shape != found.shape or not np.isfinite(found).all():
            raise ExportError(
                f"exported graphs give scores {found.shape} that are not all finite or not of the "
                f"expected shape {expected.shape}; do not use them"
            )
        differences.append(np.abs(expected - found))
    values = np.concatenate(differences)
    result = Verification(len(clips), float(values.max()), float(values.mean()), tolerance)
    if tolerance is not None and result.max_difference > tolerance:
        raise ExportError(
            f"exported graphs and PyTorch differ: largest difference of scores found "
            f"{result.max_difference:.2g} on {len(clips)} clips, expected at most {tolerance:g}; "
            "nothing was written; try the other --format, or use the model in PyTorch"
        )
    return result
