"""What every text encoder is: texts in, one embedding for each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

Embedding = Literal["pooled", "projected"]
"""Before CLIP's projections, as in the paper, or in the space that its texts and images share."""

_NUM_PROMPTS_AT_A_TIME = 64


class TextEncoder(ABC):
    """Base of all text encoders.

    They run once, when a model is started or asked for new labels; a trained model needs none.

    Args:
        model: what reads the tokens, in eval mode.
        tokenizer: its Hugging Face tokenizer.
        name: hub id or folder; empty where the kind says all.
        width: D_t, the width of an embedding.
        max_num_tokens: what the model can read, special tokens included.

    Attributes:
        kind: its name in `msqnet.model.query_encoders.TEXT_ENCODERS`.
        licence: of the published weights; printed where they are chosen.
        width: as given.
        is_normalised: whether embeddings have length 1, so that their dot product is the cosine.
    """

    kind: ClassVar[str]
    licence: ClassVar[str]
    is_normalised: bool = False
    _pads_to_max: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, name: str, width: int, max_num_tokens: int
    ):
        self.width = width
        self._model = model
        self._tokenizer = tokenizer
        self._name = name
        self._max_num_tokens = max_num_tokens

    @classmethod
    @abstractmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> TextEncoder:
        """Start from published weights.

        Args:
            name_or_folder: hub id or folder, with the tokenizer.
            embedding: for an encoder that has both; others have one embedding only.

        Raises:
            CheckpointError: weights or tokenizer are absent, incomplete, damaged or of another
                model.
        """

    @property
    def source(self) -> dict[str, str]:
        """Enough to load the encoder again, with `load_text_encoder_of`: plain values."""
        return {"kind": self.kind, "name": self._name}

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embed every text on its own.

        Args:
            texts: N texts.

        Returns:
            (N, D_t) float32 on the CPU; rows of length 1 if ``is_normalised``.

        Raises:
            ConfigError: no text, or one that is empty or too long: it is never cut silently.
        """
        prepared = texts if isinstance(texts, str) else [self._prepare(text) for text in texts]
        batches = tokenize_prompts(
            self._tokenizer, prepared, self._max_num_tokens, pad_to_max=self._pads_to_max
        )
        with torch.inference_mode():
            embeddings = torch.cat([self._pool(tokens) for tokens in batches]).float()
            if self.is_normalised:
                embeddings = F.normalize(embeddings, dim=-1)
        # A copy that may be trained on, which a tensor of inference mode may not.
        return embeddings.clone()

    def _prepare(self, text: str) -> str:
        """The text as the encoder was trained to read it."""
        return text

    @abstractmethod
    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        """Token batches (b, S) to embeddings (b, D_t)."""


def tokenize_prompts(
    tokenizer: Any, prompts: Sequence[str], max_num_tokens: int, *, pad_to_max: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Token batches of all prompts, in order, padded on the right.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompts: K texts; not empty.
        max_num_tokens: what the text encoder can read, special tokens included.
        pad_to_max: pad every text to ``max_num_tokens``, else to the longest of its batch.

    Yields:
        ``input_ids`` and ``attention_mask``, (b, S) int64 each.

    Raises:
        ConfigError: no prompt, an empty prompt, or one that is too long: it is never cut silently.
    """
    if isinstance(prompts, str) or not prompts:
        raise ConfigError(f"prompts: found {prompts!r}, expected a list of at least one text")
    lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
    for prompt, length in zip(prompts, lengths, strict=True):
        if not prompt.strip():
            raise ConfigError(f"prompt {prompt!r} is empty; write what the label looks like")
        if length > max_num_tokens:
            raise ConfigError(
                f"prompt {prompt[:60]!r} has {length} tokens, the text encoder reads at most "
                f"{max_num_tokens}; shorten it"
            )
    for start in range(0, len(prompts), _NUM_PROMPTS_AT_A_TIME):
        tokens = tokenizer(
            list(prompts[start : start + _NUM_PROMPTS_AT_A_TIME]),
            padding="max_length" if pad_to_max else True,
            max_length=max_num_tokens if pad_to_max else None,
            padding_side="right",
            return_attention_mask=True,
            return_tensors="pt",
        )
        yield {name: tokens[name] for name in ("input_ids", "attention_mask")}


def mean_over_tokens(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of the token states of each text, padding left out.

    Args:
        states: (b, S, D) float.
        attention_mask: (b, S), 1 for tokens of the text, 0 for padding.

    Returns:
        (b, D) float.
    """
    mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (b, S, 1)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)  # (b, S, D) -> (b, D)


def embed_labels(encoder: TextEncoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """One embedding for each label: the mean over its texts.

    Where embeddings have length 1, so has the mean, which is scaled again: the prompt ensemble of
    CLIP (Radford et al. 2021, section 3.1.4).

    Args:
        encoder: reads the texts.
        prompts: for each of K labels one or more texts (see `msqnet.prompts.prompts_of`).

    Returns:
        (K, D_t) float32 on the CPU.

    Raises:
        ConfigError: no label, a label without texts, or a text that cannot be read.
    """
    if not prompts or any(isinstance(texts, str) or not texts for texts in prompts):
        raise ConfigError(
            f"prompts: found {prompts!r}, expected at least one label, and a list of at least one "
            "text for each"
        )
    # Many labels may share a text; each is read once.
    row_of = {text: row for row, text in enumerate(dict.fromkeys(t for ts in prompts for t in ts))}
    embeddings = encoder.embed(list(row_of))  # (N, D_t)
    means = torch.stack(
        [embeddings[[row_of[text] for text in texts]].mean(dim=0) for texts in prompts]
    )  # (K, D_t)
    return F.normalize(means, dim=-1) if encoder.is_normalised else means
