"""Work in several processes of this machine."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from msqnet.batch.runners.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from msqnet.batch.jobs import Job, Outcome
    from msqnet.batch.settings import BatchSettings
    from msqnet.inference.predictor import Predictor


class ProcessesRunner:
    """One process a worker, each fed with one job at a time by a thread of this process.

    Args:
        settings: what they do.
        load: gives the predictor; called in each process.
        num_processes: how many.
    """

    def __init__(
        self, settings: BatchSettings, load: Callable[[], Predictor], num_processes: int
    ) -> None:
        self._settings = settings
        self._load = load
        self._num_processes = num_processes

    def outcomes(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """What becomes of each job, in the order in which they are done."""
        todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            todo.put(job)
        done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        workers = [
            Worker(self._settings, self._load) for _ in range(min(self._num_processes, len(jobs)))
        ]
        threads = [
            threading.Thread(target=_drive, args=(worker, todo, done), daemon=True)
            for worker in workers
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in jobs:
                item = done.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            for worker in workers:
                worker.kill()
            for thread in threads:
                thread.join()


def _drive(
    worker: Worker,
    todo: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[Outcome | BaseException],
) -> None:
    """Give a worker job after job; what goes wrong with the worker itself ends the run."""
    try:
        worker.start()
        while True:
            done.put(worker.outcome(todo.get_nowait()))
    except queue.Empty:
        worker.stop()
    except BaseException as error:  # raised again by the thread that waits
        worker.kill()
        done.put(error)
