from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.data.adapters.charades import ADAPTER
from msqnet.errors import DatasetError
from msqnet.formats import load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, losses
from msqnet.formats.table import from_records
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from pathlib import Path

CHARADES = load_format("charades")
LABELS = LabelSet(("groom", "run, far", "jump"))


def written(annotations: Annotations, path: Path) -> tuple[str, ...]:
    assert CHARADES.write is not None
    return CHARADES.write(annotations, path, {})


def test_adapter_reads_the_lists_back(tmp_path: Path) -> None:
    first = AnnotatedVideo(
        tmp_path / "Käfig 1.mp4",
        (
            Event("groom", 1.0, 3.25),
            Event("run, far", 0.123456, 2.0),
            Event("groom", 5.0, 10.0),
        ),
        10.0,
        split="train",
        group="Ada",
    )
    second = AnnotatedVideo(tmp_path / "b.mp4", (), 4.5, split="test", group="Bob")
    annotations = Annotations((first, second), LABELS)

    notes = written(annotations, tmp_path / "lists")
    converted = ADAPTER.convert(tmp_path / "lists", {"level": "pieces", "videos": str(tmp_path)})
    again = from_records(converted.records, converted.labels)

    assert again.labels == LABELS
    assert [(video.path, video.events) for video in again.videos] == [
        (video.path, video.events) for video in annotations.videos
    ]
    assert [(video.split, video.group) for video in again.videos] == [
        ("train", "Ada"),
        ("test", "Bob"),
    ]
    assert len(notes) == 1
    assert losses(annotations, CHARADES.keeps, CHARADES.title) == ()
    assert converted.notes[1:] == ()


def test_events_without_both_ends_are_in_the_video_at_unknown_times(tmp_path: Path) -> None:
    video = AnnotatedVideo(
        tmp_path / "a.mp4",
        (Event("groom", 1.0, None), Event("jump", 2.0, 2.0), Event("run, far", 3.0, 4.0)),
        10.0,
    )
    annotations = Annotations((video,), LABELS)

    notes = written(annotations, tmp_path / "lists")

    whole = ADAPTER.convert(tmp_path / "lists").records
    assert [record.labels for record in whole] == [("groom", "run, far", "jump")]
    pieces = ADAPTER.convert(tmp_path / "lists", {"level": "pieces"}).records
    assert {record.annotated for record in pieces} == {frozenset({"run, far"})}
    assert notes[1:] == ("videos in neither train nor test, which stand in train: 1",)
    few = Annotations((video,), LabelSet(("groom",)))
    assert written(few, tmp_path / "lists")[1].endswith("looked for them: jump, run, far")
    assert losses(annotations, CHARADES.keeps, CHARADES.title) == (
        "lists of Charades has no place for points: events without a length: 1",
        "lists of Charades has no place for open ends: states without an end: 1",
    )


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.avi", (), 1.0)
    with pytest.raises(DatasetError, match=r"such as 'a', are there more than once"):
        written(Annotations((video, video), LABELS), tmp_path / "lists")
    with pytest.raises(DatasetError, match=r"found suffix '.csv', expected the name of a folder"):
        written(Annotations((video,), LABELS), tmp_path / "lists.csv")
    unknown = AnnotatedVideo(tmp_path / "a.mp4", (), None)
    with pytest.raises(DatasetError, match="its length is not known; put the video there"):
        written(Annotations((unknown,), LABELS), tmp_path / "lists")
    notes = written(Annotations((video,), LABELS), tmp_path / "lists")
    assert "videos whose name does not end in .mp4, as reading takes them to: 1" in notes
    assert "train videos without an event, which reading leaves out: 1" in notes
