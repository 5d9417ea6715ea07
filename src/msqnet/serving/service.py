"""Everything that the server does except HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from msqnet.demo import demo_clips
from msqnet.errors import ConfigError, MsqnetError
from msqnet.labels import LabelSet
from msqnet.serving.checker import Checker
from msqnet.serving.jobs import UNFINISHED, Job, Jobs, State, Task, WorkerHost, new_id
from msqnet.serving.request_errors import RequestError, check_limit
from msqnet.serving.schemas import ExampleBody
from msqnet.serving.storage import Storage
from msqnet.serving.uploads import receive_form
from msqnet.serving.worker import Kind, WorkerRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from msqnet.config import ServerSettings
    from msqnet.serving.schemas import ModelBody, PredictionOptions, VideoFactsBody

_MAX_EXAMPLES = 24
_EXTRA_FILES = {
    Kind.PREVIEW: "preview.mp4",
    Kind.OVERLAY: "overlay.mp4",
    Kind.REPORT: "report.html",
}
_COUNTABLE = 1e9
_logger = logging.getLogger(__name__)


class Service:
    """Uploads, jobs, the two child processes and the examples of one server.

    Methods raise `RequestError` for an unknown example or label, options or a video over a limit, a
    full queue, and a model or a result that is not ready. ``on_failure`` is called if the model
    cannot be loaded.

    Attributes:
        examples: those that can be used now, by name.
        started_at: by the monotonic clock.
        requests: number of requests by method, route and status.
        errors: number of error responses by code.

    Raises:
        ConfigError: the folder of examples does not exist.
        ServiceError: the work folder cannot be used.
    """

    def __init__(self, settings: ServerSettings, on_failure: Callable[[], None]) -> None:
        self._candidates = _example_candidates(settings.examples)
        self.examples: dict[str, ExampleBody] = {}
        self.limits = settings.limits
        self.storage = Storage(settings.work_folder)
        self.jobs = Jobs(self.limits)
        self.checker = Checker(self.limits)
        worker = replace(settings.worker, scratch=self.storage.scratch)
        self.worker = WorkerHost(worker, self.limits, self.jobs, on_failure)
        self.started_at = time.monotonic()
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.errors: Counter[tuple[str, ...]] = Counter()

    def start(self) -> None:
        """Start the processes; returns at once."""
        self.worker.start(first=self._prepare_examples)

    def stop(self) -> None:
        """Cancel everything, end the processes, remove all files."""
        self.worker.stop()
        self.checker.stop()
        self.storage.close()

    @property
    def model(self) -> ModelBody:
        """The model, for clients."""
        if self.worker.facts is None:
            message = "the model is being loaded; try again in a moment"
            raise RequestError("model_loading", message, retry_after_seconds=2)
        return self.worker.facts

    async def accept_upload(
        self, request: Request, read_options: Callable[[dict[str, str]], PredictionOptions]
    ) -> Job:
        """Receive the video of a form, check it and queue its prediction.

        The request's body is unread. ``read_options`` turns the form's other fields into options.
        """
        model = self.model
        with self.jobs.place():
            folder = self.storage.new_folder(f"uploads/{new_id()}")
            try:
                video = folder / "video"
                name, fields = await receive_form(request, video, self.limits)
                options = self._with_labels(read_options(fields), model)
                facts = await asyncio.wrap_future(self.checker.submit(video, name))
                self._check_windows(options, model, facts)
                return self._queue(folder, video, name, facts, options)
            except BaseException:
                removal = asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                await asyncio.shield(removal)
                raise

    def accept_example(self, name: str, options: PredictionOptions) -> Job:
        """Queue a prediction of one of the server's own videos."""
        model, example = self.model, self.example(name)
        options = self._with_labels(options, model)
        self._check_windows(options, model, example.facts)
        with self.jobs.place():
            folder = self.storage.new_folder(f"uploads/{new_id()}")
            return self._queue(folder, example.path, example.path.name, example.facts, options)

    def extra(self, job: Job, kind: Kind) -> Task:
        """The task that makes a preview, an overlay or a report."""
        result = None if kind is Kind.PREVIEW else result_file(job)
        output = job.folder / _EXTRA_FILES[kind]
        return self.jobs.extra(job, replace(job.request, kind=kind, output=output, result=result))

    def heat_map(self, job: Job, label: str, start_seconds: float, end_seconds: float) -> Task:
        """The task that makes the attribution map of a label in an interval of the video."""
        result_file(job)
        labels = job.request.options.labels or self.model.labels
        duration = job.facts.duration_seconds
        if label not in labels:
            message = f"label {label[:80]!r}: expected {', '.join(labels)}"
            raise RequestError("unknown_label", message)
        if not 0 <= start_seconds < end_seconds or start_seconds >= duration:
            message = (
                f"from {start_seconds:g} to {end_seconds:g} s: expected an interval of the video, "
                f"which lasts {duration:g} s"
            )
            raise RequestError("invalid_request", message)
        request = replace(
            job.request,
            kind=Kind.HEAT_MAP,
            output=job.folder / f"heat-map-{new_id()}.json",
            label=label,
            interval_seconds=(start_seconds, end_seconds),
        )
        return self.jobs.extra(job, request)

    def example(self, name: str) -> ExampleBody:
        """The example of this name."""
        example = self.examples.get(name)
        if example is None:
            raise RequestError("not_found", f"no example {name[:80]!r}")
        return example

    def _queue(
        self,
        folder: Path,
        video: Path,
        name: str,
        facts: VideoFactsBody,
        options: PredictionOptions,
    ) -> Job:
        request = WorkerRequest(Kind.PREDICTION, video, folder / "result.json", name, options)
        job = Job(folder.name, folder, facts, Task(request))
        self.jobs.add(job)
        return job

    def _with_labels(self, options: PredictionOptions, model: ModelBody) -> PredictionOptions:
        """The options with labels as the model spells them; refuses those that nothing scores."""
        labels, allowed = options.labels, self.limits.num_labels
        if labels is None:
            if not model.labels:
                message = "labels: this model has none of its own: name some"
                raise RequestError("invalid_request", message)
            return options
        what = f"labels: found {len(labels)}"
        check_limit("invalid_request", what, "num_labels", allowed, len(labels))
        own = LabelSet(model.labels)
        unknown = own.unknown(labels)
        if not unknown:
            return options.model_copy(update={"labels": own.as_spelled(labels)})
        if not model.is_open_vocabulary and model.open_model is None:
            near = own.nearest(unknown)
            message = (
                f"label {unknown[0][:80]!r}: "
                + (f"nearest are {', '.join(near)}; " if near else "")
                + f"this model knows {', '.join(own)}"
                + (f"; {model.words_advice}" if model.words_advice else "")
            )
            raise RequestError("unknown_label", message)
        return options

    def _check_windows(
        self, options: PredictionOptions, model: ModelBody, facts: VideoFactsBody
    ) -> None:
        window = options.window_seconds or model.window_seconds
        # By default, windows overlap by the same share as those of the model.
        stride = options.stride_seconds or window * model.stride_seconds / model.window_seconds
        if stride > window:
            raise RequestError(
                "invalid_request",
                f"stride_seconds {stride:g}: longer than a window of {window:g} s, so that time "
                "between windows would have no scores",
            )
        # The quotient is infinite for a very short stride.
        num_windows = int(min(facts.duration_seconds / stride, _COUNTABLE)) + 1
        what = f"{num_windows} windows of {facts.duration_seconds:g} s every {stride:g} s"
        allowed = self.limits.num_windows
        check_limit("too_many_windows", what, "num_windows", allowed, num_windows)

    def _prepare_examples(self, worker: WorkerHost) -> None:
        """Check every candidate and make its picture; runs in the thread of the worker host."""
        if not self._candidates:
            return
        folder = self.storage.new_folder("examples")
        for number, (path, title, credit) in enumerate(self._candidates[:_MAX_EXAMPLES]):
            picture: Path | None = folder / f"{number}.jpg"
            try:
                facts = self.checker.submit(path, path.name).result()
            except RequestError as error:
                _logger.warning("example %s is left out: %s", path.name, error)
                continue
            try:
                worker.make(WorkerRequest(Kind.PICTURE, path, folder / f"{number}.jpg"))
            except (MsqnetError, OSError) as error:
                _logger.warning("no picture of example %s: %s", path.name, error)
                picture = None
            body = ExampleBody(
                name=path.name if path.stem in self.examples else path.stem,
                title=title,
                file_name=path.name,
                duration_seconds=facts.duration_seconds,
                width=facts.width,
                height=facts.height,
                credit=credit,
                has_picture=picture is not None,
                path=path,
                facts=facts,
                picture=picture,
            )
            # A new dict, because another thread may be reading the old one.
            self.examples = {**self.examples, body.name: body}


class ServiceMetrics(Collector):
    """Reads all metrics of a service, for Prometheus, when they are requested."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        service = self._service
        jobs, worker = service.jobs, service.worker
        counts = jobs.counts()
        for name, text, labels, values in (
            ("requests", "HTTP requests.", ["method", "route", "status"], service.requests),
            ("refusals", "Error responses, by code.", ["code"], service.errors),
            ("tasks", "Tasks of the worker that ended.", ["kind", "state"], jobs.num_finished),
            ("task_seconds", "Time the worker was busy.", ["kind"], jobs.busy_seconds),
        ):
            family = CounterMetricFamily(f"msqnet_{name}", text, labels=labels)
            # A copy, because other threads go on counting.
            for key, count in sorted(values.copy().items()):
                family.add_metric(key, count)
            yield family
        restarts = float(max(0, worker.child.num_starts - 1))
        yield CounterMetricFamily("msqnet_worker_restarts", "Workers lost.", value=restarts)
        memory = GaugeMetricFamily(
            "msqnet_resident_memory_bytes", "Memory by process.", labels=["process"]
        )
        pids = {
            "server": os.getpid(),
            "worker": worker.child.pid,
            "checker": service.checker.child.pid,
        }
        for name, pid in pids.items():
            if pid is not None:
                with suppress(psutil.Error):  # it has just ended
                    memory.add_metric([name], psutil.Process(pid).memory_info().rss)
        yield memory
        for name, text, value in (
            ("uploads_arriving", "Uploads being sent or checked.", counts["arriving"]),
            ("tasks_waiting", "Tasks in the queue.", counts["waiting"]),
            ("tasks_running", "Tasks the worker is at.", counts["running"]),
            ("jobs_kept", "Videos known to the server.", counts["kept"]),
            ("stored_bytes", "Files that are kept.", service.storage.num_bytes()),
            ("worker_ready", "Whether the model is loaded.", worker.is_ready),
            ("up_seconds", "Time since the start.", time.monotonic() - service.started_at),
        ):
            yield GaugeMetricFamily(f"msqnet_{name}", text, value=float(value))


def _example_candidates(folder: Path | None) -> list[tuple[Path, str, str]]:
    """Files that may be examples, each with its title and credit."""
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"examples {folder}: no such folder")
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        shown = [path for path in files if not path.name.startswith(".")]
        return [(path, path.stem.replace("_", " "), "") for path in shown]
    return [(clip.path, clip.title, clip.credit) for clip in demo_clips()]


def result_file(job: Job) -> Path:
    """The JSON of a finished prediction; raises `RequestError` if it is unfinished or failed."""
    task = job.prediction
    if task.state is State.DONE:
        return task.request.output
    if task.state in UNFINISHED:
        raise RequestError("not_finished", f"the prediction is {task.state}; wait for it")
    reason = task.error.message if task.error else "it was cancelled"
    raise RequestError("not_finished", f"there is no result: {reason}")
