"""The work of one video, the same wherever it runs: in this process, in another one, on Ray.

What counts as done is decided by the files in the results folder alone. They are published in an
order such that a kill at any moment leaves either a whole result or none that counts: the data set
first, its table `videos` last; then the scores, the table of segments, and at the very end the
JSON. Where results are replaced, the old JSON goes first.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.batch.data_set import (
    provenance_digest,
    read_record,
    result_names,
    table_names,
    write_tables,
)
from msqnet.batch.jobs import Outcome
from msqnet.batch.patience import GaveUp, Patience, TookTooLong
from msqnet.batch.remote import local_path
from msqnet.batch.sources import local_copy, source_state
from msqnet.errors import ConfigError, DatasetError, ShapeError, VideoError
from msqnet.inference.results_folder import DRAWN_SUFFIXES
from msqnet.predictions import VideoPredictions

if TYPE_CHECKING:
    from msqnet.batch.jobs import Cause, Job, Status
    from msqnet.batch.output import Output
    from msqnet.batch.settings import JobSettings
    from msqnet.inference.predictor import Predictor


def process_video(job: Job, predictor: Predictor, output: Output, settings: JobSettings) -> Outcome:
    """Predict one video and publish its results, unless they are there.

    Nothing that is wrong with the video, with reading or with writing is raised.

    Args:
        job: the video.
        predictor: what predicts.
        output: where results go.
        settings: retries, time and size.

    Returns:
        What became of it.
    """
    return _Work(job, predictor, output, settings).outcome()


class _Work:
    """One video in work, with what is known of it so far."""

    def __init__(
        self, job: Job, predictor: Predictor, output: Output, settings: JobSettings
    ) -> None:
        self._job = job
        self._predictor = predictor
        self._output = output
        self._settings = settings
        self._patience = Patience(job.name, settings)
        self._provenance = predictor.provenance
        self._results = result_names(job.name)
        # In the order of publishing, the JSON last.
        self._names = (*table_names(job.name), *reversed(self._results))
        self._fetched = ""
        self._so_far = Outcome(
            job.name, job.source, "error", provenance_digest=provenance_digest(self._provenance)
        )

    def outcome(self) -> Outcome:
        """Do the work; errors become outcomes."""
        try:
            if (unchanged := self._unchanged()) is not None:
                return unchanged
            with ExitStack() as stack:
                folder = self._patience.retried(
                    "writing", lambda: stack.enter_context(self._output.staging())
                )
                done = self._patience.retried("reading", lambda: self._answer(folder))
        except TookTooLong as error:
            done = self._failed("timeout", "time_limit", error)
        except GaveUp as error:
            done = self._failed("error", error.cause, error)
        except VideoError as error:
            done = self._failed("error", "bad_file", error)
        except ConfigError as error:  # an address of a kind that nothing here can read
            done = self._failed("error", "reading", error)
        num_attempts = self._patience.num_retries + 1
        return replace(done, seconds=self._patience.seconds, num_attempts=num_attempts)

    def _failed(self, status: Status, cause: Cause, error: Exception) -> Outcome:
        message = str(error)
        if self._fetched:
            message = message.replace(self._fetched, self._job.source)
        return replace(self._so_far, status=status, cause=cause, message=message)

    def _unchanged(self) -> Outcome | None:
        """What an earlier run found, if that still holds; neither video nor results are read."""
        state = self._patience.retried("reading", lambda: source_state(self._job.source))
        self._so_far = replace(self._so_far, source_state=state)
        known = self._job.known
        if (
            known is not None
            and known.is_answered
            and (known.name, known.source) == (self._job.name, self._job.source)
            and known.provenance_digest == self._so_far.provenance_digest
            and known.source_state == state != ""
            and known.output_state == self._output.state(self._names)
        ):
            return replace(known, existed=True)
        return None

    def _answer(self, folder: Path) -> Outcome:
        """Predict the video and publish its results, unless they are there."""
        check_time = self._patience.check_time
        with local_copy(self._job.source, folder, self._settings.max_bytes, check_time) as copy:
            self._so_far = replace(self._so_far, digest=copy.digest, num_bytes=copy.num_bytes)
            self._fetched = str(copy.path) if folder in copy.path.parents else ""
            stored = self._stored()
            if stored is not None and self._output.state(self._names):
                return replace(self._answered(stored), existed=True)
            predictions = stored or self._predictor(copy.path, check_time)
        predictions = replace(predictions, path=self._job.source)
        if stored is None:
            self._remove_others()
        self._publish(predictions, folder)
        return self._answered(predictions)

    def _stored(self) -> VideoPredictions | None:
        """Results of this video, model and settings, if they are there.

        Results of `msqnet predict` count where they are not older than the video; what they lack of
        the data set is then made of them.

        Raises:
            GaveUp: there are others, and they are to be kept.
        """
        present = self._output.present(self._results)
        if not present:
            return None
        content = self._output.read(self._results[0])
        record = self._output.read(table_names(self._job.name)[-1])
        stored = None if content is None else _parsed(content)
        if stored is None and record is not None:
            return None  # publishing was interrupted, or the machine stopped before all was on disk
        if stored is not None and stored.provenance == self._provenance:
            found = None if record is None else read_record(record)
            if found is None:
                is_same = self._is_not_older(stored)
            else:
                is_same = found.digest == self._so_far.digest
            if is_same:
                return stored
        if self._settings.overwrite:
            return None
        raise GaveUp(
            "other_results",
            f"{self._job.name}: {present[0]} exists in {self._output.location} and is not of this "
            "video, model and settings; --overwrite replaces it",
        )

    def _is_not_older(self, stored: VideoPredictions) -> bool:
        """Whether a local video was not changed after results that carry no digest were written."""
        video = local_path(self._job.source)
        written_at = self._output.changed_at(self._results[0])
        if video is None or written_at is None:
            return False
        is_same_path = Path(stored.path).absolute() == Path(video).absolute()
        return is_same_path and Path(video).stat().st_mtime <= written_at

    def _remove_others(self) -> None:
        """Take away the JSON of other results, which then count no more, and their drawings."""
        if self._output.file_state(self._results[0]):
            for name in (self._results[0], *(self._job.name + end for end in DRAWN_SUFFIXES)):
                self._patience.retried("writing", partial(self._output.remove, name))

    def _publish(self, predictions: VideoPredictions, folder: Path) -> None:
        paths = self._patience.retried("writing", lambda: self._staged(predictions, folder))
        for name, path in zip(self._names, paths, strict=True):
            self._patience.retried("writing", partial(self._output.publish, name, path))

    def _staged(self, predictions: VideoPredictions, folder: Path) -> tuple[Path, ...]:
        """The files, written but not published, in the order of publishing."""
        tables = write_tables(
            predictions,
            name=self._job.name,
            digest=self._so_far.digest,
            num_bytes=self._so_far.num_bytes,
            folder=folder,
        )
        return (*tables, *reversed(predictions.write(folder / "video")))

    def _answered(self, predictions: VideoPredictions) -> Outcome:
        return replace(
            self._so_far,
            status="partial" if predictions.notes else "ok",
            cause="damaged" if predictions.notes else "",
            message="; ".join(predictions.warnings),
            duration_seconds=predictions.duration_seconds,
            output_state=self._output.state(self._names),
        )


def _parsed(content: bytes) -> VideoPredictions | None:
    """Stored results; None where they are damaged."""
    try:
        return VideoPredictions.from_json(content.decode("ascii"))
    except (DatasetError, ShapeError, ValueError):
        return None
