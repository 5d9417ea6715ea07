"""Predicting and training from the page: which commands run, and what becomes of their results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import parse_settings
from msqnet.errors import ConfigError
from msqnet.review.items import Segment
from msqnet.review.tasks import (
    Task,
    model_of,
    predict_task,
    retrain_task,
    use_model,
    use_trained,
)
from tests.fixtures.reviews import project_of_four_videos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msqnet.review.project import Project

WALK = Segment(label="walk", start=1.0, end=2.0)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Two videos that somebody worked on, and two that nobody touched, of which one is missing."""
    with project_of_four_videos(tmp_path, "walk") as opened:
        for video in opened.videos()[:2]:
            opened.change(video.id, [WALK], [])
        yield opened


def test_commands_run_in_order_until_one_fails() -> None:
    task = Task("t", [["models"], ["check", "gone.csv"], ["models"]], dict)
    asyncio.run(task.run())
    assert task.state == "failed"
    named = [line for line in task.lines if line.startswith("$")]
    assert named == ["$ msqnet models", "$ msqnet check"]
    assert any("gone.csv" in line for line in task.lines)


def test_partly_failed_prediction_is_used() -> None:
    task = Task("t", [["check", "gone.csv"]], lambda: {"num_videos": 3}, may_fail=True)
    asyncio.run(task.run())
    assert (task.state, task.result) == ("done", {"num_videos": 3})


def test_cancelled_task_ends_its_command_and_starts_no_other() -> None:
    async def cancelled() -> Task:
        # It lasts until it is ended; one that ends by itself could do so first.
        task = Task("t", [["serve", "--port", "0"], ["models"]], dict)
        running = asyncio.create_task(task.run())
        while task._process is None:
            await asyncio.sleep(0.01)
        task.cancel()
        await running
        return task

    task = asyncio.run(cancelled())
    assert task.state == "cancelled"
    assert len([line for line in task.lines if line.startswith("$")]) == 1


def test_only_untouched_videos_are_predicted(project: Project) -> None:
    task = predict_task(project)
    [command] = task.commands
    _, settings = parse_settings(command[0], command[1:])
    assert settings["videos"] == [str(project.videos()[2].path)]
    project.change(project.videos()[2].id, [WALK], [])
    with pytest.raises(ConfigError, match="no video left"):
        predict_task(project)


@pytest.mark.parametrize("is_anew", [True, False])
def test_training_holds_out_what_is_asked_for_and_tests_both_models(
    project: Project, tmp_path: Path, is_anew: bool
) -> None:
    first, second, *_ = project.videos()
    task = retrain_task(project, tmp_path / "labels.csv", [second.id], is_anew=is_anew)
    for command in task.commands:
        parse_settings(command[0], command[1:])
    assert [command[0] for command in task.commands] == ["train", "evaluate", "evaluate"]
    assert ("--init-from" in task.commands[0]) != is_anew
    assert "--train.decoder-rows" in task.commands[0]  # somebody waits for it
    assert [video.fields.get("split") for video in project.videos()] == [
        "train",
        "test",
        None,
        None,
    ]
    assert model_of(project) in task.commands[1]
    with pytest.raises(ConfigError, match="left to train on"):
        retrain_task(project, tmp_path / "l.csv", [first.id, second.id], is_anew=is_anew)


def test_trained_model_is_used_when_asked_for(project: Project) -> None:
    with pytest.raises(ConfigError, match="no model was trained"):
        use_trained(project)
    project.set_fact("trained_model", "/models/001")
    assert model_of(project) == "mixed-actors-lite"
    use_trained(project)
    assert model_of(project) == "/models/001"


def test_training_starts_from_a_model_that_has_not_seen_its_rows(
    project: Project, tmp_path: Path
) -> None:
    use_model(project, "/models/mine")
    project.set_fact("trained_model", "/models/001")
    use_trained(project)
    [train, before, _after] = retrain_task(
        project, tmp_path / "labels.csv", [project.videos()[1].id], is_anew=False
    ).commands
    assert train[train.index("--init-from") + 1] == "/models/mine"
    assert "/models/001" in before
