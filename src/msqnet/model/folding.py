"""Weights that are made of others once those are final."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Foldable(nn.Module):
    """A module that computes faster with a weight and a bias made of several of its own.

    Attributes:
        folded_weight: float, where `fold` was called; else None. Not saved.
        folded_bias: float, likewise.
    """

    folded_weight: Tensor | None
    folded_bias: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("folded_weight", None, persistent=False)
        self.register_buffer("folded_bias", None, persistent=False)

    @abstractmethod
    def made_of_weights(self) -> tuple[Tensor, Tensor] | None:
        """Weight and bias from the weights as they are now; None where nothing can be folded."""

    @torch.no_grad()
    def fold(self) -> None:
        """Make them, in eval mode. `train` forgets them, and so does loading other weights."""
        made = None if self.training else self.made_of_weights()
        if made is not None:
            self.folded_weight, self.folded_bias = made

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training forgets what `fold` made."""
        if mode:
            self.folded_weight = self.folded_bias = None
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.folded_weight = self.folded_bias = None
        super()._load_from_state_dict(*args, **kwargs)
