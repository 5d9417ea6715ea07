"""What must hold for every video encoder that is built on a model of `transformers`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, VideoMAEConfig

from msqnet.model.registry import class_for_config
from tests.fixtures.tiny_encoders import flickering_clips, tiny_encoder_config
from tests.parity.checkpoints import fill_with_noise
from tests.parity.vit_families import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

CONFIGS: dict[str, Any] = {
    **{
        name: tiny_encoder_config(name)
        for name in ("timesformer", "videomae", "vjepa2", "xclip", "videoprism")
    },
    "videomae without pooling": VideoMAEConfig.from_dict(
        {**tiny_encoder_config("videomae").to_dict(), "use_mean_pooling": False}
    ),
    **{f"vit/{kind}": family.encoder_config() for kind, family in FAMILIES.items()},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(params=CONFIGS)
def encoder(request: pytest.FixtureRequest) -> Any:
    """In eval mode, with values as of a trained model."""
    config = copy.deepcopy(CONFIGS[request.param])
    built: Any = class_for_config(config)(config)
    fill_with_noise(built)
    return built.eval()


def test_batched_clips_equal_single_ones(encoder: Any) -> None:
    clips = flickering_clips(encoder.config, 3)
    with torch.inference_mode():
        batched = encoder(clips)
        single = torch.cat([encoder(clip[None]) for clip in clips])
    torch.testing.assert_close(batched, single, atol=1e-5, rtol=0)


def test_half_precision_backbone_gives_half_precision_memory(encoder: Any) -> None:
    clips = flickering_clips(encoder.config, 1)
    with torch.inference_mode():
        exact = encoder(clips)
        memory = encoder.to(torch.bfloat16)(clips)
    assert memory.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits; features are near 1.
    assert (memory.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.02


def turn_on_checkpointing(model: PreTrainedModel) -> None:
    """By the name that this release of transformers gives the method."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable()


def assert_checkpointed(model: PreTrainedModel) -> None:
    layers = [m for m in model.modules() if hasattr(m, "gradient_checkpointing")]
    assert len(layers) >= 2
    assert all(layer.gradient_checkpointing for layer in layers)


def test_gradients_reach_every_parameter_with_and_without_checkpointing(encoder: Any) -> None:
    encoder.train()
    clips = flickering_clips(encoder.config, 1)
    target = torch.randn_like(encoder(clips))

    def gradients() -> dict[str, torch.Tensor]:
        encoder.zero_grad()
        functional.mse_loss(encoder(clips), target).backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, f"no gradient for {name}"
        return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}

    plain = gradients()
    turn_on_checkpointing(encoder.backbone)
    assert_checkpointed(encoder.backbone)
    checkpointed = gradients()
    # A key's bias adds the same to every score of a query, which softmax takes away again. Before
    # the first layer of X-CLIP all frames have the same message, so that their scores are equal
    # whatever queries and keys are.
    without = ("key.bias", "k_proj.bias", "layers.0.message_attn.q_proj.weight")
    without += ("layers.0.message_attn.q_proj.bias", "layers.0.message_attn.k_proj.weight")
    for name, gradient in plain.items():
        assert gradient.any() or name.endswith(without), f"zero gradient for {name}"
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_training_twice_on_a_clip_gives_the_same_memory(encoder: Any) -> None:
    clip = flickering_clips(encoder.train().config, 1)
    assert torch.equal(encoder(clip), encoder(clip))
    assert not encoder.requires_grad_(False)(clip).requires_grad


class _Whole(PreTrainedModel):
    """Holds the encoder as a model does that is built without storage and then loaded."""

    config_class = PreTrainedConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        values = copy.deepcopy(config.video_encoder)
        nested = AutoConfig.for_model(values.pop("model_type"), **values)
        self.video_encoder = class_for_config(nested)(nested)
        self.post_init()


def test_encoder_inside_a_larger_model_survives_loading_and_takes_checkpointing(
    encoder: Any, tmp_path: Path
) -> None:
    saved = _Whole(PreTrainedConfig(video_encoder=encoder.config.to_dict())).eval()
    # Other values than a model starts with: those of the file must be the ones used.
    saved.video_encoder.load_state_dict(encoder.state_dict())
    saved.video_encoder.pixel_mean.mul_(0.5)
    for name, tensor in saved.state_dict().items():
        if name.endswith("position_embeddings"):
            tensor.mul_(0.5)
    saved.save_pretrained(tmp_path)
    loaded, report = _Whole.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    # Of some backbones what is not saved, too: positions and frequencies.
    found = dict([*loaded.named_parameters(), *loaded.named_buffers()])
    for name, tensor in [*saved.named_parameters(), *saved.named_buffers()]:
        assert torch.equal(found[name], tensor), name
    clips = flickering_clips(encoder.config, 1)
    with torch.inference_mode():
        assert torch.equal(loaded.video_encoder(clips), saved.video_encoder(clips))
    turn_on_checkpointing(loaded)
    assert_checkpointed(loaded)


@pytest.mark.parametrize("encoder", ["videomae", "videomae without pooling"], indirect=True)
def test_encoder_without_storage_is_whole_after_taking_weights(encoder: Any) -> None:
    config = copy.deepcopy(encoder.config)
    empty: Any = class_for_config(config)(config).to("meta").eval()
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(encoder.state_dict(), strict=True, assign=True)
    clips = flickering_clips(config, 1)
    with torch.inference_mode():
        assert torch.equal(empty(clips), encoder(clips))
