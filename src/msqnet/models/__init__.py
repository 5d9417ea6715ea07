"""The models that come with the package, and what a ``--model`` may be.

A model is a folder with `config.json`, `model.safetensors` and a card, `README.md`.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from msqnet.errors import CheckpointError

SHIPPED_MODEL = "mixed-actors-lite"
"""What every command uses where no model is named."""

CONFIG_FILE = "config.json"
_EXPORTED_FILE = "manifest.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
BEST_FOLDER = "best"
"""Where a run folder of training holds its finished model."""

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_HUB_PATTERNS = ("*.json", "*.safetensors", CARD_FILE)
_LICENCE_LINE = re.compile(r"^license:\s*(\S.*?)\s*$", re.MULTILINE)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes:
        name: What to give as ``--model``.
        folder: Where it lies.
        size_bytes: All its files together.
        labels: What it can tell, in the order of its scores.
        licence: As its card states it; empty where it states none.
    """

    name: str
    folder: Path
    size_bytes: int
    labels: tuple[str, ...]
    licence: str


def available_models(folder: Path | None = None) -> list[ModelInfo]:
    """The models in a folder, by name; by default those that come with the package."""
    folder = Path(__file__).parent if folder is None else folder
    return [
        _describe(item)
        for item in sorted(folder.iterdir())
        if (item / CONFIG_FILE).is_file() and (item / WEIGHTS_FILE).is_file()
    ]


def resolve_model(name: str | Path | None = None) -> Path | str:
    """Find a finished model; nothing is loaded or downloaded.

    Args:
        name: None for the shipped model; a model's folder; the folder of a training run, which
            stands for its best checkpoint; a name from `available_models`; an id ``owner/name`` of
            the Hugging Face Hub. What exists on disk comes first.

    Returns:
        A folder that holds a config, or an id of the Hub as it was given.

    Raises:
        CheckpointError: nothing of the kind exists.
    """
    name = SHIPPED_MODEL if name is None else name
    folder = Path(name)
    for candidate in (folder, folder / BEST_FOLDER):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    listed = {item.name: item.folder for item in available_models()}
    if str(name) in listed:
        return listed[str(name)]
    if (folder / _EXPORTED_FILE).is_file():
        raise CheckpointError(
            f"{folder}: an exported model, which predicts and is evaluated, but cannot be changed "
            "or looked into; give the model that it was exported from"
        )
    if folder.is_dir():
        raise CheckpointError(
            f"{folder}: a folder without {CONFIG_FILE} and without {BEST_FOLDER}/{CONFIG_FILE}; "
            "expected a model's folder or that of a finished training run"
        )
    if isinstance(name, str) and _HUB_ID.fullmatch(name):
        return name
    raise CheckpointError(
        f"{str(name)!r} is no folder and no known model; known are "
        f"{', '.join(listed) or 'none (this installation holds no model)'}. "
        "Give a model's folder, an id owner/name of the Hugging Face Hub, "
        "or a name listed by: msqnet models"
    )


def model_folder(name: str | Path | None = None) -> Path:
    """Like `resolve_model`, but a model of the Hub is fetched into its cache first.

    Only settings, weights in the safetensors format and the card are fetched, never code.

    Raises:
        CheckpointError: nothing of the kind exists, or it cannot be fetched.
    """
    found = resolve_model(name)
    return found if isinstance(found, Path) else _fetch(found)


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    _logger.warning("fetching %s from the Hugging Face Hub, unless it is in the cache", hub_id)
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(_HUB_PATTERNS)))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{hub_id!r}: no such folder here, and it cannot be fetched from the Hugging Face Hub "
            f"({reason}); check the name and the connection"
        ) from error
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{hub_id!r}: the Hub's repository holds no {CONFIG_FILE}")
    return folder


def _describe(folder: Path) -> ModelInfo:
    return ModelInfo(
        name=folder.name,
        folder=folder,
        size_bytes=sum(item.stat().st_size for item in folder.rglob("*") if item.is_file()),
        labels=_read_labels(folder / CONFIG_FILE),
        licence=_read_licence(folder / CARD_FILE),
    )


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return tuple(str(name) for name in settings["labels"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: found no list 'labels' ({error}); copy or install the model again"
        ) from error


def _read_licence(path: Path) -> str:
    """The ``license:`` of the card's front matter, the block between two lines of ``---``."""
    if not path.is_file():
        return ""
    parts = path.read_text(encoding="utf-8").split("---", maxsplit=2)
    is_framed = len(parts) == 3 and not parts[0].strip()
    match = _LICENCE_LINE.search(parts[1]) if is_framed else None
    return match.group(1) if match else ""
