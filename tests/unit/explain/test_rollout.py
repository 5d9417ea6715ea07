"""Rollout against products of whole matrices, and on attention that was made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from transformers import TimesformerConfig

from msqnet.errors import ConfigError
from msqnet.explain.rollout import check_has_rollout, decoder_rollout
from msqnet.model.attention import (
    AttentionRecord,
    recorded_attention,
)
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.convolutional import C3DVideoEncoder
from msqnet.model.video_encoders.lite import LiteConfig
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from tests.fixtures.models import fill_with_noise, tiny_model
from tests.fixtures.tiny_encoders import flickering_clips, tiny_encoder_config

if TYPE_CHECKING:
    from msqnet.model.video_encoders.encoder import VideoEncoder

NUM_FRAMES, GRID = 4, 2
NUM_PATCHES = GRID**2


def recorded(encoder: VideoEncoder) -> tuple[AttentionRecord, int]:
    """Of one clip of an encoder with noise for weights; and its number of memory items."""
    fill_with_noise(encoder)
    encoder.eval()
    clips = flickering_clips(encoder.config, 1)
    with torch.no_grad(), recorded_attention(encoder) as record:
        memory = encoder(clips)
    return record, memory.shape[1]


def halved(attention: Tensor) -> Tensor:
    return (torch.eye(len(attention)) + attention) / 2


def token(patch: int, frame: int) -> int:
    """Number of a patch of a frame, the global token being 0."""
    return 1 + patch * NUM_FRAMES + frame


def divided_layer(over_space: Tensor, over_time: Tensor) -> Tensor:
    """The whole matrix of one layer: (T, 1 + P, 1 + P) and (P, T, T) -> (N, N)."""
    num_patches = len(over_time)
    size = 1 + num_patches * NUM_FRAMES
    time, space = torch.zeros(size, size), torch.zeros(size, size)
    time[0, 0] = 1  # the global token takes no part
    for patch in range(num_patches):
        for to in range(NUM_FRAMES):
            time[token(patch, to), token(patch, to)] += 0.5
            for of in range(NUM_FRAMES):
                time[token(patch, to), token(patch, of)] += over_time[patch, to, of] / 2
    space += torch.eye(size) / 2
    for frame in range(NUM_FRAMES):
        columns = [0, *(token(patch, frame) for patch in range(num_patches))]
        for place, number in enumerate(columns):
            share = 1 / NUM_FRAMES if number == 0 else 1.0  # its answers are averaged
            for other, column in enumerate(columns):
                space[number, column] += share * over_space[frame, place, other] / 2
    return space @ time


def patches_of(rows: Tensor, num_patches: int) -> Tensor:
    """(K, N) on tokens -> (K, T, P)."""
    return rows[:, 1:].unflatten(1, (num_patches, NUM_FRAMES)).transpose(1, 2)


def means_over_patches(num_patches: int) -> Tensor:
    """(T + 1, N): what the memory items [z_0, v_1 .. v_T] are made of."""
    items = torch.zeros(NUM_FRAMES + 1, 1 + num_patches * NUM_FRAMES)
    items[0, 0] = 1
    for frame in range(NUM_FRAMES):
        for patch in range(num_patches):
            items[1 + frame, token(patch, frame)] = 1 / num_patches
    return items


def test_timesformer_equals_the_product_of_whole_matrices() -> None:
    torch.manual_seed(0)
    encoder = TimesformerVideoEncoder(tiny_encoder_config("timesformer"))
    record, num_items = recorded(encoder)
    whole = torch.eye(1 + NUM_PATCHES * NUM_FRAMES)
    for layer in encoder.backbone.encoder.layer:
        over_space = record.of(layer.attention.attention).mean(1)
        over_time = record.of(layer.temporal_attention.attention).mean(1)
        whole = divided_layer(over_space, over_time) @ whole
    memory = torch.rand(3, num_items)
    expected = patches_of(memory @ means_over_patches(NUM_PATCHES) @ whole, NUM_PATCHES)
    found = encoder.rollout(record, memory)
    assert found.shape == (3, 1, NUM_FRAMES, GRID, GRID)
    torch.testing.assert_close(found.flatten(3)[:, 0], expected)


@pytest.mark.parametrize("frame_pooling", ["frames", "flat"])
def test_joint_attention_equals_the_product_of_whole_matrices(frame_pooling: Any) -> None:
    torch.manual_seed(0)
    config = TimesformerConfig(
        **{**tiny_encoder_config("timesformer").to_dict(), "attention_type": "joint_space_time"}
    )
    encoder = TimesformerVideoEncoder(config, frame_pooling=frame_pooling)
    record, num_items = recorded(encoder)
    first, second = (halved(weights[0].mean(0)) for weights in record.weights)
    size = 1 + NUM_PATCHES * NUM_FRAMES
    items = means_over_patches(NUM_PATCHES)
    if frame_pooling == "flat":  # the adaptive mean, as a matrix
        items = torch.nn.functional.adaptive_avg_pool1d(torch.eye(size), NUM_FRAMES).T
    memory = torch.rand(2, num_items)
    expected = patches_of(memory @ items @ second @ first, NUM_PATCHES)
    found = encoder.rollout(record, memory)
    torch.testing.assert_close(found.flatten(3)[:, 0], expected)


def test_both_views_of_lite_equal_the_product_of_whole_matrices() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    config = LiteConfig(image_size=64, num_frames=NUM_FRAMES, grid_size=2, **sizes)
    config.num_hidden_layers, config.num_views = 2, 2
    encoder: Any = class_for_config(config)(config)
    fill_with_noise(encoder)
    encoder.eval()
    looks = torch.randint(0, 256, (2, 1, NUM_FRAMES, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad(), recorded_attention(encoder) as record:
        encoder(looks[0], looks[1])
    num_cells = 2 * NUM_PATCHES  # of both looks, in one frame
    whole = torch.eye(1 + num_cells * NUM_FRAMES)
    for block in encoder.blocks:
        over_space = record.of(block.space_attention).mean(1)
        whole = divided_layer(over_space, record.of(block.time_attention).mean(1)) @ whole
    memory = torch.rand(3, 1 + 2 * NUM_FRAMES)
    tokens = torch.zeros(3, 1 + num_cells * NUM_FRAMES)
    tokens[:, 0] = memory[:, 0]
    for look in range(2):
        for frame in range(NUM_FRAMES):
            for cell in range(NUM_PATCHES):
                item = memory[:, 1 + look * NUM_FRAMES + frame]
                tokens[:, token(look * NUM_PATCHES + cell, frame)] = item / NUM_PATCHES
    expected = patches_of(tokens @ whole, num_cells).unflatten(2, (2, NUM_PATCHES))
    found = encoder.rollout(record, memory)
    assert found.shape == (3, 2, NUM_FRAMES, GRID, GRID)
    torch.testing.assert_close(found.flatten(3), expected.transpose(1, 2))


def test_videomae_equals_the_product_of_whole_matrices() -> None:
    torch.manual_seed(0)
    config = tiny_encoder_config("videomae")
    encoder = class_for_config(config)(config)
    record, num_items = recorded(encoder)
    first, second = (halved(weights[0].mean(0)) for weights in record.weights)
    memory = torch.rand(3, num_items)
    tokens = memory.repeat_interleave(NUM_PATCHES, dim=1) / NUM_PATCHES  # time-major
    expected = (tokens @ second @ first).unflatten(1, (num_items, NUM_PATCHES))
    found = encoder.rollout(record, memory)
    assert found.shape == (3, 1, NUM_FRAMES // 2, GRID, GRID)
    torch.testing.assert_close(found.flatten(3)[:, 0], expected)


@pytest.mark.parametrize("encoder_name", ["vit/clip", "vit/dinov2"])
def test_frame_encoders_stay_inside_of_each_frame(encoder_name: str) -> None:
    torch.manual_seed(0)
    config = tiny_encoder_config(encoder_name)
    encoder = class_for_config(config)(config)
    record, num_items = recorded(encoder)
    assert num_items == NUM_FRAMES
    memory = torch.rand(3, NUM_FRAMES)
    found = encoder.rollout(record, memory).flatten(3)[:, 0]  # (K, T, P)
    for frame in range(NUM_FRAMES):
        first, second = (halved(weights[frame].mean(0)) for weights in record.weights)
        rows = torch.cat([torch.zeros(3, 1), torch.ones(3, NUM_PATCHES) / NUM_PATCHES], dim=1)
        expected = (memory[:, frame : frame + 1] * rows) @ second @ first
        torch.testing.assert_close(found[:, frame], expected[:, 1:])


@pytest.mark.parametrize("changes", [{}, {"query_attention": False}, {"memory_encoder_layers": 2}])
def test_decoder_equals_the_product_of_whole_matrices(changes: dict[str, Any]) -> None:
    model = tiny_model("timesformer", video_query="none", image_encoder=None, **changes)
    clips = flickering_clips(model.config.video_encoder, 1)
    with torch.no_grad(), recorded_attention(model.decoder, model.memory_encoder) as record:
        memory = model(pixels=clips).memory
    num_labels, num_items = 3, memory.shape[1]
    # One matrix over queries and memory: what is left on the queries in the end does not count.
    size = num_labels + num_items
    whole = torch.eye(size)
    for layer in model.memory_encoder.layers if model.memory_encoder else ():
        step = torch.eye(size)
        step[num_labels:, num_labels:] = halved(record.of(layer.attention)[0].mean(0))
        whole = step @ whole
    for layer in model.decoder.layers:
        step = torch.eye(size)
        if layer.self_attention is not None:
            weights = record.of(layer.self_attention)[0].mean(0)
            step[:num_labels, :num_labels] = halved(weights)
        whole = step @ whole
        step = torch.eye(size)
        step[:num_labels, :num_labels] /= 2
        step[:num_labels, num_labels:] = record.of(layer.cross_attention)[0].mean(0) / 2
        whole = step @ whole
    expected = whole[:num_labels, num_labels:]
    found = decoder_rollout(model, record, [2, 0])
    torch.testing.assert_close(
        found, (expected / expected.sum(dim=1, keepdim=True))[[2, 0]], atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))


def test_attention_to_one_patch_puts_half_of_everything_there_with_each_layer() -> None:
    torch.manual_seed(0)
    config = tiny_encoder_config("videomae")
    encoder = class_for_config(config)(config)
    record = AttentionRecord()
    to_patch_5 = torch.zeros(1, 1, 8, 8)
    to_patch_5[..., 5] = 1
    for _ in range(2):
        record(encoder, to_patch_5)
    found = encoder.rollout(record, torch.tensor([[1.0, 0.0]]))
    # Patch 5 is of the second time step; of the first, which was asked for, a quarter remains.
    assert found[0, 0, 1].flatten().tolist() == [0, 0.75, 0, 0]
    assert found[0, 0, 0].flatten().tolist() == [0.0625] * 4


def test_encoder_without_attention_is_refused_by_name() -> None:
    with torch.device("meta"):
        encoder = C3DVideoEncoder(tiny_encoder_config("c3d"))
    with pytest.raises(ConfigError, match=r"C3D has no attention .* lite, timesformer, videomae"):
        check_has_rollout(encoder)
    with pytest.raises(ConfigError, match="C3D has no attention"):
        encoder.rollout(AttentionRecord(), torch.ones(1, 2))
