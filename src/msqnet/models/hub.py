"""Checkpoints of the Hugging Face Hub: the one place that fetches them.

The cache comes first and is taken as it is. A model that is not in it is asked for once, with a
time limit; only a Hub that answers is given to `huggingface_hub`, which tries a refused connection
again for half a minute. Whatever loads a checkpoint gets a folder, so that nothing else asks.

Nothing here imports torch.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from msqnet.errors import CheckpointError, needs_extra
from msqnet.models.open_models import OPEN_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONFIG_FILE = "config.json"
_INDEX_SUFFIX = ".index.json"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""Each of them alone tells how words become tokens."""
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Where and how `huggingface_hub.hf_hub_download` looks."""
_SMALL_SUFFIXES = (".json", ".txt", ".model", ".md")
# Graphs that `msqnet export` wrote are made again where they are wanted; code is never fetched.
_LEFT_OUT = ("manifest.json",)
_ANSWER_SECONDS = 3.0
_SECONDS_VARIABLE = "HF_HUB_ETAG_TIMEOUT"
_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_logger = logging.getLogger(__name__)


def checkpoint_folder(
    name_or_folder: str | Path, one_of: Iterable[str] = (), **options: Any
) -> Path:
    """The folder of a checkpoint, fetched if it is an id of the Hub that the cache does not hold.

    Args:
        one_of: a copy in the cache counts only if it holds one of these files.
        options: those of `HUB_OPTIONS`.

    Raises:
        CheckpointError: there is no such folder, and no such model on the Hub, or it cannot be
            reached. It says so at once, or after 3 s, or HF_HUB_ETAG_TIMEOUT.
        MissingExtra: the Hub's client is not installed.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    name = _checked_id(name_or_folder)
    cached = None if options.get("force_download") else cached_folder(name, **options)
    if cached is not None:
        names, files = set(one_of), (path.name for path in cached.iterdir())
        if not names or not names.isdisjoint(files):
            return cached
    return _fetched(name, options)


def cached_folder(name: str, **options: Any) -> Path | None:
    """Where the cache holds a model with settings and all weights; None if it does not."""
    with needs_extra("a model of the Hugging Face Hub", extra="train"):
        from huggingface_hub import try_to_load_from_cache

    place = {key: options[key] for key in ("cache_dir", "revision") if options.get(key)}
    config = try_to_load_from_cache(name, _CONFIG_FILE, **place)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _has_weights(folder) else None


def checkpoint_file(name_or_folder: str | Path, filename: str) -> Path | None:
    """One file of a checkpoint, fetched alone if need be; None if the checkpoint has none.

    ``filename`` is relative to the checkpoint, with ``/``. Errors are those of `checkpoint_folder`.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder / filename if (folder / filename).is_file() else None
    name = _checked_id(name_or_folder)
    with needs_extra("a model of the Hugging Face Hub", extra="train"):
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError

    cached = try_to_load_from_cache(name, filename)
    if cached is not None:  # else the Hub was asked before, and said that there is none
        return Path(cached) if isinstance(cached, str) else None
    _ask(name, {}, filename)
    try:
        return Path(hf_hub_download(name, filename))
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _not_fetched(name, error) from error


def _checked_id(name: str | Path) -> str:
    if _ID.fullmatch(str(name)) is None:
        raise CheckpointError(
            f"{name}: cannot be loaded: no such folder, and no id of the Hugging Face Hub, which "
            "is owner/name; name a folder with config.json and weights, or an id"
        )
    return str(name)


def _has_weights(folder: Path) -> bool:
    for index in folder.glob(f"*{_INDEX_SUFFIX}"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            continue
        if all((folder / shard).is_file() for shard in shards):
            return True
    return any((folder / name).is_file() for name in _WEIGHT_FILES)


def _fetched(name: str, options: dict[str, Any]) -> Path:
    """Fetch settings, tokenizer, card and weights, the weights last: a copy with them is whole."""
    sizes = _ask(name, options, "it")
    small = [
        file
        for file in sizes
        if file.endswith(_SMALL_SUFFIXES) and PurePosixPath(file).name not in _LEFT_OUT
    ]
    weights = [file for file in sizes if "/" not in file and file.endswith(".safetensors")]
    weights = weights or [file for file in sizes if re.fullmatch(r"pytorch_model.*\.bin", file)]
    if _CONFIG_FILE not in small or not weights:
        raise CheckpointError(
            f"{name}: the Hub's repository holds no {_CONFIG_FILE} with model.safetensors or "
            "pytorch_model.bin; name the id of a model of transformers"
        )
    from huggingface_hub import hf_hub_download

    size = sum(sizes[file] or 0 for file in (*small, *weights)) / 1e6
    _logger.warning("fetching %s from the Hugging Face Hub (%.0f MB)", name, size)
    try:
        paths = {file: hf_hub_download(name, file, **options) for file in (*small, *weights)}
    except (OSError, ValueError) as error:
        raise _not_fetched(name, error) from error
    return Path(paths[_CONFIG_FILE]).parent


def _ask(name: str, options: dict[str, Any], what: str) -> dict[str, int | None]:
    """Ask the Hub once which files a model has, with their sizes; the caller wants ``what``.

    Name resolution, a connection and an answer have the time limit together.
    """
    from huggingface_hub import HfApi, constants

    if options.get("local_files_only"):
        raise _not_reached(name, what, "only local files were asked for")
    if constants.HF_HUB_OFFLINE:
        raise _not_reached(name, what, "HF_HUB_OFFLINE is set")
    seconds = float(os.environ.get(_SECONDS_VARIABLE) or _ANSWER_SECONDS)
    place = {key: options.get(key) for key in ("revision", "token")}
    found: list[Any] = []

    def ask() -> None:
        try:
            api = HfApi()
            found.append(api.model_info(name, **place, timeout=seconds, files_metadata=True))
        except Exception as error:  # given to the thread that waits
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    answer = found[0] if found else TimeoutError()
    if not isinstance(answer, Exception):
        return {item.rfilename: item.size for item in answer.siblings or ()}
    if "Timeout" in type(answer).__name__:
        reason = f"no answer in {seconds:g} s; {_SECONDS_VARIABLE} allows more"
        raise _not_reached(name, what, reason) from answer
    raise _refused(name, answer) or _not_reached(name, what, _first_line(answer)) from answer


def _not_reached(name: str, what: str, reason: str) -> CheckpointError:
    from huggingface_hub import constants

    return CheckpointError(
        f"{name}: cannot be loaded: no such folder here, the cache ({constants.HF_HUB_CACHE}) does "
        f"not hold {what}, and {constants.ENDPOINT} was not reached ({reason}){_meant(name)}; "
        "connect to a network once, or copy the model's folder here and name that"
    )


def _refused(name: str, error: Exception) -> CheckpointError | None:
    """What the Hub says of a model that it does not have, or does not give; None for others."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):  # a kind of the other one
        return CheckpointError(
            f"{name}: cannot be loaded: its owner asks for consent; give it on "
            f"{constants.ENDPOINT}/{name}, then log in with: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"{name}: cannot be loaded: no such folder here, and {constants.ENDPOINT} has no such "
            f"model, or none that you may see{_meant(name) or '; check the spelling'}"
        )
    return None


def _meant(name: str) -> str:
    near = get_close_matches(name, [model.hub_id for model in OPEN_MODELS], n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near and near[0] != name else ""


def _not_fetched(name: str, error: Exception) -> CheckpointError:
    return _refused(name, error) or CheckpointError(
        f"{name}: cannot be loaded: fetching it failed ({_first_line(error)}); run the same "
        "command again, which goes on where this one stopped"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
