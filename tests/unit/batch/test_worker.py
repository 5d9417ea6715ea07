from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.batch.runners import VideoWorker
from msqnet.child_process import ChildDied
from msqnet.inference.results import VideoJob
from tests.unit.batch.brightness_batch import STUCK_LEVEL, job_settings, load
from tests.unit.inference.brightness import BLACK, WHITE, write_video

if TYPE_CHECKING:
    from pathlib import Path


def test_worker_that_is_stopped_before_its_process_runs_does_no_work(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [WHITE, BLACK] * 8)
    worker = VideoWorker(job_settings(tmp_path / "out"), load)
    worker.child.kill()
    with pytest.raises(ChildDied, match="stopped while it started"):
        worker.child.start()
    with pytest.raises(ChildDied):
        worker.outcome(VideoJob("clip.mov", str(video)))
    assert not list((tmp_path / "out").rglob("*.json"))


def test_worker_that_is_stopped_over_a_video_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msqnet.batch.runners._GRACE_SECONDS", 0.0)
    video = write_video(tmp_path / "clip.mov", [STUCK_LEVEL] * 16)
    out = tmp_path / "out"
    worker = VideoWorker(job_settings(out, time_limit_seconds=3), load)
    outcome = worker.outcome(VideoJob("clip.mov", str(video)))
    assert outcome.status == "timeout"
    assert list((out / ".batch" / "staging").iterdir()) == []


def test_model_that_is_not_loaded_in_time_is_not_the_videos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msqnet.batch.runners._START_SECONDS", 0.001)
    never_loaded: Any = partial(time.sleep, 600)
    worker = VideoWorker(job_settings(tmp_path / "out"), never_loaded)
    with pytest.raises(ChildDied, match="the worker was not ready in 0"):
        worker.child.start()
    worker.child.kill()
