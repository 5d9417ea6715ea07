"""Both halves of a CLIP or SigLIP: how well any text fits a frame, without training.

The baseline that a trained model has to beat on labels it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transformers import SiglipModel

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.loading import load_backbone, load_tokenizer
from msqnet.model.query_encoders.checkpoint import model_type_of
from msqnet.model.query_encoders.clip import ClipImageEncoder, ClipTextEncoder, load_clip
from msqnet.model.query_encoders.siglip import (
    SiglipImageEncoder,
    SiglipTextEncoder,
    load_siglip_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from msqnet.model.query_encoders.image_encoder import ImageEncoder
    from msqnet.model.query_encoders.text_encoder import TextEncoder

DualKind = Literal["clip", "siglip"]


@dataclass(frozen=True)
class DualEncoder:
    """An image and a text encoder that share a space, both with embeddings of length 1.

    Attributes:
        image_encoder: frozen; (B, T, 3, H, W) uint8 to (B, T, D).
        text_encoder: N texts to (N, D).
        logit_scale: what the cosine of an image and a text is multiplied with.
        logit_bias: what is then added; 0 for CLIP.
        kind: ``clip`` was trained with a softmax over the texts, so that a logit says something
            beside those of other texts only; ``siglip`` with a sigmoid for each pair.
    """

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    logit_scale: float
    logit_bias: float
    kind: DualKind

    def logits(self, image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """How well each text fits each image.

        logit = scale · cosine + bias   (CLIP: Radford et al. 2021; SigLIP: Zhai et al. 2023)

        Args:
            image_embeddings: (..., D) float of length 1.
            text_embeddings: (K, D) float of length 1.

        Returns:
            (..., K) float.

        Raises:
            ShapeError: the widths differ.
        """
        if image_embeddings.shape[-1] != text_embeddings.shape[-1]:
            raise ShapeError(
                f"image embeddings {tuple(image_embeddings.shape)} and text embeddings "
                f"{tuple(text_embeddings.shape)}: expected the same width; take both from one "
                "DualEncoder"
            )
        texts = text_embeddings.to(image_embeddings)
        return self.logit_scale * (image_embeddings @ texts.T) + self.logit_bias


def load_dual_encoder(name_or_folder: str | Path) -> DualEncoder:
    """Load a whole CLIP or SigLIP.

    Args:
        name_or_folder: hub id or folder, with the tokenizer.

    Raises:
        CheckpointError: weights or tokenizer are absent, incomplete, damaged or of another model.
    """
    model_type = model_type_of(name_or_folder)
    if model_type not in _LOADERS:
        raise CheckpointError(
            f"{name_or_folder}: found a model of type {model_type!r}, expected a whole "
            f"{' or '.join(_LOADERS)}, with image and text encoder"
        )
    return _LOADERS[model_type](str(name_or_folder))


def _load_clip(name: str) -> DualEncoder:
    whole = load_clip(name)
    return DualEncoder(
        image_encoder=ClipImageEncoder.of_parts(whole.vision_model, whole.visual_projection, name),
        text_encoder=ClipTextEncoder(
            whole.text_model, whole.text_projection, load_tokenizer(name), name
        ),
        logit_scale=whole.logit_scale.detach().exp().item(),
        logit_bias=0.0,
        kind="clip",
    )


def _load_siglip(name: str) -> DualEncoder:
    whole = load_backbone(SiglipModel, name, model_types={"siglip"})
    return DualEncoder(
        image_encoder=SiglipImageEncoder.of_parts(whole.vision_model, name, projected=True),
        text_encoder=SiglipTextEncoder(whole.text_model, load_siglip_tokenizer(name), name),
        logit_scale=whole.logit_scale.detach().exp().item(),
        logit_bias=whole.logit_bias.detach().item(),
        kind="siglip",
    )


_LOADERS: dict[str, Callable[[str], DualEncoder]] = {"clip": _load_clip, "siglip": _load_siglip}
