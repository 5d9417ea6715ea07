"""Files of ELAN that are written, and come back as they were."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import DatasetError
from msqnet.formats import dropped_fields, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from pathlib import Path

ELAN = load_format("elan")
read_back = partial(read_as, "elan")


def written(annotations: Annotations, path: Path, **options: str) -> tuple[str, ...]:
    return write_as("elan", annotations, path, options)


def full(tmp_path: Path) -> Annotations:
    events = (
        Event("groom", 1.0, 3.5, "Ada", ("face", "left"), comment="wet & <cold>"),
        Event("groom", 2.0, 7.123, "Bob Ross"),
        Event("groom", 3.0, 4.0, "Ada", ("", "right"), 0.123456789, "wet; score"),
        Event("groom", 3.5, 4.0, "Ada"),
        Event("jump", 4.0, 4.0),
        Event("jump", 4.0, 4.0, "Ada", score=1.0),
        Event("run", 5.0, 5.0, "Ada"),
        Event("run", 5.0, None, "Ada"),
        Event("run", 6.0, None),
        Event("näp #2", 0.0, 0.25),
        Event("näp #2", 0.1, 0.25),
    )
    first = AnnotatedVideo(
        tmp_path / "Käfig 1.mp4",
        events,
        None,
        observed=((0.5, 8.25), (9.0, 10.0)),
        split="train",
        group="cage 1",
    )
    second = AnnotatedVideo(
        tmp_path / "other" / "Käfig 1.mp4", (), None, checked=frozenset({"run"}), observed=()
    )
    return Annotations((first, second), LabelSet(("groom", "jump", "run", "rear")))


@pytest.mark.parametrize("layout", ["labels", "subjects"])
def test_everything_that_files_hold_comes_back(tmp_path: Path, layout: str) -> None:
    annotations = full(tmp_path)

    notes = written(annotations, tmp_path / "eaf", tiers=layout)
    again = read_back(tmp_path / "eaf")

    assert sorted(path.name for path in (tmp_path / "eaf").iterdir()) == [
        "Käfig 1 #2.eaf",
        "Käfig 1.eaf",
    ]
    assert {video.path for video in again.videos} == {video.path for video in annotations.videos}
    for video in again.videos:
        [before] = [item for item in annotations.videos if item.path == video.path]
        assert sorted(video.events, key=repr) == sorted(before.events, key=repr)
        assert video.group == before.group or video.group in ("Käfig 1 #2.eaf", "Käfig 1.eaf")
        assert replace(video, events=(), group="") == replace(before, events=(), group="")
    assert set(again.labels) == set(annotations.labels)
    assert notes == ()
    assert dropped_fields(annotations, ELAN.drops, ELAN.title) == ()


def test_rounded_times_are_said(tmp_path: Path) -> None:
    events = (Event("a", 1.0004, 2.0), Event("a", 3.0, 3.0001), Event("a", 3.0, 4.0))
    video = AnnotatedVideo(tmp_path / "a.mp4", events, None)

    notes = written(Annotations((video,), LabelSet(("a",))), tmp_path / "a.eaf")

    [again] = read_back(tmp_path / "a.eaf").videos
    assert [(event.label, event.start_seconds, event.end_seconds) for event in again.events] == [
        ("a", 1.0, 2.0),
        ("a", 3.0, 3.001),
        ("a", 3.0, 4.0),
    ]
    assert notes == (
        "events with times that were rounded to milliseconds, by at most 0.5 ms (a shorter one "
        "lasts 1 ms): 2",
    )


def test_texts_that_xml_cannot_hold_are_refused(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", (Event("a", 1.0, 2.0, comment="x\0y"),), None)
    with pytest.raises(DatasetError, match="expected characters that XML can hold"):
        written(Annotations((video,), LabelSet(("a",))), tmp_path / "a.eaf")
    assert list(tmp_path.iterdir()) == []


def test_one_file_holds_one_video(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found 2 videos, but a file of ELAN holds one; name a"):
        written(full(tmp_path), tmp_path / "all.eaf")
    with pytest.raises(DatasetError, match="there is no video to write"):
        written(Annotations((), LabelSet(())), tmp_path / "all.eaf")
    with pytest.raises(DatasetError, match=r"found no \*\.eaf in it, expected files of ELAN"):
        read_back(tmp_path)


def test_pympi_reads_what_is_written(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    annotations = full(tmp_path)
    one = Annotations(annotations.videos[:1], annotations.labels)
    written(one, tmp_path / "a.eaf")

    eaf = pympi.Eaf(str(tmp_path / "a.eaf"))

    assert eaf.get_annotation_data_for_tier("groom@Bob Ross") == [(2000, 7123, "groom")]
    assert eaf.get_annotation_data_for_tier("jump") == [(4000, 4001, "jump")]
    tiers = list(eaf.get_tier_names())
    assert {"groom@Ada", "groom@Ada #2", "rear", "groom@Ada modifiers"} <= set(tiers)
    found = {name: eaf.get_annotation_data_for_tier(name) for name in tiers}
    assert found["groom@Ada modifiers"] == [(1000, 3500, "face|left", "groom")]
    for name in tiers:
        spans = sorted(item[:2] for item in found[name])
        assert all(first[1] <= second[0] for first, second in pairwise(spans))
    values = eaf.get_cv_entries("labels")
    assert [entry[0][0][0] for entry in values.values()] == ["groom", "jump", "run", "rear"]
    assert [item["MIME_TYPE"] for item in eaf.get_linked_files()] == ["video/mp4"]
    assert eaf.get_tier_ids_for_linguistic_type("comment", "groom@Ada") == ["groom@Ada comment"]


times = st.integers(0, 60_000).map(lambda number: number / 1000)


@st.composite
def events(draw: st.DrawFn) -> Event:
    start, end = sorted((draw(times), draw(times)))
    return Event(
        draw(st.sampled_from(("groom", "run", "näp 2", "a #2", "x@Ada"))),
        start,
        draw(st.sampled_from((start, end, None))),
        draw(st.sampled_from(("", "Ada", "Bob #2"))),
        draw(st.sampled_from(((), ("face",), ("face", "left")))),
        draw(st.none() | st.floats(0, 1)),
        draw(st.sampled_from(("", "wet", "a; b"))),
    )


@settings(max_examples=80)
@given(st.lists(events(), max_size=10), st.sampled_from(("labels", "subjects")))
def test_any_events_come_back(tmp_path: Path, found: list[Event], layout: str) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", tuple(found), None)
    annotations = Annotations((video,), LabelSet(("groom", "run")))

    written(annotations, tmp_path / "a.eaf", tiers=layout)
    [again] = read_back(tmp_path / "a.eaf").videos

    assert sorted(again.events, key=repr) == sorted(video.events, key=repr)
