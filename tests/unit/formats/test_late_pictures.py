"""Every format counts on the clock of the file where its pictures begin after its sound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from msqnet.data.table import read_table
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, settled
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.prediction_files import annotations_of
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import on_file_clock
from msqnet.labels import LabelSet
from msqnet.predictions import VideoPredictions
from msqnet.video.reader import open_video
from tests.fixtures.annotation_formats import read_as, write_as
from tests.fixtures.videos import encode_late, read_number
from tests.unit.inference.brightness import BrightnessBackend

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS, END_SECONDS = 3.0, 8.0


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Pictures from 3 to 8 s, ten a second, and silence from 0 to 9 s."""
    return encode_late(tmp_path / "late.mp4", 50, late=30, sound_seconds=9.0, options={"bf": "0"})


@pytest.fixture
def annotations(video: Path) -> Annotations:
    event = Event("walking", 5.0, 6.0)
    return Annotations(
        (AnnotatedVideo(video, (event,), duration_seconds(video)),), LabelSet(("walking", "eating"))
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("boris", "a.boris"),
        ("boris_events", "a.tsv"),
        ("elan", "a.eaf"),
        ("label_studio", "a.json"),
        ("via", "a.json"),
        ("cvat", "a.xml"),
        ("feral", "a.json"),
    ],
)
def test_times_survive_every_format(
    annotations: Annotations, video: Path, tmp_path: Path, name: str, file: str
) -> None:
    write_as(name, annotations, tmp_path / file)
    (read,) = read_as(name, tmp_path / file, videos=tmp_path).videos
    (event,) = read.events
    assert (event.start_seconds, event.end_seconds) == pytest.approx((5, 6), abs=1e-3)
    with open_video(video) as source:
        frames = source.frames_at([event.start_seconds + 1e-3, event.end_seconds - 1e-3])
    assert [read_number(pixels) for pixels in frames.pixels] == [20, 29]


def test_tools_that_count_frames_count_pictures(annotations: Annotations, tmp_path: Path) -> None:
    write_as("feral", annotations, tmp_path / "a.json")
    labels = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["labels"]["late.mp4"]
    column = [row[0] if isinstance(row, list) else row for row in labels]
    assert len(column) == 50
    assert [number for number, value in enumerate(column) if value == column[20]] == [
        *range(20, 30)
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("pieces", [(3, 5, ()), (5, 6, ("walking",)), (6, 8, ())]),
        ("events", [(5, 6, ("walking",))]),
        ("windows", [(3, 5, ()), (5, 7, ("walking",))]),
    ],
)
def test_no_row_covers_time_without_pictures(
    annotations: Annotations, tmp_path: Path, level: str, expected: list[tuple[float, float, tuple]]
) -> None:
    write_as("table", annotations, tmp_path / "a.csv", {"level": level})
    rows = read_table(tmp_path / "a.csv").records
    assert [(row.start_seconds, row.end_seconds, row.labels) for row in rows] == expected
    # What was read as a whole covers all pictures, so that nothing is unknown.
    if level == "pieces":
        (read,) = read_as("table", tmp_path / "a.csv").videos
        assert read.observed is None


def test_predictions_are_on_the_same_clock_and_know_where_nothing_is_shown(video: Path) -> None:
    result = Predictor(BrightnessBackend())(video)
    assert result.timeline.edges_seconds[[0, -1]] == pytest.approx((3, 8))
    assert result.windows[0].start_seconds == pytest.approx(START_SECONDS)
    assert result.windows[-1].end_seconds == pytest.approx(END_SECONDS)
    assert result.duration_seconds == pytest.approx(9, abs=0.03)
    assert not result.is_partial
    assert "no picture at 0.000 to 3.000, 8.000 to 9" in result.notes[0]
    (read,) = annotations_of([result]).videos
    assert read.observed == (pytest.approx((3, 8)),)


def test_results_of_earlier_versions_are_moved_to_the_clock_of_the_file(video: Path) -> None:
    new = Predictor(BrightnessBackend())(video)
    document = json.loads(new.moved(-START_SECONDS, 5.0).to_json())
    document["schema_version"] = 3
    for name in ("clock", "is_partial", "shown"):
        del document[name]
    old = VideoPredictions.from_json(json.dumps(document))
    assert old.timeline.edges_seconds[0] == pytest.approx(0)

    moved = on_file_clock(old, video)

    assert moved.timeline.edges_seconds.tolist() == pytest.approx(
        new.timeline.edges_seconds.tolist()
    )
    assert moved.duration_seconds == pytest.approx(new.duration_seconds)
    gone = on_file_clock(old, video.with_name("gone.mp4"))
    assert gone.timeline == old.timeline
    assert "count from the first frame" in gone.notes[-1]


def test_events_without_pictures_are_named(video: Path) -> None:
    events = Event("walking", 1.0, 2.5), Event("walking", 2.0, 4.0), Event("eating", 8.5, 8.5)
    found = settled(
        Annotations((AnnotatedVideo(video, events, 9.0),), LabelSet(("walking", "eating")))
    )
    assert found.videos[0].events == events
    assert found.notes == (
        "events while there is no picture, which no row of a table covers (walking in late.mp4; "
        "eating in late.mp4): 2",
    )
