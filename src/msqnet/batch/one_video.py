"""The work on one video, the same wherever it runs: inline, in another process, on Ray.

The files in the results folder alone decide what is finished. They are published in an order such
that a kill at any moment leaves either a whole result or none that counts: the data set first, its
table `videos` last; then the scores, the table of segments, and at the very end the JSON. Where
results are replaced, the old JSON goes first.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msqnet.batch.data_set import (
    provenance_digest,
    read_record,
    table_names,
    write_data_set,
)
from msqnet.batch.locations import LocalOutput, Refused, local_copy, local_path, source_state
from msqnet.errors import ConfigError, DatasetError, MsqnetError, ShapeError, VideoError
from msqnet.inference.results import DRAWN_SUFFIXES, Outcome, result_names
from msqnet.predictions import VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.batch.locations import LocalCopy, Output
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import Cause, Status, VideoJob

ResultT = TypeVar("ResultT")

_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, Refused)
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class JobSettings:
    """How one video is worked on.

    Attributes:
        out: folder or URL of the results.
        overwrite: whether results of anything else are replaced.
        recompute: whether results of the same video, model and settings are replaced too.
        num_retries: how often reading or writing that failed is tried again.
        first_wait_seconds: before the first retry; each later wait is twice as long.
        time_limit_seconds: for one video, with its retries.
        max_bytes: a remote file that is larger is refused.
        with_data_set: whether the video's part of the data set of all results is written too.
    """

    out: str
    overwrite: bool = False
    recompute: bool = False
    num_retries: int = 3
    first_wait_seconds: float = 1.0
    time_limit_seconds: float = 3600.0
    max_bytes: int = 100 * 10**9
    with_data_set: bool = True

    def __post_init__(self) -> None:
        if self.num_retries < 0:
            raise ConfigError(f"retries {self.num_retries}: expected 0 or more")
        for name in ("first_wait_seconds", "time_limit_seconds", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} {getattr(self, name)}: expected more than 0")


class TookTooLong(MsqnetError):  # noqa: N818 - says what happened
    """The time for a video is over."""


class GaveUp(MsqnetError):  # noqa: N818 - says what happened
    """Reading or writing failed, and trying again did not help, or would not.

    Args:
        cause: what was tried.
        message: what went wrong.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class RetryPolicy:
    """The time and the retries of one video.

    Args:
        name: of the video; the same name waits equally long in every run.
        settings: how long and how often.

    Attributes:
        num_retries: that were used up, by all actions together.
    """

    def __init__(self, name: str, settings: JobSettings) -> None:
        self._settings = settings
        self._random = random.Random(name.encode("utf-8", "surrogateescape"))
        self._started = time.monotonic()
        self.num_retries = 0

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    def check_time(self) -> None:
        """Do nothing while there is time.

        Raises:
            TookTooLong: there is none left.
        """
        limit = self._settings.time_limit_seconds
        if self.seconds > limit:
            raise TookTooLong(f"took longer than {limit:g} s; --time_limit_seconds allows more")

    def retried(self, cause: Cause, action: Callable[[], ResultT]) -> ResultT:
        """Do something that reads or writes files, again and again if that fails.

        Waits grow by a factor of two, each drawn between half and all of its length, so that many
        processes do not ask a server at the same moment.

        Raises:
            GaveUp: it failed too often, or in a way that stays.
            TookTooLong: the time is over.
        """
        while True:
            self.check_time()
            try:
                return action()
            except OSError as error:
                text = str(error) or type(error).__name__
                if isinstance(error, _FINAL):
                    raise GaveUp(cause, text) from error
                if self.num_retries == self._settings.num_retries:
                    attempts = f" (tried {self.num_retries + 1} times)" if self.num_retries else ""
                    raise GaveUp(cause, f"{text}{attempts}") from error
            longest = self._settings.first_wait_seconds * 2**self.num_retries
            wait = min(longest, _LONGEST_WAIT_SECONDS) * self._random.uniform(0.5, 1.0)
            left = self._settings.time_limit_seconds - self.seconds
            time.sleep(max(0.0, min(wait, left)))
            self.num_retries += 1


def process_video(
    job: VideoJob,
    predictor: Predictor,
    output: Output | None,
    settings: JobSettings,
    progress: Callable[[float], None] | None = None,
) -> tuple[Outcome, VideoPredictions | None]:
    """Predict one video and publish its results, unless they are there.

    Nothing that is wrong with the video, with reading or with writing is raised.

    Args:
        job: the video.
        predictor: what predicts.
        output: where results go; None keeps them nowhere.
        settings: retries, time and size.
        progress: called with the share that is predicted, from 0 to 1.

    Returns:
        What became of it; and its predictions, unless they failed or existed before.
    """
    work = _Work(job, predictor, output, settings, progress)
    outcome = work.outcome()
    is_new = outcome.has_results and not outcome.existed
    return outcome, work.predictions if is_new else None


class _Work:
    """One video in work, with what is known of it so far."""

    def __init__(
        self,
        job: VideoJob,
        predictor: Predictor,
        output: Output | None,
        settings: JobSettings,
        progress: Callable[[float], None] | None,
    ) -> None:
        self._job = job
        self._predictor = predictor
        self._output = output
        self._settings = settings
        self._show = progress or (lambda _share: None)
        self._retry = RetryPolicy(job.name, settings)
        self._provenance = predictor.provenance
        self._results = result_names(job.name)
        # In the order of publishing, the JSON last.
        tables = table_names(job.name) if settings.with_data_set else ()
        self._names = (*tables, *reversed(self._results))
        self._fetched = ""
        self._so_far = Outcome(
            job.name, job.source, "error", provenance_digest=provenance_digest(self._provenance)
        )
        self.predictions: VideoPredictions | None = None

    def outcome(self) -> Outcome:
        """Do the work; errors become outcomes."""
        try:
            if (unchanged := self._unchanged()) is not None:
                return unchanged
            with ExitStack() as stack:
                folder = self._retry.retried("writing", lambda: self._staging(stack))
                done = self._retry.retried("reading", lambda: self._answer(folder))
        except TookTooLong as error:
            done = self._failed("timeout", "time_limit", error)
        except GaveUp as error:
            done = self._failed("error", error.cause, error)
        except VideoError as error:
            done = self._failed("error", "bad_file", error)
        except ConfigError as error:  # an address of a kind that nothing here can read
            done = self._failed("error", "reading", error)
        return replace(done, seconds=self._retry.seconds, num_attempts=self._retry.num_retries + 1)

    def _staging(self, stack: ExitStack) -> Path:
        """A folder for this video, until the stack is closed."""
        if self._output is None:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="msqnet-")))
        return stack.enter_context(self._output.staging())

    def _failed(self, status: Status, cause: Cause, error: Exception) -> Outcome:
        message = str(error)
        if self._fetched:
            message = message.replace(self._fetched, self._job.source)
        return replace(self._so_far, status=status, cause=cause, message=message)

    def _unchanged(self) -> Outcome | None:
        """What an earlier run found, if that still holds; neither video nor results are read."""
        if self._output is None or not self._settings.with_data_set:
            return None
        state = self._retry.retried("reading", lambda: source_state(self._job.source))
        self._so_far = replace(self._so_far, source_state=state)
        known = self._job.known
        if (
            known is not None
            and known.has_results
            and (known.name, known.source) == (self._job.name, self._job.source)
            and known.provenance_digest == self._so_far.provenance_digest
            and known.source_state == state != ""
            and known.output_state == self._output.state(self._names)
        ):
            return replace(known, existed=True)
        return None

    def _answer(self, folder: Path) -> Outcome:
        """Predict the video and publish its results, unless they are there."""
        job, settings, check_time = self._job, self._settings, self._retry.check_time

        def progress(share: float) -> None:
            check_time()
            self._show(share)

        with local_copy(job.source, folder, settings.max_bytes, check_time) as copy:
            digest = copy.digest() if settings.with_data_set else ""
            self._so_far = replace(self._so_far, digest=digest, num_bytes=copy.num_bytes)
            self._fetched = str(copy.path) if copy.fetched_digest else ""
            stored = self._stored(copy)
            if stored is not None and self._output and self._output.state(self._names):
                return replace(self._answered(stored), existed=True)
            predictions = stored or self._predictor(copy.path, progress)
        self.predictions = replace(predictions, path=job.source)
        if self._output is not None:
            if stored is None:
                self._remove_others(self._output)
            self._publish(self.predictions, self._output, folder)
        return self._answered(self.predictions)

    def _stored(self, copy: LocalCopy) -> VideoPredictions | None:
        """Results of this video, model and settings, if they are there.

        Results that are in no data set count if they are not older than the video; what they lack
        of the data set is then made of them.

        Raises:
            GaveUp: there are others, and they are to be kept.
        """
        output = self._output
        present = [] if output is None else output.present(self._results)
        if output is None or not present or self._settings.recompute:
            return None
        content = output.read(self._results[0])
        record = output.read(table_names(self._job.name)[-1])
        stored = None
        with suppress(DatasetError, ShapeError, ValueError):  # damaged
            stored = content and VideoPredictions.from_json(content.decode("ascii"))
        if stored is None and record is not None:
            return None  # publishing was interrupted, or the machine stopped before all was on disk
        if stored and stored.provenance == self._provenance:
            found = None if record is None else read_record(record)
            if found is None:
                is_same = self._is_not_older(stored, output)
            else:
                is_same = found.digest == (self._so_far.digest or copy.digest())
            if is_same:
                return stored
        if self._settings.overwrite:
            return None
        raise GaveUp(
            "other_results",
            f"{output.location}/{present[0]} exists and is not of this video, model and settings; "
            "--overwrite replaces it",
        )

    def _is_not_older(self, stored: VideoPredictions, output: Output) -> bool:
        """Whether a local video was not changed after results that carry no digest were written."""
        video = local_path(self._job.source)
        if video is None or not isinstance(output, LocalOutput):
            return False
        written = output.folder / self._results[0]
        is_same_path = Path(stored.path).absolute() == Path(video).absolute()
        return is_same_path and Path(video).stat().st_mtime <= written.stat().st_mtime

    def _remove_others(self, output: Output) -> None:
        """Remove the JSON of other results, which then count no more, and their drawings."""
        drawn = [self._job.name + suffix for suffix in DRAWN_SUFFIXES]
        for name in output.present((self._results[0], *drawn)):
            self._retry.retried("writing", partial(output.remove, name))

    def _publish(self, predictions: VideoPredictions, output: Output, folder: Path) -> None:
        def staged() -> tuple[Path, ...]:
            """The files, written but not published, in the order of publishing."""
            tables: tuple[Path, ...] = ()
            if self._settings.with_data_set:
                tables = write_data_set(
                    predictions,
                    name=self._job.name,
                    digest=self._so_far.digest,
                    num_bytes=self._so_far.num_bytes,
                    folder=folder,
                )
            return (*tables, *reversed(predictions.write(folder / "video")))

        paths = self._retry.retried("writing", staged)
        for name, path in zip(self._names, paths, strict=True):
            self._retry.retried("writing", partial(output.publish, name, path))

    def _answered(self, predictions: VideoPredictions) -> Outcome:
        return replace(
            self._so_far,
            status="partial" if predictions.notes else "ok",
            cause="damaged" if predictions.notes else "",
            message="; ".join(predictions.warnings),
            duration_seconds=predictions.duration_seconds,
            output_state=self._output.state(self._names) if self._output else "",
        )
