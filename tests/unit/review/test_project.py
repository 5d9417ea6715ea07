"""A project keeps every change, takes them back, and is open once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.review.app import serve_review
from msqnet.review.items import Mark, Segment, State, known_intervals
from msqnet.review.project import Label, Project, SourceVideo, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WALK = Segment(label="walk", start=1.0, end=2.0, state=State.PROPOSED, score=0.7)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path / "labels.review") as opened:
        video = SourceVideo(tmp_path / "a.mp4", "a.mp4", (WALK,), 10.0)
        opened.add([video], [Label("walk"), Label("rest")])
        yield opened


def test_edits_are_undone_and_done_again_without_limit(project: Project) -> None:
    [video] = project.videos()
    states = [project.items(video.id)]
    for number in range(60):
        new = Segment(label="rest", start=float(number % 9), end=9.5)
        project.change(video.id, [new], [project.items(video.id)[0].id] if number % 3 == 0 else [])
        states.append(project.items(video.id))
    for state in reversed(states[:-1]):
        project.undo(video.id)
        assert project.items(video.id) == state
    assert project.undo(video.id).put == ()
    for state in states[1:]:
        project.redo(video.id)
        assert project.items(video.id) == state
    assert project.redo(video.id).put == ()


def test_new_edit_takes_the_place_of_what_was_undone(project: Project) -> None:
    [video] = project.videos()
    project.change(video.id, [Segment(label="rest", start=0.0, end=1.0)], [])
    project.undo(video.id)
    change = project.change(video.id, [Segment(label="walk", start=3.0, end=4.0)], [])
    assert (change.num_undo, change.num_redo) == (1, 0)


def test_closed_project_goes_on_with_items_and_undo(project: Project) -> None:
    [video] = project.videos()
    accepted = project.items(video.id)[0].model_copy(update={"state": State.ACCEPTED})
    project.change(video.id, [accepted], [])
    project.set_done(video.id, True)
    project.close()
    with Project(project.folder) as again:
        assert again.items(video.id) == (accepted,)
        assert again.videos()[0].state == "done"
        again.undo(video.id)
        assert again.items(video.id)[0].state is State.PROPOSED  # type: ignore[union-attr]


def test_second_process_is_refused(project: Project) -> None:
    with pytest.raises(ConfigError, match="open in another 'msqnet review'"):
        Project(project.folder)


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project.sqlite").write_text("Dear sir, this is not a database. " * 40)
    with pytest.raises(ConfigError, match=r"project\.sqlite: not a project"):
        Project(tmp_path)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Segment(label="fly", start=0.0, end=1.0), "no label 'fly'"),
        (Mark(labels=("walk", "fly"), start=0.0, end=1.0), "no label 'fly'"),
        (Segment(label="walk", start=0.0, end=30.0), "the video ends at 10.00 s"),
        (Segment(id=99, label="walk", start=0.0, end=1.0), "item 99 is not there"),
    ],
)
def test_changes_that_do_not_fit_change_nothing(
    project: Project, item: Segment | Mark, message: str
) -> None:
    [video] = project.videos()
    before = project.items(video.id)
    with pytest.raises(DatasetError, match=message):
        project.change(video.id, [Segment(label="rest", start=0.0, end=1.0), item], [])
    assert project.items(video.id) == before
    assert project.counts(video.id) == (0, 0)


def test_source_that_is_read_again_keeps_work_and_refreshes_the_rest(project: Project) -> None:
    folder = project.folder
    second = SourceVideo(folder / "b.mp4", "b.mp4", (WALK,), 10.0)
    project.add([second], [])
    first, other = project.videos()
    project.change(first.id, [], [project.items(first.id)[0].id])
    moved = WALK.model_copy(update={"start": 0.5})
    again = [SourceVideo(video.path, video.name, (moved,), 10.0) for video in (first, other)]
    notes = project.add(again, [Label("walk"), Label("swim")])
    assert notes == ("1 video(s) keep your work on them: a.mp4",)
    assert project.items(first.id) == ()
    assert [item.start for item in project.items(other.id)] == [0.5]
    assert [label.name for label in project.labels()] == ["walk", "rest", "swim"]


def test_results_replace_proposals_and_leave_annotations(project: Project) -> None:
    """A table, then results, then results that say nothing, then the videos alone."""
    [video] = project.videos()
    done = Segment(label="rest", start=3.0, end=4.0)
    mark = Mark(labels=("walk",), start=0.0, end=10.0)
    table = SourceVideo(video.path, "a.mp4", (done, mark), 10.0, fields={"split": "test"})
    project.add([table], [])
    assert len(project.items(video.id)) == 3
    moved = WALK.model_copy(update={"start": 0.5})
    project.add([SourceVideo(video.path, "a.mp4", (moved,), 10.0, "a.json")], [])
    items = project.items(video.id)
    assert sorted(item.start for item in items) == [0.0, 0.5, 3.0]
    assert (project.videos()[0].fields, project.videos()[0].result) == ({"split": "test"}, "a.json")
    # What was known stays known, though a model now says something else there.
    assert known_intervals(items, "walk") == [(0.0, 10.0)]
    project.add([SourceVideo(video.path, "a.mp4", (), 10.0, "a.json")], [])
    assert sorted(item.start for item in project.items(video.id)) == [0.0, 3.0]
    project.add([SourceVideo(video.path, "a.mp4")], [])
    assert len(project.items(video.id)) == 2
    assert project.videos()[0].duration_seconds == 10.0


def test_keys_are_letters_of_names_and_unique() -> None:
    labels = with_keys(map(Label, ["no", "yawn", "walk", "weave", "ä"]))
    assert [label.key for label in labels] == ["o", "a", "w", "e", "b"]
    labels = with_keys(map(Label, ["walking", "wash"]), first=["wash"])
    assert [label.key for label in labels] == ["a", "w"]


def test_labels_in_use_and_keys_of_commands_are_kept(project: Project) -> None:
    with pytest.raises(ConfigError, match="'walk' is used"):
        project.set_labels([Label("rest")])
    with pytest.raises(ConfigError, match="key 'y'"):
        project.set_labels([Label("walk", "y"), Label("rest")])
    with pytest.raises(ConfigError, match="key 'w'"):
        project.set_labels([Label("walk", "w"), Label("rest", "w")])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_with_the_address_ends_the_review(
    project: Project, tmp_path: Path, number: signal.Signals
) -> None:
    before, addresses = signal.getsignal(number), list[str]()

    def interrupt(address: str) -> None:
        addresses.append(address)
        signal.raise_signal(number)

    serve_review(project, tmp_path / "labels.csv", (), 0, interrupt)
    assert len(addresses) == 1
    assert signal.getsignal(number) is before
