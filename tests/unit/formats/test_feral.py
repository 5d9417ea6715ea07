from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.formats import Reading, dropped_fields, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FERAL = load_format("feral")

MULTILABEL = {
    "class_names": {"0": "groom", "1": "run"},
    "is_multilabel": True,
    "labels": {"a.mp4": [[0, 0], [1, 0], [1, 1], [0, 1], [1, 0]]},
    "splits": {"train": ["a.mp4"], "inference": ["a.mp4", "new.mp4"]},
}
SINGLE = {
    "class_names": {"0": "other", "1": "groom", "2": "run"},
    "is_multilabel": False,
    "labels": {"day 1/ä.mp4": [0, 1, 1, 2, 0]},
    "splits": {"val": ["day 1/ä.mp4"]},
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(document: object, **options: str) -> Annotations:
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(document))
        return FERAL.read(path, Reading(tmp_path, options))

    return read


def spans(video: AnnotatedVideo) -> list[tuple[object, ...]]:
    return [(event.label, event.start_seconds, event.end_seconds) for event in video.events]


def test_frames_in_a_row_are_an_event(read: Callable[..., Annotations], tmp_path: Path) -> None:
    found = read(MULTILABEL, fps="10")

    [video] = found.videos
    assert spans(video) == [("groom", 0.1, 0.3), ("run", 0.2, 0.4), ("groom", 0.4, 0.5)]
    assert (video.duration_seconds, video.split) == (0.5, "train")
    assert found.labels.names == ("groom", "run")
    assert found.notes == (
        "videos that are not there, whose frames are taken by the rate given as fps: 1",
        "videos in a split that have no labels, which are left out: 1",
    )
    [single] = read(SINGLE, fps="30000/1001").videos
    assert single.path == tmp_path / "day 1" / "ä.mp4"
    assert [event.label for event in single.events] == ["groom", "run"]
    assert [event.start_seconds for event in single.events] == pytest.approx([0.0333667, 0.1001])
    assert read(SINGLE, fps="25").labels.names == ("groom", "run")


def test_times_are_those_of_the_video(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    path = write_video("a.mp4", num_frames=5, pts=[0, 1, 4, 5, 9])
    with open_video(path) as video:
        times = [*video.pts_seconds, video.duration_seconds]

    found = read(MULTILABEL)

    assert spans(found.videos[0]) == [
        ("groom", times[1], times[3]),
        ("run", times[2], times[4]),
        ("groom", times[4], times[5]),
    ]
    assert found.videos[0].duration_seconds == times[5]
    short = MULTILABEL | {"labels": {"a.mp4": [[0, 0]]}}
    with pytest.raises(DatasetError, match=r"labels of 1 frames, but a.mp4 has 5; use the video"):
        read(short)


def test_frames_come_back(write_video: Callable[..., Path], tmp_path: Path) -> None:
    path = write_video("a.mp4", num_frames=6, pts=[0, 1, 4, 5, 9, 11])
    with open_video(path) as video:
        times = [*video.pts_seconds, video.duration_seconds]
    events = (
        Event("groom", times[0], times[2]),
        Event("run", times[1], times[6]),
        Event("groom", times[4], times[5]),
    )
    annotated = AnnotatedVideo(path, events, times[6], split="test")
    annotations = Annotations((annotated,), LabelSet(("groom", "jump", "run")))

    notes = FERAL.write(annotations, tmp_path / "labels.json", {})
    again = FERAL.read(tmp_path / "labels.json", Reading(tmp_path))

    assert again.videos == annotations.videos
    assert again.labels == annotations.labels
    assert notes == (
        f"the folder of the videos, for FERAL: {tmp_path}",
        "starts and ends are those of frames",
    )
    assert dropped_fields(annotations, FERAL.drops, FERAL.title) == ()


def written(annotations: Annotations, path: Path, **options: str) -> dict[str, Any]:
    FERAL.write(annotations, path, options)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def annotated(tmp_path: Path, *events: Event, **more: Any) -> Annotations:
    video = AnnotatedVideo(tmp_path / "a.mp4", events, 0.5, **more)
    return Annotations((video,), LabelSet(("groom", "run")))


def test_one_class_a_frame_has_other_for_the_rest(tmp_path: Path) -> None:
    annotations = annotated(
        tmp_path, Event("groom", 0.1, 0.2), Event("run", 0.34, 0.34), Event("run", 0.2, None)
    )

    document = written(annotations, tmp_path / "a.json", classes="single", fps="10")

    assert document["labels"] == {"a.mp4": [0, 1, 0, 2, 0]}
    assert document["class_names"] == {"0": "other", "1": "groom", "2": "run"}
    assert document["splits"] == {"train": [], "val": [], "test": [], "inference": []}
    both = annotated(tmp_path, Event("groom", 0.1, 0.3), Event("run", 0.2, 0.4))
    with pytest.raises(DatasetError, match="several labels hold in frame 2; write them with"):
        written(both, tmp_path / "a.json", classes="single", fps="10")
    assert dropped_fields(annotations, FERAL.drops, FERAL.title) == (
        "labels of frames of FERAL has no place for points: events without a length: 1",
        "labels of frames of FERAL has no place for open ends: states without an end: 1",
    )


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    found = annotated(tmp_path)
    with pytest.raises(DatasetError, match=r"put it there, or take --option fps="):
        written(found, path)
    with pytest.raises(ConfigError, match="option fps=fast: expected frames a second"):
        written(found, path, fps="fast")
    twice = Annotations(found.videos * 2, found.labels)
    with pytest.raises(DatasetError, match=r"a.mp4 is there more than once"):
        written(twice, path, fps="10")
    with pytest.raises(DatasetError, match="'other' for none of the others"):
        written(Annotations(found.videos, LabelSet(("other",))), path, fps="10")
    unknown = AnnotatedVideo(tmp_path / "a.mp4", (), None)
    with pytest.raises(DatasetError, match="its length is not known"):
        written(Annotations((unknown,), found.labels), path, fps="10")
    endless = AnnotatedVideo(tmp_path / "a.mp4", (), 1e12)
    with pytest.raises(DatasetError, match="which are more than 10000000 frames; correct its"):
        written(Annotations((endless,), found.labels), path, fps="10")
    assert written(Annotations((), found.labels), path)["labels"] == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_names": {}}, "expected names of classes by number"),
        ({"class_names": {"0": "a", "2": "b"}}, "expected names of classes by number"),
        ({"class_names": {"0": "a", "1": "a"}}, "expected the name of a class, each another"),
        ({"is_multilabel": 1}, "is_multilabel: found 1, expected true or false"),
        ({"labels": {"a.mp4": []}}, "'a.mp4': found a list of 0, expected a list with the labels"),
        ({"labels": {"a.mp4": [[0, 2]]}}, "'a.mp4': frame 0: found a list of 2, expected 2 times"),
        ({"labels": {"a.mp4": [1]}}, "frame 0: found 1, expected 2 times 0 or 1"),
        ({"labels": {" ": [[0, 1]]}}, "expected labels of a video with a name"),
        ({"is_multilabel": False}, "frame 0: found a list of 2, expected a class from 0 to 1"),
        ({"splits": []}, "splits: found a list of 0, expected an object; see 'Label Prep"),
    ],
)
def test_malformed_labels_say_where(
    read: Callable[..., Annotations], change: dict[str, object], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        read(MULTILABEL | change, fps="10")
    with pytest.raises(DatasetError, match="no 'labels'; found 'class_names'"):
        read({"class_names": {"0": "a"}, "is_multilabel": True, "splits": {}}, fps="10")
    with pytest.raises(DatasetError, match="the video is not there, and FERAL counts frames"):
        read(MULTILABEL)


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 3), st.data())
def test_any_frames_come_back(tmp_path: Path, frames: int, classes: int, data: Any) -> None:
    seed = data.draw(st.integers(0, 2**16))
    present = np.random.default_rng(seed).integers(0, 2, (frames, classes)).tolist()
    document = {
        "class_names": {str(number): f"class {number}" for number in range(classes)},
        "is_multilabel": True,
        "labels": {"a.mp4": present},
        "splits": {"train": [], "val": ["a.mp4"], "test": [], "inference": []},
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))

    found = FERAL.read(path, Reading(tmp_path, {"fps": "12.5"}))

    assert written(found, tmp_path / "b.json", fps="12.5") == document


@settings(max_examples=100)
@given(
    st.sampled_from(["class_names", "is_multilabel", "labels", "splits"]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["0", "1", "a.mp4", "train"]), inner, max_size=3)
        ),
    ),
)
def test_any_change_is_read_or_refused(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(MULTILABEL | {name: value}))

    with contextlib.suppress(MsqnetError):
        FERAL.read(path, Reading(tmp_path, {"fps": "10"}))
