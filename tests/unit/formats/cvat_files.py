"""Reading and writing of CVAT's files, as tests do it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from msqnet.formats.annotations import Annotations

LABELS = LabelSet(("grooming", "Größe <1> & mehr", "call"))
STAMPS = [0, 1, 2, 7, 8, 30, 31]


read, write = partial(read_as, "cvat"), partial(write_as, "cvat")


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
