"""What the server does, apart from speaking HTTP."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from msqnet.serving.checks import Checks
from msqnet.serving.examples import Examples, example_candidates
from msqnet.serving.job import UNFINISHED, Job, Kind, State, Task
from msqnet.serving.jobs import Jobs, new_id
from msqnet.serving.metrics import RequestCounts
from msqnet.serving.refusals import Problem, Refusal, over_limit
from msqnet.serving.requests import (
    HeatMapRequest,
    ModelFacts,
    OverlayRequest,
    PredictionRequest,
    PredictionSettings,
    PreviewRequest,
    ReportRequest,
)
from msqnet.serving.storage import Storage
from msqnet.serving.uploads import receive_form
from msqnet.serving.worker_host import WorkerHost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

    from msqnet.serving.checker import VideoFacts
    from msqnet.serving.settings import ServerSettings

_VIDEO_FILE = "video"
_STEM = "result"
_LOADING_RETRY_SECONDS = 2
_COUNTABLE = 1e9


class Service:
    """Uploads, jobs, the two processes and the examples of one server.

    Args:
        settings: how it is set up.
        on_failure: called where the model cannot be loaded.

    Attributes:
        limits: what is accepted and kept.
        storage: where files lie.
        jobs: videos and what is made of them.
        checks: looks into uploads.
        worker: makes things.
        examples: videos of the server itself.
        requests: counts for the metrics.
        started_at: by the monotonic clock.
    """

    def __init__(self, settings: ServerSettings, on_failure: Callable[[], None]) -> None:
        candidates = example_candidates(settings.examples)
        self.limits = settings.limits
        self.storage = Storage(settings.work_folder)
        self.jobs = Jobs(self.limits, self.storage)
        self.checks = Checks(self.limits)
        worker = replace(settings.worker, scratch=self.storage.own_folder("scratch"))
        self.worker = WorkerHost(worker, self.limits, self.jobs, on_failure)
        self.examples = Examples(candidates, self.storage, self.checks)
        self.requests = RequestCounts()
        self.started_at = time.monotonic()

    def start(self) -> None:
        """Start the processes; returns at once."""
        self.worker.start(self.examples.prepare)

    def stop(self) -> None:
        """Withdraw everything, end the processes, remove all files."""
        self.worker.stop()
        self.checks.stop()
        self.storage.close()

    @property
    def model(self) -> ModelFacts:
        """What is known of the model.

        Raises:
            Refusal: it is not loaded yet.
        """
        if self.worker.facts is None:
            raise Refusal(
                Problem(
                    "model_loading",
                    "the model is being loaded; try again in a moment",
                    retry_after_seconds=_LOADING_RETRY_SECONDS,
                )
            )
        return self.worker.facts

    async def accept_upload(
        self, request: Request, read_options: Callable[[dict[str, str]], PredictionSettings]
    ) -> Job:
        """Receive a video, check it and queue its prediction.

        Args:
            request: a form with the video, its body unread.
            read_options: turns the form's other fields into settings.

        Raises:
            Refusal: the queue is full, or the upload or what it asks for is not accepted.
        """
        model = self.model
        with self.jobs.place():
            job_id = new_id()
            folder = self.storage.new_folder(job_id)
            try:
                video = folder / _VIDEO_FILE
                form = await receive_form(request, video, self.limits)
                if form.file_name is None:
                    raise Refusal(
                        Problem("invalid_request", "no video: expected a file in the field 'file'")
                    )
                settings = read_options(form.fields)
                self._check_labels(settings, model)
                facts = await asyncio.wrap_future(self.checks.submit(video, form.file_name))
                self._check_windows(settings, model, facts)
                return self._queue(job_id, folder, video, form.file_name, facts, settings)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
                raise

    def accept_example(self, name: str, settings: PredictionSettings) -> Job:
        """Queue a prediction of one of the server's own videos.

        Raises:
            Refusal: the queue is full, or there is no such example.
        """
        model = self.model
        example = self.examples.get(name)
        self._check_labels(settings, model)
        self._check_windows(settings, model, example.facts)
        with self.jobs.place():
            job_id = new_id()
            folder = self.storage.new_folder(job_id)
            return self._queue(
                job_id, folder, example.path, example.path.name, example.facts, settings
            )

    def preview(self, job: Job) -> Task:
        """A copy of the video that browsers play.

        Raises:
            Refusal: the queue is full.
        """
        output = job.folder / "preview.mp4"
        request = PreviewRequest(job.video, output)
        return self.jobs.extra(job, Task(Kind.PREVIEW, request, output))

    def overlay(self, job: Job) -> Task:
        """The video with its scores drawn into it.

        Raises:
            Refusal: the queue is full, or there is no result yet.
        """
        output = job.folder / "overlay.mp4"
        request = OverlayRequest(job.video, result_file(job), output)
        return self.jobs.extra(job, Task(Kind.OVERLAY, request, output))

    def report(self, job: Job) -> Task:
        """A self-contained page about the video.

        Raises:
            Refusal: the queue is full, or there is no result yet.
        """
        output = job.folder / "report.html"
        request = ReportRequest(job.video, result_file(job), output, job.display_name)
        return self.jobs.extra(job, Task(Kind.REPORT, request, output))

    def heat_map(self, job: Job, label: str, start_seconds: float, end_seconds: float) -> Task:
        """Where the model looked for a label.

        Raises:
            Refusal: the queue is full, there is no result yet, or the label or time is not in it.
        """
        result_file(job)
        labels = job.settings.labels or self.model.labels
        if label not in labels:
            raise Refusal(
                Problem("unknown_label", f"label {label[:80]!r}: expected {', '.join(labels)}")
            )
        if not 0 <= start_seconds < end_seconds or start_seconds >= job.facts.duration_seconds:
            raise Refusal(
                Problem(
                    "invalid_request",
                    f"from {start_seconds:g} to {end_seconds:g} s: expected a stretch of the "
                    f"video, which lasts {job.facts.duration_seconds:g} s",
                )
            )
        key = f"{label}\n{start_seconds:.3f}\n{end_seconds:.3f}"
        output = job.folder / f"heat-map-{new_id()}.json"
        request = HeatMapRequest(
            job.video,
            output,
            job.settings.labels,
            label,
            start_seconds,
            end_seconds,
            job.settings.window_seconds or self.model.window_seconds,
        )
        return self.jobs.extra(job, Task(Kind.HEAT_MAP, request, output), key)

    def _queue(
        self,
        job_id: str,
        folder: Path,
        video: Path,
        display_name: str,
        facts: VideoFacts,
        settings: PredictionSettings,
    ) -> Job:
        stem = folder / _STEM
        request = PredictionRequest(video, display_name, stem, settings)
        task = Task(Kind.PREDICTION, request, folder / f"{_STEM}.json")
        job = Job(job_id, display_name, video, folder, facts, settings, task)
        self.jobs.add(job)
        return job

    def _check_labels(self, settings: PredictionSettings, model: ModelFacts) -> None:
        labels = settings.labels
        if labels is None:
            if not model.labels:
                raise Refusal(
                    Problem(
                        "invalid_request", "labels: this model needs to be told what to look for"
                    )
                )
            return
        if len(labels) > self.limits.num_labels:
            raise over_limit(
                "invalid_request",
                f"labels: found {len(labels)}",
                "num_labels",
                self.limits.num_labels,
                len(labels),
            )
        unknown = [name for name in labels if name not in model.labels]
        if unknown and not model.is_open:
            raise Refusal(
                Problem(
                    "unknown_label",
                    f"label {unknown[0][:80]!r}: this model knows {', '.join(model.labels)}",
                )
            )

    def _check_windows(
        self, settings: PredictionSettings, model: ModelFacts, facts: VideoFacts
    ) -> None:
        window = settings.window_seconds or model.window_seconds
        # Without a stride of its own a window has its model's share of overlap.
        usual = window * model.stride_seconds / model.window_seconds
        stride = settings.stride_seconds or usual
        if stride > window:
            raise Refusal(
                Problem(
                    "invalid_request",
                    f"stride_seconds {stride:g}: longer than a window of {window:g} s, so that "
                    "time between windows would go unseen",
                )
            )
        # A stride may be so short that their number is no finite one.
        num_windows = int(min(facts.duration_seconds / stride, _COUNTABLE)) + 1
        if num_windows > self.limits.num_windows:
            raise over_limit(
                "too_many_windows",
                f"{num_windows} windows of {facts.duration_seconds:g} s every {stride:g} s",
                "num_windows",
                self.limits.num_windows,
                num_windows,
            )


def result_file(job: Job) -> Path:
    """The JSON of a finished prediction.

    Raises:
        Refusal: it is not finished, or failed.
    """
    task = job.prediction
    if task.state is State.DONE:
        return task.output
    if task.state in UNFINISHED:
        raise Refusal(Problem("not_finished", f"the prediction is {task.state}; wait for it"))
    reason = task.problem.message if task.problem else "it was cancelled"
    raise Refusal(Problem("not_finished", f"there is no result: {reason}"))
