"""Work in this process, one video after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.batch.one_video import process_video
from msqnet.batch.output import open_output

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from msqnet.batch.jobs import Job, Outcome
    from msqnet.batch.settings import JobSettings
    from msqnet.inference.predictor import Predictor


class InlineRunner:
    """No process of its own: what kills or hangs the work kills or hangs the run.

    The time limit is looked at after each batch of windows.

    Args:
        predictor: what predicts.
        settings: of each job.
    """

    def __init__(self, predictor: Predictor, settings: JobSettings) -> None:
        self._predictor = predictor
        self._settings = settings

    def outcomes(self, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
        """What becomes of each job, in order."""
        output = open_output(self._settings.out)
        for job in jobs:
            yield process_video(job, self._predictor, output, self._settings)
