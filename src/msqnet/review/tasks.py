"""Predicting and training from the page: other msqnet commands, one after the other."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sqlite3
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, MsqnetError
from msqnet.evaluation.scored_rows import METRICS_FILE, PER_LABEL_FILE
from msqnet.models import SHIPPED_MODEL
from msqnet.review.sources import of_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msqnet.review.project import Project

TRAIN, TEST = "train", "test"
_TAUGHT = "taught_models"
_NUM_LINES = 200
_SECONDS_A_LINE = "2"
_IN_SECONDS = ("--train.decoder-rows", "100000")
"""Settings that fit the direct path alone: somebody waits for the model."""


@dataclass
class Task:
    """Commands of msqnet that run one after the other, in processes of their own.

    Attributes:
        title: for readers.
        commands: arguments of each.
        finish: called when all have ended well; returns what the page shows.
        may_fail: whether the last command, with the exit code 1, has done a part of its work.
        after_first: called when the first has ended well, whatever becomes of the others.
    """

    title: str
    commands: Sequence[Sequence[str]]
    finish: Callable[[], dict[str, Any]]
    may_fail: bool = False
    after_first: Callable[[], None] | None = None
    state: str = "running"
    result: dict[str, Any] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_NUM_LINES))
    _process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run all commands; the state becomes ``done``, ``failed`` or ``cancelled``."""
        try:
            for place, command in enumerate(self.commands):
                code = await self._run(command)
                is_last = place == len(self.commands) - 1
                if self.after_first is not None and not place and not code:
                    self.after_first()
                if self.state == "cancelled":
                    return
                if code and not (self.may_fail and is_last and code == 1):
                    self.state = "failed"
                    return
            self.result = self.finish()
            self.state = "done"
        except (OSError, ValueError, KeyError, sqlite3.Error, MsqnetError) as error:
            self.lines.append(f"its results cannot be used: {error}")
            self.state = "failed"

    async def _run(self, command: Sequence[str]) -> int:
        self.lines.append(f"$ msqnet {' '.join(command[:1])}")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "msqnet", *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "MSQNET_PROGRESS_SECONDS": _SECONDS_A_LINE, "NO_COLOR": "1"},
        )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip())
        return await self._process.wait()

    def cancel(self) -> None:
        """End the command that runs, and those after it."""
        if self.state == "running":
            self.state = "cancelled"
            with suppress(ProcessLookupError):
                if self._process is not None:
                    self._process.kill()


def model_of(project: Project) -> str:
    """The model that is used: the one that was trained or named last, else the shipped one."""
    return project.fact("model") or SHIPPED_MODEL


def start_of(project: Project) -> str:
    """The model that trainings start from: the one that was named, else the shipped one.

    A model that was trained here saw the same rows: to start from it would count them twice, and
    leave nothing to test its labels on.
    """
    return project.fact("start") or SHIPPED_MODEL


def use_model(project: Project, model: str) -> None:
    """Predict with a model that was named, and start trainings from it.

    From now on it is the user's, even if it was taught here: nothing removes it.
    """
    _keep(project, Path(model))
    project.set_fact("model", model)
    project.set_fact("start", model)


def predict_task(project: Project) -> Task:
    """Predict the videos that nobody has worked on; their proposals are replaced, and those alone.

    `ConfigError` if there is no such video.
    """
    videos = {v.path: v for v in project.videos() if v.state == "untouched" and v.path.exists()}
    if not videos:
        raise ConfigError("there is no video left that nobody has worked on")
    folder = new_folder(project.folder / "results")
    model = model_of(project)

    def finish() -> dict[str, Any]:
        found = of_results(folder, None)
        known = [
            replace(video, name=videos[video.path].name)
            for video in found.videos
            if video.path in videos
        ]
        project.add(known, found.labels)
        return {"num_videos": len(known), "notes": list(found.notes)}

    command = ["predict", *map(str, videos), "--model", model, "--out", str(folder)]
    return Task(f"Predicting {len(videos)} video(s)", [command], finish, may_fail=True)


def retrain_task(project: Project, table: Path, held_out: Sequence[int], *, is_anew: bool) -> Task:
    """Train on the table, and evaluate the model before and after on the videos held out of it.

    The videos' split becomes ``test`` for those, ``train`` for all others. Anew, the model knows
    only what these videos show; otherwise it also keeps what the one of `start_of` knows.

    Raises:
        ConfigError: nothing is left to train on.
    """
    videos = [video for video in project.videos() if project.items(video.id)]
    if not any(video.id not in held_out for video in videos):
        raise ConfigError("no annotated video is left to train on; hold out fewer of them")
    for video in videos:
        split = TEST if video.id in held_out else TRAIN
        project.set_fields(video.id, {**video.fields, "split": split})
    folder = new_folder(project.folder / "models")
    _keep(project, folder)  # a taught model of that number may have been removed by hand
    old, features = model_of(project), project.folder / "features"
    start = [] if is_anew else ["--init-from", start_of(project)]
    train = ["train", "--data", str(table), "--split", TRAIN, *start, *_IN_SECONDS]
    commands = [[*train, "--out", str(folder), "--features", str(features)]]
    places = {"before": old, "after": str(folder)}
    is_tested = any(video.id in held_out for video in videos)
    for name, model in places.items() if is_tested else ():
        evaluate = ["evaluate", "--model", model, "--data", str(table), "--split", TEST]
        commands.append([*evaluate, "--out", str(folder / name)])

    def finish() -> dict[str, Any]:
        found = {name: _metrics(folder / name) for name in places if is_tested}
        project.set_fact("trained_model", str(folder))
        project.set_fact("comparison", json.dumps(found))
        return {}

    return Task("Training", commands, finish)


def use_trained(project: Project) -> None:
    """Use the model that was trained last; `ConfigError` if there is none."""
    model = project.fact("trained_model")
    if model is None:
        raise ConfigError("no model was trained yet")
    project.set_fact("model", model)


def taught_folders(project: Project) -> list[Path]:
    """Folders of models that were taught in the page and may be removed, oldest first."""
    # By name: a copy of a project must not remove models of the one that it was copied from.
    names = json.loads(project.fact(_TAUGHT) or "[]")
    return [project.folder / "models" / name for name in names]


def set_taught_folders(project: Project, folders: Iterable[Path]) -> None:
    """Store what `taught_folders` returns."""
    project.set_fact(_TAUGHT, json.dumps([folder.name for folder in folders]))


def _keep(project: Project, model: Path) -> None:
    """Never remove a folder as a model that was taught here."""
    others = [found for found in taught_folders(project) if found.resolve() != model.resolve()]
    set_taught_folders(project, others)


def new_folder(parent: Path) -> Path:
    """A folder that is not there yet, by number: one above the highest, as earlier ones may go."""
    numbers = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    return parent / f"{max(numbers, default=0) + 1:03}"


def _metrics(folder: Path) -> dict[str, Any]:
    """Macro mAP and the average precision of each label, of `msqnet evaluate`."""
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    with (folder / PER_LABEL_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {"macro_map": metrics.get("macro_map"), "labels": rows}
