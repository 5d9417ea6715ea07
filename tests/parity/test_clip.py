"""The CLIP query encoder against `transformers.CLIPVisionModel` and `CLIPTextModel`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedConfig,
    PreTrainedModel,
)

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.dual_encoders import ClipTextEncoder
from msqnet.model.image_encoders import ClipImageEncoder

if TYPE_CHECKING:
    from pathlib import Path

SIZE_PIXELS = 32
TEXT_WIDTH = 24
IMAGE_WIDTH = 48
MAX_NUM_TOKENS = 12
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# As in CLIP's own vocabulary, the start and end tokens come last.
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>"]
END_TOKEN = "<|endoftext|>"


def tiny_vision_config(**changes: object) -> CLIPVisionConfig:
    settings: dict[str, object] = {
        "hidden_size": IMAGE_WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIZE_PIXELS,
        "patch_size": 8,
    }
    return CLIPVisionConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole CLIP on disk, text and image encoder with projections and tokenizer."""
    folder = tmp_path / "clip"
    text_settings = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_NUM_TOKENS,
        "vocab_size": len(VOCABULARY) + 1,
        "bos_token_id": len(VOCABULARY) - 1,
        "eos_token_id": len(VOCABULARY),
    }
    config = CLIPConfig(
        text_config=text_settings, vision_config=tiny_vision_config().to_dict(), projection_dim=16
    )
    CLIPModel(config).save_pretrained(folder)
    words = {token: index for index, token in enumerate([*VOCABULARY, END_TOKEN])}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_NUM_TOKENS})
    )
    return folder


def random_clips(num_clips: int, num_frames: int) -> torch.Tensor:
    shape = (num_clips, num_frames, 3, SIZE_PIXELS, SIZE_PIXELS)
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """As the image processor published with CLIP does it."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def test_image_embeddings_equal_hugging_face_pooler_output(checkpoint: Path) -> None:
    ours = ClipImageEncoder.from_pretrained(checkpoint)
    theirs = CLIPModel.from_pretrained(checkpoint).vision_model.eval()
    clips = random_clips(2, 3)
    with torch.inference_mode():
        embeddings = ours(clips)
        expected = theirs(standardised(clips.flatten(0, 1))).pooler_output
    assert embeddings.shape == (2, 3, IMAGE_WIDTH)
    assert ours.width == IMAGE_WIDTH
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    # The same sums, some of them in another order.
    torch.testing.assert_close(embeddings.flatten(0, 1), expected, atol=1e-5, rtol=0)


def test_image_encoder_saved_alone_loads_to_the_same_embeddings(
    checkpoint: Path, tmp_path: Path
) -> None:
    CLIPVisionModel.from_pretrained(checkpoint).save_pretrained(tmp_path / "vision")
    clips = random_clips(1, 2)
    with torch.inference_mode():
        whole = ClipImageEncoder.from_pretrained(checkpoint)(clips)
        alone = ClipImageEncoder.from_pretrained(tmp_path / "vision")(clips)
    assert torch.equal(whole, alone)


def test_frames_are_embedded_on_their_own() -> None:
    encoder = ClipImageEncoder(tiny_vision_config()).eval()
    clips = random_clips(3, 4)
    with torch.inference_mode():
        batched = encoder(clips)
        single = torch.cat([encoder(clip[None]) for clip in clips])
        frames = torch.cat([encoder(clips[:, t : t + 1]) for t in range(4)], dim=1)
    # Only the blocking of float32 matrix products may differ.
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=0)
    torch.testing.assert_close(batched, frames, atol=1e-5, rtol=0)


def test_frozen_encoder_gets_no_gradient_and_stays_in_eval_mode() -> None:
    encoder = ClipImageEncoder(tiny_vision_config(attention_dropout=0.5)).train()
    assert not any(module.training for module in encoder.modules())
    embeddings = encoder(random_clips(1, 2))
    assert not embeddings.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_unfrozen_encoder_gets_gradients_and_follows_the_mode() -> None:
    encoder = ClipImageEncoder(tiny_vision_config(), frozen=False).train()
    assert encoder.backbone.training
    (encoder(random_clips(1, 2)) * torch.randn(IMAGE_WIDTH)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"
    assert not encoder.eval().backbone.training


class _Whole(PreTrainedModel):
    """Holds the encoder as a model does that is loaded through the meta device."""

    config_class = PreTrainedConfig

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        self.image_encoder = ClipImageEncoder(tiny_vision_config())
        self.post_init()


def test_encoder_inside_a_larger_model_survives_loading_and_stays_frozen(tmp_path: Path) -> None:
    saved = _Whole(PreTrainedConfig()).eval()
    saved.save_pretrained(tmp_path)
    loaded = _Whole.from_pretrained(tmp_path)
    clips = random_clips(1, 2)
    with torch.inference_mode():
        # Mapped tensors lie at other addresses, and sums round otherwise there.
        embeddings = loaded.image_encoder(clips)
        torch.testing.assert_close(embeddings, saved.image_encoder(clips), atol=1e-5, rtol=0)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.train().image_encoder.backbone.training


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 2, 3, 32, 16, dtype=torch.uint8),
        torch.zeros(1, 2, 3, 224, 224, dtype=torch.uint8),
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 2, 3, 32, 32),
    ],
    ids=["not_square", "size", "no_batch", "float"],
)
def test_clip_of_another_shape_is_refused(pixels: torch.Tensor) -> None:
    encoder = ClipImageEncoder(tiny_vision_config())
    with pytest.raises(ShapeError, match=r"expected torch.uint8 .* \(B, T, 3, 32, 32\)"):
        encoder(pixels)


@pytest.mark.parametrize("changes", [{"image_size": [32, 16]}, {"num_channels": 1}])
def test_backbone_for_other_frames_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected one number and 3 channels"):
        ClipImageEncoder(tiny_vision_config(**changes))


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        ("vision_model.post_layernorm.bias", None, r"1 tensors are missing: .*post_layernorm.bias"),
        (
            "vision_model.post_layernorm.bias",
            torch.full((IMAGE_WIDTH,), float("nan")),
            r"post_layernorm.bias' holds 48 of 48 values",
        ),
        ("vision_model.extra", torch.zeros(1), r"1 tensors are unexpected: .*extra"),
    ],
    ids=["missing", "nan", "unexpected"],
)
def test_damaged_image_encoder_is_refused_by_name(
    checkpoint: Path, name: str, replacement: torch.Tensor | None, message: str
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    weights.pop(name, None)
    if replacement is not None:
        weights[name] = replacement
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        ClipImageEncoder.from_pretrained(checkpoint)


def test_image_encoder_has_no_text_to_embed(checkpoint: Path, tmp_path: Path) -> None:
    CLIPVisionModel.from_pretrained(checkpoint).save_pretrained(tmp_path / "vision")
    with pytest.raises(CheckpointError, match="found a model of type 'clip_vision_model'"):
        ClipTextEncoder.from_pretrained(str(tmp_path / "vision"), "pooled").embed(["a dog"])


def test_text_embeddings_equal_hugging_face_pooler_output_prompt_by_prompt(
    checkpoint: Path,
) -> None:
    prompts = ["ab", "abcdefgh", "fed", *(f"a {letter}" for letter in 3 * LETTERS)]
    embeddings = ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(prompts)
    assert embeddings.shape == (len(prompts), TEXT_WIDTH)
    assert embeddings.dtype == torch.float32
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    model = CLIPTextModel.from_pretrained(checkpoint).eval()
    for prompt, embedding in zip(prompts, embeddings, strict=True):
        with torch.inference_mode():
            expected = model(**tokenizer([prompt], return_tensors="pt")).pooler_output[0]
        # Padding of a batch is masked; only the blocking of float32 products may differ.
        torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=0)


def test_text_embeddings_can_start_trainable_queries(checkpoint: Path) -> None:
    queries = torch.nn.Parameter(
        ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(["run", "sit"])
    )
    queries.sum().backward()
    assert queries.grad is not None
    assert relative_distance(queries[0], queries[1]) > 0.01


def relative_distance(first: torch.Tensor, second: torch.Tensor) -> float:
    return ((first - second).norm() / first.norm()).item()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "at least one text"),
        ("a dog", "expected a list"),
        (["sit", "  "], "is empty"),
        (["sit", "a very long prompt"], "reads at most 12; shorten it"),
    ],
    ids=["none", "not_a_list", "empty", "too_long"],
)
def test_prompts_that_cannot_be_read_are_refused(
    checkpoint: Path, prompts: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(prompts)


def test_text_encoder_without_tokenizer_is_refused(checkpoint: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match="found no tokenizer files"):
        ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(["sit"])


def test_tokenizer_with_another_end_token_is_refused(checkpoint: Path) -> None:
    words = json.loads((checkpoint / "vocab.json").read_text())
    words["a"], words[END_TOKEN] = words[END_TOKEN], words["a"]
    (checkpoint / "vocab.json").write_text(json.dumps(words))
    with pytest.raises(CheckpointError, match=r"ends a text with token 0, .* expects 53"):
        ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(["sit"])


def test_end_token_of_openai_configurations_is_accepted(checkpoint: Path) -> None:
    expected = ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(["sit", "stand"])
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert torch.equal(
        ClipTextEncoder.from_pretrained(str(checkpoint), "pooled").embed(["sit", "stand"]), expected
    )
