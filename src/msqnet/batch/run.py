"""One batch run: its lock, its journal, what is left to do, its tables.

The journal holds what became of each video, one line each, written as it happens. Lines are
appended and synchronised one by one, so that a video costs the same however many there are, and a
kill loses at most the line being written: a torn last line is cut off when the journal is opened
again. The last line of a video counts. Losing the journal costs time only: finished results are
recognised by the results folder itself.
"""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from filelock import FileLock, Timeout

from msqnet.batch.locations import STATE_FOLDER, LocalOutput, cannot_write, open_output
from msqnet.errors import ConfigError, DatasetError
from msqnet.files import csv_writer, replacing
from msqnet.inference.results import (
    INDEX_FILE,
    TIME_BUDGET_FILE,
    Outcome,
    index_row,
    open_index,
    read_index,
    write_index,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence
    from pathlib import Path

    from msqnet.batch.locations import Output
    from msqnet.inference.results import VideoJob

JOURNAL_FILE = "journal.jsonl"
JOURNAL_NAME = f"{STATE_FOLDER}/{JOURNAL_FILE}"
RUN_FILE = "run.json"
LOCK_FILE = "lock"
ERRORS_FILE = "errors.csv"
ERROR_COLUMNS = ("input", "name", "status", "cause", "error", "attempts", "seconds", "digest")
_TABLES_SECONDS = 60.0
# `BatchStatus` holds the lock for less than that while it looks whether a run goes on.
_LOCK_SECONDS = 0.5


class Runner(Protocol):
    """Works on videos, wherever that is."""

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[Outcome, None, None]:
        """The outcome of each job, as it becomes known; raises `MsqnetError` without a model."""
        ...


def run_batch(jobs: Sequence[VideoJob], runner: Runner, out: str) -> Generator[Outcome, None, None]:
    """Work on all jobs that are not done.

    However the run ends, finished videos are in the journal, and in the tables unless the process
    is killed. The same call continues.

    Yields:
        The outcome of each video, also of those that were done before.

    Raises:
        ConfigError: another run works in the folder.
        DatasetError: what is there was not written by a batch run.
        MsqnetError: the model cannot be loaded.
        OSError: the folder, journal or tables cannot be written.
    """
    with ExitStack() as stack:
        state = _State(open_output(out), stack)
        state.say_what_runs(jobs)
        known = state.journal.outcomes
        with_known = [replace(job, known=known.get(job.name)) for job in jobs]
        stack.callback(state.write_tables)
        for outcome in stack.enter_context(closing(runner.outcomes(with_known))):
            state.record(outcome)
            yield outcome


class _State:
    """The journal and the tables of a run, open until the stack is closed.

    Of a results folder by URL, the journal is written on this machine and uploaded now and then.
    """

    def __init__(self, output: Output, stack: ExitStack) -> None:
        self._output = output
        self._written_at = time.monotonic()
        if isinstance(output, LocalOutput):
            folder = output.folder / STATE_FOLDER
            self._lock(stack, folder)
            output.clear_abandoned_staging()
        else:
            folder = stack.enter_context(output.staging())
            (folder / JOURNAL_FILE).write_bytes(output.read(JOURNAL_NAME) or b"")
        self.journal = Journal(folder / JOURNAL_FILE)
        stack.callback(self._close_journal)
        # Refuses a folder that holds another index before anything is computed.
        write_tables(output, self.journal.outcomes.values())
        if output.file_state(TIME_BUDGET_FILE):  # of `msqnet predict`, and soon out of date
            output.remove(TIME_BUDGET_FILE)

    def _lock(self, stack: ExitStack, folder: Path) -> None:
        """Hold a lock that ends with this process, however that ends."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / LOCK_FILE, timeout=_LOCK_SECONDS))
        except Timeout as error:
            run = json.loads(self._output.read(f"{STATE_FOLDER}/{RUN_FILE}") or "{}")
            where = f"{run.get('process', '?')} on {run.get('host', 'this machine')}"
            raise ConfigError(
                f"{self._output.location}: another batch run (process {where}) writes there; wait "
                "for it, stop it, or choose another --out"
            ) from error
        except OSError as error:
            raise cannot_write(self._output.location, error) from error

    def say_what_runs(self, jobs: Sequence[VideoJob]) -> None:
        """Write how much there is to do, for `msqnet batch status`."""
        document = {
            "num_videos": len(jobs),
            "started_at": time.time(),
            "process": os.getpid(),
            "host": platform.node(),
            "names": [job.name for job in jobs],
        }
        self._upload(RUN_FILE, json.dumps(document).encode("ascii"))

    def record(self, outcome: Outcome) -> None:
        """Add the outcome of a video to the journal."""
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


class BatchStatus:
    """How far the last run in a results folder or URL is.

    Attributes:
        num_videos: in its work list.
        outcomes: the known ones.
        is_running: None where that cannot be seen: of a URL, or a folder that cannot be written.
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
            lock = output.folder / STATE_FOLDER / LOCK_FILE
            try:
                self.is_running = False
                if lock.exists():
                    with FileLock(lock, timeout=0):
                        pass
            except Timeout:
                self.is_running = True
            except OSError:
                self.is_running = None
        known, _ = read_journal(output.read(JOURNAL_NAME) or b"", f"{out}/{JOURNAL_NAME}")
        self.outcomes: list[Outcome] = [known[name] for name in document["names"] if name in known]


class Journal:
    """An open journal; the file is made if missing. Any other file is a `DatasetError`.

    ``outcomes`` holds the last one of each video, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.exists() else b""
        self.outcomes, num_bytes = read_journal(content, path)
        self._num_lines = len(self.outcomes)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")
        self._file.truncate(num_bytes)

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
                part.write_bytes(
                    b"".join(_line(self.outcomes[key]) for key in sorted(self.outcomes))
                )


def _line(outcome: Outcome) -> bytes:
    # ASCII only: a file name that is not UTF-8 survives as an escaped surrogate.
    return json.dumps(asdict(outcome)).encode("ascii") + b"\n"


def read_journal(content: bytes, place: str | Path) -> tuple[dict[str, Outcome], int]:
    """The outcomes by name, also while a run writes, and the bytes up to the last whole line.

    What is no journal is a `DatasetError` that names the place.
    """
    num_bytes = content.rfind(b"\n") + 1
    outcomes: dict[str, Outcome] = {}
    for number, line in enumerate(content[:num_bytes].splitlines(), start=1):
        try:
            outcome = Outcome.from_dict(json.loads(line))
        except (ValueError, DatasetError) as error:
            raise DatasetError(
                f"{place}: line {number} is no line of a journal ({error}); remove the file, "
                "finished results are recognised without it"
            ) from error
        outcomes[outcome.name] = outcome
    return outcomes, num_bytes


def write_tables(output: Output, outcomes: Collection[Outcome]) -> None:
    """Write both tables of all videos that are known; rows of `msqnet predict` are kept.

    An `index.csv` that msqnet did not write is a `DatasetError`; a failure to write, an `OSError`.
    """
    with output.staging() as folder:
        index, errors = folder / INDEX_FILE, folder / ERRORS_FILE
        content = output.read(INDEX_FILE)
        if content is not None:
            index.write_bytes(content)
        rows = {row.input: row for row in read_index(index)}
        rows |= {outcome.source: index_row(outcome) for outcome in outcomes}
        write_index(index, [rows[key] for key in sorted(rows)])
        output.publish(INDEX_FILE, index)
        with open_index(errors, "w") as file:
            writer = csv_writer(file)
            writer.writerow(ERROR_COLUMNS)
            for item in sorted(outcomes, key=lambda outcome: outcome.name):
                if item.status != "ok":
                    attempts = item.num_attempts, round(item.seconds, 3), item.digest
                    reason = item.status, item.cause, item.message
                    writer.writerow((item.source, item.name, *reason, *attempts))
        output.publish(ERRORS_FILE, errors)
