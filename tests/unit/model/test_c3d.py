"""C3D: its published sizes, its pixels and its pooling."""

from __future__ import annotations

from math import prod

import torch

from msqnet.model.video_encoders.convolutional import C3DVideoEncoder, c3d_convolutions
from tests.fixtures.convolutional import C3D_CLASSIFIER, C3D_SHAPES

# Channels, frames, height and width after each stage for 16 frames of 112 x 112 (the paper's
# figure 3 and section 3.1).
STAGES = {
    "conv1": (64, 16, 112, 112),
    "pool1": (64, 16, 56, 56),
    "conv2": (128, 16, 56, 56),
    "pool2": (128, 8, 28, 28),
    "conv3b": (256, 8, 28, 28),
    "pool3": (256, 4, 14, 14),
    "conv4b": (512, 4, 14, 14),
    "pool4": (512, 2, 7, 7),
    "conv5b": (512, 2, 7, 7),
}


def test_every_stage_has_its_published_shape() -> None:
    with torch.device("meta"):
        network = c3d_convolutions()
        maps = torch.empty(1, 3, 16, 112, 112)
    found = {}
    for name, stage in network.named_children():
        maps = stage(maps)
        found[name] = tuple(maps.shape[1:])
    assert {name: found[name] for name in STAGES} == STAGES
    assert maps.shape[1:] == STAGES["conv5b"]


def test_the_number_of_parameters_is_the_published_one() -> None:
    with torch.device("meta"):
        own = sum(parameter.numel() for parameter in c3d_convolutions().parameters())
    assert own == sum(map(prod, C3D_SHAPES.values())) == 27_655_936
    # 79 million with the Sports-1M classifier (Carreira & Zisserman, 2017, table 1).
    assert own + sum(map(prod, C3D_CLASSIFIER.values())) == 79_991_015
    # 78,409,573 with one for the 101 classes of UCF101 (MMAction2's model card).
    sports_head = sum(prod(shape) for name, shape in C3D_CLASSIFIER.items() if "fc8" in name)
    ucf_head = 101 * 4096 + 101
    assert own + sum(map(prod, C3D_CLASSIFIER.values())) - sports_head + ucf_head == 78_409_573


def test_pixels_are_blue_green_red_less_the_mean() -> None:
    encoder = C3DVideoEncoder(C3DVideoEncoder.default_config(8, 16))
    red_green_blue = torch.tensor([255, 100, 0], dtype=torch.uint8).view(3, 1, 1)
    found = encoder.normalize(red_green_blue, torch.float32).flatten()
    torch.testing.assert_close(found, torch.tensor([0 - 90.25, 100 - 97.66, 255 - 101.41]))


def test_a_last_odd_frame_is_an_item_of_its_own() -> None:
    torch.manual_seed(0)
    encoder = C3DVideoEncoder(C3DVideoEncoder.default_config(17, 16)).eval()
    clip = torch.randint(0, 256, (1, 17, 3, 16, 16), dtype=torch.uint8)
    changed = clip.clone()
    changed[:, 16] = 255 - changed[:, 16]
    with torch.no_grad():
        before, after = encoder(clip), encoder(changed)
    moved = (after - before).norm(dim=2)[0] / before.norm(dim=2)[0]
    assert len(moved) == 3
    assert moved.argmax() == 2
    assert moved[2] > 0.05


def test_an_item_sees_the_frames_within_reach_only() -> None:
    torch.manual_seed(0)
    encoder = C3DVideoEncoder(C3DVideoEncoder.default_config(48, 16)).eval()
    clip = torch.randint(0, 256, (1, 48, 3, 16, 16), dtype=torch.uint8)
    changed = clip.clone()
    # 68 frames in all: item i sees 8 i - 30 .. 8 i + 37.
    changed[:, 38:] = 255 - changed[:, 38:]
    with torch.no_grad():
        before, after = encoder(clip), encoder(changed)
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=1e-5, atol=1e-5)
    moved = (after - before).norm(dim=2)[0] / before.norm(dim=2)[0]
    assert moved[1] > 1e-4
    assert moved[-1] > 0.05
