"""A child process that handles one request at a time and can be killed without harm."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from msqnet.errors import MsqnetError
from msqnet.process import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Report = Callable[[float], None]
    Target = Callable[[Connection, Any], None]

_CANCEL = "cancel"
_POLL_SECONDS = 0.1
_CANCEL_GRACE_SECONDS = 10.0
_STOP_GRACE_SECONDS = 2.0


class ChildDied(MsqnetError):  # noqa: N818 - says what happened
    """The process ended before it replied."""


class ChildTimedOut(MsqnetError):  # noqa: N818 - says what happened
    """The process took longer than allowed and was killed."""


class Cancelled(MsqnetError):  # noqa: N818 - says what happened
    """The request was cancelled."""


class ChildProcess:
    """Starts a process, sends it requests, and kills it if it takes too long.

    Only `pid`, `num_starts` and `kill` may be used by several threads at once.

    Args:
        name: of the process, for messages too.
        target: runs in the process with a connection and ``argument``; it calls `answer_requests`.
        argument: anything that pickles.
        start_seconds: longest time until the process is ready.
        preload: modules to import once. Where the system can fork, every process starts as a copy
            of one that has imported them, without threads or a model.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        argument: Any,
        start_seconds: float,
        preload: Sequence[str] = (),
    ) -> None:
        self._name, self._start_seconds, self._preload = name, start_seconds, list(preload)
        self._target, self._argument = target, argument
        self._process: Any = None
        self._connection: Connection | None = None
        self.is_killed = False
        self.num_starts = 0

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Id of the running process."""
        process = self._process  # another thread may replace or close it meanwhile
        try:
            return process.pid if process is not None and process.is_alive() else None
        except ValueError:  # closed
            return None

    def start(self) -> Any:
        """Start the process anew, wait until it is ready, and return its greeting.

        Its `MsqnetError` is raised here; `ChildDied` if it ended, was not ready in time, or `kill`
        was called.
        """
        self._end()
        context: Any = multiprocessing.get_context("spawn")
        if self._preload and "forkserver" in multiprocessing.get_all_start_methods():
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(self._preload)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=self._target, args=(theirs, self._argument), name=self._name, daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self.num_starts += 1
        if self.is_killed:  # `kill` found no process yet
            self._end()
            raise ChildDied(f"the {self._name} was stopped while it started")
        try:
            return self._wait_for_reply(self._start_seconds)
        except ChildTimedOut:
            text = f"the {self._name} was not ready in {self._start_seconds:g} s"
            raise ChildDied(text) from None
        except BaseException:
            self._end()
            raise

    def ask(
        self,
        request: Any,
        timeout_seconds: float,
        on_progress: Callable[[float], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Send a request, which must pickle, and wait for the reply.

        The process is killed after ``timeout_seconds``. ``on_progress`` gets the share that is
        done, from 0 to 1; ``is_cancelled`` is called several times a second.

        Raises:
            MsqnetError, OSError: raised by the process, which continues.
            Cancelled: the request was cancelled. A process that does not stop is killed.
            ChildDied, ChildTimedOut: the process ended, or took too long.
        """
        if self._connection is None or not self.is_running:
            raise ChildDied(f"the {self._name} is not running")
        try:
            self._connection.send(request)
        except OSError as error:
            self._end()
            raise ChildDied(f"the {self._name} ended while it was idle") from error
        return self._wait_for_reply(timeout_seconds, on_progress, is_cancelled)

    def kill(self) -> None:
        """End the process at once and for good; from any thread."""
        self.is_killed = True
        process = self._process
        if process is not None:
            with suppress(ValueError):  # its own thread has just closed it
                process.kill()

    def stop(self) -> None:
        """Let an idle process end by itself; kill it if it does not."""
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.join(_STOP_GRACE_SECONDS)
        self.kill()
        self._end()

    def _end(self) -> int | None:
        """Kill the process and forget it; returns its exit code if it had ended before."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        exit_code: int | None = process.exitcode
        process.kill()
        process.join()
        process.close()
        return exit_code

    def _wait_for_reply(
        self,
        timeout_seconds: float,
        on_progress: Callable[[float], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Any:
        deadline = time.monotonic() + timeout_seconds
        cancel_deadline: float | None = None
        while True:
            kind, value = self._next_message(min(_POLL_SECONDS, deadline - time.monotonic()))
            if kind == "progress" and on_progress is not None:
                on_progress(value)
            elif kind == "crash":
                self._end()
                raise ChildDied(f"the {self._name} crashed: {value}")
            elif kind in ("answer", "error", "cancelled"):
                if kind == "cancelled" or cancel_deadline is not None:
                    raise Cancelled("cancelled")
                if kind == "error":
                    raise value
                return value
            if cancel_deadline is None and is_cancelled():
                cancel_deadline = time.monotonic() + _CANCEL_GRACE_SECONDS
                self._send_cancel()
            if cancel_deadline is not None and time.monotonic() > cancel_deadline:
                self._end()
                raise Cancelled("cancelled")
            if time.monotonic() > deadline:
                self._end()
                raise ChildTimedOut(f"took longer than {timeout_seconds:g} s and was stopped")

    def _next_message(self, wait_seconds: float) -> tuple[str, Any]:
        """The next message of the process; ``nothing`` if none comes in time."""
        connection, process = self._connection, self._process
        if connection is None:
            raise ChildDied(f"the {self._name} is not running")
        try:
            if connection in wait([connection, process.sentinel], timeout=max(0.0, wait_seconds)):
                kind, value = connection.recv()
                return kind, value
            if process.is_alive():
                return "nothing", None
        except (EOFError, OSError):
            process.join(_STOP_GRACE_SECONDS)  # its pipe closes a moment before it ends
        raise ChildDied(f"the {self._name} ended unexpectedly (exit code {self._end()})")

    def _send_cancel(self) -> None:
        with suppress(OSError):  # it has ended; the next message says so
            if self._connection is not None:
                self._connection.send(_CANCEL)


def answer_requests(
    connection: Connection, prepare: Callable[[], tuple[Any, Callable[[Any, Report], Any]]]
) -> None:
    """Main loop of the process: prepare, then handle requests until the parent is gone.

    `MsqnetError` and `OSError` are sent back. Anything else is printed and ends the process.
    ``prepare`` returns the greeting and the function that handles a request. That function gets the
    request and a callback for the share that is done, which raises `Cancelled` on a cancellation.
    """
    # Ctrl+C reaches the whole process group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()

    def report(share: float) -> None:
        connection.send(("progress", float(share)))
        if connection.poll() and connection.recv() == _CANCEL:
            raise Cancelled("cancelled")

    try:
        greeting, answer = prepare()
        connection.send(("answer", greeting))
        while True:
            request = connection.recv()
            if request != _CANCEL:  # one that came after the answer
                connection.send(_reply(request, answer, report))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the other side is gone
    except MsqnetError as error:  # of `prepare`
        connection.send(("error", _sendable(error)))
    except Exception as error:  # such as exhausted memory of a GPU: a fresh process goes on
        traceback.print_exc()
        connection.send(("crash", f"{type(error).__name__}: {error}"))


def _reply(request: Any, answer: Callable[[Any, Report], Any], report: Report) -> tuple[str, Any]:
    try:
        return "answer", answer(request, report)
    except Cancelled:
        return "cancelled", None
    except (BrokenPipeError, ConnectionResetError):
        raise
    except (MsqnetError, OSError) as error:
        return "error", _sendable(error)


def _sendable(error: Exception) -> Exception:
    """The error, or a plain one with its text if it does not survive pickling."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class raises
        return MsqnetError(str(error))
    return error
