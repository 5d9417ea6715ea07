"""Jobs and their queue, and the thread that feeds a worker, which needs no model here."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msqnet.config import ServerLimits, WorkerSettings
from msqnet.serving.jobs import UNFINISHED, Job, Jobs, State, Task, WorkerHost, new_id
from msqnet.serving.request_errors import RequestError
from msqnet.serving.storage import Storage
from msqnet.serving.worker import Kind, WorkerRequest
from tests.unit.serving.children import FACTS, run_worker_like

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAIT_SECONDS = 60


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    kept = Storage(tmp_path / "work")
    yield kept
    kept.close()


def _job(storage: Storage, name: str = "clip.mp4") -> Job:
    job_id = new_id()
    folder = storage.new_folder(f"uploads/{job_id}")
    video = folder / "video"
    video.write_bytes(b"video")
    request = WorkerRequest(Kind.PREDICTION, video, folder / "result.json", name)
    return Job(job_id, folder, FACTS, Task(request))


def _overlay(job: Job) -> WorkerRequest:
    return replace(job.request, kind=Kind.OVERLAY, output=job.folder / "overlay.mp4")


def _heat_map(job: Job, number: int) -> WorkerRequest:
    output = job.folder / f"heat-map-{number}.json"
    output.write_text("{}")
    return replace(job.request, kind=Kind.HEAT_MAP, output=output, label=str(number))


def _done(jobs: Jobs) -> Job:
    found = jobs.next_task(0)
    assert found is not None
    jobs.finish(*found, State.DONE)
    return found[0]


def test_jobs_are_done_in_the_order_in_which_they_came(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    made = [_job(storage) for _ in range(3)]
    for job in made:
        jobs.add(job)

    assert [jobs.position(job.prediction) for job in made] == [1, 2, 3]
    assert [_done(jobs) for _ in made] == made
    assert jobs.next_task(0) is None
    assert jobs.num_finished[Kind.PREDICTION, State.DONE] == 3


def test_uploads_that_arrive_count_as_waiting(storage: Storage) -> None:
    jobs = Jobs(ServerLimits(queue_length=2))
    jobs.add(_job(storage))
    with jobs.place():
        with pytest.raises(RequestError, match="no more can wait") as caught, jobs.place():
            pass
        assert caught.value.detail.code == "queue_full"
        assert caught.value.retry_after_seconds
        assert (caught.value.detail.limit, caught.value.detail.allowed) == ("queue_length", 2)
    with jobs.place():
        pass


def test_failed_upload_gives_its_place_back(storage: Storage) -> None:
    jobs = Jobs(ServerLimits(queue_length=1))

    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), jobs.place():
            raise ValueError("broken")

    assert jobs.counts()["arriving"] == 0


def test_unknown_id_is_not_found(storage: Storage) -> None:
    with pytest.raises(RequestError, match="no such prediction"):
        Jobs(ServerLimits()).get("../../etc/passwd")


def test_waiting_job_is_cancelled_at_once_with_its_files(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    job = _job(storage)
    jobs.add(job)

    assert jobs.cancel(job) is True

    assert jobs.get(job.id).prediction.state is State.CANCELLED
    assert jobs.next_task(0) is None
    assert not job.folder.exists()
    assert jobs.cancel(job) is False
    with pytest.raises(RequestError):
        jobs.get(job.id)


def test_files_of_a_running_job_stay_until_the_worker_lets_go(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    job = _job(storage)
    jobs.add(job)
    found = jobs.next_task(0)
    assert found is not None

    jobs.cancel(job)

    assert job.prediction.is_cancelled
    assert job.request.video.exists()
    jobs.finish(*found, State.DONE)
    assert job.prediction.state is State.CANCELLED
    assert not job.folder.exists()


def test_finished_job_is_removed(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    jobs.add(_job(storage))
    job = _done(jobs)

    assert jobs.cancel(job) is False

    assert not job.folder.exists()
    with pytest.raises(RequestError):
        jobs.get(job.id)


def test_oldest_results_make_room(storage: Storage) -> None:
    jobs = Jobs(ServerLimits(kept_results=2))
    for _ in range(4):
        jobs.add(_job(storage))
    made = [_done(jobs) for _ in range(4)]

    assert [job.folder.exists() for job in made] == [False, False, True, True]
    assert jobs.counts()["kept"] == 2


def test_results_are_removed_when_their_time_is_over(storage: Storage) -> None:
    jobs = Jobs(ServerLimits(kept_seconds=0.05))
    jobs.add(_job(storage))
    job = _done(jobs)
    assert job.folder.exists()
    time.sleep(0.1)

    jobs.remove_old()

    assert not job.folder.exists()


def test_extra_is_made_once_and_again_only_after_its_failure_was_told(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    jobs.add(_job(storage))
    job = _done(jobs)
    first = jobs.extra(job, _overlay(job))

    assert jobs.extra(job, _overlay(job)) is first
    found = jobs.next_task(0)
    assert found == (job, first)
    jobs.finish(job, first, State.FAILED)
    assert jobs.extra(job, _overlay(job)) is first
    assert jobs.next_task(0) is None
    again = jobs.extra(job, _overlay(job))
    assert again is not first
    assert again.state is State.QUEUED


def test_heat_maps_of_a_video_are_bounded(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    jobs.add(_job(storage))
    job = _done(jobs)
    for number in range(40):
        jobs.extra(job, _heat_map(job, number))
        _done(jobs)

    assert len(list(job.folder.glob("heat-map-*"))) == len(job.extras) == 16


def test_closing_cancels_everything_and_refuses_more(storage: Storage) -> None:
    jobs = Jobs(ServerLimits())
    first, second = _job(storage), _job(storage)
    jobs.add(first)
    jobs.add(second)
    jobs.next_task(0)

    jobs.close()

    assert first.prediction.is_cancelled
    assert second.prediction.state is State.CANCELLED
    assert jobs.next_task(0) is None
    with pytest.raises(RequestError, match="stopping"), jobs.place():
        pass


def test_ids_cannot_be_guessed() -> None:
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(len(item) == 24 and item.replace("-", "").replace("_", "").isalnum() for item in ids)


class Bench:
    """A host with its jobs."""

    def __init__(self, folder: Path, model: str | None = None) -> None:
        self.limits = ServerLimits(job_seconds=2, stop_seconds=1)
        self.storage = Storage(folder)
        self.jobs = Jobs(self.limits)
        self.failed = threading.Event()
        self.host = WorkerHost(
            WorkerSettings(model), self.limits, self.jobs, self.failed.set, run_worker_like
        )

    def add(self, name: str) -> Job:
        """Queue a prediction of which the name says what becomes of it."""
        job = _job(self.storage, name)
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
    assert bench.host.facts.labels == ("walking", "eating")


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
    assert bench.host.child.num_starts == 3


def test_killed_worker_fails_its_job_and_does_the_next_one(bench: Bench) -> None:
    first, second = bench.add("hang"), bench.add("good")
    while first.prediction.state is not State.RUNNING:
        time.sleep(0.01)
    assert bench.host.child.pid is not None

    os.kill(bench.host.child.pid, signal.SIGKILL)

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
    assert bench.host.child.num_starts == 1
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
    assert bench.host.child.pid is None
    bench.storage.close()


def test_worker_that_cannot_start_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "work", model="none")
    bench.host.start()

    assert bench.failed.wait(_WAIT_SECONDS)

    assert bench.host.failure == "no such model"
    assert not bench.host.is_ready
    bench.host.stop()
    bench.storage.close()
