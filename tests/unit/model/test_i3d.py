"""I3D: its published sizes and its padding."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from msqnet.model.video_encoders.convolutional import (
    ConvUnit,
    I3DVideoEncoder,
    MaxPool,
    StoredBatchNorm,
    inception_v1,
    pad_same,
    same_padding,
)
from tests.fixtures.convolutional import I3D_CLASSIFIER, I3D_SHAPES

# Channels, frames, height and width after each stage for 64 frames of 224 x 224, as in the paper's
# figure 3 and the authors' code.
ENDPOINTS = {
    "Conv3d_1a_7x7": (64, 32, 112, 112),
    "MaxPool3d_2a_3x3": (64, 32, 56, 56),
    "Conv3d_2b_1x1": (64, 32, 56, 56),
    "Conv3d_2c_3x3": (192, 32, 56, 56),
    "MaxPool3d_3a_3x3": (192, 32, 28, 28),
    "Mixed_3b": (256, 32, 28, 28),
    "Mixed_3c": (480, 32, 28, 28),
    "MaxPool3d_4a_3x3": (480, 16, 14, 14),
    "Mixed_4b": (512, 16, 14, 14),
    "Mixed_4c": (512, 16, 14, 14),
    "Mixed_4d": (512, 16, 14, 14),
    "Mixed_4e": (528, 16, 14, 14),
    "Mixed_4f": (832, 16, 14, 14),
    "MaxPool3d_5a_2x2": (832, 8, 7, 7),
    "Mixed_5b": (832, 8, 7, 7),
    "Mixed_5c": (1024, 8, 7, 7),
}


def test_every_stage_has_its_published_shape() -> None:
    with torch.device("meta"):
        network = inception_v1()
        maps = torch.empty(1, 3, 64, 224, 224)
    found = {}
    for name, stage in network.named_children():
        maps = stage(maps)
        found[name] = tuple(maps.shape[1:])
    assert found == ENDPOINTS
    assert list(found) == list(ENDPOINTS)


def test_the_number_of_parameters_is_the_published_one() -> None:
    with torch.device("meta"):
        own = sum(parameter.numel() for parameter in inception_v1().parameters())
    classifier = sum(map(prod, I3D_CLASSIFIER.values()))
    assert own == 12_287_264
    # 12.69 million with the Kinetics classifier, by OpenVINO's model zoo (i3d-rgb-tf).
    assert own + classifier == 12_697_264
    # The published file has 50.9 MB: these and the stored statistics, of four bytes each.
    in_file = sum(map(prod, {**I3D_SHAPES, **I3D_CLASSIFIER}.values()))
    assert 4 * in_file == pytest.approx(50.9e6, rel=2e-3)


def test_pixels_are_scaled_to_minus_one_to_one() -> None:
    encoder = I3DVideoEncoder(I3DVideoEncoder.default_config(8, 32))
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1)
    scaled = encoder.normalize(pixels, torch.float32).flatten()
    torch.testing.assert_close(scaled, torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (224, 7, 2, (2, 3)),  # 112 steps: the last window starts at 222 - 2 and ends at 227
        (225, 7, 2, (3, 3)),
        (1, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (113, 3, 2, (1, 1)),
        (14, 2, 2, (0, 0)),
        (15, 2, 2, (0, 1)),
        (9, 3, 1, (1, 1)),
        (9, 1, 1, (0, 0)),
        (9, 1, 2, (0, 0)),
    ],
)
def test_same_padding_by_hand(
    size: int, kernel: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride) == expected


def test_padding_follows_each_axis() -> None:
    maps = torch.ones(1, 1, 5, 4, 3)
    padded = pad_same(maps, (1, 3, 7), (1, 2, 2))
    # Time: none. Height, 4 by 3 / 2: (0, 1). Width, 3 by 7 / 2: (3, 3).
    assert padded.shape == (1, 1, 5, 5, 9)
    assert torch.equal(padded[..., :4, 3:6], maps)
    assert padded.sum() == maps.sum()
    assert pad_same(maps, (1, 1, 1), (1, 1, 1)) is maps


def test_strided_convolution_pads_the_odd_row_behind() -> None:
    unit = ConvUnit(1, 1, (7, 7, 7), (2, 2, 2)).eval()
    nn.init.zeros_(unit.conv3d.weight)
    with torch.no_grad():
        unit.conv3d.weight[0, 0, 2, 2, 2] = 1  # with two zeros in front, this is the even frames
        maps = torch.rand(1, 1, 6, 4, 8)
        expected = maps[:, :, ::2, ::2, ::2] / (1 + 1e-3) ** 0.5
        torch.testing.assert_close(unit(maps), expected)


@pytest.mark.parametrize("size", [6, 7])
def test_pooling_of_odd_and_even_sizes(size: int) -> None:
    maps = torch.arange(1.0, size + 1).view(1, 1, 1, 1, size)
    pooled = MaxPool((1, 1, 3), (1, 1, 2))(maps).flatten().tolist()
    # Windows start at 0 where the size is even, and one before it where it is odd.
    assert pooled == {6: [3.0, 5.0, 6.0], 7: [2.0, 4.0, 6.0, 7.0]}[size]


def test_batch_norm_stays_in_eval_mode() -> None:
    encoder = I3DVideoEncoder(I3DVideoEncoder.default_config(8, 32)).train()
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
    assert len(norms) == 57
    assert all(isinstance(norm, StoredBatchNorm) and not norm.training for norm in norms)
    assert encoder.training


def test_an_item_sees_the_frames_within_reach_only() -> None:
    torch.manual_seed(0)
    encoder = I3DVideoEncoder(I3DVideoEncoder.default_config(64, 32)).eval()
    clip = torch.randint(0, 256, (1, 64, 3, 32, 32), dtype=torch.uint8)
    changed = clip.clone()
    # 99 frames in all; of a clip with a multiple of 8 frames item i sees 8 i - 44 .. 8 i + 54.
    changed[:, 55:] = 255 - changed[:, 55:]
    with torch.no_grad():
        before, after = encoder(clip), encoder(changed)
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=1e-5, atol=1e-5)
    moved = (after - before).norm(dim=2)[0] / before.norm(dim=2)[0]
    assert moved[1] > 1e-4
    assert moved[-1] > 0.03
