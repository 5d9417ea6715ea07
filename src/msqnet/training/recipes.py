"""What is used where the user says nothing: one recipe for each video encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
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
    """

    name: str
    arch: ArchConfig
    train: TrainConfig
    clip: ClipConfig


_LITE = Recipe(
    name="lite",
    arch=ArchConfig(),
    train=TrainConfig(),
    clip=ClipConfig(resize="stretch", decode_short_side_pixels=352),
)

# The paper, section 4: Adam, 1e-5, one cosine over 100 epochs, 16 frames; CLIP stays frozen.
_PAPER = Recipe(
    name="paper",
    arch=ArchConfig(
        video_encoder="timesformer",
        video_weights=KINETICS_TIMESFORMER,
        video_query="image",
        image_encoder=CLIP_B16,
        text_encoder=CLIP_B16,
        num_frames=16,
        width=512,
        decoder_layers=6,
        decoder_heads=8,
        decoder_feedforward=2048,
        dropout=0.1,
        direct_path=False,
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
)


def _like_paper(video_encoder: str, weights: str, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {"video_encoder": video_encoder, "video_weights": weights, **changes}
    return replace(
        _PAPER, name=f"paper with {video_encoder}", arch=replace(_PAPER.arch, **settings)
    )


RECIPES = {
    "lite": _LITE,
    "timesformer": _PAPER,
    "videomae": _like_paper("videomae", "MCG-NJU/videomae-base-finetuned-kinetics"),
    "vit": _like_paper("vit", CLIP_B16),
    "i3d": _like_paper("i3d", ""),
    "c3d": _like_paper("c3d", "", size_pixels=112),
    "vjepa2": _like_paper("vjepa2", "facebook/vjepa2-vitl-fpc64-256", size_pixels=256),
    "xclip": _like_paper("xclip", "microsoft/xclip-base-patch16", num_frames=8),
}
"""By the name of the video encoder. No hub holds official weights of I3D and C3D: name a file."""


def recipe_defaults(video_encoder: str) -> dict[str, Any]:
    """The recipe's settings by their dotted option names, for instance ``train.epochs``."""
    recipe = RECIPES[video_encoder]
    return {**_dotted(recipe.arch, "arch."), **_dotted(recipe.train, "train.")}


def _dotted(settings: Any, prefix: str) -> dict[str, Any]:
    """The values of nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for item in fields(settings):
        value, name = getattr(settings, item.name), f"{prefix}{item.name}"
        found |= _dotted(value, f"{name}.") if is_dataclass(value) else {name: value}
    return found
