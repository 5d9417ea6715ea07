"""``c3d``: eight 3x3x3 convolutions (Tran et al., 2015).

https://arxiv.org/abs/1412.0767. Our own modules under the tensor names of the PyTorch port of the
authors' Sports-1M weights, https://github.com/DavideA/c3d-pytorch (``c3d.pickle``).

Pixels are what the weights were trained with, not what the port's example feeds: the authors read
frames with OpenCV, so channels are in the order BGR, from 0 to 255, less the mean of Sports-1M.
They give that mean for each pixel of 16 frames of 128 x 171; its mean of each channel takes its
place here, so that clips of any size can be encoded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from msqnet.model.video_encoders.convolutional import ConvolutionalVideoEncoder
from msqnet.model.video_encoders.encoder import MAX_PIXEL, NUM_CHANNELS, PixelStatistics

_FEATURE_WIDTH = 512
_SPACE_STRIDE = 16
# Mean of the Sports-1M volume, of red, green and blue in 0 to 255.
_MEAN_RGB = (101.41, 97.66, 90.25)
# By how much pixels usually differ from it.
_PIXEL_DEVIATION = 64.0

# Convolutions and their width, and the pooling (kernel = stride) that follows them.
_STAGES: tuple[tuple[dict[str, int], str | None, tuple[int, int, int]], ...] = (
    ({"conv1": 64}, "pool1", (1, 2, 2)),
    ({"conv2": 128}, "pool2", (2, 2, 2)),
    ({"conv3a": 256, "conv3b": 256}, "pool3", (2, 2, 2)),
    ({"conv4a": 512, "conv4b": 512}, "pool4", (2, 2, 2)),
    ({"conv5a": 512, "conv5b": 512}, None, (1, 1, 1)),
)


class C3DConfig(PreTrainedConfig):
    """Form of the clips; the network itself has one published size.

    Attributes:
        image_size: side of the square frames, in pixels, at least 16; the weights' is 112.
        num_frames: T, at least 8; the weights' is 16.
    """

    model_type = "msqnet_c3d"

    image_size: int = 112
    num_frames: int = 16


def _convolution(in_width: int, out_width: int) -> nn.Conv3d:
    convolution = nn.Conv3d(in_width, out_width, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if in_width == NUM_CHANNELS:
        # Published weights take pixels as they are, not scaled to unit size: fresh ones must too.
        with torch.no_grad():
            convolution.weight.div_(_PIXEL_DEVIATION)
    return convolution


def c3d_convolutions() -> nn.Sequential:
    """The network from pixels to the ReLU after conv5b, with random weights (He et al., 2015).

    Pooling takes in a last odd frame, row or column on its own, as the authors' Caffe layer does;
    at the published size there is none.

    Returns:
        (B, 3, T, H, W) float -> (B, 512, ceil(T / 8), ceil(H / 16), ceil(W / 16)).
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

    licence = (
        "C3D Sports-1M weights: not stated; the authors' code is CC-BY-NC 3.0 (not for commercial "
        "use)"
    )
    display_name = "C3D"
    feature_width = _FEATURE_WIDTH
    space_stride = _SPACE_STRIDE
    pixel_statistics: ClassVar[PixelStatistics] = (
        (_MEAN_RGB[0] / MAX_PIXEL, _MEAN_RGB[1] / MAX_PIXEL, _MEAN_RGB[2] / MAX_PIXEL),
        (1 / MAX_PIXEL, 1 / MAX_PIXEL, 1 / MAX_PIXEL),
    )
    classifier_prefixes = ("fc6.", "fc7.", "fc8.")
    published_as = "c3d.pickle of https://github.com/DavideA/c3d-pytorch"

    @staticmethod
    def new_backbone() -> nn.Module:
        """`c3d_convolutions`."""
        return c3d_convolutions()

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> C3DConfig:
        """The published network."""
        return C3DConfig(num_frames=num_frames, image_size=image_size)

    def standardise(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(..., 3, H, W) uint8 RGB -> the same of ``dtype``, BGR in 0 to 255 less the mean."""
        return super().standardise(pixels, dtype).flip(-3)
