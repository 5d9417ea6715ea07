"""How far a batch run is, seen from outside of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msqnet.batch.journal import read_journal
from msqnet.batch.lock import is_locked
from msqnet.batch.output import STATE_FOLDER, LocalOutput, open_output
from msqnet.batch.run import JOURNAL_FILE, LOCK_FILE, RUN_FILE
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from msqnet.batch.jobs import Outcome


class BatchStatus:
    """How far the last run in a results folder is.

    Args:
        out: the folder or URL.

    Attributes:
        num_videos: in its work list.
        outcomes: of those of them that are known.
        is_running: whether it goes on now; None where that cannot be seen (URLs).
        started_at: in seconds since 1970.

    Raises:
        DatasetError: no run was started there.
        OSError: the folder cannot be read.
    """

    def __init__(self, out: str) -> None:
        output = open_output(out)
        content = output.read(f"{STATE_FOLDER}/{RUN_FILE}")
        if content is None:
            raise DatasetError(f"{out}: no batch run was started there; see msqnet batch --help")
        document: dict[str, Any] = json.loads(content)
        self.num_videos = int(document["num_videos"])
        self.started_at = float(document["started_at"])
        self.is_running: bool | None = None
        if isinstance(output, LocalOutput):
            folder = output.folder / STATE_FOLDER
            known = read_journal(folder / JOURNAL_FILE)
            self.is_running = is_locked(folder / LOCK_FILE)
        else:
            with output.staging() as folder:
                (folder / JOURNAL_FILE).write_bytes(
                    output.read(f"{STATE_FOLDER}/{JOURNAL_FILE}") or b""
                )
                known = read_journal(folder / JOURNAL_FILE)
        self.outcomes: list[Outcome] = [known[name] for name in document["names"] if name in known]

    @property
    def num_left(self) -> int:
        """Videos of which nothing is known yet."""
        return self.num_videos - len(self.outcomes)
