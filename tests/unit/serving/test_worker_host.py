"""The thread that feeds the worker, with a worker that needs no model."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from msqnet.config import ServerLimits, WorkerSettings
from msqnet.serving.jobs import UNFINISHED, Job, Jobs, State, Task, WorkerHost, new_id
from msqnet.serving.schemas import VideoFactsBody
from msqnet.serving.storage import Storage
from msqnet.serving.worker import Kind, WorkerRequest
from tests.unit.serving.children import run_worker_like

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAIT_SECONDS = 60
_FACTS = VideoFactsBody(
    width=64,
    height=48,
    num_frames=10,
    duration_seconds=1.0,
    codec="h264",
    media_type="video/mp4",
)


class Bench:
    """A host with its jobs."""

    def __init__(self, folder: Path, model: str | None = None) -> None:
        self.limits = ServerLimits(job_seconds=2, stop_seconds=1)
        self.storage = Storage(folder)
        self.jobs = Jobs(self.limits, self.storage)
        self.failed = threading.Event()
        self.host = WorkerHost(
            WorkerSettings(model), self.limits, self.jobs, self.failed.set, run_worker_like
        )

    def add(self, name: str) -> Job:
        """Queue a prediction of which the name says what becomes of it."""
        job_id = new_id()
        folder = self.storage.new_folder(job_id)
        request = WorkerRequest(Kind.PREDICTION, folder / "video", folder / "result.json", name)
        job = Job(job_id, folder, _FACTS, Task(request))
        self.jobs.add(job)
        return job

    def outcome(self, job: Job) -> Task:
        """The prediction's task when it has ended."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while job.prediction.state in UNFINISHED and time.monotonic() < deadline:
            time.sleep(0.02)
        return job.prediction


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "work")
    made.host.start()
    yield made
    made.host.stop()
    made.storage.close()


def test_predictions_are_made_one_after_the_other(bench: Bench) -> None:
    jobs = [bench.add(f"clip {number}") for number in range(3)]

    assert [bench.outcome(job).state for job in jobs] == [State.DONE] * 3
    assert all(job.request.output.is_file() for job in jobs)
    assert bench.host.is_ready
    assert bench.host.facts is not None
    assert bench.host.facts.labels == ("walking",)


def test_dead_or_slow_worker_fails_its_job_and_does_the_next_one(bench: Bench) -> None:
    jobs = {name: bench.add(name) for name in ("die", "hang", "refuse", "good")}

    outcomes = {name: bench.outcome(job) for name, job in jobs.items()}

    codes = {name: task.error.code for name, task in outcomes.items() if task.error}
    assert codes == {"die": "worker_died", "hang": "took_too_long", "refuse": "not_a_video"}
    assert outcomes["refuse"].error is not None
    assert outcomes["refuse"].error.message == "refuse: 0 decodable frames"
    assert outcomes["hang"].error is not None
    assert outcomes["hang"].error.limit == "job_seconds"
    assert outcomes["good"].state is State.DONE
    assert bench.host.num_restarts == 2


def test_killed_worker_fails_its_job_and_does_the_next_one(bench: Bench) -> None:
    first, second = bench.add("hang"), bench.add("good")
    while first.prediction.state is not State.RUNNING:
        time.sleep(0.01)
    assert bench.host.pid is not None

    os.kill(bench.host.pid, signal.SIGKILL)

    error = bench.outcome(first).error
    assert error is not None
    assert error.code == "worker_died"
    assert bench.outcome(second).state is State.DONE


def test_cancelled_prediction_is_cancelled_and_the_worker_stays(bench: Bench) -> None:
    job = bench.add("count")
    while job.prediction.progress == 0:
        time.sleep(0.01)

    bench.jobs.cancel(job)

    assert bench.outcome(job).state is State.CANCELLED
    assert bench.outcome(bench.add("good")).state is State.DONE
    assert bench.host.num_restarts == 0
    assert not job.folder.exists()


def test_stopping_cancels_what_runs_and_ends_the_worker(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "work")
    bench.host.start()
    job, waiting = bench.add("hang"), bench.add("good")
    while job.prediction.state is not State.RUNNING:
        time.sleep(0.01)
    started = time.monotonic()

    bench.host.stop()

    assert time.monotonic() - started < 10
    assert (job.prediction.state, waiting.prediction.state) == (State.CANCELLED,) * 2
    assert bench.host.pid is None
    bench.storage.close()


def test_worker_that_cannot_start_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "work", model="none")
    bench.host.start()

    assert bench.failed.wait(_WAIT_SECONDS)

    assert bench.host.failure == "no such model"
    assert not bench.host.is_ready
    bench.host.stop()
    bench.storage.close()
