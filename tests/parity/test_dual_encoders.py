"""Joint-space image and text encoders against `transformers.CLIPModel` and `SiglipModel`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.dual_encoders import load_dual_encoder
from msqnet.model.image_encoders import ClipImageEncoder, SiglipImageEncoder
from msqnet.model.text_encoders import load_text_encoder
from tests.fixtures.models import tiny_vision_config, write_clip_folder
from tests.fixtures.text_checkpoints import (
    SIGLIP_NUM_TOKENS,
    write_bert_folder,
    write_siglip_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["sit", "run far", "a b c", "jump"]
PROJECTED_WIDTH = 8
SIZE_PIXELS = 32
PIXEL_STATISTICS = {
    "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    "siglip": ([0.5] * 3, [0.5] * 3),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("dual")
    return {
        "clip": write_clip_folder(root / "clip"),
        "siglip": write_siglip_folder(root / "siglip"),
    }


def random_clips(num_clips: int, num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num_clips, num_frames, 3, SIZE_PIXELS, SIZE_PIXELS)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def standardised(clips: torch.Tensor, kind: str) -> torch.Tensor:
    """As the image processor published with each does it; (B*T, 3, H, W)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXEL_STATISTICS[kind])
    return (clips.flatten(0, 1).float() / 255 - mean) / std


def hugging_face_outputs(kind: str, folder: Path, clips: torch.Tensor) -> object:
    """The whole model on frames and texts, tokenised as its documentation says."""
    if kind == "clip":
        model = CLIPModel.from_pretrained(folder).eval()
        tokens = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    else:
        model = SiglipModel.from_pretrained(folder).eval()
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="right")
        tokens = tokenizer(
            TEXTS,
            padding="max_length",
            max_length=SIGLIP_NUM_TOKENS,
            return_tensors="pt",
            return_attention_mask=False,
        )
    names = ("input_ids", "attention_mask")
    with torch.inference_mode():
        return model(
            pixel_values=standardised(clips, kind),
            **{name: tokens[name] for name in names if name in tokens},
        )


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_logits_equal_those_of_the_whole_model(folders: dict[str, Path], kind: str) -> None:
    clips = random_clips(2, 3)
    dual = load_dual_encoder(folders[kind])
    with torch.inference_mode():
        images = dual.image_encoder(clips)  # (2, 3, D)
    logits = dual.similarity.logits(images, dual.text_encoder.embed(TEXTS))
    expected = hugging_face_outputs(kind, folders[kind], clips).logits_per_image
    assert dual.kind == kind
    assert logits.shape == (2, 3, len(TEXTS))
    # Logits are tens large; a wrong padding or scale changes them by more than 0.01.
    torch.testing.assert_close(logits.flatten(0, 1), expected, atol=1e-5, rtol=1e-5)
    assert expected.std(dim=1).max() > 0.01


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_halves_loaded_apart_give_the_same_embeddings(folders: dict[str, Path], kind: str) -> None:
    encoders = {"clip": ClipImageEncoder, "siglip": SiglipImageEncoder}
    image = encoders[kind].from_pretrained(folders[kind], projected=True)
    text = load_text_encoder(f"{kind}:{folders[kind]}", embedding="projected")
    clips = random_clips(1, 2)
    outputs = hugging_face_outputs(kind, folders[kind], clips)
    with torch.inference_mode():
        embeddings = image(clips)
    torch.testing.assert_close(embeddings[0], outputs.image_embeds, atol=1e-6, rtol=0)
    torch.testing.assert_close(text.embed(TEXTS), outputs.text_embeds, atol=1e-6, rtol=0)
    assert image.width == text.width == embeddings.shape[-1]
    dual = load_dual_encoder(folders[kind])
    with torch.inference_mode():
        assert torch.equal(dual.image_encoder(clips), embeddings)
    assert torch.equal(dual.text_encoder.embed(TEXTS), text.embed(TEXTS))


def test_clip_width_is_that_of_the_whole_configuration(folders: dict[str, Path]) -> None:
    """The configurations of the halves say 512, as those of some published checkpoints do."""
    config = json.loads((folders["clip"] / "config.json").read_text())
    assert config["projection_dim"] == PROJECTED_WIDTH
    assert config["vision_config"]["projection_dim"] == 512
    encoder = ClipImageEncoder.from_pretrained(folders["clip"], projected=True)
    assert encoder.width == encoder.config.projection_dim == PROJECTED_WIDTH
    again = ClipImageEncoder(encoder.config, projected=True)
    again.load_state_dict(encoder.state_dict(), strict=True)


def test_clip_halves_saved_with_their_projections_load_alone(tmp_path: Path) -> None:
    whole = write_clip_folder(tmp_path / "whole")
    config = json.loads((whole / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[part]["projection_dim"] = PROJECTED_WIDTH
    (whole / "config.json").write_text(json.dumps(config))
    CLIPVisionModelWithProjection.from_pretrained(whole).save_pretrained(tmp_path / "vision")
    CLIPTextModelWithProjection.from_pretrained(whole).save_pretrained(tmp_path / "text")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / "text" / name).write_bytes((whole / name).read_bytes())
    dual = load_dual_encoder(whole)
    image = ClipImageEncoder.from_pretrained(tmp_path / "vision", projected=True)
    text = load_text_encoder(str(tmp_path / "text"), embedding="projected")
    clips = random_clips(1, 2)
    with torch.inference_mode():
        assert torch.equal(image(clips), dual.image_encoder(clips))
    assert torch.equal(text.embed(TEXTS), dual.text_encoder.embed(TEXTS))


def test_projection_adds_one_tensor_to_the_names_of_a_pooled_encoder() -> None:
    pooled = ClipImageEncoder(tiny_vision_config())
    projected = ClipImageEncoder(tiny_vision_config(), projected=True)
    backbone = {f"backbone.{name}" for name in CLIPVisionModel(tiny_vision_config()).state_dict()}
    assert set(pooled.state_dict()) == backbone | {"pixel_mean", "pixel_std"}
    assert set(projected.state_dict()) - set(pooled.state_dict()) == {"projection.weight"}


def test_clip_image_encoder_without_its_projection_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    CLIPVisionModel.from_pretrained(folders["clip"]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"1 tensors are missing: visual_projection.weight"):
        ClipImageEncoder.from_pretrained(tmp_path, projected=True)


def test_siglip_image_embeddings_equal_hugging_face_pooler_output(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = SiglipImageEncoder.from_pretrained(folders["siglip"])
    clips = random_clips(2, 3)
    theirs = SiglipModel.from_pretrained(folders["siglip"]).vision_model.eval()
    with torch.inference_mode():
        embeddings = encoder(clips)
        expected = theirs(standardised(clips, "siglip")).pooler_output
    torch.testing.assert_close(embeddings.flatten(0, 1), expected, atol=1e-5, rtol=0)
    SiglipVisionModel.from_pretrained(folders["siglip"]).save_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.equal(SiglipImageEncoder.from_pretrained(tmp_path)(clips), embeddings)


def siglip_vision_config(**changes: object) -> SiglipVisionConfig:
    settings = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes = {"num_attention_heads": 2, "image_size": SIZE_PIXELS, "patch_size": 16}
    return SiglipVisionConfig(**{**settings, **sizes, **changes})


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_frozen_encoder_gets_no_gradient_and_an_unfrozen_one_does(kind: str) -> None:
    build, config = {
        "clip": (ClipImageEncoder, tiny_vision_config()),
        "siglip": (SiglipImageEncoder, siglip_vision_config()),
    }[kind]
    frozen = build(config, projected=True).train()
    assert not any(module.training for module in frozen.modules())
    assert not frozen(random_clips(1, 2)).requires_grad
    torch.manual_seed(0)
    trained = build(config, frozen=False, projected=True).train()
    (trained(random_clips(1, 2)) * torch.randn(trained.width)).sum().backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"


class _Whole(PreTrainedModel):
    """Holds encoders as a model does that is loaded through the meta device."""

    config_class = PreTrainedConfig

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.clip = ClipImageEncoder(tiny_vision_config(), projected=True)
        self.siglip = SiglipImageEncoder(siglip_vision_config(), projected=True)
        self.post_init()


def test_encoders_inside_a_larger_model_survive_loading_and_stay_frozen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = _Whole(PreTrainedConfig()).eval()
    saved.save_pretrained(tmp_path)
    loaded = _Whole.from_pretrained(tmp_path)
    clips = random_clips(1, 2)
    with torch.inference_mode():
        # Mapped tensors lie at other addresses, and sums round otherwise there.
        for name in ("clip", "siglip"):
            found, expected = getattr(loaded, name)(clips), getattr(saved, name)(clips)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_use_head": False}, "expected an image encoder with its pooling head"),
        ({"image_size": [32, 16]}, "expected one number and 3 channels"),
    ],
)
def test_siglip_backbone_that_cannot_embed_frames_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SiglipImageEncoder(siglip_vision_config(**changes))


def test_clip_of_another_shape_is_refused() -> None:
    encoder = SiglipImageEncoder(siglip_vision_config())
    with pytest.raises(ShapeError, match=r"SigLIP pixels: .* expected torch.uint8 .* 32, 32\)"):
        encoder(torch.zeros(1, 2, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["logit_bias", "text_model.head.bias"])
def test_incomplete_siglip_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write_siglip_folder(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"1 tensors are missing: {name}"):
        load_dual_encoder(folder)


def test_encoder_of_texts_only_is_no_dual_encoder(tmp_path: Path) -> None:
    folder = write_bert_folder(tmp_path)
    with pytest.raises(CheckpointError, match="model of type 'bert', expected a whole clip or sig"):
        load_dual_encoder(folder)


def test_embeddings_of_two_models_are_not_compared(folders: dict[str, Path]) -> None:
    dual = load_dual_encoder(folders["clip"])
    with pytest.raises(ShapeError, match=r"\(3, 8\) and text embeddings \(2, 24\)"):
        dual.similarity.logits(torch.zeros(3, 8), torch.zeros(2, 24))
