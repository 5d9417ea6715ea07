"""CLIP and SigLIP: their text encoders, and both halves together.

CLIP's ``pooled`` text embeddings are its ``pooler_output``, before its projection, as in the paper
and its released code (512 wide for B/16); ``projected`` ones lie in the space that its texts and
images share, and have length 1. SigLIP ends in that space; there is nothing before a projection to
choose. Both halves tell how well any text fits a frame, without training: the baseline that a
trained model has to beat on labels it has not seen.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from transformers import CLIPTextModel, PreTrainedTokenizerFast, SiglipModel, SiglipTextModel

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.checkpoints import (
    load_backbone,
    load_tokenizer,
    loading_from,
    model_type_of,
)
from msqnet.model.image_encoders import (
    ClipImageEncoder,
    SiglipImageEncoder,
    load_clip,
    load_clip_half,
)
from msqnet.model.registry import CLIP_LICENCE, SIGLIP_LICENCE
from msqnet.model.text_encoders import TextEncoder
from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from msqnet.model.image_encoders import ImageEncoder
    from msqnet.model.text_encoders import Embedding

DualKind = Literal["clip", "siglip"]


class ClipTextEncoder(TextEncoder):
    """CLIP's text encoder; ``pooled`` unless a projection into the shared space is given.

    A tokenizer that ends texts with another token than the model is a `CheckpointError`.
    """

    kind = "clip"
    licence = CLIP_LICENCE

    def __init__(
        self, model: CLIPTextModel, projection: nn.Linear | None, tokenizer: Any, name: str
    ):
        # The pooled state is that of the end token; without one CLIP takes the first, in silence.
        # OpenAI's checkpoints name token 2; the model then takes the highest token as the end.
        found, expected = tokenizer.eos_token_id, model.config.eos_token_id
        if expected not in (found, 2):
            raise CheckpointError(
                f"{name}: the tokenizer ends a text with token {found}, the text encoder expects "
                f"{expected}; take tokenizer and weights from the same checkpoint"
            )
        width = None if projection is None else projection.out_features
        super().__init__(model, tokenizer, name, width=width)
        self.is_normalized = projection is not None
        self._projection = projection

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> ClipTextEncoder:
        """Start from a CLIP checkpoint, whole or text encoder only, with its tokenizer."""
        is_projected = embedding == "projected"
        model, projection = load_clip_half(name_or_folder, "text", projected=is_projected)
        return cls(model, projection, load_tokenizer(name_or_folder), name_or_folder)

    @property
    def source(self) -> dict[str, str]:
        """As for every text encoder, with ``embedding``."""
        return {**super().source, "embedding": "projected" if self.is_normalized else "pooled"}

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        pooled: Tensor = self._model(**tokens).pooler_output
        return pooled if self._projection is None else self._projection(pooled)


class SiglipTextEncoder(TextEncoder):
    """SigLIP's text encoder; embeddings are those of the space shared with images, of length 1.

    It was trained on texts of lower case, padded to a fixed length (64) without a mask, and its
    embedding is the state at the last position, which is padding unless the text fills all: a text
    that is padded less gets another embedding, without an error. So a tokenizer that cannot pad is
    a `CheckpointError`.
    """

    kind = "siglip"
    licence = SIGLIP_LICENCE
    is_normalized = True
    _pads_to_max = True

    def __init__(self, model: SiglipTextModel, tokenizer: Any, name: str):
        if tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"{name}: the tokenizer names no padding token, expected one; take the tokenizer "
                "of the published checkpoint"
            )
        super().__init__(model, tokenizer, name, width=model.head.out_features)
        # SigLIP pads with its end token and was trained without punctuation; SigLIP 2 has a padding
        # token and was trained with it.
        self._drops_punctuation = tokenizer.pad_token_id == tokenizer.eos_token_id

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> SiglipTextEncoder:
        """Start from a SigLIP checkpoint, whole or text encoder only, with its tokenizer."""
        del embedding
        model = load_backbone(
            SiglipTextModel,
            name_or_folder,
            model_types={"siglip", "siglip_text_model"},
            ignored_prefixes=("vision_model.", "logit_scale", "logit_bias"),
        )
        return cls(model, load_siglip_tokenizer(name_or_folder), name_or_folder)

    def _prepare(self, text: str) -> str:
        text = text.lower()
        if self._drops_punctuation:
            text = text.translate(str.maketrans("", "", string.punctuation))
        return " ".join(text.split())

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        return cast("Tensor", self._model(input_ids=tokens["input_ids"]).pooler_output)


def load_siglip_tokenizer(name_or_folder: str | Path) -> Any:
    """The tokenizer beside a SigLIP, from ``tokenizer.json`` where there is one.

    The class that the published settings name needs the package sentencepiece (SigLIP) or does not
    change to lower case (SigLIP 2). The file needs nothing, and so a text has the same tokens on
    every machine. A tokenizer that cannot be read is a `CheckpointError`.
    """
    folder = checkpoint_folder(name_or_folder, TOKENIZER_FILES)
    if (folder / "tokenizer.json").is_file():
        with loading_from(name_or_folder):
            return PreTrainedTokenizerFast.from_pretrained(folder)
    try:
        return load_tokenizer(name_or_folder)
    except ImportError as error:
        raise CheckpointError(
            f"{name_or_folder}: found no tokenizer.json, and the tokenizer it has needs another "
            "package; save the tokenizer as tokenizer.json, or pip install sentencepiece"
        ) from error


@dataclass(frozen=True)
class Similarity:
    """How well texts fit images, by embeddings of length 1.

    Attributes:
        logit_scale: what the cosine of an image and a text is multiplied with.
        logit_bias: what is then added; 0 for CLIP.
    """

    logit_scale: float
    logit_bias: float

    def logits(self, image_embeddings: Tensor, text_embeddings: Tensor) -> Tensor:
        """How well each text fits each image: (..., D) and (K, D) float of length 1 -> (..., K).

        logit = scale · cosine + bias   (CLIP: Radford et al. 2021; SigLIP: Zhai et al. 2023)
        Other widths than one are a `ShapeError`.
        """
        if image_embeddings.shape[-1] != text_embeddings.shape[-1]:
            raise ShapeError(
                f"image embeddings {tuple(image_embeddings.shape)} and text embeddings "
                f"{tuple(text_embeddings.shape)}: expected the same width; take both from one "
                "DualEncoder"
            )
        texts = text_embeddings.to(image_embeddings)
        return self.logit_scale * (image_embeddings @ texts.T) + self.logit_bias


@dataclass(frozen=True)
class DualEncoder:
    """An image and a text encoder that share a space, both with embeddings of length 1.

    Attributes:
        image_encoder: frozen; (B, T, 3, H, W) uint8 to (B, T, D).
        text_encoder: N texts to (N, D).
        similarity: of both.
        kind: ``clip`` was trained with a softmax over the texts, so that a logit says something
            beside those of other texts only; ``siglip`` with a sigmoid for each pair.
    """

    image_encoder: ImageEncoder
    text_encoder: TextEncoder
    similarity: Similarity
    kind: DualKind


def load_dual_encoder(name_or_folder: str | Path) -> DualEncoder:
    """Load a whole CLIP or SigLIP with its tokenizer, else a `CheckpointError`."""
    name, kind = str(name_or_folder), model_type_of(name_or_folder)
    image: ImageEncoder
    text: TextEncoder
    if kind == "clip":
        whole: Any = load_clip(name)
        image = ClipImageEncoder.of_parts(
            whole.vision_model, name, projected=True, projection=whole.visual_projection
        )
        tokenizer = load_tokenizer(name)
        text = ClipTextEncoder(whole.text_model, whole.text_projection, tokenizer, name)
        scale = whole.logit_scale.detach().exp().item()
        return DualEncoder(image, text, Similarity(scale, 0.0), "clip")
    if kind == "siglip":
        whole = load_backbone(SiglipModel, name, model_types={"siglip"})
        image = SiglipImageEncoder.of_parts(whole.vision_model, name, projected=True)
        text = SiglipTextEncoder(whole.text_model, load_siglip_tokenizer(name), name)
        scale, bias = whole.logit_scale.detach().exp().item(), whole.logit_bias.detach().item()
        return DualEncoder(image, text, Similarity(scale, bias), "siglip")
    raise CheckpointError(
        f"{name}: found a model of type {kind!r}, expected a whole clip or siglip, with image and "
        "text encoder"
    )
