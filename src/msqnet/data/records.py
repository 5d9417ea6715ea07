"""Rows of a table of labelled clips, and the table as a whole."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from msqnet.errors import DatasetError
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.intervals import Interval
    from msqnet.labels import LabelSet


_LONG = 1.5


@dataclass(frozen=True)
class Record:
    """One row of a table: one labelled window of one video.

    Attributes:
        row: number of the row as a spreadsheet shows it: the first clip is row 2. Clips of a folder
            per label, which has no rows, are counted in the same way.
        path: absolute path of the video; a relative one starts at the table's folder.
        relative_path: the path as it was written.
        labels: seen in the window.
        annotated: labels whose presence or absence is known, `labels` included; None where every
            label was checked.
        start_seconds: None is the start of the video.
        end_seconds: itself not part of the window; None is the end of the video.
        split: may be empty.
        group: scene, subject or recording: rows of one group never stand on both sides of a split.
        actor: such as human or mouse.
        source: the data set that the row comes from.
        fps: frames a second of a folder of images or a raw stream that states none.
        holds_throughout: whether labels are in all of the window, or known to be in none of it,
            rather than somewhere in it.
        table: the table that the row is in, where several were read together.
        parts: of a window that lies over borders between rows, see `border_windows`: these rows.
    """

    row: int
    path: Path
    relative_path: str
    labels: tuple[str, ...]
    annotated: frozenset[str] | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    split: str = ""
    group: str = ""
    actor: str = ""
    source: str = ""
    fps: float | None = None
    holds_throughout: bool = False
    table: str = ""
    parts: tuple[Record, ...] = ()

    @property
    def place(self) -> str:
        """Where it is written, for messages."""
        return f"{self.table}, row {self.row}" if self.table else f"row {self.row}"

    @property
    def interval(self) -> Interval:
        """Its start and end in seconds; infinity for the end of the video."""
        end = math.inf if self.end_seconds is None else self.end_seconds
        return self.start_seconds or 0.0, end

    def windows(self, seconds: float, max_windows: int) -> tuple[Record, ...]:
        """Windows of a long row whose labels hold throughout; itself for any other row.

        A row of more than one and a half windows is cut into at most ``max_windows`` parts of equal
        length. Of each the window of ``seconds`` in its middle is taken.
        """
        start, end = self.interval
        length = end - start
        if not self.holds_throughout or math.isinf(end) or length <= _LONG * seconds:
            return (self,)
        num_parts = max(1, min(max_windows, round(length / seconds)))
        found = []
        for part in range(num_parts):
            first = start + (part + 0.5) * length / num_parts - seconds / 2
            times = round(first, 6), round(first + seconds, 6)
            found.append(replace(self, start_seconds=times[0], end_seconds=times[1]))
        return tuple(found)

    def is_absent(self, label: str) -> bool:
        """Whether a label is known not to be in the window."""
        return label not in self.labels and (self.annotated is None or label in self.annotated)

    def state(self, label: str) -> float:
        """1 where a label was seen, 0 where it is known to be absent, else `UNKNOWN`."""
        return 1.0 if label in self.labels else 0.0 if self.is_absent(label) else UNKNOWN

    @property
    def has_known_labels(self) -> bool:
        """Whether presence or absence is known for any label at all."""
        return bool(self.labels) or self.annotated is None or bool(self.annotated)


@dataclass(frozen=True)
class Problem:
    """One problem of a table.

    Attributes:
        row: number of the row as a spreadsheet shows it; None for the table as a whole.
        kind: short fixed name, such as `missing` or `duplicate`.
        message: what was found and what to do.
        severity: rows with an `error` cannot be used; a `warning` is worth a look.
        path: the video as the table names it; empty where no single video is meant.
        table: the table that is meant, where several were read together.
    """

    row: int | None
    kind: str
    message: str
    severity: Literal["error", "warning"]
    path: str = ""
    table: str = ""

    @property
    def place(self) -> str:
        """Where it is, for messages; empty for a table as a whole."""
        row = "" if self.row is None else f"row {self.row}"
        return ", ".join(filter(None, (self.table, row)))


@dataclass(frozen=True)
class ClipTable:
    """A table of labelled clips, or several that were read together: rows in order.

    Attributes:
        path: its file, or the folder per label; of several tables, their names in the folder of the
            first.
        notes: what a user should know: which columns were guessed, what was assumed.
        origin: how the files were read where that is not the default, as plain values.
        files: of several tables.
    """

    path: Path
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def select(self, split: str | None = None) -> ClipTable:
        """The rows of one split, all rows for None; `DatasetError` if there are none."""
        if split is None:
            return self
        chosen = tuple(record for record in self.records if record.split == split)
        if not chosen:
            found = ", ".join(self.split_names()) or "none (there is no 'split' column)"
            raise DatasetError(
                f"{self.path}: no row has split {split!r}; splits in this table: {found}"
            )
        return replace(self, records=chosen)

    def take(self, indices: Iterable[int] | NDArray[np.int64]) -> ClipTable:
        """The rows at these positions (counted from 0), in that order."""
        return replace(self, records=tuple(self.records[int(index)] for index in indices))

    def without(self, problems: Iterable[Problem]) -> ClipTable:
        """The table without the rows of some problems."""
        left_out = {(problem.table, problem.row) for problem in problems}
        kept = tuple(item for item in self.records if (item.table, item.row) not in left_out)
        return replace(self, records=kept)

    def split_names(self) -> tuple[str, ...]:
        """Names of the splits, sorted; rows that belong to none do not count."""
        return tuple(sorted({record.split for record in self.records if record.split}))

    def label_names(self) -> tuple[str, ...]:
        """Labels that are seen in at least one row, sorted."""
        return tuple(sorted({name for record in self.records for name in record.labels}))

    def targets(self, label_set: LabelSet) -> NDArray[np.float32]:
        """(V, K) float32 of V rows and K labels: 1 seen, 0 known to be absent, else `UNKNOWN`."""
        values = np.full((len(self.records), len(label_set)), UNKNOWN, dtype=np.float32)
        for index, record in enumerate(self.records):
            values[index] = 0.0 if record.annotated is None else UNKNOWN
            for names, value in ((record.annotated or (), 0.0), (record.labels, 1.0)):
                columns = label_set.indices(name for name in names if name in label_set)
                values[index, columns] = value
        return values

    def clip_ids(self) -> list[str]:
        """The video of each row, by its path as first written: windows of one file share it."""
        first_written: dict[Path, str] = {}
        return [
            first_written.setdefault(record.path, record.relative_path) for record in self.records
        ]

    def group_ids(self) -> list[str]:
        """The group of each row, or its file where it has none: the unit when rows are split.

        Rows of one file share one id, and so do groups that share a file. An id is the name of the
        group, or of the file, that comes first in the table.
        """
        return list(self._group_ids)

    @cached_property
    def _group_ids(self) -> tuple[str, ...]:
        clips = self.clip_ids()
        neighbours: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        for record, clip in zip(self.records, clips, strict=True):
            neighbours["file", clip].update([("group", record.group)] if record.group else [])
            if record.group:
                neighbours["group", record.group].add(("file", clip))
        id_of: dict[tuple[str, str], str] = {}
        for record, clip in zip(self.records, clips, strict=True):
            stack = [("file", clip)]
            while stack:
                node = stack.pop()
                if node not in id_of:
                    id_of[node] = record.group or clip
                    stack.extend(neighbours[node])
        return tuple(id_of["file", clip] for clip in clips)
