"""VIA 3, the video annotator of the VGG: its project files, which are JSON.

A segment is an entry of ``metadata`` with its view ``vid``, its times ``z`` in seconds (one for a
moment, two for an interval) and the values ``av`` of attributes. Attributes of segments have the
anchor ``FILE1_Z2_XY0``; their options are the ethogram. Source: https://gitlab.com/vgg/via, data
format 3.1.1, and ``_via_attribute.js``, ``_via_file.js``, ``_via_metadata.js`` there.

Of several attributes of segments, one is the label. ``subject``, ``comment``, ``observed`` (an
interval that was looked at) and ``modifiers`` (joined by ``|``) have their own meaning; others are
modifiers as ``name:value``. Of a whole file, ``looked for`` says which labels were looked for in it
(``*`` is all), ``split`` and ``group`` where it belongs.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.via.via_reader import OPTIONS as READING_OPTIONS
from msqnet.formats.via.via_reader import read_project
from msqnet.formats.via.via_writer import OPTIONS as WRITING_OPTIONS
from msqnet.formats.via.via_writer import write_project

FORMAT = Format(
    "via",
    "VIA 3 (VGG video annotator)",
    read=read_project,
    write=write_project,
    suffixes=(".json",),
    drops=frozenset({"open ends"}),
    options={**READING_OPTIONS, **WRITING_OPTIONS},
)
