from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from msqnet.errors import DatasetError
from msqnet.formats import dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.cvat import FORMAT
from msqnet.formats.frame_times import read_frame_times
from tests.unit.formats.cvat_files import LABELS, STAMPS, read, spans, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


EVENTS = (
    Event("grooming", 0.2, 0.7, "Ada", ("side:left", "slow"), comment="a\nb"),
    Event("grooming", 0.5, 1.0, "Ada", ("side:left", "slow"), comment="a\nb"),
    Event("grooming", 1.0, 1.5, "Ada", ("side:left", "slow"), comment="a\nb"),
    Event("Größe <1> & mehr", 0.0, 2.0, "Björn", score=0.75),
    Event("climbing", 1.0, 1.1, modifiers=("side: left",)),
)


def test_events_come_back_by_frames(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    path = write_video("Käfig 1, #2.mp4", 20, rate=10)
    times = read_frame_times(path)
    assert times is not None
    video = AnnotatedVideo(path, EVENTS, times.duration_seconds, split="train")
    written = Annotations((video,), LABELS)

    notes = write(written, tmp_path / "tags.xml", {})
    found = read(tmp_path / "tags.xml")

    [again] = found.videos
    assert (again.path, again.split, again.checked, again.observed) == (path, "train", None, None)
    for event, before in zip(again.events, video.events, strict=True):
        assert event.start_seconds == pytest.approx(before.start_seconds, abs=1e-6)
        assert event.end_seconds == pytest.approx(before.end_seconds, abs=1e-6)
        assert (event.label, event.subject, event.modifiers) == (
            *(before.label, before.subject, before.modifiers),
        )
        assert (event.score, event.comment) == (before.score, before.comment)
    assert found.labels == LABELS
    assert len(notes) == 1
    assert dropped_fields(written, FORMAT.drops, FORMAT.title) == ()


def test_every_frame_comes_back_where_the_rate_varies(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("clip.mp4", len(STAMPS), rate=10, pts=STAMPS)
    times = read_frame_times(path)
    assert times is not None
    edges = [times.seconds_of(frame) for frame in range(len(STAMPS) + 1)]
    events = tuple(
        Event("call", edges[first], edges[last])
        for first in range(len(STAMPS))
        for last in range(first + 1, len(STAMPS) + 1)
    )

    write(Annotations((AnnotatedVideo(path, events),), LABELS), tmp_path / "tags.xml", {})

    assert read(tmp_path / "tags.xml").videos[0].events == events


def test_what_has_no_place_is_made_frames_and_said(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("clip.mp4", 20, rate=10)
    events = (Event("call", 0.42, 0.42), Event("grooming", 0.55, 0.65), Event("grooming", 1, None))
    video = AnnotatedVideo(path, events, 2.0, observed=((0.5, 1.5),), group="g")
    written = Annotations((video,), LABELS)

    notes = write(written, tmp_path / "tags.xml", {})
    [again] = read(tmp_path / "tags.xml").videos

    assert spans(read(tmp_path / "tags.xml")) == [
        *(("call", 0.4, 0.5), ("grooming", 0.5, 0.7), ("grooming", 1, 1.1)),
    ]
    assert again.checked is None
    assert read(tmp_path / "tags.xml").labels.names == ("Größe <1> & mehr", "call")
    assert [(round(a, 4), round(b, 4)) for a, b in again.observed or ()] == [(0.5, 1.5)]
    assert notes[-1] == "CVAT stores whole frames: times moved by up to 0.05 s"
    assert dropped_fields(written, FORMAT.drops, "CVAT") == (
        "CVAT has no place for points: events without a length: 1",
        "CVAT has no place for open ends: states without an end: 1",
        "CVAT has no place for groups: videos with a group: 1",
    )


def test_several_videos_get_a_file_each(tmp_path: Path) -> None:
    videos = (
        AnnotatedVideo(tmp_path / "1" / "a.mp4", (Event("call", 0, 1),), 2.0),
        AnnotatedVideo(tmp_path / "2" / "a.mp4", (), 2.0, checked=frozenset({"call"})),
        AnnotatedVideo(tmp_path / "b.mp4", (), 2.0, observed=()),
    )
    annotations = Annotations(videos, LABELS)

    with pytest.raises(
        DatasetError, match=r"tags\.xml: found 3 videos, but a file of CVAT holds one"
    ):
        write(annotations, tmp_path / "tags.xml", {"fps": "10"})
    write(annotations, tmp_path / "out", {"fps": "10"})

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.mp4.2.labels.json", "a.mp4.2.xml", "a.mp4.labels.json", "a.mp4.xml"),
        *("b.mp4.labels.json", "b.mp4.xml"),
    ]
    found = read(tmp_path / "out", fps="10")
    by_path = {video.path: video for video in found.videos}
    assert by_path[videos[0].path].events == videos[0].events
    assert by_path[videos[1].path].checked == {"call"}
    assert by_path[videos[2].path].observed == ()


def test_files_are_in_the_form_that_cvat_imports(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = write_video("clip.mp4", 20, rate=10)
    event = Event("call", 0.2, 0.4, "Ada")

    write(Annotations((AnnotatedVideo(path, (event,)),), LABELS), tmp_path / "t.xml", {})

    root = ElementTree.parse(tmp_path / "t.xml").getroot()
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    assert [image.attrib for image in root.iter("image")] == [
        {"id": f"{frame}", "name": f"frame_{frame:06d}", "width": "128", "height": "80"}
        for frame in (2, 3)
    ]
    [tag] = root.findall("image[@id='2']/tag")
    assert tag.attrib == {"label": "call", "source": "file"}
    assert [(item.get("name"), item.text) for item in tag] == [("event", "1"), ("subject", "Ada")]
    labels = json.loads((tmp_path / "t.labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in labels] == list(LABELS)
    assert labels[0] == {
        "name": "grooming",
        "type": "tag",
        "attributes": [
            {"name": name, "mutable": True, "input_type": "text", "values": [""]}
            for name in ("event", "subject")
        ],
    }


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    videos = (AnnotatedVideo(tmp_path / "a.mp4", (Event("a\x00b", 0, 1),)),)

    with pytest.raises(
        DatasetError, match=r"a\.mp4: the video is not there, and CVAT counts frames"
    ):
        write(Annotations(videos, LABELS), tmp_path / "t.xml", {})
    with pytest.raises(DatasetError, match="expected characters that XML can hold"):
        write(Annotations(videos, LABELS), tmp_path / "t.xml", {"fps": "10"})
    late = (AnnotatedVideo(tmp_path / "a.mp4", (Event("call", 0, 1e300),)),)
    with pytest.raises(DatasetError, match="which are more than 10000000 frames; correct its"):
        write(Annotations(late, LABELS), tmp_path / "t.xml", {"fps": "10"})
    with pytest.raises(DatasetError, match="there is no video to write"):
        write(Annotations((), LABELS), tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []
