"""The V-JEPA 2 path against `transformers` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import time_positions
from msqnet.model.video_encoders.tubelets import VJEPA2VideoEncoder

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 8
NUM_STEPS = NUM_FRAMES // 2
SIZE_PIXELS = 32
PATCH_PIXELS = 8
NUM_PATCHES = (SIZE_PIXELS // PATCH_PIXELS) ** 2
WIDTH = 48
STEP_ORDER = [2, 0, 3, 1]  # no time step stays in its place
FRAME_ORDER = [4, 5, 0, 1, 6, 7, 2, 3]
# float32 sums in another order, of values of the size of 1.
ROUNDING = 1e-5


def tiny_config(**changes: object) -> VJEPA2Config:
    """Small, but with initial weights large enough (0.1, not 0.02) for attention to matter."""
    settings: dict[str, object] = {
        "crop_size": SIZE_PIXELS,
        "patch_size": PATCH_PIXELS,
        "frames_per_clip": NUM_FRAMES,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "mlp_ratio": 2,
        "initializer_range": 0.1,
        "num_pooler_layers": 1,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "pred_num_mask_tokens": 2,
    }
    return VJEPA2Config(**{**settings, **changes})


def fill_with_noise(model: torch.nn.Module) -> None:
    """Values as of a trained model: no bias is left at 0, no norm at 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def random_encoder(**changes: object) -> VJEPA2VideoEncoder:
    encoder = VJEPA2VideoEncoder(tiny_config(**changes))
    fill_with_noise(encoder)
    return encoder.eval()


def random_clips(
    num_clips: int = 1, num_frames: int = NUM_FRAMES, size_pixels: int = SIZE_PIXELS
) -> torch.Tensor:
    """(B, T, 3, H, W) uint8, a colour of its own in every frame."""
    colours = 128 + 50 * torch.randn(num_clips, num_frames, 3, 1, 1)
    noise = 20 * torch.randn(num_clips, num_frames, 3, size_pixels, size_pixels)
    return (colours + noise).clamp(0, 255).to(torch.uint8)


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """As `transformers.VJEPA2VideoProcessor` does it."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def mean_of_each_step(tokens: torch.Tensor, num_patches: int = NUM_PATCHES) -> torch.Tensor:
    """(B, S*P, D') -> (B, S, D'), one slice after the other."""
    starts = range(0, tokens.shape[1], num_patches)
    return torch.stack([tokens[:, at : at + num_patches].mean(dim=1) for at in starts], dim=1)


def encoder_weights(model: VJEPA2Model) -> dict[str, torch.Tensor]:
    weights = model.state_dict()
    return {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}


def turn_on_checkpointing(model: PreTrainedModel) -> None:
    """By the name that this release of transformers gives the method."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[VJEPA2Model, Path]:
    """A pretrained model with its predictor and its folder, as the weights are published."""
    model = VJEPA2Model(tiny_config())
    fill_with_noise(model)
    model.save_pretrained(tmp_path / "vjepa2")
    return model.eval(), tmp_path / "vjepa2"


def change_weights(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Overwrite, add or (None) remove tensors of a checkpoint on disk."""
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@torch.inference_mode()
def test_memory_equals_explicit_pooling_of_hugging_face_tokens() -> None:
    theirs = VJEPA2Model(tiny_config()).eval()
    fill_with_noise(theirs)
    ours = random_encoder()
    ours.backbone.load_state_dict(encoder_weights(theirs))
    clips = random_clips(2)
    tokens = theirs.get_vision_features(standardised(clips))
    assert tokens.shape == (2, NUM_STEPS * NUM_PATCHES, WIDTH)
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_pretrained_weights_are_loaded_without_their_predictor(
    checkpoint: tuple[VJEPA2Model, Path],
) -> None:
    model, folder = checkpoint
    assert any(name.startswith("predictor.") for name in load_file(folder / "model.safetensors"))
    ours = VJEPA2VideoEncoder.from_pretrained(folder, NUM_FRAMES, SIZE_PIXELS)
    weights = ours.backbone.state_dict()
    published = encoder_weights(model)
    assert weights.keys() == published.keys()
    for name, tensor in published.items():
        assert torch.equal(weights[name], tensor), name
    assert all(parameter.requires_grad for parameter in ours.parameters())


@torch.inference_mode()
def test_fine_tuned_weights_are_loaded_without_their_classifier(tmp_path: Path) -> None:
    model = VJEPA2ForVideoClassification(tiny_config(num_labels=5)).eval()
    fill_with_noise(model)
    model.save_pretrained(tmp_path)
    ours = VJEPA2VideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    clips = random_clips()
    tokens = model.vjepa2.get_vision_features(standardised(clips))
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(
    ("num_frames", "size_pixels"),
    [(2, SIZE_PIXELS), (12, SIZE_PIXELS), (NUM_FRAMES, 48), (NUM_FRAMES, 24)],
    ids=["fewer_frames", "more_frames", "larger", "smaller"],
)
@torch.inference_mode()
def test_clips_of_another_form_give_what_a_model_built_for_them_gives(
    checkpoint: tuple[VJEPA2Model, Path], num_frames: int, size_pixels: int
) -> None:
    model, folder = checkpoint
    ours = VJEPA2VideoEncoder.from_pretrained(folder, num_frames, size_pixels)
    assert (ours.config.frames_per_clip, ours.config.crop_size) == (num_frames, size_pixels)
    theirs = VJEPA2Model(tiny_config(frames_per_clip=num_frames, crop_size=size_pixels)).eval()
    theirs.load_state_dict(model.state_dict())
    clips = random_clips(1, num_frames, size_pixels)
    tokens = theirs.get_vision_features(standardised(clips))
    expected = mean_of_each_step(tokens, (size_pixels // PATCH_PIXELS) ** 2)
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_number_of_frames_is_free() -> None:
    encoder = random_encoder()
    clips = random_clips(1, 12)
    other = VJEPA2VideoEncoder(tiny_config(frames_per_clip=12)).eval()
    other.load_state_dict(encoder.state_dict())
    memory = encoder(clips)
    assert memory.shape == (1, 6, WIDTH)
    assert len(encoder.memory_spans(12)) == 6
    assert torch.equal(memory, other(clips))


@torch.inference_mode()
def test_each_memory_item_is_made_of_the_frames_that_its_span_names() -> None:
    encoder = random_encoder()
    spans = encoder.memory_spans(NUM_FRAMES)
    assert spans == ((0, 2), (2, 4), (4, 6), (6, 8))
    assert time_positions(spans) == (0, 1, 2, 3)
    for layer in encoder.backbone.encoder.layer:  # no token learns of another
        layer.attention.proj.weight.zero_()
    clip = random_clips()
    before = encoder(clip)
    for frame in range(NUM_FRAMES):
        changed = clip.clone()
        changed[:, frame] = 255 - changed[:, frame]
        is_other = (encoder(changed) != before).any(dim=-1)[0]
        assert is_other.tolist() == [first <= frame < end for first, end in spans]


@torch.inference_mode()
def test_order_of_time_steps_is_known_from_rotations_alone() -> None:
    encoder = random_encoder()
    clip = random_clips()
    before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    difference = (after - before[:, STEP_ORDER]).norm() / before.norm()
    # Rotations only turn queries and keys, so order shows less than the frames do, but it shows.
    assert difference > 1e-3
    for layer in encoder.backbone.encoder.layer:  # nothing left to rotate
        for projection in (layer.attention.query, layer.attention.key):
            projection.weight.zero_()
            projection.bias.zero_()
    before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    torch.testing.assert_close(after, before[:, STEP_ORDER], atol=ROUNDING, rtol=0)
    assert (after - before).norm() > 0.1 * before.norm()


@torch.inference_mode()
def test_batched_clips_equal_single_ones() -> None:
    encoder = random_encoder()
    clips = random_clips(3)
    batched = encoder(clips)
    single = torch.cat([encoder(clip[None]) for clip in clips])
    torch.testing.assert_close(batched, single, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_half_precision_backbone_gives_half_precision_memory() -> None:
    encoder = random_encoder()
    clips = random_clips()
    exact = encoder(clips)
    memory = encoder.to(torch.bfloat16)(clips)
    assert memory.dtype == torch.bfloat16
    # 8 bits of mantissa through 3 layers, on normed values of the size of 1.
    torch.testing.assert_close(memory.float(), exact, atol=0.15, rtol=0)


@torch.inference_mode()
def test_frames_of_another_size_are_refused_where_hugging_face_misplaces_them() -> None:
    encoder = random_encoder()
    clips = random_clips(1, size_pixels=40)
    fitting = VJEPA2VideoEncoder(tiny_config(crop_size=40)).eval()
    fitting.load_state_dict(encoder.state_dict())
    tokens = encoder.backbone(standardised(clips))  # no error, but rows and columns of 4 patches
    misplaced = mean_of_each_step(tokens, 25)
    assert (misplaced - fitting(clips)).abs().max() > 100 * ROUNDING
    with pytest.raises(ShapeError, match=r"\(1, 8, 3, 40, 40\), expected .* \(B, T, 3, 32, 32\)"):
        encoder(clips)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 7, 3, 32, 32, dtype=torch.uint8), "found 7 frames per clip"),
        (torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8), "found 1 frames per clip"),
        (torch.zeros(1, 0, 3, 32, 32, dtype=torch.uint8), "found 0 frames per clip"),
        (torch.zeros(1, 8, 1, 32, 32, dtype=torch.uint8), "expected torch.uint8"),
        (torch.zeros(8, 3, 32, 32, dtype=torch.uint8), "expected torch.uint8"),
        (torch.zeros(1, 8, 3, 32, 32), "found torch.float32"),
    ],
    ids=["odd", "single", "none", "grey", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        VJEPA2VideoEncoder(tiny_config())(pixels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames_per_clip": 7}, "7 frames per clip, expected at least 2, a multiple of 2"),
        ({"frames_per_clip": 0}, "0 frames per clip"),
        ({"crop_size": 36}, "36 pixels, expected at least 8, a multiple of 8"),
        ({"patch_size": [8, 8]}, "expected one number"),
        ({"in_chans": 1}, "expected 3"),
    ],
)
def test_clips_that_tubelets_do_not_fit_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        VJEPA2VideoEncoder(tiny_config(**changes))


def test_loading_for_an_odd_number_of_frames_is_refused(
    checkpoint: tuple[VJEPA2Model, Path],
) -> None:
    with pytest.raises(ConfigError, match="5 frames per clip"):
        VJEPA2VideoEncoder.from_pretrained(checkpoint[1], 5, SIZE_PIXELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder.layernorm.weight": torch.full((WIDTH,), torch.nan)},
            r"'encoder.layernorm.weight' holds 48 of 48",
        ),
        ({"encoder.layernorm.weight": None}, r"1 tensors are missing: .*layernorm.weight"),
        ({"encoder.head.weight": torch.zeros(2)}, r"1 tensors are unexpected: .*head.weight"),
    ],
    ids=["nan", "missing", "unexpected"],
)
def test_damaged_checkpoint_is_refused_by_name(
    checkpoint: tuple[VJEPA2Model, Path],
    changes: dict[str, torch.Tensor | None],
    message: str,
) -> None:
    change_weights(checkpoint[1], changes)
    with pytest.raises(CheckpointError, match=message):
        VJEPA2VideoEncoder.from_pretrained(checkpoint[1], NUM_FRAMES, SIZE_PIXELS)


def test_absent_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing_here: cannot be loaded"):
        VJEPA2VideoEncoder.from_pretrained(tmp_path / "nothing_here", 8, SIZE_PIXELS)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(CheckpointError, match="found a model of type 'vit'"):
        VJEPA2VideoEncoder.from_pretrained(tmp_path, 8, SIZE_PIXELS)


def test_gradient_checkpointing_gives_the_same_gradient_to_every_parameter() -> None:
    encoder = random_encoder().train()
    clips = random_clips()
    target = torch.randn(1, NUM_STEPS, WIDTH)

    def gradients() -> dict[str, torch.Tensor]:
        encoder.zero_grad()
        functional.mse_loss(encoder(clips), target).backward()
        return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}

    plain = gradients()
    turn_on_checkpointing(encoder.backbone)
    assert all(layer.gradient_checkpointing for layer in encoder.backbone.encoder.layer)
    checkpointed = gradients()
    for name, gradient in plain.items():
        assert gradient.any(), f"no gradient for {name}"
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_frozen_encoder_gives_memory_without_a_graph() -> None:
    encoder = VJEPA2VideoEncoder(tiny_config()).requires_grad_(False)
    assert not encoder(random_clips()).requires_grad


class _Whole(PreTrainedModel):
    """Holds the encoder as a model does that is built without storage and then loaded."""

    config_class = PreTrainedConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.video_encoder = VJEPA2VideoEncoder(tiny_config())
        self.post_init()


def test_encoder_inside_a_larger_model_survives_loading_and_takes_checkpointing(
    tmp_path: Path,
) -> None:
    saved = _Whole(PreTrainedConfig()).eval()
    fill_with_noise(saved)
    saved.save_pretrained(tmp_path)
    loaded, report = _Whole.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    weights = loaded.state_dict()
    assert weights.keys() == saved.state_dict().keys()
    for name, tensor in saved.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    clips = random_clips()
    with torch.inference_mode():
        assert torch.equal(loaded.video_encoder(clips), saved.video_encoder(clips))
    turn_on_checkpointing(loaded)
    assert all(
        layer.gradient_checkpointing for layer in loaded.video_encoder.backbone.encoder.layer
    )


def test_default_is_vit_l_with_fused_attention_and_no_predictor() -> None:
    config = VJEPA2VideoEncoder.default_config(16, 256)
    assert class_for_config(config) is VJEPA2VideoEncoder
    with torch.device("meta"):
        encoder = VJEPA2VideoEncoder(config)
    patches = 2 * 16 * 16 * 3 * 1024 + 1024
    attention = 4 * (1024 * 1024 + 1024)
    feed_forward = 2 * 1024 * 4096 + 4096 + 1024
    norm = 2 * 1024
    expected = patches + 24 * (attention + feed_forward + 2 * norm) + norm
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected == 303_885_312
    assert encoder.backbone.config._attn_implementation == "sdpa"
