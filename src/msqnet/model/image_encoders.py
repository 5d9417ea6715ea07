"""Image encoders behind the video query: one embedding for each frame (paper, section 3.2).

- CLIP. ``pooled`` embeddings are its ``pooler_output``, before its projection, as in the paper and
  its released code (768 wide for B/16). ``projected`` ones lie in the space that its texts and
  images share, and have length 1. Published weights are MIT.
- SigLIP (Zhai et al. 2023) and SigLIP 2 (Tschannen et al. 2025, its checkpoints of fixed
  resolution): images end in the space shared with texts. Published weights are Apache-2.0.

The networks are those of `transformers`. Of CLIP's, two things are computed otherwise, with the
same result (`tests/parity`), because the video query is most of the paper's cost per frame:

- of the last layer only the class token is used, so only its query and its feed-forward part are
  computed: about a twelfth of a network of 12 layers less;
- CLIP's activation x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, one pass instead of three; the
  two factors go into the matrix products around it.

Axes: B clips, T frames, N images, M tokens of an image, D width, D'' of an embedding, A heads.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    SiglipVisionModel,
)
from transformers.activations import QuickGELUActivation

from msqnet.errors import CheckpointError, check
from msqnet.model.attention import EAGER, attention_weights
from msqnet.model.checkpoints import filled, load_backbone, model_type_of
from msqnet.model.computing import chunks_of
from msqnet.model.registry import CLIP_LICENCE, SIGLIP_LICENCE
from msqnet.model.video_encoders.encoder import (
    CLIP_STATISTICS,
    HALF_STATISTICS,
    NUM_CHANNELS,
    PixelEncoder,
    PixelStatistics,
)

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, PreTrainedConfig, SiglipVisionConfig

_FRAMES_AT_A_TIME = 4


class ImageEncoder(PixelEncoder):
    """Base of all image encoders.

    A ``frozen`` encoder keeps its parameters, and stays in eval mode whatever `train` is called
    with. If ``projected``, embeddings are those of the space shared with texts, of length 1. A
    backbone for frames that are not square RGB is a `ConfigError`.
    """

    backbone: Any

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        pixel_statistics: PixelStatistics,
        width: int,
        frozen: bool,
        projected: bool,
    ):
        super().__init__(config, width=width, pixel_statistics=pixel_statistics)
        check(
            isinstance(self.config.image_size, int) and self.config.num_channels == NUM_CHANNELS,
            f"{self.display_name} image_size {self.config.image_size} with "
            f"{self.config.num_channels} channels: expected one number and 3 channels",
        )
        self.frozen = frozen
        self.projected = projected

    @classmethod
    @abstractmethod
    def from_pretrained(cls, name_or_folder: str | Path, *, projected: bool = False) -> Self:
        """Start, frozen, from a checkpoint, whole or image encoder only, or a `CheckpointError`."""

    @classmethod
    def of_parts(
        cls,
        backbone: Any,
        origin: str | Path,
        *,
        projected: bool,
        projection: nn.Linear | None = None,
    ) -> Self:
        """Build the frozen encoder from loaded modules, whose tensors it takes over.

        ``projection`` is that into the shared space, where the backbone does not end there.
        """
        build: Any = cls
        parts = {"backbone": backbone.state_dict()}
        if projection is not None:
            # A whole CLIP is as wide as its own configuration says; that of its image encoder may
            # say something else.
            backbone.config.projection_dim = projection.out_features
            parts["projection"] = projection.state_dict()
        encoder: Self = filled(lambda: build(backbone.config, projected=projected), parts, origin)
        return encoder

    @abstractmethod
    def _embed(self, pixels: Tensor) -> Tensor:
        """Normalized frames (B*T, 3, H, W) to embeddings (B*T, D'')."""

    def train(self, mode: bool = True) -> Self:
        """Set the mode, except that a frozen encoder stays in eval mode and without gradients."""
        super().train(mode and not self.frozen)
        # transformers makes new, trainable parameters when it loads a model that holds this one;
        # it then calls eval(), which comes by here.
        if self.frozen:
            self.requires_grad_(False)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed every frame on its own: (B, T, 3, H, W) uint8 RGB -> (B, T, D'') float.

        H and W are ``config.image_size``, T is free; another shape or type is a `ShapeError`.
        """
        self.check_pixels(pixels, None, self.config.image_size)
        frames = pixels.flatten(0, 1)  # (B*T, 3, H, W)
        is_kept = torch.is_grad_enabled() and not self.frozen
        dtype = self.backbone.embeddings.patch_embedding.weight.dtype
        chunks = chunks_of(frames, _FRAMES_AT_A_TIME, keeps_gradients=is_kept)
        embeddings = torch.cat([self._embed(self.normalize(chunk, dtype)) for chunk in chunks])
        if self.projected:
            embeddings = F.normalize(embeddings, dim=-1)
        return embeddings.reshape(*pixels.shape[:2], self.width)  # (B, T, D'')


class ClipImageEncoder(ImageEncoder):
    """CLIP's image embeddings; ``config.projection_dim`` wide if ``projected``."""

    display_name = "CLIP"
    licence = CLIP_LICENCE

    def __init__(self, config: CLIPVisionConfig, *, frozen: bool = True, projected: bool = False):
        super().__init__(
            config,
            pixel_statistics=CLIP_STATISTICS,
            width=config.projection_dim if projected else config.hidden_size,
            frozen=frozen,
            projected=projected,
        )
        self.backbone = CLIPVisionModel(config)
        self.projection = None
        if projected:
            self.projection = nn.Linear(config.hidden_size, self.width, bias=False)
        self.requires_grad_(not frozen)

    def _embed(self, pixels: Tensor) -> Tensor:
        pooled = pooled_class_token(self.backbone, pixels)
        return pooled if self.projection is None else self.projection(pooled)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, projected: bool = False
    ) -> ClipImageEncoder:
        """Start from a CLIP checkpoint, whole or image encoder only."""
        backbone, projection = load_clip_half(name_or_folder, "vision", projected=projected)
        return cls.of_parts(backbone, name_or_folder, projected=projected, projection=projection)


def pooled_class_token(model: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """The ``pooler_output`` (N, D) float of normalized images (N, 3, H, W) float."""
    parts: Any = model
    hidden = parts.pre_layrnorm(parts.embeddings(pixels))  # (N, M, D)
    *layers, last = parts.encoder.layers
    for layer in layers:
        attended, _ = layer.self_attn(layer.layer_norm1(hidden), attention_mask=None)
        hidden = hidden + attended
        hidden = hidden + _feedforward(layer.mlp, layer.layer_norm2(hidden))
    token = hidden[:, :1] + _class_attention(last.self_attn, last.layer_norm1(hidden))
    token = token + _feedforward(last.mlp, last.layer_norm2(token))
    return cast("Tensor", parts.post_layernorm(token[:, 0]))


def _class_attention(attention: Any, tokens: Tensor) -> Tensor:
    """Output (N, 1, D) of the attention of the first token to all tokens (N, M, D)."""
    heads = (attention.num_heads, -1)
    query = attention.q_proj(tokens[:, :1]).unflatten(2, heads).transpose(1, 2)  # (N, A, 1, D/A)
    keys = attention.k_proj(tokens).unflatten(2, heads).transpose(1, 2)  # (N, A, M, D/A)
    values = attention.v_proj(tokens).unflatten(2, heads).transpose(1, 2)
    if attention.config._attn_implementation == EAGER:
        mixed = attention_weights(query, keys, attention.scale) @ values
    else:
        mixed = F.scaled_dot_product_attention(query, keys, values)
    return cast("Tensor", attention.out_proj(mixed.transpose(1, 2).flatten(2)))


def _feedforward(network: Any, tokens: Tensor) -> Tensor:
    """(N, M, D) -> (N, M, D), with x * sigmoid(1.702 x) as silu(1.702 x) / 1.702."""
    fc1, fc2 = network.fc1, network.fc2
    # A layer that was wrapped, for instance by an adapter, computes more than its weight says.
    is_plain = type(fc1) is nn.Linear and type(fc2) is nn.Linear
    if not is_plain or not isinstance(network.activation_fn, QuickGELUActivation):
        return cast("Tensor", network(tokens))
    factor = 1.702
    flat = tokens.flatten(0, 1)
    hidden = torch.addmm(fc1.bias, flat, fc1.weight.t(), beta=factor, alpha=factor)
    hidden = F.silu(hidden, inplace=not torch.is_grad_enabled())
    flat = torch.addmm(fc2.bias, hidden, fc2.weight.t(), alpha=1 / factor)
    return cast("Tensor", flat.unflatten(0, tokens.shape[:2]))


class SiglipImageEncoder(ImageEncoder):
    """SigLIP's image embeddings, of length 1 if ``projected``; they are of one space either way."""

    display_name = "SigLIP"
    licence = SIGLIP_LICENCE

    def __init__(self, config: SiglipVisionConfig, *, frozen: bool = True, projected: bool = False):
        check(
            config.vision_use_head,
            "SigLIP: vision_use_head is false, expected an image encoder with its pooling "
            "head; name a whole checkpoint",
        )
        super().__init__(
            config,
            pixel_statistics=HALF_STATISTICS,
            width=config.hidden_size,
            frozen=frozen,
            projected=projected,
        )
        self.backbone = SiglipVisionModel(config)
        self.requires_grad_(not frozen)

    def _embed(self, pixels: Tensor) -> Tensor:
        return cast("Tensor", self.backbone(pixels).pooler_output)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, projected: bool = False
    ) -> SiglipImageEncoder:
        """Start from a SigLIP checkpoint, whole or image encoder only."""
        backbone = load_backbone(
            SiglipVisionModel,
            name_or_folder,
            model_types={"siglip", "siglip_vision_model"},
            ignored_prefixes=("text_model.", "logit_scale", "logit_bias"),
        )
        return cls.of_parts(backbone, name_or_folder, projected=projected)


def load_clip(name_or_folder: str | Path) -> CLIPModel:
    """A whole CLIP; its own configuration states the width of its projections."""
    return load_backbone(CLIPModel, name_or_folder, model_types={"clip"})


def load_clip_half(
    name_or_folder: str | Path, half: Literal["text", "vision"], *, projected: bool
) -> tuple[Any, nn.Linear | None]:
    """CLIP's text or image encoder, and its projection into the shared space if requested."""
    kind = f"clip_{half}_model"
    if not projected:
        alone: Any = CLIPTextModel if half == "text" else CLIPVisionModel
        other = "vision_model." if half == "text" else "text_model."
        unused = (other, "text_projection", "visual_projection", "logit_scale")
        types = {"clip", kind}
        found = load_backbone(alone, name_or_folder, model_types=types, ignored_prefixes=unused)
        return found, None
    whole: Any
    if model_type_of(name_or_folder) == "clip":
        whole = load_clip(name_or_folder)
    else:
        ends: Any = CLIPTextModelWithProjection if half == "text" else CLIPVisionModelWithProjection
        whole = load_backbone(ends, name_or_folder, model_types={kind})
    projection = whole.text_projection if half == "text" else whole.visual_projection
    return getattr(whole, f"{half}_model"), projection


IMAGE_ENCODERS: dict[str, type[ImageEncoder]] = {
    "clip_vision_model": ClipImageEncoder,
    "siglip_vision_model": SiglipImageEncoder,
}
"""By the ``model_type`` of their configuration."""


def load_image_encoder(name_or_folder: str | Path, *, projected: bool) -> ImageEncoder:
    """The frozen encoder of a CLIP or SigLIP, by its ``config.json``; else a `CheckpointError`."""
    kind = model_type_of(name_or_folder)
    loader: type[ImageEncoder] = SiglipImageEncoder if "siglip" in kind else ClipImageEncoder
    return loader.from_pretrained(name_or_folder, projected=projected)


def image_encoder_licence(name_or_folder: str) -> str:
    """Licence of published weights, as far as it can be told without fetching anything."""
    kind = name_or_folder.lower()
    is_at_hand = Path(name_or_folder).is_dir() or (
        kind.count("/") == 1
        and isinstance(try_to_load_from_cache(name_or_folder, "config.json"), str)
    )
    if is_at_hand:
        with suppress(CheckpointError):
            kind = model_type_of(name_or_folder)
    return SIGLIP_LICENCE if "siglip" in kind else CLIP_LICENCE
