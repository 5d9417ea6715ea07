"""Files of annotation tools, read and written: one module a format.

`msqnet convert` uses them. Each module has a constant ``FORMAT``; `annotations` is the form between
them all, `frame_times` turns frame numbers into seconds by the video's own time stamps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from msqnet.formats.annotations import Format

FORMATS: dict[str, str] = {
    "boris": "msqnet.formats.boris",
    "boris_events": "msqnet.formats.boris_events",
    "camtrap_dp": "msqnet.formats.camtrap_dp",
    "cvat": "msqnet.formats.cvat",
    "elan": "msqnet.formats.elan",
    "feral": "msqnet.formats.feral",
    "label_studio": "msqnet.formats.label_studio",
    "predictions": "msqnet.formats.predictions",
    "table": "msqnet.formats.table",
    "via": "msqnet.formats.via",
}
"""Modules by the name after ``--from`` and ``--to``; each has a constant ``FORMAT``."""


def load_format(name: str) -> Format:
    """The format of a name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(f"no such format: {name}; known are {', '.join(FORMATS)}")
    found: Format = importlib.import_module(FORMATS[name]).FORMAT
    return found
