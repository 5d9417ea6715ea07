"""The frame encoders against the image encoders of `transformers` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import FrameSpan
from msqnet.model.video_encoders.vit import IMAGE_ENCODER_KINDS, FrameEncoder
from tests.parity.vit_families import (
    FAMILIES,
    FRAME_ORDER,
    NUM_FRAMES,
    SIZE_PIXELS,
    WIDTH,
    WITH_POSITIONS,
    expected_features,
    publish,
    random_clips,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=sorted(FAMILIES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_kind_is_tested_and_found_by_its_configuration(kind: str) -> None:
    assert set(FAMILIES) == set(IMAGE_ENCODER_KINDS)
    assert class_for_config(FAMILIES[kind].config()) is FrameEncoder


def test_memory_equals_pooled_patches_of_hugging_face(kind: str, tmp_path: Path) -> None:
    theirs = publish(kind, tmp_path)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    torch.nn.init.normal_(ours.temporal_positions)
    clips = random_clips(2)
    with torch.inference_mode():
        memory = ours(clips)
        expected = expected_features(kind, theirs, clips) + ours.temporal_positions
    assert memory.shape == (2, NUM_FRAMES, WIDTH)
    assert ours.width == WIDTH
    # float32 rounding of other blocks of frames and of a mean of values near 1.
    torch.testing.assert_close(memory.double(), expected.double(), atol=1e-5, rtol=0)
    assert memory.std() > 0.1


def test_loading_changes_no_value_of_the_backbone(kind: str, tmp_path: Path) -> None:
    theirs = publish(kind, tmp_path).state_dict()
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    state = ours.backbone.state_dict()
    for name, tensor in state.items():
        assert torch.equal(tensor, theirs[name]), name
    left_out = {name.split(".")[0] for name in theirs.keys() - state.keys()}
    assert left_out == {"vit": {"pooler"}, "siglip_vision_model": {"head"}}.get(kind, set())
    assert not ours.temporal_positions.any()
    assert not ours.training


@pytest.mark.parametrize("kind", WITH_POSITIONS)
@pytest.mark.parametrize("size", [48, 16])
def test_other_frame_size_equals_hugging_face_interpolation(
    kind: str, size: int, tmp_path: Path
) -> None:
    theirs: Any = publish(kind, tmp_path)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, size)
    assert ours.config.image_size == size
    clips = random_clips(1, size)
    # The DINOv2 models interpolate of their own accord.
    flags = {} if kind.startswith("dinov2") else {"interpolate_pos_encoding": True}

    def interpolating(pixel_values: torch.Tensor) -> Any:
        return theirs(pixel_values=pixel_values, **flags)

    interpolating.post_layernorm = getattr(theirs, "post_layernorm", None)  # type: ignore[attr-defined]
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(clips).double(),
            expected_features(kind, interpolating, clips),
            atol=1e-5,
            rtol=0,
        )


def test_computed_positions_take_any_frame_size(tmp_path: Path) -> None:
    theirs = publish("dinov3_vit", tmp_path)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, 48)
    clips = random_clips(1, 48)
    with torch.inference_mode():
        expected = expected_features("dinov3_vit", theirs, clips)
        torch.testing.assert_close(ours(clips).double(), expected, atol=1e-5, rtol=0)


def test_frame_order_moves_memory_items_until_positions_are_learned(kind: str) -> None:
    encoder = FrameEncoder(FAMILIES[kind].encoder_config()).eval()
    clip = random_clips()
    with torch.inference_mode():
        before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
        torch.testing.assert_close(after, before[:, FRAME_ORDER], atol=1e-5, rtol=0)
        torch.nn.init.normal_(encoder.temporal_positions)
        moved = encoder(clip[:, FRAME_ORDER]) - encoder(clip)[:, FRAME_ORDER]
    positions = encoder.temporal_positions.detach()
    expected = (positions - positions[FRAME_ORDER])[None]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_memory_items_are_the_frames() -> None:
    encoder = FrameEncoder(FAMILIES["vit"].encoder_config())
    assert encoder.memory_spans(3) == (FrameSpan(0, 1), FrameSpan(1, 2), FrameSpan(2, 3))
