from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.config import SegmentConfig
from msqnet.errors import ShapeError
from msqnet.inference.merge import merge_windows, segments_from_timeline
from msqnet.labels import LabelSet
from msqnet.predictions import Segment, Timeline, WindowScores

NO_CLOSING = SegmentConfig(max_gap_seconds=0.0)


def window(start: float, end: float, *scores: float) -> WindowScores:
    return WindowScores(start, end, np.array(scores, dtype=np.float32))


def timeline(scores: list[list[float]], step_seconds: float = 1.0) -> Timeline:
    edges = np.arange(len(scores) + 1) * step_seconds
    return Timeline(edges, np.array(scores, dtype=np.float32))


def segments(
    scores: list[list[float]],
    config: SegmentConfig = NO_CLOSING,
    *,
    threshold: float = 0.5,
    single_label: bool = False,
) -> list[Segment]:
    names = tuple("abcdef"[: len(scores[0])])
    thresholds = np.full(len(names), threshold, dtype=np.float32)
    return segments_from_timeline(
        timeline(scores), LabelSet(names), thresholds, config, single_label=single_label
    )


@pytest.mark.parametrize("weighting", ["centre", "uniform"])
def test_single_window_is_unchanged(weighting: str) -> None:
    only = window(0.25, 2.0, 0.1, 0.7)
    merged = merge_windows([only], weighting=weighting)  # type: ignore[arg-type]
    np.testing.assert_array_equal(merged.edges_seconds, [0.25, 2.0])
    np.testing.assert_array_equal(merged.scores, only.scores[None])


def test_borders_go_to_the_largest_change_of_their_kind_nearby() -> None:
    def found(
        *changes: tuple[int, float, float], single_label: bool = False
    ) -> list[tuple[float, float]]:
        scores = [[0.1], [0.1], [0.9], [0.9], [0.1], [0.1]]
        line = replace(timeline(scores), changes=np.array(changes).reshape(-1, 3))
        result = segments_from_timeline(
            *(line, LabelSet(("a",)), np.array([0.5], np.float32), NO_CLOSING),
            reach_seconds=2.0,
            single_label=single_label,
        )
        return [(item.start_seconds, item.end_seconds) for item in result]

    assert found() == [(2.0, 4.0)]
    # A quarter of the reach is half a second; falls do not begin anything, nor does another label.
    assert found((0, 1.7, 1.0), (0, 2.2, 3.0), (0, 2.1, -9.0), (0, 4.4, -1.0)) == [(2.2, 4.4)]
    assert found((0, 1.4, 9.0), (0, 4.6, -9.0)) == [(2.0, 4.0)]
    assert found((1, 2.2, 9.0)) == [(2.0, 4.0)]
    assert found((0, 2.2, 3.0), single_label=True) == [(2.0, 4.0)]


def test_segments_that_move_to_changes_do_not_overlap() -> None:
    scores = [[0.1], [0.9], [0.1], [0.9], [0.1]]
    line = replace(timeline(scores, 0.3), changes=np.array([[0, 0.72, -1.0], [0, 0.7, 5.0]]))
    first, second = segments_from_timeline(
        *(line, LabelSet(("a",)), np.array([0.5], np.float32), NO_CLOSING), reach_seconds=2.0
    )
    assert first.end_seconds == 0.72
    assert second.start_seconds >= first.end_seconds


@settings(max_examples=60)
@given(
    length=st.floats(0.1, 20),
    stride_share=st.floats(0.05, 1.0),
    count=st.integers(1, 30),
    score=st.floats(0, 1, width=32),
)
def test_constant_scores_stay_exactly_constant(
    length: float, stride_share: float, count: int, score: float
) -> None:
    stride = length * stride_share
    windows = [window(i * stride, i * stride + length, score) for i in range(count)]
    for weighting in ("centre", "uniform"):
        merged = merge_windows(windows, weighting=weighting)
        assert (merged.scores == np.float32(score)).all()
        assert merged.edges_seconds[0] == 0
        assert merged.edges_seconds[-1] == pytest.approx(windows[-1].end_seconds, abs=2e-6)


@settings(max_examples=60)
@given(scores=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12))
def test_merged_scores_stay_between_those_of_the_windows_that_cover_them(
    scores: list[float],
) -> None:
    windows = [window(i, i + 2.5, score) for i, score in enumerate(scores)]
    merged = merge_windows(windows)
    centres = (merged.edges_seconds[1:] + merged.edges_seconds[:-1]) / 2
    for centre, value in zip(centres, merged.scores[:, 0], strict=True):
        covering = [w.scores[0] for w in windows if w.start_seconds <= centre < w.end_seconds]
        assert min(covering) <= value <= max(covering)


def test_order_of_windows_does_not_matter() -> None:
    windows = [window(i * 0.5, i * 0.5 + 1, i / 10, 1 - i / 10) for i in range(8)]
    assert merge_windows(windows) == merge_windows(windows[::-1])


def test_centre_weights_follow_the_equation() -> None:
    merged = merge_windows([window(0, 4, 1.0), window(1, 5, 0.0)])
    np.testing.assert_array_equal(merged.edges_seconds, [0, 1, 4, 5])
    # The middle step's centre, 2.5, is 0.5 from both middles.
    np.testing.assert_allclose(merged.scores[:, 0], [1, 0.5, 0])
    uneven = merge_windows([window(0, 4, 1.0), window(1, 3, 0.0)])
    # Step [1, 3): centre 2 is the middle of both.  Steps beside it see the long window only.
    np.testing.assert_allclose(uneven.scores[:, 0], [1, 0.5, 1])
    shifted = merge_windows([window(0, 4, 1.0), window(2, 6, 0.0), window(3, 7, 0.0)])
    # Step [2, 3): centre 2.5; weights 1 - 0.5 / 2 = 0.75 and 1 - 1.5 / 2 = 0.25.
    assert shifted.scores[1, 0] == pytest.approx(0.75)


def test_uniform_weights_are_a_plain_mean() -> None:
    merged = merge_windows(
        [window(0, 4, 1.0), window(2, 6, 0.0), window(3, 7, 0.0)], weighting="uniform"
    )
    np.testing.assert_allclose(merged.scores[:, 0], [1, 1 / 2, 1 / 3, 0, 0])


def test_bounds_that_differ_by_rounding_are_one_edge() -> None:
    windows = [window(i * 0.1, i * 0.1 + 0.3, 0.5) for i in range(10)]
    assert len(merge_windows(windows).edges_seconds) == 13
    assert np.diff(merge_windows(windows).edges_seconds).min() > 0.09


def test_given_edges_are_kept() -> None:
    merged = merge_windows([window(0, 4, 0.25)], np.array([0.0, 1.0, 2.5, 4.0]))
    np.testing.assert_array_equal(merged.edges_seconds, [0, 1, 2.5, 4])
    assert (merged.scores == 0.25).all()


def test_time_that_no_window_covers_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"no window covers 1\.500 s"):
        merge_windows([window(0, 1, 0.5), window(2, 3, 0.5)])
    with pytest.raises(ShapeError, match="no windows"):
        merge_windows([])


def test_one_known_event_gives_one_segment_with_exact_times() -> None:
    stride = 1001 / 3000
    windows = [
        window(i * stride, (i + 1) * stride, 0.75 if 3 <= i < 7 else 0.25) for i in range(12)
    ]
    merged = merge_windows(windows)
    found = segments_from_timeline(
        merged, LabelSet(("event",)), np.array([0.5], np.float32), SegmentConfig()
    )
    assert found == [Segment("event", 3 * stride, 7 * stride, 0.75)]


def test_event_seen_by_overlapping_windows_is_one_segment() -> None:
    windows = [window(i * 0.5, i * 0.5 + 1, float(4 <= i < 9)) for i in range(20)]
    found = segments_from_timeline(
        merge_windows(windows), LabelSet(("event",)), np.array([0.75], np.float32), SegmentConfig()
    )
    # Steps covered by event windows only: from 2.5 (window 3 ends) to 4.5 (window 9 starts).
    assert found == [Segment("event", 2.5, 4.5, 1.0)]


def test_no_score_at_the_threshold_gives_no_segment() -> None:
    assert segments([[0.4], [0.49]]) == []


def test_score_equal_to_the_threshold_counts() -> None:
    assert segments([[0.7]], threshold=0.7) == [Segment("a", 0.0, 1.0, float(np.float32(0.7)))]


def test_one_threshold_replaces_those_of_the_model() -> None:
    config = SegmentConfig(threshold=0.2, max_gap_seconds=0)
    assert len(segments([[0.3], [0.1]], config, threshold=0.9)) == 1


def test_gaps_up_to_the_limit_are_closed_and_count_in_the_score() -> None:
    scores = [[1.0], [0.25], [1.0], [0.0], [0.0], [1.0]]
    found = segments(scores, SegmentConfig(max_gap_seconds=1.0))
    assert found == [Segment("a", 0.0, 3.0, 0.75), Segment("a", 5.0, 6.0, 1.0)]
    assert segments(scores, SegmentConfig(max_gap_seconds=2.0)) == [
        Segment("a", 0.0, 6.0, 3.25 / 6)
    ]


def test_short_segments_are_dropped_after_gaps_are_closed() -> None:
    scores = [[1.0], [0.0], [1.0], [0.0], [0.0], [0.0], [1.0]]
    config = SegmentConfig(max_gap_seconds=1.0, min_duration_seconds=2.0)
    assert [(s.start_seconds, s.end_seconds) for s in segments(scores, config)] == [(0, 3)]


def test_duration_equal_to_the_minimum_is_kept() -> None:
    tenths = Timeline(np.cumsum([0.0] + [0.1] * 6), np.array([[0], [1], [1], [1], [0], [0]]))
    config = SegmentConfig(max_gap_seconds=0, min_duration_seconds=0.3)
    thresholds = np.array([0.5], np.float32)
    assert len(segments_from_timeline(tenths, LabelSet(("a",)), thresholds, config)) == 1


def test_score_is_weighted_by_time() -> None:
    uneven = Timeline(np.array([0.0, 1.0, 4.0]), np.array([[1.0], [0.5]]))
    (found,) = segments_from_timeline(
        uneven, LabelSet(("a",)), np.array([0.5], np.float32), NO_CLOSING
    )
    assert found.score == 0.625


def test_labels_overlap_in_a_multi_label_model_and_are_sorted_by_start() -> None:
    found = segments([[0.0, 0.9], [0.9, 0.9], [0.9, 0.0]])
    assert [(s.label, s.start_seconds, s.end_seconds) for s in found] == [("b", 0, 2), ("a", 1, 3)]


def test_single_label_keeps_the_highest_only_and_never_overlaps() -> None:
    scores = [[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]]
    found = segments(scores, SegmentConfig(max_gap_seconds=5), threshold=0.3, single_label=True)
    assert [(s.label, s.start_seconds, s.end_seconds) for s in found] == [
        ("a", 0, 1),
        ("b", 1, 2),
        ("a", 2, 3),
    ]


def test_single_label_closes_gaps_that_no_label_fills() -> None:
    scores = [[0.6, 0.1], [0.2, 0.1], [0.6, 0.1]]
    (found,) = segments(scores, SegmentConfig(max_gap_seconds=5), threshold=0.5, single_label=True)
    assert (found.start_seconds, found.end_seconds) == (0, 3)


def test_wrong_number_of_thresholds_is_an_error() -> None:
    with pytest.raises(ShapeError, match="2 labels with 2 names and thresholds"):
        segments_from_timeline(
            timeline([[0.5, 0.5]]), LabelSet(("a", "b")), np.array([0.5], np.float32), NO_CLOSING
        )


def unknown_timeline(*flags: bool) -> Timeline:
    scores = np.full((len(flags), 2), 0.9, dtype=np.float32)
    return Timeline(np.arange(len(flags) + 1.0), scores, np.array(flags))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NO_CLOSING, [(0.0, 1.0), (3.0, 4.0)]),
        (replace(NO_CLOSING, max_gap_seconds=5.0), [(0.0, 1.0), (3.0, 4.0)]),
        (replace(NO_CLOSING, ood="report"), [(0.0, 4.0)]),
    ],
)
def test_unknown_time_is_in_no_segment_unless_asked_for(
    config: SegmentConfig, expected: list[tuple[float, float]]
) -> None:
    found = segments_from_timeline(
        unknown_timeline(False, True, True, False),
        LabelSet(("a", "b")),
        np.array([0.5, 1.0], dtype=np.float32),
        config,
    )
    assert [(item.start_seconds, item.end_seconds) for item in found] == expected


def test_label_without_evidence_is_in_no_segment_unless_asked_for() -> None:
    labels, thresholds = LabelSet(("a", "b")), np.full(2, 0.5, dtype=np.float32)
    plain = unknown_timeline(False, False)

    def names(config: SegmentConfig) -> list[str]:
        found = segments_from_timeline(plain, labels, thresholds, config, unproven={"a": "why"})
        return [item.label for item in found]

    assert names(NO_CLOSING) == ["b"]
    assert names(replace(NO_CLOSING, include_weak=True)) == ["a", "b"]


def test_distances_are_merged_as_scores_are() -> None:
    near, far = (
        replace(window(start, start + 2.0, 0.5), distance=value)
        for start, value in ((0.0, 0.1), (1.0, 0.5))
    )
    merged = merge_windows([near, far], limit=0.25)
    # Alone, both halves of the second step's weight, alone.
    assert merged.is_unknown is not None
    assert merged.is_unknown.tolist() == [False, True, True]
    assert merged.unknown_intervals == [(1.0, 3.0)]
    assert merged.unknown_share == pytest.approx(2 / 3)
    assert merge_windows([near, far]).is_unknown is None


def with_borders(
    scores: list[list[float]],
    *,
    threshold: float = 0.5,
    reach_seconds: float = 3.0,
    single_label: bool = False,
    flags: list[bool] | None = None,
) -> list[tuple[str, float, float]]:
    is_unknown = None if flags is None else np.array(flags)
    steps = replace(timeline(scores), is_unknown=is_unknown)
    names = tuple("abcdef"[: len(scores[0])])
    found = segments_from_timeline(
        steps,
        LabelSet(names),
        np.full(len(names), threshold, dtype=np.float32),
        NO_CLOSING,
        reach_seconds=reach_seconds,
        single_label=single_label,
    )
    return [(s.label, s.start_seconds, s.end_seconds) for s in found]


@pytest.mark.parametrize("border", [2.3, 4.0, 5.55])
@pytest.mark.parametrize("threshold", [0.06, 0.5, 0.94])
@pytest.mark.parametrize("is_end", [False, True])
def test_border_seen_by_overlapping_windows_is_found_whatever_the_threshold(
    border: float, threshold: float, is_end: bool
) -> None:
    starts = np.arange(0, 6.01, 0.25)
    shares = np.clip(starts + 2 - border, 0, 2) / 2  # of each window that lies behind the border
    shares = 1 - shares if is_end else shares
    windows = [window(s, s + 2, share) for s, share in zip(starts, shares.tolist(), strict=True)]
    (found,) = segments_from_timeline(
        merge_windows(windows),
        LabelSet(("a",)),
        np.array([threshold], np.float32),
        NO_CLOSING,
        reach_seconds=3.0,
    )
    expected = (0.0, border) if is_end else (border, 8.0)
    assert (found.start_seconds, found.end_seconds) == pytest.approx(expected, abs=0.02)


def test_border_lies_half_way_between_the_levels_of_both_sides() -> None:
    # 0.2 to 0.6 to 1.0: half way is in the middle of the third step, whatever the threshold.
    scores = [[0.2], [0.2], [0.6], [1.0], [1.0]]
    for threshold in (0.3, 0.9):
        assert with_borders(scores, threshold=threshold) == [("a", pytest.approx(2.5), 5.0)]


@pytest.mark.parametrize(
    ("scores", "flags", "expected"),
    [
        ([[0.9], [0.9]], None, [("a", 0.0, 2.0)]),
        ([[0.1], [0.9], [0.1]], [True, False, False], [("a", 1.0, 2.0)]),
        ([[0.1], [0.9], [0.1]], [False, False, True], [("a", 1.0, 2.0)]),
    ],
)
def test_borders_stay_at_ends_of_the_video_and_at_unknown_time(
    scores: list[list[float]], flags: list[bool] | None, expected: list[tuple[str, float, float]]
) -> None:
    assert with_borders(scores, flags=flags) == expected


def test_levels_out_of_reach_move_no_border() -> None:
    scores = [[0.4], [0.4], [0.4], [0.6], [0.6], [1.0]]
    assert with_borders(scores, reach_seconds=1.0) == [("a", 3.0, 6.0)]
    assert with_borders(scores, reach_seconds=3.0) == [("a", pytest.approx(4.75), 6.0)]


def test_labels_that_exclude_each_other_share_the_edge_of_a_step() -> None:
    scores = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    found = with_borders(scores, threshold=0.3, single_label=True)
    assert found == [("a", 0.0, 2.0), ("b", 2.0, 3.0)]


@settings(max_examples=200)
@given(
    scores=st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.6, 1.0]), min_size=2, max_size=2),
        min_size=1,
        max_size=14,
    ),
    reach=st.floats(0, 6),
    single=st.booleans(),
)
def test_moved_borders_keep_number_and_order_of_segments(
    scores: list[list[float]], reach: float, single: bool
) -> None:
    before = with_borders(scores, reach_seconds=0, single_label=single)
    after = with_borders(scores, reach_seconds=reach, single_label=single)
    assert len(before) == len(after)
    for label in "ab":
        own = [(start, end) for name, start, end in after if name == label]
        assert all(start < end for start, end in own)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(own))
    if single:
        bounds = sorted((start, end) for _, start, end in after)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(bounds))
