from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import ALL_FIELDS, FORMATS, Reading, dropped_fields, load_format
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    without_open_states,
)
from msqnet.labels import LabelSet

LABELS = LabelSet(("groom", "rear", "call"))


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, 2), (2, 1), (float("nan"), 2), (0, float("inf")), (float("inf"), None), (-1, None)],
)
def test_impossible_times_are_refused(start: float, end: float | None) -> None:
    with pytest.raises(
        DatasetError, match=r"'groom' from .* expected times of at least 0, the end"
    ):
        Event("groom", start, end)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_impossible_scores_are_refused(score: float) -> None:
    with pytest.raises(DatasetError, match=f"'groom': found score {score}, expected 0 to 1"):
        Event("groom", 0, 1, score=score)


def test_points_have_no_length_and_open_states_no_end() -> None:
    events = Event("a", 1, 2), Event("a", 1, 1), Event("a", 1, None)

    assert [(event.is_point, event.is_open) for event in events] == [
        *((False, False), (True, False), (False, True)),
    ]


def test_events_are_in_order_of_time() -> None:
    events = (Event("b", 2, None), Event("b", 2, 3), Event("a", 2, 3), Event("c", 0, 9))

    video = AnnotatedVideo(Path("/a.mp4"), events)

    assert [(event.label, event.end_seconds) for event in video.events] == [
        *(("c", 9), ("a", 3), ("b", 3), ("b", None)),
    ]
    assert pickle.loads(pickle.dumps(video)) == video


def test_labels_of_events_come_after_the_ethogram() -> None:
    events = (Event("z", 0, 1), Event("rear", 0, 1), Event("climb", 0, 1))

    annotations = Annotations((AnnotatedVideo(Path("/a.mp4"), events),), LABELS)

    assert annotations.all_labels().names == ("groom", "rear", "call", "climb", "z")


def test_everything_that_a_format_has_no_place_for_is_counted() -> None:
    events = (
        Event("groom", 0, 0, "Ada", ("face",), 0.5, "text"),
        Event("groom", 0, None, "Ada"),
    )
    video = AnnotatedVideo(
        Path("/a.mp4"), events, None, frozenset({"groom"}), ((0, 1),), "train", "cage"
    )
    annotations = Annotations((video,), LABELS)

    assert dropped_fields(annotations, ALL_FIELDS, "X") == (
        "X has no place for points: events without a length: 1",
        "X has no place for open ends: states without an end: 1",
        "X has no place for subjects: events with a subject: 2",
        "X has no place for modifiers: events with modifiers: 1",
        "X has no place for scores: events with a score: 1",
        "X has no place for comments: events with a comment: 1",
        "X has no place for ethogram: labels that no event has: 2",
        "X has no place for unchecked labels: videos in which not all labels were looked for: 1",
        "X has no place for observed intervals: videos of which only parts were looked at: 1",
        "X has no place for splits: videos with a split: 1",
        "X has no place for groups: videos with a group: 1",
    )
    assert dropped_fields(Annotations((), LabelSet(())), ALL_FIELDS, "X") == ()


def test_videos_are_found_as_written_or_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "cage 1").mkdir()
    (tmp_path / "cage 1" / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    reading = Reading(tmp_path)

    assert reading.video_path("cage 1/a.mp4") == tmp_path / "cage 1" / "a.mp4"
    assert reading.video_path("cage 1\\a.mp4") == tmp_path / "cage 1" / "a.mp4"
    assert reading.video_path("/elsewhere/b.mp4") == tmp_path / "b.mp4"
    assert reading.video_path("D:\\videos\\b.mp4") == tmp_path / "b.mp4"
    assert reading.video_path("/elsewhere/c.mp4") == Path("/elsewhere/c.mp4")
    assert reading.video_path("D:\\videos\\c.mp4") == tmp_path / "c.mp4"
    assert reading.video_path("x" * 5000).is_absolute()


def test_labels_are_made_such_that_a_table_can_hold_them() -> None:
    assert [clean_label(text) for text in (" a|b ", "", "ü c")] == ["a/b", "", "ü c"]


def test_states_that_nobody_ended_make_their_label_unknown_elsewhere() -> None:
    events = (Event("groom", 1, None), Event("rear", 2, 3))
    video = AnnotatedVideo(Path("/a.mp4"), events)

    changed = without_open_states(video, LABELS)

    assert changed.events == (Event("groom", 1, 1), Event("rear", 2, 3))
    assert changed.checked == {"rear", "call"}
    closed = AnnotatedVideo(Path("/a.mp4"), events[1:])
    assert without_open_states(closed, LABELS) is closed


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_loaded_by_its_name(name: str) -> None:
    found = load_format(name)

    assert found.name == name
    assert found.read or found.write or found.read_rows
    assert all(text.strip() for text in found.options.values())
    assert found.drops <= ALL_FIELDS


def test_unknown_formats_are_named() -> None:
    with pytest.raises(ConfigError, match="no such format: word; known are "):
        load_format("word")
