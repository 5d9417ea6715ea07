"""The VideoMAE path against `transformers` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import time_positions
from msqnet.model.video_encoders.tubelets import VideoMAEVideoEncoder

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


def tiny_config(**changes: object) -> VideoMAEConfig:
    """Small, but with initial weights large enough (0.1, not 0.02) for attention to matter."""
    settings: dict[str, object] = {
        "image_size": SIZE_PIXELS,
        "patch_size": PATCH_PIXELS,
        "num_frames": NUM_FRAMES,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "initializer_range": 0.1,
        "decoder_hidden_size": 24,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    }
    return VideoMAEConfig(**{**settings, **changes})


def fill_with_noise(model: torch.nn.Module) -> None:
    """Values as of a trained model: no bias is left at 0, no norm at 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def random_encoder(**changes: object) -> VideoMAEVideoEncoder:
    encoder = VideoMAEVideoEncoder(tiny_config(**changes))
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
    """As the preprocessor_config.json published with VideoMAE has it."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def mean_of_each_step(tokens: torch.Tensor, num_patches: int = NUM_PATCHES) -> torch.Tensor:
    """(B, S*P, D') -> (B, S, D'), one slice after the other."""
    starts = range(0, tokens.shape[1], num_patches)
    return torch.stack([tokens[:, at : at + num_patches].mean(dim=1) for at in starts], dim=1)


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
def classifier(tmp_path: Path) -> tuple[VideoMAEForVideoClassification, Path]:
    """A fine-tuned model and its folder, as the Kinetics weights are published."""
    model = VideoMAEForVideoClassification(tiny_config(num_labels=5))
    fill_with_noise(model)
    model.save_pretrained(tmp_path / "videomae")
    return model.eval(), tmp_path / "videomae"


def change_weights(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Overwrite, add or (None) remove tensors of a checkpoint on disk."""
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@torch.inference_mode()
def test_memory_equals_explicit_pooling_of_hugging_face_tokens() -> None:
    theirs = VideoMAEModel(tiny_config()).eval()
    fill_with_noise(theirs)
    ours = random_encoder()
    positions = {"embeddings.position_embeddings": theirs.embeddings.position_embeddings}
    ours.backbone.load_state_dict(theirs.state_dict() | positions)
    clips = random_clips(2)
    tokens = theirs(standardised(clips)).last_hidden_state
    assert tokens.shape == (2, NUM_STEPS * NUM_PATCHES, WIDTH)
    expected = functional.layer_norm(
        mean_of_each_step(tokens), (WIDTH,), ours.norm.weight, ours.norm.bias
    )
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_one_time_step_of_a_fine_tuned_model_is_what_its_classifier_saw(tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(tiny_config(num_frames=2, num_labels=5)).eval()
    fill_with_noise(model)
    model.save_pretrained(tmp_path)
    ours = VideoMAEVideoEncoder.from_pretrained(tmp_path, 2, SIZE_PIXELS)
    clips = random_clips(2, num_frames=2)
    memory = ours(clips)
    assert memory.shape == (2, 1, WIDTH)
    logits = model(standardised(clips)).logits
    torch.testing.assert_close(model.classifier(memory[:, 0]), logits, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_fine_tuned_norm_and_biases_are_loaded(
    classifier: tuple[VideoMAEForVideoClassification, Path],
) -> None:
    model, folder = classifier
    ours = VideoMAEVideoEncoder.from_pretrained(folder, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.norm.weight, model.fc_norm.weight)
    assert torch.equal(ours.norm.bias, model.fc_norm.bias)
    assert ours.norm.eps == model.fc_norm.eps
    # Published files name the biases otherwise than the module does.
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in load_file(
        folder / "model.safetensors"
    )
    for name, tensor in model.videomae.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in ours.parameters())
    clips = random_clips()
    tokens = model.videomae(standardised(clips)).last_hidden_state
    expected = model.fc_norm(mean_of_each_step(tokens))
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_pretrained_weights_keep_their_norm_and_leave_their_decoder(tmp_path: Path) -> None:
    # As published: what comes from masked pretraining says use_mean_pooling: false.
    model = VideoMAEForPreTraining(tiny_config(use_mean_pooling=False)).eval()
    fill_with_noise(model)
    model.save_pretrained(tmp_path)
    ours = VideoMAEVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.backbone.layernorm.weight, model.videomae.layernorm.weight)
    assert not [name for name, _ in ours.named_parameters() if name.startswith("norm.")]
    assert not [name for name in ours.state_dict() if "decoder" in name or "mask" in name]
    clips = random_clips()
    tokens = model.videomae(standardised(clips)).last_hidden_state
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_model_alone_with_mean_pooling_starts_with_a_plain_norm(tmp_path: Path) -> None:
    model = VideoMAEModel(tiny_config()).eval()
    fill_with_noise(model)
    model.save_pretrained(tmp_path)
    ours = VideoMAEVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.norm.weight, torch.ones(WIDTH))
    assert torch.equal(ours.norm.bias, torch.zeros(WIDTH))
    clips = random_clips()
    tokens = model(standardised(clips)).last_hidden_state
    expected = functional.layer_norm(mean_of_each_step(tokens), (WIDTH,))
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(
    ("num_frames", "size_pixels"),
    [(4, SIZE_PIXELS), (12, SIZE_PIXELS), (NUM_FRAMES, 48)],
    ids=["fewer_frames", "more_frames", "larger"],
)
@torch.inference_mode()
def test_clips_of_another_form_get_the_positions_of_a_model_built_for_them(
    classifier: tuple[VideoMAEForVideoClassification, Path], num_frames: int, size_pixels: int
) -> None:
    model, folder = classifier
    ours = VideoMAEVideoEncoder.from_pretrained(folder, num_frames, size_pixels)
    assert (ours.config.num_frames, ours.config.image_size) == (num_frames, size_pixels)
    theirs = VideoMAEModel(tiny_config(num_frames=num_frames, image_size=size_pixels)).eval()
    theirs.load_state_dict(model.videomae.state_dict())
    clips = random_clips(1, num_frames, size_pixels)
    tokens = theirs(standardised(clips)).last_hidden_state
    num_patches = (size_pixels // PATCH_PIXELS) ** 2
    expected = model.fc_norm(mean_of_each_step(tokens, num_patches))
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)
    # Time steps that both have keep their positions, as long as the frame size is the same.
    old = model.videomae.embeddings.position_embeddings
    new = ours.backbone.embeddings.position_embeddings
    num_shared = min(old.shape[1], new.shape[1])
    assert torch.equal(old[:, :num_shared], new[:, :num_shared])


@torch.inference_mode()
def test_each_memory_item_is_made_of_the_frames_that_its_span_names() -> None:
    encoder = random_encoder()
    spans = encoder.memory_spans(NUM_FRAMES)
    assert spans == ((0, 2), (2, 4), (4, 6), (6, 8))
    assert time_positions(spans) == (0, 1, 2, 3)
    for layer in encoder.backbone.encoder.layer:  # no token learns of another
        layer.attention.output.dense.weight.zero_()
    clip = random_clips()
    before = encoder(clip)
    for frame in range(NUM_FRAMES):
        changed = clip.clone()
        changed[:, frame] = 255 - changed[:, frame]
        is_other = (encoder(changed) != before).any(dim=-1)[0]
        assert is_other.tolist() == [first <= frame < end for first, end in spans]


@torch.inference_mode()
def test_order_of_time_steps_is_known_from_positions_alone() -> None:
    encoder = random_encoder()
    clip = random_clips()
    before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    assert (after - before[:, STEP_ORDER]).norm() > 0.1 * before.norm()
    encoder.backbone.embeddings.position_embeddings.zero_()
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


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 6, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 7, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 9, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 8, 3, 40, 40, dtype=torch.uint8),
        torch.zeros(1, 8, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(8, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 8, 3, 32, 32),
    ],
    ids=["few_frames", "odd", "one_too_many", "size", "grey", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor) -> None:
    encoder = VideoMAEVideoEncoder(tiny_config())
    with pytest.raises(ShapeError, match=r"expected torch.uint8 .* \(B, 8, 3, 32, 32\)"):
        encoder(pixels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 7}, "7 frames per clip, expected at least 2, a multiple of 2"),
        ({"num_frames": 0}, "0 frames per clip"),
        ({"image_size": 36}, "36 pixels, expected at least 8, a multiple of 8"),
        ({"image_size": [32, 16]}, "one number each"),
        ({"num_channels": 1}, "expected 3"),
    ],
)
def test_clips_that_tubelets_do_not_fit_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoMAEVideoEncoder(tiny_config(**changes))


def test_loading_for_an_odd_number_of_frames_is_refused(
    classifier: tuple[VideoMAEForVideoClassification, Path],
) -> None:
    with pytest.raises(ConfigError, match="5 frames per clip"):
        VideoMAEVideoEncoder.from_pretrained(classifier[1], 5, SIZE_PIXELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fc_norm.weight": torch.full((WIDTH,), torch.nan)}, "'fc_norm.weight' holds 48 of 48"),
        ({"fc_norm.weight": None}, r"1 tensors are missing: fc_norm.weight"),
        (
            {"videomae.encoder.layer.1.attention.attention.q_bias": None},
            r"1 tensors are missing: .*query.bias",
        ),
        ({"videomae.head.weight": torch.zeros(2)}, r"1 tensors are unexpected: .*head.weight"),
    ],
    ids=["nan", "no_norm", "no_bias", "unexpected"],
)
def test_damaged_checkpoint_is_refused_by_name(
    classifier: tuple[VideoMAEForVideoClassification, Path],
    changes: dict[str, torch.Tensor | None],
    message: str,
) -> None:
    change_weights(classifier[1], changes)
    with pytest.raises(CheckpointError, match=message):
        VideoMAEVideoEncoder.from_pretrained(classifier[1], NUM_FRAMES, SIZE_PIXELS)


def test_classifier_that_its_configuration_hides_is_refused_rather_than_robbed_of_its_norm(
    classifier: tuple[VideoMAEForVideoClassification, Path],
) -> None:
    file = classifier[1] / "config.json"
    file.write_text(file.read_text().replace("ForVideoClassification", "Model"))
    with pytest.raises(CheckpointError, match=r"unexpected: .*fc_norm"):
        VideoMAEVideoEncoder.from_pretrained(classifier[1], NUM_FRAMES, SIZE_PIXELS)


def test_absent_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing_here: cannot be loaded"):
        VideoMAEVideoEncoder.from_pretrained(tmp_path / "nothing_here", 8, SIZE_PIXELS)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(CheckpointError, match="found a model of type 'vit'"):
        VideoMAEVideoEncoder.from_pretrained(tmp_path, 8, SIZE_PIXELS)


@pytest.mark.parametrize("use_mean_pooling", [True, False])
def test_gradient_checkpointing_gives_the_same_gradient_to_every_parameter(
    use_mean_pooling: bool,
) -> None:
    encoder = random_encoder(use_mean_pooling=use_mean_pooling).train()
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
    encoder = VideoMAEVideoEncoder(tiny_config()).requires_grad_(False)
    assert not encoder(random_clips()).requires_grad


class _Whole(PreTrainedModel):
    """Holds the encoder as a model does that is built without storage and then loaded."""

    config_class = PreTrainedConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.video_encoder = VideoMAEVideoEncoder(tiny_config())
        self.post_init()


def test_encoder_inside_a_larger_model_survives_loading_and_takes_checkpointing(
    tmp_path: Path,
) -> None:
    saved = _Whole(PreTrainedConfig()).eval()
    fill_with_noise(saved)
    # Other positions than a model starts with: those of the file must be the ones used.
    saved.video_encoder.backbone.embeddings.position_embeddings.mul_(0.5)
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


@torch.inference_mode()
def test_encoder_without_storage_is_whole_after_taking_weights() -> None:
    saved = random_encoder()
    empty = VideoMAEVideoEncoder(tiny_config()).to("meta").eval()
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(saved.state_dict(), strict=True, assign=True)
    clips = random_clips()
    assert torch.equal(empty(clips), saved(clips))


def test_default_is_vit_b_with_fused_attention() -> None:
    config = VideoMAEVideoEncoder.default_config(16, 224)
    assert class_for_config(config) is VideoMAEVideoEncoder
    with torch.device("meta"):
        encoder = VideoMAEVideoEncoder(config)
    patches = 2 * 16 * 16 * 3 * 768 + 768
    attention = 4 * 768 * 768 + 3 * 768  # no bias of keys
    feed_forward = 2 * 768 * 3072 + 3072 + 768
    norm = 2 * 768
    expected = patches + 12 * (attention + feed_forward + 2 * norm) + norm
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected == 86_227_200
    assert encoder.backbone.embeddings.position_embeddings.shape == (1, 8 * 196, 768)
    assert encoder.backbone.config._attn_implementation == "sdpa"
