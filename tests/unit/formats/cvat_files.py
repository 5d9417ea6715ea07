"""Reading and writing of CVAT's files, as tests do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.formats import Reading
from msqnet.formats.cvat import FORMAT
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from msqnet.formats.annotations import Annotations

LABELS = LabelSet(("grooming", "Größe <1> & mehr", "call"))
STAMPS = [0, 1, 2, 7, 8, 30, 31]


def read(path: Path, **options: str) -> Annotations:
    assert FORMAT.read is not None
    folder = path if path.is_dir() else path.parent
    return FORMAT.read(path, Reading(folder, options))


def write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    assert FORMAT.write is not None
    return FORMAT.write(annotations, path, options)


def spans(annotations: Annotations) -> list[tuple[object, ...]]:
    return [
        (
            e.label,
            round(e.start_seconds, 4),
            e.end_seconds and round(e.end_seconds, 4),
            *e.modifiers,
        )
        for e in annotations.events()
    ]
