"""What is known about a label, from segments and marks."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from msqnet.review.items import Mark, Proposal, Segment, State, known_intervals


def segment(
    start: float, end: float | None, state: str = "accepted", label: str = "walk"
) -> Segment:
    return Segment(label=label, start=start, end=end, state=State(state))


def test_nothing_is_known_where_nobody_looked() -> None:
    assert known_intervals([segment(1, 2, "proposed"), segment(4, 6, "untimed")], "walk") == []


def test_accepted_and_rejected_time_is_known_of_that_label_only() -> None:
    items = [segment(1, 2), segment(4, 6, "rejected")]
    assert known_intervals(items, "walk") == [(1, 2), (4, 6)]
    assert known_intervals(items, "rest") == []


def test_open_proposal_in_a_mark_stays_unknown() -> None:
    items = [Mark(labels=("walk",), start=0, end=10), segment(3, 5, "proposed")]
    assert known_intervals(items, "walk") == [(0, 3), (5, 10)]


def test_what_was_cut_off_a_proposal_is_known_to_be_absent() -> None:
    cut = segment(3, 5).model_copy(update={"proposal": Proposal(label="walk", start=2, end=8)})
    assert known_intervals([cut], "walk") == [(2, 8)]


def test_relabelled_proposal_settles_both_labels() -> None:
    item = segment(3, 5, label="run")
    item = item.model_copy(update={"proposal": Proposal(label="walk", start=3, end=6)})
    assert known_intervals([item], "walk") == [(3, 6)]
    assert known_intervals([item], "run") == [(3, 5)]


def test_state_without_an_end_is_unknown_from_its_start_on() -> None:
    items = [Mark(labels=("walk",), start=0, end=None), segment(3, None)]
    assert known_intervals(items, "walk") == [(0, 3)]
    assert known_intervals(items, "walk", without_open_ends=False) == [(0, math.inf)]


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 2.0, "end": 1.0},
        {"start": -1.0, "end": 1.0},
        {"start": 0.0, "end": math.inf},
        {"start": math.nan, "end": None},
        {"start": 0.0, "end": 1.0, "score": 1.5},
        {"start": 0.0, "end": 1.0, "label": ""},
    ],
)
def test_impossible_segments_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Segment(**{"label": "walk", **fields})  # type: ignore[arg-type]
