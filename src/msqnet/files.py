"""Files that appear whole or not at all, JSON and CSV among them."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; it replaces ``path`` at once when the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(
    path: Path, value: Any, *, ensure_ascii: bool = True, allow_nan: bool = True
) -> None:
    """Write indented JSON, replaced at once."""
    text = json.dumps(value, indent=2, ensure_ascii=ensure_ascii, allow_nan=allow_nan)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """The same nested values with NaN as None, and numpy's arrays and numbers as plain ones."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def csv_writer(file: TextIO, odd: str = "") -> Any:
    """A writer of rows that end in a line feed; ``odd`` is text in them that may need quotes."""
    # Python's writer does not quote a carriage return where lines end in a line feed alone.
    quoting: Any = csv.QUOTE_ALL if "\r" in odd else csv.QUOTE_MINIMAL
    return csv.writer(file, lineterminator="\n", quoting=quoting)
