from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.data.adapters.animal_kingdom import ADAPTER
from msqnet.data.adapters.annotation_files import label_set
from msqnet.errors import DatasetError
from msqnet.formats import load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, losses
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINGDOM = load_format("animal_kingdom")
ACTIONS = label_set("animal_kingdom").names


def written(annotations: Annotations, path: Path) -> tuple[str, ...]:
    assert KINGDOM.write is not None
    return KINGDOM.write(annotations, path, {})


def test_adapter_reads_the_lists_back(write_video: Callable[..., Path], tmp_path: Path) -> None:
    events = (
        Event(ACTIONS[5], 0.0, 0.1),
        Event(ACTIONS[2], 0.0, 0.2),
        Event(ACTIONS[5], 0.2, 0.3),
    )
    first = AnnotatedVideo(write_video("Käfig AAB.mp4", num_frames=4), events, 0.4, split="train")
    second = AnnotatedVideo(write_video("b.mp4", num_frames=2), events[:1], 0.2, split="test")
    empty = AnnotatedVideo(write_video("c.mp4", num_frames=2), (), 0.2, split="test")
    annotations = Annotations((first, second, empty), LabelSet(ACTIONS))

    notes = written(annotations, tmp_path / "lists")
    converted = ADAPTER.convert(tmp_path / "lists", {"videos": str(tmp_path)})

    assert [(record.path, record.labels, record.split) for record in converted.records] == [
        (first.path, (ACTIONS[2], ACTIONS[5]), "train"),
        (second.path, (ACTIONS[5],), "test"),
    ]
    assert converted.labels.names == ACTIONS
    assert notes == (
        "a clip has its labels as a whole; events whose start and end are lost: 4",
        "videos without an event, which have no line: 1",
    )
    assert losses(annotations, KINGDOM.keeps, KINGDOM.title) == ()
    lines = (tmp_path / "lists" / "train.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [
        "original_vido_id video_id frame_id path labels",
        '"Käfig AAB" 0 0 "Käfig AAB/000001.jpg" 2,5',
    ]
    assert len(lines) == 5
    frames = ADAPTER.convert(tmp_path / "lists", {"frames": "true"})
    assert frames.records[0].path.name == "Käfig AAB"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", (Event(ACTIONS[0], 0.0, 1.0),), 1.0)
    labels = LabelSet(ACTIONS[:1])
    with pytest.raises(DatasetError, match=r"1 labels are none of the 140 actions.*such as Typing"):
        written(Annotations((video,), LabelSet(("Typing",))), tmp_path / "lists")
    with pytest.raises(DatasetError, match="such as 'a', are there more than once"):
        written(Annotations((video, video), labels), tmp_path / "lists")
    with pytest.raises(DatasetError, match="its frames cannot be counted; put it there"):
        written(Annotations((video,), labels), tmp_path / "lists")
    assert written(Annotations((), labels), tmp_path / "lists")[1] == (
        "actions of the data set that nobody looked for, which are absent in its lists: 139"
    )
    with pytest.raises(DatasetError, match=r"found suffix '.csv', expected the name of a folder"):
        written(Annotations((), labels), tmp_path / "lists.csv")
