"""From decoded queries to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from msqnet.errors import VocabularyError


class GroupWiseLinear(nn.Module):
    """Equation 7: logit_k = W_k . Q_(L,k) + b_k, one weight vector for each trained label.

    It cannot score a label that it was not trained on.

    Args:
        num_labels: K.
        width: D.
    """

    def __init__(self, num_labels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_labels, width))
        self.bias = nn.Parameter(torch.zeros(num_labels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(D), as `torch.nn.Linear`; zero bias."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, decoded: Tensor) -> Tensor:
        """Score every label.

        Args:
            decoded: (B, K, D) float.

        Returns:
            (B, K) float logits.

        Raises:
            VocabularyError: another number of labels than it was trained on.
        """
        if decoded.shape[1:] != self.weight.shape:
            raise VocabularyError(
                f"decoded queries: found {tuple(decoded.shape)}, "
                f"expected (B, {self.weight.shape[0]}, {self.weight.shape[1]}): this head "
                "scores the labels that it was trained on and no others"
            )
        return (decoded * self.weight).sum(dim=-1) + self.bias


class VideoQueryHead(nn.Module):
    """A linear path from the video query to the scores: logit_k = U_k . (Q_v - mean) / std + c_k.

    It holds what a linear probe on the frozen features holds, so that the whole model starts from
    the probe instead of having to find it again through the decoder (linear probing, then
    fine-tuning: Kumar et al. 2022, arXiv:2202.10054).

    Args:
        num_labels: K.
        width: D'', of the video query, already standardised.
    """

    def __init__(self, num_labels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, width))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def forward(self, video_query: Tensor) -> Tensor:
        """(B, D'') float -> (B, K) float logits."""
        return nn.functional.linear(video_query, self.weight, self.bias)
