"""How a table of labelled clips is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, check

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUIRED_COLUMNS = ("path", "labels")
OPTIONAL_COLUMNS = (
    "start",
    "end",
    "annotated",
    "split",
    "group",
    "actor",
    "source",
    "fps",
    "extent",
)
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

_PART = re.compile(r"(?:^|,)\s*(\w+)\s*=")


@dataclass(frozen=True)
class TableOptions:
    """How a table of labelled clips is read.

    Attributes:
        columns: Which column of the table is which, for instance `path=Video,labels=Behaviour`;
            `start=` takes none. By default columns have the names that `msqnet check` expects, or
            are guessed from others, which is said.
        root: Folder that the paths in the table are relative to; by default that of the table.
        label_separator: Text between labels in a cell, for instance `;`, beside `|`.
    """

    columns: str | None = None
    root: str | None = None
    label_separator: str | None = None

    def __post_init__(self) -> None:
        _ = self.told_columns
        check(
            self.label_separator is None or bool(self.label_separator.strip()),
            "label_separator: found nothing but space, expected a sign such as ';'",
        )

    @property
    def told_columns(self) -> dict[str, str]:
        """Names of columns in the file by those of `COLUMNS`; empty for none."""
        before, *parts = _PART.split(self.columns or "")
        roles, names = parts[::2], [name.strip() for name in parts[1::2]]
        for role in roles:
            if role not in COLUMNS:
                near = get_close_matches(role, COLUMNS, n=1)
                raise ConfigError(
                    f"columns {self.columns}: found {role!r}, expected some of "
                    f"{', '.join(COLUMNS)}" + (f"; did you mean {near[0]!r}?" if near else "")
                )
        told = dict(zip(roles, names, strict=True))
        is_unnamed = any(told.get(role) == "" for role in REQUIRED_COLUMNS)
        if before.strip() or len(told) != len(roles) or is_unnamed:
            raise ConfigError(
                f"columns {self.columns}: expected parts such as path=Video,labels=Behaviour, each "
                f"of {', '.join(COLUMNS)} at most once"
            )
        return told

    @property
    def changes(self) -> dict[str, str]:
        """The settings that are not the defaults."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def completed(self, origin: Mapping[str, Any]) -> TableOptions:
        """With the settings of `ClipTable.origin`, of an earlier reading, where it has none."""
        told = dict(origin)
        columns = told.get("columns")
        if isinstance(columns, dict):
            texts = [f"{role}={name}" for role, name in columns.items() if isinstance(name, str)]
            told["columns"] = ",".join(texts) or None
        names = [name for name, value in vars(self).items() if value is None]
        return replace(self, **{name: told[name] for name in names if name in told})
