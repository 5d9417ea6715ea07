"""Models that score any words without training, and which of them is taken for unknown words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from msqnet.errors import CheckpointError

PREFIX = "clip-zero-shot:"
"""Before the name of a CLIP or SigLIP that is used without training."""


@dataclass(frozen=True)
class OpenModel:
    """A published model that scores any words.

    Attributes:
        name: short, for ``--model``.
        hub_id: of the Hugging Face Hub.
        download_bytes: weights in float32 and tokenizer, rounded.
        licence: of the weights, as its card states it.
        is_checked: whether this project has run the published weights.
        about: what it is good for.
    """

    name: str
    hub_id: str
    download_bytes: int
    licence: str
    is_checked: bool
    about: str

    @property
    def size(self) -> str:
        """The download in gigabytes."""
        return f"{self.download_bytes / 1e9:.1f} GB"


OPEN_MODELS = (
    OpenModel(
        "siglip2-base",
        "google/siglip2-base-patch16-224",
        1_535_000_000,
        "Apache-2.0",
        is_checked=False,
        about="each word on its own, in many languages",
    ),
    OpenModel(
        "siglip-base",
        "google/siglip-base-patch16-224",
        816_000_000,
        "Apache-2.0",
        is_checked=False,
        about="each word on its own, in English",
    ),
    OpenModel(
        "clip-base",
        "openai/clip-vit-base-patch16",
        603_000_000,
        "MIT",
        is_checked=False,
        about="compares two words or more, in English",
    ),
)
"""All that this version can use without training; X-CLIP can be trained only."""
RECOMMENDED = OPEN_MODELS[0]
"""Taken where no model was chosen: it scores a single word, and no word changes another's score."""
FETCH_COMMAND = f"msqnet models --fetch {RECOMMENDED.name}"
OPEN_MODEL_TYPES = ("clip", "siglip")


def open_model_source(model: str | Path | None) -> str | None:
    """The id or folder of a CLIP or SigLIP that ``--model`` names; None for any other model.

    It is named by `PREFIX` and an id or a folder, by a name or an id of `OPEN_MODELS`, or by a
    folder that holds one. An empty name behind the prefix is a `CheckpointError`.
    """
    name = "" if model is None else str(model)
    if name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
        if not name:
            raise CheckpointError(
                f"{PREFIX}: no model named; expected {PREFIX}ID_OR_FOLDER, as "
                f"{PREFIX}{RECOMMENDED.hub_id}"
            )
        return _id_of(name) or name
    if not name:
        return None
    config = Path(name) / "config.json"
    if config.is_file():
        try:
            is_open = (
                json.loads(config.read_text(encoding="utf-8"))["model_type"] in OPEN_MODEL_TYPES
            )
        except (OSError, ValueError, KeyError, TypeError):
            is_open = False  # loading says what is wrong
        return name if is_open else None
    return None if Path(name).is_dir() else _id_of(name)


def _id_of(name: str) -> str | None:
    return next((item.hub_id for item in OPEN_MODELS if name in (item.name, item.hub_id)), None)
