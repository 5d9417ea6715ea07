"""The VideoMAE and V-JEPA 2 paths against `transformers` with the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2Model,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import time_positions
from msqnet.model.video_encoders.tubelets import VideoMAEVideoEncoder, VJEPA2VideoEncoder
from tests.parity.checkpoints import change_weights, fill_with_noise, frames_of, standardised

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

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
# Initial weights of 0.1 instead of 0.02 make attention matter.
_SIZES = {
    "patch_size": PATCH_PIXELS,
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.1,
}
ENCODERS: dict[str, Any] = {"videomae": VideoMAEVideoEncoder, "vjepa2": VJEPA2VideoEncoder}
every_encoder = pytest.mark.parametrize("name", list(ENCODERS))


def videomae_config(**changes: object) -> VideoMAEConfig:
    settings: dict[str, object] = {
        "image_size": SIZE_PIXELS,
        "num_frames": NUM_FRAMES,
        "intermediate_size": 96,
        "decoder_hidden_size": 24,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    }
    return VideoMAEConfig(**{**_SIZES, **settings, **changes})


def vjepa2_config(**changes: object) -> VJEPA2Config:
    settings: dict[str, object] = {
        "crop_size": SIZE_PIXELS,
        "frames_per_clip": NUM_FRAMES,
        "mlp_ratio": 2,
        "num_pooler_layers": 1,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
        "pred_num_mask_tokens": 2,
    }
    return VJEPA2Config(**{**_SIZES, **settings, **changes})


def random_encoder(name: str, **changes: object) -> Any:
    config: Any = videomae_config if name == "videomae" else vjepa2_config
    encoder = ENCODERS[name](config(**changes))
    fill_with_noise(encoder)
    return encoder.eval()


def random_clips(
    num_clips: int = 1, num_frames: int = NUM_FRAMES, size_pixels: int = SIZE_PIXELS
) -> Tensor:
    """(B, T, 3, H, W) uint8, a colour of its own in every frame."""
    colours = 128 + 50 * torch.randn(num_clips, num_frames, 3, 1, 1)
    noise = 20 * torch.randn(num_clips, num_frames, 3, size_pixels, size_pixels)
    return (colours + noise).clamp(0, 255).to(torch.uint8)


def mean_of_each_step(tokens: Tensor, num_patches: int = NUM_PATCHES) -> Tensor:
    """(B, S*P, D') -> (B, S, D'), one slice after the other."""
    starts = range(0, tokens.shape[1], num_patches)
    return torch.stack([tokens[:, at : at + num_patches].mean(dim=1) for at in starts], dim=1)


def encoder_weights(model: VJEPA2Model) -> dict[str, Tensor]:
    weights = model.state_dict()
    return {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}


def saved(model: Any, folder: Path) -> Any:
    """The model in eval mode, with values as of a trained one, saved as weights are published."""
    fill_with_noise(model)
    model.save_pretrained(folder)
    return model.eval()


def published(name: str, folder: Path) -> tuple[Any, Path]:
    """A model and its folder, as the weights are published: a classifier, or with its predictor."""
    model = (
        VideoMAEForVideoClassification(videomae_config(num_labels=5))
        if name == "videomae"
        else VJEPA2Model(vjepa2_config())
    )
    return saved(model, folder / name), folder / name


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def classifier(tmp_path: Path) -> tuple[VideoMAEForVideoClassification, Path]:
    """A fine-tuned VideoMAE and its folder, as the Kinetics weights are published."""
    return published("videomae", tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[VJEPA2Model, Path]:
    """A pretrained V-JEPA 2 with its predictor and its folder, as the weights are published."""
    return published("vjepa2", tmp_path)


@torch.inference_mode()
def test_videomae_memory_equals_explicit_pooling_of_hugging_face_tokens() -> None:
    theirs = VideoMAEModel(videomae_config()).eval()
    fill_with_noise(theirs)
    ours = random_encoder("videomae")
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
def test_vjepa2_memory_equals_explicit_pooling_of_hugging_face_tokens() -> None:
    theirs = VJEPA2Model(vjepa2_config()).eval()
    fill_with_noise(theirs)
    ours = random_encoder("vjepa2")
    ours.backbone.load_state_dict(encoder_weights(theirs))
    clips = random_clips(2)
    tokens = theirs.get_vision_features(standardised(clips))
    assert tokens.shape == (2, NUM_STEPS * NUM_PATCHES, WIDTH)
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_one_time_step_of_a_fine_tuned_model_is_what_its_classifier_saw(tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(videomae_config(num_frames=2, num_labels=5))
    saved(model, tmp_path)
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
    model = VideoMAEForPreTraining(videomae_config(use_mean_pooling=False))
    saved(model, tmp_path)
    ours = VideoMAEVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.backbone.layernorm.weight, model.videomae.layernorm.weight)
    assert not [name for name, _ in ours.named_parameters() if name.startswith("norm.")]
    assert not [name for name in ours.state_dict() if "decoder" in name or "mask" in name]
    clips = random_clips()
    tokens = model.videomae(standardised(clips)).last_hidden_state
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_model_alone_with_mean_pooling_starts_with_a_plain_norm(tmp_path: Path) -> None:
    model = VideoMAEModel(videomae_config())
    saved(model, tmp_path)
    ours = VideoMAEVideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.norm.weight, torch.ones(WIDTH))
    assert torch.equal(ours.norm.bias, torch.zeros(WIDTH))
    clips = random_clips()
    tokens = model(standardised(clips)).last_hidden_state
    expected = functional.layer_norm(mean_of_each_step(tokens), (WIDTH,))
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


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
    model = VJEPA2ForVideoClassification(vjepa2_config(num_labels=5))
    saved(model, tmp_path)
    ours = VJEPA2VideoEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    clips = random_clips()
    tokens = model.vjepa2.get_vision_features(standardised(clips))
    torch.testing.assert_close(ours(clips), mean_of_each_step(tokens), atol=ROUNDING, rtol=0)


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
    theirs = VideoMAEModel(videomae_config(num_frames=num_frames, image_size=size_pixels)).eval()
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
    theirs = VJEPA2Model(vjepa2_config(frames_per_clip=num_frames, crop_size=size_pixels)).eval()
    theirs.load_state_dict(model.state_dict())
    clips = random_clips(1, num_frames, size_pixels)
    tokens = theirs.get_vision_features(standardised(clips))
    expected = mean_of_each_step(tokens, (size_pixels // PATCH_PIXELS) ** 2)
    torch.testing.assert_close(ours(clips), expected, atol=ROUNDING, rtol=0)


@torch.inference_mode()
def test_number_of_frames_is_free() -> None:
    encoder = random_encoder("vjepa2")
    clips = random_clips(1, 12)
    other = VJEPA2VideoEncoder(vjepa2_config(frames_per_clip=12)).eval()
    other.load_state_dict(encoder.state_dict())
    memory = encoder(clips)
    assert memory.shape == (1, 6, WIDTH)
    assert len(encoder.memory_spans(12)) == 6
    assert torch.equal(memory, other(clips))


@every_encoder
@torch.inference_mode()
def test_each_memory_item_is_made_of_the_frames_that_its_span_names(name: str) -> None:
    encoder = random_encoder(name)
    spans = encoder.memory_spans(NUM_FRAMES)
    assert spans == ((0, 2), (2, 4), (4, 6), (6, 8))
    assert time_positions(spans) == (0, 1, 2, 3)
    for layer in encoder.backbone.encoder.layer:  # no token learns of another
        last = layer.attention.output.dense if name == "videomae" else layer.attention.proj
        last.weight.zero_()
    clip = random_clips()
    before = encoder(clip)
    for frame in range(NUM_FRAMES):
        changed = clip.clone()
        changed[:, frame] = 255 - changed[:, frame]
        is_other = (encoder(changed) != before).any(dim=-1)[0]
        assert is_other.tolist() == [first <= frame < end for first, end in spans]


@torch.inference_mode()
def test_order_of_time_steps_is_known_from_positions_alone() -> None:
    encoder = random_encoder("videomae")
    clip = random_clips()
    before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    assert (after - before[:, STEP_ORDER]).norm() > 0.1 * before.norm()
    encoder.backbone.embeddings.position_embeddings.zero_()
    before, after = encoder(clip), encoder(clip[:, FRAME_ORDER])
    torch.testing.assert_close(after, before[:, STEP_ORDER], atol=ROUNDING, rtol=0)
    assert (after - before).norm() > 0.1 * before.norm()


@torch.inference_mode()
def test_order_of_time_steps_is_known_from_rotations_alone() -> None:
    encoder = random_encoder("vjepa2")
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
def test_frames_of_another_size_are_refused_where_hugging_face_misplaces_them() -> None:
    encoder = random_encoder("vjepa2")
    clips = random_clips(1, size_pixels=40)
    fitting = VJEPA2VideoEncoder(vjepa2_config(crop_size=40)).eval()
    fitting.load_state_dict(encoder.state_dict())
    tokens = encoder.backbone(standardised(clips))  # no error, but rows and columns of 4 patches
    misplaced = mean_of_each_step(tokens, 25)
    assert (misplaced - fitting(clips)).abs().max() > 100 * ROUNDING
    with pytest.raises(ShapeError, match=r"\(1, 8, 3, 40, 40\), expected .* \(B, T, 3, 32, 32\)"):
        encoder(clips)


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        *(
            ("videomae", pixels, r"expected torch.uint8 .* \(B, 8, 3, 32, 32\)")
            for pixels in (
                *(frames_of(number) for number in (6, 7, 9)),
                frames_of(8, 3, 40, 40),
                frames_of(8, 1, 32, 32),
                frames_of(8)[0],
                frames_of(8, dtype=torch.float32),
            )
        ),
        *(("vjepa2", frames_of(n), f"found {n} frames per clip") for n in (0, 1, 7)),
        ("vjepa2", frames_of(8, 1, 32, 32), "expected torch.uint8"),
        ("vjepa2", frames_of(8)[0], "expected torch.uint8"),
        ("vjepa2", frames_of(8, dtype=torch.float32), "found torch.float32"),
    ],
)
def test_clip_of_another_shape_is_refused(name: str, pixels: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        random_encoder(name)(pixels)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("videomae", {"num_frames": 7}, "7 frames per clip, expected at least 2, a multiple of 2"),
        ("videomae", {"num_frames": 0}, "0 frames per clip"),
        ("videomae", {"image_size": 36}, "36 pixels, expected at least 8, a multiple of 8"),
        ("videomae", {"image_size": [32, 16]}, "one number each"),
        ("videomae", {"num_channels": 1}, "expected 3"),
        ("vjepa2", {"frames_per_clip": 7}, "7 frames per clip, expected at least 2, a multiple"),
        ("vjepa2", {"frames_per_clip": 0}, "0 frames per clip"),
        ("vjepa2", {"crop_size": 36}, "36 pixels, expected at least 8, a multiple of 8"),
        ("vjepa2", {"patch_size": [8, 8]}, "expected one number"),
        ("vjepa2", {"in_chans": 1}, "expected 3"),
    ],
)
def test_clips_that_tubelets_do_not_fit_are_refused(
    name: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        random_encoder(name, **changes)


NAN = torch.full((WIDTH,), torch.nan)
NORM = "encoder.layernorm.weight"
QUERY_BIAS = "videomae.encoder.layer.1.attention.attention.q_bias"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("videomae", {"fc_norm.weight": NAN}, "'fc_norm.weight' holds 48 of 48"),
        ("videomae", {"fc_norm.weight": None}, "1 tensors are missing: fc_norm.weight"),
        ("videomae", {QUERY_BIAS: None}, "1 tensors are missing: .*query.bias"),
        ("videomae", {"videomae.head.weight": NAN}, "1 tensors are unexpected: .*head.weight"),
        ("vjepa2", {NORM: NAN}, "'encoder.layernorm.weight' holds 48 of 48"),
        ("vjepa2", {NORM: None}, "1 tensors are missing: .*layernorm.weight"),
        ("vjepa2", {"encoder.head.weight": NAN}, "1 tensors are unexpected: .*head.weight"),
    ],
)
def test_damaged_checkpoint_is_refused_by_name(
    tmp_path: Path, name: str, changes: dict[str, Tensor | None], message: str
) -> None:
    folder = published(name, tmp_path)[1]
    change_weights(folder, changes)
    with pytest.raises(CheckpointError, match=message):
        ENCODERS[name].from_pretrained(folder, NUM_FRAMES, SIZE_PIXELS)


@every_encoder
def test_odd_numbers_of_frames_and_absent_and_foreign_checkpoints_are_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match="5 frames per clip"):
        ENCODERS[name].from_pretrained(published(name, tmp_path)[1], 5, SIZE_PIXELS)
    with pytest.raises(CheckpointError, match="nothing_here: cannot be loaded"):
        ENCODERS[name].from_pretrained(tmp_path / "nothing_here", 8, SIZE_PIXELS)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(CheckpointError, match="found a model of type 'vit'"):
        ENCODERS[name].from_pretrained(tmp_path, 8, SIZE_PIXELS)


def test_classifier_that_its_configuration_hides_is_refused_rather_than_robbed_of_its_norm(
    classifier: tuple[VideoMAEForVideoClassification, Path],
) -> None:
    file = classifier[1] / "config.json"
    file.write_text(file.read_text().replace("ForVideoClassification", "Model"))
    with pytest.raises(CheckpointError, match=r"unexpected: .*fc_norm"):
        VideoMAEVideoEncoder.from_pretrained(classifier[1], NUM_FRAMES, SIZE_PIXELS)


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
