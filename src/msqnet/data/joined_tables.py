"""Several tables of clips as one."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msqnet.data.records import ClipTable, Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from msqnet.config.tables import TableOptions


class Part(NamedTuple):
    """A table, its name in messages, and whether it says which labels were looked for."""

    table: ClipTable
    name: str
    says_annotated: bool

    @property
    def labels(self) -> frozenset[str]:
        """Labels that any row names."""
        records = self.table.records
        return frozenset(name for r in records for name in (*r.labels, *(r.annotated or ())))


def join_tables(parts: Sequence[Part], options: TableOptions) -> ClipTable:
    """Rows of all tables, in order.

    In a table without the column ``annotated`` every label was looked for; of labels that only
    another table names nobody knows that. They are unknown in its rows, and a note says so.
    Paths are as written where the tables have one root, else relative to the first one's folder.
    """
    every = frozenset[str]().union(*(part.labels for part in parts))
    home = _folder(parts[0].table)
    records: list[Record] = []
    notes = [f"tables: {', '.join(f'{p.name} ({len(p.table)} rows)' for p in parts)}"]
    for part in parts:
        # The file's name stands in its own notes, or makes them clear.
        notes += [n if part.name in n else f"{part.name}: {n}" for n in part.table.notes]
        others = every - part.labels
        is_elsewhere = options.root is None and _folder(part.table) != home
        num_unknown = 0
        for record in part.table.records:
            is_unknown = bool(others) and record.annotated is None and not part.says_annotated
            num_unknown += is_unknown
            records.append(
                replace(
                    record,
                    table=part.name,
                    annotated=part.labels if is_unknown else record.annotated,
                    relative_path=_seen_from(home, record)
                    if is_elsewhere
                    else record.relative_path,
                )
            )
        if num_unknown:
            notes.append(
                f"{part.name} never names {', '.join(map(repr, sorted(others)))}: unknown in its "
                f"{num_unknown} row(s), not absent; if they were looked for, write '*' in a column "
                "'annotated'"
            )
    path = home / " + ".join(part.table.path.name for part in parts)
    columns = {p.name: p.table.origin["columns"] for p in parts if "columns" in p.table.origin}
    origin = {
        "tables": [part.name for part in parts],
        **options.changes,
        **({"columns": columns} if columns else {}),
    }
    return ClipTable(path, tuple(records), tuple(notes), origin, tuple(p.table.path for p in parts))


def _folder(table: ClipTable) -> Path:
    place = table.path.resolve()
    return place if place.is_dir() else place.parent


def _seen_from(home: Path, record: Record) -> str:
    try:
        return os.path.relpath(record.path, home).replace(os.sep, "/")
    except ValueError:  # another drive
        return str(record.path)
