from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.data.records import ClipTable, Record
from msqnet.evaluation.by_protocol import video_truth
from msqnet.evaluation.whole_videos import annotated_spans
from msqnet.formats.annotations import Event
from msqnet.formats.clip_table import ClipRows, rows_of
from msqnet.intervals import (
    Piece,
    Span,
    covered_seconds,
    covers,
    cut,
    intersect,
    subtract,
    union,
)
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from pathlib import Path

times = st.integers(0, 40).map(lambda step: step / 4)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start, length = draw(times), draw(st.integers(1, 20)) / 4
    return Span(draw(st.sampled_from("abc")), start, start + length)


def test_joined_intervals_overlap_or_touch() -> None:
    assert union([(5, 6), (1, 3), (2, 4), (4, 4.5), (7, 7)]) == [(1, 4.5), (5, 6)]
    assert union([(1, 9), (2, 3)]) == [(1, 9)]
    assert union([]) == []


def test_what_intervals_have_in_common_and_what_is_left_of_them() -> None:
    assert intersect([(0, 4), (6, 9)], [(3, 7), (8, 10)]) == [(3, 4), (6, 7), (8, 9)]
    assert intersect([(0, 4)], [(4, 5)]) == []
    assert subtract([(0, 4), (6, 9)], [(3, 7), (8, 8.5)]) == [(0, 3), (7, 8), (8.5, 9)]
    assert subtract([(0, math.inf)], [(1, 2)]) == [(0, 1), (2, math.inf)]
    assert subtract([(0, 4)], []) == [(0, 4)]


def test_time_that_several_intervals_cover_counts_once() -> None:
    assert covered_seconds([(0, 2), (1, 3), (8, 20)], (1.5, 10)) == 3.5
    assert covers([(0, 2), (1, 3)], (0.5, 3))
    assert not covers([(0, 2), (2.5, 3)], (0.5, 3))


def test_half_a_millisecond_is_no_time_in_any_of_them() -> None:
    """Rows of a table, a timeline and a file of frames say the same of such a gap."""
    apart = [(0.0, 1.0), (1.0005, 2.0)]

    assert union(apart) == [(0.0, 2.0)]
    assert subtract([(0.0, 2.0)], apart) == []
    assert covers(apart, (0.0, 2.0005))
    assert covered_seconds(apart, (0.0, 2.0)) == 2.0
    assert intersect([(0.0, 1.0005)], [(1.0, 2.0)]) == []
    assert cut([Span("a", *interval) for interval in apart], 2.0) == [
        Piece(0.0, 2.0, frozenset("a"))
    ]
    assert cut([Span("a", 0, 2)], 2.0, unknown=[(0.0, 1.0), (1.0005, 2.0)]) == []


def test_rows_half_a_millisecond_apart_are_one_for_every_reader_of_them(tmp_path: Path) -> None:
    path, labels = tmp_path / "a.mp4", LabelSet(("a",))
    times = ((0.0, 1.0), (1.0005, 2.0))
    records = tuple(
        Record(row, path, path.name, labels=("a",), start_seconds=start, end_seconds=end)
        for row, (start, end) in enumerate(times, start=2)
    )

    [video] = ClipRows(records, labels).annotations().videos
    truths, unknown = video_truth(path.name, list(records), labels, [(0.0, 2.0)], scored={"a"})
    rows = ClipTable(tmp_path / "clips.csv", records)
    [again] = rows_of(video, frozenset(labels))

    assert video.events == (Event("a", 0.0, 2.0),)
    assert ([item.interval for item in truths], list(unknown)) == ([(0.0, 2.0)], [])
    assert annotated_spans(rows, 2.0) == [(0.0, 2.0)]
    assert again.labels == ("a",)


def test_two_milliseconds_are() -> None:
    apart = [(0.0, 1.0), (1.002, 2.0)]

    assert union(apart) == apart
    assert subtract([(0.0, 2.0)], apart) == [(1.0, 1.002)]
    assert not covers(apart, (0.0, 2.0))
    assert intersect([(0.0, 1.002)], [(1.0, 2.0)]) == [(1.0, 1.002)]
    assert len(cut([Span("a", *interval) for interval in apart], 2.0)) == 3


def test_known_answer() -> None:
    found = cut([Span("a", 1, 4), Span("b", 3, 6)], 8.0)

    assert found == [
        Piece(0, 1, frozenset()),
        Piece(1, 3, frozenset("a")),
        Piece(3, 4, frozenset("ab")),
        Piece(4, 6, frozenset("b")),
        Piece(6, 8, frozenset()),
    ]


def test_touching_and_overlapping_spans_of_one_label_are_one_piece() -> None:
    assert cut([Span("a", 0, 2), Span("a", 2, 3), Span("a", 1, 5)], 5.0) == [
        Piece(0, 5, frozenset("a"))
    ]


def test_spans_end_with_the_video() -> None:
    assert cut([Span("a", 1, 9)], 4.0) == [Piece(0, 1, frozenset()), Piece(1, 4, frozenset("a"))]


def test_last_piece_is_open_where_the_end_is_not_known() -> None:
    assert cut([Span("a", 1, 2)], None)[-1] == Piece(2, None, frozenset())
    assert cut([], None) == [Piece(0, None, frozenset())]


def test_unknown_time_is_covered_by_no_piece() -> None:
    assert cut([Span("a", 1, 5)], 6.0, unknown=[(2, 3)]) == [
        Piece(0, 1, frozenset()),
        Piece(1, 2, frozenset("a")),
        Piece(3, 5, frozenset("a")),
        Piece(5, 6, frozenset()),
    ]


def test_short_pieces_can_be_left_out() -> None:
    found = cut([Span("a", 1, 1.2)], 4.0, min_seconds=0.5)

    assert [(piece.start_seconds, piece.end_seconds) for piece in found] == [(0, 1), (1.2, 4)]


@given(st.lists(spans(), max_size=8), st.lists(spans(), max_size=2), st.none() | times)
def test_labels_of_every_moment_are_those_of_the_spans(
    found: list[Span], unknown: list[Span], end: float | None
) -> None:
    pieces = cut(found, end, unknown=[span.interval for span in unknown])

    for earlier, later in itertools.pairwise(pieces):
        assert earlier.end_seconds is not None
        assert earlier.end_seconds <= later.start_seconds
        assert earlier.labels != later.labels or earlier.end_seconds < later.start_seconds
    for moment in (step / 8 + 0.01 for step in range(160)):
        covering = [
            piece
            for piece in pieces
            if piece.start_seconds <= moment
            and (piece.end_seconds is None or moment < piece.end_seconds)
        ]
        is_unknown = any(span.start_seconds <= moment < span.end_seconds for span in unknown)
        if is_unknown or (end is not None and moment >= end):
            assert covering == []
        else:
            expected = {s.label for s in found if s.start_seconds <= moment < s.end_seconds}
            assert [piece.labels for piece in covering] == [expected]


@pytest.mark.parametrize("end", [0.0, None])
def test_video_without_spans(end: float | None) -> None:
    assert len(cut([], end)) == (0 if end == 0.0 else 1)
