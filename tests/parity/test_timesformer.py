"""The TimeSformer path against `transformers.TimesformerModel` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    TimesformerModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.video_encoders.encoder import time_positions
from msqnet.model.video_encoders.timesformer import (
    TimesformerVideoEncoder,
    interpolate_position_embeddings,
    interpolate_time_embeddings,
)
from tests.parity.checkpoints import change_weights, standardised

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 8
SIZE_PIXELS = 64
PATCH_PIXELS = 8
NUM_PATCHES = (SIZE_PIXELS // PATCH_PIXELS) ** 2
PUBLISHED = ([0.45] * 3, [0.225] * 3)
"""Mean and standard deviation as the image processor published with TimeSformer has them."""
FRAME_ORDER = [3, 0, 5, 1, 7, 2, 4, 6]  # no frame stays in its place


def tiny_config(**changes: object) -> TimesformerConfig:
    """Small, but with initial weights large enough (0.1, not 0.02) for attention to matter."""
    settings: dict[str, object] = {
        "image_size": SIZE_PIXELS,
        "patch_size": PATCH_PIXELS,
        "num_frames": NUM_FRAMES,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "initializer_range": 0.1,
    }
    return TimesformerConfig(**{**settings, **changes})


def fill_time_embeddings(model: TimesformerModel) -> None:
    """Values as of a trained model: transformers starts them at zero."""
    torch.nn.init.normal_(model.embeddings.time_embeddings, std=0.1)


def flickering_clips(num_clips: int = 1, num_frames: int = NUM_FRAMES) -> torch.Tensor:
    """(B, T, 3, 64, 64) uint8: bright below and dark above, colours that change every frame."""
    shape = (num_clips, num_frames, 3)
    rows = torch.linspace(60, 200, SIZE_PIXELS)[:, None]
    frames = rows + 40 * torch.randn(*shape, 1, 1) + 8 * torch.randn(*shape, *(2 * [SIZE_PIXELS]))
    return frames.clamp(0, 255).to(torch.uint8)


def relative_change(before: torch.Tensor, after: torch.Tensor) -> float:
    return ((after - before).norm() / before.norm()).item()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A classifier for 8 frames on disk, as the Kinetics weights are published."""
    model = TimesformerForVideoClassification(tiny_config(num_labels=5))
    fill_time_embeddings(model.timesformer)
    model.save_pretrained(tmp_path / "timesformer")
    return tmp_path / "timesformer"


def test_memory_equals_explicit_pooling_of_hugging_face_tokens() -> None:
    theirs = TimesformerModel(tiny_config()).eval()
    fill_time_embeddings(theirs)
    ours = TimesformerVideoEncoder(tiny_config()).eval()
    ours.backbone.load_state_dict(theirs.state_dict())
    clips = flickering_clips(2)
    with torch.inference_mode():
        memory = ours(clips)
        tokens = theirs(standardised(clips, PUBLISHED)).last_hidden_state
    assert tokens.shape == (2, 1 + NUM_PATCHES * NUM_FRAMES, 48)
    assert memory.shape == (2, NUM_FRAMES + 1, ours.width)
    torch.testing.assert_close(memory[:, 0], tokens[:, 0], atol=1e-5, rtol=1e-5)
    for t in range(NUM_FRAMES):
        total = torch.zeros(2, ours.width, dtype=torch.float64)
        for p in range(NUM_PATCHES):
            total += tokens[:, 1 + p * NUM_FRAMES + t]
        # The loop adds in float64; the 1e-6 is float32 rounding of a mean of 64 values near 1.
        torch.testing.assert_close(
            memory[:, 1 + t].double(), total / NUM_PATCHES, atol=1e-6, rtol=0
        )


def test_flat_pooling_averages_the_token_sequence_in_bins() -> None:
    ours = TimesformerVideoEncoder(tiny_config(), frame_pooling="flat").eval()
    clips = flickering_clips()
    with torch.inference_mode():
        memory = ours(clips)
        tokens = ours.backbone(standardised(clips, PUBLISHED))
    num_tokens = tokens.shape[1]
    assert memory.shape == (1, NUM_FRAMES, ours.width)
    for index in range(NUM_FRAMES):
        start = index * num_tokens // NUM_FRAMES
        end = -(-(index + 1) * num_tokens // NUM_FRAMES)
        expected = tokens[:, start:end].mean(dim=1)
        torch.testing.assert_close(memory[:, index], expected, atol=1e-5, rtol=0)


def test_frame_order_moves_frame_features_and_hardly_touches_flat_strips() -> None:
    frames = TimesformerVideoEncoder(tiny_config()).eval()
    flat = TimesformerVideoEncoder(tiny_config(), frame_pooling="flat").eval()
    flat.load_state_dict(frames.state_dict())
    assert not frames.backbone.embeddings.time_embeddings.any()
    clip = flickering_clips()
    with torch.inference_mode():
        before, after = frames(clip), frames(clip[:, FRAME_ORDER])
        strips_before, strips_after = flat(clip), flat(clip[:, FRAME_ORDER])
    # Without time embeddings nothing but the order of float32 sums can differ.
    torch.testing.assert_close(after[:, 0], before[:, 0], atol=1e-5, rtol=0)
    features_before, features_after = before[:, 1:], after[:, 1:]
    torch.testing.assert_close(features_after, features_before[:, FRAME_ORDER], atol=1e-5, rtol=0)
    # Strips hold the same patches of all frames in any order; only the few tokens at the edges of
    # a bin change. Frame features of different frames are nearly unrelated vectors (sqrt 2).
    assert relative_change(strips_before, strips_after) < 0.3
    assert relative_change(features_before, features_after) > 1


def test_time_embeddings_make_frame_features_depend_on_order() -> None:
    encoder = TimesformerVideoEncoder(tiny_config()).eval()
    torch.nn.init.normal_(encoder.backbone.embeddings.time_embeddings)
    clip = flickering_clips()
    with torch.inference_mode():
        before, after = encoder(clip)[:, 1:], encoder(clip[:, FRAME_ORDER])[:, 1:]
    assert relative_change(before[:, FRAME_ORDER], after) > 0.1


@pytest.mark.parametrize(
    ("frame_pooling", "has_global_token", "positions"),
    [("frames", True, (-1, 0, 1, 2, 3)), ("flat", False, (0, 1, 2, 3))],
)
def test_memory_items_carry_their_time(
    frame_pooling: str, has_global_token: bool, positions: tuple[int, ...]
) -> None:
    encoder = TimesformerVideoEncoder(tiny_config(num_frames=4), frame_pooling=frame_pooling)
    spans = encoder.memory_spans(4)
    assert (None in spans) is has_global_token
    assert time_positions(spans) == positions
    with torch.inference_mode():
        memory = encoder(flickering_clips(num_frames=4))
    assert memory.shape[1] == len(spans) == len(positions)


def test_interpolated_time_embeddings_are_linear_and_keep_both_ends() -> None:
    # Frame i of 8 has value i (and -3i), so position x between frames has value x (and -3x).
    old = torch.stack([torch.arange(8.0), -3 * torch.arange(8.0)], dim=-1)[None]
    new = interpolate_time_embeddings(old, 16)
    expected = torch.linspace(0, 7, 16)
    torch.testing.assert_close(new[0], torch.stack([expected, -3 * expected], dim=-1))
    assert interpolate_time_embeddings(old, 8) is old
    kinked = torch.randn(1, 8, 3)
    stretched = interpolate_time_embeddings(kinked, 15)
    torch.testing.assert_close(stretched[:, ::2], kinked)
    torch.testing.assert_close(stretched[:, 1::2], (kinked[:, 1:] + kinked[:, :-1]) / 2)


def test_resized_position_embeddings_keep_the_global_one_and_the_layout() -> None:
    # The value is the row number of the patch, so rows must stay rows.
    rows = torch.arange(4.0).repeat_interleave(4)
    old = torch.cat([torch.tensor([100.0]), rows])[None, :, None]
    new = interpolate_position_embeddings(old, 8)
    assert new.shape == (1, 65, 1)
    assert new[0, 0, 0] == 100
    grid = new[0, 1:, 0].reshape(8, 8)
    torch.testing.assert_close(grid, grid[:, :1].expand(8, 8))
    assert (grid[1:, 0] > grid[:-1, 0]).all()
    assert interpolate_position_embeddings(old, 4) is old


def test_loading_at_twice_the_frames_equals_hugging_face_with_our_time_embeddings(
    checkpoint: Path,
) -> None:
    ours = TimesformerVideoEncoder.from_pretrained(checkpoint, num_frames=16)
    assert ours.config.num_frames == 16
    published = load_file(checkpoint / "model.safetensors")
    old = published["timesformer.embeddings.time_embeddings"]
    time_embeddings = ours.backbone.embeddings.time_embeddings.detach()
    assert torch.isfinite(time_embeddings).all()
    torch.testing.assert_close(time_embeddings[:, [0, -1]], old[:, [0, -1]])

    theirs = TimesformerModel(tiny_config(num_frames=16)).eval()
    body = {
        name.removeprefix("timesformer."): tensor
        for name, tensor in published.items()
        if name.startswith("timesformer.")
    }
    stretched = functional.interpolate(old.mT, size=16, mode="linear", align_corners=True).mT
    theirs.load_state_dict(body | {"embeddings.time_embeddings": stretched})
    clips = flickering_clips(1, 16)
    with torch.inference_mode():
        memory = ours(clips)
        tokens = theirs(standardised(clips, PUBLISHED)).last_hidden_state
    frame_features = tokens[:, 1:].unflatten(1, (NUM_PATCHES, 16)).mean(dim=1)
    torch.testing.assert_close(memory[:, 1:], frame_features, atol=1e-6, rtol=0)


def test_time_embeddings_of_another_length_are_dropped_as_the_released_code_does(
    checkpoint: Path,
) -> None:
    ours = TimesformerVideoEncoder.from_pretrained(checkpoint, 16, time_embeddings="zeros")
    theirs = TimesformerModel.from_pretrained(
        checkpoint, num_frames=16, ignore_mismatched_sizes=True
    ).eval()
    # transformers 4 left its zeros there, transformers 5 leaves whatever the memory held.
    torch.nn.init.zeros_(theirs.embeddings.time_embeddings)
    clips = flickering_clips(1, 16)
    with torch.inference_mode():
        memory = ours(clips)
        tokens = theirs(standardised(clips, PUBLISHED)).last_hidden_state
    frame_features = tokens[:, 1:].unflatten(1, (NUM_PATCHES, 16)).mean(dim=1)
    torch.testing.assert_close(memory[:, 1:], frame_features, atol=1e-6, rtol=0)

    same = TimesformerVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, time_embeddings="zeros")
    published = load_file(checkpoint / "model.safetensors")
    assert torch.equal(
        same.backbone.embeddings.time_embeddings,
        published["timesformer.embeddings.time_embeddings"],
    )


def test_loading_at_the_checkpoint_frames_changes_no_value(checkpoint: Path) -> None:
    ours = TimesformerVideoEncoder.from_pretrained(checkpoint, num_frames=NUM_FRAMES)
    published = load_file(checkpoint / "model.safetensors")
    state = ours.backbone.state_dict()
    assert {f"timesformer.{name}" for name in state} == {
        name for name in published if name.startswith("timesformer.")
    }
    for name, tensor in state.items():
        assert torch.equal(tensor, published[f"timesformer.{name}"]), name
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_loading_at_another_size_runs_on_frames_of_that_size(checkpoint: Path) -> None:
    encoder = TimesformerVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, image_size=48)
    pixels = flickering_clips()[..., :48, :48]
    with torch.inference_mode():
        memory = encoder(pixels)
    assert memory.shape == (1, NUM_FRAMES + 1, 48)
    with pytest.raises(ConfigError, match="a multiple of 8"):
        TimesformerVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, image_size=50)


def test_half_precision_checkpoint_is_computed_in_single(checkpoint: Path) -> None:
    model = TimesformerForVideoClassification.from_pretrained(checkpoint)
    model.half().save_pretrained(checkpoint)
    encoder = TimesformerVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES)
    assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"timesformer.layernorm.weight": torch.tensor([float("nan")] + 47 * [1.0])},
            r"'layernorm.weight' holds 1 of 48 values",
        ),
        (
            {"timesformer.embeddings.time_embeddings": torch.full((1, 8, 48), float("inf"))},
            r"time_embeddings' holds 384 of 384 values",
        ),
        ({"timesformer.embeddings.time_embeddings": None}, r"1 tensors are missing: .*time_emb"),
        ({"timesformer.embeddings.cls_token": None}, r"1 tensors are missing: .*cls_token"),
        ({"timesformer.head.weight": torch.zeros(2)}, r"1 tensors are unexpected: .*head.weight"),
        ({"timesformer.embeddings.time_embeddings": torch.zeros(1, 4, 48)}, "timesformer: "),
    ],
    ids=["nan", "inf", "no_time_embeddings", "no_global_token", "unexpected", "other_shape"],
)
def test_damaged_checkpoint_is_refused_by_name(
    checkpoint: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    change_weights(checkpoint, changes)
    with pytest.raises(CheckpointError, match=message):
        TimesformerVideoEncoder.from_pretrained(checkpoint, num_frames=16)


def test_truncated_absent_and_foreign_checkpoints_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="timesformer: cannot be loaded"):
        TimesformerVideoEncoder.from_pretrained(checkpoint, 8)
    weights.unlink()
    with pytest.raises(CheckpointError, match="timesformer: cannot be loaded"):
        TimesformerVideoEncoder.from_pretrained(checkpoint, 8)
    with pytest.raises(CheckpointError, match="nothing_here: cannot be loaded"):
        TimesformerVideoEncoder.from_pretrained(tmp_path / "nothing_here", 8)
    (checkpoint / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="found a model of type 'bert'"):
        TimesformerVideoEncoder.from_pretrained(checkpoint, 8)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 16, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 8, 3, 64, 32, dtype=torch.uint8),
        torch.zeros(1, 8, 1, 64, 64, dtype=torch.uint8),
        torch.zeros(8, 3, 64, 64, dtype=torch.uint8),
        torch.zeros(1, 8, 3, 64, 64),
    ],
    ids=["few_frames", "many_frames", "size", "grey", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor) -> None:
    encoder = TimesformerVideoEncoder(tiny_config())
    with pytest.raises(ShapeError, match=r"expected torch.uint8 .* \(B, 8, 3, 64, 64\)"):
        encoder(pixels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_type": "space_only"}, "space_only"),
        ({"image_size": [64, 32]}, "one number each"),
        ({"image_size": 60}, "a multiple of 8"),
        ({"num_frames": 0}, "at least 1"),
        ({"num_channels": 1}, "expected 3"),
    ],
)
def test_other_token_layout_or_pooling_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TimesformerVideoEncoder(tiny_config(**changes))
    with pytest.raises(ConfigError, match="'frames' or 'flat'"):
        TimesformerVideoEncoder(tiny_config(), frame_pooling="strips")
