"""What a table of clips amounts to: clips of each label, and the task of its rows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from msqnet.data.label_spelling import separators
from msqnet.intervals import SAME_TIME_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable, Record

MULTI_LABEL, SINGLE_LABEL = "multi_label", "single_label"


class Task(NamedTuple):
    """The task that rows are made for, and why."""

    name: str
    reason: str


def seen_task(table: ClipTable) -> Task:
    """The task of training rows: `single_label` where each moment is known to have one label.

    That is where every row has exactly one of at least two labels, all others were looked for, and
    no two rows of different labels are about the same time.
    """
    names = table.label_names()
    if len(names) < 2:
        return Task(MULTI_LABEL, f"there is {len(names)} label, which needs no other to compare")
    for record in table.records:
        if len(record.labels) != 1:
            found = f"{len(record.labels)} labels" if record.labels else "no label"
            return Task(MULTI_LABEL, f"{record.place} has {found}")
        unknown = (
            set() if record.annotated is None else {*names} - {*record.labels} - record.annotated
        )
        if unknown:
            return Task(
                MULTI_LABEL, f"{record.place} leaves open whether it shows {min(unknown)!r}"
            )
    for mark, rows in separators(table.records).items():
        return Task(MULTI_LABEL, f"{rows[0].place} has a label that holds {mark!r}")
    overlap = _overlap(table)
    if overlap is not None:
        one, other = overlap
        reason = f"{one.place} and {other.place} show {one.labels[0]!r} and {other.labels[0]!r}"
        return Task(MULTI_LABEL, f"{reason} at the same time")
    return Task(SINGLE_LABEL, f"each of {len(table)} rows has exactly one of {len(names)} labels")


def _overlap(table: ClipTable) -> tuple[Record, Record] | None:
    """Two rows of different labels that share time; None if there are none."""
    rows_of: dict[Path, list[Record]] = defaultdict(list)
    for record in table.records:
        rows_of[record.path].append(record)
    for rows in rows_of.values():
        latest: dict[tuple[str, ...], Record] = {}  # the row of each label that ends last
        for record in sorted(rows, key=lambda row: row.interval):
            for labels, other in latest.items():
                if labels != record.labels and (
                    record.interval[0] < other.interval[1] - SAME_TIME_SECONDS
                ):
                    return other, record
            last = latest.setdefault(record.labels, record)
            if record.interval[1] > last.interval[1]:
                latest[record.labels] = record
    return None


def ungrouped_note(table: ClipTable) -> str | None:
    """What follows where no row names its group; None where one does."""
    if any(record.group for record in table.records):
        return None
    return (
        f"no group is named: each of {len(set(table.group_ids()))} video(s) counts as a recording "
        "of its own. If several are of one recording or animal, name it in the column 'group'; "
        "results on held-out rows are too good without"
    )


class LabelRow(NamedTuple):
    """Clips and groups of a label in each split, in the order of `ClipTable.split_names`."""

    name: str
    num_clips: tuple[int, ...]
    num_groups: tuple[int, ...]


def count_labels(table: ClipTable) -> tuple[list[str], list[LabelRow]]:
    """Names of splits, "" for rows of none, and the counts of each label, the most frequent first.

    A last row without a name counts rows that show no label, if there are any.
    """
    splits = list(table.split_names())
    if not splits or any(not record.split for record in table.records):
        splits.append("")
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record, group in zip(table.records, table.group_ids(), strict=True):
        for name in record.labels or ("",):
            rows[name][record.split].append(group)

    def counted(name: str) -> LabelRow:
        groups = [rows[name][split] for split in splits]
        return LabelRow(name, tuple(map(len, groups)), tuple(len(set(one)) for one in groups))

    names = sorted(rows, key=lambda name: (not name, -sum(map(len, rows[name].values())), name))
    return splits, [counted(name) for name in names]
