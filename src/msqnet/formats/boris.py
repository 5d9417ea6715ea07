"""BORIS: projects, and the tables of events that it exports.

Projects are read by `boris_project` and written by `boris_writing`, tables by `boris_events`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats import Format
from msqnet.formats.boris_events import read_events
from msqnet.formats.boris_project import OPTIONS, read_project
from msqnet.formats.boris_writing import write_project

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.formats import Reading
    from msqnet.formats.annotations import Annotations

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_PROJECT_SUFFIXES = (".boris", ".gz", ".json")


def _read(path: Path, reading: Reading) -> Annotations:
    suffix = path.suffix.lower()
    if suffix in _TABLE_SUFFIXES:
        return read_events(path, reading)
    if suffix in _PROJECT_SUFFIXES:
        return read_project(path, reading)
    raise DatasetError(
        f"{path}: found suffix {path.suffix!r}, expected a project of BORIS (.boris) or events "
        "that it exported as .tsv or .csv; export them in one of these forms"
    )


FORMAT = Format(
    "boris",
    "projects of BORIS",
    read=_read,
    write=write_project,
    suffixes=(".boris", ".boris.gz", ".json", ".tsv", ".csv", ".txt"),
    options=OPTIONS,
)
