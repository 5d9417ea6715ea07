"""A process that works on one video at a time, and can be killed without harm to the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import msqnet.errors
from msqnet.batch.jobs import Outcome
from msqnet.batch.output import open_output
from msqnet.errors import MsqnetError
from msqnet.process import end_with_parent, keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from msqnet.batch.jobs import Job
    from msqnet.batch.settings import BatchSettings
    from msqnet.inference.predictor import Predictor

_logger = logging.getLogger(__name__)
_START_SECONDS = 600.0
_GRACE_SECONDS = 10.0
_STOP_SECONDS = 2.0
_MAX_DEATHS = 2
# What takes longest is imported once; every worker, and every one that takes the place of a dead
# one, begins as a copy of that process, which has neither threads nor a model.
_PRELOADED = ["msqnet.inference.predictor", "msqnet.batch.one_video", "msqnet.batch.output"]


class WorkerDied(MsqnetError):  # noqa: N818 - says what happened
    """The process ended while it was being waited for."""


class WorkerTimedOut(MsqnetError):  # noqa: N818 - says what happened
    """The process took longer than allowed, and was killed."""


class Worker:
    """Starts the process when it is needed, gives it jobs, kills it where one takes too long.

    Not for use by several threads at once, except for `kill`.

    Args:
        settings: what the process does.
        load: gives the predictor; called in the process, so it has to pickle.
    """

    def __init__(self, settings: BatchSettings, load: Callable[[], Predictor]) -> None:
        self._settings = settings
        self._load = load
        self._process: Any = None
        self._connection: Connection | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Start the process anew, and wait until its model is loaded.

        Raises:
            MsqnetError: the model cannot be loaded; of the class that loading raised.
            WorkerDied: it ended instead, was not ready in time, or `kill` was called meanwhile.
        """
        self._end()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_run, args=(theirs, self._settings, self._load), name="msqnet-batch", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        if self._is_stopped:  # `kill` found no process yet
            self._end()
            raise WorkerDied("it was stopped while it started")
        try:
            self._next_message(_START_SECONDS)
        except WorkerTimedOut:
            raise WorkerDied(f"its model was not loaded in {_START_SECONDS:g} s") from None

    def outcome(self, job: Job) -> Outcome:
        """Work on one video; a process that dies over it gets a second chance.

        Raises:
            MsqnetError: the model cannot be loaded.
            WorkerDied: `kill` was called meanwhile.
        """
        started = time.monotonic()
        for num_deaths in range(1, _MAX_DEATHS + 1):
            try:
                return self._ask(job)
            except WorkerTimedOut as error:
                failed = Outcome(job.name, job.source, "timeout", "time_limit", str(error))
                break
            except WorkerDied as error:
                if self._is_stopped:
                    raise
                _logger.info("%s: %s", job.source, error)
                message = f"the process that worked on it died {num_deaths} times: {error}"
                failed = Outcome(
                    job.name, job.source, "error", "process_died", message, num_attempts=num_deaths
                )
        return replace(failed, seconds=time.monotonic() - started)

    def stop(self) -> None:
        """Let the process end by itself, or kill it where it does not."""
        connection, process = self._connection, self._process
        if connection is not None and process is not None:
            connection.close()
            process.join(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once, for good."""
        self._is_stopped = True
        process = self._process
        if process is not None:
            with suppress(ValueError):  # its own thread has just closed it
                process.kill()

    def _ask(self, job: Job) -> Outcome:
        if self._process is None:
            self.start()
        if self._connection is None:
            raise WorkerDied("it is not running")
        try:
            self._connection.send(job)
        except OSError as error:
            self._end()
            raise WorkerDied("it ended while it had nothing to do") from error
        limit = self._settings.job.time_limit_seconds
        outcome: Outcome = self._next_message(limit + _GRACE_SECONDS)
        return outcome

    def _next_message(self, timeout_seconds: float) -> Any:
        """What the process says next; it is gone where this raises."""
        connection, process = self._connection, self._process
        if connection is None or not wait([connection, process.sentinel], timeout_seconds):
            self._end()
            raise WorkerTimedOut(
                f"took longer than {timeout_seconds:g} s and was stopped; "
                "--time_limit_seconds allows more"
            )
        try:
            kind, value = connection.recv()
        except (EOFError, OSError):
            process.join(_STOP_SECONDS)  # its pipe closes a moment before it ends
            raise WorkerDied(f"exit code {self._end()}") from None
        if kind in ("ready", "outcome"):
            return value
        self._end()
        raise rebuilt_error(*value) if kind == "refused" else WorkerDied(value)

    def _end(self) -> int | None:
        """End the process and forget it; gives its exit code."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        exit_code: int | None = process.exitcode
        process_id: int = process.pid
        process.kill()
        process.join()
        process.close()
        open_output(self._settings.job.out).clear_staging(process_id)
        return exit_code


def rebuilt_error(name: str, message: str) -> MsqnetError:
    """An error as it was raised in the process, as far as its class can be made from a message."""
    kind = getattr(msqnet.errors, name, MsqnetError)
    return MsqnetError(message) if kind is msqnet.errors.MissingExtra else kind(message)


def _run(connection: Connection, settings: BatchSettings, load: Callable[[], Predictor]) -> None:
    """The process: loads the model, then works on job after job until the other side is gone."""
    # An interrupt from the keyboard reaches the whole group; the run decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    keep_freed_memory()
    # Not at the top: the process that hands out jobs needs no model.
    from msqnet.batch.one_video import process_video

    try:
        predictor, output = load(), open_output(settings.job.out)
        connection.send(("ready", os.getpid()))
        while True:
            job = connection.recv()
            connection.send(("outcome", process_video(job, predictor, output, settings.job)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the other side is gone
    except MsqnetError as error:
        connection.send(("refused", (type(error).__name__, str(error))))
    # Whatever it is, a fresh process goes on: memory of a GPU may be exhausted for good.
    except Exception as error:
        traceback.print_exc()
        connection.send(("crashed", f"{type(error).__name__}: {error}"))
