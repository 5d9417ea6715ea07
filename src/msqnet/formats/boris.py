"""BORIS: projects, and the tables of events that it exports.

Projects are read by `boris_project` and written by `boris_writing`, tables by `boris_events`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.formats.annotations import Format
from msqnet.formats.boris_events import read_events
from msqnet.formats.boris_project import OPTIONS, read_project
from msqnet.formats.boris_writing import KEEPS, write_project

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.formats.annotations import Annotations, Reading

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")


def _read(path: Path, reading: Reading) -> Annotations:
    if path.suffix.lower() in _TABLE_SUFFIXES:
        return read_events(path, reading)
    return read_project(path, reading)


FORMAT = Format(
    "boris",
    "projects of BORIS",
    ".boris",
    KEEPS,
    _read,
    write_project,
    OPTIONS,
)
