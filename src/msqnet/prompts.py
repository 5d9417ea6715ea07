"""The texts of a label for a text encoder: its name, sentences around it, description, synonyms.

A style is ``none`` (the name alone, as in the paper), a name of `ENSEMBLES`, ``descriptions`` (from
a table of labels), or your own sentence with ``{}`` for the name. Several are joined by ``|``:
``none|descriptions`` gives every label two texts, whose embeddings are averaged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.documents import read_csv_rows
from msqnet.errors import DatasetError, check
from msqnet.labels import SEPARATOR, as_words, plain_text, split_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msqnet.labels import LabelSet

_logger = logging.getLogger(__name__)
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

ENSEMBLES = {
    TEMPLATE_ENSEMBLE: TEMPLATES,
    "people": (
        "a video of a person {}",
        "a photo of a person {}",
        "a person who is {}",
        "people {}",
        "a human action: {}",
    ),
    "animals": (
        "a video of an animal {}",
        "a photo of an animal {}",
        "an animal that is {}",
        "animals {}",
        "the behaviour of an animal: {}",
    ),
}
"""Sentences by style: for any actor, for people, for animals."""
NO_ACTION = (
    "an empty scene",
    "a scene without people or animals",
    "a person who does nothing in particular",
    "an animal that does nothing in particular",
)
"""What a video may show instead of every action."""

_COLUMNS = ("name", "description", "synonyms")
_NUM_NAMED_IN_ERRORS = 8


@dataclass(frozen=True)
class LabelText:
    """The texts of one label; without a description it is empty."""

    name: str
    description: str = ""
    synonyms: tuple[str, ...] = ()


def prompts_of(
    labels: LabelSet, style: str, texts: Mapping[str, LabelText] | None = None
) -> tuple[tuple[str, ...], ...]:
    """The texts that stand for each label, in the order of the labels.

    Each has one or more texts, none of them twice. Underscores of names and synonyms are read as
    spaces. Synonyms take the place of the name in `ENSEMBLES` and in your own sentences; ``none``
    is the name alone. ``texts`` are descriptions and synonyms by label name. An unknown style, or a
    missing description that it needs, is a `ConfigError`.
    """
    known = (NAME_ONLY, *ENSEMBLES, DESCRIPTIONS)
    parts = [part.strip() for part in style.split(SEPARATOR)]
    for part in parts:
        check(
            part in known or PLACE_OF_NAME in part,
            f"prompts {style!r}: found {part!r}, expected {', '.join(known)}, or a sentence "
            f"with {PLACE_OF_NAME} for the name; several are joined by '{SEPARATOR}'",
        )
    found = [(texts or {}).get(name, LabelText(name)) for name in labels]
    missing = [label.name for label in found if not label.description]
    num_left = len(missing) - _NUM_NAMED_IN_ERRORS
    check(
        DESCRIPTIONS not in parts or not missing,
        f"prompts '{DESCRIPTIONS}': {len(missing)} of {len(found)} labels have no description: "
        f"{', '.join(missing[:_NUM_NAMED_IN_ERRORS])}"
        f"{f' and {num_left} more' if num_left > 0 else ''}; write one for each in the table of "
        "labels (column 'description'), or use another style",
    )
    return tuple(
        tuple(dict.fromkeys(text for part in parts for text in _texts_of(label, part)))
        for label in found
    )


def contrast_texts(contrast: str | None) -> tuple[str, ...]:
    """The texts for no action that a setting names, joined by ``|``; ``default``: `NO_ACTION`."""
    return NO_ACTION if contrast == "default" else split_labels(contrast or "")


def _texts_of(label: LabelText, part: str) -> tuple[str, ...]:
    if part == DESCRIPTIONS:
        return (label.description,)
    if part == NAME_ONLY:
        return (as_words(label.name),)
    templates = ENSEMBLES.get(part, (part,))
    names = [as_words(name) for name in (label.name, *label.synonyms)]
    return tuple(template.replace(PLACE_OF_NAME, name) for name in names for template in templates)


def read_label_table(path: str | Path) -> dict[str, LabelText]:
    """Read a table of labels: CSV in UTF-8 with the columns name, description, synonyms.

    Only ``name`` is required; synonyms are joined by ``|``; other columns are ignored. Commas,
    semicolons and tabs may separate cells; a cell that holds one is quoted. A file that is no such
    table is a `DatasetError`, which names the row: the header is row 1.
    """
    path = Path(path)
    rows, _, note = read_csv_rows(
        path,
        "save the table as 'CSV UTF-8'",
        lambda header: "name" in [cell.strip().lower() for cell in header],
    )
    if note:
        _logger.warning(note)
    header = [cell.strip().lower() for cell in (rows or [[]])[0]]
    if "name" not in header:
        raise DatasetError(
            f"{path}: no column 'name'; found {', '.join(header) or 'nothing'}; the first row must "
            f"name the columns {','.join(_COLUMNS)}"
        )
    repeated = [column for column in _COLUMNS if header.count(column) > 1]
    if repeated:
        raise DatasetError(f"{path}: column {', '.join(map(repr, repeated))} is there twice")
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


def _parse_row(place: str, header: Sequence[str], cells: Sequence[str]) -> LabelText:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise DatasetError(
            f"{place}: has {len(cells)} cells, the header {len(header)}: quote a cell that holds "
            "the delimiter"
        )
    # Excel drops the delimiters of empty cells at the end of a row: such cells are empty.
    found = {column: cell.strip() for column, cell in zip(header, cells, strict=False)}
    name = plain_text(found.get("name", ""))
    if not name or SEPARATOR in name:
        raise DatasetError(
            f"{place}: name {name!r} is empty or holds '{SEPARATOR}', expected a label's name"
        )
    return LabelText(
        name,
        " ".join(found.get("description", "").split()),
        split_labels(found.get("synonyms", "")),
    )
