"""A process of our own that answers one request at a time, and can be killed without harm."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from msqnet.errors import MsqnetError, ServiceError, VideoError
from msqnet.process import end_with_parent
from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[float], None]
    Target = Callable[[Connection, Any], None]

_CANCEL = "cancel"
_POLL_SECONDS = 0.1
_CANCEL_GRACE_SECONDS = 10.0
_STOP_GRACE_SECONDS = 1.0


class ChildDied(ServiceError):  # noqa: N818 - says what happened
    """The process ended while it was being waited for."""


class ChildTimedOut(ServiceError):  # noqa: N818 - says what happened
    """The process took longer than allowed, and was killed."""


class Cancelled(ServiceError):  # noqa: N818 - says what happened
    """The request was withdrawn while it was being answered."""


class ChildProcess:
    """Starts a process, asks it things, and kills it where it takes too long.

    Not for use by several threads at once, except for `pid`, `num_starts` and `kill`.

    Args:
        name: shown in lists of processes.
        target: what runs in the process; it calls `answer_requests`. Given a connection and
            ``argument``.
        argument: anything that pickles.
        start_seconds: longest time until the process is ready.

    Attributes:
        num_starts: how often the process was started.
    """

    def __init__(self, name: str, target: Target, argument: Any, start_seconds: float) -> None:
        self._name = name
        self._target = target
        self._argument = argument
        self._start_seconds = start_seconds
        self._process: Any = None
        self._connection: Connection | None = None
        self.num_starts = 0

    @property
    def is_running(self) -> bool:
        """Whether the process is there and can be asked."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Number of the running process."""
        process = self._process  # another thread may replace or close it meanwhile
        try:
            return process.pid if process is not None and process.is_alive() else None
        except ValueError:  # closed
            return None

    def start(self) -> Any:
        """Start the process anew and wait until it is ready.

        Returns:
            What the process says of itself when it is ready.

        Raises:
            Refusal: it cannot do its work, and says why.
            ChildDied: it ended instead.
            ChildTimedOut: it was not ready in time.
        """
        self.kill()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=self._target, args=(theirs, self._argument), name=self._name, daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        self.num_starts += 1
        return self._wait_for_reply(self._start_seconds)

    def ask(
        self,
        request: Any,
        timeout_seconds: float,
        on_progress: Callable[[float], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Send a request and wait for the answer.

        Args:
            request: anything that pickles.
            timeout_seconds: the process is killed where it takes longer.
            on_progress: called with the share that is done.
            is_cancelled: asked several times a second.

        Raises:
            Refusal: the process refuses, and says why.
            Cancelled: as asked for. A process that does not stop by itself is killed.
            ChildDied: the process ended.
            ChildTimedOut: the process took too long.
        """
        if self._connection is None or not self.is_running:
            raise ChildDied(f"the {self._name} is not running")
        try:
            self._connection.send(request)
        except OSError as error:
            self.kill()
            raise ChildDied(f"the {self._name} ended unexpectedly") from error
        return self._wait_for_reply(timeout_seconds, on_progress, is_cancelled)

    def kill(self) -> None:
        """End the process at once."""
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.join()
            process.close()

    def stop(self) -> None:
        """Let the process end by itself, which takes it a moment where it does nothing."""
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.join(_STOP_GRACE_SECONDS)
        self.kill()

    def _wait_for_reply(
        self,
        timeout_seconds: float,
        on_progress: Callable[[float], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Any:
        deadline = time.monotonic() + timeout_seconds
        cancel_deadline: float | None = None
        while True:
            message = self._next_message()
            if message is not None:
                kind, value = message
                if kind == "progress":
                    if on_progress is not None:
                        on_progress(value)
                else:
                    return _settled(kind, value, was_cancelled=cancel_deadline is not None)
            if cancel_deadline is None and is_cancelled():
                cancel_deadline = time.monotonic() + _CANCEL_GRACE_SECONDS
                self._send_cancel()
            if cancel_deadline is not None and time.monotonic() > cancel_deadline:
                self.kill()
                raise Cancelled("withdrawn")
            if time.monotonic() > deadline:
                self.kill()
                raise ChildTimedOut(f"took longer than {timeout_seconds:g} s and was stopped")

    def _next_message(self) -> tuple[str, Any] | None:
        """What the process says next; None where it says nothing for a moment."""
        connection, process = self._connection, self._process
        if connection is None or process is None:
            raise ChildDied(f"the {self._name} was stopped")
        try:
            if connection in wait([connection, process.sentinel], timeout=_POLL_SECONDS):
                kind, value = connection.recv()
                return kind, value
            is_alive = process.is_alive()
        except (EOFError, OSError, ValueError):
            is_alive = False
        if is_alive:
            return None
        exit_code = process.exitcode if self._process is process else None
        self.kill()
        raise ChildDied(
            f"the {self._name} ended unexpectedly (exit code {exit_code}); it is started again"
        )

    def _send_cancel(self) -> None:
        if self._connection is not None:
            try:
                self._connection.send(_CANCEL)
            except OSError:
                return  # it has ended, which the next look at it tells


def _settled(kind: str, value: Any, *, was_cancelled: bool) -> Any:
    if kind == "cancelled" or was_cancelled:
        raise Cancelled("withdrawn")
    if kind == "refused":
        raise Refusal(value)
    return value


def answer_requests(
    connection: Connection, prepare: Callable[[], tuple[Any, Callable[[Any, Report], Any]]]
) -> None:
    """The life of the process: get ready, then answer until the other side is gone.

    What is raised on purpose is sent back; anything else ends the process, with a traceback.

    Args:
        connection: to the process that asks.
        prepare: gives what to say when ready, and what answers a request. That is given a callback
            for the share that is done, which raises `Cancelled` where the request was withdrawn.
    """
    # An interrupt from the keyboard reaches the whole group; the asking process decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        greeting, answer = prepare()
    except MsqnetError as error:
        connection.send(("refused", problem_of(error)))
        return
    connection.send(("ready", greeting))

    def report(share: float) -> None:
        connection.send(("progress", float(share)))
        if connection.poll() and connection.recv() == _CANCEL:
            raise Cancelled("withdrawn")

    while True:
        try:
            request = connection.recv()
            # A withdrawal that came after the answer.
            if request != _CANCEL:
                connection.send(_reply(request, answer, report))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _reply(request: Any, answer: Callable[[Any, Report], Any], report: Report) -> tuple[str, Any]:
    try:
        return "done", answer(request, report)
    except Cancelled:
        return "cancelled", None
    except MsqnetError as error:
        return "refused", problem_of(error)
    except OSError as error:
        return "refused", Problem("storage_failed", f"cannot be stored: {error.strerror}")


def problem_of(error: MsqnetError) -> Problem:
    """An error as something that can be sent and shown."""
    if isinstance(error, Refusal):
        return error.problem
    code = "not_a_video" if isinstance(error, VideoError) else "invalid_request"
    return Problem(code, str(error))
