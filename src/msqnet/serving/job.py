"""One video and the things that the worker makes of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.serving.checker import VideoFacts
    from msqnet.serving.refusals import Problem
    from msqnet.serving.requests import PredictionSettings, WorkerRequest


class Kind(StrEnum):
    """What a task makes."""

    PREDICTION = "prediction"
    PREVIEW = "preview"
    OVERLAY = "overlay"
    REPORT = "report"
    HEAT_MAP = "heat_map"


class State(StrEnum):
    """How far a task is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (State.QUEUED, State.RUNNING)


@dataclass(eq=False)
class Task:
    """One thing for the worker to make.

    Attributes:
        kind: what it makes.
        request: what the worker is sent.
        output: the file that is there when it is done.
        state: how far it is.
        progress: share that is done, 0 to 1.
        problem: why it failed.
        seconds: how long the worker took.
        is_withdrawn: whether it is to stop.
    """

    kind: Kind
    request: WorkerRequest
    output: Path
    state: State = State.QUEUED
    progress: float = 0.0
    problem: Problem | None = None
    seconds: float = 0.0
    is_withdrawn: bool = False


@dataclass(eq=False)
class Job:
    """One video and everything that is made of it.

    Attributes:
        id: unguessable; whoever knows it may see the video and its results.
        display_name: the client's name of the file, to be shown and for nothing else.
        video: the file.
        folder: the job's own folder.
        facts: what the video is.
        settings: what the client chose.
        prediction: the first task.
        extras: tasks asked for afterwards, by what they make.
        created_at: seconds since the epoch.
        finished_at: when the prediction ended, by the monotonic clock.
    """

    id: str
    display_name: str
    video: Path
    folder: Path
    facts: VideoFacts
    settings: PredictionSettings
    prediction: Task
    extras: dict[tuple[Kind, str], Task] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)
    finished_at: float | None = None

    @property
    def tasks(self) -> list[Task]:
        """All tasks."""
        return [self.prediction, *self.extras.values()]
