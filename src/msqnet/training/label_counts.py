"""How often each label is known to be there and not to be there, and weights made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

_MAX_POSITIVE_WEIGHT = 10.0
# What a count of 0 stands for under a logarithm.
_SMALLEST_COUNT = 0.5


@dataclass(frozen=True)
class LabelCounts:
    """Training rows by label. Rows where a label is unknown count for neither.

    Attributes:
        positives: (K,) float64, rows that are known to show the label.
        negatives: (K,) float64, rows that are known not to.
    """

    positives: Tensor
    negatives: Tensor

    @property
    def shares(self) -> Tensor:
        """(K,) float64 known positives / known rows; 0 where nothing is known."""
        return self.positives / (self.positives + self.negatives).clamp(min=1)


def label_counts(targets: np.ndarray) -> LabelCounts:
    """Count the rows of each label.

    Args:
        targets: (V, K) of 1, 0 and -100.
    """
    rows = torch.from_numpy(targets)
    return LabelCounts((rows == 1).sum(dim=0).double(), (rows == 0).sum(dim=0).double())


def positive_weight(counts: LabelCounts) -> Tensor:
    """(K,) float32 known negatives / known positives of each label, between 1 and 10."""
    ratio = counts.negatives / counts.positives.clamp(min=1)
    return ratio.clamp(1.0, _MAX_POSITIVE_WEIGHT).float()


def effective_number_weight(counts: LabelCounts, beta: float) -> Tensor:
    """Weight of each label by the effective number of its rows.

    w_k = (1 - beta) / (1 - beta^n_k), scaled to a mean of 1   (Cui et al. 2019, arXiv:1901.05555)

    The paper weighs rows of one label each. With several labels in a row the weight is that of the
    label's own terms, positive and negative ones (as Huang et al. 2021, arXiv:2109.04712). Labels
    without a positive row have no effective number: they keep a weight of 1.

    Args:
        counts: of the training rows.
        beta: 0 weighs all alike, towards 1 the weight goes to 1 / n_k.

    Returns:
        (K,) float32.
    """
    has_rows = counts.positives > 0
    weight = (1 - beta) / (1 - beta ** counts.positives.clamp(min=1))
    mean = weight[has_rows].mean() if has_rows.any() else torch.ones(())
    return torch.where(has_rows, weight / mean, 1.0).float()


def log_prior(counts: LabelCounts) -> Tensor:
    """(K,) float32 log n_k, the logarithm of a label's prior but for a constant.

    A softmax does not see the constant. Labels without a positive row count as half a row.
    """
    return counts.positives.clamp(min=_SMALLEST_COUNT).log().float()


def log_prior_odds(counts: LabelCounts) -> Tensor:
    """(K,) float32 log of known positives / known negatives; a count of 0 stands for a half."""
    negatives = counts.negatives.clamp(min=_SMALLEST_COUNT)
    return (counts.positives.clamp(min=_SMALLEST_COUNT) / negatives).log().float()
