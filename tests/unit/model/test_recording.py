"""Recorded attention is the attention that was computed, and recording changes nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import TimesformerModel, ViTConfig, ViTModel

from msqnet.config import ClipConfig
from msqnet.model.attention import recorded_attention
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.video_encoders.lite import LiteConfig
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from tests.fixtures.models import fill_with_noise, tiny_timesformer_config
from tests.fixtures.tiny_encoders import clip_form_of, flickering_clips, tiny_encoder_config

# float32 sums in another order, of values of the size of 1.
ROUNDING = 1e-5
# Attentions of the two layers; divided ones have two each, lite has one block of two.
NUM_ATTENTIONS = {"lite": 2, "timesformer": 4, "videomae": 2, "vit/clip": 2, "vit/dinov2": 2}


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
            clip=ClipConfig(num_frames=num_frames, size_pixels=size).to_dict(),
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
