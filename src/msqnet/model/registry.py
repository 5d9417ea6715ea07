"""Video encoders by name, each with what the package needs to know of it before it is loaded.

A new encoder is a `VideoEncoder` in a module of its own and one `EncoderSpec`: in the table below,
or registered from any other package with `register_video_encoder`. Nothing here loads torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from msqnet.config import ArchConfig, ClipConfig, TrainConfig
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedConfig

    from msqnet.model.video_encoders.encoder import VideoEncoder

_HERE = "msqnet.model.video_encoders"
_CLIP_B16 = "openai/clip-vit-base-patch16"

CLIP_LICENCE = "CLIP weights: MIT (OpenAI's; see the card of others)"
SIGLIP_LICENCE = "SigLIP weights: Apache-2.0"
DUAL_LICENCES = {"clip": CLIP_LICENCE, "siglip": SIGLIP_LICENCE}
"""Of encoders of images and texts, by their kind."""

# Settings that not every encoder has, and the values that ask for nothing.
_NEUTRAL: dict[str, Any] = {
    "closeup": False,
    "frame_pooling": "frames",
    "time_embeddings": "interpolated",
    "pixel_statistics": "own",
}


@dataclass(frozen=True)
class Recipe:
    """Settings that belong together: what a new model is made of where the user names nothing.

    Training prints the name when it starts. Frames and motion crop of ``clip`` come from ``arch``.
    """

    name: str
    arch: ArchConfig
    train: TrainConfig
    clip: ClipConfig


@dataclass(frozen=True)
class EncoderSpec:
    """A video encoder as the package knows it.

    Attributes:
        name: what `ArchConfig.video_encoder` calls it.
        encoder: the class, or ``module:class`` to be imported when it is first needed.
        model_types: ``model_type`` of the configurations that belong to it.
        recipe: returns its usual settings, whose ``arch.video_encoder`` is the name.
        within: ``model_type`` of checkpoints of which the encoder is one part.
        settings: which it has of ``closeup``, ``frame_pooling``, ``time_embeddings`` and
            ``pixel_statistics``; and ``video_query`` if it gives a video query of its own.
    """

    name: str
    encoder: str | type[VideoEncoder]
    model_types: tuple[str, ...]
    recipe: Callable[[], Recipe]
    within: tuple[str, ...] = ()
    settings: tuple[str, ...] = ("pixel_statistics",)

    def load(self) -> type[VideoEncoder]:
        """The class; a configuration of its own is made known to `transformers`."""
        from transformers import CONFIG_MAPPING, AutoConfig

        found: Any = self.encoder
        if isinstance(found, str):
            module, _, class_name = found.partition(":")
            found = getattr(importlib.import_module(module), class_name)
        if found.config_class.model_type not in CONFIG_MAPPING:
            AutoConfig.register(found.config_class.model_type, found.config_class)
        encoder_class: type[VideoEncoder] = found
        return encoder_class


def paper_recipe(
    video_encoder: str = "timesformer",
    weights: str = "facebook/timesformer-base-finetuned-k400",
    **changes: Any,
) -> Recipe:
    """The recipe of the paper (section 4), with another encoder or changed fields of `ArchConfig`.

    Adam, 1e-5, one cosine over 100 epochs, 16 frames; CLIP stays frozen. ``weights`` are a hub id
    or folder; empty where no hub holds official ones.
    """
    arch = ArchConfig(
        video_encoder=video_encoder,
        video_weights=weights,
        video_query="image",
        image_encoder=_CLIP_B16,
        text_encoder=_CLIP_B16,
        num_frames=16,
        width=512,
        decoder_layers=6,
        decoder_heads=8,
        decoder_feedforward=2048,
        dropout=0.1,
        direct_path=False,
        closeup=False,
    )
    train = TrainConfig(
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
        scene_weight=1.0,
        decoder_rows=0,
        max_gradient_norm=0.0,
        seed=0,
        num_workers=2,
    )
    name = "paper" if video_encoder == "timesformer" else f"paper with {video_encoder}"
    clip = ClipConfig(resize="crop", short_side_pixels=256, decode_short_side_pixels=256)
    return Recipe(name, replace(arch, **changes), train, clip)


_IMAGE_MODELS = (
    *("vit", "clip_vision_model", "siglip_vision_model"),
    *("dinov2", "dinov2_with_registers", "dinov3_vit"),
)
_LITE_CLIP = ClipConfig(resize="stretch", decode_short_side_pixels=352)
_SPECS = (
    EncoderSpec(
        "lite",
        f"{_HERE}.lite:LiteVideoEncoder",
        ("msqnet_lite",),
        partial(Recipe, "lite", ArchConfig(), TrainConfig(), _LITE_CLIP),
        settings=("closeup", "video_query"),
    ),
    EncoderSpec(
        "timesformer",
        f"{_HERE}.timesformer:TimesformerVideoEncoder",
        ("timesformer",),
        paper_recipe,
        settings=("pixel_statistics", "frame_pooling", "time_embeddings"),
    ),
    EncoderSpec(
        "videomae",
        f"{_HERE}.tubelets:VideoMAEVideoEncoder",
        ("videomae",),
        partial(paper_recipe, "videomae", "MCG-NJU/videomae-base-finetuned-kinetics"),
    ),
    EncoderSpec(
        "vit",
        f"{_HERE}.vit:FrameEncoder",
        _IMAGE_MODELS,
        partial(paper_recipe, "vit", _CLIP_B16),
        within=("clip", "siglip"),
    ),
    EncoderSpec(
        "i3d",
        f"{_HERE}.convolutional:I3DVideoEncoder",
        ("msqnet_i3d",),
        partial(paper_recipe, "i3d", ""),
    ),
    EncoderSpec(
        "c3d",
        f"{_HERE}.convolutional:C3DVideoEncoder",
        ("msqnet_c3d",),
        partial(paper_recipe, "c3d", "", size_pixels=112),
    ),
    EncoderSpec(
        "vjepa2",
        f"{_HERE}.tubelets:VJEPA2VideoEncoder",
        ("vjepa2",),
        partial(paper_recipe, "vjepa2", "facebook/vjepa2-vitl-fpc64-256", size_pixels=256),
    ),
    EncoderSpec(
        "xclip",
        f"{_HERE}.xclip:XCLIPVideoEncoder",
        ("xclip_vision_model",),
        partial(paper_recipe, "xclip", "microsoft/xclip-base-patch16", num_frames=8),
        within=("xclip",),
    ),
    EncoderSpec(
        "videoprism",
        f"{_HERE}.videoprism:VideoPrismVideoEncoder",
        ("videoprism_vision_model",),
        partial(paper_recipe, "videoprism", "google/videoprism-base-f16r288", size_pixels=288),
        within=("videoprism",),
    ),
)
VIDEO_ENCODERS: dict[str, EncoderSpec] = {spec.name: spec for spec in _SPECS}
"""By the name in the settings. No hub holds official weights of I3D and C3D: name a file."""


def register_video_encoder(spec: EncoderSpec) -> None:
    """Make an encoder known: models with it can be trained, loaded, explained and exported.

    A name or configuration that belongs to another encoder is a `ConfigError`.
    """
    for other in VIDEO_ENCODERS.values():
        if other.name == spec.name or set(other.model_types) & set(spec.model_types):
            raise ConfigError(
                f"video encoder {spec.name!r}: the name or a model type of "
                f"{', '.join(spec.model_types)} belongs to {other.name!r}"
            )
    VIDEO_ENCODERS[spec.name] = spec


def encoder_spec(name: str) -> EncoderSpec:
    """The encoder of a name in the settings; a `ConfigError` for an unknown one."""
    if name not in VIDEO_ENCODERS:
        raise ConfigError(f"no video encoder {name!r}; known are: {', '.join(VIDEO_ENCODERS)}")
    return VIDEO_ENCODERS[name]


def spec_of_model_type(model_type: str) -> EncoderSpec | None:
    """The encoder that a configuration's ``model_type`` belongs to; None for none."""
    specs = VIDEO_ENCODERS.values()
    return next((spec for spec in specs if model_type in spec.model_types), None)


def class_for_config(config: PreTrainedConfig) -> type[VideoEncoder]:
    """The encoder that a configuration belongs to; a `ConfigError` if it is of none."""
    spec = spec_of_model_type(config.model_type)
    if spec is None:
        known = [name for other in VIDEO_ENCODERS.values() for name in other.model_types]
        raise ConfigError(
            f"no video encoder for a configuration of type {config.model_type!r}; "
            f"known are: {', '.join(known)}"
        )
    return spec.load()


def check_encoder_settings(arch: ArchConfig) -> None:
    """Refuse settings that the video encoder does not have with a `ConfigError`."""
    spec = encoder_spec(arch.video_encoder)
    asked = {name for name, neutral in _NEUTRAL.items() if getattr(arch, name) != neutral}
    if arch.video_query == "trunk":
        asked.add("video_query")
    for name in sorted(asked - set(spec.settings)):
        known = [other.name for other in VIDEO_ENCODERS.values() if name in other.settings]
        usual = _NEUTRAL.get(name, "image or none")
        raise ConfigError(
            f"{name} {getattr(arch, name)}: not for the {spec.name} encoder; it is for "
            f"{', '.join(known)}; set it to {str(usual).lower()}"
        )


def recipe_defaults(video_encoder: str) -> dict[str, Any]:
    """The recipe's settings by their dotted option names, for instance ``train.epochs``."""
    recipe = encoder_spec(video_encoder).recipe()
    return {**_dotted(recipe.arch, "arch."), **_dotted(recipe.train, "train.")}


def _dotted(settings: Any, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(settings):
        value, name = getattr(settings, item.name), f"{prefix}{item.name}"
        found |= _dotted(value, f"{name}.") if is_dataclass(value) else {name: value}
    return found
