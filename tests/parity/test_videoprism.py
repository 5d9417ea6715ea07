"""The VideoPrism path against the modules of `transformers` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    VideoPrismClipModel,
    VideoPrismConfig,
    VideoPrismForVideoClassification,
    VideoPrismTextConfig,
    VideoPrismVisionConfig,
    VideoPrismVisionModel,
)

from msqnet.errors import CheckpointError, ConfigError
from msqnet.model.attention import recorded_attention
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.videoprism import VideoPrismVideoEncoder
from tests.fixtures.tiny_encoders import flickering_clips, tiny_encoder_config
from tests.parity.checkpoints import change_weights, fill_with_noise

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 4
SIZE_PIXELS = 32
FRAME_ORDER = [2, 0, 3, 1]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tiny_config(**changes: Any) -> VideoPrismVisionConfig:
    config: Any = tiny_encoder_config("videoprism")
    config.tubelet_size = [1, 8, 8]
    # Products near the cap of attention, so that leaving it out would show.
    config.attn_logit_softcapping = 0.5
    for name, value in changes.items():
        setattr(config, name, value)
    found: VideoPrismVisionConfig = config
    return found


def published(kind: Any, folder: Path) -> Any:
    """A model of `transformers`, saved."""
    config: Any = tiny_config()
    if kind is VideoPrismClipModel:
        text = VideoPrismTextConfig(
            **{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24},
            **{"num_hidden_layers": 1, "vocab_size": 20},
        )
        vision = {**config.to_dict(), "intermediate_size": 32}
        config = VideoPrismConfig(text_config=text.to_dict(), vision_config=vision)
    model = kind(config)
    fill_with_noise(model, 0.3)
    model.save_pretrained(folder)
    return model.eval()


def memory_of(vision: VideoPrismVisionModel, clips: torch.Tensor, **options: Any) -> torch.Tensor:
    """The mean of each frame's tokens."""
    tokens = vision(clips.float() / 255, **options).last_hidden_state
    return tokens.unflatten(1, (clips.shape[1], -1)).mean(dim=2)


@pytest.mark.parametrize(
    "kind", [VideoPrismVisionModel, VideoPrismForVideoClassification, VideoPrismClipModel]
)
def test_memory_equals_hugging_face_tokens_of_each_frame(kind: Any, tmp_path: Path) -> None:
    theirs: Any = published(kind, tmp_path)
    if kind is VideoPrismClipModel:
        vision = theirs.video_model.vision_model
    else:
        vision = theirs if kind is VideoPrismVisionModel else theirs.vision_model
    ours = VideoPrismVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    clips = flickering_clips(ours.config, 2)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clips), memory_of(vision, clips), atol=1e-5, rtol=0)
    for name, tensor in vision.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in ours.parameters())


@pytest.mark.parametrize(("num_frames", "size"), [(NUM_FRAMES, 48), (6, SIZE_PIXELS), (2, 16)])
def test_another_form_equals_hugging_face_interpolation(
    tmp_path: Path, num_frames: int, size: int
) -> None:
    theirs = published(VideoPrismVisionModel, tmp_path)
    ours = VideoPrismVideoEncoder.from_pretrained(tmp_path, num_frames, size)
    assert (ours.num_frames, ours.image_size) == (num_frames, size)
    clips = flickering_clips(ours.config, 1)
    with torch.inference_mode():
        expected = memory_of(theirs, clips, interpolate_pos_encoding=True)
        torch.testing.assert_close(ours(clips), expected, atol=1e-5, rtol=0)


def test_recorded_attention_is_that_of_the_capped_products() -> None:
    encoder: Any = VideoPrismVideoEncoder(tiny_config())
    fill_with_noise(encoder, 0.5)
    clips = flickering_clips(encoder.train(mode=False).config, 1)
    with torch.inference_mode():
        plain = encoder(clips)
        with recorded_attention(encoder) as record:
            recorded = encoder(clips)
    torch.testing.assert_close(recorded, plain, atol=1e-5, rtol=0)
    grid = (SIZE_PIXELS // 8) ** 2
    shapes = [tuple(weights.shape) for weights in record.weights]
    assert shapes == [(NUM_FRAMES, 2, grid, grid)] * 2 + [(grid, 2, NUM_FRAMES, NUM_FRAMES)]
    maps = encoder.rollout(record, torch.eye(NUM_FRAMES))
    assert maps.shape == (NUM_FRAMES, 1, NUM_FRAMES, SIZE_PIXELS // 8, SIZE_PIXELS // 8)
    torch.testing.assert_close(maps.sum(dim=(1, 2, 3, 4)), torch.ones(NUM_FRAMES))


def test_frames_know_each_other_and_their_order() -> None:
    encoder: Any = VideoPrismVideoEncoder(tiny_config())
    fill_with_noise(encoder, 0.3)
    clip = flickering_clips(encoder.train(mode=False).config, 1)
    other_end = clip.clone()
    other_end[:, -1] = 255 - other_end[:, -1]
    with torch.inference_mode():
        before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
        assert (encoder(other_end)[:, 0] - before[:, 0]).abs().max() > 1e-3
    assert (after - before[:, FRAME_ORDER]).abs().max() > 1e-2
    assert class_for_config(encoder.config) is VideoPrismVideoEncoder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layernorm2.weight": None}, r"1 tensors are missing: layernorm2.weight"),
        ({"extra": torch.zeros(1)}, r"1 tensors are unexpected: .*extra"),
    ],
)
def test_damaged_checkpoint_is_refused_by_name(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    published(VideoPrismVisionModel, tmp_path)
    assert "layernorm2.weight" in load_file(tmp_path / "model.safetensors")
    change_weights(tmp_path, changes)
    with pytest.raises(CheckpointError, match=message):
        VideoPrismVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tubelet_size": [2, 8, 8]}, "expected 1 frame and a square"),
        ({"tubelet_size": [1, 8, 4]}, "expected 1 frame and a square"),
        ({"image_size": 36}, "a multiple of 8"),
    ],
)
def test_what_it_cannot_cut_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoPrismVideoEncoder(tiny_config(**changes))
