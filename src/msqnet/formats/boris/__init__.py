"""BORIS: projects (`boris_project`) and the tables of events that it exports (`boris_events`).

Facts are those of BORIS 8 and 10 (https://www.boris.unito.it, https://github.com/olivierfriard/BORIS)
and of project files of format versions 1 to 8.6 that its repository holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats import Format
from msqnet.formats.boris.boris_events import read_events
from msqnet.formats.boris.boris_project import OPTIONS, read_project, write_project
from msqnet.workbooks import SPREADSHEET_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.formats import Reading
    from msqnet.formats.annotations import Annotations

_PROJECT_SUFFIXES = (".boris", ".gz", ".json")
_TABLE_SUFFIXES = (".tsv", ".csv", ".txt", *SPREADSHEET_SUFFIXES)


def _read(path: Path, reading: Reading) -> Annotations:
    suffix = path.suffix.lower()
    if suffix in _TABLE_SUFFIXES:
        return read_events(path, reading)
    if suffix in _PROJECT_SUFFIXES:
        return read_project(path, reading)
    raise DatasetError(
        f"{path}: found suffix {path.suffix!r}, expected a project of BORIS (.boris) or events "
        "that it exported as .tsv, .csv, .xlsx or .ods; export them in one of these forms"
    )


FORMAT = Format(
    "boris",
    "projects of BORIS",
    read=_read,
    write=write_project,
    suffixes=(*_PROJECT_SUFFIXES, *_TABLE_SUFFIXES),
    options=OPTIONS,
)
