"""Predict one video and publish its results: the same inline, in another process and on Ray.

The files in the results folder alone decide what is finished. They are published in an order such
that a kill at any moment leaves either a whole result or none that counts: the data set first, its
table `videos` last; then the scores, the table of segments, and at the very end the JSON. Where
results are replaced, the old JSON goes first.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from msqnet.batch.data_set import provenance_digest, stored_digest, table_names, write_data_set
from msqnet.batch.locations import (
    LocalCopy,
    LocalOutput,
    Refused,
    local_copy,
    local_path,
    source_state,
)
from msqnet.config.differences import differences
from msqnet.errors import (
    ConfigError,
    DatasetError,
    MsqnetError,
    ShapeError,
    VideoError,
    check,
    check_numbers,
    unexpected,
)
from msqnet.inference.results import DRAWN_SUFFIXES, Outcome
from msqnet.predictions import VideoPredictions, result_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.batch.locations import Output
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import Cause, Status, VideoJob

ResultT = TypeVar("ResultT")

_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, Refused)
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class JobSettings:
    """How each video is processed.

    Attributes:
        out: folder or URL of the results.
        overwrite: replace results of another video, model or settings.
        recompute: replace results of the same video, model and settings too.
        num_retries: how often reading or writing that failed is tried again.
        first_wait_seconds: before the first retry; each later wait is twice as long.
        time_limit_seconds: for one video, with its retries.
        max_bytes: a remote file that is larger is refused.
        with_data_set: write the video's part of the data set of all results too.
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
        check(self.num_retries >= 0, f"retries {self.num_retries}: expected 0 or more")
        check_numbers(self, ("first_wait_seconds", "time_limit_seconds", "max_bytes"))


class GaveUp(MsqnetError):  # noqa: N818 - says what happened
    """The time is over, or reading or writing failed and another try did not or would not help."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass
class RetryPolicy:
    """The time and the retries of one video.

    Attributes:
        name: of the video; the same name waits equally long in every run.
        show: called with the share that is predicted, from 0 to 1.
        num_retries: that were used up, by all actions together.
        started: by `time.monotonic`.
    """

    name: str
    settings: JobSettings
    show: Callable[[float], None] | None = None
    num_retries: int = 0
    started: float = field(default_factory=time.monotonic)

    def check_time(self, share: float | None = None) -> None:
        """Raise `GaveUp` if there is no time left; else show the share that is predicted."""
        limit = self.settings.time_limit_seconds
        if time.monotonic() - self.started > limit:
            raise GaveUp(
                "time_limit", f"took longer than {limit:g} s; --time-limit-seconds allows more"
            )
        if share is not None and self.show is not None:
            self.show(share)

    def retried(self, cause: Cause, action: Callable[[], ResultT]) -> ResultT:
        """Call what reads or writes files, again if that fails.

        Waits grow by a factor of two, each drawn between half and all of its length, so that many
        processes do not ask a server at the same moment. `GaveUp` is raised if it failed too often
        or for good, or the time is over.
        """
        while True:
            self.check_time()
            try:
                return action()
            except OSError as error:
                text = str(error) or type(error).__name__
                if isinstance(error, _FINAL):
                    raise GaveUp(cause, text) from error
                if self.num_retries == self.settings.num_retries:
                    attempts = f" (tried {self.num_retries + 1} times)" if self.num_retries else ""
                    raise GaveUp(cause, f"{text}{attempts}") from error
            longest = self.settings.first_wait_seconds * 2**self.num_retries
            seed = f"{self.num_retries} {self.name}".encode("utf-8", "surrogateescape")
            wait = min(longest, _LONGEST_WAIT_SECONDS) * random.Random(seed).uniform(0.5, 1.0)
            left = self.started + self.settings.time_limit_seconds - time.monotonic()
            time.sleep(max(0.0, min(wait, left)))
            self.num_retries += 1


def process_video(
    job: VideoJob,
    predictor: Predictor,
    output: Output | None,
    settings: JobSettings,
    progress: Callable[[float], None] | None = None,
) -> tuple[Outcome, VideoPredictions | None]:
    """Predict one video and publish its results, unless they exist.

    Nothing that is wrong with the video, with reading or with writing is raised.

    Args:
        output: where results go; None keeps them nowhere.
        progress: called with the share that is predicted, from 0 to 1.

    Returns:
        The outcome, and the predictions unless they failed or existed before.
    """
    retry, predictions = RetryPolicy(job.name, settings, progress), None
    tables = table_names(job.name) if settings.with_data_set else ()
    work = _Work(
        *(job, predictor, output, settings, retry),
        names=(*tables, *reversed(result_names(job.name))),
        so_far=Outcome(
            *(job.name, job.source, "error"),
            provenance_digest=(
                provenance_digest(predictor.provenance) if settings.with_data_set else ""
            ),
        ),
    )
    staging: Callable[[], AbstractContextManager[Path | str]] = (
        output.staging if output else partial(tempfile.TemporaryDirectory, prefix="msqnet-")
    )
    try:
        if settings.with_data_set and (known := work.unchanged()) is not None:
            return replace(known, existed=True), None
        with ExitStack() as stack:
            folder = retry.retried("writing", lambda: Path(stack.enter_context(staging())))
            done, predictions = retry.retried("reading", lambda: work.predicted(folder))
    except (GaveUp, VideoError, ConfigError) as error:
        # A ConfigError is an address of a kind that nothing here can read.
        cause: Cause = "bad_file" if isinstance(error, VideoError) else "reading"
        cause = error.cause if isinstance(error, GaveUp) else cause
        status: Status = "timeout" if cause == "time_limit" else "error"
        message = str(error)
        done = replace(work.so_far, status=status, cause=cause, message=message)
    except Exception as error:  # any other error costs this video, not the run
        message = unexpected(error, job.source)
        done = replace(work.so_far, status="error", cause="unexpected", message=message)
    if work.fetched and done.status in ("error", "timeout"):
        done = replace(done, message=done.message.replace(work.fetched, job.source))
    seconds = time.monotonic() - retry.started
    return replace(done, seconds=seconds, num_attempts=retry.num_retries + 1), predictions


@dataclass
class _Work:
    """One video being processed, with what is known of it so far."""

    job: VideoJob
    predictor: Predictor
    output: Output | None
    settings: JobSettings
    retry: RetryPolicy
    names: tuple[str, ...]  # of the files, in the order of publishing, the JSON last
    so_far: Outcome
    fetched: str = ""  # path of a copy, which messages must not name

    def unchanged(self) -> Outcome | None:
        """The outcome of an earlier run if it still holds; neither video nor results are read."""
        job, known, output = self.job, self.job.known, self.output
        state = self.retry.retried("reading", lambda: source_state(job.source))
        self.so_far = replace(self.so_far, source_state=state)
        is_same = (
            known is not None
            and known.status in ("ok", "partial")
            and (known.name, known.source) == (job.name, job.source)
            and known.provenance_digest == self.so_far.provenance_digest
            and known.source_state == state != ""
            and output is not None
            and known.output_state == output.state(self.names)
        )
        return known if is_same else None

    def predicted(self, folder: Path) -> tuple[Outcome, VideoPredictions | None]:
        """Predict the video and publish its results, unless they exist."""
        job, settings, output = self.job, self.settings, self.output
        with local_copy(job.source, folder, settings.max_bytes, self.retry.check_time) as copy:
            digest = copy.digest() if settings.with_data_set else ""
            self.so_far = replace(self.so_far, digest=digest, num_bytes=copy.num_bytes)
            self.fetched = str(copy.path) if copy.fetched_digest else ""
            stored = self._stored(copy)
            existed = bool(stored and output and output.state(self.names))
            predictions = stored or self.predictor(copy.path, self.retry.check_time)
        if not existed:
            predictions = replace(predictions, path=job.source)
            if output is not None:
                self._publish(predictions, output, folder, is_new=stored is None)
        state = output.state(self.names) if output and settings.with_data_set else ""
        outcome = replace(outcome_of(predictions, self.so_far), output_state=state, existed=existed)
        return outcome, None if existed else predictions

    def _stored(self, copy: LocalCopy) -> VideoPredictions | None:
        """Results of this video, model and settings, if they exist.

        What such results lack of the data set is then made of them. Other results that are to be
        kept raise `GaveUp`.
        """
        output, names = self.output, result_names(self.job.name)
        if output is None or self.settings.recompute:
            return None
        present = [name for name in names if output.file_state(name)]
        if not present:
            return None
        stored = read_stored(self.job.name, output)
        if stored is None and output.read(table_names(self.job.name)[-1]) is not None:
            return None  # publishing was interrupted, or the machine stopped before all was on disk
        provenance = self.predictor.provenance
        if stored and _is_of(stored, self.job, provenance, output, self.so_far.digest, copy):
            return stored
        if self.settings.overwrite:
            return None
        place = f"{output.location}/{present[0]}"
        raise GaveUp(
            "other_results",
            f"{place} exists and is not of this video, model and settings"
            f"{_why_other(stored, provenance)}; --overwrite replaces it",
        )

    def _publish(
        self, predictions: VideoPredictions, output: Output, folder: Path, *, is_new: bool
    ) -> None:
        retried, name = self.retry.retried, self.job.name
        with_data_set = self.settings.with_data_set
        if is_new:  # other results count no more without their JSON; their drawings go too
            others = (self.names[-1], *(name + suffix for suffix in DRAWN_SUFFIXES))
            for other in others:
                if output.file_state(other):
                    retried("writing", partial(output.remove, other))
        paths = retried(
            "writing",
            lambda: (
                *(write_data_set(predictions, self.so_far, folder) if with_data_set else ()),
                *reversed(predictions.write(folder / "video")),
            ),
        )
        for published, path in zip(self.names, paths, strict=True):
            retried("writing", partial(output.publish, published, path))


def outcome_of(predictions: VideoPredictions, so_far: Outcome) -> Outcome:
    """The outcome of a video that was predicted, wholly or in part."""
    return replace(
        so_far,
        status="partial" if predictions.is_partial else "ok",
        cause="damaged" if predictions.is_partial else "",
        message="; ".join(predictions.warnings),
        duration_seconds=predictions.duration_seconds,
    )


def has_results(job: VideoJob, provenance: dict[str, Any], output: Output) -> bool:
    """Whether results of a local video, by this model and these settings, exist already.

    False too where only fetching the video, or reading what is damaged, could tell.
    """
    path = local_path(job.source)
    if path is None:
        return False
    with suppress(MsqnetError, OSError):
        stored = read_stored(job.name, output)
        copy = LocalCopy(Path(path), "", 0)
        return stored is not None and _is_of(stored, job, provenance, output, "", copy)
    return False


def read_stored(name: str, output: Output) -> VideoPredictions | None:
    """The results of that name; None where there are none, or they are damaged."""
    content = output.read(result_names(name)[0])
    with suppress(DatasetError, ShapeError, ValueError):
        return VideoPredictions.from_json(content.decode("ascii")) if content else None
    return None


def _is_of(
    stored: VideoPredictions,
    job: VideoJob,
    provenance: dict[str, Any],
    output: Output,
    digest: str,
    copy: LocalCopy,
) -> bool:
    """Whether results are of this video, by this model and these settings.

    ``digest`` is that of the content of ``copy``, empty if it was not computed. Results that are in
    no data set carry none, and count if they are not older than a local video.
    """
    if stored.provenance != provenance:
        return False
    record = output.read(table_names(job.name)[-1])
    if record is not None and (known := stored_digest(record)) is not None:
        return known == (digest or copy.digest())
    video = local_path(job.source)
    if video is None or not isinstance(output, LocalOutput):
        return False
    written = output.folder / result_names(job.name)[0]
    is_same_path = Path(stored.path).absolute() == Path(video).absolute()
    return is_same_path and Path(video).stat().st_mtime <= written.stat().st_mtime


def _why_other(stored: VideoPredictions | None, provenance: dict[str, Any]) -> str:
    """What differs, in brackets; digests of what is named itself are left out."""
    if stored is None:
        return " (it is damaged or not complete)"
    found = differences(stored.provenance, provenance, frozenset({"config_digest"}))
    return f" ({found})" if found else " (of another video, or the video was changed since)"
