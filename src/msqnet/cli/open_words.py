"""Which model scores words that the shipped one does not know, with leave to fetch it."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from msqnet.cli.console import say
from msqnet.config import ModelOptions
from msqnet.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from pathlib import Path

OptionsT = TypeVar("OptionsT", bound=ModelOptions)


def choose_model(options: OptionsT, *, yes: bool) -> OptionsT:
    """The options with a model that knows the words; an open one is on this machine afterwards.

    If no model was chosen and the shipped one does not know all words, it is the recommended open
    model. It is fetched after a question on the terminal, or without one if ``yes``.

    Raises:
        CheckpointError: it cannot be fetched.
        ConfigError: nobody can be asked, the answer was no, or other options do not suit the model.
        MissingExtra: PyTorch or the Hub's client is not installed.
    """
    from rich.console import Console

    from msqnet.inference.model_facts import check_open_model, unknown_words
    from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder
    from msqnet.models.open_models import RECOMMENDED, open_model_source

    why = unknown_words(options)
    if why:
        options = replace(options, model=RECOMMENDED.name)
    source = open_model_source(options.model)
    if source is None:
        return options
    if not can_score_words():
        raise MissingExtra(f"{why}{'; ' * bool(why)}scoring any words", extra="train")
    if why:
        model = RECOMMENDED
        say(
            Console(stderr=True),
            f"msqnet: {why}; {model.name} ({model.hub_id}, {model.licence}) scores all words, "
            "without training",
        )
    check_open_model(options)  # before anything is fetched
    if why and fetched_open_model() is None and not yes:
        _ask_for_leave()
    checkpoint_folder(source, TOKENIZER_FILES)
    return options


def fetched_open_model() -> Path | None:
    """Where the recommended open model is on this machine; None if it is not, or cannot run."""
    from msqnet.models.hub import cached_folder
    from msqnet.models.open_models import RECOMMENDED

    return cached_folder(RECOMMENDED.hub_id) if can_score_words() else None


def can_score_words() -> bool:
    """Whether what an open model runs on is installed."""
    return all(find_spec(name) for name in ("torch", "transformers", "huggingface_hub"))


def _ask_for_leave() -> None:
    """Return if whoever sits at the terminal agrees to the download, else a `ConfigError`."""
    from msqnet.models.open_models import FETCH_COMMAND, RECOMMENDED

    what = f"{RECOMMENDED.size} from the Hugging Face Hub"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"{RECOMMENDED.name} is not on this machine, and there is no terminal on which to ask "
            f"for leave to fetch {what}; run once: {FETCH_COMMAND} (or add --yes)"
        )
    print(f"msqnet: fetch {what} once? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(
            f"nothing was fetched; fetch it another time with: {FETCH_COMMAND}, or name labels of "
            "the model that comes with msqnet"
        )
