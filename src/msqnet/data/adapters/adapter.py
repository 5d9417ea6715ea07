"""What every data-set adapter gives: rows of the standard table, from annotation files alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.labels import LabelSet

Task = Literal["multi_label", "single_label"]


@dataclass(frozen=True)
class Converted:
    """A data set as rows of the standard table.

    Attributes:
        records: the rows; `Record.path` is where the video belongs, whether it is there or not.
        labels: every class in the official order, those without a single clip too.
        notes: what a user should know: rows left out and why, assumptions about times.
    """

    records: tuple[Record, ...]
    labels: LabelSet
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adapter:
    """One data set as its authors distribute it.

    Attributes:
        name: what stands after ``--from``.
        title: the data set's own name.
        task: whether a clip has one label or several.
        licence: what its authors allow, in a few words; "not stated" where they say nothing.
        read: root folder and options -> rows. Reads annotation files, never a video.
        options: option names that ``read`` understands, with one line of help each.
    """

    name: str
    title: str
    task: Task
    licence: str
    read: Callable[[Path, Mapping[str, str]], Converted]
    options: Mapping[str, str]

    def convert(self, root: Path, options: Mapping[str, str] | None = None) -> Converted:
        """Read a data set.

        Args:
            root: the folder that the data set was unpacked in.
            options: some of ``self.options``.

        Raises:
            ConfigError: an option that this data set does not have.
            DatasetError: no such folder, annotation files that are not there or malformed.
        """
        unknown = sorted(set(options or {}) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "none"
            raise ConfigError(f"{self.name}: no option {unknown[0]!r}; known are: {known}")
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder; give the one that holds {self.title}")
        return self.read(root, options or {})


def find_file(root: Path, candidates: Iterable[str], what: str) -> Path:
    """The first of several usual places of an annotation file or folder.

    Args:
        root: the data set's folder.
        candidates: paths relative to it, the official layout first.
        what: what is being looked for, for the message.

    Raises:
        DatasetError: none of them exists; lists all that were looked for.
    """
    candidates = list(candidates)
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise DatasetError(
        f"{root}: found no {what}; looked for {', '.join(candidates)}. "
        "Give the folder that holds the data set's annotation files as --root"
    )
