from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.data.records import Record
from msqnet.data.table import read_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Reading, dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.clip_table import FORMAT, ClipRows, rows_from
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LABELS = LabelSet(("groom", "rear", "call"))


def project(path: Path, *events: Event, duration: float | None = 10.0) -> Annotations:
    return Annotations((AnnotatedVideo(path, events, duration),), LABELS)


def table_rows(annotations: Annotations, options: Mapping[str, str]) -> list[tuple[object, ...]]:
    records = rows_from(annotations, options).records
    return [(r.start_seconds, r.end_seconds, r.labels, sorted(r.annotated or ())) for r in records]


def test_rows_have_relative_paths_splits_groups_and_numbers(tmp_path: Path) -> None:
    videos = (
        AnnotatedVideo(tmp_path / "a b.mp4", (Event("rear", 0, 4),), 4.0, split="train"),
        AnnotatedVideo(tmp_path / "é/c.mp4", (), 3.0, group="cage 2"),
    )

    FORMAT.write(Annotations(videos, LABELS), tmp_path / "clips.csv", {})

    records = read_table(tmp_path / "clips.csv").records
    assert [
        (r.row, r.relative_path, r.labels, r.start_seconds, r.end_seconds, r.split, r.group)
        for r in records
    ] == [
        (2, "a b.mp4", ("rear",), 0, 4, "train", ""),
        (3, "é/c.mp4", (), 0, 3, "", "cage 2"),
    ]
    assert (tmp_path / "clips.labels.csv").read_text().splitlines()[1:] == [
        f"{name},," for name in LABELS
    ]


def test_events_of_one_subject_are_taken(tmp_path: Path) -> None:
    annotations = project(
        tmp_path / "a.mp4", Event("groom", 1, 2, subject="A"), Event("rear", 1, 2, subject="B")
    )

    chosen = rows_from(annotations, {"subject": "B", "level": "events"}).records
    assert [record.labels for record in chosen] == [("rear",)]
    with pytest.raises(ConfigError, match=r"subject=C: no event of that subject; found: A, B"):
        rows_from(annotations, {"subject": "C"})


def test_labels_with_modifiers_take_the_place_of_those_that_always_have_some(
    tmp_path: Path,
) -> None:
    annotations = project(
        tmp_path / "a.mp4",
        Event("groom", 1, 2, modifiers=("face",)),
        Event("groom", 5, 6, modifiers=("tail", "left")),
        Event("rear", 2, 3, modifiers=("wall",)),
        Event("rear", 7, 8),
        Event("climb", 8, 9),
    )

    rows = rows_from(annotations, {"modifiers": "true"})
    records, labels = rows.records, rows.labels

    assert labels.names == (
        *("groom (face)", "groom (tail, left)", "rear", "rear (wall)", "call", "climb"),
    )
    assert records[1].labels == ("groom (face)",)
    assert records[1].annotated == frozenset(labels) - {"climb"}


def test_who_looked_for_a_label_looked_for_its_modifiers(tmp_path: Path) -> None:
    videos = (
        AnnotatedVideo(
            tmp_path / "a.mp4",
            (Event("groom", 0, 2, modifiers=("face",)),),
            4.0,
            checked=frozenset({"groom"}),
        ),
        AnnotatedVideo(tmp_path / "b.mp4", (), 4.0, checked=frozenset({"groom", "call"})),
    )

    records = rows_from(Annotations(videos, LABELS), {"modifiers": "true"}).records

    assert [sorted(record.annotated or ()) for record in records] == [
        *(["groom (face)"], ["groom (face)"], ["call", "groom (face)"]),
    ]


def test_each_level_gives_its_own_rows(tmp_path: Path) -> None:
    annotations = project(tmp_path / "a.mp4", Event("groom", 1, 5), duration=6.0)
    known = sorted(LABELS)

    assert len(table_rows(annotations, {})) == 3
    assert table_rows(annotations, {"level": "events"}) == [(1, 5, ("groom",), known)]
    assert table_rows(annotations, {"level": "videos"}) == [(None, None, ("groom",), known)]
    windows = table_rows(annotations, {"level": "windows", "window_seconds": "3"})
    assert windows == [(0, 3, ("groom",), known), (3, 6, ("groom",), known)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "frames"}, "level=frames: expected pieces or events or windows or videos"),
        ({"point_seconds": "long"}, "point_seconds=long: expected a number of seconds such as"),
        ({"window_seconds": "0"}, "window_seconds=0: expected more than 0 seconds"),
        ({"min_seconds": "-1"}, "min_seconds=-1: expected a number of seconds such as 0.5"),
        ({"modifiers": "yes"}, "modifiers=yes: expected false or true"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        rows_from(project(tmp_path / "a.mp4"), options)


def test_a_written_table_is_read_and_says_what_it_put_together(tmp_path: Path) -> None:
    annotations = project(
        tmp_path / "a.mp4",
        Event("groom", 1, 2, subject="A", comment="slow", score=0.5),
        Event("call", 3, 3, subject="B"),
    )

    notes = FORMAT.write(annotations, tmp_path / "clips.csv", {"point_seconds": "2"})

    assert [record.labels for record in read_table(tmp_path / "clips.csv").records] == [
        *((), ("groom",), ("call",), ()),
    ]
    assert (tmp_path / "clips.labels.csv").read_text().splitlines()[1:] == [
        *("groom,,", "rear,,", "call,,"),
    ]
    assert len(notes) == 2
    assert "labels of 2 subjects are put together" in notes[0]
    assert "stands for the 2 s around it" in notes[1]
    assert dropped_fields(annotations, FORMAT.drops, "a table") == (
        "a table has no place for points: events without a length: 1",
        "a table has no place for subjects: events with a subject: 2",
        "a table has no place for scores: events with a score: 1",
        "a table has no place for comments: events with a comment: 1",
    )


def test_rows_without_a_gap_are_one_event(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    spans = [(0, 2, ()), (2, 3, ("groom",)), (3, 4, ("groom", "rear")), (6, 7, ("groom",))]
    records = [
        Record(row, path, "a.mp4", labels, start_seconds=start, end_seconds=end)
        for row, (start, end, labels) in enumerate(spans, start=2)
    ]

    [video] = ClipRows(tuple(records), LABELS).annotations().videos

    assert video.events == (Event("groom", 2, 4), Event("rear", 3, 4), Event("groom", 6, 7))
    assert video.observed == ((0, 4), (6, 7))
    assert video.checked is None


def test_rows_of_whole_videos_need_their_length(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    there = write_video("there.mp4", 10, rate=10)
    records = [Record(2, there, "there.mp4", ("groom",))]

    [video] = ClipRows(tuple(records), LABELS).annotations().videos
    assert [(e.start_seconds, e.end_seconds) for e in video.events] == [(0, 1)]
    assert video.observed is None
    with pytest.raises(DatasetError, match=r"row 3: it goes to the end of no\.mp4, whose length"):
        ClipRows((Record(3, tmp_path / "no.mp4", "no.mp4", ("groom",)),), LABELS).annotations()


def test_labels_that_some_rows_leave_open_were_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    known = [frozenset({"groom"}), frozenset({"groom", "rear"}), frozenset({"groom", "rear"})]
    records = [
        Record(row, path, "a.mp4", (), labels, start_seconds=row, end_seconds=row + 1)
        for row, labels in enumerate(known)
    ]

    [video] = ClipRows(tuple(records), LABELS).annotations().videos

    assert video.checked == {"groom"}
    assert video.events == ()


def test_rows_of_one_video_in_several_splits_are_said(tmp_path: Path) -> None:
    records = [
        Record(row, tmp_path / "a.mp4", "a.mp4", (), None, row, row + 1, split=split)
        for row, split in enumerate(["train", "test"])
    ]

    found = ClipRows(tuple(records), LABELS).annotations()

    assert found.videos[0].split == "train"
    assert found.notes == (
        "videos with rows in several splits or groups, which are taken as those of the first: 1",
    )


_TIMES = st.integers(0, 39).map(lambda steps: steps / 4)


@st.composite
def _videos(draw: st.DrawFn) -> tuple[tuple[Event, ...], frozenset[str] | None]:
    spans = draw(
        st.lists(
            st.tuples(st.sampled_from(LABELS.names), _TIMES, st.integers(1, 8)),
            max_size=6,
            unique_by=lambda span: span[0],
        )
    )
    events = tuple(Event(label, at, min(10.0, at + n / 4)) for label, at, n in spans)
    opened = draw(st.sampled_from([None, *LABELS.names]))
    if opened is not None and opened not in {event.label for event in events}:
        events += (Event(opened, draw(st.integers(1, 9)), None),)
    seen = {event.label for event in events}
    checked = draw(st.sampled_from([None, frozenset(seen | {"rear"})]))
    return events, checked if checked is None or checked < set(LABELS) else None


@given(video=_videos())
def test_pieces_give_back_the_events_that_they_were_cut_from(
    tmp_path: Path, video: tuple[tuple[Event, ...], frozenset[str] | None]
) -> None:
    events, checked = video
    written = Annotations(
        (AnnotatedVideo(tmp_path / "a.mp4", events, 10.0, checked=checked, group="g"),), LABELS
    )
    opened = {event.label for event in events if event.is_open}

    FORMAT.write(written, tmp_path / "clips.csv", {})
    read = FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path))
    [found] = read.videos

    assert read.labels == LABELS
    assert found.events == tuple(item for item in written.videos[0].events if not item.is_open)
    known = (frozenset(LABELS) if checked is None else checked) - opened
    assert found.checked == (None if known == set(LABELS) else known)
    assert (found.group, found.path) == ("g", tmp_path / "a.mp4")
    again = tmp_path / "again.csv"
    FORMAT.write(read, again, {})
    if opened:
        assert FORMAT.read(again, Reading(tmp_path)).videos == read.videos
    else:
        assert again.read_text() == (tmp_path / "clips.csv").read_text()


UNKNOWN = (
    "videos in which a label is absent in some rows and unknown in others, which is taken as "
    "unknown wherever it was not seen: 1"
)


@pytest.mark.parametrize(
    ("rows", "events", "checked", "notes"),
    [
        (
            [(0, 2, "A", "A|B"), (2, 4, "A", "A")],
            [Event("A", 0, 4)],
            frozenset({"A"}),
            (UNKNOWN,),
        ),
        (
            [(0, 2, "A", "A"), (2, 4, "B", "B")],
            [Event("A", 0, 2), Event("B", 2, 4)],
            frozenset(),
            (),
        ),
        ([(0, 2, "A", "*"), (2, 4, "", "*")], [Event("A", 0, 2)], None, ()),
        ([(0, 2, "", "*"), (2, 4, "A", "A")], [Event("A", 2, 4)], None, ()),
    ],
)
def test_what_is_unknown_was_not_seen(
    tmp_path: Path,
    rows: list[tuple[int, int, str, str]],
    events: list[Event],
    checked: frozenset[str] | None,
    notes: tuple[str, ...],
) -> None:
    lines = [f"a.mp4,{label},{start},{end},{known}\n" for start, end, label, known in rows]
    (tmp_path / "clips.csv").write_text("path,labels,start,end,annotated\n" + "".join(lines))

    found = FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path))

    assert list(found.videos[0].events) == events
    assert found.videos[0].checked == checked
    assert found.notes == notes


def test_states_without_an_end_are_unknown_in_a_table_and_it_says_so(tmp_path: Path) -> None:
    annotations = project(tmp_path / "a.mp4", Event("groom", 4, None))

    [note] = FORMAT.write(annotations, tmp_path / "clips.csv", {})

    assert note.startswith("a state without an end makes its label unknown from its start on")
    assert dropped_fields(annotations, FORMAT.drops, "a table") == (
        "a table has no place for open ends: states without an end: 1",
    )


def test_labels_come_in_order_from_the_table_beside(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,labels,start,end\na.mp4,rear,0,4\na.mp4,new,4,5\n")
    beside = tmp_path / "clips.labels.csv"
    beside.write_text("name,description\nrear,up\ncall,loud\n")

    found = FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path))

    assert found.labels.names == ("rear", "call", "new")
    assert found.videos[0].checked is None
    beside.write_text("name,description,synonyms\n")
    assert FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path)).labels.names == ("new", "rear")
    beside.write_text("name\na|b\n")
    with pytest.raises(DatasetError, match=r"clips\.labels\.csv.*a\|b"):
        FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path))


def test_videos_that_are_not_where_the_table_says_are_looked_for_in_the_root(
    tmp_path: Path,
) -> None:
    (tmp_path / "there.mp4").mkdir()
    videos = tmp_path / "videos"
    (videos / "sub").mkdir(parents=True)
    for name in ("there.mp4", "moved.mp4", "sub/deep.mp4"):
        (videos / name).mkdir()
    names = ("there.mp4", "/elsewhere/moved.mp4", "sub/deep.mp4", "gone.mp4")
    lines = "".join(f"{name},rear,0,4\n" for name in names)
    (tmp_path / "clips.csv").write_text("path,labels,start,end\n" + lines)

    found = FORMAT.read(tmp_path / "clips.csv", Reading(videos))

    assert [video.path for video in found.videos] == [
        tmp_path / "there.mp4",
        *(videos / "moved.mp4", videos / "sub/deep.mp4", videos / "gone.mp4"),
    ]


def test_two_videos_of_a_table_never_become_one(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text(
        "path,labels,start,end\none/a.mp4,rear,0,4\ntwo/a.mp4,call,0,4\n"
    )
    (tmp_path / "a.mp4").mkdir()

    with pytest.raises(DatasetError, match=r"row 3: found .*a\.mp4 for two/a\.mp4, which is the"):
        FORMAT.read(tmp_path / "clips.csv", Reading(tmp_path))


def test_table_of_other_columns_is_read_and_what_was_assumed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("Film,Behaviour,end\na.mp4,groom;rest,0:02\n")
    options = {"columns": "path=Film", "label_separator": ";"}

    found = FORMAT.read(path, Reading(tmp_path, options))

    assert sorted((e.label, e.end_seconds) for e in found.events()) == [
        ("groom", 2.0),
        ("rest", 2.0),
    ]
    assert any("labels from 'Behaviour'" in note for note in found.notes)
    with pytest.raises(ConfigError, match="no column 'Video'"):
        FORMAT.read(path, Reading(tmp_path, {"columns": "path=Video"}))
