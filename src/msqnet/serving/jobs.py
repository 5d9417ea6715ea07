"""Videos, what is made of them, and the queue of what is still to be made.

All of it is bounded: how many wait, how many results are kept, for how long, and how many heat maps
one video has. Every method may be called from any thread.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msqnet.serving.job import UNFINISHED, Job, Kind, State, Task
from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msqnet.config import ServingLimits
    from msqnet.serving.storage import Storage

_ID_BYTES = 18
_MAX_HEAT_MAPS = 16
_RETRY_AFTER_SECONDS = 5


def new_id() -> str:
    """A name that nobody can guess, safe in a path and in an address."""
    return secrets.token_urlsafe(_ID_BYTES)


class Jobs:
    """The jobs of a server.

    Args:
        limits: what is accepted and kept.
        storage: where the jobs' folders lie.

    Attributes:
        num_finished: how many tasks ended, by kind and state.
        busy_seconds: how long the worker was busy, by kind.
    """

    def __init__(self, limits: ServingLimits, storage: Storage) -> None:
        self._limits = limits
        self._storage = storage
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[tuple[Job, Task]] = deque()
        self._num_reserved = 0
        self._is_closed = False
        self.num_finished: Counter[tuple[Kind, State]] = Counter()
        self.busy_seconds: Counter[Kind] = Counter()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, held while an upload arrives and is checked.

        Raises:
            Refusal: the queue is full, or the server stops.
        """
        with self._changed:
            self._check_room()
            self._num_reserved += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_reserved -= 1

    def add(self, job: Job) -> None:
        """Queue a job for which a place is held."""
        with self._changed:
            self._jobs[job.id] = job
            self._waiting.append((job, job.prediction))
            self._changed.notify_all()

    def get(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            Refusal: there is none, or none any more.
        """
        with self._changed:
            job = self._jobs.get(job_id)
        if job is None:
            raise Refusal(
                Problem(
                    "not_found",
                    "no such prediction; results are removed "
                    f"{self._limits.kept_seconds:g} s after they are finished, and when more than "
                    f"{self._limits.kept_results} are kept: send the video again",
                )
            )
        return job

    def extra(self, job: Job, task: Task, key: str = "") -> Task:
        """The task that makes something of a finished job: queued now, or the one that exists.

        A failed one is given back once, so that whoever waits for it learns why, and is made anew
        when it is asked for after that.

        Raises:
            Refusal: the queue is full.
        """
        place = (task.kind, key)
        with self._changed:
            found = job.extras.get(place)
            if found is not None:
                if found.state is State.FAILED:
                    del job.extras[place]
                return found
            self._check_room()
            if self._jobs.get(job.id) is not job:
                raise Refusal(Problem("not_found", "the prediction was removed"))
            self._drop_oldest_heat_map(job)
            job.extras[place] = task
            self._waiting.append((job, task))
            self._changed.notify_all()
        return task

    def position(self, task: Task) -> int | None:
        """1 for the next one; None where it does not wait."""
        with self._changed:
            for number, (_, waiting) in enumerate(self._waiting, start=1):
                if waiting is task:
                    return number
        return None

    def counts(self) -> dict[str, int]:
        """How many uploads arrive, tasks wait and run, and jobs are kept."""
        with self._changed:
            running = [
                task for job in self._jobs.values() for task in job.tasks
                if task.state is State.RUNNING
            ]  # fmt: skip
            return {
                "arriving": self._num_reserved,
                "waiting": len(self._waiting),
                "running": len(running),
                "kept": len(self._jobs),
            }

    def cancel(self, job: Job) -> bool:
        """Stop what is unfinished of a job, and remove its files.

        Returns:
            Whether its prediction was unfinished; the job then stays known as cancelled.
        """
        with self._changed:
            was_unfinished = job.prediction.state in UNFINISHED
            self._withdraw(job)
            if was_unfinished:
                job.finished_at = time.monotonic()
            else:
                self._jobs.pop(job.id, None)
        self._remove_if_idle(job)
        return was_unfinished

    def next_task(self, timeout_seconds: float) -> tuple[Job, Task] | None:
        """The task that has waited longest, now running; None where none comes in time."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(timeout_seconds)
            if not self._waiting or self._is_closed:
                return None
            job, task = self._waiting.popleft()
            task.state = State.RUNNING
            return job, task

    def finish(self, job: Job, task: Task, state: State, problem: Problem | None = None) -> None:
        """The worker is done with a task."""
        with self._changed:
            task.state = State.CANCELLED if task.is_withdrawn else state
            task.problem = None if task.is_withdrawn else problem
            if task.state is State.DONE:
                task.progress = 1.0
            if task is job.prediction:
                job.finished_at = time.monotonic()
            self.num_finished[task.kind, task.state] += 1
            self.busy_seconds[task.kind] += task.seconds  # type: ignore[assignment]
        self._remove_if_idle(job)
        self.remove_old()

    def remove_old(self) -> None:
        """Forget results whose time is over, and the oldest of those that are too many."""
        now = time.monotonic()
        with self._changed:
            finished = sorted(
                (job for job in self._jobs.values() if job.finished_at is not None),
                key=lambda job: job.finished_at or 0.0,
            )
            num_over = max(0, len(finished) - self._limits.kept_results)
            old = [
                job
                for number, job in enumerate(finished)
                if number < num_over or now - (job.finished_at or 0) > self._limits.kept_seconds
            ]
            for job in old:
                self._withdraw(job)
                self._jobs.pop(job.id, None)
        for job in old:
            self._remove_if_idle(job)

    def close(self) -> None:
        """Withdraw everything; nothing is accepted any more."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                self._withdraw(job)
            self._changed.notify_all()

    def _check_room(self) -> None:
        if self._is_closed:
            raise Refusal(Problem("stopping", "the server is stopping"))
        taken = self._num_reserved + len(self._waiting)
        if taken >= self._limits.queue_length:
            raise Refusal(
                Problem(
                    "queue_full",
                    f"{taken} videos are ahead and no more can wait; try again in a moment",
                    limit="queue_length",
                    allowed=self._limits.queue_length,
                    found=taken,
                    retry_after_seconds=_RETRY_AFTER_SECONDS,
                )
            )

    def _withdraw(self, job: Job) -> None:
        """Take what waits out of the queue, tell what runs to stop."""
        for task in job.tasks:
            if task.state is State.QUEUED:
                task.state = State.CANCELLED
                self.num_finished[task.kind, State.CANCELLED] += 1
            elif task.state is State.RUNNING:
                task.is_withdrawn = True
        self._waiting = deque(item for item in self._waiting if item[0] is not job)

    def _remove_if_idle(self, job: Job) -> None:
        """Remove a dropped or cancelled job's files, unless the worker still has them open."""
        with self._changed:
            is_dropped = job.id not in self._jobs or job.prediction.state is State.CANCELLED
            is_busy = any(task.state is State.RUNNING for task in job.tasks)
        if is_dropped and not is_busy:
            self._storage.remove(job.folder)

    def _drop_oldest_heat_map(self, job: Job) -> None:
        done = [
            place for place, task in job.extras.items()
            if place[0] is Kind.HEAT_MAP and task.state not in UNFINISHED
        ]  # fmt: skip
        if len(done) >= _MAX_HEAT_MAPS:
            job.extras.pop(done[0]).output.unlink(missing_ok=True)
