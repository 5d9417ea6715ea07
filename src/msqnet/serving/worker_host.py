"""A thread that hands the queue to the worker process, one task after the other."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from msqnet.child_process import Cancelled, ChildDied, ChildProcess, ChildTimedOut
from msqnet.errors import MsqnetError
from msqnet.serving.job import State
from msqnet.serving.refusals import Problem, problem_of
from msqnet.serving.worker import run_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.child_process import Target
    from msqnet.config import ServingLimits
    from msqnet.serving.job import Job, Task
    from msqnet.serving.jobs import Jobs
    from msqnet.serving.requests import ModelFacts, WorkerRequest, WorkerSettings

_START_SECONDS = 600.0
_IDLE_SECONDS = 1.0
_RESTART_PAUSE_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class WorkerHost:
    """Keeps a worker running and gives it work.

    Args:
        settings: which model the worker holds.
        limits: how long a task may take.
        jobs: where tasks come from.
        on_failure: called where the worker cannot be started in the first place.
        target: what runs in the process.

    Attributes:
        facts: what the worker says of its model; None until it is loaded.
        failure: why the worker cannot be started; None while it can.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        limits: ServingLimits,
        jobs: Jobs,
        on_failure: Callable[[], None],
        target: Target = run_worker,
    ) -> None:
        self._child = ChildProcess("worker", target, settings, _START_SECONDS)
        self._limits = limits
        self._jobs = jobs
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._chores: list[Callable[[WorkerHost], None]] = []
        self._thread = threading.Thread(target=self._run, name="worker host", daemon=True)
        self.facts: ModelFacts | None = None
        self.failure: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and the worker can be asked."""
        return self.facts is not None and self._child.is_running

    @property
    def pid(self) -> int | None:
        """Process number of the worker."""
        return self._child.pid

    @property
    def num_restarts(self) -> int:
        """How often the worker had to be started again."""
        return max(0, self._child.num_starts - 1)

    def start(self, *chores: Callable[[WorkerHost], None]) -> None:
        """Load the model, do some chores, then work off the queue; returns at once."""
        self._chores = list(chores)
        self._thread.start()

    def stop(self) -> None:
        """Withdraw everything and end the worker; returns when it has ended."""
        self._stopping.set()
        self._jobs.close()
        self._thread.join(self._limits.stop_seconds)
        self._child.kill()
        self._thread.join()

    def ask(self, request: WorkerRequest) -> None:
        """Have something made that no client asked for; for chores only.

        Raises:
            MsqnetError, OSError: it was not made.
        """
        self._child.ask(request, self._limits.job_seconds, is_cancelled=self._stopping.is_set)

    def _run(self) -> None:
        if not self._start_worker():
            self._on_failure()
            return
        for chore in self._chores:
            chore(self)
        while not self._stopping.is_set():
            self._jobs.remove_old()
            if not self._child.is_running and not self._start_worker():
                self._stopping.wait(_RESTART_PAUSE_SECONDS)
                continue
            found = self._jobs.next_task(_IDLE_SECONDS)
            if found is not None:
                self._work_on(*found)
        self._child.stop()

    def _start_worker(self) -> bool:
        try:
            self.facts = self._child.start()
        except (MsqnetError, OSError) as error:
            if not self._stopping.is_set():
                self.failure = str(error)
                _logger.error("the worker cannot be started: %s", error)
            return False
        self.failure = None
        return True

    def _work_on(self, job: Job, task: Task) -> None:
        started = time.monotonic()
        state, problem = self._outcome(task)
        task.seconds = time.monotonic() - started
        if problem is not None:
            _logger.warning("%s failed: %s: %s", task.kind, problem.code, problem.message)
        self._jobs.finish(job, task, state, problem)

    def _outcome(self, task: Task) -> tuple[State, Problem | None]:
        def note(share: float) -> None:
            task.progress = max(task.progress, min(1.0, share))

        try:
            self._child.ask(
                task.request,
                self._limits.job_seconds,
                on_progress=note,
                is_cancelled=lambda: task.is_withdrawn or self._stopping.is_set(),
            )
        except Cancelled:
            return State.CANCELLED, None
        except ChildTimedOut as error:
            return State.FAILED, Problem(
                "took_too_long",
                f"making this {error}; send a shorter or smaller video",
                limit="job_seconds",
                allowed=self._limits.job_seconds,
            )
        except ChildDied as error:
            if task.is_withdrawn or self._stopping.is_set():
                return State.CANCELLED, None
            _logger.error("%s", error)  # its text is of no use to clients
            return State.FAILED, Problem(
                "worker_died",
                "the worker ended unexpectedly; it is started again. Other videos are not touched; "
                "this one may be damaged",
            )
        except (MsqnetError, OSError) as error:
            return State.FAILED, problem_of(error)
        return State.DONE, None
