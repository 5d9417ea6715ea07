"""`msqnet serve`: a web page and an API around one model."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from msqnet.config import (
    ModelOptions,
    ServerLimits,
    ServerSettings,
    ServingLimits,
    WorkerSettings,
)
from msqnet.errors import MissingExtra, check
from msqnet.labels import split_labels

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "PIL")
_TOKEN_VARIABLE = "MSQNET_SERVE_TOKEN"


def serve(
    options: ModelOptions = ModelOptions(),  # noqa: B008 - frozen
    host: str = "127.0.0.1",
    port: int = 8000,
    public_host: str | None = None,
    token_file: str | None = None,
    examples: str | None = None,
    work_folder: str | None = None,
    limits: ServingLimits = ServingLimits(),  # noqa: B008 - frozen
    yes: bool = False,
) -> int:
    """Serve a web page and an API for one model, until interrupted.

    Args:
        options: Which model; the labels are those where a visitor names none.
        host: Address to listen on. The default accepts connections from this machine only, 0.0.0.0
            from everywhere.
        port: Port to listen on; 0 takes a free one.
        public_host: Names under which a reverse proxy offers the server, joined by `|`.
        token_file: File with the token that clients must send. The environment variable
            MSQNET_SERVE_TOKEN does the same. By default anyone who reaches the server can use it.
        examples: Folder of example videos; by default the demo clips that come with msqnet.
        work_folder: Folder for uploads and results until they are removed; by default a private
            folder in the system's folder for temporary files.
        limits: Limits on what is accepted and kept.
        yes: Fetch the open model that scores words which the shipped model does not know, if it is
            not on this machine, without a question.

    Returns:
        0 when it was stopped.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("the server", extra="serve")
    from msqnet.cli.open_words import choose_model
    from msqnet.serving.app import serve as run

    options = choose_model(options, yes=yes)
    open_model, advice = _model_of_other_words(options, yes=yes)
    if advice:
        print(f"msqnet: note: takes the model's own labels only; {advice}", file=sys.stderr)
    settings = ServerSettings(
        worker=WorkerSettings(**asdict(options), open_model=open_model, words_advice=advice),
        limits=ServerLimits.from_options(limits),
        host=host,
        port=port,
        token=_token(token_file),
        public_hosts=() if public_host is None else split_labels(public_host),
        examples=None if examples is None else Path(examples),
        work_folder=None if work_folder is None else Path(work_folder),
    )
    run(
        settings,
        announce=lambda address: print(f"msqnet: {address} (stop with Ctrl-C)", flush=True),
    )
    print("msqnet: stopped; uploads and results are removed")
    return 0


def _model_of_other_words(options: ModelOptions, *, yes: bool) -> tuple[str | None, str]:
    """What scores words that the model does not know, or what to do so that something does."""
    from msqnet.cli.open_words import can_score_words, fetched_open_model
    from msqnet.models import closed_labels, model_folder
    from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder
    from msqnet.models.open_models import FETCH_COMMAND, RECOMMENDED, open_model_source

    if open_model_source(options.model) or closed_labels(model_folder(options.model)) is None:
        return None, ""
    if options.model is not None:
        return None, f"for other words, start the server with --model {RECOMMENDED.name}"
    if not can_score_words():
        return None, "for other words, run where the server is: pip install 'msqnet[train]'"
    if fetched_open_model() is None and not yes:
        return None, f"for other words, run once and start the server again: {FETCH_COMMAND}"
    checkpoint_folder(RECOMMENDED.hub_id, TOKENIZER_FILES)
    return RECOMMENDED.name, ""


def _token(token_file: str | None) -> str | None:
    """The token, from the file or from the environment; never from the command line."""
    if token_file is None:
        source, token = _TOKEN_VARIABLE, os.environ.get(_TOKEN_VARIABLE)
    else:
        source, token = token_file, Path(token_file).read_text(encoding="utf-8")
    if token is None:
        return None
    check(
        bool(token.strip()),
        f"{source}: found no token; write one of 16 or more characters to it",
    )
    return token.strip()
