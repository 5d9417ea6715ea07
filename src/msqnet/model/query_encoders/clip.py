"""CLIP as query encoder: the image query of every clip and the text embedding of every label.

``pooled`` embeddings are CLIP's ``pooler_output``, before its projections, as in the paper and its
released code (for B/16: 768 wide for images, 512 for text). ``projected`` ones lie in the space
that its texts and images share, and have length 1. Published CLIP weights are MIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPModel,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)
from transformers.initialization import no_init_weights

from msqnet.errors import CheckpointError
from msqnet.model.loading import check_loaded, load_backbone, load_tokenizer
from msqnet.model.query_encoders.checkpoint import model_type_of
from msqnet.model.query_encoders.clip_network import pooled_class_token
from msqnet.model.query_encoders.image_encoder import ImageEncoder
from msqnet.model.query_encoders.text_encoder import TextEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msqnet.model.query_encoders.text_encoder import Embedding

# Of pixels scaled to [0, 1]; what the published CLIP weights were trained with.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
# In the configurations of OpenAI's checkpoints; the model then takes the highest token as the end.
_UNSET_END_TOKEN = 2
_LICENCE = "CLIP weights: MIT (OpenAI's; see the card of others)"
_WHOLE = "clip"


class ClipImageEncoder(ImageEncoder):
    """Image embeddings of the frames of a clip, by default from a frozen encoder.

    Args:
        config: of CLIP's image encoder.
        frozen: whether its parameters are left as they are.
        projected: whether embeddings are those of the space shared with texts, of length 1, and
            ``config.projection_dim`` wide.

    Attributes:
        backbone: the `CLIPVisionModel`.
        projection: into the shared space; None unless ``projected``.
    """

    name = "CLIP"
    licence = _LICENCE

    def __init__(self, config: CLIPVisionConfig, *, frozen: bool = True, projected: bool = False):
        super().__init__(
            config,
            pixel_statistics=(PIXEL_MEAN, PIXEL_STD),
            width=config.projection_dim if projected else config.hidden_size,
            frozen=frozen,
            projected=projected,
        )
        self.backbone = CLIPVisionModel(config)
        self.projection = (
            nn.Linear(config.hidden_size, self.width, bias=False) if projected else None
        )
        self.requires_grad_(not frozen)

    def _embed(self, pixels: Tensor) -> Tensor:
        pooled = pooled_class_token(self.backbone, pixels)
        return pooled if self.projection is None else self.projection(pooled)

    @property
    def _dtype(self) -> torch.dtype:
        return self.backbone.embeddings.patch_embedding.weight.dtype

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, frozen: bool = True, projected: bool = False
    ) -> ClipImageEncoder:
        """Start from a CLIP checkpoint, whole or image encoder only.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model; with
                ``projected``, an image encoder without its projection.
        """
        if not projected:
            backbone = load_backbone(
                CLIPVisionModel,
                name_or_folder,
                model_types={_WHOLE, "clip_vision_model"},
                ignored_prefixes=(
                    "text_model.",
                    "text_projection",
                    "visual_projection",
                    "logit_scale",
                ),
            )
            return cls.of_parts(backbone, None, name_or_folder, frozen=frozen)
        whole: Any
        if model_type_of(name_or_folder) == _WHOLE:
            whole = load_clip(name_or_folder)
        else:
            whole = load_backbone(
                CLIPVisionModelWithProjection, name_or_folder, model_types={"clip_vision_model"}
            )
        return cls.of_parts(
            whole.vision_model, whole.visual_projection, name_or_folder, frozen=frozen
        )

    @classmethod
    def of_parts(
        cls,
        backbone: CLIPVisionModel,
        projection: nn.Linear | None,
        origin: str | Path,
        *,
        frozen: bool = True,
    ) -> ClipImageEncoder:
        """Build the encoder from loaded modules, whose tensors it takes over.

        Args:
            backbone: CLIP's image encoder.
            projection: into the shared space; None for ``pooled`` embeddings.
            origin: where they came from, for messages.
            frozen: as for the class.
        """
        config = backbone.config
        if projection is not None:
            # A whole CLIP is as wide as its own configuration says; that of its image encoder may
            # say something else.
            config.projection_dim = projection.out_features
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config, frozen=frozen, projected=projection is not None)
        encoder.backbone.load_state_dict(backbone.state_dict(), strict=True, assign=True)
        if projection is not None and encoder.projection is not None:
            encoder.projection.load_state_dict(projection.state_dict(), strict=True, assign=True)
        encoder.requires_grad_(not frozen)
        check_loaded(encoder, origin)
        return encoder.eval()


class ClipTextEncoder(TextEncoder):
    """CLIP's text encoder; ``pooled`` unless a projection is given.

    Args:
        model: the `CLIPTextModel`.
        projection: into the space shared with images; None for ``pooled`` embeddings.
        tokenizer: the checkpoint's own.
        name: hub id or folder.

    Raises:
        CheckpointError: the tokenizer ends texts with another token than the model expects.
    """

    kind = "clip"
    licence = _LICENCE

    def __init__(
        self, model: CLIPTextModel, projection: nn.Linear | None, tokenizer: Any, name: str
    ):
        _check_end_token(tokenizer.eos_token_id, model.config.eos_token_id, name)
        width = model.config.hidden_size if projection is None else projection.out_features
        super().__init__(
            model,
            tokenizer,
            name=name,
            width=width,
            max_num_tokens=model.config.max_position_embeddings,
        )
        self.is_normalised = projection is not None
        self._projection = projection

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> ClipTextEncoder:
        """Start from a CLIP checkpoint, whole or text encoder only, with its tokenizer.

        Raises:
            CheckpointError: the weights or the tokenizer are absent, incomplete or damaged; for
                ``projected``, a text encoder without its projection.
        """
        if embedding == "pooled":
            model = load_backbone(
                CLIPTextModel,
                name_or_folder,
                model_types={_WHOLE, "clip_text_model"},
                ignored_prefixes=(
                    "vision_model.",
                    "text_projection",
                    "visual_projection",
                    "logit_scale",
                ),
            )
            return cls(model, None, load_tokenizer(name_or_folder), name_or_folder)
        whole: Any
        if model_type_of(name_or_folder) == _WHOLE:
            whole = load_clip(name_or_folder)
        else:
            whole = load_backbone(
                CLIPTextModelWithProjection, name_or_folder, model_types={"clip_text_model"}
            )
        tokenizer = load_tokenizer(name_or_folder)
        return cls(whole.text_model, whole.text_projection, tokenizer, name_or_folder)

    @property
    def source(self) -> dict[str, str]:
        """As for every text encoder, with ``embedding``."""
        return {**super().source, "embedding": "projected" if self.is_normalised else "pooled"}

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        pooled: Tensor = self._model(**tokens).pooler_output
        return pooled if self._projection is None else self._projection(pooled)


def load_clip(name_or_folder: str | Path) -> CLIPModel:
    """A whole CLIP, whose configuration is the one that tells the width of its projections.

    Raises:
        CheckpointError: the weights are absent, incomplete, damaged or of another model.
    """
    return load_backbone(CLIPModel, name_or_folder, model_types={_WHOLE})


def clip_text_embeddings(name_or_folder: str | Path, prompts: Sequence[str]) -> Tensor:
    """Text embeddings of label prompts, as a start for the label queries.

    Args:
        name_or_folder: hub id or folder of a CLIP checkpoint, whole or text encoder only, with
            its tokenizer.
        prompts: K texts.

    Returns:
        (K, D_t) float32 on the CPU: ``pooler_output``, neither projected nor normalised.

    Raises:
        CheckpointError: the weights or the tokenizer are absent, incomplete or damaged.
        ConfigError: no prompt, or one that is empty or too long.
    """
    return ClipTextEncoder.from_pretrained(str(name_or_folder), "pooled").embed(prompts)


def _check_end_token(
    found: int | None, expected: int | list[int] | None, origin: str | Path
) -> None:
    """The pooled state is that of the end token; without one CLIP takes the first, in silence."""
    if expected not in (found, _UNSET_END_TOKEN):
        raise CheckpointError(
            f"{origin}: the tokenizer ends a text with token {found}, the text encoder expects "
            f"{expected}; take tokenizer and weights from the same checkpoint"
        )
