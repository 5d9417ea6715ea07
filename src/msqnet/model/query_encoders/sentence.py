"""Checkpoints of sentence-transformers as text encoders: mean over tokens, scaled to length 1.

Read without that package: a BERT or MPNet, and beside it small files that say how its token states
become one embedding (Reimers and Gurevych 2019). What those files ask for beyond a mean is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from transformers import BertModel, MPNetModel

from msqnet.errors import CheckpointError
from msqnet.model.loading import load_backbone, load_tokenizer
from msqnet.model.query_encoders.bert import IGNORED_BERT_TENSORS
from msqnet.model.query_encoders.checkpoint import find_file, model_type_of, read_json_file
from msqnet.model.query_encoders.text_encoder import TextEncoder, mean_over_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from msqnet.model.query_encoders.text_encoder import Embedding

_MODEL_CLASSES: dict[str, type[PreTrainedModel]] = {"bert": BertModel, "mpnet": MPNetModel}
# MPNet counts positions from behind its padding token.
_NUM_UNUSED_POSITIONS = {"bert": 0, "mpnet": 2}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_LEGACY_POOLING = "pooling_mode_"
_LEGACY_MEAN = "pooling_mode_mean_tokens"


class SentenceTextEncoder(TextEncoder):
    """A BERT or MPNet from sentence-transformers, by mean over tokens.

    Args:
        model: the backbone.
        tokenizer: the checkpoint's own.
        name: hub id or folder.
        max_num_tokens: what the checkpoint was set to read.
        lowercase: whether it was set to read lower case.
    """

    kind = "sentence"
    licence = "sentence-transformers weights: see the card of the checkpoint"
    is_normalised = True

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, max_num_tokens: int, lowercase: bool
    ):
        super().__init__(
            model,
            tokenizer,
            name=name,
            width=model.config.hidden_size,
            max_num_tokens=max_num_tokens,
        )
        self._lowercase = lowercase

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from a checkpoint of sentence-transformers.

        Raises:
            CheckpointError: the weights, the tokenizer or ``modules.json`` are absent, incomplete
                or damaged; another model than a BERT or MPNet; another pooling than the mean.
        """
        del embedding  # there is one only
        return cls._load(name_or_folder, name=name_or_folder)

    @classmethod
    def _load(cls, name_or_folder: str, *, name: str) -> Self:
        _check_modules(name_or_folder)
        model_type = model_type_of(name_or_folder)
        model: Any = load_backbone(
            _MODEL_CLASSES.get(model_type, BertModel),
            name_or_folder,
            model_types=set(_MODEL_CLASSES),
            ignored_prefixes=IGNORED_BERT_TENSORS,
        )
        tokenizer = load_tokenizer(name_or_folder)
        settings = _read_settings(name_or_folder, "sentence_bert_config.json")
        num_positions: int = model.config.max_position_embeddings
        capacity = num_positions - _NUM_UNUSED_POSITIONS[model_type]
        return cls(
            model,
            tokenizer,
            name=name,
            max_num_tokens=min(
                settings.get("max_seq_length") or tokenizer.model_max_length, capacity
            ),
            lowercase=bool(settings.get("do_lower_case", False)),
        )

    def _prepare(self, text: str) -> str:
        return text.lower() if self._lowercase else text

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        states = self._model(**tokens).last_hidden_state  # (b, S, D_t)
        return mean_over_tokens(states, tokens["attention_mask"])


def _read_settings(name_or_folder: str, filename: str) -> dict[str, Any]:
    path = find_file(name_or_folder, filename)
    settings: dict[str, Any] = {} if path is None else read_json_file(path)
    return settings


def _check_modules(name_or_folder: str) -> None:
    """Refuse a checkpoint whose embedding is more than the mean over tokens, scaled."""
    path = find_file(name_or_folder, "modules.json")
    if path is None:
        raise CheckpointError(
            f"{name_or_folder}: found no modules.json, expected a checkpoint of "
            "sentence-transformers; for a plain BERT say bert:ID_OR_FOLDER"
        )
    modules = {entry["type"].rpartition(".")[2]: entry["path"] for entry in read_json_file(path)}
    unknown = [name for name in modules if name not in _KNOWN_MODULES]
    pooling = _read_settings(
        name_or_folder, f"{modules.get('Pooling', '')}/config.json".lstrip("/")
    )
    # Since version 5 one setting names the mode; before, one flag each.
    flags = [key for key, value in pooling.items() if key.startswith(_LEGACY_POOLING) and value]
    modes = [pooling["pooling_mode"]] if "pooling_mode" in pooling else flags
    if unknown or "Pooling" not in modules or modes not in (["mean"], [_LEGACY_MEAN]):
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
