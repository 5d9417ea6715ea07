"""The frame encoders against the image encoders of `transformers` with the same weights."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.video_encoders import ENCODER_OF_MODEL_TYPE, class_for_config
from msqnet.model.video_encoders.encoder import FrameSpan
from msqnet.model.video_encoders.vit import IMAGE_ENCODER_KINDS, FrameEncoder

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 4
SIZE_PIXELS = 32
PATCH_PIXELS = 8
NUM_PATCHES = (SIZE_PIXELS // PATCH_PIXELS) ** 2
WIDTH = 32
FRAME_ORDER = [2, 0, 3, 1]  # no frame stays in its place

_HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])

_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIZE_PIXELS,
    "patch_size": PATCH_PIXELS,
}
_TEXT_SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 20,
    "bos_token_id": 18,
    "eos_token_id": 19,
}


@dataclass(frozen=True)
class Family:
    """One family of image encoders, as published and as this test computes its features."""

    config_class: type[PreTrainedConfig]
    model_class: type[PreTrainedModel]
    statistics: tuple[list[float], list[float]]
    num_special: int  # tokens before those of patches
    settings: dict[str, Any]

    def config(self, **changes: Any) -> Any:
        return self.config_class(**{**_SIZES, **self.settings, **changes})

    def encoder_config(self, **changes: Any) -> Any:
        config = self.config(**changes)
        config.num_frames = NUM_FRAMES
        return config


# DINOv2 has no intermediate_size, but a ratio. Initial weights of 0.1 instead of 0.02 make
# attention matter.
_MLP = {"intermediate_size": 64}
_DINOV2 = {"mlp_ratio": 2, "initializer_range": 0.1}
FAMILIES = {
    "vit": Family(ViTConfig, ViTModel, _HALF, 1, {**_MLP, "initializer_range": 0.1}),
    "clip_vision_model": Family(CLIPVisionConfig, CLIPVisionModel, _CLIP, 1, _MLP),
    "siglip_vision_model": Family(SiglipVisionConfig, SiglipVisionModel, _HALF, 0, _MLP),
    "dinov2": Family(Dinov2Config, Dinov2Model, _IMAGENET, 1, _DINOV2),
    "dinov2_with_registers": Family(
        Dinov2WithRegistersConfig, Dinov2WithRegistersModel, _IMAGENET, 5, _DINOV2
    ),
    "dinov3_vit": Family(
        DINOv3ViTConfig,
        DINOv3ViTModel,
        _IMAGENET,
        4,
        {**_MLP, "num_register_tokens": 3, "initializer_range": 0.1},
    ),
}
# DINOv3 computes its positions.
WITH_POSITIONS = sorted(FAMILIES.keys() - {"dinov3_vit"})


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=sorted(FAMILIES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fill(model: PreTrainedModel) -> PreTrainedModel:
    """Values as of a trained model: norms, registers and tokens start at 1 or 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def publish(kind: str, folder: Path, **changes: Any) -> PreTrainedModel:
    """An image encoder alone on disk, with its image processor's file."""
    family = FAMILIES[kind]
    model = fill(family.model_class(family.config(**changes)))
    model.save_pretrained(folder)
    write_statistics(folder, *family.statistics)
    return model


def write_statistics(folder: Path, mean: Any, std: Any) -> None:
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"do_normalize": True, "image_mean": mean, "image_std": std})
    )


def random_clips(num_clips: int = 1, size: int = SIZE_PIXELS) -> torch.Tensor:
    return torch.randint(0, 256, (num_clips, NUM_FRAMES, 3, size, size), dtype=torch.uint8)


def expected_features(kind: str, model: Any, clips: torch.Tensor) -> torch.Tensor:
    """Frame by frame: the mean of the patch tokens after the last norm, in float64."""
    family = FAMILIES[kind]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in family.statistics)
    rows = []
    for clip in clips:
        for frame in clip:
            pixels = (frame.float() / 255 - mean) / std
            tokens = model(pixel_values=pixels[None]).last_hidden_state[0]
            patches = tokens[family.num_special :]
            if kind == "clip_vision_model":
                patches = model.post_layernorm(patches)
            rows.append(patches.double().mean(dim=0))
    return torch.stack(rows).reshape(len(clips), NUM_FRAMES, -1)


def test_every_kind_is_tested_and_found_by_its_configuration(kind: str) -> None:
    assert set(FAMILIES) == set(IMAGE_ENCODER_KINDS)
    if kind not in ENCODER_OF_MODEL_TYPE:
        pytest.skip(f"the registry does not name {kind}")
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


def test_batched_clips_equal_single_ones(kind: str) -> None:
    encoder = FrameEncoder(FAMILIES[kind].encoder_config()).eval()
    clips = random_clips(3)
    with torch.inference_mode():
        batched = encoder(clips)
        single = torch.cat([encoder(clip[None]) for clip in clips])
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=0)


def test_memory_items_are_the_frames() -> None:
    encoder = FrameEncoder(FAMILIES["vit"].encoder_config())
    assert encoder.memory_spans(3) == (FrameSpan(0, 1), FrameSpan(1, 2), FrameSpan(2, 3))


def test_training_twice_on_a_clip_gives_the_same_memory(kind: str) -> None:
    encoder = FrameEncoder(FAMILIES[kind].encoder_config()).train()
    clip = random_clips()
    assert torch.equal(encoder(clip), encoder(clip))


def turn_on_checkpointing(model: PreTrainedModel) -> None:
    """By the name that this release of transformers gives the method."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable()


def test_gradients_reach_every_parameter_with_and_without_checkpointing(kind: str) -> None:
    encoder = FrameEncoder(FAMILIES[kind].encoder_config()).train()
    fill(encoder.backbone).train()
    clips = random_clips()
    target = torch.randn(1, NUM_FRAMES, WIDTH)

    def gradients() -> dict[str, torch.Tensor]:
        encoder.zero_grad()
        functional.mse_loss(encoder(clips), target).backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, f"no gradient for {name}"
        return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}

    plain = gradients()
    turn_on_checkpointing(encoder.backbone)
    layers = [m for m in encoder.backbone.modules() if hasattr(m, "gradient_checkpointing")]
    assert len(layers) >= 2
    assert all(layer.gradient_checkpointing for layer in layers)
    checkpointed = gradients()
    for name, gradient in plain.items():
        # A key's bias adds the same to every score of a query, which softmax takes away again.
        assert gradient.any() or name.endswith(("key.bias", "k_proj.bias")), name
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


class _Whole(PreTrainedModel):
    """Holds the encoder as a model does that is loaded through the meta device."""

    config_class = PreTrainedConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        values = copy.deepcopy(config.video_encoder)
        nested = AutoConfig.for_model(values.pop("model_type"), **values)
        self.video_encoder = FrameEncoder(nested)
        self.post_init()


def test_encoder_inside_a_larger_model_survives_saving_and_loading(
    kind: str, tmp_path: Path
) -> None:
    publish(kind, tmp_path / "published")
    write_statistics(tmp_path / "published", [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    encoder = FrameEncoder.from_pretrained(tmp_path / "published", NUM_FRAMES, SIZE_PIXELS)
    saved = _Whole(PreTrainedConfig(video_encoder=encoder.config.to_dict())).eval()
    saved.video_encoder.load_state_dict(encoder.state_dict())
    torch.nn.init.normal_(saved.video_encoder.temporal_positions)
    saved.save_pretrained(tmp_path / "whole")
    loaded, report = _Whole.from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    clips = random_clips()
    with torch.inference_mode():
        assert torch.equal(loaded.video_encoder(clips), saved.video_encoder(clips))
    assert loaded.video_encoder.config.num_frames == NUM_FRAMES
    torch.testing.assert_close(
        loaded.video_encoder.pixel_mean.flatten(), torch.tensor([0.1, 0.2, 0.3])
    )
    # Of the backbone alone, what is not saved: positions and frequencies.
    for name, buffer in loaded.named_buffers():
        assert torch.equal(buffer, saved.get_buffer(name)), name


def test_half_precision_backbone_gives_half_precision_memory(kind: str) -> None:
    encoder = FrameEncoder(FAMILIES[kind].encoder_config()).eval()
    clips = random_clips()
    with torch.inference_mode():
        exact = encoder(clips)
        memory = encoder.to(torch.bfloat16)(clips)
    assert memory.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits; features are near 1.
    assert (memory.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.02


def test_whole_clip_and_whole_siglip_give_their_image_encoder(tmp_path: Path) -> None:
    vision = FAMILIES["clip_vision_model"].config().to_dict()
    clip = CLIPModel(CLIPConfig(text_config=_TEXT_SIZES, vision_config=vision, projection_dim=8))
    vision = FAMILIES["siglip_vision_model"].config().to_dict()
    siglip = SiglipModel(SiglipConfig(text_config=_TEXT_SIZES, vision_config=vision))
    clips = random_clips()
    for kind, model in (("clip_vision_model", clip), ("siglip_vision_model", siglip)):
        fill(model).save_pretrained(tmp_path / kind)
        ours = FrameEncoder.from_pretrained(tmp_path / kind, NUM_FRAMES, SIZE_PIXELS)
        with torch.inference_mode():
            expected = expected_features(kind, model.vision_model, clips)
            torch.testing.assert_close(ours(clips).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "classifier"),
    [("vit", ViTForImageClassification), ("dinov2", Dinov2ForImageClassification)],
)
def test_classifiers_give_their_image_encoder(
    kind: str, classifier: type[PreTrainedModel], tmp_path: Path
) -> None:
    model: Any = fill(classifier(FAMILIES[kind].config(num_labels=5)))
    model.save_pretrained(tmp_path)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    clips = random_clips()
    with torch.inference_mode():
        expected = expected_features(kind, getattr(model, kind), clips)
        torch.testing.assert_close(ours(clips).double(), expected, atol=1e-5, rtol=0)


def test_vit_of_the_google_checkpoints_is_read_by_its_old_names(tmp_path: Path) -> None:
    """The names in google/vit-base-patch16-224, whose classifier is wrapped round ``vit``."""
    model = fill(ViTForImageClassification(FAMILIES["vit"].config(num_labels=5)))
    model.save_pretrained(tmp_path)
    old_parts = {
        ".layers.": ".encoder.layer.",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    weights = {}
    for name, tensor in model.state_dict().items():
        for new, old in old_parts.items():
            name = name.replace(new, old)
        weights[name] = tensor.contiguous()
    assert "vit.encoder.layer.0.attention.attention.query.weight" in weights
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    for name, tensor in ours.backbone.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[f"vit.{name}"]), name


def test_position_numbers_in_older_clip_checkpoints_are_passed_over(tmp_path: Path) -> None:
    publish("clip_vision_model", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    numbers = torch.arange(NUM_PATCHES + 1)[None]
    weights["vision_model.embeddings.position_ids"] = numbers
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.backbone.embeddings.position_ids, numbers)


def test_pixel_statistics_are_those_beside_the_weights(tmp_path: Path) -> None:
    # DeiT and DINO are published as type "vit", with ImageNet's statistics.
    publish("vit", tmp_path)
    write_statistics(tmp_path, *_IMAGENET)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    torch.testing.assert_close(ours.pixel_mean.flatten(), torch.tensor(_IMAGENET[0]))
    torch.testing.assert_close(ours.pixel_std.flatten(), torch.tensor(_IMAGENET[1]))


def test_pixel_statistics_without_a_file_are_those_of_the_family(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(kind, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    mean, std = FAMILIES[kind].statistics
    torch.testing.assert_close(ours.pixel_mean.flatten(), torch.tensor(mean))
    torch.testing.assert_close(ours.pixel_std.flatten(), torch.tensor(std))
    assert "no preprocessor_config.json" in caplog.text


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.5, 0.5], [0.5] * 3), (0.5, 0.5), ([0.5] * 3, None), ([0.5] * 3, [0.5, 0.0, 0.5])],
    ids=["two_channels", "one_number", "no_std", "zero_std"],
)
def test_pixel_statistics_that_make_no_sense_are_refused(
    mean: object, std: object, tmp_path: Path
) -> None:
    publish("vit", tmp_path)
    write_statistics(tmp_path, mean, std)
    with pytest.raises(CheckpointError, match="expected 3 numbers each"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)


def test_damaged_checkpoint_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    publish(kind, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    norm = next(name for name in weights if name.endswith("norm.weight"))
    save_file(
        {name: tensor for name, tensor in weights.items() if name != norm},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(CheckpointError, match=r"1 tensors are missing: .*norm.weight"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    broken = {**weights, norm: weights[norm] * float("nan")}
    save_file(broken, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"norm.weight' holds 32 of 32 values"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match=r"found a model of type 'bert', expected 'clip' or"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    with pytest.raises(CheckpointError, match="nothing: cannot be loaded"):
        FrameEncoder.from_pretrained(tmp_path / "nothing", NUM_FRAMES, SIZE_PIXELS)


def test_frames_and_sizes_that_cannot_be_taken_are_refused(kind: str, tmp_path: Path) -> None:
    publish(kind, tmp_path)
    with pytest.raises(ConfigError, match="frames of 30 pixels, expected at least 8, a multiple"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, 30)
    with pytest.raises(ConfigError, match="0 frames per clip, expected at least 1"):
        FrameEncoder.from_pretrained(tmp_path, 0, SIZE_PIXELS)
    with pytest.raises(ConfigError, match="has no num_frames"):
        FrameEncoder(FAMILIES[kind].config())
    with pytest.raises(ConfigError, match="expected one number each"):
        FrameEncoder(FAMILIES[kind].encoder_config(image_size=[32, 16]))
    with pytest.raises(ConfigError, match=r"expected 3 \(RGB\)"):
        FrameEncoder(FAMILIES[kind].encoder_config(num_channels=1))


def test_configuration_of_no_image_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match="no frame encoder for a configuration of type 'bert'"):
        FrameEncoder(AutoConfig.for_model("bert"))


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 3, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 32, 16, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 48, 48, dtype=torch.uint8),
        torch.zeros(1, 4, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(4, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 4, 3, 32, 32),
    ],
    ids=["few_frames", "many_frames", "not_square", "size", "grey", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor) -> None:
    encoder = FrameEncoder(FAMILIES["vit"].encoder_config())
    with pytest.raises(ShapeError, match=r"expected torch.uint8 .* \(B, 4, 3, 32, 32\)"):
        encoder(pixels)


def test_new_encoder_without_weights_is_a_vit_of_base_size() -> None:
    config = FrameEncoder.default_config(16, 224)
    assert (config.model_type, config.num_frames, config.image_size) == ("vit", 16, 224)
    assert (config.hidden_size, config.num_hidden_layers, config.patch_size) == (768, 12, 16)
