"""Attention: the same result fused, eager and recorded, and as the user said in every part."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel, TimesformerModel, ViTConfig, ViTModel

from msqnet.config import ClipConfig
from msqnet.errors import ConfigError
from msqnet.model.attention import (
    MultiHeadAttention,
    attention_if_available,
    recorded_attention,
    set_attention,
)
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.video_encoders.lite import LiteConfig
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from tests.fixtures.models import fill_with_noise, tiny_timesformer_config, tiny_vision_config
from tests.fixtures.tiny_encoders import clip_form_of, flickering_clips, tiny_encoder_config

if TYPE_CHECKING:
    from pathlib import Path

# float32 sums in another order, of values of the size of 1.
ROUNDING = 1e-5
# Those with attention.
WITH_A_CHOICE = ("lite", "timesformer", "videomae", "vit/clip", "vit/dinov2", "vjepa2", "xclip")
# Attentions of the two layers; divided ones have two each, lite has one block of two.
NUM_ATTENTIONS = {"lite": 2, "timesformer": 4, "videomae": 2, "vit/clip": 2, "vit/dinov2": 2}
either = pytest.mark.parametrize("implementation", ["eager", "sdpa"])


def new_model(encoder: str, **settings: Any) -> MSQNet:
    torch.manual_seed(0)
    config = tiny_encoder_config(encoder)
    num_frames, size = clip_form_of(config)
    is_lite = isinstance(config, LiteConfig)
    model = MSQNet(
        MSQNetConfig(
            video_encoder=config,
            image_encoder=None if is_lite else tiny_vision_config(),
            video_query="trunk" if is_lite else "image",
            labels=["sit", "walk"],
            label_width=8,
            width=16,
            decoder_layers=1,
            decoder_heads=2,
            decoder_feedforward=24,
            memory_encoder_layers=1,
            clip=asdict(ClipConfig(num_frames=num_frames, size_pixels=size)),
            **settings,
        )
    )
    fill_with_noise(model)
    return model.eval()


def logits_of(model: MSQNet) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(pixels=flickering_clips(model.config.video_encoder, 1)).logits
    return logits


class FusedCalls:
    """Counts the calls of torch's fused attention."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.number = 0
        self.fused = F.scaled_dot_product_attention
        monkeypatch.setattr(F, "scaled_dot_product_attention", self._call)

    def _call(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.number += 1
        return self.fused(*args, **kwargs)

    def in_pass_of(self, model: MSQNet) -> int:
        self.number = 0
        logits_of(model)
        return self.number


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> FusedCalls:
    return FusedCalls(monkeypatch)


def implementations(part: torch.nn.Module) -> set[str | None]:
    """Of our modules and those of transformers."""
    ours = {m.implementation for m in part.modules() if isinstance(m, MultiHeadAttention)}
    models = [m for m in part.modules() if isinstance(m, PreTrainedModel)]
    return ours | {model.config._attn_implementation for model in models}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_eager_attention_equals_the_fused_one(dtype: torch.dtype) -> None:
    attention = MultiHeadAttention(16, 4).eval().to(dtype)
    queries, keys, values = (torch.randn(2, n, 16, dtype=dtype) for n in (3, 5, 5))
    fused = attention(queries, keys, values)
    attention.implementation = "eager"
    eager = attention(queries, keys, values)
    assert eager.dtype == dtype
    tolerance = ROUNDING if dtype == torch.float32 else 2e-2  # bfloat16 has 8 bits
    torch.testing.assert_close(eager, fused, atol=tolerance, rtol=tolerance)


@either
@torch.no_grad()
def test_dropout_takes_whole_weights_and_keeps_the_mean(implementation: str) -> None:
    attention = MultiHeadAttention(4, 1, dropout=0.25)
    attention.implementation = implementation
    for part in (attention.query, attention.key):
        part.weight.zero_()
    for part in (attention.value, attention.output):
        torch.nn.init.eye_(part.weight)
        part.bias.zero_()
    # Equal weights over 8 values of 1: the share that was kept, divided by 0.75.
    mixed = attention(torch.ones(500, 1, 4), torch.ones(500, 8, 4), torch.ones(500, 8, 4))
    kept = mixed[..., 0] * 0.75 * 8
    torch.testing.assert_close(kept, kept.round(), atol=1e-4, rtol=0)
    assert kept.mean() == pytest.approx(6, abs=0.25)
    assert kept.std() == pytest.approx((8 * 0.25 * 0.75) ** 0.5, abs=0.15)


@pytest.mark.parametrize("encoder", WITH_A_CHOICE)
def test_all_parts_follow_what_is_asked_for_at_any_time(
    encoder: str, fused_calls: FusedCalls
) -> None:
    model = new_model(encoder)
    assert implementations(model) == {"sdpa"}
    num_fused = fused_calls.in_pass_of(model)
    expected = logits_of(model)
    model.set_attn_implementation("eager")
    assert implementations(model) == {"eager"}
    assert fused_calls.in_pass_of(model) == 0
    torch.testing.assert_close(logits_of(model), expected, atol=ROUNDING, rtol=ROUNDING)
    model.set_attn_implementation("sdpa")
    assert fused_calls.in_pass_of(model) == num_fused > 0
    asked_at_first = new_model(encoder, attn_implementation="eager")
    assert implementations(asked_at_first) == {"eager"}
    assert fused_calls.in_pass_of(asked_at_first) == 0


@pytest.mark.parametrize("load", [MSQNet.from_pretrained, AutoModel.from_pretrained])
def test_loading_takes_the_attention_that_is_asked_for(
    load: Any, tmp_path: Path, fused_calls: FusedCalls
) -> None:
    model = new_model("videomae", attn_implementation="eager")
    model.save_pretrained(tmp_path)
    eager = load(tmp_path, attn_implementation="eager")
    assert implementations(eager) == {"eager"}
    assert fused_calls.in_pass_of(eager) == 0
    # It belongs to the machine, not to the model: a file does not keep it.
    for options in ({}, {"attn_implementation": "sdpa"}):
        assert implementations(load(tmp_path, **options)) == {"sdpa"}


def test_part_without_fused_attention_stays_eager_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # None of ours lacks it; this one of transformers does.
    config = tiny_timesformer_config()
    config._attn_implementation = "sdpa"
    with attention_if_available(config):
        part = TimesformerModel(config)
    assert config._attn_implementation == "sdpa"  # as it was asked for
    with caplog.at_level(logging.WARNING, logger="msqnet"):
        set_attention(part, "sdpa")
    assert [record.message for record in caplog.records] == [
        "TimesformerModel has no attention 'sdpa'; it computes 'eager'"
    ]
    assert implementations(part) == {"eager"}
    caplog.clear()
    set_attention(part, "eager")
    assert not caplog.records


@pytest.mark.parametrize("encoder", ["lite", "vit/clip"])
def test_parts_can_differ(encoder: str) -> None:
    model = new_model(encoder, attn_implementation={"": "sdpa", "video_encoder": "eager"})
    assert implementations(model.video_encoder) == {"eager"}
    assert implementations(model.decoder) == {"sdpa"}
    model.set_attn_implementation({"": "eager", "video_encoder": "sdpa"})
    assert implementations(model.video_encoder) == {"sdpa"}
    assert implementations(model.decoder) == {"eager"}


def test_convolutions_have_nothing_to_choose() -> None:
    config = tiny_encoder_config("c3d")
    with torch.device("meta"):
        model = MSQNet(
            MSQNetConfig(
                video_encoder=config,
                video_query="none",
                direct_path=False,
                attn_implementation="sdpa",
            )
        )
    assert implementations(model) == {"sdpa"}
    model.set_attn_implementation("eager")
    assert implementations(model) == {"eager"}


@pytest.mark.parametrize("asked", ["flash_attention_2", "fast", {"": "flex_attention"}])
def test_attention_that_we_do_not_have_is_refused(asked: Any, tmp_path: Path) -> None:
    model = new_model("vit/clip")
    with pytest.raises(ConfigError, match="expected 'sdpa' or 'eager'"):
        model.set_attn_implementation(asked)
    assert implementations(model) == {"sdpa"}
    with pytest.raises(ConfigError, match="expected 'sdpa' or 'eager'"):
        MSQNet.from_pretrained(tmp_path, attn_implementation=asked)
    with pytest.raises(ConfigError, match="expected 'sdpa' or 'eager'"):
        new_model("vit/clip", attn_implementation=asked)


def model_with(encoder: str) -> MSQNet:
    torch.manual_seed(0)
    config = tiny_encoder_config(encoder)
    num_frames, size = clip_form_of(config)
    is_lite = isinstance(config, LiteConfig)
    model = MSQNet(
        MSQNetConfig(
            video_encoder=config,
            video_query="trunk" if is_lite else "none",
            direct_path=is_lite,
            labels=["sit", "walk", "sleep"],
            label_width=8,
            width=16,
            decoder_layers=2,
            decoder_heads=2,
            decoder_feedforward=24,
            memory_encoder_layers=1,
            clip=asdict(ClipConfig(num_frames=num_frames, size_pixels=size)),
        )
    )
    fill_with_noise(model)
    return model.eval()


@pytest.mark.parametrize("encoder", list(NUM_ATTENTIONS))
@torch.no_grad()
def test_recording_leaves_the_fused_result_as_it_is(encoder: str) -> None:
    model = model_with(encoder)
    clips = flickering_clips(model.config.video_encoder, 2)
    fused = model(pixels=clips)
    with recorded_attention(model) as record:
        recorded = model(pixels=clips)
    for name in ("logits", "decoded", "memory"):
        torch.testing.assert_close(recorded[name], fused[name], atol=ROUNDING, rtol=ROUNDING)
    assert len(record.weights) == NUM_ATTENTIONS[encoder] + 1 + 2 * 2  # encoder, memory, decoder
    for weights in record.weights:
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert torch.equal(model(pixels=clips).logits, fused.logits)  # fused again
    assert len(record.weights) == NUM_ATTENTIONS[encoder] + 5


@torch.no_grad()
def test_space_attention_of_timesformer_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    theirs = TimesformerModel(tiny_timesformer_config()).eval()
    fill_with_noise(theirs)
    ours = TimesformerVideoEncoder(tiny_timesformer_config()).eval()
    ours.backbone.load_state_dict(theirs.state_dict())
    clips = flickering_clips(ours.config, 1)
    expected = theirs(ours.normalize(clips, torch.float32), output_attentions=True).attentions
    with recorded_attention(ours) as record:
        ours(clips)
    layers: list[Any] = list(ours.backbone.encoder.layer)
    for layer, weights in zip(layers, expected, strict=True):
        torch.testing.assert_close(record.of(layer.attention.attention), weights)
        over_time = record.of(layer.temporal_attention.attention)
        assert over_time.shape == (4, 2, 4, 4)  # patches, heads, frames, frames


@torch.no_grad()
def test_time_attention_is_a_softmax_over_the_frames_of_a_patch() -> None:
    torch.manual_seed(0)
    encoder = TimesformerVideoEncoder(tiny_timesformer_config()).eval()
    fill_with_noise(encoder)
    clips = flickering_clips(encoder.config, 1)
    layer: Any = encoder.backbone.encoder.layer[0]
    tokens = encoder.backbone.embeddings(encoder.normalize(clips, torch.float32))
    with recorded_attention(encoder) as record:
        encoder(clips)
    for patch in range(4):
        frames = tokens[0, [1 + patch * 4 + t for t in range(4)]]  # patch-major
        joint = layer.temporal_attention.attention.qkv(layer.temporal_layernorm(frames))
        queries, keys, _ = joint.unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)  # heads, frames, 8
        expected = (queries @ keys.mT / 8**0.5).softmax(dim=-1)
        found = record.of(layer.temporal_attention.attention)[patch]
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_attention_of_transformers_is_what_it_gives_out_itself() -> None:
    config = ViTConfig(
        image_size=32,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    model = ViTModel(config).eval()
    images = torch.randn(3, 3, 32, 32)
    expected = model(images, output_attentions=True).attentions
    with recorded_attention(model) as record:
        model(images)
    for found, weights in zip(record.weights, expected, strict=True):
        torch.testing.assert_close(found, weights)
    assert model.config._attn_implementation == "eager"


def test_two_parts_are_recorded_apart_and_a_failure_ends_the_recording() -> None:
    model = model_with("vit/clip")
    clips = flickering_clips(model.config.video_encoder, 1)
    implementation = model.video_encoder.config._attn_implementation

    def run_and_fail() -> None:
        with (
            recorded_attention(model.video_encoder) as of_encoder,
            recorded_attention(model.decoder, None) as of_decoder,
        ):
            model(pixels=clips)
            assert (len(of_encoder.weights), len(of_decoder.weights)) == (2, 4)
            raise RuntimeError("a failure of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        run_and_fail()
    assert model.video_encoder.config._attn_implementation == implementation
    assert all(getattr(module, "recorder", None) is None for module in model.modules())


def test_gradients_flow_through_recorded_weights() -> None:
    model = model_with("timesformer")
    with recorded_attention(model) as record:
        logits = model(pixels=flickering_clips(model.config.video_encoder, 1)).logits
    gradients = torch.autograd.grad(logits[0, 0], record.weights)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
