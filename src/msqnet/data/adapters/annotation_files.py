"""What the adapters share: lines of annotation files, options, places of videos, label lists."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from msqnet.data.records import Record

VIDEOS_OPTION = "videos"
PIECES = "pieces"
"""The level at which videos are cut wherever a label begins or ends."""

MIN_SECONDS_HELP = f"with level={PIECES}: leave out shorter pieces; their time is unknown then"
VIDEOS_HELP = "folder of the videos, absolute or relative to the data set's folder"

_FIRST_ROW = 2


def label_set(name: str) -> LabelSet:
    """Labels of a data set whose own files carry no list of them, in the official order.

    Args:
        name: of a file in `label_sets`, one label a line.
    """
    text = files("msqnet.data").joinpath("label_sets", f"{name}.txt").read_text(encoding="utf-8")
    return LabelSet(tuple(text.split("\n")[:-1]))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file that hold anything, stripped, with their numbers from 1."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def malformed(path: Path, line: int, found: str, expected: str) -> DatasetError:
    """The error about a line that does not look as documented."""
    return DatasetError(
        f"{path}, line {line}: found {found!r}, expected {expected}; "
        "correct the line or get the file again"
    )


def parse_seconds(text: str) -> float:
    """A finite number of at least 0.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value


def choose(options: Mapping[str, str], name: str, values: Sequence[str]) -> str:
    """The value of an option that has fixed values; the first of them if it is not given.

    Raises:
        ConfigError: another value.
    """
    value = options.get(name, values[0])
    if value not in values:
        raise ConfigError(f"option {name}={value}: expected {' or '.join(values)}")
    return value


def choose_level(options: Mapping[str, str], levels: Sequence[str]) -> tuple[str, float]:
    """What a row is, and the length below which pieces are left out.

    Args:
        options: may hold ``level``, and ``min_seconds`` where the level is pieces.
        levels: the data set's, its default first.

    Raises:
        ConfigError: another level, or a length that is no number of at least 0 or has no use.
    """
    level = choose(options, "level", levels)
    if "min_seconds" not in options:
        return level, 0.0
    written = options["min_seconds"]
    if level != PIECES:
        raise ConfigError(f"option min_seconds={written} holds for level={PIECES} only")
    try:
        return level, parse_seconds(written)
    except ValueError as error:
        raise ConfigError(
            f"option min_seconds={written}: expected a number of seconds such as 0.5"
        ) from error


def video_folder(
    root: Path, options: Mapping[str, str], candidates: Iterable[str], *, inside: str = ""
) -> Path:
    """Where the videos belong, whether they are there or not.

    Args:
        root: the data set's folder.
        options: may name the folder as ``videos``.
        candidates: usual folders relative to the root; without any of them, the first is meant.
        inside: what must be in a candidate for it to count as there, such as a class folder.

    Returns:
        An absolute path.
    """
    named = options.get(VIDEOS_OPTION)
    places = [root / name for name in ([named] if named else candidates)]
    found = next((place for place in places if (place / inside).exists()), places[0])
    return Path(os.path.abspath(found))  # noqa: PTH100 (a link stays a link)


def as_rows(records: Iterable[Record], root: Path) -> tuple[Record, ...]:
    """Number records as rows of a table and write their paths relative to the data set's folder.

    A video outside of that folder keeps its absolute path.
    """
    folder = Path(os.path.abspath(root)).as_posix() + "/"  # noqa: PTH100 (a link stays a link)
    return tuple(
        replace(record, row=row, relative_path=record.path.as_posix().removeprefix(folder))
        for row, record in enumerate(records, start=_FIRST_ROW)
    )


def count_note(number: int, text: str) -> tuple[str, ...]:
    """One note that ends with a count, or none if there is nothing to count."""
    return (f"{text}: {number}",) if number else ()
