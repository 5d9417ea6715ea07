"""What is trained, at which rate, with which memory; adapters, their checkpoints and their end."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from msqnet.config import ClipConfig, LoraConfig, TrainConfig
from msqnet.errors import ConfigError, MissingExtra
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.training.finetuning import (
    add_adapters,
    attention_projections,
    check_frozen,
    describe_adapters,
    freeze,
    merge_adapters,
    parameter_groups,
    turn_on_checkpointing,
)
from msqnet.training.fit import fit
from tests.fixtures.models import (
    fill_with_noise,
    tiny_model,
    write_clip_folder,
    write_timesformer_folder,
)
from tests.fixtures.tiny_encoders import (
    TINY_ENCODERS,
    clip_form_of,
    flickering_clips,
    tiny_encoder_config,
)
from tests.fixtures.training_runs import timesformer_run

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedConfig

CONVOLUTIONAL = ("lite", "i3d", "c3d")
WITH_ATTENTION = [name for name in TINY_ENCODERS if name not in CONVOLUTIONAL]
LABELS = ["sit", "walk", "sleep"]
NUM_CLIPS = 2
LORA = LoraConfig(rank=2, alpha=4)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def model_with(encoder: PreTrainedConfig) -> MSQNet:
    """A tiny text-only model with this encoder, with values as of a trained one."""
    num_frames, size_pixels = clip_form_of(encoder)
    config = MSQNetConfig(
        video_encoder=encoder,
        video_query="none",
        direct_path=False,
        labels=LABELS,
        label_width=12,
        width=16,
        decoder_layers=1,
        decoder_heads=2,
        decoder_feedforward=24,
        dropout=0.0,
        clip=asdict(ClipConfig(num_frames=num_frames, size_pixels=size_pixels)),
    )
    model = MSQNet(config)
    fill_with_noise(model)
    return model


def weights_of(model: MSQNet) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def train_steps(model: MSQNet, clips: Tensor, num_steps: int = 2) -> dict[str, Tensor]:
    """Train on some clips; the last gradients by name."""
    groups = parameter_groups(model, TrainConfig(learning_rate=1e-2, encoder_learning_rate=1e-2))
    optimiser = torch.optim.AdamW(groups)
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    model.train()
    for _ in range(num_steps):
        optimiser.zero_grad()
        model(clips, labels=labels).loss.backward()
        optimiser.step()
    named = model.named_parameters()
    return {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_merged_adapters_score_as_they_did_beside_frozen_weights(name: str) -> None:
    encoder = tiny_encoder_config(name)
    model, clips = model_with(encoder), flickering_clips(encoder, NUM_CLIPS)
    before = weights_of(model)
    freeze(model, "lora")
    adapted = {
        f"video_encoder.backbone.{projection}.weight"
        for projection in attention_projections(model.video_encoder)
    }
    add_adapters(model, LORA)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.train(mode=False)(clips).logits, _logits(before, encoder, clips), atol=0, rtol=0
        )
    gradients = train_steps(model, clips)
    # See `test_gradients_reach_every_parameter`: of these the first layer of X-CLIP needs none.
    without = tuple(f"layers.0.message_attn.{key}_proj" for key in "qk")
    for key, gradient in gradients.items():
        is_silent = any(f"{part}.lora" in key for part in without)
        assert gradient.any() or is_silent or key.endswith("k_proj.bias"), key
    assert sum("lora_B" in key for key in gradients) == len(adapted)
    for key, tensor in model.state_dict().items():
        if key.startswith("video_encoder.backbone.") and "lora_" not in key:
            assert torch.equal(tensor, before[key.replace(".base_layer", "")]), key
    with torch.inference_mode():
        beside = model.train(mode=False)(clips).logits
        merge_adapters(model)
        merged = model(clips).logits
    torch.testing.assert_close(merged, beside, atol=1e-5, rtol=1e-5)
    after = model.state_dict()
    assert after.keys() == before.keys()
    for key, tensor in after.items():
        if key.startswith("video_encoder.backbone."):
            is_silent = any(part in key for part in without)  # rounding may move it
            assert is_silent or torch.equal(tensor, before[key]) == (key not in adapted), key


def _logits(weights: dict[str, Tensor], encoder: PreTrainedConfig, clips: Tensor) -> Tensor:
    model = model_with(encoder)
    model.load_state_dict(weights)
    logits: Tensor = model.train(mode=False)(clips).logits
    return logits


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_backbone_without_attention_is_refused_with_what_works(name: str) -> None:
    model = model_with(tiny_encoder_config(name))
    others = "full, after_trunk or decoder" if name == "lite" else "full or decoder"
    with pytest.raises(ConfigError, match=f"no attention to adapt; set finetune to {others}"):
        freeze(model, "lora")


def test_adapters_of_an_encoder_that_no_score_depends_on_are_refused() -> None:
    model = tiny_model("timesformer")
    model.config.frame_memory = False
    with pytest.raises(ConfigError, match="adapters would learn nothing"):
        freeze(model, "lora")


def test_adapters_without_peft_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"msqnet\[lora\]"):
        freeze(tiny_model("timesformer"), "lora")


def test_size_of_adapters_is_told_beside_that_of_the_model() -> None:
    model = tiny_model("timesformer")
    freeze(model, "lora")
    # Two layers of two attentions, each with a projection to 3 x 16 and one to 16.
    added = 4 * (16 + 48 + 16 + 16) * 2
    told = describe_adapters(model, LORA)
    assert "rank 2 on 8 projections" in told
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert f"{4 * added / 1e6:.1f} MB of {4 * whole / 1e6:.1f} MB" in told
    add_adapters(model, LORA)
    with_them = sum(parameter.numel() for parameter in model.parameters())
    assert with_them - whole == added


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and pretrained encoders."""
    folder = tmp_path_factory.mktemp("sources")
    write_timesformer_folder(folder / "timesformer")
    write_clip_folder(folder / "clip")
    return folder


def test_run_with_adapters_goes_on_to_the_same_bits_and_ends_as_an_ordinary_model(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"finetune": "lora", "lora": LORA, "encoder_learning_rate": 1e-2}
    run = timesformer_run(sources, tmp_path / "run", **settings)
    run = replace(run, features=tmp_path / "features")
    lines: list[str] = []
    fit(run, report=lines.append)
    assert any(line.startswith("lora: adapters of rank 2") for line in lines)
    assert f"{run.features} is not used: finetune lora keeps no features" in lines
    names = ("best", "last")
    expected = {name: load_file(run.folder / name / "model.safetensors") for name in names}
    checkpoints = sorted((run.folder / "checkpoints").glob("checkpoint-*"))
    saved = load_file(checkpoints[-1] / "model.safetensors")
    assert sum("lora_" in name for name in saved) == 16
    assert not [name for name in saved if "base_layer" in name or "image_encoder.backbone" in name]
    assert not [name for name in expected["best"] if "lora" in name]

    (checkpoints[-1] / "trainer_state.json").unlink()
    for name in names:
        (run.folder / name / "config.json").unlink(missing_ok=True)
    fit(run, report=lambda _line: None, resume=True)
    for folder, weights in expected.items():
        found = load_file(run.folder / folder / "model.safetensors")
        assert found.keys() == weights.keys()
        for name, tensor in weights.items():
            assert torch.equal(found[name], tensor), f"{folder}: {name}"
    monkeypatch.setitem(sys.modules, "peft", None)
    MSQNet.from_pretrained(run.folder / "best")


def test_adapters_do_not_go_on_beside_other_weights(tmp_path: Path) -> None:
    model = tiny_model("timesformer")
    freeze(model, "lora")
    check_frozen(model, tmp_path, writes=True)
    check_frozen(model, tmp_path, writes=True)
    with torch.no_grad():
        next(model.video_encoder.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ConfigError, match="frozen weights are not those"):
        check_frozen(model, tmp_path, writes=False)


def rates_of(model: MSQNet, decay: float) -> dict[str, float]:
    config = TrainConfig(learning_rate=1.0, encoder_learning_rate=0.5, layer_decay=decay)
    groups = parameter_groups(model, config)
    found = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        (
            "vit/clip",
            {
                "temporal_positions": 1,
                "backbone.embeddings.patch_embedding.weight": 0.25,
                "backbone.encoder.layers.0.mlp.fc1.weight": 0.5,
                "backbone.encoder.layers.1.mlp.fc1.weight": 1,
                "backbone.post_layernorm.weight": 1,
            },
        ),
        (
            "lite",  # 16 blocks of convolutions, one of attention
            {
                "trunk.network.stem.conv.weight": 0.5**17,
                "trunk.network.blocks.0.project.conv.weight": 0.5**16,
                "trunk.network.blocks.15.project.conv.weight": 0.5,
                "trunk.network.head.conv.weight": 0.5,
                "cell_positions": 1,
                "blocks.0.expand.weight": 1,
            },
        ),
    ],
)
def test_lower_layers_learn_more_slowly(name: str, shares: dict[str, float]) -> None:
    model = model_with(tiny_encoder_config(name))
    rates = rates_of(model, 0.5)
    for parameter, share in shares.items():
        assert rates[f"video_encoder.{parameter}"] == pytest.approx(0.5 * share), parameter
    assert rates["head.weight"] == 1.0
    assert set(rates_of(model, 1.0).values()) == {1.0, 0.5}


def test_layer_decay_is_a_share() -> None:
    for value in (0.0, 1.5):
        with pytest.raises(ConfigError, match="layer_decay"):
            TrainConfig(layer_decay=value)


def test_settings_of_what_is_not_trained_are_refused() -> None:
    with pytest.raises(ConfigError, match="adapters of finetune lora; found full"):
        TrainConfig(finetune="full", lora=LORA)
    with pytest.raises(ConfigError, match="which finetune decoder does not train"):
        TrainConfig(finetune="decoder", layer_decay=0.75)
    with pytest.raises(ConfigError, match="with finetune lora it must be 0"):
        TrainConfig(finetune="lora", cached_views=1)


def test_checkpointed_lite_has_the_same_gradients() -> None:
    encoder = tiny_encoder_config("lite")
    model, clips = model_with(encoder), flickering_clips(encoder, NUM_CLIPS)
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])

    def gradients() -> tuple[dict[str, Tensor], int]:
        """And how many numbers were kept for them."""
        model.zero_grad()
        torch.manual_seed(1)
        kept: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model.train()(clips, labels=labels).loss
        loss.backward()
        named = model.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}, sum(kept)

    plain, kept = gradients()
    turn_on_checkpointing(model)
    found, kept_less = gradients()
    assert found.keys() == plain.keys()
    assert any("trunk.network.blocks" in name for name in plain)
    for name, gradient in plain.items():
        assert torch.equal(found[name], gradient), name
    assert kept_less < kept / 2


def test_checkpointing_is_refused_where_there_is_none() -> None:
    with pytest.raises(ConfigError, match="gradient_checkpointing: the I3D encoder has none"):
        turn_on_checkpointing(model_with(tiny_encoder_config("i3d")))
