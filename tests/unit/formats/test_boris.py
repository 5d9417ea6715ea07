from __future__ import annotations

import gzip
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Reading
from tests.unit.formats.boris_projects import (
    BORIS,
    behaviour,
    observation,
    project,
    read_back,
    spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.formats.annotations import Annotations


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(document: object, **options: str) -> Annotations:
        path = tmp_path / "project.boris"
        path.write_text(json.dumps(document), encoding="utf-8")
        return BORIS.read(path, Reading(tmp_path, options))

    return read


@pytest.fixture
def read_one(read: Callable[..., Annotations]) -> Callable[..., Annotations]:
    """Read a project of one observation."""
    return lambda *events, **more: read(project(first=observation(*events, **more)))


def test_states_pair_by_subject_code_and_modifiers(read_one: Callable[..., Annotations]) -> None:
    found = read_one(
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


def test_behaviours_with_a_coding_map_are_of_their_kind(read: Callable[..., Annotations]) -> None:
    ethogram = {
        "0": behaviour("peck", "Point event with coding map", **{"coding map": "cage"}),
        "1": behaviour("rest", "State event with coding map", **{"coding map": "cage"}),
    }
    events = [[time, "", code, "", ""] for time in (1.0, 2.0) for code in ("peck", "rest")]
    found = read(project(first=observation(*events)) | {"behaviors_conf": ethogram})

    [video] = found.videos
    assert spans(video) == [("peck", 1.0, 1.0, ""), ("rest", 1.0, 2.0, ""), ("peck", 2.0, 2.0, "")]


def test_state_that_nobody_ended_stays_open(read_one: Callable[..., Annotations]) -> None:
    found = read_one([1.0, "", "groom", "", ""], [9.0, "", "run", "", ""])

    assert spans(found.videos[0]) == [("groom", 1.0, None, ""), ("run", 9.0, None, "")]
    assert found.notes == ("states without an end: 2",)


def test_code_that_the_ethogram_lacks_is_kept_as_a_point(
    read_one: Callable[..., Annotations],
) -> None:
    found = read_one([1.0, "", "nap", "", ""], [2.0, "", "nap", "", ""])

    assert spans(found.videos[0]) == [("nap", 1.0, 1.0, ""), ("nap", 2.0, 2.0, "")]
    assert "nap" not in found.labels
    assert found.notes == ("code 'nap' is not in the ethogram; its 2 events are taken as points",)


def test_files_in_a_queue_get_times_of_their_own(read_one: Callable[..., Annotations]) -> None:
    found = read_one(
        [5.0, "", "groom", "", ""],
        [9.0, "", "groom", "", ""],
        [18.0, "", "run", "", ""],
        [20.0, "", "jump", "", ""],
        [45.0, "", "run", "", ""],
        [50.0, "", "rear", "None", ""],
        file={"1": ["a.mp4", "b.mp4", "c.mp4"]},
        media_info={"length": {"a.mp4": 20.0004, "b.mp4": 10.5, "c.mp4": 30.0}},
    )

    assert [video.path.name for video in found.videos] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [spans(video) for video in found.videos] == [
        [("groom", 5.0, 9.0, ""), ("run", 18.0, 20.0, "")],
        [("jump", 0.0, 0.0, ""), ("run", 0.0, 10.5, "")],
        [("run", 0.0, 14.5, ""), ("rear", 19.5, None, "")],
    ]
    assert found.notes[-1].endswith("where they are separate events: 1")


def test_interval_of_a_queue_is_a_stretch_of_each_file(
    read_one: Callable[..., Annotations],
) -> None:
    found = read_one(
        file={"1": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]},
        media_info={"length": dict.fromkeys(("a.mp4", "b.mp4", "c.mp4", "d.mp4"), 10.0)},
        **{"time offset": 100, "observation time interval": [4, 25]},
    )

    assert [video.observed for video in found.videos] == [((4.0, 10.0),), None, ((0.0, 5.0),), ()]


def test_open_state_is_open_in_later_files_too(read_one: Callable[..., Annotations]) -> None:
    found = read_one(
        [5.0, "", "groom", "", ""],
        file={"1": ["a.mp4", "b.mp4"]},
        media_info={"length": {"a.mp4": 20.0}},
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
    read_one: Callable[..., Annotations],
) -> None:
    found = read_one(
        [99.0, "", "groom", "", ""],
        [104.0, "", "groom", "", ""],
        [99.5, "", "jump", "", ""],
        **{"time offset": 100.0, "observation time interval": [0.0, 30]},
    )

    [video] = found.videos
    assert spans(video) == [("groom", 0.0, 4.0, "")]
    assert video.observed == ((0.0, 30.0),)
    assert found.notes == ("events outside of every video, which are left out: 1",)
    assert read(project(first=observation())).videos[0].observed is None
    rest = observation(**{"observation time interval": [20, 0]})
    assert read(project(first=rest)).videos[0].observed == ((20.0, 60.0),)
    with pytest.raises(DatasetError, match="goes to the end of the video, whose length is not"):
        read(project(first=rest | {"media_info": {}}))
    whole = observation(**{"observation time interval": [0, 60]})
    assert read(project(first=whole)).videos[0].observed is None


def test_date_of_a_file_is_where_its_time_begins(read_one: Callable[..., Annotations]) -> None:
    found = read_one(
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

    assert [(video.path.name, spans(video)[0][1]) for video in found.videos] == [
        ("a.mp4", 1.5),
        ("b.mp4", 4.0),
    ]
    assert found.notes == ("events outside of every video, which are left out: 1",)


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
    with pytest.raises(DatasetError, match="a damaged archive"):
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
            "'0': type: found 'Event', expected 'State event' or 'Point event'",
        ),
        (
            {"behaviors_conf": {"0": behaviour("  ")}, "observations": {}},
            "code: found '  ', expected the code of a behaviour",
        ),
        (_event("soon", "", "groom"), "events: number 1: number 1: found 'soon', expected a num"),
        (_event(1.0, ""), "number 1: found a list of 2, expected time, subject, code"),
        (_event(1.0, 7, "groom"), "number 2: found 7, expected text"),
        (_event(1.0, "", ""), "number 3: found '', expected the code"),
        (project(first=observation(type="DREAM")), "type: found 'DREAM', expected MEDIA, LIVE"),
        (project(first=observation(file={"1": [" "]})), "expected the path of a media file"),
        (project(first=observation(**{"observation time interval": [1]})), "expected a start and"),
        (project(first=observation(**{"time offset": "x"})), "'first': time offset: found 'x'"),
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
        (b"\xff", "byte 0 is not UTF-8 text"),
        (b"[" * 200_000, "not JSON that can be used"),
        (b"1" * 5_000, "not JSON that can be used"),
    ],
)
def test_files_that_are_no_json(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "project.boris"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        read_back(path)
