"""Batch runs with a backend that needs no weights; also a program, for tests that kill it.

python -m tests.unit.batch.brightness_batch INPUTS OUT PROCESSES|ray [SECONDS_A_VIDEO]
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from msqnet.batch.one_video import JobSettings
from msqnet.batch.runners import InlineRunner, ProcessesRunner
from msqnet.batch.work_list import find_jobs
from msqnet.cli.batch import show_run
from msqnet.config import SegmentConfig, WindowConfig
from tests.unit.inference.brightness import BrightnessBackend

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.batch.run import Runner
    from msqnet.inference.backends import Arrays
    from msqnet.inference.predictor import Predictor
    from msqnet.predictions import FloatArray

DEADLY_LEVEL = 77
"""Grey level at which `DeadlyBackend` kills its process."""

STUCK_LEVEL = 78
"""Grey level at which it never comes back."""


@dataclass
class DeadlyBackend(BrightnessBackend):
    """The brightness backend, slow, and deadly where a video is of some level of grey."""

    seconds: float = 0.0

    def score_frames(self, frames: Arrays, motion_crops: Arrays | None) -> FloatArray:
        time.sleep(self.seconds)
        level = round(float(frames["pixels"].mean()))
        if level == DEADLY_LEVEL:
            os.abort()
        if level == STUCK_LEVEL:
            time.sleep(1e6)
        return super().score_frames(frames, motion_crops)


def load(seconds: float = 0.0, threshold: float | None = None) -> Predictor:
    """A predictor that processes can make."""
    from msqnet.inference.predictor import Predictor

    return Predictor(
        DeadlyBackend(seconds=seconds),
        WindowConfig(stride_seconds=1.0),
        SegmentConfig(threshold=threshold, max_gap_seconds=0),
    )


def job_settings(out: Path | str, **changes: Any) -> JobSettings:
    """Settings that do not wait."""
    return JobSettings(**{"out": str(out), "first_wait_seconds": 0.01, **changes})


def runner(out: Path | str, num_processes: int, seconds: float = 0.0, **changes: Any) -> Runner:
    """What works with the brightness backend; 0 processes work inline."""
    settings = job_settings(out, **changes)
    if num_processes == 0:
        return InlineRunner(load(seconds), settings)
    loader = partial(load, seconds)
    return ProcessesRunner(settings, loader, num_processes)


def ray_runner(out: Path | str, seconds: float = 0.0) -> Runner:
    """What works with the brightness backend on a cluster of this machine, with two actors."""
    from msqnet.batch.ray_runner import RayRunner

    return RayRunner(job_settings(out), partial(load, seconds), 2)


def main(arguments: list[str]) -> int:
    """Run as the command does."""
    inputs, out, where = arguments[:3]
    seconds = float(arguments[3]) if len(arguments) > 3 else 0.0
    chosen = ray_runner(out, seconds) if where == "ray" else runner(out, int(where), seconds)
    return show_run(find_jobs([inputs]), chosen, out)


if __name__ == "__main__":
    # By its name, under which actors find what they are to call.
    from tests.unit.batch import brightness_batch

    sys.exit(brightness_batch.main(sys.argv[1:]))
