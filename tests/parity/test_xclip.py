"""The X-CLIP path against `transformers.XCLIPModel` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    XCLIPConfig,
    XCLIPModel,
    XCLIPVisionConfig,
    XCLIPVisionModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import FrameSpan
from msqnet.model.video_encoders.xclip import XCLIPVideoEncoder
from tests.parity.checkpoints import change_weights, fill_with_noise, standardised

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 4
SIZE_PIXELS = 32
WIDTH = 24
FRAME_ORDER = [2, 0, 3, 1]  # no frame stays in its place
NUM_TEXT_TOKENS = 20


def tiny_vision_config(**changes: Any) -> XCLIPVisionConfig:
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "mit_hidden_size": WIDTH,
        "mit_intermediate_size": 48,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 3,
        "image_size": SIZE_PIXELS,
        "patch_size": 8,
        "num_frames": NUM_FRAMES,
    }
    return XCLIPVisionConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole X-CLIP on disk, with text encoder and prompt generator, as it is published."""
    text_settings = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": NUM_TEXT_TOKENS,
    }
    config = XCLIPConfig(
        text_config=text_settings,
        vision_config=tiny_vision_config().to_dict(),
        projection_dim=WIDTH,
        prompt_num_attention_heads=4,
    )
    model = XCLIPModel(config)
    fill_with_noise(model, 0.05)
    model.save_pretrained(tmp_path / "xclip")
    return tmp_path / "xclip"


def random_clips(num_clips: int = 1, num_frames: int = NUM_FRAMES, size: int = SIZE_PIXELS) -> Any:
    return torch.randint(0, 256, (num_clips, num_frames, 3, size, size), dtype=torch.uint8)


def hugging_face_memory(model: XCLIPModel, clips: torch.Tensor, **options: Any) -> torch.Tensor:
    """[pooled, frames] of its integration transformer; the text does not matter to them."""
    output = model(
        input_ids=torch.tensor([[1, 5, NUM_TEXT_TOKENS - 1]]),
        pixel_values=standardised(clips),
        **options,
    )
    mit = output.mit_output
    return torch.cat([mit.pooler_output[:, None], mit.last_hidden_state], dim=1)


def test_memory_equals_hugging_face_frames_and_video_embedding(checkpoint: Path) -> None:
    ours = XCLIPVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, SIZE_PIXELS)
    theirs = XCLIPModel.from_pretrained(checkpoint).eval()
    clips = random_clips(2)
    with torch.inference_mode():
        memory = ours(clips)
        expected = hugging_face_memory(theirs, clips)
    assert memory.shape == (2, NUM_FRAMES + 1, WIDTH)
    assert ours.width == WIDTH
    torch.testing.assert_close(memory, expected, atol=1e-5, rtol=0)
    assert not ours.training
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_loading_takes_every_tensor_of_the_video_side(checkpoint: Path) -> None:
    ours = XCLIPVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, SIZE_PIXELS)
    published = load_file(checkpoint / "model.safetensors")
    state = ours.backbone.state_dict()
    for name, tensor in state.items():
        assert torch.equal(tensor, published[name]), name
    of_video = ("vision_model.", "visual_projection.", "mit.")
    assert set(state) == {name for name in published if name.startswith(of_video)}


def test_loading_at_twice_the_frames_interpolates_time_positions(checkpoint: Path) -> None:
    ours = XCLIPVideoEncoder.from_pretrained(checkpoint, 2 * NUM_FRAMES, SIZE_PIXELS)
    assert ours.config.num_frames == 2 * NUM_FRAMES
    old = load_file(checkpoint / "model.safetensors")["mit.position_embedding"]
    stretched = functional.interpolate(old.mT, size=8, mode="linear", align_corners=True).mT
    theirs = XCLIPModel(
        XCLIPConfig(
            **{
                **XCLIPConfig.from_pretrained(checkpoint).to_dict(),
                "vision_config": tiny_vision_config(num_frames=8).to_dict(),
            }
        )
    ).eval()
    weights = load_file(checkpoint / "model.safetensors")
    theirs.load_state_dict(weights | {"mit.position_embedding": stretched})
    clips = random_clips(1, 8)
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(clips), hugging_face_memory(theirs, clips), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("size", [48, 16])
def test_other_frame_size_equals_hugging_face_interpolation(checkpoint: Path, size: int) -> None:
    ours = XCLIPVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, size)
    theirs = XCLIPModel.from_pretrained(checkpoint).eval()
    clips = random_clips(1, NUM_FRAMES, size)
    with torch.inference_mode():
        expected = hugging_face_memory(theirs, clips, interpolate_pos_encoding=True)
        torch.testing.assert_close(ours(clips), expected, atol=1e-5, rtol=0)


def test_frames_exchange_messages_and_only_positions_give_them_an_order() -> None:
    encoder = XCLIPVideoEncoder(tiny_vision_config()).eval()
    clip = random_clips()
    other_end = clip.clone()
    other_end[:, -1] = 255 - other_end[:, -1]
    with torch.inference_mode():
        torch.nn.init.zeros_(encoder.backbone.mit.position_embedding)
        before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
        torch.testing.assert_close(after[:, 0], before[:, 0], atol=1e-5, rtol=0)
        torch.testing.assert_close(after[:, 1:], before[:, 1:][:, FRAME_ORDER], atol=1e-5, rtol=0)
        # A change of the last frame is seen in the first frame's feature.
        assert (encoder(other_end)[:, 1] - before[:, 1]).abs().max() > 1e-3
        torch.nn.init.normal_(encoder.backbone.mit.position_embedding)
        before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    assert (after[:, 1:] - before[:, 1:][:, FRAME_ORDER]).abs().max() > 0.1


def test_memory_items_are_the_clip_and_its_frames() -> None:
    encoder = XCLIPVideoEncoder(tiny_vision_config())
    assert encoder.memory_spans(2) == (None, FrameSpan(0, 1), FrameSpan(1, 2))
    assert class_for_config(encoder.config) is XCLIPVideoEncoder


def test_position_numbers_in_older_checkpoints_are_passed_over(checkpoint: Path) -> None:
    numbers = torch.arange(17)[None]
    change_weights(
        checkpoint,
        {
            "vision_model.embeddings.position_ids": numbers,
            "text_model.embeddings.position_ids": torch.arange(77)[None],
        },
    )
    ours = XCLIPVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.backbone.vision_model.embeddings.position_ids, numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mit.position_embedding": None}, r"1 tensors are missing: mit.position_embedding"),
        ({"visual_projection.weight": None}, r"1 tensors are missing: visual_projection"),
        ({"vision_model.extra": torch.zeros(1)}, r"1 tensors are unexpected: .*extra"),
        (
            {"mit.position_embedding": torch.full((1, NUM_FRAMES, WIDTH), float("nan"))},
            r"mit.position_embedding' holds 96 of 96 values",
        ),
    ],
    ids=["no_time_positions", "no_projection", "unexpected", "nan"],
)
def test_damaged_checkpoint_is_refused_by_name(
    checkpoint: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    change_weights(checkpoint, changes)
    with pytest.raises(CheckpointError, match=message):
        XCLIPVideoEncoder.from_pretrained(checkpoint, NUM_FRAMES, SIZE_PIXELS)


def test_image_encoder_alone_and_other_models_are_refused(tmp_path: Path) -> None:
    XCLIPVisionModel(tiny_vision_config()).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="found a model of type 'xclip_vision_model'"):
        XCLIPVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match="found a model of type 'clip', expected 'xclip'"):
        XCLIPVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": [32, 16]}, "expected one number each"),
        ({"image_size": 30}, "frames of 30 pixels, expected at least 8, a multiple of 8"),
        ({"num_frames": 0}, "0 frames per clip, expected at least 1"),
        ({"num_channels": 1}, r"expected 3 \(RGB\)"),
    ],
)
def test_frames_and_sizes_that_cannot_be_taken_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        XCLIPVideoEncoder(tiny_vision_config(**changes))


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8),
        # Twice the frames: the backbone alone would take them for two clips.
        torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 32, 16, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 48, 48, dtype=torch.uint8),
        torch.zeros(4, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 32, 32),
    ],
    ids=["few_frames", "many_frames", "not_square", "size", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor) -> None:
    encoder = XCLIPVideoEncoder(tiny_vision_config())
    with pytest.raises(ShapeError, match=r"expected torch.uint8 .* \(B, 4, 3, 32, 32\)"):
        encoder(pixels)


def test_new_encoder_without_weights_is_of_base_size() -> None:
    config = XCLIPVideoEncoder.default_config(16, 224)
    assert (config.num_frames, config.image_size, config.patch_size) == (16, 224, 16)
    assert (config.hidden_size, config.mit_hidden_size) == (768, 512)
