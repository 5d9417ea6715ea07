"""Annotation files of data sets: lines of lists, sheets, names of classes, places of videos."""

from __future__ import annotations

import importlib
import os
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError, MissingExtra
from msqnet.formats.clip_table import ClipRows
from msqnet.formats.options import choose, choose_seconds
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


GET_AGAIN = "correct the line or get the file again"
"""The advice about a malformed list."""

VIDEOS_OPTION = "videos"
PIECES = "pieces"
"""The level at which videos are cut wherever a label begins or ends."""

MIN_SECONDS_HELP = f"with level={PIECES}: leave out shorter pieces; their time is unknown then"
VIDEOS_HELP = "folder of the videos, absolute or relative to the data set's folder"

_FIRST_ROW = 2
_NUM_NAMED = 5


def clip_record(
    source: str,
    path: Path,
    labels: Iterable[str],
    split: str,
    group: str,
    actor: str = "human",
    *,
    annotated: frozenset[str] | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Record:
    """The row of a clip; `clip_rows` gives it its number and its relative path."""
    return Record(
        row=0,
        path=path,
        relative_path="",
        labels=tuple(labels),
        annotated=annotated,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        split=split,
        group=group,
        actor=actor,
        source=source,
    )


def clip_rows(
    records: Iterable[Record], labels: LabelSet, notes: Iterable[str], root: Path
) -> ClipRows:
    """Rows, numbered, with paths relative to the data set's folder; others stay absolute."""
    folder = Path(os.path.abspath(root)).as_posix() + "/"  # noqa: PTH100 (a link stays a link)
    numbered = (
        replace(record, row=row, relative_path=record.path.as_posix().removeprefix(folder))
        for row, record in enumerate(records, start=_FIRST_ROW)
    )
    return ClipRows(tuple(numbered), labels, tuple(notes))


def official_labels(name: str) -> LabelSet:
    """Labels of a data set whose own files carry no list of them, in the official order."""
    text = files(__package__).joinpath(f"{name}.labels.txt").read_text(encoding="utf-8")
    return LabelSet(tuple(text.split("\n")[:-1]))


def in_order(names: Iterable[str], labels: LabelSet) -> tuple[str, ...]:
    """Names in the order of the labels."""
    return tuple(sorted(names, key=labels.index))


def find_file(root: Path, names: Iterable[str], what: str, folders: Iterable[str] = ("",)) -> Path:
    """The first of several usual places of an annotation file or folder.

    Args:
        root: the data set's folder.
        names: names that it may have.
        what: what is being looked for, for the message.
        folders: usual folders, relative to the root and with a slash at the end, the official
            layout first.

    Raises:
        DatasetError: none of them exists; lists all that were looked for.
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
    """Raise `DatasetError` if some files of a folder are not there; names the first of them."""
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


def read_class_names(path: Path) -> tuple[str, ...]:
    """Names by number from 0: one a line, or a table with a header such as ``id,name``.

    Raises:
        DatasetError: a number is not the next one, or a name is empty or repeated.
    """
    names: list[str] = []
    lines = list(numbered_lines(path))
    header = lines[0][1].replace(" ", "").lower() if lines else ""
    is_table = header in ("id,name", "label,name")
    for number, line in lines[is_table:]:
        written, _, name = line.partition(",") if is_table else (str(len(names)), "", line)
        if written.strip() != str(len(names)) or not name.strip() or name.strip() in names:
            form = f"{len(names)},name" if is_table else f"the name of class {len(names)}"
            raise malformed(path, number, line, f"{form}, each name once")
        names.append(name.strip())
    return tuple(names)


def choose_level(options: Mapping[str, str], levels: Sequence[str]) -> tuple[str, float]:
    """What a row is (of `levels`, the default first), and the seconds of the shortest piece.

    Raises:
        ConfigError: another level, or a length that is no number of at least 0 or has no use.
    """
    level = choose(options, "level", levels)
    if "min_seconds" in options and level != PIECES:
        written = options["min_seconds"]
        raise ConfigError(f"option min_seconds={written} holds for level={PIECES} only")
    return level, choose_seconds(options, "min_seconds", 0.0)


def video_folder(
    root: Path, options: Mapping[str, str], candidates: Iterable[str], *, inside: str = ""
) -> Path:
    """The absolute path of the folder where the videos belong, whether they are there or not.

    Args:
        root: the data set's folder.
        options: may name the folder as ``videos``.
        candidates: usual folders relative to the root; without any of them, the first is meant.
        inside: what must be in a candidate for it to count as there, such as a class folder.
    """
    named = options.get(VIDEOS_OPTION)
    places = [root / name for name in ([named] if named else candidates)]
    found = next((place for place in places if (place / inside).exists()), places[0])
    return Path(os.path.abspath(found))  # noqa: PTH100 (a link stays a link)


def read_sheet(path: Path, sheet: str, columns: Sequence[str]) -> dict[int, tuple[Any, ...]]:
    """The named columns of a sheet of an ``.xlsx`` file: cells by the number of the row, in order.

    Cells are taken as they were typed: the text ``#N/A`` stays that text, which pandas would turn
    into a missing value. The header is row 1; rows without any cell are left out.

    Raises:
        MissingExtra: openpyxl is not installed.
        DatasetError: no workbook, or one without that sheet or column.
    """
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise MissingExtra(f"{path.name}: reading an Excel workbook", extra="datasets") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True)
    except (BadZipFile, KeyError, ValueError, OSError) as error:
        raise DatasetError(f"{path}: not a readable Excel workbook ({error})") from error
    with closing(book):
        if sheet not in book.sheetnames:
            raise DatasetError(f"{path}: no sheet {sheet!r}; found {', '.join(book.sheetnames)}")
        rows = book[sheet].iter_rows(values_only=True)
        header = next(rows, ())
        for name in columns:
            if name not in header:
                found = ", ".join(map(str, header))
                raise DatasetError(f"{path}, sheet {sheet!r}: no column {name!r}; found {found}")
        places = [header.index(name) for name in columns]
        return {
            number: tuple(row[place] for place in places)
            for number, row in enumerate(rows, start=2)
            if any(cell is not None for cell in row)
        }
