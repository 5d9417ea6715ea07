from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from msqnet.batch.data_set import table_names
from msqnet.batch.locations import LocalOutput, open_output
from msqnet.batch.one_video import process_video
from msqnet.batch.runners import ResultsFolder, predict_into
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import Outcome, VideoJob
from msqnet.predictions import VideoPredictions
from tests.unit.batch.brightness_batch import job_settings, load
from tests.unit.inference.brightness import BLACK, WHITE, write_truncated_video, write_video

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = [BLACK] * 10 + [WHITE] * 10


@pytest.fixture
def job(tmp_path: Path) -> VideoJob:
    return VideoJob("a/clip.mov", str(write_video(tmp_path / "in" / "a" / "clip.mov", EVENT)))


def work(
    job: VideoJob, out: Path, predictor: Predictor | None = None, **settings: object
) -> Outcome:
    output = open_output(str(out))
    return process_video(job, predictor or load(), output, job_settings(out, **settings))[0]


def files(folder: Path) -> dict[str, bytes]:
    """Content of all results by name, of the run's own files none."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(".batch")
    }


class CountingPredictor(Predictor):
    """Counts calls."""

    num_calls = 0

    def __call__(
        self, path: str | Path, progress: Callable[[float], None] | None = None
    ) -> VideoPredictions:
        type(self).num_calls += 1
        return super().__call__(path, progress)


@pytest.fixture
def counting() -> CountingPredictor:
    CountingPredictor.num_calls = 0
    made = load()
    return CountingPredictor(made.backend, made._window, made._segments)


def test_results_are_those_of_predict_and_nothing_is_left_behind(
    tmp_path: Path, job: VideoJob
) -> None:
    outcome = work(job, tmp_path / "out")
    predict_into(ResultsFolder(tmp_path / "single"), job, load())
    written = files(tmp_path / "out")
    for name, content in files(tmp_path / "single").items():
        if name != "index.csv":
            assert written.pop(name) == content
    assert sorted(written) == sorted(table_names(job.name))
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("ok", "", 1)
    assert not (tmp_path / "out" / ".batch").exists()


def test_tables_hold_what_the_json_holds(tmp_path: Path, job: VideoJob) -> None:
    outcome = work(job, tmp_path / "out")
    text = (tmp_path / "out" / "a" / "clip.mov.json").read_text()
    predictions = VideoPredictions.from_json(text)
    segments, scores, videos = (
        pq.read_table(tmp_path / "out" / name, partitioning=None).to_pylist()
        for name in table_names(job.name)
    )
    assert segments == [
        {
            "name": job.name,
            "label": item.label,
            "start_seconds": item.start_seconds,
            "end_seconds": item.end_seconds,
            "score": item.score,
        }
        for item in predictions.segments
    ]
    timeline = predictions.timeline
    assert [row["score"] for row in scores] == timeline.scores.reshape(-1).tolist()
    assert [row["label"] for row in scores] == list(predictions.labels) * len(timeline)
    assert {row["end_seconds"] for row in scores} == set(timeline.edges_seconds[1:].tolist())
    assert videos[0]["digest"] == outcome.digest
    assert videos[0]["num_segments"] == len(predictions.segments)


def test_finished_results_are_not_computed_again(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    first = work(job, tmp_path / "out", counting)
    by_files = work(job, tmp_path / "out", counting)
    by_journal = work(replace(job, known=first), tmp_path / "out", counting)
    assert counting.num_calls == 1
    assert by_journal == replace(first, existed=True)
    assert replace(by_files, seconds=first.seconds) == by_journal


def test_interrupted_publishing_leaves_nothing_that_counts(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    whole = tmp_path / "whole"
    work(job, whole, counting)
    names = (*table_names(job.name), f"{job.name}.scores.parquet", f"{job.name}.csv")
    for number in range(1, len(names) + 1):
        out = tmp_path / f"out{number}"
        for name in names[:number]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes((whole / name).read_bytes())
        outcome = work(job, out, counting)
        assert outcome.status == "ok"
        assert files(out) == files(whole)
    assert counting.num_calls == 1 + len(names)


def test_files_of_the_users_own_are_not_replaced(tmp_path: Path, job: VideoJob) -> None:
    path = tmp_path / "out" / f"{job.name}.csv"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    outcome = work(job, tmp_path / "out")
    assert (outcome.status, outcome.cause) == ("error", "other_results")
    assert "clip.mov.csv exists" in outcome.message
    assert path.read_text() == "mine"


@pytest.mark.parametrize("change", ["video", "settings"])
def test_results_of_anything_else_are_kept_unless_told_otherwise(
    tmp_path: Path, job: VideoJob, change: str
) -> None:
    out = tmp_path / "out"
    first = work(job, out)
    before = files(out)
    if change == "video":
        write_video(Path(job.source), EVENT[::-1])
    predictor = load(threshold=0.9) if change == "settings" else load()
    again = replace(job, known=first)
    refused = work(again, out, predictor)
    assert (refused.status, refused.cause) == ("error", "other_results")
    assert "--overwrite" in refused.message
    assert files(out) == before
    (out / f"{job.name}.timeline.png").write_bytes(b"of other scores")
    replaced = work(again, out, predictor, overwrite=True)
    assert (replaced.status, replaced.existed) == ("ok", False)
    assert sorted(files(out)) == sorted(before)
    assert files(out) != before
    assert work(again, out, predictor, overwrite=True).existed


def test_touched_video_of_the_same_content_is_done(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    first = work(job, tmp_path / "out", counting)
    os.utime(job.source, (time.time() + 100, time.time() + 100))
    again = work(replace(job, known=first), tmp_path / "out", counting)
    assert again.existed
    assert again.source_state != first.source_state
    assert counting.num_calls == 1


def test_missing_or_damaged_results_are_made_again(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    out = tmp_path / "out"
    first = work(job, out, counting)
    whole = files(out)
    for number, name in enumerate(table_names(job.name)):
        (out / name).unlink()
        work(replace(job, known=first), out, counting)
        assert files(out) == whole, number
    # What is missing of the data set is made of the JSON.
    assert counting.num_calls == 1
    (out / f"{job.name}.json").unlink()
    work(replace(job, known=first), out, counting)
    assert files(out) == whole
    assert counting.num_calls == 2


def test_results_of_predict_are_taken_over(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    predict_into(ResultsFolder(tmp_path / "out"), job, load())
    drawing = tmp_path / "out" / f"{job.name}.timeline.png"
    drawing.write_bytes(b"of these scores")
    outcome = work(job, tmp_path / "out", counting)
    assert outcome.status == "ok"
    assert counting.num_calls == 0
    assert drawing.exists()
    assert all((tmp_path / "out" / name).is_file() for name in table_names(job.name))


def test_names_that_are_not_unicode_pass_through(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"m\xe4use")
    path = write_video(folder / os.fsdecode(b"m\xe4use.mov"), EVENT)
    job = VideoJob(path.name, str(path))
    first = work(job, folder / "out")
    assert (first.status, first.message) == ("ok", "")
    assert work(job, folder / "out").existed
    assert (folder / "out" / f"{path.name}.json").is_file()


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00" * 5000])
def test_bad_file_is_tried_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    outcome = work(VideoJob("bad.mp4", str(path)), tmp_path / "out")
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("error", "bad_file", 1)
    assert str(path) in outcome.message
    assert outcome.num_bytes == len(content)
    assert len(outcome.digest) == 64
    assert files(tmp_path / "out") == {}


def test_missing_file_is_not_tried_again(tmp_path: Path) -> None:
    outcome = work(VideoJob("gone.mp4", str(tmp_path / "gone.mp4")), tmp_path / "out")
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("error", "reading", 1)
    assert "gone.mp4" in outcome.message


def test_damaged_end_is_a_part_with_its_reason(tmp_path: Path) -> None:
    path = write_truncated_video(tmp_path / "cut.mov", [WHITE] * 40)
    job = VideoJob("cut.mov", str(path))
    outcome = work(job, tmp_path / "out")
    assert (outcome.status, outcome.cause) == ("partial", "damaged")
    assert "frames decode" in outcome.message
    assert work(job, tmp_path / "out").status == "partial"


def test_folder_of_images_is_a_video(tmp_path: Path) -> None:
    import av
    import numpy as np

    for number in range(30):
        pixels = np.full((24, 32, 3), 200, np.uint8)
        image = av.VideoFrame.from_ndarray(pixels, format="rgb24").to_image()
        (tmp_path / "frames").mkdir(exist_ok=True)
        image.save(tmp_path / "frames" / f"{number}.png")
    job = VideoJob("frames", str(tmp_path / "frames"))
    first = work(job, tmp_path / "out")
    assert first.status == "ok"
    assert work(replace(job, known=first), tmp_path / "out").existed


def test_time_limit_ends_the_work_after_a_batch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mov", EVENT * 10)
    slow = load(seconds=0.2)
    slow._window = replace(slow._window, batch_size=1)
    job = VideoJob("long.mov", str(path))
    outcome = work(job, tmp_path / "out", slow, time_limit_seconds=0.5)
    assert (outcome.status, outcome.cause) == ("timeout", "time_limit")
    assert "--time-limit-seconds" in outcome.message
    assert outcome.seconds < 2
    assert files(tmp_path / "out") == {}


class FailingOutput(LocalOutput):
    """A folder that cannot be written at first."""

    def __init__(self, folder: Path, num_failures: int) -> None:
        super().__init__(folder)
        self.num_failures = num_failures

    def publish(self, name: str, staged: Path) -> None:
        if self.num_failures:
            self.num_failures -= 1
            raise OSError(28, "No space left on device")
        super().publish(name, staged)


def test_writing_is_tried_again_without_predicting_again(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    output = FailingOutput(tmp_path / "out", 2)
    outcome = process_video(job, counting, output, job_settings(tmp_path / "out"))[0]
    assert (outcome.status, outcome.num_attempts, counting.num_calls) == ("ok", 3, 1)


def test_writing_that_keeps_failing_is_an_error(tmp_path: Path, job: VideoJob) -> None:
    output = FailingOutput(tmp_path / "out", 99)
    settings = job_settings(tmp_path / "out", num_retries=2)
    outcome = process_video(job, load(), output, settings)[0]
    assert (outcome.status, outcome.cause, outcome.num_attempts) == ("error", "writing", 3)
    assert "No space left" in outcome.message
    assert "tried 3 times" in outcome.message


def test_address_that_nothing_here_can_read_costs_its_own_row(tmp_path: Path) -> None:
    outcome = work(VideoJob("x.mp4", "nowhere://host/x.mp4"), tmp_path / "out")
    assert (outcome.status, outcome.cause) == ("error", "reading")
    assert "nowhere" in outcome.message


def test_place_that_cannot_be_written_is_said_as_such(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor
) -> None:
    (tmp_path / "out" / ".batch").mkdir(parents=True)
    (tmp_path / "out" / ".batch" / "staging").touch()  # a file where the folder would be
    outcome = work(job, tmp_path / "out", counting)
    assert (outcome.status, outcome.cause) == ("error", "writing")
    assert counting.num_calls == 0


def test_full_disk_while_results_are_written_predicts_once(
    tmp_path: Path, job: VideoJob, counting: CountingPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("msqnet.batch.one_video.write_data_set", fail)
    outcome = work(job, tmp_path / "out", counting)
    assert (outcome.status, outcome.cause) == ("error", "writing")
    assert "No space left" in outcome.message
    assert counting.num_calls == 1
    assert not list((tmp_path / "out").rglob("*.json"))


def test_staging_folder_that_another_run_removes_is_made_again(
    tmp_path: Path, job: VideoJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = tmp_path / "out" / ".batch" / "staging"
    make, removed = tempfile.mkdtemp, []

    def make_after_removal(*, prefix: str, dir: Path | None) -> str:
        if dir == staging and len(removed) < 3:
            removed.append(dir)
            staging.rmdir()
            staging.parent.rmdir()
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", make_after_removal)
    outcome = work(job, tmp_path / "out")
    assert (outcome.status, outcome.num_attempts, len(removed)) == ("ok", 1, 3)
    assert not staging.parent.exists()
