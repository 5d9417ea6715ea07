"""Image encoders of `transformers` that frame encoders are compared with, at small sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)

from tests.parity.checkpoints import IMAGENET, fill_with_noise, standardised

if TYPE_CHECKING:
    from pathlib import Path

NUM_FRAMES = 4
SIZE_PIXELS = 32
PATCH_PIXELS = 8
NUM_PATCHES = (SIZE_PIXELS // PATCH_PIXELS) ** 2
WIDTH = 32
FRAME_ORDER = [2, 0, 3, 1]  # no frame stays in its place

_HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
_CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])

_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": SIZE_PIXELS,
    "patch_size": PATCH_PIXELS,
}
TEXT_SIZES = {
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
    "dinov2": Family(Dinov2Config, Dinov2Model, IMAGENET, 1, _DINOV2),
    "dinov2_with_registers": Family(
        Dinov2WithRegistersConfig, Dinov2WithRegistersModel, IMAGENET, 5, _DINOV2
    ),
    "dinov3_vit": Family(
        DINOv3ViTConfig,
        DINOv3ViTModel,
        IMAGENET,
        4,
        {**_MLP, "num_register_tokens": 3, "initializer_range": 0.1},
    ),
}
# DINOv3 computes its positions.
WITH_POSITIONS = sorted(FAMILIES.keys() - {"dinov3_vit"})


def fill(model: PreTrainedModel) -> PreTrainedModel:
    """Values as of a trained model: norms, registers and tokens start at 1 or 0."""
    fill_with_noise(model, 0.05)
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
    rows = []
    for clip in clips:
        for frame in clip:
            pixels = standardised(frame, family.statistics)
            tokens = model(pixel_values=pixels[None]).last_hidden_state[0]
            patches = tokens[family.num_special :]
            if kind == "clip_vision_model":
                patches = model.post_layernorm(patches)
            rows.append(patches.double().mean(dim=0))
    return torch.stack(rows).reshape(len(clips), NUM_FRAMES, -1)
