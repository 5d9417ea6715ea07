"""Sinusoidal time positions (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_WAVELENGTH = 10000.0


def sinusoidal_positions(indices: Tensor, width: int) -> Tensor:
    """Sine and cosine of each position; zeros where there is no position.

    PE(t, 2i) = sin(t / 10000^(2i / D)), PE(t, 2i + 1) = cos(the same). Recomputed where it is used:
    kept in a model, the table would be cast with its weights.

    Args:
        indices: (M,) integers, position of each item; a negative one stands for no position (the
            global token).
        width: D, even.

    Returns:
        (M, D) float32, where ``indices`` are.
    """
    position = indices.to(torch.float32)[:, None]  # (M, 1)
    even = torch.arange(0, width, 2, dtype=torch.float32, device=indices.device)
    angle = position * torch.exp(even * (-math.log(_LONGEST_WAVELENGTH) / width))  # (M, D/2)
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (M, D/2, 2) -> (M, D)
    return table.masked_fill(position < 0, 0.0)
