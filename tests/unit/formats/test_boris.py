from __future__ import annotations

import contextlib
import gzip
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.formats import load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, Reading, losses
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BORIS = load_format("boris")


def behaviour(code: str, kind: str = "State event", **more: object) -> dict[str, object]:
    return {"type": kind, "key": "", "code": code, "description": "", "modifiers": "", **more}


ETHOGRAM = {
    "0": behaviour("groom"),
    "1": behaviour("jump", "Point event"),
    "10": behaviour("run"),
    "2": behaviour("rear", modifiers={"0": {"name": "", "type": 0, "values": ["high", "low"]}}),
}


def observation(*events: list[object], **more: object) -> dict[str, Any]:
    return {
        "type": "MEDIA",
        "file": {"1": ["cage.mp4"], "2": []},
        "events": list(events),
        "time offset": 0.0,
        "media_info": {"length": {"cage.mp4": 60.0}, "fps": {"cage.mp4": 25.0}},
        **more,
    }


def project(**observations: dict[str, Any]) -> dict[str, Any]:
    return {
        "project_format_version": "7.0",
        "subjects_conf": {"0": {"key": "1", "name": "Ada", "description": ""}},
        "behaviors_conf": ETHOGRAM,
        "observations": observations,
    }


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(document: object, **options: str) -> Annotations:
        path = tmp_path / "project.boris"
        path.write_text(json.dumps(document), encoding="utf-8")
        assert BORIS.read is not None
        return BORIS.read(path, Reading(tmp_path, options))

    return read


def written(annotations: Annotations, path: Path) -> tuple[str, ...]:
    assert BORIS.write is not None
    return BORIS.write(annotations, path, {})


def read_back(path: Path) -> Annotations:
    assert BORIS.read is not None
    return BORIS.read(path, Reading(path.parent))


def spans(video: AnnotatedVideo) -> list[tuple[object, ...]]:
    return [
        (event.label, event.start_seconds, event.end_seconds, event.subject)
        for event in video.events
    ]


def test_states_pair_by_subject_code_and_modifiers(read: Callable[..., Annotations]) -> None:
    found = read(
        project(
            first=observation(
                [1.0, "Ada", "groom", "", ""],
                [2, "Bob", "groom", "", ""],
                ["3.5", "Ada", "groom", "", ""],
                [4.0, "", "rear", "high", ""],
                [5.0, "", "rear", "low", ""],
                [6.0, "", "rear", "high", ""],
                [7.0, "Bob", "groom", "", ""],
                [8.25, "", "jump", "", "over the log", "NA"],
                [9.0, "", "rear", "low", ""],
            )
        )
    )

    [video] = found.videos
    assert spans(video) == [
        ("groom", 1.0, 3.5, "Ada"),
        ("groom", 2.0, 7.0, "Bob"),
        ("rear", 4.0, 6.0, ""),
        ("rear", 5.0, 9.0, ""),
        ("jump", 8.25, 8.25, ""),
    ]
    assert [event.modifiers for event in video.events][2:4] == [("high",), ("low",)]
    assert video.events[-1].comment == "over the log"
    assert video.duration_seconds == 60.0
    assert found.labels.names == ("groom", "jump", "rear", "run")
    assert found.point_labels == {"jump"}
    assert found.notes == ()


def test_state_that_nobody_ended_stays_open(read: Callable[..., Annotations]) -> None:
    found = read(project(first=observation([1.0, "", "groom", "", ""], [9.0, "", "run", "", ""])))

    assert spans(found.videos[0]) == [("groom", 1.0, None, ""), ("run", 9.0, None, "")]
    assert found.notes == ("states that nobody ended: 2",)


def test_code_that_the_ethogram_lacks_is_kept_as_a_point(read: Callable[..., Annotations]) -> None:
    found = read(project(first=observation([1.0, "", "nap", "", ""], [2.0, "", "nap", "", ""])))

    assert spans(found.videos[0]) == [("nap", 1.0, 1.0, ""), ("nap", 2.0, 2.0, "")]
    assert "nap" not in found.labels
    assert found.notes == ("code 'nap' is not in the ethogram; its 2 events are taken as points",)


def test_files_in_a_queue_get_times_of_their_own(read: Callable[..., Annotations]) -> None:
    found = read(
        project(
            first=observation(
                [5.0, "", "groom", "", ""],
                [9.0, "", "groom", "", ""],
                [18.0, "", "run", "", ""],
                [20.0, "", "jump", "", ""],
                [45.0, "", "run", "", ""],
                [50.0, "", "rear", "None", ""],
                file={"1": ["a.mp4", "b.mp4", "c.mp4"]},
                media_info={"length": {"a.mp4": 20.0004, "b.mp4": 10.5, "c.mp4": 30.0}},
            )
        )
    )

    assert [video.path.name for video in found.videos] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [spans(video) for video in found.videos] == [
        [("groom", 5.0, 9.0, ""), ("run", 18.0, 20.0, "")],
        [("jump", 0.0, 0.0, ""), ("run", 0.0, 10.5, "")],
        [("run", 0.0, 14.5, ""), ("rear", 19.5, None, "")],
    ]
    assert found.notes[-1].endswith("where they are an event of their own: 1")


def test_interval_of_a_queue_is_a_stretch_of_each_file(read: Callable[..., Annotations]) -> None:
    found = read(
        project(
            first=observation(
                file={"1": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]},
                media_info={"length": dict.fromkeys(("a.mp4", "b.mp4", "c.mp4", "d.mp4"), 10.0)},
                **{"time offset": 100, "observation time interval": [4, 25]},
            )
        )
    )

    assert [video.observed for video in found.videos] == [((4.0, 10.0),), None, ((0.0, 5.0),), ()]


def test_open_state_is_open_in_later_files_too(read: Callable[..., Annotations]) -> None:
    found = read(
        project(
            first=observation(
                [5.0, "", "groom", "", ""],
                file={"1": ["a.mp4", "b.mp4"]},
                media_info={"length": {"a.mp4": 20.0}},
            )
        )
    )

    assert [spans(video) for video in found.videos] == [
        [("groom", 5.0, None, "")],
        [("groom", 0.0, None, "")],
    ]


def test_queue_needs_the_length_of_all_but_the_last_file(read: Callable[..., Annotations]) -> None:
    with pytest.raises(DatasetError, match=r"'first': file: found no length of a.mp4.*put the"):
        read(project(first=observation(file={"1": ["a.mp4", "b.mp4"]}, media_info={"length": {}})))


def test_time_offset_and_interval_are_on_the_clock_of_the_video(
    read: Callable[..., Annotations],
) -> None:
    found = read(
        project(
            first=observation(
                [99.0, "", "groom", "", ""],
                [104.0, "", "groom", "", ""],
                [99.5, "", "jump", "", ""],
                **{"time offset": 100.0, "observation time interval": [0.0, 30]},
            )
        )
    )

    [video] = found.videos
    assert spans(video) == [("groom", 0.0, 4.0, "")]
    assert video.observed == ((0.0, 30.0),)
    assert found.notes == ("events at times of no video, which are left out: 1",)
    assert read(project(first=observation())).videos[0].observed is None
    rest = observation(**{"observation time interval": [20, 0]})
    assert read(project(first=rest)).videos[0].observed == ((20.0, 60.0),)
    with pytest.raises(DatasetError, match="goes to the end of the video, whose length is not"):
        read(project(first=rest | {"media_info": {}}))
    whole = observation(**{"observation time interval": [0, 60]})
    assert read(project(first=whole)).videos[0].observed is None


def test_date_of_a_file_is_where_its_time_begins(read: Callable[..., Annotations]) -> None:
    found = read(
        project(
            first=observation(
                [1_000_001.5, "", "jump", "", ""],
                [1_000_104.0, "", "jump", "", ""],
                [1_000_090.0, "", "jump", "", ""],
                file={"1": ["b.mp4", "a.mp4"]},
                media_creation_date_as_offset=True,
                media_info={
                    "length": {"a.mp4": 20.0, "b.mp4": 20.0},
                    "media_creation_time": {"a.mp4": 1_000_000, "b.mp4": 1_000_100},
                },
            )
        )
    )

    assert [(video.path.name, spans(video)[0][1]) for video in found.videos] == [
        ("a.mp4", 1.5),
        ("b.mp4", 4.0),
    ]
    assert found.notes == ("events at times of no video, which are left out: 1",)


def test_further_players_show_the_same_time_with_their_offset(
    read: Callable[..., Annotations],
) -> None:
    document = project(
        first=observation(
            [20.0, "", "groom", "", ""],
            [25.0, "", "groom", "", ""],
            file={"1": ["left.mp4"], "2": ["right.mp4"]},
            media_info={"length": {"left.mp4": 60.0}, "offset": {"1": 0.0, "2": 12.5}},
        )
    )

    assert [video.path.name for video in read(document).videos] == ["left.mp4"]
    assert "--option players=all" in read(document).notes[0]
    videos = read(document, players="all").videos
    assert [spans(video)[0][1:3] for video in videos] == [(20.0, 25.0), (7.5, 12.5)]
    del document["observations"]["first"]["media_info"]["offset"]
    document["observations"]["first"]["time offset second player"] = -2.0
    assert spans(read(document, players="all").videos[1])[0][1] == 22.0


def test_old_projects_are_read(read: Callable[..., Annotations]) -> None:
    """Modifiers as text, players as a list, subjects as pairs, and no version."""
    document = {
        "subjects_conf": {"0": ["1", "Ada"]},
        "behaviors_conf": {"0": behaviour("walk", modifiers="slow,fast|left,right")},
        "observations": {
            "first": {
                "type": "VIDEO",
                "file": ["cage.mp4"],
                "events": [
                    [1, "Ada", "walk", "slow|None", ""],
                    [2, "Ada", "walk", "slow|None", ""],
                    [3, "Ada", "walk", "None|None", "limps"],
                    [4, "Ada", "walk", "None|None", "again"],
                ],
            }
        },
    }

    [video] = read(document).videos
    assert [event.modifiers for event in video.events] == [("slow",), ()]
    assert [event.comment for event in video.events] == ["", "limps; again"]


def test_observations_without_a_video_are_left_out_and_counted(
    read: Callable[..., Annotations],
) -> None:
    found = read(
        project(
            live=observation([1.0, "", "groom", "", ""], type="LIVE", file=[]),
            pictures=observation(["NaN", "", "groom", "", "", 1, "a.jpg"], type="IMAGES", file={}),
            nothing=observation(file={"1": []}),
            old=observation(file=[]),
            ours=observation(["NA", "", "jump", "", ""], [math.nan, "", "jump", "", ""]),
        )
    )

    assert [video.path.name for video in found.videos] == ["cage.mp4"]
    assert sorted(found.notes) == [
        "events without a time, which are left out: 2",
        "live observations, which have no video and are left out: 1",
        "observations of pictures, which have no video and are left out: 1",
        "observations without a media file, which are left out: 2",
    ]


def test_empty_project_has_labels_only(read: Callable[..., Annotations]) -> None:
    found = read(project())
    assert (found.videos, found.labels.names) == ((), ("groom", "jump", "rear", "run"))
    empty = read({"behaviors_conf": {}, "observations": {}})
    assert (empty.videos, empty.labels.names) == ((), ())


def test_observation_can_be_chosen(read: Callable[..., Annotations]) -> None:
    document = project(
        **{
            "Ada's": observation([1.0, "", "jump", "", ""]),
            "Bob's": observation([2.0, "", "jump", "", ""]),
        }
    )

    assert "videos that several observations are about" in read(document).notes[0]
    assert spans(read(document, observation="Bob's").videos[0])[0][1] == 2.0
    with pytest.raises(ConfigError, match=r"observation=Eve: no such.*found: Ada's, Bob's"):
        read(document, observation="Eve")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("C:\\Users\\Ada\\My videos\\Käfig 1.mp4", "Käfig 1.mp4"),
        ("\\\\server\\share\\Käfig 1.mp4", "Käfig 1.mp4"),
        ("/home/ada/there/Käfig 1.mp4", "/home/ada/there/Käfig 1.mp4"),
        ("day 1\\Käfig 1.mp4", "day 1/Käfig 1.mp4"),
    ],
)
def test_paths_of_other_machines(
    read: Callable[..., Annotations], tmp_path: Path, name: str, expected: str
) -> None:
    found = read(project(first=observation(file={"1": [name]})))

    assert found.videos[0].path == tmp_path / expected


def test_compressed_projects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "project.boris.gz"
    path.write_bytes(gzip.compress(json.dumps(project(first=observation())).encode()))
    assert len(read_back(path).videos) == 1
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="not a gzip file"):
        read_back(path)


def _event(*cells: object) -> dict[str, Any]:
    return project(first=observation(list(cells)))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "found a list of 0, expected an object; open the project in BORIS and save"),
        ({"observations": {}}, "no 'behaviors_conf'; found 'observations'"),
        ({"behaviors_conf": {}}, "no 'observations'"),
        ({"behaviors_conf": {"0": {"code": "a"}}, "observations": {}}, "'0': no 'type'"),
        (
            {"behaviors_conf": {"0": behaviour("a", "Event")}, "observations": {}},
            "'0': type: found \"Event\", expected 'State event' or 'Point event'",
        ),
        (
            {"behaviors_conf": {"0": behaviour("  ")}, "observations": {}},
            'code: found "  ", expected the code of a behaviour',
        ),
        (_event("soon", "", "groom"), 'events: number 1: number 1: found "soon", expected a num'),
        (_event(1.0, ""), "number 1: found a list of 2, expected time, subject, code"),
        (_event(1.0, 7, "groom"), "number 2: found 7, expected text"),
        (_event(1.0, "", ""), 'number 3: found "", expected the code'),
        (project(first=observation(type="DREAM")), 'type: found "DREAM", expected MEDIA, LIVE'),
        (project(first=observation(file={"1": [" "]})), "expected the path of a media file"),
        (project(first=observation(**{"observation time interval": [1]})), "expected a start and"),
        (project(first=observation(**{"time offset": "x"})), "'first': time offset: found \"x\""),
    ],
)
def test_malformed_projects_say_where(
    read: Callable[..., Annotations], tmp_path: Path, document: object, words: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        read(document)
    assert str(caught.value).startswith(str(tmp_path / "project.boris"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1, column 1: not JSON"),
        (b'{"a":\n 1,}', "line 2, column 4: not JSON"),
        (b"\xff\xfe", "byte 0 is not UTF-8 text"),
        (b"[" * 200_000, "not JSON that can be used"),
        (b"1" * 5_000, "not JSON that can be used"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "project.boris"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read_back(path)


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
    assert losses(annotations, BORIS.keeps, BORIS.title) == ()
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
    assert "several stretches" in " ".join(notes)
    assert "does not allow" in " ".join(notes)


def test_project_has_what_boris_asks_for(tmp_path: Path) -> None:
    annotations = annotated(
        tmp_path,
        Event("groom", 1.0, 2.0, "Ada", ("face", "left,right")),
        Event("groom", 3.0, 4.0, "Ada"),
    )
    written(annotations, tmp_path / "project.boris")

    document = json.loads((tmp_path / "project.boris").read_text())

    [observation] = document["observations"].values()
    assert observation["file"]["1"] == ["Käfig 1.mp4"]
    assert [row[3] for row in observation["events"]] == ["face|left,right"] * 2 + ["None|None"] * 2
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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
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

    assert BORIS.read is not None
    with contextlib.suppress(MsqnetError):
        BORIS.read(path, Reading(tmp_path, {"players": "all"}))
