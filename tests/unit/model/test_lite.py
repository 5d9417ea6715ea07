"""The ``lite`` encoder: its convolutional trunk, its statistics and its frame memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model import checkpoints
from msqnet.model.computing import Fusable
from msqnet.model.video_encoders import lite
from msqnet.model.video_encoders.encoder import time_positions
from msqnet.model.video_encoders.lite import (
    EfficientNetLite0,
    LiteConfig,
    LiteVideoEncoder,
    load_published_state_dict,
    pretrained_state_dict,
    video_statistics,
)
from tests.fixtures.models import fill_with_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

NUM_FRAMES = 3
WIDTH = 16


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite0:
    torch.manual_seed(0)
    trunk = EfficientNetLite0().eval()
    fill_with_noise(trunk)
    return trunk


def lite_encoder(**changes: int) -> LiteVideoEncoder:
    settings = {
        "image_size": 64,
        "num_frames": NUM_FRAMES,
        "num_views": 2,
        "grid_size": 2,
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    encoder = LiteVideoEncoder(LiteConfig(**{**settings, **changes})).eval()
    fill_with_noise(encoder)
    return encoder


def random_pixels(num_clips: int, size: int = 64) -> Tensor:
    shape = (num_clips, NUM_FRAMES, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def unfused(layer: nn.Module, x: Tensor) -> Tensor:
    """TensorFlow's SAME rule by its definition, then convolution, then batch norm."""
    kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        size_out = math.ceil(size / stride)
        total = max((size_out - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    convolved = functional.conv2d(
        functional.pad(x, pads), layer.conv.weight, stride=stride, groups=layer.conv.groups
    )
    norm = layer.norm
    return functional.batch_norm(
        convolved, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3
    )


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 6), (5, 12), (1, 1)])
def test_every_layer_equals_tensorflow_padding_convolution_and_batch_norm(
    trunk: EfficientNetLite0, size: tuple[int, int]
) -> None:
    # Every kernel (1, 3, 5) with every stride (1, 2), depthwise and not.
    layers = [
        trunk.stem,
        trunk.blocks[0].depthwise,
        trunk.blocks[1].depthwise,
        trunk.blocks[3].depthwise,
        trunk.blocks[4].depthwise,
        trunk.blocks[1].project,
    ]
    assert {(layer.kernel_size, layer.stride) for layer in layers} == {
        (3, 2), (3, 1), (5, 2), (5, 1), (1, 1),
    }  # fmt: skip
    for layer in layers:
        x = torch.randn(2, layer.conv.in_channels, *size)
        # float32 rounding of values of the size of 10 at most.
        torch.testing.assert_close(layer(x), unfused(layer, x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (65, 33)])
def test_whole_trunk_equals_the_unfused_network(size: tuple[int, int]) -> None:
    trunk = EfficientNetLite0().eval()
    fill_with_noise(trunk)
    # Random weights magnify rounding from layer to layer; float64 leaves room for that.
    trunk.double()
    pixels = torch.randn(2, 3, *size, dtype=torch.float64)
    maps, pooled = trunk(pixels)
    x = functional.relu6(unfused(trunk.stem, pixels))
    for block in trunk.blocks:
        hidden = x if block.expand is None else functional.relu6(unfused(block.expand, x))
        hidden = functional.relu6(unfused(block.depthwise, hidden))
        hidden = unfused(block.project, hidden)
        x = x + hidden if hidden.shape == x.shape else hidden
    assert maps.shape == (2, 320, math.ceil(size[0] / 32), math.ceil(size[1] / 32))
    torch.testing.assert_close(maps, x, atol=1e-8, rtol=1e-8)
    expected = functional.relu6(unfused(trunk.head, x)).mean(dim=(2, 3))
    torch.testing.assert_close(pooled, expected, atol=1e-8, rtol=1e-8)


def test_fused_trunk_gives_the_same_bits() -> None:
    trunk = EfficientNetLite0().eval()
    fill_with_noise(trunk)
    pixels = torch.randn(2, 3, 64, 64)
    expected = trunk(pixels)
    for module in trunk.modules():
        if isinstance(module, Fusable):
            module.fuse()
            assert module.fused_weight is not None
    for found, plain in zip(trunk(pixels), expected, strict=True):
        assert torch.equal(found, plain)


@pytest.mark.weights
def test_published_weights_fill_every_tensor_of_the_trunk() -> None:
    trunk = EfficientNetLite0().eval()
    published = pretrained_state_dict()
    load_published_state_dict(trunk, published)
    assert torch.equal(trunk.stem.conv.weight, published["_conv_stem.weight"])
    assert torch.equal(trunk.head.norm.running_var, published["_bn1.running_var"])
    last = trunk.blocks[15].project.conv.weight
    assert torch.equal(last, published["_blocks.15._project_conv.weight"])
    assert len([name for name in published if not name.startswith("_fc")]) == len(
        trunk.state_dict()
    )


@pytest.mark.weights
def test_published_weights_that_lack_a_tensor_are_refused() -> None:
    published = pretrained_state_dict()
    del published["_blocks.3._bn1.running_mean"]
    with pytest.raises(CheckpointError, match=r"blocks\.3\.depthwise\.norm\.running_mean"):
        load_published_state_dict(EfficientNetLite0(), published)


@pytest.mark.parametrize(
    "foreign",
    [
        {"_conv_stem.weight": torch.zeros(1)},
        {"features.0.weight": torch.zeros(1)},
        {"_blocks.0._se_reduce.weight": torch.zeros(1)},
        {"weight": torch.zeros(1)},
    ],
    ids=["other shape", "other network", "squeeze and excitation", "no module"],
)
def test_weights_of_another_network_are_refused(foreign: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="not EfficientNet-Lite0 weights"):
        load_published_state_dict(EfficientNetLite0(), foreign)


def test_statistics_never_change_in_training(trunk: EfficientNetLite0) -> None:
    before = {name: tensor.clone() for name, tensor in trunk.named_buffers()}
    pixels = torch.randn(2, 3, 64, 64)
    expected = trunk(pixels)[1]
    trunk.train()
    assert torch.equal(trunk(pixels)[1], expected)
    trunk.eval()
    for name, tensor in trunk.named_buffers():
        assert torch.equal(tensor, before[name])


def test_video_statistics_equal_numbers_worked_by_hand() -> None:
    pooled = torch.tensor([1.0, 3.0, 8.0]).view(1, 1, 3, 1)
    # mean 4; deviations 3, 1, 4; steps 2 and 5
    expected = torch.tensor([[4.0, math.sqrt(26 / 3), 3.5]])
    torch.testing.assert_close(video_statistics(pooled), expected)


def test_video_statistics_go_view_after_view() -> None:
    pooled = torch.randn(2, 2, 5, 7)
    whole, closeup = (video_statistics(pooled[:, view : view + 1]) for view in range(2))
    assert torch.equal(video_statistics(pooled), torch.cat([whole, closeup], dim=1))


def test_video_statistics_of_a_still_clip_have_a_finite_gradient() -> None:
    with torch.enable_grad():
        pooled = torch.ones(1, 1, 4, 3, requires_grad=True)
        video_statistics(pooled).sum().backward()
    assert pooled.grad.isfinite().all()


def test_single_frame_neither_varies_nor_changes() -> None:
    statistics = video_statistics(torch.randn(2, 1, 1, 3))
    # The square root of the 1e-12 that keeps the gradient finite.
    assert statistics[:, 3:].abs().max() <= 1.1e-6


def test_memory_holds_the_global_token_and_one_item_per_frame_and_view() -> None:
    encoder = lite_encoder()
    features = encoder.features(random_pixels(2), random_pixels(2))
    assert features["maps"].shape == (2, 2, NUM_FRAMES, 4, 320)
    assert features["pooled"].shape == (2, 2, NUM_FRAMES, 1280)
    assert encoder.memory(features).shape == (2, 1 + 2 * NUM_FRAMES, WIDTH)
    assert time_positions(encoder.memory_spans(NUM_FRAMES)) == (-1, 0, 1, 2, 0, 1, 2)


def test_without_blocks_memory_items_are_means_of_their_own_view_and_frame() -> None:
    encoder = lite_encoder(num_hidden_layers=0)
    features = encoder.features(random_pixels(1), random_pixels(1))
    memory = encoder.memory(features)
    for view in range(2):
        for frame in range(NUM_FRAMES):
            tokens = encoder.project(features["maps"][0, view, frame])
            tokens = tokens + encoder.cell_positions[view, 0] + encoder.frame_positions[frame, 0]
            expected = encoder.norm(tokens).mean(dim=0)
            found = memory[0, 1 + view * NUM_FRAMES + frame]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(memory[:, 0], encoder.norm(encoder.global_token)[:, 0])


def test_order_of_frames_matters() -> None:
    encoder = lite_encoder()
    nn.init.normal_(encoder.frame_positions)
    features = encoder.features(random_pixels(1), random_pixels(1))
    backwards = {name: values.flip(2) for name, values in features.items()}
    assert (encoder.memory(features)[:, 0] - encoder.memory(backwards)[:, 0]).abs().max() > 1e-3


def test_chunks_of_frames_give_what_all_at_once_give() -> None:
    # Other batch sizes add in another order; random weights magnify that, float64 leaves room.
    encoder = lite_encoder().double()
    pixels, motion_crops = random_pixels(3), random_pixels(3)
    chunked = encoder.features(pixels, motion_crops)
    with torch.enable_grad():
        at_once = encoder.features(pixels, motion_crops)
    torch.testing.assert_close(chunked["maps"], at_once["maps"], atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(chunked["pooled"], at_once["pooled"], atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, NUM_FRAMES, 3, 64, 64), "float32"),
        (torch.zeros(1, NUM_FRAMES + 1, 3, 64, 64, dtype=torch.uint8), r"\(1, 4, 3, 64, 64\)"),
        (torch.zeros(1, NUM_FRAMES, 3, 96, 96, dtype=torch.uint8), r"\(B, 3, 3, 64, 64\)"),
    ],
    ids=["float", "frames", "size"],
)
def test_pixels_of_another_shape_are_refused(pixels: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        lite_encoder(num_views=1).features(pixels)


@pytest.mark.parametrize("num_views", [1, 2])
def test_motion_crop_must_be_there_exactly_where_the_model_takes_one(num_views: int) -> None:
    views = [random_pixels(1) for _ in range(3 - num_views)]
    with pytest.raises(ShapeError, match=f"expected {num_views}"):
        lite_encoder(num_views=num_views).features(*views)


@pytest.mark.parametrize(("size", "grid"), [(60, 1), (64, 3), (64, 0)])
def test_sizes_that_do_not_fit_the_trunk_are_refused(size: int, grid: int) -> None:
    with pytest.raises(ConfigError, match=str(size)):
        lite_encoder(image_size=size, grid_size=grid)


def test_absent_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"msqnet\[lite\]"):
        lite.pretrained_state_dict()
