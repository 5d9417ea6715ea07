"""`msqnet batch`: many videos, resumable, in processes or on a Ray cluster."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import say, show_skipped
from msqnet.config import InferenceOptions
from msqnet.errors import check
from msqnet.process import num_usable_cores
from msqnet.style import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.batch.run import Runner
    from msqnet.inference.results import Outcome, VideoJob

_LINE_SECONDS = 30.0
_NUM_SHOWN_ERRORS = 20


def run(
    inputs: list[str],
    out: str,
    options: InferenceOptions = InferenceOptions(),  # noqa: B008 - frozen
    processes: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    gpus_per_actor: float = 0.0,
    retries: int = 3,
    time_limit_seconds: float = 3600.0,
    max_gigabytes: float = 100.0,
    overwrite: bool = False,
    list_skipped: bool = False,
    yes: bool = False,
) -> int:
    """Predict many videos, in processes or on a Ray cluster; go on after a stop.

    Predicts every video of the inputs that is not done. After a stop, the same command continues:
    finished videos are skipped.

    Args:
        out: Folder or URL (s3://, gs://, ...) of the results: for each video the files of
            `msqnet predict`, and for all `dataset/` (Parquet), index.csv and errors.csv.
        inputs: Folders (searched recursively), videos, patterns such as 'in/*.mp4', or manifests
            (.csv, .tsv, .xlsx, .ods, .parquet) with a column path and maybe a column name; local or
            by URL (s3://, gs://, http://, ...).
        options: Which model, and how it predicts.
        processes: Processes that work at the same time; each holds the model. 0 works in this
            process, where a video that hangs cannot be stopped. With --ray the most actors.
        threads: Threads of each process on a CPU; by default the cores divided by the processes.
            Scores are the same to 1e-6 wherever a video is predicted with the same number.
        ray: Work on a Ray cluster: `auto` joins the one that this machine belongs to, an address
            such as `head:6379` that one, `local` starts one of this machine for the run.
        gpus_per_actor: GPUs that Ray reserves for each actor; a part such as 0.25 shares one.
        retries: How often a file that cannot be read or written is tried again, after waits that
            double. A file that is no video is never tried again.
        time_limit_seconds: For one video; after it, it is an error of status `timeout`.
        max_gigabytes: A remote file that is larger is not fetched.
        overwrite: Replace results of other videos, models or settings. Those of the same are kept
            in any case.
        list_skipped: List the files of folders that are no videos in index.csv.
        yes: Fetch the open model that scores words which the shipped model does not know, if it is
            not on this machine, without a question.

    Returns:
        0 if every video was predicted; 1 if any video failed or was only partly readable.
    """
    from msqnet.batch.locations import local_path
    from msqnet.batch.one_video import JobSettings
    from msqnet.batch.runners import InlineRunner, ProcessesRunner, ResultsFolder, load_predictor
    from msqnet.batch.work_list import find_jobs
    from msqnet.cli.open_words import choose_model

    check(processes >= 0, f"--processes {processes}: expected 0 or more")
    check(
        ray is not None or not gpus_per_actor,
        "--gpus-per-actor is for --ray; processes take --device cuda:0, ...",
    )
    num_threads = max(1, num_usable_cores() // max(1, processes)) if threads is None else threads
    check(num_threads >= 1, f"--threads {threads}: expected at least 1")
    settings = JobSettings(
        out,
        overwrite=overwrite,
        num_retries=retries,
        time_limit_seconds=time_limit_seconds,
        max_bytes=round(max_gigabytes * 10**9),
    )
    skipped: list[str] = []
    jobs = find_jobs(inputs, skipped=skipped)
    folder = local_path(out)
    check(not list_skipped or folder is not None, "--list-skipped needs a local folder as --out")
    show_skipped(skipped, ResultsFolder(Path(folder)) if list_skipped and folder else None)
    load = partial(load_predictor, choose_model(options, yes=yes), num_threads)
    runner: Runner
    if ray is not None:
        from msqnet.batch.ray_runner import RayRunner

        runner = RayRunner(settings, load, max(1, processes), ray, gpus_per_actor, num_threads)
    elif processes == 0:
        runner = InlineRunner(load(), settings)
    else:
        runner = ProcessesRunner(settings, load, processes)
    return show_run(jobs, runner, out)


def status(out: str) -> int:
    """Show how far a batch run is, and what failed.

    Args:
        out: Folder or URL of the results.

    Returns:
        0 if every video was predicted, else 1.
    """
    from rich.console import Console

    from msqnet.batch.run import BatchStatus

    found, console = BatchStatus(out), Console()
    state = {True: "running", False: "not running", None: "unknown whether it runs"}
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started_at))
    say(console, f"{out}: {state[found.is_running]}; last started {when}")
    counts: Counter[str] = Counter(outcome.status for outcome in found.outcomes)
    say(console, f"{len(found.outcomes)} of {found.num_videos} videos: {_counted(counts)}")
    failed = [outcome for outcome in found.outcomes if outcome.status != "ok"]
    for outcome in failed[:_NUM_SHOWN_ERRORS]:
        say(console, _error_line(outcome))
    if len(failed) > _NUM_SHOWN_ERRORS:
        say(console, f"and {len(failed) - _NUM_SHOWN_ERRORS} more; errors.csv lists all")
    return 0 if counts["ok"] == found.num_videos else 1


def show_run(jobs: Sequence[VideoJob], runner: Runner, out: str) -> int:
    """Run, with progress on the error stream and a summary on the output; returns the exit code."""
    from rich.console import Console

    from msqnet.batch.run import run_batch

    progress = _Progress(len(jobs), Console(stderr=True))
    try:
        with progress.bar, closing(run_batch(jobs, runner, out)) as outcomes:
            for outcome in outcomes:
                progress.add(outcome)
    finally:
        say(Console(), progress.summary(out))
    return 0 if progress.counts["ok"] == len(jobs) else 1


class _Progress:
    """Counts outcomes, and shows them: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, num_jobs: int, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._num_jobs = num_jobs
        self._console = console
        self.bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self.bar.add_task("", total=num_jobs, details="")
        self._started = self._line_at = time.monotonic()
        self.counts: Counter[str] = Counter()
        self._num_existed = 0
        self._video_seconds = 0.0

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-3)

    def add(self, outcome: Outcome) -> None:
        """Count and show the outcome of one video."""
        self.counts[outcome.status] += 1
        if outcome.existed:
            self._num_existed += 1
        else:
            self._video_seconds += outcome.duration_seconds
        if outcome.status != "ok":
            say(self._console, f"msqnet: {_error_line(outcome)}")
        # Videos that were done before say nothing about the rate.
        num_done = self.counts.total()
        rate = (num_done - self._num_existed) / self._seconds
        left = f"{format_time((self._num_jobs - num_done) / rate, 0)} left" if rate else ""
        num_failed = self.counts["error"] + self.counts["timeout"]
        details = f"{rate:.2f} videos/s, {left or 'time left unknown'}, {num_failed} failed"
        self.bar.update(self._task, advance=1, details=details)
        is_due = time.monotonic() - self._line_at > _LINE_SECONDS
        if is_due and not self._console.is_terminal:
            self._line_at = time.monotonic()
            say(self._console, f"msqnet: {num_done} of {self._num_jobs} videos, {details}")

    def summary(self, out: str) -> str:
        """The counts, the speed and where the results are."""
        num_new = self.counts.total() - self._num_existed
        parts = [_counted(self.counts)]
        if self._num_existed:
            parts.append(f"{self._num_existed} of them done before")
        if num_left := self._num_jobs - self.counts.total():
            parts.append(f"{num_left} left")
        hours = self._video_seconds / 3600
        speed = (
            f"{num_new} in {format_time(self._seconds, 0)}, "
            f"{num_new / self._seconds:.2f} videos/s, {hours:.2f} h of video"
        )
        return f"{', '.join(parts)}; {speed}; results: {out}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in sorted(+counts)) or "nothing done"


def _error_line(outcome: Outcome) -> str:
    about = "" if outcome.source in outcome.message else f"{outcome.source}: "
    return f"{outcome.status}: {about}{outcome.message}"
