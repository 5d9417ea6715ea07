"""One batch run: its folder, its journal, what is left to do, its tables."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from msqnet.batch.journal import Journal
from msqnet.batch.lock import only_run
from msqnet.batch.output import STATE_FOLDER, LocalOutput, open_output
from msqnet.batch.tables import write_tables

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from msqnet.batch.jobs import Job, Outcome
    from msqnet.batch.output import Output

JOURNAL_FILE = "journal.jsonl"
RUN_FILE = "run.json"
LOCK_FILE = "lock"
_TABLES_SECONDS = 60.0


class Runner(Protocol):
    """Works on videos, wherever that is."""

    def outcomes(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """What becomes of each job, once each, as it becomes known.

        Raises:
            MsqnetError: the model cannot be loaded.
        """
        ...


def run_batch(jobs: Sequence[Job], runner: Runner, out: str) -> Generator[Outcome, None, None]:
    """Work on all jobs that are not done.

    However the run ends, what is finished is in the journal, and in the tables unless the process
    is killed; the same call goes on.

    Args:
        jobs: the work list.
        runner: what works on it.
        out: folder or URL of the results.

    Yields:
        What became of each video, also of those that were done before.

    Raises:
        ConfigError: another run works in the folder.
        DatasetError: what is there was not written by a batch run.
        MsqnetError: the model cannot be loaded.
        OSError: journal or tables cannot be written.
    """
    with ExitStack() as stack:
        output = open_output(out)
        state = stack.enter_context(_State(output))
        state.say_what_runs(jobs)
        known = state.journal.outcomes
        with_known = [replace(job, known=known.get(job.name)) for job in jobs]
        stack.callback(state.write_tables)
        for outcome in stack.enter_context(closing(runner.outcomes(with_known))):
            state.record(outcome)
            yield outcome


class _State:
    """The journal and the tables of a run; a context manager.

    Of a results folder by URL, the journal is written on this machine and uploaded now and then.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._stack = ExitStack()
        self._written_at = time.monotonic()

    def __enter__(self) -> _State:
        with ExitStack() as stack:
            if isinstance(self._output, LocalOutput):
                folder = self._output.folder / STATE_FOLDER
                stack.enter_context(only_run(folder / LOCK_FILE))
                # Of runs that were killed.
                shutil.rmtree(self._output.staging_folder, ignore_errors=True)
            else:
                folder = stack.enter_context(self._output.staging())
                content = self._output.read(f"{STATE_FOLDER}/{JOURNAL_FILE}")
                (folder / JOURNAL_FILE).write_bytes(content or b"")
            self.journal = Journal(folder / JOURNAL_FILE)
            stack.callback(self._close_journal)
            # Refuses a folder that holds another index before anything is computed.
            write_tables(self._output, self.journal.outcomes.values())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say_what_runs(self, jobs: Sequence[Job]) -> None:
        """Write how much there is to do, for `msqnet batch status`."""
        document = {
            "num_videos": len(jobs),
            "started_at": time.time(),
            "process": os.getpid(),
            "names": [job.name for job in jobs],
        }
        self._upload(RUN_FILE, json.dumps(document).encode("ascii"))

    def record(self, outcome: Outcome) -> None:
        """Note what became of a video."""
        known = self.journal.outcomes.get(outcome.name)
        if not outcome.existed or known is None or replace(known, existed=True) != outcome:
            self.journal.append(replace(outcome, existed=False))
        if time.monotonic() - self._written_at > _TABLES_SECONDS:
            self.write_tables()

    def write_tables(self) -> None:
        """Write `index.csv` and `errors.csv`."""
        write_tables(self._output, self.journal.outcomes.values())
        if not isinstance(self._output, LocalOutput):
            self._upload(JOURNAL_FILE, self.journal.path.read_bytes())
        self._written_at = time.monotonic()

    def _close_journal(self) -> None:
        self.journal.close()
        if not isinstance(self._output, LocalOutput):
            self._upload(JOURNAL_FILE, self.journal.path.read_bytes())

    def _upload(self, name: str, content: bytes) -> None:
        with self._output.staging() as folder:
            (folder / name).write_bytes(content)
            self._output.publish(f"{STATE_FOLDER}/{name}", folder / name)
