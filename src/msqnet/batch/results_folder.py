"""One video after the other, in this process, into a folder whose index grows as they are done."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

from msqnet.batch.locations import LocalOutput
from msqnet.batch.one_video import JobSettings, process_video
from msqnet.errors import DatasetError
from msqnet.inference.results import (
    DRAWN_SUFFIXES,
    INDEX_FILE,
    OUTPUT_SEPARATOR,
    IndexRow,
    index_row,
    open_index,
    read_index,
    write_index,
)
from msqnet.predictions import VideoPredictions, csv_writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import Job

_NOT_DRAWN = "not drawn: "


class ResultsFolder:
    """The folder that `msqnet predict` writes to, and its index.

    The index gets a row after each video, so that whatever stops a run leaves the index of what was
    done; rows of earlier runs are kept.

    Args:
        folder: created if missing.
        overwrite: whether existing results are replaced.

    Raises:
        ConfigError: ``folder`` is a file.
        DatasetError: the folder's `index.csv` was not written by msqnet.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.output = LocalOutput(folder)
        self.folder = folder
        self.index_path = folder / INDEX_FILE
        self.settings = _settings(str(folder), overwrite=overwrite)
        self._rows = {row.input: row for row in read_index(self.index_path)}
        self._is_appended = False
        folder.mkdir(parents=True, exist_ok=True)

    def record(self, row: IndexRow) -> None:
        """Put a row into the index, in place of an earlier one of the same input.

        A row of a new input is appended: of thousands, none costs more than the first.
        """
        is_new = row.input not in self._rows
        self._rows[row.input] = row
        if self._is_appended and is_new:
            with open_index(self.index_path, "a") as file:
                csv_writer(file, row.input + row.error).writerow(astuple(row))
            return
        self._is_appended = False  # should writing fail, what is there is not known
        write_index(self.index_path, self._rows.values())
        self._is_appended = True

    def read(self, job: Job) -> VideoPredictions:
        """The results that exist of a video.

        Raises:
            DatasetError: they are not complete.
        """
        content = self.output.read(f"{job.name}.json")
        if content is None:
            raise DatasetError(f"{self.folder / job.name}.json: it is not there any more")
        return VideoPredictions.from_json(content.decode("ascii"))

    def drawn(self, job: Job) -> list[str]:
        """Names of the drawings that exist of a video."""
        return self.output.present([job.name + suffix for suffix in DRAWN_SUFFIXES])

    def record_drawing(self, job: Job, row: IndexRow, problem: str = "") -> None:
        """Add what is drawn of a video to its row, and why drawing it failed.

        Args:
            job: what was drawn.
            row: its row.
            problem: empty where everything was drawn.
        """
        drawn = self.drawn(job)
        outputs = [name for name in row.outputs.split(OUTPUT_SEPARATOR) if name not in drawn]
        notes = [row.error] if row.error else []
        notes += [_NOT_DRAWN + problem] if problem else []
        joined = OUTPUT_SEPARATOR.join([*outputs, *drawn])
        self.record(replace(row, outputs=joined, error="; ".join(notes)))


def predict_into(
    results: ResultsFolder | None,
    job: Job,
    predictor: Predictor,
    progress: Callable[[float], None] | None = None,
) -> tuple[IndexRow, VideoPredictions | None]:
    """Predict one of many videos: a broken one gives a row that says so, no exception.

    Args:
        results: where files and the row go; None keeps them nowhere.
        job: the video.
        predictor: what predicts.
        progress: called with the share that is done, from 0 to 1.

    Returns:
        The row, and the predictions unless there are none or they existed before.

    Raises:
        OSError: the index cannot be written.
    """
    output, settings = (results.output, results.settings) if results else (None, _settings(""))
    try:
        outcome, predictions = process_video(job, predictor, output, settings, progress)
    finally:
        if results:
            results.output.remove_empty_staging()
    row = index_row(outcome, results.drawn(job) if results and outcome.existed else ())
    if results:
        results.record(row)
    return row, predictions


def _settings(out: str, *, overwrite: bool = False) -> JobSettings:
    return JobSettings(
        out,
        overwrite=overwrite,
        recompute=overwrite,
        num_retries=0,
        time_limit_seconds=math.inf,
        with_data_set=False,
    )
