"""Label Studio: exports of projects with intervals of time in videos, and tasks to import.

Read is what *Export > JSON* gives: a list of tasks, each with ``annotations`` and ``predictions``.
Beside the tasks stands their labelling configuration: a file of the same name that ends in
``.xml``. It is read again if it is there, as an export does not carry the labels of its project.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.label_studio.label_studio_config import config_path
from msqnet.formats.label_studio.label_studio_reader import OPTIONS as READING_OPTIONS
from msqnet.formats.label_studio.label_studio_reader import read_tasks
from msqnet.formats.label_studio.label_studio_writer import OPTIONS as WRITING_OPTIONS
from msqnet.formats.label_studio.label_studio_writer import write_tasks

FORMAT = Format(
    "label_studio",
    "Label Studio",
    read=read_tasks,
    write=write_tasks,
    suffixes=(".json",),
    drops=frozenset({"points", "open ends", "subjects", "modifiers"}),
    options={**READING_OPTIONS, **WRITING_OPTIONS},
    files=lambda path: (path, config_path(path)),
)
