"""Query encoders: what the decoder asks with (section 3.2 of the paper). One file each.

- text encoders, from prompts to a table of label embeddings: ``clip``, ``siglip``, ``bert``,
  ``sentence`` and ``minilm``, behind one contract (``text_encoder``);
- image encoders, for the image query of a clip: ``clip``, ``siglip`` (``image_encoder``);
- ``dual``: both halves of a CLIP or SigLIP, which score any label without training.

Image encoders are modules, since every clip passes through them. Text encoders are not: they run
once, when a model is started or asked for new labels.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from msqnet.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msqnet.model.query_encoders.text_encoder import Embedding, TextEncoder

_HERE = "msqnet.model.query_encoders"

TEXT_ENCODERS: dict[str, str] = {
    "minilm": f"{_HERE}.minilm:MinilmTextEncoder",
    "clip": f"{_HERE}.clip:ClipTextEncoder",
    "siglip": f"{_HERE}.siglip:SiglipTextEncoder",
    "bert": f"{_HERE}.bert:BertTextEncoder",
    "bert-mean": f"{_HERE}.bert:BertMeanTextEncoder",
    "sentence": f"{_HERE}.sentence:SentenceTextEncoder",
}
"""``module:class`` by the kind in the settings."""

KIND_OF_MODEL_TYPE: dict[str, str] = {
    "clip": "clip",
    "clip_text_model": "clip",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
    "bert": "bert",
    "mpnet": "sentence",
}
"""Kinds by the ``model_type`` of a checkpoint, where its name alone is given."""

_WITHOUT_NAME = "minilm"
# What sentence-transformers writes beside the weights.
_SENTENCE_FILES = ("modules.json", "sentence_bert_config.json")


def load_text_encoder(name: str, *, embedding: Embedding = "pooled") -> TextEncoder:
    """Load a text encoder by the name in the settings.

    Args:
        name: ``minilm``; ``KIND:ID_OR_FOLDER`` with a kind of `TEXT_ENCODERS`; or a hub id or
            folder alone, whose ``config.json`` tells the kind. A BERT is taken as ``sentence`` if
            the files of sentence-transformers lie beside it, else as ``bert``.
        embedding: ``pooled`` is CLIP's embedding before its projection (the paper), ``projected``
            that of the space which its texts and images share, of length 1. The other kinds have
            one embedding, whatever is said here.

    Raises:
        ConfigError: no such kind or embedding.
        CheckpointError: weights or tokenizer are absent, incomplete, damaged or of another model.
        MissingExtra: a package that is not installed.
    """
    from msqnet.model.query_encoders.text_encoder import Embedding

    if embedding not in get_args(Embedding):
        raise ConfigError(f"embedding {embedding!r}: expected {' or '.join(get_args(Embedding))}")
    if name == _WITHOUT_NAME:
        return _class_of(name).from_pretrained("", embedding)
    kind, _, checkpoint = name.partition(":")
    if kind not in TEXT_ENCODERS or Path(name).is_dir():
        kind, checkpoint = _kind_of_checkpoint(name), name
    if not checkpoint or kind == _WITHOUT_NAME:
        raise ConfigError(
            f"text encoder {name!r}: expected {_WITHOUT_NAME}, {kind}:ID or {kind}:FOLDER"
        )
    return _class_of(kind).from_pretrained(checkpoint, embedding)


def load_text_encoder_of(source: Mapping[str, str]) -> TextEncoder:
    """Load the text encoder that a `TextEncoder.source` describes.

    Raises:
        CheckpointError: the description is incomplete or of an unknown kind, or as for
            `load_text_encoder`.
    """
    kind = source.get("kind", "")
    if kind not in TEXT_ENCODERS or (kind != _WITHOUT_NAME and not source.get("name")):
        raise CheckpointError(
            f"text encoder {dict(source)}: expected 'kind', one of {', '.join(TEXT_ENCODERS)}, and "
            "'name', a hub id or folder"
        )
    name = kind if kind == _WITHOUT_NAME else f"{kind}:{source['name']}"
    embedding: Embedding = "projected" if source.get("embedding") == "projected" else "pooled"
    return load_text_encoder(name, embedding=embedding)


def text_encoder_licence(name: str) -> str:
    """Licence of published weights, as far as the name in the settings tells their kind."""
    kind = name.partition(":")[0]
    if kind in TEXT_ENCODERS:
        return _class_of(kind).licence
    found = next((known for known in ("siglip", "clip") if known in name.lower()), None)
    return _class_of(found).licence if found else f"text encoder {name}: see its card"


def _kind_of_checkpoint(name: str) -> str:
    from msqnet.model.query_encoders.checkpoint import find_file, model_type_of

    if not name or (":" in name and not Path(name).is_dir()):
        raise ConfigError(
            f"text encoder {name!r}: expected {_WITHOUT_NAME}, KIND:ID_OR_FOLDER with KIND one of "
            f"{', '.join(TEXT_ENCODERS)}, or a hub id or folder alone"
        )
    model_type = model_type_of(name)
    if model_type not in KIND_OF_MODEL_TYPE:
        raise CheckpointError(
            f"{name}: found a model of type {model_type!r}, expected a text encoder: "
            f"{', '.join(KIND_OF_MODEL_TYPE)}"
        )
    if model_type == "bert":
        try:
            return "sentence" if any(find_file(name, file) for file in _SENTENCE_FILES) else "bert"
        except CheckpointError as error:
            raise CheckpointError(f"{error}; or say which: bert:{name}, sentence:{name}") from error
    return KIND_OF_MODEL_TYPE[model_type]


def _class_of(kind: str) -> type[TextEncoder]:
    module, _, class_name = TEXT_ENCODERS[kind].partition(":")
    found: type[TextEncoder] = getattr(importlib.import_module(module), class_name)
    return found
