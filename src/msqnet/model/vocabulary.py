"""Asking a finished open-vocabulary model for other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msqnet.errors import CheckpointError, VocabularyError
from msqnet.labels import LabelSet
from msqnet.model.text_encoders import embed_labels, load_text_encoder_of
from msqnet.models import OPEN_ADVICE
from msqnet.prompts import DESCRIPTIONS, LabelText, prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from msqnet.model.pretrained import MSQNet

# Of the embedding's length: what is left of one in half precision.
_TOLERANCE = 2e-3


def text_embeddings(
    model: MSQNet, labels: LabelSet, texts: Mapping[str, LabelText] | None = None
) -> Tensor:
    """Embeddings (K, D_t) float32 of any K labels, from the text encoder and prompts of training.

    ``texts`` are descriptions and synonyms by label name, where the prompts need them; missing or
    unreadable ones are a `ConfigError`. A text encoder that is absent or another than in training
    is a `CheckpointError`, a head that is bound to the trained labels a `VocabularyError`.
    """
    config = model.config
    if not config.is_open or config.text_encoder is None:
        known_names = config.label_set.names
        missing = [name for name in labels if name not in known_names] or labels
        raise VocabularyError(
            f"labels {', '.join(missing)}: this model scores the labels that it was trained on and "
            f"no others ({', '.join(known_names)}); {OPEN_ADVICE}"
        )
    stored = model.query_encoder.label_embeddings[0].detach().float().cpu()
    known = config.label_set.names[0], stored
    return embeddings_as_trained(config.text_encoder, config.prompts, known, labels, texts)


def embeddings_as_trained(
    text_encoder: dict[str, Any],
    prompts: str,
    known: tuple[str, Tensor],
    labels: LabelSet,
    texts: Mapping[str, LabelText] | None = None,
) -> Tensor:
    """As `text_embeddings`, without the model itself.

    ``known`` is a label with its (D_t,) float32 embedding, which has to come out again.
    """
    encoder = load_text_encoder_of(text_encoder)
    if DESCRIPTIONS not in prompts:
        # The known embedding tells whether this is still the same text encoder.
        label, stored = known
        again = embed_labels(encoder, prompts_of(LabelSet((label,)), prompts, texts))[0]
        difference = (again - stored).norm() / stored.norm().clamp(min=_TOLERANCE)
        if texts is None and difference > _TOLERANCE:
            raise CheckpointError(
                f"text encoder {text_encoder}: embeds {label!r} otherwise than in training; give "
                "the model the text encoder that it was trained with"
            )
    return embed_labels(encoder, prompts_of(labels, prompts, texts))


def ask_for(
    model: MSQNet, names: Sequence[str], texts: Mapping[str, LabelText] | None = None
) -> None:
    """Let an open-vocabulary model score other labels from now on; see `text_embeddings`."""
    labels = LabelSet(tuple(names))
    model.set_labels(list(labels), text_embeddings(model, labels, texts))
