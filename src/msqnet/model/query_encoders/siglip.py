"""SigLIP as query encoder: images and texts in one space, trained with a sigmoid for each pair.

Zhai et al. 2023 (SigLIP) and Tschannen et al. 2025 (SigLIP 2, its checkpoints of fixed resolution).
Both encoders end in the shared space; there is nothing before a projection to choose. Published
weights are Apache-2.0.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerFast, SiglipTextModel, SiglipVisionModel
from transformers.initialization import no_init_weights

from msqnet.errors import CheckpointError, ConfigError
from msqnet.model.loading import check_loaded, load_backbone, load_tokenizer, loading_from
from msqnet.model.query_encoders.checkpoint import find_file
from msqnet.model.query_encoders.image_encoder import ImageEncoder
from msqnet.model.query_encoders.text_encoder import TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor
    from transformers import SiglipVisionConfig

    from msqnet.model.query_encoders.text_encoder import Embedding

PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)
_LICENCE = "SigLIP weights: Apache-2.0"
_WHOLE = "siglip"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class SiglipImageEncoder(ImageEncoder):
    """Image embeddings of the frames of a clip, by default from a frozen encoder.

    Args:
        config: of SigLIP's image encoder.
        frozen: whether its parameters are left as they are.
        projected: whether embeddings have length 1; they are of the same space either way.

    Attributes:
        backbone: the `SiglipVisionModel`.

    Raises:
        ConfigError: a backbone without the pooling head, or for frames that are not square RGB.
    """

    name = "SigLIP"
    licence = _LICENCE

    def __init__(self, config: SiglipVisionConfig, *, frozen: bool = True, projected: bool = False):
        if not config.vision_use_head:
            raise ConfigError(
                "SigLIP: vision_use_head is false, expected an image encoder with its pooling "
                "head; name a whole checkpoint"
            )
        super().__init__(
            config,
            pixel_statistics=(PIXEL_MEAN, PIXEL_STD),
            width=config.hidden_size,
            frozen=frozen,
            projected=projected,
        )
        self.backbone = SiglipVisionModel(config)
        self.requires_grad_(not frozen)

    def _embed(self, pixels: Tensor) -> Tensor:
        pooled: Tensor = self.backbone(pixels).pooler_output
        return pooled

    @property
    def _dtype(self) -> torch.dtype:
        return self.backbone.embeddings.patch_embedding.weight.dtype

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, frozen: bool = True, projected: bool = False
    ) -> SiglipImageEncoder:
        """Start from a SigLIP checkpoint, whole or image encoder only.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
        """
        backbone = load_backbone(
            SiglipVisionModel,
            name_or_folder,
            model_types={_WHOLE, "siglip_vision_model"},
            ignored_prefixes=("text_model.", "logit_scale", "logit_bias"),
        )
        return cls.of_parts(backbone, name_or_folder, frozen=frozen, projected=projected)

    @classmethod
    def of_parts(
        cls,
        backbone: SiglipVisionModel,
        origin: str | Path,
        *,
        frozen: bool = True,
        projected: bool = False,
    ) -> SiglipImageEncoder:
        """Build the encoder from a loaded module, whose tensors it takes over.

        Args:
            backbone: SigLIP's image encoder.
            origin: where it came from, for messages.
            frozen: as for the class.
            projected: as for the class.
        """
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(backbone.config, frozen=frozen, projected=projected)
        encoder.backbone.load_state_dict(backbone.state_dict(), strict=True, assign=True)
        encoder.requires_grad_(not frozen)
        check_loaded(encoder, origin)
        return encoder.eval()


class SiglipTextEncoder(TextEncoder):
    """SigLIP's text encoder; embeddings are those of the space shared with images, of length 1.

    It was trained on texts of lower case, padded to a fixed length (64) without a mask, and its
    embedding is the state at the last position, which is padding unless the text fills all: a text
    that is padded less gets another embedding, without an error.

    Args:
        model: the `SiglipTextModel`.
        tokenizer: the checkpoint's own.
        name: hub id or folder.

    Raises:
        CheckpointError: the tokenizer cannot pad.
    """

    kind = "siglip"
    licence = _LICENCE
    is_normalised = True
    _pads_to_max = True

    def __init__(self, model: SiglipTextModel, tokenizer: Any, name: str):
        if tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"{name}: the tokenizer names no padding token, expected one; take the tokenizer "
                "of the published checkpoint"
            )
        super().__init__(
            model,
            tokenizer,
            name=name,
            width=model.head.out_features,
            max_num_tokens=model.config.max_position_embeddings,
        )
        # SigLIP pads with its end token and was trained without punctuation; SigLIP 2 has a padding
        # token and was trained with it.
        self._drops_punctuation = tokenizer.pad_token_id == tokenizer.eos_token_id

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> SiglipTextEncoder:
        """Start from a SigLIP checkpoint, whole or text encoder only, with its tokenizer.

        Raises:
            CheckpointError: the weights or the tokenizer are absent, incomplete or damaged.
        """
        del embedding  # there is one only
        model = load_backbone(
            SiglipTextModel,
            name_or_folder,
            model_types={_WHOLE, "siglip_text_model"},
            ignored_prefixes=("vision_model.", "logit_scale", "logit_bias"),
        )
        return cls(model, load_siglip_tokenizer(name_or_folder), name_or_folder)

    def _prepare(self, text: str) -> str:
        lower = text.lower()
        kept = lower.translate(_NO_PUNCTUATION) if self._drops_punctuation else lower
        return " ".join(kept.split())

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        pooled: Tensor = self._model(input_ids=tokens["input_ids"]).pooler_output
        return pooled


def load_siglip_tokenizer(name_or_folder: str | Path) -> Any:
    """The tokenizer beside a SigLIP, from ``tokenizer.json`` where there is one.

    The class that the published settings name needs the package sentencepiece (SigLIP) or does not
    change to lower case (SigLIP 2). The file needs nothing, and so a text has the same tokens on
    every machine.

    Raises:
        CheckpointError: not found, damaged, or stored in a form that this machine cannot read.
    """
    if find_file(name_or_folder, "tokenizer.json") is not None:
        with loading_from(name_or_folder):
            return PreTrainedTokenizerFast.from_pretrained(name_or_folder)
    try:
        return load_tokenizer(name_or_folder)
    except ImportError as error:
        raise CheckpointError(
            f"{name_or_folder}: found no tokenizer.json, and the tokenizer it has needs another "
            "package; save the tokenizer as tokenizer.json, or pip install sentencepiece"
        ) from error
