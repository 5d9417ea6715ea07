"""What kind of checkpoint a name stands for, and the small files beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from transformers import AutoConfig

from msqnet.errors import CheckpointError
from msqnet.model.loading import loading_from


def model_type_of(name_or_folder: str | Path) -> str:
    """The ``model_type`` of a checkpoint's ``config.json``.

    Raises:
        CheckpointError: it cannot be read.
    """
    with loading_from(name_or_folder):
        found: str = AutoConfig.from_pretrained(name_or_folder).model_type
    return found


def find_file(name_or_folder: str | Path, filename: str) -> Path | None:
    """A file of a checkpoint, fetched where it is on the hub; None if the checkpoint has none.

    Args:
        name_or_folder: hub id or folder.
        filename: relative to the checkpoint, with ``/``.

    Raises:
        CheckpointError: the hub cannot be asked, and nothing stored here tells.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder / filename if (folder / filename).is_file() else None
    name = str(name_or_folder)
    with loading_from(name):
        cached = try_to_load_from_cache(name, filename)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None:  # the hub was asked before, and said that there is none
            return None
        try:
            return Path(hf_hub_download(name, filename))
        except LocalEntryNotFoundError as error:
            raise CheckpointError(
                f"{name}: cannot ask the hub whether it has {filename}; go online once, or name a "
                "folder that holds the checkpoint"
            ) from error
        except EntryNotFoundError:
            return None


def read_json_file(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as JSON ({error}); fetch the checkpoint again"
        ) from error
