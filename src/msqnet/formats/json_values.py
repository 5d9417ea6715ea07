"""JSON documents of annotation tools, read with the place of every value in mind.

A value that is not as expected gives an error that names the file, the place in it, what was found
and what to do next. Size and depth are bounded, that of unpacked files too. Values take up to some
40 times the memory of their text (empty lists do), so that a file of `MAX_BYTES` may take 2.5 GiB.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 64 * 1024 * 1024
"""Larger annotation files are refused; a quarter of a million coded events fit."""

_NUM_CHARACTERS_SHOWN = 60
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class JsonValue:
    """A value of a document that knows where it stands.

    Attributes:
        value: as JSON has it.
        place: the file and the way to the value, such as ``cage.boris: observations: 'monday'``.
        advice: what to do if the document is not as it should be.
    """

    value: object
    place: str
    advice: str

    def error(self, expected: str) -> DatasetError:
        """The error about a value that is not as expected."""
        return DatasetError(
            f"{self.place}: found {_shown(self.value)}, expected {expected}; {self.advice}"
        )

    def items(self) -> Iterator[tuple[str, JsonValue]]:
        """Names and values of an object, in the order of the file.

        Raises:
            DatasetError: it is none.
        """
        if not isinstance(self.value, dict):
            raise self.error("an object")
        for name, value in self.value.items():
            yield name, JsonValue(value, f"{self.place}: {name!r}", self.advice)

    def elements(self) -> Iterator[JsonValue]:
        """Values of a list, in order; places count from 1.

        Raises:
            DatasetError: it is none.
        """
        if not isinstance(self.value, list):
            raise self.error("a list")
        for number, value in enumerate(self.value, start=1):
            yield JsonValue(value, f"{self.place}: number {number}", self.advice)

    def get(self, name: str) -> JsonValue | None:
        """A value of an object; None where there is none, or it is null.

        Raises:
            DatasetError: this is no object.
        """
        if not isinstance(self.value, dict):
            raise self.error("an object")
        value = self.value.get(name)
        return None if value is None else JsonValue(value, f"{self.place}: {name}", self.advice)

    def require(self, name: str) -> JsonValue:
        """A value of an object that has to be there.

        Raises:
            DatasetError: it is not.
        """
        found = self.get(name)
        if found is None:
            assert isinstance(self.value, dict)
            raise DatasetError(
                f"{self.place}: no {name!r}; found {_names(self.value)}; {self.advice}"
            )
        return found

    def text(self) -> str:
        """Text that UTF-8 can hold.

        Raises:
            DatasetError: it is none.
        """
        if not isinstance(self.value, str):
            raise self.error("text")
        if any("\ud800" <= letter <= "\udfff" for letter in self.value):
            raise self.error("text in Unicode")
        return self.value

    def number(self) -> float:
        """A finite number, which may be written as text.

        Raises:
            DatasetError: it is none.
        """
        value = self.value
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                found = float(value)
            except (ValueError, OverflowError):
                found = math.nan
            if math.isfinite(found):
                return found
        raise self.error("a number")

    def whole(self) -> int:
        """A whole number of at least 0.

        Raises:
            DatasetError: it is none.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.error("a whole number of at least 0")
        return self.value

    def truth(self) -> bool:
        """Whether it is true.

        Raises:
            DatasetError: it is neither true nor false.
        """
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value


def read_json(path: Path, advice: str) -> JsonValue:
    """The document in a file; one that ends in ``.gz`` is unpacked.

    Args:
        path: of the file.
        advice: what to do if it is not as it should be, for all errors about it.

    Raises:
        DatasetError: not JSON, not UTF-8, or larger than `MAX_BYTES`.
    """
    content = _content(path, advice)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: byte {error.start} is not UTF-8 text; {advice}") from error
    try:
        return JsonValue(json.loads(text), str(path), advice)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}; {advice}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON that can be used: {error}; {advice}") from error


def _content(path: Path, advice: str) -> bytes:
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:
                content = file.read(MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: not a gzip file: {error}; {advice}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise DatasetError(
            f"{path}: found more than {MAX_BYTES // 1024**2} MiB, expected less; split it, for "
            "instance by exporting fewer videos at a time"
        )
    return content


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{_KINDS[type(value)]} of {len(value)}"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _NUM_CHARACTERS_SHOWN else text[:_NUM_CHARACTERS_SHOWN] + "..."


def _names(value: dict[str, object]) -> str:
    return ", ".join(map(repr, list(value)[:8])) or "nothing"
