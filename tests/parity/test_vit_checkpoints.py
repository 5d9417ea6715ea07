"""What frame encoders are loaded from, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPModel,
    Dinov2ForImageClassification,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    ViTForImageClassification,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.video_encoders.vit import FrameEncoder
from tests.parity.checkpoints import IMAGENET, change_weights, frames_of
from tests.parity.vit_families import (
    FAMILIES,
    NUM_FRAMES,
    NUM_PATCHES,
    SIZE_PIXELS,
    TEXT_SIZES,
    expected_features,
    fill,
    publish,
    random_clips,
    write_statistics,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=sorted(FAMILIES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_whole_clip_and_whole_siglip_give_their_image_encoder(tmp_path: Path) -> None:
    vision = FAMILIES["clip_vision_model"].config().to_dict()
    clip = CLIPModel(CLIPConfig(text_config=TEXT_SIZES, vision_config=vision, projection_dim=8))
    vision = FAMILIES["siglip_vision_model"].config().to_dict()
    siglip = SiglipModel(SiglipConfig(text_config=TEXT_SIZES, vision_config=vision))
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
    numbers = torch.arange(NUM_PATCHES + 1)[None]
    change_weights(tmp_path, {"vision_model.embeddings.position_ids": numbers})
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    assert torch.equal(ours.backbone.embeddings.position_ids, numbers)


def test_pixel_statistics_are_those_beside_the_weights(tmp_path: Path) -> None:
    # DeiT and DINO are published as type "vit", with ImageNet's statistics.
    publish("vit", tmp_path)
    write_statistics(tmp_path, *IMAGENET)
    ours = FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    torch.testing.assert_close(ours.pixel_mean.flatten(), torch.tensor(IMAGENET[0]))
    torch.testing.assert_close(ours.pixel_std.flatten(), torch.tensor(IMAGENET[1]))


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
    change_weights(tmp_path, {norm: None})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing: .*norm.weight"):
        FrameEncoder.from_pretrained(tmp_path, NUM_FRAMES, SIZE_PIXELS)
    change_weights(tmp_path, {norm: weights[norm] * float("nan")})
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
        *(frames_of(3), frames_of(8)),
        *(frames_of(4, *shape) for shape in ((3, 32, 16), (3, 48, 48), (1, 32, 32))),
        *(frames_of(4)[0], frames_of(4, dtype=torch.float32)),
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
