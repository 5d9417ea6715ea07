"""What every image encoder is: uint8 clips in, one embedding for each frame out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.errors import ConfigError, ShapeError
from msqnet.model.pieces import pieces_of

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedConfig

_NUM_CHANNELS = 3
_MAX_PIXEL = 255.0
_FRAMES_AT_A_TIME = 4


class ImageEncoder(nn.Module, ABC):
    """Base of all image encoders.

    A frozen encoder stays in eval mode whatever `train` is called with.

    Args:
        config: of the backbone.
        pixel_statistics: mean and standard deviation of pixels scaled to [0, 1], as the published
            weights were trained with.
        width: D'', the width of an embedding.
        frozen: whether its parameters are left as they are.
        projected: whether embeddings are those of the space shared with texts, of length 1.

    Attributes:
        config: as given.
        width: as given.
        frozen: as given.
        projected: as given.
        pixel_mean: (3, 1, 1) float, persistent, so that it is never left on the meta device.
        pixel_std: (3, 1, 1) float, likewise.
        licence: of the published weights; printed where they are chosen.

    Raises:
        ConfigError: a backbone for frames that are not square RGB.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        pixel_statistics: tuple[tuple[float, ...], tuple[float, ...]],
        width: int,
        frozen: bool,
        projected: bool,
    ):
        super().__init__()
        self.config: Any = config
        if not isinstance(self.config.image_size, int) or self.config.num_channels != _NUM_CHANNELS:
            raise ConfigError(
                f"{self.name} image_size {self.config.image_size} with {self.config.num_channels} "
                "channels: expected one number and 3 channels"
            )
        self.width = width
        self.frozen = frozen
        self.projected = projected
        mean, std = pixel_statistics
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1))

    @classmethod
    @abstractmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, frozen: bool = True, projected: bool = False
    ) -> Self:
        """Start from a checkpoint, whole or image encoder only.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
        """

    @abstractmethod
    def _embed(self, pixels: Tensor) -> Tensor:
        """Standardised frames (B*T, 3, H, W) to embeddings (B*T, D'')."""

    @property
    @abstractmethod
    def _dtype(self) -> torch.dtype:
        """Of the backbone's parameters."""

    def _embed_pixels(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 to (N, D'')."""
        scaled = frames.to(torch.float32) / _MAX_PIXEL
        standardised = (scaled - self.pixel_mean.float()) / self.pixel_std.float()
        return self._embed(standardised.to(self._dtype))

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except that a frozen encoder stays in eval mode and without gradients."""
        super().train(mode and not self.frozen)
        # transformers makes new, trainable parameters when it loads a model that holds this one;
        # it then calls eval(), which comes by here.
        if self.frozen:
            self.requires_grad_(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed every frame on its own.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB; H and W are ``config.image_size``, T is free.

        Returns:
            (B, T, D'') float.

        Raises:
            ShapeError: another shape or type.
        """
        size = self.config.image_size
        expected = (_NUM_CHANNELS, size, size)
        if pixels.dtype != torch.uint8 or pixels.ndim != 5 or tuple(pixels.shape[2:]) != expected:
            raise ShapeError(
                f"{self.name} pixels: found {pixels.dtype} {tuple(pixels.shape)}, expected "
                f"torch.uint8 (B, T, 3, H, W) = (B, T, 3, {size}, {size}); resize clips to the "
                "model's size"
            )
        frames = pixels.flatten(0, 1)  # (B*T, 3, H, W)
        is_kept = torch.is_grad_enabled() and not self.frozen
        pieces = pieces_of(frames, _FRAMES_AT_A_TIME, keeps_gradients=is_kept)
        embeddings = torch.cat([self._embed_pixels(part) for part in pieces])
        if self.projected:
            embeddings = F.normalize(embeddings, dim=-1)
        return embeddings.reshape(*pixels.shape[:2], self.width)  # (B, T, D'')
