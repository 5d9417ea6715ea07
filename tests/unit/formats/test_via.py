from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.via import FORMAT
from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import change, outcome, read_as, write_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = LabelSet(("grooming", "laufen groß", "call"))


def attribute(name: str, anchor: str, kind: int, *options: str) -> dict[str, Any]:
    return {
        "aname": name,
        "anchor_id": anchor,
        "type": kind,
        "desc": "",
        "options": {str(key): text for key, text in enumerate(options)},
        "default_option_id": "",
    }


def entry(view: str, times: list[float], values: dict[str, Any], *shape: float) -> dict[str, Any]:
    return {"vid": view, "flg": 0, "z": times, "xy": list(shape), "av": values}


def project(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A project as VIA 3.1.1 saves it: a film, a second one from the web, and a picture."""
    return {
        "project": {"pname": "Kitchen", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "films/", "4": ""}}},
        "attribute": {
            "1": attribute("Activity", "FILE1_Z2_XY0", 4, "break egg", "pour"),
            "2": attribute("Object", "FILE1_Z1_XY1", 4, "Egg"),
            "3": attribute("Phase", "FILE1_Z2_XY0", 1),
            "4": attribute("tags", "FILE1_Z2_XY0", 2, "loud", "dark", "late"),
        },
        "file": {
            "1": {"fid": 1, "fname": "a.mp4", "type": 4, "loc": 3, "src": "a b.mp4"},
            "2": {
                "fid": "2",
                "fname": "x",
                "type": 4,
                "loc": 2,
                "src": "https://e.org/v/%C3%A9.webm?a=1",
            },
            "3": {"fid": "3", "fname": "p.jpg", "type": 2, "loc": 1, "src": ""},
        },
        "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}, "3": {"fid_list": [3]}},
        "metadata": {f"{e['vid']}_{number}": e for number, e in enumerate(entries)},
    } | changes


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a project file."""

    def write_file(document: Any) -> Path:
        path = tmp_path / "project.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return write_file


read, write = partial(read_as, "via"), partial(write_as, "via")


def test_segments_and_moments_have_seconds(saved: Callable[[Any], Path], tmp_path: Path) -> None:
    path = saved(
        project(
            entry("1", [2, 6.5], {"1": "0"}),
            entry("1", [9.125], {"1": "1", "3": "end", "4": "0,2"}),
            entry("2", [1, 1], {"1": "a text"}),
        )
    )

    found = read(path)

    film, other = found.videos
    assert film.path == tmp_path / "films" / "a b.mp4"
    assert other.path == tmp_path / "é.webm"
    assert film.events == (
        Event("break egg", 2, 6.5),
        Event("pour", 9.125, 9.125, modifiers=("Phase:end", "tags:loud", "tags:late")),
    )
    assert other.events == (Event("a text", 1, 1),)
    assert found.labels.names == ("break egg", "pour", "a text")
    assert found.notes[:2] == (
        "files that are no videos, which are left out: 1",
        "segments without a length, which are moments here, as VIA shows them; their labels are "
        "unknown elsewhere: 1",
    )
    assert other.checked == {"break egg", "pour"}


# A project as it was saved by VIA, its times and names as they are; two of its six entries.
REAL = """{"project":{"pid":"__VIA_PROJECT_ID__","rev":"__VIA_PROJECT_REV_ID__",
"rev_timestamp":"__VIA_PROJECT_REV_TIMESTAMP__","pname":"Unnamed VIA Project",
"creator":"VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
"created":1633679891098,"vid_list":["1","2"]},"config":{"file":{"loc_prefix":{"1":"","2":"","3":"",
"4":""}},"ui":{"file_content_align":"center","file_metadata_editor_visible":true,
"spatial_metadata_editor_visible":true,"temporal_segment_metadata_editor_visible":true,
"spatial_region_label_attribute_id":"","gtimeline_visible_row_count":"4"}},"attribute":{"1":{
"aname":"TEMPORAL-SEGMENTS","anchor_id":"FILE1_Z2_XY0","type":4,
"desc":"Temporal segment attribute added by default","options":{"default":"Default"},
"default_option_id":""}},"file":{"1":{"fid":"1","fname":"01NVb-003-072-3 echo.mp4","type":4,"loc":1,
"src":""},"2":{"fid":"2","fname":"01NVb-003-072-1 echo.mp4","type":4,"loc":1,"src":""}},"metadata":{
"1_jcQtDcYu":{"vid":"1","flg":0,"z":[324.94525,326.86192],"xy":[],"av":{"1":"4CV_NP"}},
"1_JbOOmCkx":{"vid":"1","flg":0,"z":[325.30608],"xy":[2,1607.774,1051.472,201.735,12.226],
"av":{"1":"4CV_NP"}}},"view":{"1":{"fid_list":["1"]},"2":{"fid_list":["2"]}}}"""


def test_a_project_with_the_attribute_that_via_makes_itself(
    saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    found = read(saved(json.loads(REAL)))

    [video] = found.videos
    assert video.path == tmp_path / "01NVb-003-072-3 echo.mp4"
    assert video.events == (Event("4CV_NP", 324.94525, 326.86192),)
    assert found.labels.names == ("4CV_NP",)
    assert found.notes[:2] == (
        "regions in pictures, which are left out: 1",
        "videos without a segment, which are left out: 1",
    )


def test_another_attribute_can_be_the_label(saved: Callable[[Any], Path]) -> None:
    path = saved(project(entry("1", [1, 2], {"1": "0", "4": "0,1"})))

    found = read(path, attribute="tags")

    assert [event.label for event in found.events()] == ["dark", "loud"]
    assert found.labels.names == ("loud", "dark", "late")
    assert {event.modifiers for event in found.events()} == {("Activity:break egg",)}
    with pytest.raises(ConfigError, match="no such attribute of segments; it has: Activity, Phase"):
        read(path, attribute="Object")


def test_labels_without_options_are_those_that_occur(saved: Callable[[Any], Path]) -> None:
    found = read(saved(project(entry("1", [1, 2], {"3": "b"}))), attribute="Phase")

    assert found.labels.names == ("b",)
    assert found.notes[-1].startswith("the attribute has no options")


def test_what_is_no_segment_is_counted(saved: Callable[[Any], Path]) -> None:
    views = {"1": {"fid_list": [1]}, "2": {"fid_list": [1, 2]}}
    path = saved(
        project(
            entry("1", [0.9], {"2": "egg"}, 4, 263, 184, 17, 13),
            entry("1", [3, 2], {"1": "0"}),
            entry("1", [3, 4], {"3": "x"}),
            entry("2", [3, 4], {"1": "0"}),
            view=views,
        )
    )

    assert read(path).notes == (
        "views of several files, which are left out: 1",
        "regions in pictures, which are left out: 1",
        "segments that end before they start, which are left out: 1",
        "segments without a label, which are left out: 1",
        "videos without a segment, which are left out: 1",
    )


def test_videos_without_segments_can_be_taken_as_looked_at(saved: Callable[[Any], Path]) -> None:
    path = saved(project(entry("1", [1, 2], {"1": "0"})))

    assert [video.path.name for video in read(path).videos] == ["a b.mp4"]
    assert [len(video.events) for video in read(path, empty="looked_at").videos] == [1, 0]


def test_an_empty_project_has_no_videos(saved: Callable[[Any], Path]) -> None:
    found = read(saved(project(view={}, file={}, attribute={})))

    assert (found.videos, found.labels.names) == ((), ())


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    events = (
        Event(
            "grooming", 0.1234567, 3.987654321, "Ada", ("face", "side:left"), comment="a\nb; 1, 2"
        ),
        Event("grooming", 1, 2, "Björn", score=0.75, comment="sure"),
        Event("call", 2.5, 2.5, score=0.125),
        Event("0", 2, 3),
        Event("climbing", 2, 3),
    )
    videos = (
        AnnotatedVideo(tmp_path / "cage 1" / "Käfig #1.mp4", events, split="train", group="1"),
        AnnotatedVideo(tmp_path.parent / "b.mp4", (), checked=frozenset({"call"})),
        AnnotatedVideo(tmp_path / "c.mp4", (), checked=frozenset(), observed=((1.5, 2), (3, 9))),
        AnnotatedVideo(tmp_path / "d.mp4", (), observed=()),
        AnnotatedVideo(tmp_path / "e.mp4", ()),
    )
    written = Annotations(videos, LABELS)

    notes = write(written, tmp_path / "p.json", {})
    found = read(tmp_path / "p.json")

    assert found.videos == videos
    assert found.labels == LABELS
    assert found.notes == ()
    assert len(notes) == 1
    assert dropped_fields(written, FORMAT.drops, FORMAT.title) == ()


def test_a_state_that_nobody_ended_is_a_moment_that_says_nothing_of_others(tmp_path: Path) -> None:
    written = Annotations((AnnotatedVideo(tmp_path / "a.mp4", (Event("call", 1, None),)),), LABELS)

    write(written, tmp_path / "p.json", {})

    [video] = read(tmp_path / "p.json").videos
    assert video.events == (Event("call", 1, 1),)
    assert video.checked == set(LABELS) - {"call"}
    assert dropped_fields(written, FORMAT.drops, "VIA") == (
        "VIA has no place for open ends: states without an end: 1",
    )


def test_a_project_is_as_via_keeps_it(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a b.mp4", (Event("grooming", 1, 2), Event("call", 3, 3)))

    notes = write(
        Annotations((video,), LABELS), tmp_path / "p.json", {"base_url": "https://e.org/v/"}
    )
    store = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))

    assert list(store) == ["project", "config", "attribute", "file", "metadata", "view"]
    assert store["project"]["pid"] == "__VIA_PROJECT_ID__"
    assert store["project"]["vid_list"] == ["1"]
    assert store["view"] == {"1": {"fid_list": ["1"]}}
    assert store["file"]["1"] == {
        **{"fid": "1", "fname": "a b.mp4", "type": 4, "loc": 2},
        "src": "https://e.org/v/a%20b.mp4",
    }
    assert store["attribute"]["1"]["options"] == dict(zip("012", LABELS, strict=True))
    segments = [item for item in store["metadata"].values() if item["z"]]
    assert segments == [
        {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": "0"}},
        {"vid": "1", "flg": 0, "z": [3, 3], "xy": [], "av": {"1": "2"}},
    ]
    assert notes == ()


def test_paths_of_other_machines_lead_to_the_folder_of_videos(
    saved: Callable[[Any], Path], tmp_path: Path
) -> None:
    files = {
        "1": {"fid": 1, "fname": "a.mp4", "type": 4, "loc": 3, "src": "C:\\films\\a.mp4"},
        "2": {"fid": 2, "fname": "b.mp4", "type": 4, "loc": 1, "src": ""},
        "3": {"fid": 3, "fname": "x", "type": 4, "loc": 3, "src": "file:///films/c%20d.mp4"},
    }
    (tmp_path / "c d.mp4").write_bytes(b"")
    prefixes = {"file": {"loc_prefix": {"3": ""}}}
    document = project(file=files, config=prefixes)

    found = read(saved(document), empty="looked_at")

    assert [video.path for video in found.videos] == [
        *(tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c d.mp4"),
    ]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "found a list of 0, expected an object; save the project from VIA again"),
        ({"attribute": {}}, "no 'view'|no 'file'"),
        (project(entry("9", [1, 2], {"1": "0"})), "vid: found '9', expected a view of the project"),
        (project(entry("1", [1, 2], {"9": "0"})), "expected a value of an attribute of the"),
        (project(entry("1", [1, 2, 3], {"1": "0"})), "z: found a list of 3, expected one or two"),
        (project(entry("1", [-1, 2], {"1": "0"})), "expected one or two times of at least 0"),
        (project(entry("1", ["x"], {"1": "0"})), "number 1: found 'x', expected a number"),
        (project(view={"1": {"fid_list": [7]}}), "found 7, expected a file of the project"),
        (project(metadata={"a": {"vid": "1", "z": []}}), "no 'av'"),
    ],
)
def test_wrong_projects_are_named(saved: Callable[[Any], Path], document: Any, words: str) -> None:
    path = saved(document)

    with pytest.raises(DatasetError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


@settings(max_examples=100)
@given(data=st.data())
def test_broken_projects_give_errors_that_can_be_read(
    saved: Callable[[Any], Path], data: st.DataObject
) -> None:
    whole = project(
        entry("1", [2, 6.5], {"1": "0"}), entry("2", [9.125], {"1": "1", "3": "end", "4": "0,2"})
    )
    path = saved(change(whole, data))

    found, problem = outcome(lambda: read(path))

    assert str(path) in problem or problem == ""
    assert found is None or all(video.path.is_absolute() for video in found.videos)
