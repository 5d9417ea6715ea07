"""From decoded queries, or straight from the video query, to logits.

A group-wise head has one weight vector for each trained label. An open one is a function of the
label's text, so that it scores labels that it was never trained on.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.errors import VocabularyError

# Of text alignment: as SigLIP starts, but for rarer negatives (labels of one clip, not of a batch).
_INITIAL_SCALE = 10.0
_INITIAL_BIAS = -3.0


class LogitHead(nn.Module):
    """Vectors to logits, computed in the type of its own weights even under autocast.

    In bfloat16 logits would lie on a grid of 8 bits, and the scores of different clips would tie.
    """

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Score every label.

        Args:
            x: (B, K, D) float, one vector for each label, or (B, D'') one for all.
            text: (K, D_t) float.

        Returns:
            (B, K) float logits.
        """
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):
            return self.logits(x, text)
        dtype = next(self.parameters()).dtype
        with torch.autocast(x.device.type, enabled=False):
            return self.logits(x.to(dtype), text.to(dtype))

    @abstractmethod
    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """As `forward`."""


class GroupWiseLinear(LogitHead):
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

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) float -> (B, K) float logits; the text is not used.

        Raises:
            VocabularyError: another number of labels than it was trained on.
        """
        if x.shape[1:] != self.weight.shape:
            raise VocabularyError(
                f"decoded queries: found {tuple(x.shape)}, "
                f"expected (B, {self.weight.shape[0]}, {self.weight.shape[1]}): this head "
                "scores the labels that it was trained on and no others"
            )
        return (x * self.weight).sum(dim=-1) + self.bias


class SharedLinear(LogitHead):
    """logit_k = w . Q_(L,k) + b: one weight vector for all labels, which the queries tell apart.

    Args:
        width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) float -> (B, K) float logits; the text is in the queries already."""
        logits: Tensor = self.linear(x)[..., 0]  # (B, K, 1) -> (B, K)
        return logits


class TextAlignment(LogitHead):
    """logit_k = s cos(P x_k, text_k) + b, with a learned scale and bias for all labels.

    Args:
        width: D of the decoded queries, or D'' of the video query.
        text_width: D_t.
    """

    def __init__(self, width: int, text_width: int):
        super().__init__()
        self.project = nn.Linear(width, text_width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(_INITIAL_SCALE).log())
        self.offset = nn.Parameter(torch.tensor(_INITIAL_BIAS))

    def reset_parameters(self) -> None:
        """Scale and bias; the projection is a linear layer like others."""
        nn.init.constant_(self.log_scale, float(torch.tensor(_INITIAL_SCALE).log()))
        nn.init.constant_(self.offset, _INITIAL_BIAS)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) or (B, D''), and (K, D_t) float -> (B, K) float logits."""
        projected = F.normalize(self.project(x), dim=-1)  # (B, K, D_t) or (B, D_t)
        text = F.normalize(text, dim=-1)
        cosine = (projected * text).sum(dim=-1) if x.ndim == 3 else projected @ text.T  # (B, K)
        return self.log_scale.exp() * cosine + self.offset


class VideoQueryHead(LogitHead):
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

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, D'') float -> (B, K) float logits; the text is not used."""
        return nn.functional.linear(x, self.weight, self.bias)
