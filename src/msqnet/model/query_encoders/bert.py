"""BERT as text encoder: the ablation of the paper (its table 6).

Devlin et al. 2019; published weights are Apache-2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from transformers import BertModel

from msqnet.model.loading import load_backbone, load_tokenizer
from msqnet.model.query_encoders.text_encoder import TextEncoder, mean_over_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from msqnet.model.query_encoders.text_encoder import Embedding

# Heads of pretraining, and a table of positions that older checkpoints hold.
IGNORED_BERT_TENSORS = ("cls.", "embeddings.position_ids", "bert.embeddings.position_ids")


class BertTextEncoder(TextEncoder):
    """BERT's ``pooler_output``, made from the state of the first token: 768 wide for the base size.

    The paper does not say which vector it takes; its released code takes this one.
    """

    kind = "bert"
    licence = "BERT weights: Apache-2.0 (Google's; see the card of others)"

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from a BERT checkpoint, bare or with the heads of pretraining.

        Raises:
            CheckpointError: the weights or the tokenizer are absent, incomplete or damaged.
        """
        del embedding  # there is one only
        model = load_backbone(
            BertModel,
            name_or_folder,
            model_types={"bert"},
            ignored_prefixes=IGNORED_BERT_TENSORS,
        )
        return cls(
            model,
            load_tokenizer(name_or_folder),
            name=name_or_folder,
            width=model.config.hidden_size,
            max_num_tokens=model.config.max_position_embeddings,
        )

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        pooled: Tensor = self._model(**tokens).pooler_output
        return pooled


class BertMeanTextEncoder(BertTextEncoder):
    """The mean of BERT's token states, of the words and of the two special tokens."""

    kind = "bert-mean"

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        states = self._model(**tokens).last_hidden_state  # (b, S, D_t)
        return mean_over_tokens(states, tokens["attention_mask"])
