"""What tests of checkpoints published for other programs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
"""Mean and standard deviation of each channel, of values from 0 to 1."""


def fill_with_noise(model: nn.Module, scale: float = 0.1) -> None:
    """Values as of a trained model: no bias is left at 0, no norm at 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))


def change_weights(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Overwrite, add or (None) remove tensors of a checkpoint on disk."""
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def standardised(pixels: Tensor, statistics: tuple[list[float], list[float]] = IMAGENET) -> Tensor:
    """Pixels (..., 3, H, W) from 0 to 255 as published image processors give them to a model."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    return (pixels.float() / 255 - mean) / std


def frames_of(num_frames: int, *shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """A black clip: (1, T, 3, 32, 32), or with the channels and sizes of ``shape``."""
    return torch.zeros(1, num_frames, *(shape or (3, 32, 32)), dtype=dtype)
