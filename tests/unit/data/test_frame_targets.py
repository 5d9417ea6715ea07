"""Windows over borders between timed rows, and labels of the frames of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from msqnet.data.frame_targets import border_windows, frame_targets
from msqnet.data.records import Record
from msqnet.labels import UNKNOWN

KNOWN = frozenset({"sit", "walk"})


def row(start: float, end: float, *labels: str, **settings: Any) -> Record:
    defaults: dict[str, Any] = {"holds_throughout": True, "annotated": KNOWN}
    path = Path("/v/a.mp4")
    times = {"start_seconds": float(start), "end_seconds": float(end)}
    return Record(2, path, "a.mp4", labels, **{**defaults, **times, **settings})


def test_a_window_lies_over_each_border_inside_annotated_time() -> None:
    rows = [row(0, 5, "sit"), row(5, 9, "walk"), row(9, 14, "sit"), row(20, 30, "walk")]
    first, second = border_windows(rows, 2.0)
    for window, border in ((first, 5), (second, 9)):
        start, end = window.interval
        assert end - start == pytest.approx(2.0)
        assert start + 0.5 <= border <= end - 0.5
        assert window.labels == ()
        assert window.annotated == frozenset()  # both change in it
        assert not window.holds_throughout
    # The same border at the same place of every window could be learnt as such.
    assert 5 - first.interval[0] != 9 - second.interval[0]


def test_labels_that_stay_are_known_of_the_window_as_a_whole() -> None:
    rows = [row(0, 5, "sit", "walk"), row(5, 9, "walk")]
    (window,) = border_windows(rows, 2.0)
    assert window.labels == ("walk",)
    assert window.annotated == {"walk"}


def test_frames_take_their_labels_from_the_row_they_are_in() -> None:
    rows = [row(0, 5, "sit"), row(5, 9, annotated=frozenset({"sit"}))]
    (window,) = border_windows(rows, 2.0)
    found = frame_targets([window], ["sit", "walk"], 4)[0]
    border = 5 - window.interval[0]  # after the middle of the frame at 0.25, 0.75 ...
    expected = [1.0 if (frame + 0.5) / 2 < border else 0.0 for frame in range(4)]
    assert found[:, 0].tolist() == expected
    assert 0.0 in expected
    assert 1.0 in expected
    # "walk" was looked for in the first row only.
    assert found[:, 1].tolist() == [0.0 if value else UNKNOWN for value in expected]


def test_events_of_several_labels_overlap() -> None:
    only_sit, only_walk = frozenset({"sit"}), frozenset({"walk"})
    rows = [
        row(0, 10, annotated=only_walk),
        row(0, 4, annotated=only_sit),
        row(4, 10, "sit", annotated=only_sit),
        row(6, 8, "walk"),
    ]
    windows = border_windows(rows, 1.0)
    assert len(windows) == 3  # at 4, 6 and 8
    at_six = frame_targets([windows[1]], ["sit", "walk"], 10)[0]
    assert (at_six[:, 0] == 1).all()
    assert set(at_six[:, 1]) == {0.0, 1.0}


@pytest.mark.parametrize(
    "rows",
    [
        [row(0, 5, "sit"), row(5, 9, "sit")],  # nothing changes
        [row(0, 5, "sit", holds_throughout=False), row(5, 9, "walk")],
        [row(0, 5, "sit"), row(6, 9, "walk")],  # nobody looked in between
        [row(0, 0.5, "sit"), row(0.5, 1, "walk")],  # shorter than a window
        [row(0, 5, "sit"), row(5, 9, annotated=frozenset())],  # where it ends is not known
    ],
)
def test_no_border_without_timed_rows_on_both_sides(rows: list[Record]) -> None:
    assert border_windows(rows, 2.0) == []


def test_rows_that_say_somewhere_tell_frames_only_what_is_absent() -> None:
    throughout, somewhere = row(0, 2, "sit"), row(0, 2, "sit", holds_throughout=False)
    found = frame_targets([throughout, somewhere], ["sit", "walk"], 3)
    assert found[0].tolist() == [[1.0, 0.0]] * 3
    assert found[1].tolist() == [[UNKNOWN, 0.0]] * 3
