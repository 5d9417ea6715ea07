"""Options that several formats share."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


UNLISTED = {
    "unlisted": "when reading: unknown (default) or absent, what labels are that the file does not "
    "show and may be unable to show"
}
"""Option of formats whose files do not say, or cannot hold, everything that was looked for."""


def is_absent_if_unlisted(options: Mapping[str, str]) -> bool:
    """Whether such labels count as absent; they are unknown by default."""
    return choose(options, "unlisted", ("unknown", "absent")) == "absent"


def choose(options: Mapping[str, str], name: str, values: Sequence[str]) -> str:
    """The value of an option, the first of `values` if not given; `ConfigError` for any other."""
    value = options.get(name, values[0])
    if value not in values:
        raise ConfigError(f"option {name}={value}: expected {' or '.join(filter(None, values))}")
    return value


def choose_seconds(options: Mapping[str, str], name: str, default: float) -> float:
    """The value of an option in seconds; `ConfigError` if it is no number of at least 0."""
    if name not in options:
        return default
    try:
        return parse_seconds(options[name])
    except ValueError as error:
        raise ConfigError(
            f"option {name}={options[name]}: expected a number of seconds such as 0.5"
        ) from error


def parse_seconds(text: str) -> float:
    """A finite number of at least 0; `ValueError` for other text."""
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value


def video_address(video: Path, file: Path, options: Mapping[str, str]) -> str:
    """How a file that is written names a video: under ``base_url`` if given, else by its path.

    The path of a video in the folder of `file` or below is relative to it; others are absolute.
    """
    if "base_url" in options:
        return f"{options['base_url'].rstrip('/')}/{quote(video.name)}"
    home = os.path.dirname(os.path.abspath(file))  # noqa: PTH100, PTH120 (links stay)
    return video.relative_to(home).as_posix() if video.is_relative_to(home) else str(video)
