"""Small video networks, written from their papers, with random weights.

X3D (Feichtenhofer 2020, arXiv:2004.04730, Table 3), MoViNet-A0 (Kondratyuk 2021, arXiv:2103.11511),
MobileNetV3-Small (Howard 2019, arXiv:1905.02244, Table 2) with the temporal shift of TSM (Lin 2019,
arXiv:1811.08383). VideoMAE-S is `transformers`' own, from its configuration.

Each network takes the pixels of one window, (frames, height, width, 3) of uint8, and gives the
scores of its published number of labels. Normalization is part of the network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


def divisible_by_8(width: float) -> int:
    """The nearest multiple of 8, at least 8, and no more than a tenth below ``width``."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class ConvNorm(nn.Module):
    """Convolution over (time,) height and width that keeps their sizes / stride, norm, activation.

    Args:
        width_in: channels.
        width_out: channels.
        kernel: size of the kernel along each axis; 2 or 3 axes.
        stride: along height and width.
        groups: of channels.
        activation: a module without parameters.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: tuple[int, ...],
        *,
        stride: int = 1,
        groups: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        of_axes = (1,) * (len(kernel) - 2) + (stride, stride)
        padding = tuple(size // 2 for size in kernel)
        kind, norm = (
            (nn.Conv3d, nn.BatchNorm3d) if len(kernel) == 3 else (nn.Conv2d, nn.BatchNorm2d)
        )
        self.conv: Any = kind(
            width_in, width_out, kernel, of_axes, padding, groups=groups, bias=False
        )
        self.norm: Any = norm(width_out)
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(..., width_out, ..., height / stride, width / stride) of (..., width_in, ...)."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out

    def fuse(self) -> None:
        """Make the norm part of the convolution, as any program does before it predicts."""
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class SqueezeExcite(nn.Module):
    """Channels weighted by what the mean over all positions tells (Hu 2018)."""

    def __init__(self, width: int, inner: int, axes: int, gate: nn.Module) -> None:
        super().__init__()
        kind = nn.Conv3d if axes == 3 else nn.Conv2d
        self.axes = tuple(range(-axes, 0))
        self.fc1, self.fc2, self.gate = kind(width, inner, 1), kind(inner, width, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        weights: Tensor = self.gate(self.fc2(F.relu(self.fc1(x.mean(self.axes, keepdim=True)))))
        return x * weights


class VideoNetwork(nn.Module):
    """Normalizes pixels (`to_input`) and scores them (`score`, by each network)."""

    def to_input(self, pixels: Tensor) -> Tensor:
        """(1, 3, frames, height, width), about normal, of uint8 (frames, height, width, 3)."""
        return ((pixels.float() - 114.75) / 57.375).permute(3, 0, 1, 2)[None]

    def score(self, x: Tensor) -> Tensor:
        """(1, labels) of what `to_input` gives."""
        raise NotImplementedError

    def forward(self, pixels: Tensor) -> Tensor:
        """(1, labels) between 0 and 1 of uint8 (frames, height, width, 3)."""
        return self.score(self.to_input(pixels)).sigmoid()


class _X3DBlock(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int, with_excite: bool) -> None:
        super().__init__()
        inner, pointwise = int(2.25 * width), (1, 1, 1)
        self.expand = ConvNorm(width_in, inner, pointwise, activation=nn.ReLU())
        self.channelwise = ConvNorm(inner, inner, (3, 3, 3), stride=stride, groups=inner)
        self.excite = (
            SqueezeExcite(inner, divisible_by_8(inner / 16), 3, nn.Sigmoid())
            if with_excite
            else nn.Identity()
        )
        self.project = ConvNorm(inner, width, pointwise)
        changes = stride > 1 or width_in != width
        self.skip = (
            ConvNorm(width_in, width, pointwise, stride=stride) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = F.silu(self.excite(self.channelwise(self.expand(x))))
        out: Tensor = F.relu(self.skip(x) + self.project(inner))
        return out


class X3D(VideoNetwork):
    """X3D-XS, -S and -M: one network, fed with 4, 13 or 16 frames; no axis of time is reduced."""

    def __init__(self, num_labels: int = 400) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 24, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
            ConvNorm(24, 24, (5, 1, 1), groups=24, activation=nn.ReLU()),
        )
        blocks, width_in = [], 24
        for width, depth in ((24, 3), (48, 5), (96, 11), (192, 7)):
            for number in range(depth):
                stride = 2 if number == 0 else 1
                blocks.append(_X3DBlock(width_in, width, stride, with_excite=number % 2 == 0))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.conv5 = ConvNorm(192, 432, (1, 1, 1), activation=nn.ReLU())
        self.fc1, self.fc2 = nn.Linear(432, 2048, bias=False), nn.Linear(2048, num_labels)

    def score(self, x: Tensor) -> Tensor:
        """(1, labels) of what `to_input` gives."""
        pooled = self.conv5(self.blocks(self.stem(x))).mean((2, 3, 4))
        out: Tensor = self.fc2(F.relu(self.fc1(pooled)))
        return out


class _MoViNetBlock(nn.Module):
    def __init__(
        self, width_in: int, inner: int, width: int, kernel: tuple[int, int, int], stride: int
    ) -> None:
        super().__init__()
        pointwise = (1, 1, 1)
        self.expand = ConvNorm(width_in, inner, pointwise, activation=nn.Hardswish())
        self.depthwise = ConvNorm(
            inner, inner, kernel, stride=stride, groups=inner, activation=nn.Hardswish()
        )
        self.excite = SqueezeExcite(inner, divisible_by_8(inner / 4), 3, nn.Hardsigmoid())
        self.project = ConvNorm(inner, width, pointwise)
        self.pool = nn.AvgPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if stride > 1 else nn.Identity()
        self.skip = ConvNorm(width_in, width, pointwise) if width_in != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.excite(self.depthwise(self.expand(x)))
        out: Tensor = self.skip(self.pool(x)) + self.project(inner)
        return out


# (kernel over time, kernel over height and width) of each block, its expanded width.
_MOVINET_A0 = (
    (8, ((1, 5, 24),), 2),
    (32, ((3, 3, 80), (3, 3, 80), (3, 3, 80)), 2),
    (56, ((5, 3, 184), (3, 3, 112), (3, 3, 184)), 2),
    (56, ((5, 3, 184), (3, 3, 184), (3, 3, 184), (3, 3, 184)), 1),
    (104, ((5, 3, 384), (1, 5, 280), (1, 5, 280), (1, 5, 344)), 2),
)


class MoViNetA0(VideoNetwork):
    """The base network: plain convolutions over time, all frames at once.

    Its activations are the cheap ones of the mobile variants, hard swish and hard sigmoid.
    """

    def __init__(self, num_labels: int = 600) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8, (1, 3, 3), stride=2, activation=nn.Hardswish())
        blocks, width_in = [], 8
        for width, rows, first_stride in _MOVINET_A0:
            for number, (time, space, inner) in enumerate(rows):
                kernel, stride = (time, space, space), first_stride if number == 0 else 1
                blocks.append(_MoViNetBlock(width_in, inner, width, kernel, stride))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.conv7 = ConvNorm(width_in, 480, (1, 1, 1), activation=nn.Hardswish())
        self.fc1, self.fc2 = nn.Linear(480, 2048), nn.Linear(2048, num_labels)

    def score(self, x: Tensor) -> Tensor:
        """(1, labels) of what `to_input` gives."""
        pooled = self.conv7(self.blocks(self.stem(x))).mean((2, 3, 4))
        out: Tensor = self.fc2(F.hardswish(self.fc1(pooled)))
        return out


def temporal_shift(x: Tensor) -> Tensor:
    """An eighth of the channels from the frame before, an eighth from the one after.

    Args:
        x: (frames, channels, height, width); beyond the ends there are zeros.
    """
    fold = x.shape[1] // 8
    none = torch.zeros_like(x[:1, :fold])
    before, after = x[:-1, :fold], x[1:, fold : 2 * fold]
    return torch.cat([torch.cat([none, before]), torch.cat([after, none]), x[:, 2 * fold :]], 1)


class _MobileBlock(nn.Module):
    def __init__(
        self,
        width_in: int,
        inner: int,
        width: int,
        size: int,
        stride: int,
        excite: bool,
        hard: bool,
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = []
        if inner != width_in:
            layers.append(ConvNorm(width_in, inner, (1, 1), activation=activation()))
        layers.append(
            ConvNorm(
                inner, inner, (size, size), stride=stride, groups=inner, activation=activation()
            )
        )
        if excite:
            layers.append(SqueezeExcite(inner, divisible_by_8(inner / 4), 2, nn.Hardsigmoid()))
        layers.append(ConvNorm(inner, width, (1, 1)))
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_residual:
            out: Tensor = self.layers(x)
            return out
        return x + self.layers(temporal_shift(x))


# Expanded width, width, kernel, stride, squeeze-and-excite, hard swish.
_MOBILE_SMALL = (
    (16, 16, 3, 2, True, False),
    (72, 24, 3, 2, False, False),
    (88, 24, 3, 1, False, False),
    (96, 40, 5, 2, True, True),
    (240, 40, 5, 1, True, True),
    (240, 40, 5, 1, True, True),
    (120, 48, 5, 1, True, True),
    (144, 48, 5, 1, True, True),
    (288, 96, 5, 2, True, True),
    (576, 96, 5, 1, True, True),
    (576, 96, 5, 1, True, True),
)


class MobileNetV3TSM(VideoNetwork):
    """MobileNetV3-Small on each frame; residual blocks see a shift in time; mean of the frames."""

    def __init__(self, num_labels: int = 1000) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 16, (3, 3), stride=2, activation=nn.Hardswish())
        blocks, width_in = [], 16
        for inner, width, size, stride, excite, hard in _MOBILE_SMALL:
            blocks.append(_MobileBlock(width_in, inner, width, size, stride, excite, hard))
            width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvNorm(96, 576, (1, 1), activation=nn.Hardswish())
        self.fc1, self.fc2 = nn.Linear(576, 1024), nn.Linear(1024, num_labels)

    def to_input(self, pixels: Tensor) -> Tensor:
        """(frames, 3, height, width)."""
        return super().to_input(pixels)[0].transpose(0, 1)

    def score(self, x: Tensor) -> Tensor:
        """(1, labels) of what `to_input` gives."""
        pooled = self.last(self.blocks(self.stem(x))).mean((2, 3))
        out: Tensor = self.fc2(F.hardswish(self.fc1(pooled))).mean(0, keepdim=True)
        return out


class VideoMAE(VideoNetwork):
    """VideoMAE-S (ViT-S/16, tubes of two frames) as `transformers` computes it."""

    def __init__(self, num_labels: int = 400) -> None:
        super().__init__()
        from transformers import VideoMAEConfig, VideoMAEForVideoClassification

        config = VideoMAEConfig(
            hidden_size=384,
            num_attention_heads=6,
            num_hidden_layers=12,
            intermediate_size=1536,
        )
        config.num_labels = num_labels
        self.model = VideoMAEForVideoClassification(config)

    def to_input(self, pixels: Tensor) -> Tensor:
        """(1, frames, 3, height, width)."""
        return super().to_input(pixels).transpose(1, 2)

    def score(self, x: Tensor) -> Tensor:
        """(1, labels) of what `to_input` gives."""
        out: Tensor = self.model(pixel_values=x).logits
        return out


def fuse(network: nn.Module) -> nn.Module:
    """Fuse norms into convolutions, for prediction only; changes and returns the network."""
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    return network
