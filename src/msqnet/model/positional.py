"""Sinusoidal time positions (Vaswani et al. 2017, section 3.5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_LONGEST_WAVELENGTH = 10000.0


def sinusoidal_positions(
    indices: Sequence[int], width: int, *, device: torch.device | None = None
) -> Tensor:
    """Sine and cosine of each position; zeros where there is no position.

    PE(t, 2i) = sin(t / 10000^(2i / D)), PE(t, 2i + 1) = cos(the same). Recomputed where it is used
    instead of kept as a buffer, so that no load can leave it without values.

    Args:
        indices: position of each item; a negative one stands for no position (the global token).
        width: D, even.
        device: where the result is made.

    Returns:
        (len(indices), D) float32.
    """
    position = torch.tensor(indices, dtype=torch.float32, device=device)[:, None]
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angle = position * torch.exp(even * (-math.log(_LONGEST_WAVELENGTH) / width))  # (M, D/2)
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (M, D/2, 2) -> (M, D)
    return table.masked_fill(position < 0, 0.0)
