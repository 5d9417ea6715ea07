"""What became of each video, one line each, written as it happens.

Lines are appended and synchronised one by one, so that the work of a video costs the same however
many there are, and a kill loses at most the line being written: a torn last line is cut off when
the journal is opened again. The last line of a video counts. Losing the journal costs time only:
finished results are recognised by the results folder itself.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, BinaryIO

from msqnet.batch.jobs import Outcome
from msqnet.errors import DatasetError
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Journal:
    """An open journal; a context manager.

    Args:
        path: the file; made if missing.

    Attributes:
        path: the file.
        outcomes: the last one of each video, by name.

    Raises:
        DatasetError: the file is not a journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes, num_bytes = _read(path)
        self._num_lines = len(self.outcomes)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")
        self._file.truncate(num_bytes)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, outcome: Outcome) -> None:
        """Add a line, in place of an earlier one of the same video."""
        self._file.write(_line(outcome))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._num_lines += 1
        self.outcomes[outcome.name] = outcome

    def close(self) -> None:
        """Close the file, with one line for each video, by name."""
        if self._file.closed:
            return
        self._file.close()
        if self._num_lines > len(self.outcomes):
            with replacing(self.path) as part:
                part.write_bytes(b"".join(map(_line, _sorted(self.outcomes.values()))))


def read_journal(path: Path) -> dict[str, Outcome]:
    """The last outcome of each video, by name; also while a run writes.

    Raises:
        DatasetError: the file is not a journal.
    """
    return _read(path)[0]


def _sorted(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.name)


def _line(outcome: Outcome) -> bytes:
    # ASCII only: a file name that is not UTF-8 survives as an escaped surrogate.
    return json.dumps(outcome.to_dict()).encode("ascii") + b"\n"


def _read(path: Path) -> tuple[dict[str, Outcome], int]:
    """The outcomes, and the number of bytes up to the end of the last whole line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, 0
    num_bytes = content.rfind(b"\n") + 1
    outcomes: dict[str, Outcome] = {}
    for number, line in enumerate(content[:num_bytes].splitlines(), start=1):
        try:
            outcome = Outcome.from_dict(json.loads(line))
        except (ValueError, DatasetError) as error:
            raise DatasetError(
                f"{path}: line {number} is no line of a journal ({error}); remove the file, "
                "finished results are recognised without it"
            ) from error
        outcomes[outcome.name] = outcome
    return outcomes, num_bytes
