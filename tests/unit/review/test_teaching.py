"""Teaching a label from the page: what it is learned from, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import parse_settings
from msqnet.errors import ConfigError
from msqnet.review.items import Mark, Segment, State
from msqnet.review.project import Label, Project, SourceVideo
from msqnet.review.tasks import model_of, set_taught_folders, taught_folders, use_model
from msqnet.review.teaching import (
    MAX_EXAMPLES,
    Examples,
    Span,
    check_name,
    propose,
    remove_superseded,
    teach_task,
)
from tests.fixtures.result_folders import EVENT, write_predictions
from tests.fixtures.reviews import project_of_four_videos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOP = Segment(label="hop", start=2.0, end=4.0)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Four videos of 10 s, of which the last is missing."""
    with project_of_four_videos(tmp_path, "hop", "walking") as opened:
        yield opened


def spans(found: tuple[Span, ...]) -> list[tuple[int, float, float | None]]:
    return [(span.video.id, span.start, span.end) for span in found]


def test_examples_are_what_a_person_settled(project: Project) -> None:
    first, second, third, missing = project.videos()
    proposal = Segment(label="hop", start=8, end=9, state=State.PROPOSED)
    moment = Segment(label="hop", start=9.8, end=9.8)
    project.change(first.id, [HOP, Segment(label="hop", start=3, end=5), proposal], [])
    project.change(first.id, [Mark(labels=("hop",), start=0, end=None)], [])
    rejected = Segment(label="hop", start=1, end=3, state=State.REJECTED)
    running = Segment(label="hop", start=6, end=None)
    project.change(second.id, [rejected, moment, running], [])
    project.change(third.id, [Mark(labels=("hop",), start=0, end=0.5)], [])
    project.change(missing.id, [HOP], [])
    found = Examples.of(project, "hop")
    # Segments that overlap are one; a moment stands for a second, up to the end of the video.
    assert spans(found.positives) == [(1, 2, 5), (2, 9.3, 10)]
    # Neither an open proposal nor half a second is known to lack it.
    assert spans(found.negatives) == [(1, 0, 2), (1, 5, 8), (1, 9, 10), (2, 1, 3)]
    assert found.negatives[0].as_example == f"{first.path}@0.000-2.000"
    mark = Mark(labels=("hop",), start=0, end=None)
    before = Examples.of(project, "hop", third.id, [HOP, mark])
    assert (3, 2, 4) in spans(before.positives)
    assert {(3, 0, 2), (3, 4, 10)} <= set(spans(before.negatives))
    assert Examples.of(project, "hop") == found


def test_examples_are_few_and_of_many_videos(project: Project) -> None:
    first, second, *_ = project.videos()
    many = [Segment(label="hop", start=0.3 * n, end=0.3 * n + 0.1) for n in range(30)]
    project.change(first.id, many, [])
    project.change(second.id, [HOP], [])
    found = Examples.of(project, "hop").positives
    assert len(found) == MAX_EXAMPLES
    assert found[-1].video.id == second.id


def test_names_that_cannot_be_taught_are_refused(project: Project) -> None:
    check_name(project, "hop")
    for name, said in (
        ("walking", "the model knows 'walking' already"),
        ("Hop", "this project has a label 'hop'"),
        ("Face Washing", "the model has a label 'face_washing'"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_name(project, name)
    with pytest.raises(
        ConfigError, match="no accepted segment shows 'hop' in a video that is there"
    ):
        teach_task(project, "hop")


def test_teaching_reads_the_examples_and_predicts_all_videos(project: Project) -> None:
    first, second, *_ = project.videos()
    project.change(first.id, [HOP], [])
    mark = Mark(labels=("hop",), start=0, end=6)
    project.change(second.id, [mark], [])
    teach, predict = teach_task(project, "hop").commands
    _, settings = parse_settings(teach[0], teach[1:])
    assert settings["positive"] == [f"{first.path}@2.000-4.000"]
    assert settings["negative"] == [f"{second.path}@0.000-6.000"]
    assert (settings["label"], settings["model"]) == ("hop", "mixed-actors-lite")
    _, predicting = parse_settings(predict[0], predict[1:])
    assert predicting["videos"] == [str(video.path) for video in project.videos()[:3]]
    assert predict[predict.index("--model") + 1] == settings["out"]


def test_proposals_come_only_where_nothing_is_known(tmp_path: Path) -> None:
    """In a video that somebody works on: nothing else of it changes, and its steps stay."""
    results = write_predictions(tmp_path, {"event.mov": EVENT * 3})
    document = json.loads((results / "event.mov.json").read_text())
    first, second, third = (item["start_seconds"] for item in document["segments"])
    with Project(tmp_path / "labels.review") as project:
        path = tmp_path / "videos" / "event.mov"
        old = Segment(label="bright", start=second, end=second + 0.1, state=State.PROPOSED)
        other = Segment(label="walk", start=0, end=1, state=State.PROPOSED)
        source = SourceVideo(path, "event.mov", (old, other), 60.0)
        project.add([source], [Label("bright"), Label("walk")])
        done = Segment(label="bright", start=first, end=first + 0.5)
        project.change(1, [done], [])
        project.change(1, [Mark(labels=("bright",), start=third, end=None)], [])
        assert propose(project, "bright", results) == 1
        found = [
            (item.label, item.start, item.state)
            for item in project.items(1)
            if isinstance(item, Segment)
        ]
        assert sorted(found) == [
            ("bright", first, State.ACCEPTED),
            ("bright", second, State.PROPOSED),
            ("walk", 0, State.PROPOSED),
        ]
        (video,) = project.videos()
        assert (video.num_edits, video.result) == (2, str(results / "event.mov.json"))
        project.undo(1)
        project.undo(1)
        assert [item.label for item in project.items(1)] == ["walk", "bright"]


def test_a_taught_model_stays_when_its_predictions_are_cancelled(project: Project) -> None:
    project.change(1, [HOP], [])
    task = teach_task(project, "hop")
    reached = []
    task.commands = [["models"], ["check", "gone.csv"]]
    task.after_first = lambda: reached.append(model_of(project))
    asyncio.run(task.run())
    assert (task.state, reached) == ("failed", ["mixed-actors-lite"])


def test_only_taught_models_that_nothing_names_are_removed(project: Project) -> None:
    """Not the user's, not trained ones, and not those of a project that this one is a copy of."""
    models = project.folder / "models"
    folders = [models / f"{number:03}" for number in range(1, 7)]
    old, named, used, trained, _, newest = folders
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
    other = project.folder / "copied_from" / "models" / "001"
    other.mkdir(parents=True)
    set_taught_folders(project, [other, named, used, newest])
    use_model(project, str(named))
    assert taught_folders(project) == [old, used, newest]
    project.set_fact("model", str(used))
    remove_superseded(project)
    assert sorted(models.iterdir()) == folders[1:]
    assert other.exists()
    assert taught_folders(project) == [used, newest]
    project.set_fact("model", str(newest))
    remove_superseded(project)
    assert sorted(models.iterdir()) == [named, trained, folders[4], newest]
    project.set_fact("model", "mixed-actors-lite")
    project.change(1, [HOP], [])
    command = teach_task(project, "hop").commands[0]
    assert command[command.index("--out") + 1] == str(models / "007")
