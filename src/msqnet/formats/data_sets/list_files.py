"""Annotation files of data sets: lines of lists, names of classes, places of videos."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.errors import DatasetError
from msqnet.formats.clip_table import ClipRows
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


GET_AGAIN = "correct the line or get the file again"
"""The advice about a malformed list."""

VIDEOS_HELP = "folder of the videos, absolute or relative to the data set's folder"
_NUM_NAMED = 5


def clip_record(
    path: Path, labels: Iterable[str], split: str, group: str, actor: str = "human"
) -> Record:
    """The row of a clip; `clip_rows` gives it its number, relative path and source."""
    return Record(0, path, "", tuple(labels), split=split, group=group, actor=actor)


def clip_rows(
    source: str, records: Iterable[Record], labels: LabelSet, notes: Iterable[str], root: Path
) -> ClipRows:
    """Numbered rows of a data set, or of the one that a row names.

    Paths below the folder are relative to it, others absolute.
    """
    folder = Path(os.path.abspath(root)).as_posix() + "/"  # noqa: PTH100 (a link stays a link)
    numbered = []
    for row, record in enumerate(records, start=2):
        relative, of = record.path.as_posix().removeprefix(folder), record.source or source
        numbered.append(replace(record, row=row, relative_path=relative, source=of))
    return ClipRows(tuple(numbered), labels, tuple(notes))


def official_labels(name: str) -> LabelSet:
    """Labels of a data set whose own files carry no list of them, in the official order."""
    text = files(__package__).joinpath(f"{name}.labels.txt").read_text(encoding="utf-8")
    return LabelSet(tuple(text.split("\n")[:-1]))


def find_file(root: Path, names: Iterable[str], what: str, folders: Iterable[str] = ("",)) -> Path:
    """The first place where an annotation file or folder is; `DatasetError` if it is in none.

    It is looked for by its usual names, in the usual folders relative to the root, each with a
    slash at the end; ``what`` names it in the error.
    """
    folders = tuple(folders)
    candidates = [f"{folder}{name}" for name in names for folder in folders]
    found = next((root / place for place in candidates if (root / place).exists()), None)
    if found is None:
        raise DatasetError(
            f"{root}: found no {what}; looked for {', '.join(candidates)}. "
            "Give the folder that holds the data set's annotation files as --root"
        )
    return found


def require_files(paths: Sequence[Path]) -> None:
    """Raise `DatasetError` if some files of a folder are missing; it names the first ones."""
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise DatasetError(
            f"{paths[0].parent}: {len(missing)} of {len(paths)} lists are not there: "
            f"{', '.join(missing[:_NUM_NAMED])}; unpack the annotations again"
        )


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file that hold anything, stripped, with their numbers from 1."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def malformed(path: Path, line: int, found: str, expected: str) -> DatasetError:
    """The error about a line that does not look as documented."""
    return DatasetError(f"{path}, line {line}: found {found!r}, expected {expected}; {GET_AGAIN}")


def read_class_names(path: Path, first: int = 0, separator: str = "") -> tuple[str, ...]:
    """Names of classes by number from `first`; `DatasetError` for another number or a repeat.

    A line is a name, or with a `separator` a number and a name. A header such as ``id,name`` makes
    the file a table.
    """
    names: list[str] = []
    lines = list(numbered_lines(path))
    if lines and lines[0][1].replace(" ", "").lower() in ("id,name", "label,name"):
        del lines[0]
        separator = ","
    for number, line in lines:
        wanted = str(first + len(names))
        written, _, name = line.partition(separator) if separator else (wanted, "", line)
        if written.strip() != wanted or not name.strip() or name.strip() in names:
            form = f"{wanted}{separator}name" if separator else f"the name of class {wanted}"
            raise malformed(path, number, line, f"{form}, each name once")
        names.append(name.strip())
    if not names:
        raise DatasetError(f"{path}: the file is empty; expected one class a line")
    return tuple(names)


def video_folder(
    root: Path, options: Mapping[str, str], candidates: Iterable[str], *, inside: str = ""
) -> Path:
    """The absolute path of the folder where the videos belong, whether they are there or not.

    It is the folder that the option ``videos`` names, or the first of `candidates` (relative to
    `root`) that holds `inside`, such as a folder of a class; else the first.
    """
    named = options.get("videos")
    places = [root / name for name in ([named] if named else candidates)]
    found = next((place for place in places if (place / inside).exists()), places[0])
    return Path(os.path.abspath(found))  # noqa: PTH100 (a link stays a link)
