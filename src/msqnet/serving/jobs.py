"""Jobs, the queue of their tasks, and the thread that hands tasks to the worker.

The numbers of waiting tasks, kept results and attribution maps of a video are limited, and so is
the time that results are kept. Every method of `Jobs` may be called from any thread.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from msqnet.child_process import Cancelled, ChildDied, ChildProcess, ChildTimedOut
from msqnet.errors import MsqnetError
from msqnet.serving.request_errors import ErrorDetail, RequestError, detail_of
from msqnet.serving.worker import Kind, WorkerRequest, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from msqnet.child_process import Target
    from msqnet.config import ServerLimits, WorkerSettings
    from msqnet.serving.schemas import ModelBody, VideoFactsBody

_MAX_MAPS = 16
_IDLE_SECONDS = 1.0
_RESTART_PAUSE_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class State(StrEnum):
    """State of a task."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.QUEUED, State.RUNNING)


@dataclass(eq=False)
class Task:
    """One file for the worker to make: the output of the request, which exists when it is done.

    ``progress`` is the share that is done, 0 to 1; ``is_cancelled`` says that it is to stop.
    """

    request: WorkerRequest
    state: State = State.QUEUED
    progress: float = 0.0
    error: ErrorDetail | None = None
    is_cancelled: bool = False


@dataclass(eq=False)
class Job:
    """One video and its tasks.

    Attributes:
        id: unguessable; whoever knows it may see the video and its results.
        prediction: the first task; its request names the video and its options.
        extras: later tasks, by what they make.
        finished_at: when the prediction ended, by the monotonic clock.
    """

    id: str
    folder: Path
    facts: VideoFactsBody
    prediction: Task
    extras: dict[tuple[str, ...], Task] = field(default_factory=dict)
    finished_at: float | None = None

    @property
    def request(self) -> WorkerRequest:
        """Request of the prediction."""
        return self.prediction.request

    @property
    def tasks(self) -> list[Task]:
        """All tasks."""
        return [self.prediction, *self.extras.values()]


def new_id() -> str:
    """An unguessable name, safe in a path and in a URL."""
    return secrets.token_urlsafe(18)


class Jobs:
    """The jobs of a server. Methods raise `RequestError` for a full queue or an unknown job.

    ``num_finished`` counts tasks that ended, by kind and state; ``busy_seconds`` tells how long the
    worker was busy, by kind.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[tuple[Job, Task]] = deque()
        self._num_reserved = 0
        self._is_closed = False
        self.num_finished: Counter[tuple[Kind, State]] = Counter()
        self.busy_seconds: dict[tuple[Kind], float] = {}

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, reserved while an upload arrives and is checked."""
        with self._changed:
            self._check_room()
            self._num_reserved += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_reserved -= 1

    def add(self, job: Job) -> None:
        """Queue a job whose place is reserved."""
        with self._changed:
            self._jobs[job.id] = job
            self._waiting.append((job, job.prediction))
            self._changed.notify_all()

    def get(self, job_id: str) -> Job:
        """The job with this id."""
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise RequestError(
                "not_found",
                "no such prediction; results are removed "
                f"{self._limits.kept_seconds:g} s after they are finished, and when more than "
                f"{self._limits.kept_results} are kept: send the video again",
            )
        return job

    def extra(self, job: Job, request: WorkerRequest) -> Task:
        """The task that makes another file of a job: the existing one, or a new one in the queue.

        A failed task is returned once, so that the client learns why; the next call makes it anew.
        """
        key = (request.kind, request.label, *(f"{time:.3f}" for time in request.interval_seconds))
        with self._changed:
            found = job.extras.get(key)
            if found is not None:
                if found.state is State.FAILED:
                    del job.extras[key]
                return found
            self._check_room()
            if self._jobs.get(job.id) is not job:
                raise RequestError("not_found", "the prediction was removed")
            self._drop_oldest_map(job)
            task = job.extras[key] = Task(request)
            self._waiting.append((job, task))
            self._changed.notify_all()
        return task

    def position(self, task: Task) -> int | None:
        """Position in the queue, 1 for the next task; None if it does not wait."""
        with self._changed:
            waiting = [item for _, item in self._waiting]
        return waiting.index(task) + 1 if task in waiting else None

    def counts(self) -> dict[str, int]:
        """Numbers of arriving uploads, waiting and running tasks, and kept jobs."""
        with self._changed:
            tasks = [task for job in self._jobs.values() for task in job.tasks]
            return {
                "arriving": self._num_reserved,
                "waiting": len(self._waiting),
                "running": sum(task.state is State.RUNNING for task in tasks),
                "kept": len(self._jobs),
            }

    def cancel(self, job: Job) -> bool:
        """Stop the tasks of a job and remove its files; returns whether it was unfinished.

        If so, it is still listed, as cancelled.
        """
        with self._changed:
            was_unfinished = job.prediction.state in UNFINISHED
            self._cancel_tasks(job)
            if was_unfinished:
                job.finished_at = time.monotonic()
            else:
                self._jobs.pop(job.id, None)
        self._remove_if_idle(job)
        return was_unfinished

    def next_task(self, timeout_seconds: float) -> tuple[Job, Task] | None:
        """Start the task that has waited longest; None if there is none in time."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(timeout_seconds)
            if not self._waiting or self._is_closed:
                return None
            job, task = self._waiting.popleft()
            task.state = State.RUNNING
            return job, task

    def finish(
        self,
        job: Job,
        task: Task,
        state: State,
        error: ErrorDetail | None = None,
        seconds: float = 0,
    ) -> None:
        """Record the end of a task and how long it kept the worker busy."""
        kind = task.request.kind
        with self._changed:
            task.state = State.CANCELLED if task.is_cancelled else state
            task.error = None if task.is_cancelled else error
            if task.state is State.DONE:
                task.progress = 1.0
            if task is job.prediction:
                job.finished_at = time.monotonic()
            self.num_finished[kind, task.state] += 1
            self.busy_seconds[kind,] = self.busy_seconds.get((kind,), 0.0) + seconds
        self._remove_if_idle(job)
        self.remove_old()

    def remove_old(self) -> None:
        """Remove results that are too old, and the oldest of too many."""
        now = time.monotonic()
        with self._changed:
            jobs = self._jobs.values()
            ended = [(job.finished_at, job) for job in jobs if job.finished_at is not None]
            ended.sort(key=lambda item: item[0])
            too_many = ended[: max(0, len(ended) - self._limits.kept_results)]
            too_old = [item for item in ended if now - item[0] > self._limits.kept_seconds]
            old = {job.id: job for _, job in too_many + too_old}.values()
            for job in old:
                self._cancel_tasks(job)
                self._jobs.pop(job.id, None)
        for job in old:
            self._remove_if_idle(job)

    def close(self) -> None:
        """Cancel everything and accept nothing more."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                self._cancel_tasks(job)
            self._changed.notify_all()

    def _check_room(self) -> None:
        if self._is_closed:
            raise RequestError("stopping", "the server is stopping")
        taken = self._num_reserved + len(self._waiting)
        if taken >= self._limits.queue_length:
            raise RequestError(
                "queue_full",
                f"{taken} videos are ahead and no more can wait; try again in a moment",
                limit="queue_length",
                allowed=self._limits.queue_length,
                found=taken,
                retry_after_seconds=5,
            )

    def _cancel_tasks(self, job: Job) -> None:
        """Remove waiting tasks from the queue, tell a running one to stop."""
        for task in job.tasks:
            if task.state is State.QUEUED:
                task.state = State.CANCELLED
                self.num_finished[task.request.kind, State.CANCELLED] += 1
            elif task.state is State.RUNNING:
                task.is_cancelled = True
        self._waiting = deque(item for item in self._waiting if item[0] is not job)

    def _remove_if_idle(self, job: Job) -> None:
        """Remove the files of a dropped or cancelled job, unless the worker has them open."""
        with self._changed:
            is_dropped = job.id not in self._jobs or job.prediction.state is State.CANCELLED
            is_busy = any(task.state is State.RUNNING for task in job.tasks)
        if is_dropped and not is_busy:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _drop_oldest_map(self, job: Job) -> None:
        maps = [(key, task) for key, task in job.extras.items() if key[0] is Kind.HEAT_MAP]
        ended = [key for key, task in maps if task.state not in UNFINISHED]
        if len(ended) >= _MAX_MAPS:
            job.extras.pop(ended[0]).request.output.unlink(missing_ok=True)


class WorkerHost:
    """Keeps the worker process running, and sends it one task after another from a thread.

    ``on_failure`` is called if its first start fails; ``target`` runs in the process. ``facts`` are
    the model, for clients, None until it is loaded; ``failure`` says why the worker cannot be
    started, None if it can.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        limits: ServerLimits,
        jobs: Jobs,
        on_failure: Callable[[], None],
        target: Target = run_worker,
    ) -> None:
        self.child = ChildProcess("worker", target, settings, start_seconds=600.0)
        self._limits, self._jobs, self._on_failure = limits, jobs, on_failure
        self._stopping = threading.Event()
        self.facts: ModelBody | None = None
        self.failure: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and the worker runs."""
        return self.facts is not None and self.child.is_running

    def start(self, first: Callable[[WorkerHost], None] = lambda _: None) -> None:
        """Load the model, call ``first``, then work through the queue; returns at once."""
        self._thread = threading.Thread(
            target=self._run, args=(first,), name="worker host", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Cancel everything and end the worker; returns when it has ended."""
        self._stopping.set()
        self._jobs.close()
        self._thread.join(self._limits.stop_seconds)
        self.child.kill()
        self._thread.join()

    def make(self, request: WorkerRequest) -> None:
        """Make a file outside the queue; only for use in ``first`` of `start`."""
        self.child.ask(request, self._limits.job_seconds, is_cancelled=self._stopping.is_set)

    def _run(self, first: Callable[[WorkerHost], None]) -> None:
        if not self._start_worker():
            self._on_failure()
            return
        first(self)
        while not self._stopping.is_set():
            self._jobs.remove_old()
            if not self.child.is_running and not self._start_worker():
                self._stopping.wait(_RESTART_PAUSE_SECONDS)
                continue
            found = self._jobs.next_task(_IDLE_SECONDS)
            if found is not None:
                job, task = found
                started = time.monotonic()
                state, error = self._outcome(task)
                if error is not None:
                    _logger.warning("%s failed: %s", task.request.kind, error.message)
                self._jobs.finish(job, task, state, error, time.monotonic() - started)
        self.child.stop()

    def _start_worker(self) -> bool:
        try:
            self.facts = self.child.start()
        except (MsqnetError, OSError) as error:
            if not self._stopping.is_set():
                self.failure = str(error)
                _logger.error("the worker cannot be started: %s", error)
            return False
        self.failure = None
        return True

    def _outcome(self, task: Task) -> tuple[State, ErrorDetail | None]:
        request = task.request

        def on_progress(share: float) -> None:
            task.progress = max(task.progress, min(1.0, share))

        def is_cancelled() -> bool:
            return task.is_cancelled or self._stopping.is_set()

        try:
            self.child.ask(request, self._limits.job_seconds, on_progress, is_cancelled)
        except Cancelled:
            return State.CANCELLED, None
        except ChildTimedOut as error:
            return State.FAILED, ErrorDetail(
                code="took_too_long",
                message=f"the job {error}; send a shorter or smaller video",
                limit="job_seconds",
                allowed=self._limits.job_seconds,
            )
        except ChildDied as error:
            if is_cancelled():
                return State.CANCELLED, None
            _logger.error("%s", error)  # no use to clients
            message = (
                "the worker ended unexpectedly and is restarted. Other videos are not affected; "
                "this one may be damaged"
            )
            return State.FAILED, ErrorDetail(code="worker_died", message=message)
        except (MsqnetError, OSError) as error:
            return State.FAILED, detail_of(error, request.video, request.display_name)
        return State.DONE, None
