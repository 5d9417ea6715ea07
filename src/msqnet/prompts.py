"""What a text encoder reads of a label: its name, sentences around it, its description, synonyms.

A style is ``none`` (the name alone, as in the paper), ``templates`` (`TEMPLATES`), ``descriptions``
(from a table of labels), or a sentence of one's own with ``{}`` for the name. Several are joined by
``|``: ``none|descriptions`` gives every label two texts, whose embeddings are averaged.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import SEPARATOR, split_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msqnet.labels import LabelSet

NAME_ONLY = "none"
TEMPLATE_ENSEMBLE = "templates"
DESCRIPTIONS = "descriptions"
PLACE_OF_NAME = "{}"

TEMPLATES = (
    "a video of {}",
    "a photo of {}",
    "a video of someone {}",
    "a video of an animal {}",
    "a photo of a person {}",
    "a photo of an animal {}",
    "someone {}",
    "an animal {}",
    "a person or an animal that is {}",
    "an example of the action {}",
)
"""Sentences that fit any actor, human or animal; the paper's method names none."""

_COLUMNS = ("name", "description", "synonyms")
_DELIMITERS = (",", ";", "\t")
_NUM_NAMED_IN_ERRORS = 8


@dataclass(frozen=True)
class LabelText:
    """What is written about one label.

    Attributes:
        name: as in the label set.
        description: what it looks like, in a sentence; empty where nothing was written.
        synonyms: other names of the same thing.
    """

    name: str
    description: str = ""
    synonyms: tuple[str, ...] = ()


def prompts_of(
    labels: LabelSet, style: str, texts: Mapping[str, LabelText] | None = None
) -> tuple[tuple[str, ...], ...]:
    """The texts that stand for each label, in the order of the labels.

    Underscores of names and synonyms are read as spaces. Synonyms take the place of the name in
    ``templates`` and in sentences of one's own; ``none`` is the name alone.

    Args:
        labels: the labels.
        style: see the module.
        texts: descriptions and synonyms by label name; other labels in it are ignored.

    Returns:
        For each label one or more texts, none of them twice.

    Raises:
        ConfigError: no such style, or labels without the description that it needs.
    """
    parts = [part.strip() for part in style.split(SEPARATOR)]
    _check_style(style, parts)
    written = {name: (texts or {}).get(name, LabelText(name)) for name in labels}
    if DESCRIPTIONS in parts:
        _check_descriptions(written)
    return tuple(
        tuple(dict.fromkeys(text for part in parts for text in _texts_of(label, part)))
        for label in written.values()
    )


def _check_style(style: str, parts: Sequence[str]) -> None:
    known = (NAME_ONLY, TEMPLATE_ENSEMBLE, DESCRIPTIONS)
    for part in parts:
        if part not in known and PLACE_OF_NAME not in part:
            raise ConfigError(
                f"prompts {style!r}: found {part!r}, expected {', '.join(known)}, or a sentence "
                f"with {PLACE_OF_NAME} for the name; several are joined by '{SEPARATOR}'"
            )


def _check_descriptions(written: Mapping[str, LabelText]) -> None:
    missing = [name for name, text in written.items() if not text.description]
    if missing:
        shown = ", ".join(missing[:_NUM_NAMED_IN_ERRORS])
        rest = len(missing) - _NUM_NAMED_IN_ERRORS
        raise ConfigError(
            f"prompts '{DESCRIPTIONS}': {len(missing)} of {len(written)} labels have no "
            f"description: {shown}{f' and {rest} more' if rest > 0 else ''}; write one for each "
            "in the table of labels (column 'description'), or use another style"
        )


def _texts_of(label: LabelText, part: str) -> tuple[str, ...]:
    if part == DESCRIPTIONS:
        return (label.description,)
    if part == NAME_ONLY:
        return (_as_words(label.name),)
    templates = TEMPLATES if part == TEMPLATE_ENSEMBLE else (part,)
    names = [_as_words(name) for name in (label.name, *label.synonyms)]
    return tuple(template.replace(PLACE_OF_NAME, name) for name in names for template in templates)


def _as_words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def read_label_table(path: str | Path) -> dict[str, LabelText]:
    """Read a table of labels: CSV with the columns name, description, synonyms.

    Only ``name`` is required; synonyms are joined by ``|``; other columns are ignored. Commas,
    semicolons and tabs may separate cells; a cell that holds one is quoted.

    Args:
        path: a CSV file in UTF-8, with or without a byte order mark.

    Returns:
        The rows by name, in the order of the file.

    Raises:
        DatasetError: no such file, not a table, no column ``name``, or a malformed or repeated
            row, which is named. Rows are numbered as a spreadsheet shows them: the header is 1.
    """
    path = Path(path)
    rows = _read_rows(path)
    header = [cell.strip().lower() for cell in rows[0]]
    _check_header(path, header)
    texts: dict[str, LabelText] = {}
    row_of: dict[str, int] = {}
    for number, cells in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        text = _parse_row(f"{path}: row {number}", header, cells)
        if text.name in texts:
            raise DatasetError(
                f"{path}: row {number}: label {text.name!r} is in row {row_of[text.name]} too; "
                "keep one row for each label"
            )
        texts[text.name], row_of[text.name] = text, number
    if not texts:
        raise DatasetError(f"{path}: no label in it; expected a header and one row for each label")
    return texts


def _read_rows(path: Path) -> list[list[str]]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror or error}); expected a table of labels (CSV)"
        ) from error
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: byte {error.start} is not UTF-8 text; save the table as 'CSV UTF-8'"
        ) from error
    header_line = content.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    try:
        rows = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}: not a well-formed CSV table ({error})") from error
    return rows or [[]]


def _check_header(path: Path, header: Sequence[str]) -> None:
    if "name" not in header:
        raise DatasetError(
            f"{path}: no column 'name'; found {', '.join(header) or 'nothing'}; the first row must "
            f"name the columns {','.join(_COLUMNS)}"
        )
    repeated = [column for column in _COLUMNS if header.count(column) > 1]
    if repeated:
        raise DatasetError(f"{path}: column {', '.join(map(repr, repeated))} is there twice")


def _parse_row(place: str, header: Sequence[str], cells: Sequence[str]) -> LabelText:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise DatasetError(
            f"{place}: has {len(cells)} cells, the header {len(header)}: quote a cell that holds "
            "the delimiter"
        )
    # Excel drops the delimiters of empty cells at the end of a row: such cells are empty.
    found = {column: cell.strip() for column, cell in zip(header, cells, strict=False)}
    name = found.get("name", "")
    if not name or SEPARATOR in name:
        raise DatasetError(
            f"{place}: name {name!r} is empty or holds '{SEPARATOR}', expected a label's name"
        )
    return LabelText(
        name,
        " ".join(found.get("description", "").split()),
        split_labels(found.get("synonyms", "")),
    )
