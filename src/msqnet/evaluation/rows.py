"""Scores and targets of what is evaluated, and who each row is. Axes: V rows, K labels."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet
    from msqnet.metrics.average_precision import FloatArray


@dataclass(frozen=True)
class EvaluationRows:
    """Scores and targets of the evaluated windows, and who each row is.

    Attributes:
        labels: the K labels in the order of the columns.
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1 (seen), 0 (known to be absent) and -100 (not annotated).
        path: V names of the videos; rows of one path are windows of one clip.
        group: V names of scenes, subjects or recordings; empty where there is none.
        source: V names of data sets; empty where unknown.
        actor: V kinds of actors; empty where unknown.

    Raises:
        ShapeError: the parts do not fit together.
    """

    labels: LabelSet
    scores: FloatArray
    targets: FloatArray
    path: Sequence[str]
    group: Sequence[str]
    source: Sequence[str]
    actor: Sequence[str]

    def __post_init__(self) -> None:
        shape = (len(self.path), len(self.labels))
        if 0 in shape:
            raise ShapeError(f"EvaluationRows: {shape[0]} rows of {shape[1]} labels; expected some")
        for name in ("scores", "targets"):
            found = np.shape(getattr(self, name))
            if found != shape:
                raise ShapeError(f"EvaluationRows.{name}: found {found}, expected {shape}")
        for name in ("group", "source", "actor"):
            if len(getattr(self, name)) != shape[0]:
                raise ShapeError(
                    f"EvaluationRows.{name}: found {len(getattr(self, name))} names, "
                    f"expected {shape[0]}"
                )


@dataclass(frozen=True)
class ScoredRows:
    """Evaluated rows and where they are.

    Attributes:
        rows: scores, targets and who each row is.
        row_numbers: V numbers of table rows, the first one where a row stands for several.
        start_seconds: V starts; None is the start of the video.
        end_seconds: V ends; None is the end of the video, and a point ends where it starts.
        notes: what a reader must know, such as what was left out.
    """

    rows: EvaluationRows
    row_numbers: Sequence[int]
    start_seconds: Sequence[float | None]
    end_seconds: Sequence[float | None]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("row_numbers", "start_seconds", "end_seconds"):
            found = len(getattr(self, name))
            if found != len(self.rows.path):
                raise ShapeError(
                    f"ScoredRows.{name}: found {found}, expected {len(self.rows.path)}"
                )


def evaluation_rows(
    table: ClipTable, labels: LabelSet, scores: ArrayLike, targets: ArrayLike
) -> EvaluationRows:
    """Rows that are those of a table, one for one.

    Args:
        table: V rows; says who each row is.
        labels: the K labels in the order of the columns.
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1, 0 and -100.

    Raises:
        ShapeError: the parts do not fit together.
    """
    return EvaluationRows(
        labels=labels,
        scores=np.asarray(scores),
        targets=np.asarray(targets, dtype=np.float64),
        path=table.clip_ids(),
        group=table.group_ids(),
        source=[record.source for record in table.records],
        actor=[record.actor for record in table.records],
    )


def rows_by_video(table: ClipTable) -> dict[str, ClipTable]:
    """The rows of each video, by the name that the table gives it, sorted by name."""
    indices: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(table.clip_ids()):
        indices[name].append(index)
    return {name: table.take(found) for name, found in sorted(indices.items())}
