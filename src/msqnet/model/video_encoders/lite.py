"""``lite``: a video encoder for machines without a GPU.

EfficientNet-Lite0 looks at every frame, and a second time at the close-up of what moves. Its
feature maps become patch tokens; a few blocks of divided space-time attention (Bertasius et al.
2021, as in TimeSformer) relate them over time and space. The memory has TimeSformer's form.

The frozen trunk's pooled features, summed up over time, are the model's video query as well, so the
trunk runs once for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from msqnet.errors import ConfigError, ShapeError
from msqnet.model.attention import MultiHeadAttention
from msqnet.model.efficientnet_lite import (
    FEATURE_WIDTH,
    MAP_WIDTH,
    PIXEL_MEAN,
    PIXEL_STD,
    TOTAL_STRIDE,
    EfficientNetLite0,
    load_published_state_dict,
    pretrained_state_dict,
)
from msqnet.model.pieces import pieces_of
from msqnet.model.video_encoders.encoder import (
    ClipForm,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    VideoEncoder,
    of_clips,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TRUNK_WEIGHTS = "imagenet"

_FRAMES_AT_A_TIME = 4
_NUM_STATISTICS = 3  # mean, standard deviation, mean absolute difference


class LiteConfig(PreTrainedConfig):
    """Sizes of the ``lite`` encoder.

    Attributes:
        image_size: side of the square frames, in pixels.
        num_frames: T.
        num_looks: 1, or 2 where the model takes a close-up too.
        grid_size: cells along each side of the map that become patch tokens: the trunk's own 7 at
            224 px, or fewer, averaged, which costs in proportion less.
        hidden_size: D', width of a memory item.
        num_hidden_layers: blocks of divided space-time attention.
        num_attention_heads: A.
        intermediate_size: hidden width of the feed-forward parts.
        hidden_dropout_prob: dropout in training.
    """

    model_type = "msqnet_lite"

    image_size: int = 224
    num_frames: int = 16
    num_looks: int = 2
    grid_size: int = 4
    hidden_size: int = 256
    num_hidden_layers: int = 1
    num_attention_heads: int = 8
    intermediate_size: int = 512
    hidden_dropout_prob: float = 0.1


class TrunkFeatures(NamedTuple):
    """What the convolutional trunk saw; everything after it can be trained from these alone.

    Attributes:
        maps: (B, G, T, P, C) float: G looks, P = ``grid_size`` squared cells, C the map's width.
        pooled: (B, G, T, E) float: the trunk's final features, averaged over the frame.
    """

    maps: Tensor
    pooled: Tensor


class LiteTrunk(nn.Module):
    """Pixels to `TrunkFeatures`; owns the pixel statistics.

    Batch norm always uses its stored statistics, also while the trunk is trained.

    Args:
        grid_size: see `LiteConfig`.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.network = EfficientNetLite0()
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) uint8 -> maps (N, P, C) and pooled features (N, E) float."""
        is_trained = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        pieces = pieces_of(frames, _FRAMES_AT_A_TIME, keeps_gradients=is_trained)
        parts = [self._features(part) for part in pieces]
        maps, pooled = (torch.cat(results) for results in zip(*parts, strict=True))
        return maps.flatten(2).transpose(1, 2), pooled  # (N, C, h, w) -> (N, P, C)

    def _features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) uint8 -> maps (N, C, g, g) and pooled features (N, E)."""
        scaled = (frames.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        # Channels last is twice as fast here: most of the trunk is depthwise.
        maps, pooled = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return F.adaptive_avg_pool2d(maps, self.grid_size), pooled


def video_statistics(pooled: Tensor) -> Tensor:
    """The video query of `lite`: what was there, how much it varied, how fast it changed.

    Args:
        pooled: (B, G, T, E) float.

    Returns:
        (B, G * 3 * E) float: mean, standard deviation and mean absolute difference of successive
        frames over time, look after look; the last two are 0 for a single frame.
    """
    mean = pooled.mean(dim=2)
    deviation = (pooled - mean[:, :, None]).square().mean(dim=2)
    deviation = (deviation + 1e-12).sqrt()  # an exact 0 would have an infinite gradient
    if pooled.shape[2] > 1:
        change = (pooled[:, :, 1:] - pooled[:, :, :-1]).abs().mean(dim=2)
    else:
        change = torch.zeros_like(mean)
    return torch.stack([mean, deviation, change], dim=2).flatten(1)  # (B, G, 3, E) -> (B, G*3*E)


class SpaceTimeBlock(nn.Module):
    """Divided space-time attention: over time at each cell, over cells in each frame; pre-norm."""

    def __init__(self, config: LiteConfig):
        super().__init__()
        width, heads = config.hidden_size, config.num_attention_heads
        dropout = config.hidden_dropout_prob
        self.time_norm = nn.LayerNorm(width)
        self.time_attention = MultiHeadAttention(width, heads, dropout)
        self.space_norm = nn.LayerNorm(width)
        self.space_attention = MultiHeadAttention(width, heads, dropout)
        self.feedforward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, patches: Tensor, global_token: Tensor) -> tuple[Tensor, Tensor]:
        """One block.

        Args:
            patches: (B, T, P, D) float.
            global_token: (B, 1, D) float.

        Returns:
            The two, of the same shapes. The global token attends in every frame; its answers are
            averaged over the frames, as in TimeSformer.
        """
        num_clips, num_frames = patches.shape[:2]
        over_time = self.time_norm(patches).transpose(1, 2).flatten(0, 1)  # (B*P, T, D)
        over_time = self.time_attention(over_time, over_time, over_time)
        over_time = over_time.unflatten(0, (num_clips, -1)).transpose(1, 2)  # (B, T, P, D)
        patches = patches + self.dropout(over_time)

        repeated = global_token[:, None].expand(-1, num_frames, -1, -1)  # (B, T, 1, D)
        tokens = torch.cat([repeated, patches], dim=2).flatten(0, 1)  # (B*T, 1 + P, D)
        tokens = self.space_norm(tokens)
        seen = self.dropout(self.space_attention(tokens, tokens, tokens))
        seen = seen.unflatten(0, (num_clips, num_frames))  # (B, T, 1 + P, D)
        patches = patches + seen[:, :, 1:]
        global_token = global_token + seen[:, :, 0].mean(dim=1, keepdim=True)
        return patches + self._feedforward(patches), global_token + self._feedforward(global_token)

    def _feedforward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.gelu(self.expand(self.feedforward_norm(x))))
        result: Tensor = self.dropout(self.contract(hidden))
        return result


class LiteVideoEncoder(VideoEncoder):
    """Trunk features to frame memory [z_0, v_1 .. v_T, c_1 .. c_T].

    v_t is the mean of the whole frame's tokens at time t, c_t that of the close-up's. Both looks of
    a frame attend to each other.

    Args:
        config: sizes.

    Attributes:
        query_width: D'', of the video query that `video_statistics` makes.
        map_shape: (P, C) of `TrunkFeatures.maps`.
        feature_width: E of `TrunkFeatures.pooled`.
    """

    licence = "EfficientNet-Lite0: Apache-2.0"

    def __init__(self, config: LiteConfig):
        if config.image_size % TOTAL_STRIDE:
            raise ConfigError(
                f"lite image_size {config.image_size}: expected a multiple of {TOTAL_STRIDE}"
            )
        super().__init__(config, width=config.hidden_size, pixel_statistics=None)
        self.feature_width = FEATURE_WIDTH
        self.query_width = config.num_looks * _NUM_STATISTICS * FEATURE_WIDTH
        if not 1 <= config.grid_size <= config.image_size // TOTAL_STRIDE:
            raise ConfigError(
                f"lite grid_size {config.grid_size}: expected 1 to "
                f"{config.image_size // TOTAL_STRIDE} for image_size {config.image_size}"
            )
        num_cells = config.grid_size**2
        self.map_shape = (num_cells, MAP_WIDTH)
        self.trunk = LiteTrunk(config.grid_size)
        self.project = nn.Linear(MAP_WIDTH, self.width)
        self.cell_positions = nn.Parameter(torch.zeros(config.num_looks, 1, num_cells, self.width))
        self.frame_positions = nn.Parameter(torch.zeros(config.num_frames, 1, self.width))
        self.global_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.blocks = nn.ModuleList(SpaceTimeBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(self.width)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> LiteConfig:
        """One look at the whole frame."""
        return LiteConfig(num_frames=num_frames, image_size=image_size, num_looks=1)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> LiteVideoEncoder:
        """Start from the published trunk; what follows it is random.

        Args:
            name_or_folder: "imagenet", the weights of the extra ``lite``.
            num_frames: T.
            image_size: side of the square frames, in pixels.

        Raises:
            ConfigError: other weights were asked for.
            CheckpointError: the weights are not the official ones.
            MissingExtra: they are not installed.
        """
        encoder = cls(cls.default_config(num_frames, image_size))
        encoder.load_trunk(str(name_or_folder))
        return encoder

    def load_trunk(self, weights: str) -> None:
        """Put published weights into the trunk; see `from_pretrained`."""
        if weights != TRUNK_WEIGHTS:
            raise ConfigError(
                f"weights {weights!r} of the lite encoder: expected {TRUNK_WEIGHTS!r} or 'random'"
            )
        load_published_state_dict(self.trunk.network, pretrained_state_dict())

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip, then each frame of the first look, then of the second."""
        frames = tuple(FrameSpan(index, index + 1) for index in range(num_frames))
        return (None, *(frames * self.config.num_looks))

    @property
    def clip_form(self) -> ClipForm:
        """T and the size of the configuration."""
        return ClipForm(self.config.num_frames, self.config.image_size)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """What the trunk makes of frames of either look: (N, P, C) "maps", (N, E) "pooled"."""
        self.check_pixels(frames[None], None, self.config.image_size)
        maps, pooled = self.trunk(frames)
        return {"maps": maps, "pooled": pooled}

    def features(self, pixels: Tensor, closeups: Tensor | None) -> TrunkFeatures:
        """Run the trunk.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB, H = W = ``image_size``.
            closeups: the same of the close-up, or None where ``num_looks`` is 1.

        Raises:
            ShapeError: another shape, or a close-up too many or too few.
        """
        looks = [pixels] if closeups is None else [pixels, closeups]
        for look in looks:
            self.check_pixels(look, *self.clip_form)
        return self.joined([of_clips(self.frame_features, look) for look in looks])

    def joined(self, looks: Sequence[FrameFeatures]) -> TrunkFeatures:
        """Put the features of the looks together.

        Args:
            looks: G times what `frame_features` gives, (B, T, ...) each.

        Raises:
            ShapeError: a look too many or too few.
        """
        if len(looks) != self.config.num_looks:
            raise ShapeError(f"lite: found {len(looks)} looks, expected {self.config.num_looks}")
        return TrunkFeatures(
            torch.stack([look["maps"] for look in looks], dim=1),
            torch.stack([look["pooled"] for look in looks], dim=1),
        )

    def memory(self, features: Any) -> Tensor:
        """As `forward`."""
        return self._memory(features)

    def forward(self, features: Any) -> Tensor:
        """`TrunkFeatures` -> (B, 1 + G*T, D') float memory."""
        return self._memory(features)

    def _memory(self, features: Any) -> Tensor:
        tokens = self.project(features.maps)  # (B, G, T, P, D)
        tokens = tokens + self.cell_positions + self.frame_positions
        num_looks, num_cells = tokens.shape[1], tokens.shape[3]
        patches = tokens.transpose(1, 2).flatten(2, 3)  # (B, T, G*P, D)
        global_token = self.global_token.expand(patches.shape[0], -1, -1)
        for block in self.blocks:
            patches, global_token = block(patches, global_token)
        patches = self.norm(patches).unflatten(2, (num_looks, num_cells))  # (B, T, G, P, D)
        frames = patches.mean(dim=3).transpose(1, 2).flatten(1, 2)  # (B, G*T, D)
        return torch.cat([self.norm(global_token), frames], dim=1)
