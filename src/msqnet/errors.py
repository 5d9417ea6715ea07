"""Every error that msqnet raises on purpose.

MsqnetError
├── ConfigError            a setting, or a combination of settings, that cannot work
├── VideoError             a video file that cannot be used
│   ├── UnreadableVideo    not a video, or its frames cannot be decoded
│   └── EmptyVideo         opens, but holds no frame (audio only, zero frames)
├── DatasetError           a table of clips, or a folder, that cannot be used
├── ShapeError             an array of the wrong shape, type or range
├── VocabularyError        labels that a model does not have
├── CheckpointError        a model folder that is missing, incomplete or damaged
├── TrainingError          a training run that cannot go on
├── ExportError            a model that cannot be exported, or graphs that differ from it
├── MissingExtra           an optional dependency that is not installed
└── ServiceError           a server that cannot run, or a request that it rejects

A message names the thing, what was found, what was expected, and the next step. The library raises;
only `msqnet.cli` turns errors into one line and an exit code.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class MsqnetError(Exception):
    """Base class of every error that msqnet raises on purpose."""


class ConfigError(MsqnetError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class VideoError(MsqnetError):
    """A video file that cannot be used."""


class UnreadableVideo(VideoError):
    """Not a video, or its frames cannot be decoded."""


class EmptyVideo(VideoError):
    """The file opens but holds no video frame."""


class DatasetError(MsqnetError):
    """A table of clips, or a folder, that cannot be used."""


class ShapeError(MsqnetError, ValueError):
    """An array of the wrong shape, type or range."""


class VocabularyError(MsqnetError):
    """Labels that a model does not have."""


class CheckpointError(MsqnetError):
    """A model folder that is missing, incomplete or damaged."""


class TrainingError(MsqnetError):
    """A training run that cannot go on."""


class ExportError(MsqnetError):
    """A model that cannot be exported, or exported graphs that do not compute what it computes."""


class MissingExtra(MsqnetError, ImportError):
    """An optional dependency that is not installed; ``extra`` would install it.

    ``purpose`` is what was attempted, as the subject of a sentence.
    """

    def __init__(self, purpose: str, *, extra: str) -> None:
        super().__init__(f"{purpose} needs an optional part: pip install 'msqnet[{extra}]'")
        self.extra = extra


class ServiceError(MsqnetError):
    """A server that cannot run, or a request that it rejects."""


@contextmanager
def needs_extra(purpose: str, *, extra: str) -> Iterator[None]:
    """Imports of optional dependencies; a `MissingExtra` where one of them fails."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(purpose, extra=extra) from error


@cache
def _log_file() -> Path:
    """The log of this process, new and for its user only."""
    file, path = tempfile.mkstemp(prefix="msqnet-errors-", suffix=".log")
    os.close(file)
    return Path(path)


def unexpected(error: Exception, thing: object) -> str:
    """A message for an error in ``thing`` that nobody foresaw; a log file has its traceback."""
    version = sys.modules["msqnet"].__version__  # what no lower layer may import
    path = _log_file()
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{thing}, msqnet {version}\n{''.join(traceback.format_exception(error))}\n")
    return (
        f"{thing}: unexpected {type(error).__name__}: {error} (msqnet {version}); the "
        f"traceback is in {path}, please report it"
    )


def check(condition: bool, message: str) -> None:
    """Raise `ConfigError` with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def check_numbers(
    settings: object, positive: Sequence[str] = (), shares: Sequence[str] = (), **least: float
) -> None:
    """Raise `ConfigError` for a setting outside of its range; None passes.

    Args:
        positive: settings above 0.
        shares: settings in [0, 1].
        least: lowest values of settings, by name.
    """
    for name in (*positive, *shares, *least):
        value = getattr(settings, name)
        if value is None:
            continue
        if name in positive:
            check(value > 0, f"{name} {value}: expected more than 0")
        if name in shares:
            check(0 <= value <= 1, f"{name} {value}: expected 0 to 1")
        if name in least:
            check(value >= least[name], f"{name} {value}: expected at least {least[name]:g}")
