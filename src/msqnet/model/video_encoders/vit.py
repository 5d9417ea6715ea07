"""Image encoders as video encoder: every frame on its own, and a learned position in time.

The paper's "ViT-B" row. The networks are those of `transformers`, used unchanged: ViT, CLIP,
SigLIP (with the fixed-size checkpoints of SigLIP 2), DINOv2 with or without registers, DINOv3.
Here are the pixels on the way in, the frame memory on the way out, and the loading of weights
trained with frames of another size.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    DINOv3ViTModel,
    PreTrainedModel,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from msqnet.errors import CheckpointError, check
from msqnet.model.attention import through
from msqnet.model.checkpoints import changed, filled, load_backbone, model_type_of
from msqnet.model.video_encoders.encoder import (
    CLIP_STATISTICS,
    HALF_STATISTICS,
    IMAGENET_STATISTICS,
    NUM_CHANNELS,
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    check_patches,
    frame_spans,
)
from msqnet.models.hub import checkpoint_file, checkpoint_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedConfig

    from msqnet.model.attention import AttentionRecord
    from msqnet.model.video_encoders.encoder import PixelStatistics

_log = logging.getLogger(__name__)


class _ViTWithoutPooler(ViTModel):
    """`ViTModel` less the pooler, which classifiers lack and frame features do not use."""

    def __init__(self, config: ViTConfig):
        super().__init__(config, add_pooling_layer=False)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        # transformers translates the tensor names of published checkpoints for its own class only.
        return ViTModel.from_pretrained(*args, add_pooling_layer=False, **kwargs)


@dataclass(frozen=True)
class ImageEncoderKind:
    """A family of image encoders.

    Attributes:
        model_class: gives patch tokens as the last ones of ``last_hidden_state``.
        checkpoint_types: the ``model_type`` of checkpoints that hold its weights.
        ignored_prefixes: start of the names of checkpoint tensors that it does not use.
        pixel_statistics: of the family's own weights; those stored beside a checkpoint come first.
        licence: of the family's own weights.
        position_weights: name of the position embeddings; None where they are computed.
        last_norm: the norm after the last layer, where ``last_hidden_state`` comes before it.
        settings: of the configuration; leave out a part that frame features do not use, or the
            random changes that a network makes on its own.
        left_out: start of the names of the backbone's tensors that ``settings`` leave out.
    """

    model_class: type[PreTrainedModel]
    licence: str
    checkpoint_types: tuple[str, ...]
    ignored_prefixes: tuple[str, ...] = ("classifier.",)
    pixel_statistics: PixelStatistics = IMAGENET_STATISTICS
    position_weights: str | None = "embeddings.position_embeddings"
    last_norm: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


IMAGE_ENCODER_KINDS: dict[str, ImageEncoderKind] = {
    "vit": ImageEncoderKind(
        _ViTWithoutPooler,
        "ViT weights: Apache-2.0",
        ("vit",),
        ignored_prefixes=("pooler.", "vit.pooler.", "classifier."),
        pixel_statistics=HALF_STATISTICS,
    ),
    "clip_vision_model": ImageEncoderKind(
        CLIPVisionModel,
        "CLIP weights: MIT",
        ("clip", "clip_vision_model"),
        ignored_prefixes=(
            *("text_model.", "text_projection", "visual_projection", "logit_scale"),
            "classifier.",
        ),
        pixel_statistics=CLIP_STATISTICS,
        position_weights="embeddings.position_embedding.weight",
        last_norm="post_layernorm",
    ),
    "siglip_vision_model": ImageEncoderKind(
        SiglipVisionModel,
        "SigLIP weights: Apache-2.0",
        ("siglip", "siglip_vision_model"),
        ignored_prefixes=("text_model.", "logit_scale", "logit_bias", "classifier."),
        pixel_statistics=HALF_STATISTICS,
        position_weights="embeddings.position_embedding.weight",
        settings={"vision_use_head": False},
        left_out=("head.",),
    ),
    "dinov2": ImageEncoderKind(Dinov2Model, "DINOv2 weights: Apache-2.0", ("dinov2",)),
    "dinov2_with_registers": ImageEncoderKind(
        Dinov2WithRegistersModel, "DINOv2 weights: Apache-2.0", ("dinov2_with_registers",)
    ),
    "dinov3_vit": ImageEncoderKind(
        DINOv3ViTModel,
        "DINOv3 weights: DINOv3 License (Meta's own terms)",
        ("dinov3_vit",),
        position_weights=None,
        # In training it would scale the positions by a random factor of its own.
        settings={"pos_embed_shift": None, "pos_embed_jitter": None, "pos_embed_rescale": None},
    ),
}
"""By the ``model_type`` of the backbone's configuration."""


class FrameEncoder(VideoEncoder):
    """Frame memory from an image encoder that sees one frame at a time.

    With patch tokens z_(p,t) of frame t after the backbone's last norm, P patches and T frames::

        v_t = mean_p z_(p,t) + e_t                                             (T items)

    The class token and registers are left out of the mean. e_t is learned and starts at zero, so
    that a new model starts from the pretrained features. CLIP itself applies its last norm to the
    class token only; here the patch tokens pass it, since before it their scale is arbitrary.

    The configuration is that of the backbone, one of `IMAGE_ENCODER_KINDS`, with ``num_frames``, T
    of every clip. Another kind, or a size that it cannot take, is a `ConfigError`.
    """

    config_class = ViTConfig  # its defaults are ViT-B/16, the paper's
    display_name = "FrameEncoder"
    licence = "; ".join(dict.fromkeys(kind.licence for kind in IMAGE_ENCODER_KINDS.values()))

    def __init__(self, config: PreTrainedConfig):
        found: Any = config
        check(
            found.model_type in IMAGE_ENCODER_KINDS,
            f"no frame encoder for a configuration of type {found.model_type!r}; "
            f"known are: {', '.join(IMAGE_ENCODER_KINDS)}",
        )
        name = f"FrameEncoder ({found.model_type})"
        check(
            hasattr(found, "num_frames"),
            f"{name}: the configuration has no num_frames; set it to T of the clips",
        )
        size, num_frames = found.image_size, found.num_frames
        check_patches(name, size, found.patch_size, found.num_channels, num_frames)
        kind = IMAGE_ENCODER_KINDS[found.model_type]
        super().__init__(config, width=found.hidden_size, pixel_statistics=kind.pixel_statistics)
        self.kind = kind
        self.backbone: Any = kind.model_class(changed(config, **kind.settings))
        # Whole frames never use DINO's mask token. As a parameter it would get no gradient, which
        # distributed training takes for a fault; so it is a buffer of the same name.
        embeddings: Any = self.backbone.embeddings
        token = dict(embeddings.named_parameters(recurse=False)).get("mask_token")
        if token is not None:
            del embeddings.mask_token
            embeddings.register_buffer("mask_token", token.detach())
        self.temporal_positions = nn.Parameter(torch.zeros(self.config.num_frames, self.width))

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Each frame."""
        return frame_spans(num_frames)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """All but the frame's position in time: (N, D'), as "frame"."""
        pixels = super().frame_features(frames)["pixels"]
        tokens = self.backbone(pixels).last_hidden_state  # (N, number of tokens, D')
        num_patches = (self.config.image_size // self.config.patch_size) ** 2
        patches = tokens[:, -num_patches:]  # (N, P, D'); the class token and registers are first
        if self.kind.last_norm is not None:
            patches = getattr(self.backbone, self.kind.last_norm)(patches)
        return {"frame": patches.mean(dim=1)}

    def _memory(self, features: FrameFeatures) -> Tensor:
        return features["frame"] + self.temporal_positions

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> FrameEncoder:
        """Start from the weights of an image encoder.

        Where the size differs from the checkpoint's, its position embeddings are resized once, as
        the backbone itself would do on every forward pass. Pixel statistics are those stored beside
        the weights, since DeiT and DINO are of the type ``vit`` too; else those of the family.
        """
        kind = _kind_of_checkpoint(name_or_folder)
        source = load_backbone(
            kind.model_class,
            name_or_folder,
            model_types=kind.checkpoint_types,
            ignored_prefixes=kind.ignored_prefixes,
        )
        config = changed(source.config, num_frames=num_frames, image_size=image_size)
        weights = {
            name: tensor
            for name, tensor in source.state_dict().items()
            if not name.startswith(kind.left_out)
        }
        if kind.position_weights is not None:
            positions = weights[kind.position_weights]
            weights[kind.position_weights] = resized_positions(source, positions, image_size)
        encoder = filled(lambda: cls(config), {"backbone": weights}, name_or_folder)
        statistics = _published_statistics(name_or_folder)
        if statistics is not None:
            encoder.set_pixel_statistics(statistics)
        return encoder

    @classmethod
    def licence_of(cls, name_or_folder: str) -> str:
        """Of the family of a checkpoint; of all families where it cannot be reached."""
        try:
            return _kind_of_checkpoint(name_or_folder).licence
        except CheckpointError:
            return cls.licence

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """See the base class; class token and registers stand before the patches."""
        grid = self.config.image_size // self.config.patch_size
        layers = attention.means()  # each (T, N, N)
        num_others = int(layers[0].shape[-1]) - grid**2
        patches = memory[:, :, None].expand(-1, -1, grid**2) / grid**2  # (K, T, P)
        tokens = torch.cat([patches.new_zeros(*patches.shape[:2], num_others), patches], dim=2)
        for weights in reversed(layers):
            tokens = through(tokens, weights)  # (K, T, N)
        maps: Tensor = tokens[:, None, :, num_others:].unflatten(3, (grid, grid))
        return maps  # (K, 1, T, h, w)


@torch.no_grad()
def resized_positions(source: Any, positions: Tensor, image_size: int) -> Tensor:
    """Position embeddings for frames of another size, by the backbone's own interpolation.

    (1, N, D') or (N, D') float -> the same for N' patches; the input itself where ``image_size``,
    the side of the square frames in pixels, is the backbone's.
    """
    if image_size == source.config.image_size:
        return positions
    # Only its number of tokens is read, to see whether anything changes: none of them, it does.
    no_tokens = positions.new_empty(1, 0, positions.shape[-1])
    resized: Tensor = source.embeddings.interpolate_pos_encoding(no_tokens, image_size, image_size)
    return resized.reshape(*positions.shape[:-2], -1, positions.shape[-1])


def _kind_of_checkpoint(name_or_folder: str | Path) -> ImageEncoderKind:
    found_type = model_type_of(name_or_folder)
    for kind in IMAGE_ENCODER_KINDS.values():
        if found_type in kind.checkpoint_types:
            return kind
    known = sorted(set().union(*(kind.checkpoint_types for kind in IMAGE_ENCODER_KINDS.values())))
    raise CheckpointError(
        f"{name_or_folder}: found a model of type {found_type!r}, expected "
        f"{' or '.join(map(repr, known))}; name a checkpoint of an image encoder"
    )


def _published_statistics(name_or_folder: str | Path) -> PixelStatistics | None:
    """Mean and standard deviation in the checkpoint's image processor file, None without one."""
    place = checkpoint_folder(name_or_folder)
    with suppress(CheckpointError):  # a copy in the cache may lack the file, which is then fetched
        file = checkpoint_file(name_or_folder, "preprocessor_config.json")
        place = place if file is None else file.parent
    try:
        values, _ = ImageProcessingMixin.get_image_processor_dict(place)
    except OSError:
        _log.warning(
            "%s: no preprocessor_config.json beside the weights; pixels are normalized as is "
            "usual for this kind of model",
            name_or_folder,
        )
        return None
    mean: Any = values.get("image_mean")
    std: Any = values.get("image_std")
    are_numbers = all(
        isinstance(channels, list)
        and len(channels) == NUM_CHANNELS
        and all(isinstance(value, int | float) and math.isfinite(value) for value in channels)
        for channels in (mean, std)
    )
    if not are_numbers or min(std) <= 0:
        raise CheckpointError(
            f"{name_or_folder}: image_mean {mean} and image_std {std} in preprocessor_config.json, "
            "expected 3 numbers each, the second positive; fetch the file again"
        )
    return tuple(mean), tuple(std)
