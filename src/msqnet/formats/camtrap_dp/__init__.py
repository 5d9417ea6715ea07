"""Camtrap DP: the exchange format of camera trap data, a folder with three tables.

Format: https://camtrap-dp.tdwg.org/ (version 1.x, Biodiversity Information Standards). An
observation is one row of ``observations.csv``; its ``behavior`` holds labels, joined by ``|``.

- Times there are dates and whole seconds. An event starts at ``eventStart`` less the ``timestamp``
  of its media file. Packages that are written here have the exact seconds as the tags
  ``startSeconds:`` and ``endSeconds:`` beside them, which are read back.
- An observation that begins and ends with the timestamp of its file says that something is in the
  file, not when: it is a state from 0 s on without a known end.
- ``individualID`` is the subject; ``scientificName``, ``lifeStage``, ``sex``, ``count`` and tags
  are modifiers as ``name:value``. The deployment is the group: one camera sees one scene.
- A ``blank`` file was looked at, and nothing was seen. Where animals were seen, ``behavior`` names
  the dominant ones by definition, so that others are unknown, unless the package names an ethogram.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.camtrap_dp.camtrap_reader import DESCRIPTOR, read_package
from msqnet.formats.camtrap_dp.camtrap_reader import OPTIONS as READING_OPTIONS
from msqnet.formats.camtrap_dp.camtrap_writer import FILES, write_package
from msqnet.formats.camtrap_dp.camtrap_writer import OPTIONS as WRITING_OPTIONS

FORMAT = Format(
    "camtrap_dp",
    "Camtrap DP, data packages of camera traps",
    read=read_package,
    write=write_package,
    members=(DESCRIPTOR, "*.zip"),
    drops=frozenset({"splits"}),
    options={**READING_OPTIONS, **WRITING_OPTIONS},
    files=lambda folder: tuple(folder / name for name in FILES),
)
