"""Which weights are trained, how fast, with how much memory, and what adapters add to them.

LoRA (Hu et al. 2021, arXiv:2106.09685), by PEFT: beside each frozen projection W of the attention
in an encoder's backbone stands a trained product of two thin matrices, W x + (alpha / rank) B A x.
B starts at zero. After training the product is added to W: a finished model is like any other.
"""

from __future__ import annotations

import copy
import hashlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from msqnet.errors import ConfigError, check, needs_extra
from msqnet.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import LoraConfig, TrainConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.model.video_encoders.encoder import VideoEncoder

_ENCODERS = ("video_encoder.", "image_encoder.", "audio_encoder.")
_LAYER_LISTS = (nn.ModuleList, nn.Sequential)


def freeze(model: MSQNet, finetune: str) -> None:
    """Mark what is trained, as `TrainConfig.finetune` says.

    "after_trunk" for an encoder without a backbone of its own, and "lora" for one without attention
    in its backbone, or that no score depends on, are a `ConfigError`; "lora" without PEFT is a
    `MissingExtra`.
    """
    encoder = model.video_encoder
    if model.audio_encoder is not None:
        model.audio_encoder.requires_grad_(finetune == "full")
    if not model.config.frame_memory:  # nothing of it reaches the scores
        encoder.requires_grad_(False)
        model.project_memory.requires_grad_(False)
    if finetune == "decoder":
        encoder.requires_grad_(False)
    elif finetune == "lora":
        check(
            model.config.frame_memory,
            "finetune lora: nothing of the video encoder reaches the scores, so adapters would "
            "learn nothing; set finetune to decoder",
        )
        attention_projections(encoder)
        with needs_extra("finetune lora", extra="lora"):
            import_module("peft")
        _backbone(encoder).requires_grad_(False)
    elif finetune == "after_trunk":
        if not encoder.frozen_features:
            raise ConfigError(
                "finetune after_trunk needs an encoder with a backbone apart, such as lite; use "
                "full or decoder"
            )
        encoder.trunk.requires_grad_(False)


def turn_on_checkpointing(model: MSQNet) -> None:
    """Compute activations anew in the backward pass; a `ConfigError` for an encoder without it."""
    encoder = model.video_encoder
    if not any(isinstance(part, GradientCheckpointingLayer) for part in encoder.modules()):
        raise ConfigError(
            f"gradient_checkpointing: the {encoder.display_name} encoder has none; leave it off"
        )
    # transformers 5.17 knows the first name only, 5.23 warns about it.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)()


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate and decay; vectors and embeddings do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    core: Any = getattr(model, "module", model)
    shares = _layer_shares(core.video_encoder, config.layer_decay)
    for name, parameter in core.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate
        if name.startswith("video_encoder."):
            rate = config.encoder_learning_rate * shares[name.removeprefix("video_encoder.")]
        elif name.startswith("audio_encoder."):
            rate = config.encoder_learning_rate
        is_matrix = parameter.ndim > 1 and "embedding" not in name and "position" not in name
        decay = config.weight_decay if is_matrix else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": weight_decay}
        for (rate, weight_decay), parameters in groups.items()
    ]


def _layer_shares(encoder: VideoEncoder, decay: float) -> dict[str, float]:
    """Share of the encoder's learning rate that each of its parameters has: 1 in the last layer.

    Layers are the items of the outermost lists of modules, in the order of their definition. What
    stands between two layers goes with the lower one; parameters of the encoder itself, which has
    them beside its backbone, go with the last.
    """
    layers: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name, _ in encoder.named_parameters():
        path = name.split(".")
        for end in range(1, len(path)):
            if isinstance(encoder.get_submodule(".".join(path[:end])), _LAYER_LISTS):
                layers.setdefault(".".join(path[: end + 1]), len(layers) + 1)
                break
        depths[name] = len(layers)
    last = len(layers)
    return {name: decay ** (last - depths[name]) if "." in name else 1.0 for name in depths}


# LoRA.


def _backbone(encoder: VideoEncoder) -> nn.Module:
    """The part whose weights are published; the whole encoder where it has no such part."""
    names = (name for name in ("backbone", "trunk") if hasattr(encoder, name))
    return encoder.get_submodule(next(names, ""))


def attention_projections(encoder: VideoEncoder) -> dict[str, nn.Linear]:
    """Linear layers of the attention in an encoder's backbone, by their name there.

    An encoder without any is a `ConfigError`.
    """
    found = {
        name: module
        for name, module in _backbone(encoder).named_modules()
        if isinstance(module, nn.Linear) and ("attention" in name or "attn" in name)
    }
    others = "full, after_trunk or decoder" if encoder.frozen_features else "full or decoder"
    check(
        bool(found),
        f"finetune lora: the backbone of {encoder.display_name} has no attention to adapt; set "
        f"finetune to {others}",
    )
    return found


def describe_adapters(model: MSQNet, config: LoraConfig) -> str:
    """How large adapters are, beside what they adapt."""
    layers = attention_projections(model.video_encoder).values()
    size = sum(config.rank * (layer.in_features + layer.out_features) for layer in layers)
    whole = sum(parameter.numel() for parameter in model.parameters())
    frozen = sum(parameter.numel() for parameter in _frozen(model).values())
    return (
        f"lora: adapters of rank {config.rank} on {len(layers)} projections of attention, "
        f"{_megabytes(size)} of {_megabytes(whole)}; a checkpoint leaves out {_megabytes(frozen)} "
        "that are frozen"
    )


def _megabytes(count: int) -> str:
    """Of float32 numbers."""
    return f"{4 * count / 1e6:.1f} MB"


def _frozen(model: MSQNet) -> dict[str, nn.Parameter]:
    """Weights of encoders that are not trained, by name."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.startswith(_ENCODERS) and not parameter.requires_grad
    }


def add_adapters(model: MSQNet, config: LoraConfig) -> None:
    """Give the encoder adapters, to be trained in place of its backbone.

    From now on the model is saved without what is frozen in its encoders.
    """
    from peft import LoraConfig as PeftConfig
    from peft import LoraModel

    names = list(attention_projections(model.video_encoder))
    settings = PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=names)
    LoraModel(_backbone(model.video_encoder), settings, "adapter")
    model._keys_to_ignore_on_save = set(_frozen(model))


def check_frozen(model: MSQNet, folder: Path, *, writes: bool) -> None:
    """Refuse to go on with adapters beside other frozen weights than a run began with.

    ``folder`` holds a digest of them, which a process that ``writes`` puts there; another one is a
    `ConfigError`.
    """
    digest = _digest(_frozen(model))
    path = folder / "frozen.sha256"
    if path.is_file() and path.read_text() != digest:
        raise ConfigError(
            f"{folder}: the frozen weights are not those that the run began with, and its adapters "
            "fit no others; give it the former ones, or choose another --out"
        )
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(digest)


def _digest(weights: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(name.encode())
        digest.update(raw.numpy())
    return digest.hexdigest()


def merge_adapters(*models: MSQNet) -> None:
    """Add what adapters have learnt to the weights beside them; models without any stay."""
    for model in models:
        backbone: Any = _backbone(model.video_encoder)
        if not hasattr(backbone, "peft_config"):
            continue
        from peft.tuners.lora import LoraLayer

        for name, module in list(backbone.named_modules()):
            if isinstance(module, LoraLayer):
                module.merge()
                backbone.set_submodule(name, module.get_base_layer())
        del backbone.peft_config
        model._keys_to_ignore_on_save = set()


def model_of(checkpoint: Path, model: MSQNet) -> MSQNet:
    """A copy of a model with the weights of one of its own checkpoints; frozen ones are kept."""
    found = copy.deepcopy(model)
    found.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)
    return found
