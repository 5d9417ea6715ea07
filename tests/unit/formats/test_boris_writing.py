from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import DatasetError, MsqnetError
from msqnet.formats import Reading, dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from tests.unit.formats.boris_projects import (
    BORIS,
    observation,
    project,
    read_back,
    spans,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def annotated(tmp_path: Path, *events: Event, **more: Any) -> Annotations:
    video = AnnotatedVideo(tmp_path / "Käfig 1.mp4", events, 60.0, **more)
    return Annotations((video,), LabelSet(("groom", "jump", "run")), frozenset({"jump"}))


def test_everything_that_a_project_holds_comes_back(tmp_path: Path) -> None:
    first = annotated(
        tmp_path,
        Event("groom", 1.0, 3.5, "Ada", ("face", "left,right"), comment="wet"),
        Event("groom", 2.0, 7.123456, "Bob Ross"),
        Event("groom", 3.5, 4.0, "Ada", ("face", "left,right"), 0.123456789, "wet; score"),
        Event("jump", 4.0, 4.0),
        Event("jump", 4.0, 4.0, "Ada", score=1.0),
        Event("run", 5.0, 5.0, "Ada"),
        Event("run", 5.0, None, "Ada"),
        Event("nap", 0.0, 0.25),
        checked=frozenset({"groom", "jump"}),
        observed=((0.5, 30.25),),
        split="train",
        group="cage 1",
    )
    second = AnnotatedVideo(tmp_path / "other" / "Käfig 1.mp4", (), None)
    annotations = Annotations((*first.videos, second), first.labels, first.point_labels)

    notes = written(annotations, tmp_path / "project.boris")
    again = read_back(tmp_path / "project.boris")

    # The ethogram of BORIS has the nap too, but nobody looked for it in the second video.
    known = frozenset({"groom", "jump", "run"})
    assert again.videos == (annotations.videos[0], replace(second, checked=known))
    assert again.labels == annotations.all_labels()
    assert again.point_labels == {"jump"}
    assert dropped_fields(annotations, BORIS.drops, BORIS.title) == ()
    assert notes == (
        "videos that are not there: BORIS asks for them, and learns their frame rate, when their "
        "observation is opened: 2",
        "BORIS rounds times to 1 ms as it opens the project; finer times: 1",
    )


def test_what_alternating_starts_and_ends_cannot_say_is_said(tmp_path: Path) -> None:
    annotations = annotated(
        tmp_path,
        Event("groom", 1.0, 5.0, comment="a"),
        Event("groom", 4.0, 8.0, comment="b"),
        Event("run", 1.0, None),
        Event("run", 3.0, 4.0),
        Event("jump", 2.0, 2.0, modifiers=("a|b (c)",)),
        observed=((0.0, 1.0), (2.0, 9.0)),
    )

    notes = written(annotations, tmp_path / "project.boris")

    [video] = read_back(tmp_path / "project.boris").videos
    assert spans(video) == [
        ("groom", 1.0, 8.0, ""),
        ("jump", 2.0, 2.0, ""),
        ("run", 3.0, 4.0, ""),
    ]
    assert video.observed is None
    assert [note.rpartition(": ")[2] for note in notes] == ["1"] * 5
    assert "joined with one of the same kind" in " ".join(notes)
    assert "another of the same kind follows" in " ".join(notes)
    assert "several intervals" in " ".join(notes)
    assert "does not allow" in " ".join(notes)


def test_project_has_what_boris_asks_for(tmp_path: Path) -> None:
    annotations = annotated(
        tmp_path,
        Event("groom", 1.0, 2.0, "Ada", ("face", "left, right")),
        Event("groom", 3.0, 4.0, "Ada"),
    )
    written(annotations, tmp_path / "project.boris")

    document = json.loads((tmp_path / "project.boris").read_text())

    [observation] = document["observations"].values()
    assert observation["file"]["1"] == ["Käfig 1.mp4"]
    assert [row[3] for row in observation["events"]] == ["face|left, right"] * 2 + ["None|None"] * 2
    assert observation["media_info"]["length"] == {"Käfig 1.mp4": 60.0}
    groom, jump, run = document["behaviors_conf"].values()
    assert [item["type"] for item in (groom, jump, run)] == [
        "State event",
        "Point event",
        "State event",
    ]
    assert [item["key"] for item in (groom, jump, run)] == ["g", "j", "r"]
    assert [(item["type"], item["values"]) for item in groom["modifiers"].values()] == [
        (0, ["face"]),
        (1, ["left", "right"]),
    ]
    assert document["subjects_conf"]["0"]["name"] == "Ada"


def test_media_are_described_as_they_are(
    write_video: Callable[..., Path], write_audio: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    paths = [write_video("a.mp4", num_frames=6), tmp_path / "broken.mp4", tmp_path / "none.mp4"]
    paths += [write_audio("sound.mp4"), tmp_path.parent / "outside.mp4"]
    videos = tuple(AnnotatedVideo(path, (), None) for path in (*paths, paths[0]))

    notes = written(Annotations(videos, LabelSet(("groom",))), tmp_path / "project.boris")

    found = json.loads((tmp_path / "project.boris").read_text())["observations"]
    assert list(found) == [
        *("a.mp4", "broken.mp4", "none.mp4", "sound.mp4", "outside.mp4", "a.mp4 #2")
    ]
    assert found["a.mp4"]["media_info"]["fps"] == {"a.mp4": 10.0}
    assert found["a.mp4"]["media_info"]["length"] == {"a.mp4": pytest.approx(0.6)}
    assert found["broken.mp4"]["media_info"]["length"] == {}
    assert found["outside.mp4"]["file"]["1"] == [str(tmp_path.parent / "outside.mp4")]
    assert [note.rpartition(": ")[2] for note in notes] == ["4"]


def test_other_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found suffix '.json', expected .boris"):
        written(annotated(tmp_path), tmp_path / "project.json")


times = st.integers(0, 60_000).map(lambda number: number / 1000)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="|"),
    min_size=1,
    max_size=6,
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    start, end = sorted((draw(times), draw(times)))
    return Event(
        draw(st.sampled_from(("groom", "run", "näp 2"))),
        start,
        draw(st.sampled_from((start, end))),
        draw(st.sampled_from(("", "Ada", "Bob B."))),
        (),
        draw(st.none() | st.floats(0, 1)),
        draw(st.sampled_from(("", "wet", "a; b"))),
    )


def without_overlaps(found: list[Event]) -> list[Event]:
    kept: list[Event] = []
    for event in sorted(found, key=lambda item: (item.start_seconds, item.end_seconds or 0)):
        same = [item for item in kept if (item.label, item.subject) == (event.label, event.subject)]
        if all((item.end_seconds or 0) <= event.start_seconds for item in same):
            kept.append(event)
    return kept


@settings(max_examples=60)
@given(st.lists(events(), max_size=12))
def test_any_events_come_back(tmp_path: Path, found: list[Event]) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", tuple(without_overlaps(found)), 60.0)
    annotations = Annotations((video,), LabelSet(("groom", "run")))

    written(annotations, tmp_path / "project.boris")
    [again] = read_back(tmp_path / "project.boris").videos

    def key(event: Event) -> tuple[object, ...]:
        return event.label, event.subject, event.start_seconds, event.end_seconds, event.comment

    assert sorted(again.events, key=key) == sorted(video.events, key=key)


def nodes(value: object, way: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner: list[tuple[object, ...]] = []
    if isinstance(value, dict):
        inner = [found for name, item in value.items() for found in nodes(item, (*way, name))]
    elif isinstance(value, list):
        inner = [found for n, item in enumerate(value) for found in nodes(item, (*way, n))]
    return [way, *inner]


FULL = project(
    first=observation(
        [1.0, "Ada", "groom", "", "score=0.5"],
        [2.0, "Ada", "groom", "", ""],
        file={"1": ["a.mp4", "b.mp4"], "2": ["c.mp4"]},
        media_info={"length": {"a.mp4": 5.0, "b.mp4": 5.0}, "offset": {"2": 1.0}},
        independent_variables={"split": "train", "checked labels": "groom|run"},
        **{"observation time interval": [1, 4]},
    )
)
WAYS = nodes(FULL)


@settings(max_examples=100)
@given(
    st.sampled_from(WAYS[1:]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.text("a/\\.:|\0\ud800", min_size=300, max_size=301)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
def test_any_change_is_read_or_refused(tmp_path: Path, way: tuple[Any, ...], value: object) -> None:
    document = json.loads(json.dumps(FULL))
    inner = document
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    path = tmp_path / "project.boris"
    path.write_text(json.dumps(document))

    with contextlib.suppress(MsqnetError):
        BORIS.read(path, Reading(tmp_path, {"players": "all"}))
