from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msqnet.config import ServerLimits
from msqnet.serving.jobs import Job, Jobs, State, Task, new_id
from msqnet.serving.request_errors import RequestError
from msqnet.serving.schemas import VideoFactsBody
from msqnet.serving.storage import Storage
from msqnet.serving.worker import Kind, WorkerRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FACTS = VideoFactsBody(
    width=64,
    height=48,
    num_frames=10,
    duration_seconds=1.0,
    codec="h264",
    media_type="video/mp4",
)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    kept = Storage(tmp_path / "work")
    yield kept
    kept.close()


@pytest.fixture
def make(storage: Storage) -> Callable[[], Job]:
    def make() -> Job:
        job_id = new_id()
        folder = storage.new_folder(job_id)
        video = folder / "video"
        video.write_bytes(b"video")
        request = WorkerRequest(Kind.PREDICTION, video, folder / "result.json", "clip.mp4")
        return Job(job_id, folder, _FACTS, Task(request))

    return make


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


def test_jobs_are_done_in_the_order_in_which_they_came(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(), storage)
    made = [make() for _ in range(3)]
    for job in made:
        jobs.add(job)

    assert [jobs.position(job.prediction) for job in made] == [1, 2, 3]
    assert [_done(jobs) for _ in made] == made
    assert jobs.next_task(0) is None
    assert jobs.num_finished[Kind.PREDICTION, State.DONE] == 3


def test_uploads_that_arrive_count_as_waiting(storage: Storage, make: Callable[[], Job]) -> None:
    jobs = Jobs(ServerLimits(queue_length=2), storage)
    jobs.add(make())
    with jobs.place():
        with pytest.raises(RequestError, match="no more can wait") as caught, jobs.place():
            pass
        assert caught.value.detail.code == "queue_full"
        assert caught.value.retry_after_seconds
        assert (caught.value.detail.limit, caught.value.detail.allowed) == ("queue_length", 2)
    with jobs.place():
        pass


def test_failed_upload_gives_its_place_back(storage: Storage) -> None:
    jobs = Jobs(ServerLimits(queue_length=1), storage)

    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), jobs.place():
            raise ValueError("broken")

    assert jobs.counts()["arriving"] == 0


def test_unknown_id_is_not_found(storage: Storage) -> None:
    with pytest.raises(RequestError, match="no such prediction"):
        Jobs(ServerLimits(), storage).get("../../etc/passwd")


def test_waiting_job_is_cancelled_at_once_with_its_files(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(), storage)
    job = make()
    jobs.add(job)

    assert jobs.cancel(job) is True

    assert jobs.get(job.id).prediction.state is State.CANCELLED
    assert jobs.next_task(0) is None
    assert not job.folder.exists()
    assert jobs.cancel(job) is False
    with pytest.raises(RequestError):
        jobs.get(job.id)


def test_files_of_a_running_job_stay_until_the_worker_lets_go(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(), storage)
    job = make()
    jobs.add(job)
    found = jobs.next_task(0)
    assert found is not None

    jobs.cancel(job)

    assert job.prediction.is_cancelled
    assert job.request.video.exists()
    jobs.finish(*found, State.DONE)
    assert job.prediction.state is State.CANCELLED
    assert not job.folder.exists()


def test_finished_job_is_removed(storage: Storage, make: Callable[[], Job]) -> None:
    jobs = Jobs(ServerLimits(), storage)
    jobs.add(make())
    job = _done(jobs)

    assert jobs.cancel(job) is False

    assert not job.folder.exists()
    with pytest.raises(RequestError):
        jobs.get(job.id)


def test_oldest_results_make_room(storage: Storage, make: Callable[[], Job]) -> None:
    jobs = Jobs(ServerLimits(kept_results=2), storage)
    for _ in range(4):
        jobs.add(make())
    made = [_done(jobs) for _ in range(4)]

    assert [job.folder.exists() for job in made] == [False, False, True, True]
    assert jobs.counts()["kept"] == 2


def test_results_are_removed_when_their_time_is_over(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(kept_seconds=0.05), storage)
    jobs.add(make())
    job = _done(jobs)
    assert job.folder.exists()
    time.sleep(0.1)

    jobs.remove_old()

    assert not job.folder.exists()


def test_extra_is_made_once_and_again_only_after_its_failure_was_told(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(), storage)
    jobs.add(make())
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


def test_heat_maps_of_a_video_are_bounded(storage: Storage, make: Callable[[], Job]) -> None:
    jobs = Jobs(ServerLimits(), storage)
    jobs.add(make())
    job = _done(jobs)
    for number in range(40):
        jobs.extra(job, _heat_map(job, number))
        _done(jobs)

    assert len(list(job.folder.glob("heat-map-*"))) == len(job.extras) == 16


def test_closing_cancels_everything_and_refuses_more(
    storage: Storage, make: Callable[[], Job]
) -> None:
    jobs = Jobs(ServerLimits(), storage)
    first, second = make(), make()
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
