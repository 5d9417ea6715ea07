from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.data.records import Record
from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Event
from msqnet.formats.clip_table import rows_of

ETHOGRAM = frozenset({"groom", "rear", "call"})
PATH = Path("/videos/cage 1.mp4")


def rows(
    events: list[Event],
    level: str = "pieces",
    *,
    duration: float | None = 10.0,
    checked: set[str] | None = None,
    observed: tuple[tuple[float, float], ...] | None = None,
    **lengths: float,
) -> list[Record]:
    video = AnnotatedVideo(
        PATH,
        tuple(events),
        duration,
        checked=None if checked is None else frozenset(checked),
        observed=observed,
    )
    return list(rows_of(video, ETHOGRAM, level, **lengths))


def row(
    start: float | None, end: float | None, labels: str = "", known: str = "call groom rear"
) -> Record:
    """Of pieces and events, whose labels hold throughout; or of whole videos, without times."""
    names, holds = tuple(labels.split()), start is not None
    known_names = frozenset(known.split())
    return Record(0, PATH, str(PATH), names, known_names, start, end, holds_throughout=holds)


def window(start: float, end: float, *labels_and_known: str) -> Record:
    """A label that covers half of it counts as there, so that it need not hold throughout."""
    return replace(row(start, end, *labels_and_known), holds_throughout=False)


def test_pieces_are_cut_wherever_a_label_begins_or_ends() -> None:
    events = [Event("groom", 2, 6), Event("rear", 4, 8)]

    assert rows(events) == [
        row(0, 2),
        row(2, 4, "groom"),
        row(4, 6, "groom rear"),
        row(6, 8, "rear"),
        row(8, 10),
    ]


def test_a_video_of_unknown_length_ends_with_an_open_piece() -> None:
    assert rows([Event("groom", 2, 6)], duration=None) == [
        row(0, 2),
        row(2, 6, "groom"),
        row(6, None),
    ]


def test_a_video_without_events_is_one_row_of_background() -> None:
    assert rows([]) == [row(0, 10)]
    assert rows([], "videos") == [row(None, None)]
    assert rows([], "events") == []


def test_overlapping_events_of_one_label_are_one_interval() -> None:
    events = [Event("groom", 1, 4, subject="a"), Event("groom", 3, 6, subject="b")]

    assert rows(events) == [row(0, 1), row(1, 6, "groom"), row(6, 10)]


def test_a_point_stands_for_the_interval_around_it() -> None:
    assert rows([Event("call", 5, 5)]) == [row(0, 4.5), row(4.5, 5.5, "call"), row(5.5, 10)]
    assert rows([Event("call", 0.2, 0.2)], point_seconds=2.0)[0] == row(0, 1.2, "call")
    assert rows([Event("call", 10, 10)])[-1] == row(9.5, 10, "call")


def test_an_open_state_makes_its_label_unknown_from_its_start() -> None:
    assert rows([Event("groom", 4, None), Event("rear", 6, 8)]) == [
        row(0, 4),
        row(4, 6, "", "call rear"),
        row(6, 8, "rear", "call rear"),
        row(8, 10, "", "call rear"),
    ]


def test_an_open_state_was_seen_somewhere_in_its_video() -> None:
    assert rows([Event("groom", 4, None)], "videos") == [row(None, None, "groom")]


def test_a_state_that_is_open_is_known_where_another_note_says_it() -> None:
    events = [Event("groom", 4, None), Event("groom", 6, 8)]

    assert rows(events)[2] == row(6, 8, "groom")


def test_time_that_nobody_looked_at_has_no_row() -> None:
    observed = ((1.0, 3.0), (5.0, 9.0))

    assert rows([Event("groom", 2, 6)], observed=observed) == [
        row(1, 2),
        row(2, 3, "groom"),
        row(5, 6, "groom"),
        row(6, 9),
    ]
    assert rows([Event("groom", 2, 6)], "windows", observed=observed) == [window(6, 8)]
    assert rows([Event("groom", 6, 7), Event("rear", 2, 4)], "events", observed=observed) == [
        row(6, 7, "groom")
    ]
    assert rows([Event("groom", 2, 6)], "videos", observed=observed) == [
        row(None, None, "groom", "groom")
    ]


def test_nothing_is_said_of_a_video_that_nobody_looked_at() -> None:
    assert rows([], observed=()) == []
    assert rows([], "videos", observed=()) == []


def test_only_labels_that_were_looked_for_are_known() -> None:
    assert rows([Event("groom", 2, 6)], checked={"groom", "rear"}) == [
        row(0, 2, "", "groom rear"),
        row(2, 6, "groom", "groom rear"),
        row(6, 10, "", "groom rear"),
    ]


def test_a_label_outside_of_the_ethogram_is_known_where_it_is_seen() -> None:
    assert rows([Event("climb", 2, 6)]) == [
        row(0, 2),
        row(2, 6, "climb", "call climb groom rear"),
        row(6, 10),
    ]


def test_a_row_an_event_leaves_labels_open_that_cover_a_part_of_it() -> None:
    events = [Event("groom", 2, 6), Event("rear", 4, 5), Event("call", 1, 7)]

    assert rows(events, "events") == [
        row(1, 7, "call", "call"),
        row(2, 6, "call groom", "call groom"),
        row(4, 5, "call groom rear"),
    ]


def test_events_end_with_their_video() -> None:
    assert rows([Event("groom", 8, 12)], "events") == [row(8, 10, "groom")]
    assert rows([Event("groom", 11, 12)], "events") == []


def test_a_window_has_labels_that_cover_half_of_it() -> None:
    events = [Event("groom", 1, 2.5), Event("rear", 2.4, 2.9), Event("rear", 3.2, 3.7)]

    assert rows(events, "windows", duration=6.5) == [
        window(0, 2, "groom"),
        window(2, 4, "rear", "call rear"),
        window(4, 6),
    ]


def test_a_short_video_is_one_window() -> None:
    assert rows([], "windows", duration=1.5) == [window(0, 1.5)]


def test_windows_need_the_length_of_the_video() -> None:
    with pytest.raises(DatasetError, match=r"cage 1\.mp4: its length is not known, so it cannot"):
        rows([], "windows", duration=None)


def test_short_pieces_are_left_out() -> None:
    assert rows([Event("groom", 2, 2.1)], min_seconds=0.5) == [row(0, 2), row(2.1, 10)]


def test_what_rounding_leaves_over_is_no_piece() -> None:
    assert rows([Event("groom", 2, 9.9999999)]) == [row(0, 2), row(2, 10, "groom")]


_TIMES = st.integers(0, 40).map(lambda steps: steps / 4)


@st.composite
def _events(draw: st.DrawFn) -> Event:
    start, end = sorted((draw(_TIMES), draw(_TIMES)))
    label = draw(st.sampled_from(sorted(ETHOGRAM)))
    return Event(label, start, end if end > start else start + 0.25)


@given(st.lists(_events(), max_size=8))
def test_pieces_cover_the_video_and_say_what_holds_in_the_middle_of_them(
    events: list[Event],
) -> None:
    found = rows(events)

    assert [piece.start_seconds for piece in found] == [
        0.0,
        *(piece.end_seconds for piece in found[:-1]),
    ]
    assert found[-1].end_seconds == 10.0
    for piece in found:
        assert piece.start_seconds is not None
        assert piece.end_seconds is not None
        middle = (piece.start_seconds + piece.end_seconds) / 2
        assert set(piece.labels) == {
            event.label
            for event in events
            if event.end_seconds is not None and event.start_seconds <= middle < event.end_seconds
        }


def test_events_are_rows_of_their_label_however_short_they_are() -> None:
    events = [Event("groom", 1, 1.0004), Event("rear", 1.0003, 4), Event("call", 0.9, 1.0)]

    assert rows(events, "events")[1:] == [
        row(1, 1.0004, "groom", "call groom rear"),
        row(1.0003, 4, "rear"),
    ]


def test_a_label_that_misses_half_a_millisecond_of_a_row_holds_in_it() -> None:
    events = [Event("groom", 1, 2), Event("rear", 1.0005, 2), Event("call", 1.003, 2)]

    assert rows(events, "events")[0] == row(1, 2, "groom rear", "groom rear")
