"""Label Studio: exports of projects with intervals of time in videos, and tasks to import.

Read is what *Export > JSON* gives: a list of tasks, each with ``annotations`` and ``predictions``.
Beside the tasks stands their labelling configuration: a file of the same name that ends in
``.xml``. It is read again if it is there, as an export does not carry the labels of its project.
"""

from __future__ import annotations

from msqnet.formats import Format
from msqnet.formats.label_studio.label_studio_config import config_path
from msqnet.formats.label_studio.label_studio_tasks import read_tasks, write_tasks

FORMAT = Format(
    "label_studio",
    "Label Studio",
    read=read_tasks,
    write=write_tasks,
    suffixes=(".json",),
    drops=frozenset({"points", "open ends", "subjects", "modifiers"}),
    options={
        "config": "when reading: file of the labelling configuration; otherwise NAME.xml beside it",
        "data": "when reading: key of the video's address in the data of a task",
        "take": "when reading: annotations, predictions or both; without it, predictions only "
        "where there are no annotations",
        "fps": "frames a second by which Label Studio counts (frameRate); otherwise that of the "
        "file",
        "as": "when writing: annotations or predictions; without it, predictions if they have "
        "scores",
        "base_url": "when writing: address of the folder of the videos, such as "
        "/data/local-files/?d=videos",
    },
    files=lambda path: (path, config_path(path)),
)
