from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Reading, dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.frame_times import FrameTimes, read_frame_times
from msqnet.formats.label_studio import FORMAT
from msqnet.formats.label_studio.label_studio_config import FrameClock, rate_of, read_config
from msqnet.formats.label_studio.label_studio_tasks import video_path
from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import change, outcome, read_as, write_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = LabelSet(("Movement", "Ruhe & <Schlaf>", "Nothing"))
STAMPS = [0, 1, 2, 7, 8, 30, 31]

# In the form of the documentation of TimelineLabels, at frameRate 10.
CONFIG = """\
<View>
  <Header value="Watch"/>
  <video name="video" value="$clip" framerate="10"/>
  <TimelineLabels name="timeline" toName="video">
    <Label value="Movement" background="#98C84E" hotkey="1"/>
    <Label value="Nothing" background="#944BFF" hotkey="2"/>
  </TimelineLabels>
</View>
"""


def region(start: int, end: int, *labels: str, **more: Any) -> dict[str, Any]:
    return {
        "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": list(labels)},
        "id": f"r{start}",
        "from_name": "timeline",
        "to_name": "video",
        "type": "timelinelabels",
        "origin": "manual",
    } | more


def task(*regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "data": {"clip": "/data/upload/1/3d3ad63e-clip.mp4"},
        "annotations": [{"id": 1, "completed_by": 1, "result": list(regions)}],
        "predictions": [],
    } | more


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Write an export, and its configuration beside it."""

    def write_files(document: Any, config: str | None = CONFIG) -> Path:
        path = tmp_path / "export.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        if config is not None:
            (tmp_path / "export.xml").write_text(config, encoding="utf-8")
        return path

    return write_files


read, write = partial(read_as, "label_studio"), partial(write_as, "label_studio")


def spans(annotations: Annotations) -> list[tuple[str, float, float | None]]:
    return [
        (
            event.label,
            round(event.start_seconds, 4),
            event.end_seconds and round(event.end_seconds, 4),
        )
        for event in annotations.events()
    ]


def test_ranges_count_frames_from_one_and_have_both_ends(project: Callable[..., Path]) -> None:
    found = read(project([task(region(1, 10, "Movement"), region(15, 15, "Nothing", "Movement"))]))

    assert spans(found) == [
        *(("Movement", 0, 1), ("Movement", 1.4, 1.5), ("Nothing", 1.4, 1.5)),
    ]
    assert found.labels.names == ("Movement", "Nothing")
    assert found.videos[0].path.name == "clip.mp4"
    assert found.videos[0].checked is None
    assert found.notes == (
        "intervals of missing videos, whose times follow from the frame rate alone: 2",
    )


def test_frames_have_the_time_stamps_of_the_file(
    project: Callable[..., Path], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4", len(STAMPS), rate=10, pts=STAMPS)
    regions = [region(1, 2, "Movement"), region(4, 7, "Movement"), region(20, 33, "Nothing")]

    found = read(project([task(*regions)]))

    # Frames 4 to 7 are shown while the third frame of the file is; 33 is after the end.
    assert spans(found) == [
        *(("Movement", 0, 0.2), ("Movement", 0.2, 0.7), ("Nothing", 0.8, 3.2)),
    ]
    assert found.videos[0].duration_seconds == pytest.approx(3.2, abs=1e-3)
    assert found.notes == ()


def test_frames_are_those_of_the_file_where_no_rate_is_known(
    project: Callable[..., Path], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4", len(STAMPS), rate=10, pts=STAMPS)
    path = project([task(region(3, 4, "Movement"), region(9, 12, "Movement"))], config=None)

    found = read(path)

    assert spans(found) == [("Movement", 0.2, 0.8)]
    assert found.labels.names == ("Movement",)
    assert found.notes[0].startswith("intervals whose frames are taken as those of the file")
    assert found.notes[1] == "intervals after the end of their video, which are left out: 1"
    assert found.notes[2].startswith("an export does not say which labels were looked for")


def test_missing_videos_need_a_rate(project: Callable[..., Path]) -> None:
    path = project([task(region(1, 10, "Movement"))], config=None)

    with pytest.raises(DatasetError, match=r"frames of .*clip\.mp4, which is not there, at a rate"):
        read(path)
    assert spans(read(path, fps="20")) == [("Movement", 0, 0.5)]
    with pytest.raises(ConfigError, match="fps=fast: expected frames a second such as 30000/1001"):
        read(path, fps="fast")


def test_the_rate_may_stand_in_the_data_or_beside_a_box(project: Callable[..., Path]) -> None:
    by_key = CONFIG.replace('framerate="10"', 'frameRate="$rate"')
    data = {"clip": "clip.mp4", "rate": "5"}
    box = {"type": "videorectangle", "value": {"framesCount": 50, "duration": 2, "sequence": []}}

    assert spans(read(project([task(region(1, 5, "Movement"), data=data)], by_key))) == [
        ("Movement", 0, 1)
    ]
    (project([]).parent / "export.xml").unlink()
    found = read(project([task(region(1, 5, "Movement"), box)], None))
    assert spans(found) == [("Movement", 0, 0.2)]
    assert "results of type videorectangle, which are left out: 1" in found.notes


def test_sound_that_stands_beside_the_video_has_seconds(project: Callable[..., Path]) -> None:
    sound = {"type": "labels", "value": {"start": 1.25, "end": 2.5, "labels": ["Trick"]}}

    found = read(project([task(sound)], None))

    assert spans(found) == [("Trick", 1.25, 2.5)]


def test_tasks_that_nobody_worked_on_are_left_out(project: Callable[..., Path]) -> None:
    cancelled = [{"result": [region(1, 2, "Nothing")], "was_cancelled": True}]
    tasks = [task(region(1, 2, "Movement")), task(annotations=[]), task(annotations=cancelled)]

    found = read(project(tasks))

    assert len(found.videos) == 1
    assert "tasks without annotations, which are left out: 2" in found.notes


def test_a_task_without_regions_was_looked_at(project: Callable[..., Path]) -> None:
    [video] = read(project([task()])).videos

    assert (video.events, video.checked) == ((), None)


def test_of_several_results_one_is_taken(project: Callable[..., Path]) -> None:
    results = [
        {"result": [region(1, 1, "Movement")]},
        {"result": [region(2, 2, "Movement")], "ground_truth": True},
        {"result": [region(3, 3, "Movement")]},
    ]

    found = read(project([task(annotations=results)]))
    assert spans(found) == [("Movement", 0.1, 0.2)]
    assert "tasks with several annotations, of which one is taken: 1" in found.notes
    last = read(project([task(annotations=[results[0], results[2]])]))
    assert spans(last) == [("Movement", 0.2, 0.3)]


def test_predictions_are_read_where_there_are_no_annotations(
    project: Callable[..., Path],
) -> None:
    predictions = [{"model_version": "m", "result": [region(1, 5, "Movement", score=0.75)]}]
    alone = project([task(annotations=[], predictions=predictions)])
    assert [event.score for event in read(alone).events()] == [0.75]

    both = project([task(region(6, 6, "Nothing"), predictions=predictions)])
    assert spans(read(both)) == [("Nothing", 0.5, 0.6)]
    assert spans(read(both, take="predictions")) == [("Movement", 0, 0.5)]
    assert len(spans(read(both, take="both"))) == 2
    with pytest.raises(ConfigError, match="take=all: expected annotations or predictions or both"):
        read(both, take="all")


def test_notes_beside_a_region_are_comments(project: Callable[..., Path]) -> None:
    path = project([task(region(1, 5, "Movement", meta={"text": ["two", "lines"]}))])

    assert [event.comment for event in read(path).events()] == ["two\nlines"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/1/3d3ad63e-a%20b.mp4", "a b.mp4"),
        ("/data/local-files/?d=cage%201/a.mp4", "cage 1/a.mp4"),
        ("https://example.org/v/K%C3%A4fig.mp4?sign=1#t=2", "Käfig.mp4"),
        ("s3://bucket/v/a.mp4", "a.mp4"),
        ("C:\\videos\\a.mp4", "a.mp4"),
        ("cage 1/100%25.mp4", "cage 1/100%25.mp4"),
        ("a:b.mp4", "a:b.mp4"),
        ("https://[example.org/a.mp4", "https:/[example.org/a.mp4"),
    ],
)
def test_addresses_lead_to_files(tmp_path: Path, address: str, name: str) -> None:
    assert video_path(address, Reading(tmp_path)) == tmp_path / name


def test_mark_of_an_upload_may_be_part_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "3d3ad63e-a.mp4").touch()

    found = video_path("/data/upload/1/3d3ad63e-a.mp4", Reading(tmp_path))

    assert found == tmp_path / "3d3ad63e-a.mp4"


def test_data_without_a_clear_address_are_asked_for(project: Callable[..., Path]) -> None:
    two = {"front": "a.mp4", "back": "b.mp4"}
    path = project([task(region(1, 5, "Movement"), data=two)], None)

    with pytest.raises(DatasetError, match="found front, back, expected the address of one video"):
        read(path, fps="10")
    assert read(path, fps="10", data="back").videos[0].path.name == "b.mp4"


EVENTS = (
    Event("Movement", 0.2, 1.4, comment="erste\nZeile"),
    Event("Movement", 1.0, 2.0),
    Event("Ruhe & <Schlaf>", 0.0, 0.1),
    Event("Unlisted", 1.1, 2.0),
)


def test_events_come_back_by_the_frames_of_the_file(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("Käfig 1 #2.mp4", 20, rate=10)
    written = Annotations(
        (
            AnnotatedVideo(path, EVENTS, 2.0, split="train", group="cage 1"),
            AnnotatedVideo(
                path.with_name("quiet.mp4"), (), None, frozenset({"Nothing"}), ((1, 2),)
            ),
        ),
        LABELS,
    )
    out = tmp_path / "tasks.json"

    notes = write(written, out, {"fps": "10"})
    found = read(out)

    for video, other in zip(found.videos, written.videos, strict=True):
        assert video.path == other.path
        assert (video.split, video.group) == (other.split, other.group)
        assert video.checked == (other.checked or set(LABELS))
        assert video.observed == other.observed
        for event, before in zip(video.events, other.events, strict=True):
            assert (event.label, event.comment) == (before.label, before.comment)
            assert event.start_seconds == pytest.approx(before.start_seconds, abs=1e-6)
            assert event.end_seconds == pytest.approx(before.end_seconds, abs=1e-6)
    assert found.labels.names == (*LABELS.names, "Unlisted")
    assert notes[-1] == "videos that are not there, whose frames are by fps: 1"
    assert not any("moved by" in note for note in notes)
    assert dropped_fields(written, FORMAT.drops, FORMAT.title) == ()


def test_every_frame_of_a_file_comes_back_where_the_rate_varies(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("clip.mp4", len(STAMPS), rate=10, pts=STAMPS)
    times = read_frame_times(path)
    assert times is not None
    edges = [times.seconds_of(frame) for frame in range(len(STAMPS) + 1)]
    events = tuple(
        Event("Movement", edges[first], edges[last])
        for first in range(len(STAMPS))
        for last in range(first + 1, len(STAMPS) + 1)
    )

    notes = write(Annotations((AnnotatedVideo(path, events),), LABELS), tmp_path / "tasks.json", {})
    found = read(tmp_path / "tasks.json")

    assert found.videos[0].events == events
    assert "frames do not come at an even rate, which Label Studio counts at 10 a" in notes[-1]


def test_times_inside_of_frames_become_whole_frames(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("clip.mp4", 20, rate=10)
    events = (
        Event("Movement", 0.25, 0.55),
        Event("Nothing", 0.42, 0.42),
        Event("Nothing", 1, None),
    )
    written = Annotations((AnnotatedVideo(path, events),), LABELS)

    notes = write(written, tmp_path / "tasks.json", {})

    assert spans(read(tmp_path / "tasks.json")) == [
        *(("Movement", 0.2, 0.6), ("Nothing", 0.4, 0.5), ("Nothing", 1.0, 1.1)),
    ]
    assert "Label Studio stores whole frames: times moved by up to 0.05 s" in notes
    assert dropped_fields(written, FORMAT.drops, "Label Studio") == (
        "Label Studio has no place for points: events without a length: 1",
        "Label Studio has no place for open ends: states without an end: 1",
    )


def test_a_state_that_nobody_ended_is_known_only_where_it_began(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", (Event("Movement", 1, None), Event("Nothing", 2, 3)))

    write(Annotations((video,), LABELS), tmp_path / "t.json", {"fps": "10"})

    [found] = read(tmp_path / "t.json").videos
    assert found.checked == set(LABELS) - {"Movement"}
    assert found.events[0] == Event("Movement", 1, 1.1)


def test_scores_make_predictions_that_name_the_model(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    scored = (Event("Movement", 0, 1, score=0.5), Event("Movement", 2, 3, score=0.75))
    videos = (
        AnnotatedVideo(path, (*scored, Event("Nothing", 1, 2))),
        AnnotatedVideo(tmp_path / "quiet.mp4", ()),
    )

    write(Annotations(videos, LABELS, model="msqnet m"), tmp_path / "t.json", {"fps": "10"})
    mixed, quiet = json.loads((tmp_path / "t.json").read_text())

    [prediction] = mixed["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("msqnet m", 0.625)
    assert [item["score"] for item in prediction["result"]] == [0.5, 0.75]
    assert len(mixed["annotations"][0]["result"]) == 1
    assert (quiet["predictions"][0]["result"], "annotations" in quiet) == ([], False)
    found = read(tmp_path / "t.json", take="predictions")
    assert found.videos[0].events == scored
    options = {"fps": "10", "as": "annotations"}
    write(Annotations(videos, LABELS, model="msqnet m"), tmp_path / "t.json", options)
    assert all("predictions" not in item for item in json.loads((tmp_path / "t.json").read_text()))


def test_addresses_can_be_those_of_a_server(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "cage 1" / "Käfig 1.mp4", ())
    options = {"fps": "10", "base_url": "/data/local-files/?d=videos/"}

    write(Annotations((video,), LABELS), tmp_path / "t.json", options)

    [written] = json.loads((tmp_path / "t.json").read_text())
    assert written["data"]["video"] == "/data/local-files/?d=videos/K%C3%A4fig%201.mp4"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "Käfig 1.mp4").write_bytes(b"")
    assert video_path(written["data"]["video"], Reading(tmp_path)).is_file()


def test_configuration_can_be_read_by_label_studio_and_here(tmp_path: Path) -> None:
    write(Annotations((), LABELS), tmp_path / "t.json", {})

    text = (tmp_path / "t.xml").read_text(encoding="utf-8")
    assert '<Video name="video" value="$video" frameRate="$fps" timelineHeight="120" />' in text
    assert '<Label value="Ruhe &amp; &lt;Schlaf&gt;" />' in text
    config = read_config(tmp_path / "t.xml")
    assert (config.labels, config.video_key) == (LABELS, "video")
    assert (config.rate, config.rate_key) == (None, "fps")
    assert json.loads((tmp_path / "t.json").read_text()) == []
    assert read(tmp_path / "t.json").labels == LABELS


def test_videos_that_are_not_there_need_a_rate_to_be_written(tmp_path: Path) -> None:
    annotations = Annotations((AnnotatedVideo(tmp_path / "no.mp4", EVENTS),), LABELS)

    with pytest.raises(
        DatasetError, match=r"no\.mp4: the video is not there, and Label Studio counts frames"
    ):
        write(annotations, tmp_path / "t.json", {})
    with pytest.raises(ConfigError, match="the tasks are JSON"):
        write(annotations, tmp_path / "t.xml", {"fps": "10"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<View><Text/></View>", "<View>: found 'View', expected a labelling configuration with a"),
        ('<View><Video frameRate="x"/></View>', "found 'x', expected a number of frames a second"),
        ("<View>", "line 1, column 7: not XML: no element found"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View/>', r"found a document type \(<!DOCTYPE>\)"),
    ],
)
def test_wrong_configurations_are_named(
    project: Callable[..., Path], text: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read(project([task()], text))
    assert "export.xml" in str(caught.value)


def test_frame_rates_of_configurations_are_as_label_studio_takes_them(tmp_path: Path) -> None:
    def rate(attribute: str) -> float | None:
        (tmp_path / "c.xml").write_text(f"<View><Video {attribute}/></View>")
        return read_config(tmp_path / "c.xml").rate

    assert [rate(""), rate('frameRate="29.97"'), rate('framerate="0.04"')] == [24, 29.97, 25]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"a": 1}, "no 'data', so this is no task; export the project from Label Studio again"),
        ([[1]], "number 1: found a list of 1, expected an object"),
        ([task(region(5, 2, "Movement"))], "expected an end not before the start, 5"),
        ([task(region(5, 10**12, "Movement"))], "expected frames up to 1000000000"),
        ([task(region(-1, 2, "Movement"))], "start: found -1, expected a whole number"),
        (
            [task(predictions=[{"result": [region(1, 2, "Movement", score=3)]}], annotations=[])],
            "score: found 3, expected a score from 0 to 1",
        ),
        ([task(data={"clip": 5})], "clip: found 5, expected text"),
        ([task(data={"clip": " "})], "clip: found ' ', expected the address of a video"),
    ],
)
def test_wrong_exports_are_named(project: Callable[..., Path], document: Any, words: str) -> None:
    path = project(document)

    with pytest.raises(DatasetError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.sampled_from([1.0, 24.0, 29.97, 50.0, 240.0]),
    st.data(),
)
def test_frames_and_times_are_inverse(gaps: list[int], rate: float, data: st.DataObject) -> None:
    edges = np.cumsum([0, *gaps]) / 240
    clock = FrameClock(rate, FrameTimes(edges[:-1], *[float(edges[-1])] * 2, ()))
    own = FrameClock(rate_of(clock.times or FrameTimes(edges, 1.0, 1.0, ()))[0], clock.times)
    first = data.draw(st.integers(0, len(gaps) - 1))
    last = data.draw(st.integers(first + 1, len(gaps)))

    begin, end = own.frames_of(float(edges[first]), float(edges[last]))
    assert own.seconds_of(begin, end) == pytest.approx((edges[first], edges[last]), abs=1e-9)
    begin, end = clock.frames_of(float(edges[first]), float(edges[last]))
    assert 1 <= begin <= end
    assert abs(clock.seconds_of(begin, end)[0] - edges[first]) <= max(1 / rate, max(gaps) / 240)


@settings(max_examples=100)
@given(data=st.data())
def test_broken_exports_give_errors_that_can_be_read(
    project: Callable[..., Path], data: st.DataObject
) -> None:
    whole = [
        task(
            region(1, 5, "Movement", meta={"text": ["a"]}), data={"clip": "a", "observed": [[1, 2]]}
        ),
        task(annotations=[], predictions=[{"result": [region(1, 2, "Nothing", score=0.5)]}]),
    ]
    path = project(change(whole, data))

    found, problem = outcome(lambda: read(path))

    assert str(path) in problem or problem == ""
    assert found is None or all(video.path.is_absolute() for video in found.videos)
