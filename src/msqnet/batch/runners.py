"""Where videos are predicted: in this process, for `msqnet predict` and `batch`, or in several."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from msqnet.batch.locations import LocalOutput, cannot_write, open_output
from msqnet.batch.one_video import JobSettings, has_results, outcome_of, process_video
from msqnet.child_process import ChildDied, ChildProcess, ChildTimedOut, answer_requests
from msqnet.errors import DatasetError
from msqnet.files import csv_writer, replacing
from msqnet.inference.results import (
    DRAWN_SUFFIXES,
    INDEX_FILE,
    OUTPUT_SEPARATOR,
    IndexRow,
    Outcome,
    index_row,
    open_index,
    read_index,
    write_index,
)
from msqnet.predictions import VideoPredictions, result_names
from msqnet.process import keep_freed_memory, limit_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from msqnet.answers import Answer
    from msqnet.config import InferenceOptions
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import VideoJob

_logger = logging.getLogger(__name__)
_START_SECONDS = 600.0
_GRACE_SECONDS = 10.0
_MAX_DEATHS = 2
_PRELOADED = ("msqnet.inference.predictor", "msqnet.batch.one_video", "msqnet.batch.locations")


def load_predictor(options: InferenceOptions, num_threads: int) -> Predictor:
    """Load the model in this process, which computes by so many threads on a CPU."""
    from msqnet.inference.predictor import Predictor

    limit_threads(num_threads)
    return Predictor.from_pretrained(options=options)


@dataclass(frozen=True)
class InlineRunner:
    """Works in this process: a video that kills or hangs its work kills or hangs the run.

    The time limit is checked after each batch of windows.
    """

    predictor: Predictor
    settings: JobSettings

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[Outcome, None, None]:
        """The outcome of each job, in order."""
        output = open_output(self.settings.out)
        for job in jobs:
            yield process_video(job, self.predictor, output, self.settings)[0]


@dataclass(frozen=True)
class ProcessesRunner:
    """Works in processes, each fed with one job at a time by a thread of this process.

    ``load`` returns the predictor; it is called in each process, so it has to pickle.
    """

    settings: JobSettings
    load: Callable[[], Predictor]
    num_processes: int

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[Outcome, None, None]:
        """The outcome of each job, in the order in which they are done."""
        todo: queue.SimpleQueue[VideoJob] = queue.SimpleQueue()
        for job in jobs:
            todo.put(job)
        done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        num_workers = min(self.num_processes, len(jobs))
        workers = [VideoWorker(self.settings, self.load) for _ in range(num_workers)]
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
                worker.child.kill()
            for thread in threads:
                thread.join()


def _drive(
    worker: VideoWorker,
    todo: queue.SimpleQueue[VideoJob],
    done: queue.SimpleQueue[Outcome | BaseException],
) -> None:
    """Give a worker job after job; what goes wrong with the worker itself ends the run."""
    try:
        worker.child.start()
        while True:
            done.put(worker.outcome(todo.get_nowait()))
    except queue.Empty:
        worker.child.stop()
    except BaseException as error:  # raised again by the thread that waits
        done.put(error)


class VideoWorker:
    """A process that works on one video at a time; it is started when the first one comes.

    ``load`` is that of `ProcessesRunner`.
    """

    def __init__(self, settings: JobSettings, load: Callable[[], Predictor]) -> None:
        self._settings = settings
        self.child = ChildProcess(
            "worker", _run_worker, (settings, load), _START_SECONDS, _PRELOADED
        )

    def outcome(self, job: VideoJob) -> Outcome:
        """Work on one video; a process that dies over it gets a second chance.

        `MsqnetError` if the model cannot be loaded, or the process was killed on purpose.
        """
        started = time.monotonic()
        limit = self._settings.time_limit_seconds
        for num_deaths in range(1, _MAX_DEATHS + 1):
            pid = None
            try:
                if not self.child.is_running:
                    self.child.start()
                pid = self.child.pid
                outcome: Outcome = self.child.ask(job, limit + _GRACE_SECONDS)
                return outcome
            except ChildTimedOut as error:
                message = f"{error}; --time-limit-seconds allows more"
                failed = Outcome(job.name, job.source, "timeout", "time_limit", message)
                break
            except ChildDied as error:
                if self.child.is_killed:
                    raise
                _logger.info("%s: %s", job.source, error)
                message = f"the process that worked on it died {num_deaths} times: {error}"
                failed = Outcome(
                    job.name, job.source, "error", "process_died", message, num_attempts=num_deaths
                )
            finally:
                if pid is not None and not self.child.is_running:
                    open_output(self._settings.out).clear_staging(pid)
        return replace(failed, seconds=time.monotonic() - started)


def _run_worker(
    connection: Connection, argument: tuple[JobSettings, Callable[[], Predictor]]
) -> None:
    keep_freed_memory()
    settings, load = argument

    def prepare() -> tuple[None, Any]:
        predictor, output = load(), open_output(settings.out)
        return None, lambda job, _report: process_video(job, predictor, output, settings)[0]

    answer_requests(connection, prepare)


class ResultsFolder:
    """The folder that `msqnet predict` writes to, and its index.

    The index gets a row after each video, so that whatever stops a run leaves the index of what was
    done; rows of earlier runs are kept. `ConfigError` if ``folder`` is a file, `DatasetError` if
    its `index.csv` was not written by msqnet, `OSError` if it cannot be made.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.output = LocalOutput(folder)
        self.folder = folder
        self.index_path = folder / INDEX_FILE
        self.overwrite = overwrite
        self._rows = {row.input: row for row in read_index(self.index_path)}
        self._is_appended = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def record(self, row: IndexRow) -> None:
        """Put a row into the index, in place of an earlier one of the same input.

        A row of a new input is appended: of thousands, none costs more than the first.
        """
        is_new = row.input not in self._rows
        self._rows[row.input] = row
        if self._is_appended and is_new:
            with open_index(self.index_path, "a") as file:
                csv_writer(file, row.input + row.error + row.note).writerow(astuple(row))
            return
        self._is_appended = False  # if writing fails, the content of the file is not known
        write_index(self.index_path, self._rows.values())
        self._is_appended = True

    def has_all(
        self, jobs: Sequence[VideoJob], known_provenance: Callable[[], dict[str, Any] | None]
    ) -> bool:
        """Whether the results of all videos, by this model and these settings, are there.

        ``known_provenance`` tells model and settings; it is asked only if there may be all.
        """
        names = [result_names(job.name)[0] for job in jobs]
        if self.overwrite or not all(map(self.output.file_state, names)):
            return False
        found = known_provenance()
        return found is not None and all(has_results(job, found, self.output) for job in jobs)

    def record_outcome(self, job: VideoJob, outcome: Outcome | None = None) -> IndexRow:
        """The row of a video in the index, by default that of results which exist."""
        if outcome is None:
            known = Outcome(job.name, job.source, "ok", existed=True)
            outcome = outcome_of(self.read(job), known)
        row = index_row(outcome, self.drawn(job) if outcome.existed else ())
        self.record(row)
        return row

    def read(self, job: VideoJob) -> VideoPredictions:
        """The results that exist of a video; raises `DatasetError` if they are not complete."""
        content = self.output.read(f"{job.name}.json")
        if content is None:
            raise DatasetError(f"{self.folder / job.name}.json: it is not there any more")
        return VideoPredictions.from_json(content.decode("ascii"))

    def add_answers(self, job: VideoJob, answers: Sequence[Answer]) -> None:
        """Add answers to the JSON of a video; see `VideoPredictions.with_answers`."""
        text = self.read(job).with_answers(answers).to_json()
        with replacing(self.folder / result_names(job.name)[0]) as part:
            part.write_text(text, encoding="ascii")

    def drawn(self, job: VideoJob) -> list[str]:
        """Names of the drawings that exist of a video."""
        names = [job.name + suffix for suffix in DRAWN_SUFFIXES]
        return [name for name in names if self.output.file_state(name)]

    def record_drawing(self, job: VideoJob, row: IndexRow, problem: str = "") -> None:
        """Add the drawings of a video to its row, and why drawing failed, if it did."""
        drawn = self.drawn(job)
        outputs = [name for name in row.outputs.split(OUTPUT_SEPARATOR) if name not in drawn]
        notes = [row.error] if row.error else []
        notes += [f"not drawn: {problem}"] if problem else []
        joined = OUTPUT_SEPARATOR.join([*outputs, *drawn])
        self.record(replace(row, outputs=joined, error="; ".join(notes)))


def predict_into(
    results: ResultsFolder | None,
    job: VideoJob,
    predictor: Predictor,
    progress: Callable[[float], None] | None = None,
) -> tuple[IndexRow, VideoPredictions | None]:
    """Predict one of many videos: a broken one gives a row that says so, no exception.

    Args:
        results: where files and the row go; None keeps them nowhere.
        progress: called with the share that is done, from 0 to 1.

    Returns:
        The row, and the predictions unless there are none or they existed before; `OSError` if the
        index cannot be written.
    """
    overwrite = results is not None and results.overwrite
    settings = JobSettings(
        str(results.folder) if results else "",
        overwrite=overwrite,
        recompute=overwrite,
        num_retries=0,
        time_limit_seconds=math.inf,
        with_data_set=False,
    )
    output = results.output if results else None
    outcome, predictions = process_video(job, predictor, output, settings, progress)
    return results.record_outcome(job, outcome) if results else index_row(outcome), predictions
