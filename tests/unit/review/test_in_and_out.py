"""What a review starts from, and what it writes: nothing appears, nothing is lost."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.data.table import read_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Reading, load_format
from msqnet.formats.conversion import read_annotations
from msqnet.review.export import Contents, write_format, write_project_table
from msqnet.review.items import Mark, Proposal, Segment, State
from msqnet.review.project import Label, Project, SourceVideo
from msqnet.review.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from msqnet.data.records import Record

LABELS = [Label("walk"), Label("rest"), Label("hop", is_point=True)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path / "labels.review") as opened:
        yield opened


def filled(project: Project, path: Path, *items: Segment | Mark, length: float = 10.0) -> Contents:
    project.add([SourceVideo(path, path.name, items, length)], LABELS)
    return Contents.of(project)


def known(row: Record, label: str) -> str:
    """Whether a row has a label: yes, no or nothing."""
    if label in row.labels:
        return "yes"
    return "no" if row.is_absent(label) else "?"


def at(rows: list[Record], seconds: float, label: str) -> str:
    """What a table says about a label at a time."""
    found = {
        known(row, label)
        for row in rows
        if row.interval[0] <= seconds < row.interval[1] and row.holds_throughout
    }
    return "".join(sorted(found - {"?"})) or "?"


def rows_of(contents: Contents, path: Path) -> list[Record]:
    write_project_table(contents, path)
    return list(read_table(path).records)


def test_unknown_is_not_negative(project: Project, tmp_path: Path) -> None:
    contents = filled(
        project,
        tmp_path / "a.mp4",
        Segment(label="walk", start=1, end=3),
        Segment(label="walk", start=4, end=5, state=State.REJECTED, score=0.9),
        Segment(label="rest", start=6, end=8, state=State.PROPOSED, score=0.9),
        Mark(labels=("rest",), start=5, end=None),
    )
    rows = rows_of(contents, tmp_path / "labels.csv")
    said = {label: [at(rows, n + 0.5, label) for n in range(10)] for label in ("walk", "rest")}
    assert said["walk"] == ["?", "yes", "yes", "?", "no", "?", "?", "?", "?", "?"]
    assert said["rest"] == ["?", "?", "?", "?", "?", "no", "?", "?", "no", "no"]
    assert {at(rows, 5.5, "hop"), at(rows, 1.5, "hop")} == {"?"}


def test_edited_proposal_is_known_in_all_its_old_time(project: Project, tmp_path: Path) -> None:
    was = Proposal(label="walk", start=1, end=6)
    contents = filled(
        project, tmp_path / "a.mp4", Segment(label="walk", start=2, end=4, score=0.5, proposal=was)
    )
    rows = rows_of(contents, tmp_path / "labels.csv")
    assert "".join(at(rows, n + 0.5, "walk")[0] for n in range(8)) == "?nyynn??"


def test_point_stands_for_the_second_around_it(project: Project, tmp_path: Path) -> None:
    contents = filled(project, tmp_path / "a.mp4", Segment(label="hop", start=0.2, end=0.2))
    [row] = rows_of(contents, tmp_path / "labels.csv")
    assert (row.labels, row.start_seconds, row.end_seconds) == (("hop",), 0.0, 0.7)


def test_no_row_is_shorter_than_the_difference_of_equal_times(
    project: Project, tmp_path: Path
) -> None:
    contents = filled(
        project,
        tmp_path / "a.mp4",
        Segment(label="walk", start=1, end=4.0004),
        Segment(label="rest", start=4.0, end=9.9996),
        WHOLE,
    )
    rows = rows_of(contents, tmp_path / "labels.csv")
    assert [row.labels for row in rows] == [(), ("walk",), ("rest",)]
    assert rows[-1].end_seconds == 10.0


def test_nothing_annotated_writes_no_table(project: Project, tmp_path: Path) -> None:
    proposed = Segment(label="walk", start=1, end=3, state=State.PROPOSED, score=0.9)
    contents = filled(project, tmp_path / "a.mp4", proposed)
    assert write_project_table(contents, tmp_path / "labels.csv") == 0
    assert not (tmp_path / "labels.csv").exists()
    with pytest.raises(DatasetError, match="nothing is annotated"):
        write_format(contents, "table", tmp_path / "other.csv")


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_table_says_the_same_after_a_review_without_changes(
    project: Project, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """Also which labels were looked for in each row, and that some rows time nothing."""
    write_video("a.mp4", 100)
    common = {"split": "train", "group": "cage1"}
    table = write_rows(
        tmp_path / "clips.csv",
        {"path": "a.mp4", "start": 0, "end": 4, "labels": "walk", "annotated": "walk|rest"}
        | common
        | {"extent": "whole"},
        {"path": "a.mp4", "start": 4, "end": 6, "labels": "rest", "annotated": ""}
        | common
        | {"extent": "whole"},
        {"path": "a.mp4", "start": 7, "end": 9, "labels": "walk", "annotated": "*"}
        | common
        | {"extent": "somewhere"},
    )
    source = open_source(table, None, None, {})
    assert source.notes == ()
    project.add(source.videos, source.labels)
    rows = rows_of(Contents.of(project), tmp_path / "labels.csv")
    assert "".join(at(rows, n + 0.5, "walk")[0] for n in range(10)) == "yyyy??????"
    assert "".join(at(rows, n + 0.5, "rest")[0] for n in range(10)) == "nnnnyy?nn?"
    [untimed] = [row for row in rows if not row.holds_throughout]
    assert (untimed.labels, untimed.interval) == (("walk",), (7.0, 9.0))
    assert {(row.split, row.group) for row in rows} == {("train", "cage1")}


def test_accepted_untimed_label_holds_throughout(project: Project, tmp_path: Path) -> None:
    contents = filled(
        project, tmp_path / "a.mp4", Segment(label="walk", start=2, end=4, state=State.UNTIMED)
    )
    [row] = rows_of(contents, tmp_path / "labels.csv")
    assert not row.holds_throughout
    [(video, items)] = contents.videos
    project.change(video.id, [items[0].model_copy(update={"state": State.ACCEPTED})], [])
    [row] = rows_of(Contents.of(project), tmp_path / "labels.csv")
    assert row.holds_throughout


def test_row_to_the_end_of_a_missing_video_is_named(tmp_path: Path) -> None:
    table = write_rows(
        tmp_path / "clips.csv",
        {"path": "a.mp4", "start": "", "end": "", "labels": "walk"},
        {"path": "a.mp4", "start": "1", "end": "2", "labels": "rest"},
    )
    source = open_source(table, None, None, {})
    assert [note[:21] for note in source.notes] == ["row 2 is left out: it"]
    [video] = source.videos
    assert [item.start for item in video.items if isinstance(item, Segment)] == [1.0]


def test_results_are_proposals_and_nothing_is_annotated(predicted: Path) -> None:
    source = open_source(predicted, None, None, {})
    assert [video.name for video in source.videos] == ["event.mov", "long.mov"]
    assert any("broken.mp4: no result" in note for note in source.notes)
    items = [item for video in source.videos for item in video.items]
    assert items
    assert all(isinstance(item, Segment) and item.state is State.PROPOSED for item in items)
    assert [label.name for label in source.labels] == ["bright", "dark"]
    assert all(video.result for video in source.videos)


def test_folder_of_videos_is_opened_without_labels(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    write_video("b.mp4")
    write_video("a.mp4")
    (tmp_path / "notes.txt").write_text("Dear sir")
    source = open_source(tmp_path, None, None, {})
    assert [video.name for video in source.videos] == ["a.mp4", "b.mp4"]
    assert source.labels == ()
    [one] = open_source(tmp_path / "b.mp4", None, None, {}).videos
    assert one.path == tmp_path / "b.mp4"


def test_what_cannot_be_opened_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no video and no result"):
        open_source(tmp_path, None, None, {})
    with pytest.raises(DatasetError, match="no such file"):
        open_source(tmp_path / "gone", None, None, {})
    odd = tmp_path / "notes.odd"
    odd.write_text("Dear sir")
    with pytest.raises(DatasetError, match="no video and no result"):
        open_source(tmp_path, None, None, {})
    with pytest.raises(ConfigError, match="name its format with --from"):
        open_source(odd, None, None, {})
    with pytest.raises(ConfigError, match="no such format"):
        open_source(odd, "boriss", None, {})
    with pytest.raises(ConfigError, match="no option 'fsp'"):
        open_source(odd, "boris", None, {"fsp": "3"})


EVENTS = (
    Segment(label="walk", start=1.0, end=3.0, subject="Ann", modifiers=("fast",), comment="sure"),
    Segment(label="walk", start=2.0, end=5.0, subject="Bob"),
    Segment(label="hop", start=4.0, end=4.0, subject="Ann"),
    Segment(label="rest", start=6.0, end=9.0),
)
CAMTRAP = {
    "deployment": "d1",
    "latitude": "52.5",
    "longitude": "13.4",
    "recorded": "2026-05-01T10:00:00+02:00",
    "project": "Yard",
    "contributor": "Ann",
    "sampling_design": "opportunistic",
    "capture_method": "activityDetection",
}
WHOLE = Mark(labels=("walk", "rest", "hop"), start=0.0, end=None)


@pytest.mark.parametrize(
    "name", ["boris", "elan", "label_studio", "via", "cvat", "camtrap_dp", "feral", "praat"]
)
def test_formats_give_back_what_they_can_hold(
    project: Project, tmp_path: Path, write_video: Callable[..., Path], name: str
) -> None:
    target = load_format(name)
    if target.write is None:
        pytest.skip(f"{name} is only read")
    video = write_video("a.mp4", 100)
    contents = filled(project, video, *EVENTS, WHOLE)
    path = tmp_path / f"out{target.suffix}"
    options = CAMTRAP if name == "camtrap_dp" else {}
    write_format(contents, name, path, options)
    with pytest.raises(ConfigError, match="exists"):
        write_format(contents, name, path, options)
    with pytest.raises(ConfigError, match="no option 'odd'"):
        write_format(contents, name, path, {"odd": "1"}, overwrite=True)

    if target.read is None:
        return
    source = open_source(path, name, str(tmp_path), {})
    [again] = source.videos
    assert again.path == video
    expected = read_annotations(target, path, str(tmp_path), {})
    found = [item for item in again.items if isinstance(item, Segment)]
    assert len(found) == len(expected.videos[0].events)
    if "subjects" not in target.drops:
        assert {item.subject for item in found} == {"Ann", "Bob", ""}
    if not target.drops & {"points", "subjects", "modifiers", "comments", "unchecked labels"}:
        assert [item for item in found] == list(EVENTS)


def test_boris_project_keeps_everything_through_a_review(
    project: Project, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """A project that was opened and written again says what it said."""
    boris = load_format("boris")
    assert boris.read is not None
    video = write_video("a.mp4", 100)
    running = Segment(label="rest", start=9.5, end=None)
    first = tmp_path / "first.boris"
    write_format(filled(project, video, *EVENTS, running, WHOLE), "boris", first)

    source = open_source(first, None, None, {})
    with Project(tmp_path / "again.review") as again:
        again.add(source.videos, source.labels)
        write_format(Contents.of(again), "boris", tmp_path / "second.boris")

    one, two = (
        boris.read(tmp_path / n, Reading(tmp_path)) for n in ("first.boris", "second.boris")
    )
    assert [v.events for v in one.videos] == [v.events for v in two.videos]
    assert len(one.videos[0].events) == 5
    assert (one.labels, one.point_labels) == (two.labels, two.point_labels)
    assert one.videos[0].checked == two.videos[0].checked
    assert one.videos[0].observed == two.videos[0].observed


def test_partial_marks_stay_unknown_in_other_formats(
    project: Project, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """The largest part that a format can say is said, and a note names what is not."""
    contents = filled(
        project,
        write_video("a.mp4", 100),
        Segment(label="walk", start=1.0, end=2.0, state=State.PROPOSED, score=0.4),
        Segment(label="hop", start=8.5, end=8.5),
        Mark(labels=("walk", "rest"), start=0.0, end=6.0),
        Mark(labels=("hop",), start=8.0, end=9.0),
    )
    annotations, notes = contents.annotations()
    [video] = annotations.videos
    assert video.checked == {"walk", "rest"}
    assert video.observed == ((0.0, 1.0), (2.0, 6.0))
    assert [event.label for event in video.events] == ["hop"]
    assert len(notes) == 2


@pytest.mark.slow
# BORIS leaves the files that it reads open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_boris_itself_opens_what_a_review_writes(
    project: Project,
    tmp_path: Path,
    write_video: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("boris.config", reason="BORIS is not installed")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(sys, "argv", ["boris", "--ipc"])
    from boris import project_functions

    path = tmp_path / "out.boris"
    write_format(filled(project, write_video("a.mp4", 100), *EVENTS, WHOLE), "boris", path)
    _, is_changed, document, message = project_functions.open_project_json(str(path))
    assert (is_changed, message, document.get("error")) == (False, "", None)
    assert project_functions.check_project_integrity(document, "s", str(path)) == ""
    [observation] = document["observations"].values()
    events = sorted((event[0], event[1], event[2]) for event in observation["events"])
    assert events == [
        (1.0, "Ann", "walk"),
        (2.0, "Bob", "walk"),
        (3.0, "Ann", "walk"),
        (4.0, "Ann", "hop"),
        (5.0, "Bob", "walk"),
        (6.0, "", "rest"),
        (9.0, "", "rest"),
    ]
