"""What `msqnet batch` shows: how far it is, what failed, and a summary."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from msqnet.cli.console import say
from msqnet.report.style import format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.progress import Progress

    from msqnet.batch.run import Runner
    from msqnet.inference.results import Outcome, VideoJob

_LINE_SECONDS = 30.0
_NUM_SHOWN_ERRORS = 20


def show_run(jobs: Sequence[VideoJob], runner: Runner, out: str) -> int:
    """Run, with progress on the error stream and a summary on the output.

    Args:
        jobs: the work list.
        runner: what works on it.
        out: folder or URL of the results.

    Returns:
        The exit code.
    """
    from rich.console import Console

    from msqnet.batch.run import run_batch

    progress = _Progress(len(jobs), Console(stderr=True))
    try:
        with progress, closing(run_batch(jobs, runner, out)) as outcomes:
            for outcome in outcomes:
                progress.add(outcome)
    finally:
        say(Console(), progress.summary(out))
    return 0 if progress.is_all_answered else 1


def show_status(out: str) -> int:
    """Show how far a run is.

    Returns:
        0 if every video is answered, else 1.
    """
    from rich.console import Console

    from msqnet.batch.run import BatchStatus

    status = BatchStatus(out)
    console = Console()
    state = {True: "running", False: "not running", None: "unknown whether it runs"}
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started_at))
    say(console, f"{out}: {state[status.is_running]}; last started {when}")
    counts: Counter[str] = Counter(outcome.status for outcome in status.outcomes)
    say(console, f"{len(status.outcomes)} of {status.num_videos} videos: {_counted(counts)}")
    _show_errors(console, status.outcomes)
    return 0 if counts["ok"] == status.num_videos else 1


class _Progress:
    """Counts outcomes, and shows them: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, num_jobs: int, console: Console) -> None:
        self._num_jobs = num_jobs
        self._console = console
        self._bar = _bar(console)
        self._task = self._bar.add_task("", total=num_jobs, details="")
        self._started = time.monotonic()
        self._line_at = self._started
        self._statuses: Counter[str] = Counter()
        self._num_existed = 0
        self._video_seconds = 0.0

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @property
    def is_all_answered(self) -> bool:
        """Whether there are whole results of every video."""
        return self._statuses["ok"] == self._num_jobs

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-3)

    def add(self, outcome: Outcome) -> None:
        """Count and show what became of one video."""
        self._statuses[outcome.status] += 1
        if outcome.existed:
            self._num_existed += 1
        else:
            self._video_seconds += outcome.duration_seconds
        if outcome.status != "ok":
            say(self._console, f"msqnet: {_error_line(outcome)}")
        self._bar.update(self._task, advance=1, details=self._details())
        is_due = time.monotonic() - self._line_at > _LINE_SECONDS
        if is_due and not self._console.is_terminal:
            self._line_at = time.monotonic()
            done = self._statuses.total()
            say(self._console, f"msqnet: {done} of {self._num_jobs} videos, {self._details()}")

    def _details(self) -> str:
        """Rate, time left and failures; what existed before says nothing of the rate."""
        rate = (self._statuses.total() - self._num_existed) / self._seconds
        num_left = self._num_jobs - self._statuses.total()
        left = f"{format_time(num_left / rate, 0)} left" if rate else "time left unknown"
        num_failed = self._statuses["error"] + self._statuses["timeout"]
        return f"{rate:.2f} videos/s, {left}, {num_failed} failed"

    def summary(self, out: str) -> str:
        """What became of all videos."""
        num_new = self._statuses.total() - self._num_existed
        parts = [_counted(self._statuses)]
        if self._num_existed:
            parts.append(f"{self._num_existed} of them done before")
        if num_left := self._num_jobs - self._statuses.total():
            parts.append(f"{num_left} left")
        hours = self._video_seconds / 3600
        speed = (
            f"{num_new} in {format_time(self._seconds, 0)}, "
            f"{num_new / self._seconds:.2f} videos/s, {hours:.2f} h of video"
        )
        return f"{', '.join(parts)}; {speed}; results: {out}"


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in sorted(+counts)) or "nothing done"


def _error_line(outcome: Outcome) -> str:
    about = "" if outcome.source in outcome.message else f"{outcome.source}: "
    return f"{outcome.status}: {about}{outcome.message}"


def _show_errors(console: Console, outcomes: Iterable[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.status != "ok"]
    for outcome in failed[:_NUM_SHOWN_ERRORS]:
        say(console, _error_line(outcome))
    if len(failed) > _NUM_SHOWN_ERRORS:
        say(console, f"and {len(failed) - _NUM_SHOWN_ERRORS} more; errors.csv lists all")
