from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.errors import ShapeError
from msqnet.metrics.timed_labels import TimedLabel
from msqnet.metrics.timeline import per_second_metrics, per_second_scores, per_second_targets

UNKNOWN = -100


def timed(start, end, *, label=0, video="v"):
    return TimedLabel(video, label, start, end)


def test_per_second_scores_are_means_by_length():
    scores = per_second_scores([0, 0.5, 2.0, 2.25], [[0.2], [0.6], [1.0]], 4)
    # Second 2 is touched for a quarter, second 3 not at all: both take the last step.
    assert scores[:, 0] == pytest.approx([0.4, 0.6, 1.0, 1.0])


def test_seconds_before_the_timeline_take_its_first_step():
    assert per_second_scores([2, 3], [[0.3]], 2).tolist() == [[0.3], [0.3]]


@pytest.mark.parametrize(
    ("edges", "scores"), [([0, 1], [[0.1], [0.2]]), ([0, 1, 1], [[0.1], [0.2]]), ([0, 1], [0.1])]
)
def test_edges_that_do_not_fit_are_refused(edges, scores):
    with pytest.raises(ShapeError, match="edges_seconds"):
        per_second_scores(edges, scores, 2)


def test_second_is_positive_where_a_segment_covers_half_of_it():
    targets = per_second_targets([timed(0.5, 2.4)], num_seconds=4, num_labels=2)
    assert targets[:, 0].tolist() == [1, 1, 0, 0]
    assert targets[:, 1].tolist() == [0, 0, 0, 0]


@given(start=st.floats(0, 8), duration=st.floats(0.01, 2))
def test_every_segment_is_positive_in_some_second(start, duration):
    targets = per_second_targets([timed(start, start + duration)], num_seconds=11, num_labels=1)
    assert targets.sum() >= 1


def test_unannotated_seconds_are_unknown_unless_something_is_seen_there():
    targets = per_second_targets(
        [timed(1, 2)], [timed(0, 3.5), timed(3, 9, label=1)], num_seconds=5, num_labels=2
    )
    assert targets[:, 0].tolist() == [UNKNOWN, 1, UNKNOWN, 0, 0]
    assert targets[:, 1].tolist() == [0, 0, 0, UNKNOWN, UNKNOWN]


def test_seconds_of_two_videos_are_refused():
    with pytest.raises(ShapeError, match="2 videos"):
        per_second_targets([timed(0, 1), timed(0, 1, video="w")], num_seconds=1, num_labels=1)


def test_per_second_figures_of_a_known_event():
    targets = per_second_targets(
        [timed(2, 4), timed(2, 4, label=2)],
        [timed(0, 5, label=1)],
        num_seconds=5,
        num_labels=3,
    )
    scores = np.array(
        [[0.1, 0.9, 0.0], [0.6, 0.9, 0.0], [0.9, 0.9, 0.9], [0.7, 0.9, 0.8], [0.2, 0.9, 0.1]]
    )
    result = per_second_metrics(scores, targets)
    assert result.ap[[0, 2]].tolist() == [1, 1]
    assert np.isnan(result.ap[1])
    assert result.macro_map == 1
    assert result.f1[0] == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert result.macro_f1 == pytest.approx((0.8 + 1) / 2)
    assert result.num_positive_seconds.tolist() == [2, 0, 2]
    assert result.num_known_seconds.tolist() == [5, 0, 5]
