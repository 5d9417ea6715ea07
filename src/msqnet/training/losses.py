"""The loss over known labels.

Loss = sum over known terms / number of known terms in the global batch, so that neither the batch
size, the number of ranks nor the steps of accumulation changes it. Unknown targets hold -100, the
value that `transformers.Trainer` leaves out when it counts the items of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from msqnet.model.msqnet import MSQNetOutput

UNKNOWN = -100


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    num_known: Tensor | int | None = None,
    positive_weight: Tensor | None = None,
) -> Tensor:
    """Masked binary cross-entropy: equation 8 with the negative term that its text asks for.

    Args:
        logits: (B, K) float.
        targets: (B, K) float: 1, 0, or -100 where nothing is known.
        num_known: what to divide by; by default the known targets of this batch.
        positive_weight: (K,) float, weight of the positive terms.

    Returns:
        () float32; 0 where nothing is known.

    Raises:
        ShapeError: shapes differ.
    """
    if logits.shape != targets.shape:
        raise ShapeError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ")
    known = targets != UNKNOWN
    terms = F.binary_cross_entropy_with_logits(
        logits.float(), targets.float().clamp(min=0), reduction="none", pos_weight=positive_weight
    )
    total = torch.where(known, terms, 0.0).sum()
    return total / _at_least_one(known.sum() if num_known is None else num_known)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, num_known: Tensor | int | None = None
) -> Tensor:
    """Masked cross-entropy of single-label models.

    Args:
        logits: (B, K) float.
        targets: (B,) int64 label columns, or -100.
        num_known: what to divide by; by default the known targets of this batch.

    Returns:
        () float32.
    """
    total = F.cross_entropy(logits.float(), targets, ignore_index=UNKNOWN, reduction="sum")
    return total / _at_least_one((targets != UNKNOWN).sum() if num_known is None else num_known)


def _at_least_one(count: Tensor | int) -> Tensor | int:
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1)


class ActionLoss:
    """What the Trainer minimises: the loss of each part of the logits, averaged over the parts.

    The decoder and the path straight from the video query are each trained to answer alone;
    otherwise the linear path, which fits a small training set at once, would leave the decoder
    nothing to learn.

    Args:
        task: "multi_label" or "single_label".
        positive_weight: (K,) float or None, see `binary_cross_entropy`.
    """

    def __init__(self, task: str, positive_weight: Tensor | None = None):
        self.task = task
        self.positive_weight = positive_weight

    def __call__(
        self, outputs: MSQNetOutput, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The signature of `Trainer`'s ``compute_loss_func``."""
        parts = [outputs["decoder_logits"]]
        if outputs.get("query_logits") is not None:
            parts.append(outputs["query_logits"])
        losses = [self._loss(part, labels, num_items_in_batch) for part in parts]
        return torch.stack(losses).mean()

    def _loss(self, logits: Tensor, labels: Tensor, num_known: Tensor | int | None) -> Tensor:
        if self.task == "single_label":
            return cross_entropy(logits, labels, num_known=num_known)
        weight = self.positive_weight
        return binary_cross_entropy(
            logits,
            labels,
            num_known=num_known,
            positive_weight=None if weight is None else weight.to(logits.device),
        )
