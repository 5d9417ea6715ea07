"""What is used where the user says nothing: one recipe for each video encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from msqnet.config import ArchConfig, ClipConfig, TrainConfig

KINETICS_TIMESFORMER = "facebook/timesformer-base-finetuned-k400"
CLIP_B16 = "openai/clip-vit-base-patch16"


@dataclass(frozen=True)
class Recipe:
    """Settings that belong together.

    Attributes:
        name: printed when training starts.
        arch: architecture.
        train: training.
        clip: how frames become a model input; frames and close-up come from ``arch``.
        licence: of the pretrained weights that the architecture starts from.
    """

    name: str
    arch: ArchConfig
    train: TrainConfig
    clip: ClipConfig
    licence: str


_LITE = Recipe(
    name="lite",
    arch=ArchConfig(),
    train=TrainConfig(),
    clip=ClipConfig(resize="stretch", decode_short_side_pixels=352),
    licence="EfficientNet-Lite0: Apache-2.0; all-MiniLM-L6-v2: Apache-2.0",
)

# The paper, section 4: Adam, 1e-5, one cosine over 100 epochs, 16 frames; CLIP stays frozen.
_PAPER = Recipe(
    name="paper",
    arch=ArchConfig(
        video_encoder="timesformer",
        video_weights=KINETICS_TIMESFORMER,
        image_encoder=CLIP_B16,
        text_encoder=CLIP_B16,
        num_frames=16,
        width=512,
        decoder_layers=6,
        decoder_heads=8,
        decoder_feedforward=2048,
        dropout=0.1,
        query_positions="none",
        closeup=False,
    ),
    train=TrainConfig(
        epochs=100,
        learning_rate=1e-5,
        encoder_learning_rate=1e-5,
        weight_decay=0.0,
        batch_size=8,
        accumulation_steps=1,
        warmup_share=0.0,
        finetune="full",
        gradient_checkpointing=False,
        precision="auto",
        class_balance="none",
        validation_share=0.2,
        folds=0,
        early_stopping_patience=0,
        cached_views=0,
        probe_strength=0.0,
        max_gradient_norm=0.0,
        seed=0,
        num_workers=2,
    ),
    clip=ClipConfig(resize="crop", short_side_pixels=256, decode_short_side_pixels=256),
    licence="TimeSformer K400: CC-BY-NC 4.0 (not for commercial use); CLIP: MIT",
)

RECIPES = {"lite": _LITE, "timesformer": _PAPER}


def recipe_defaults(video_encoder: str) -> dict[str, Any]:
    """The recipe's settings by their dotted option names, for instance ``train.epochs``."""
    recipe = RECIPES[video_encoder]
    return {
        f"{group}.{name}": value
        for group, settings in (("arch", recipe.arch), ("train", recipe.train))
        for name, value in asdict(settings).items()
    }
