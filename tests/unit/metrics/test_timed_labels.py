from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ShapeError
from msqnet.metrics.timed_labels import (
    SEGMENT_MAP_OVERLAPS,
    TimedLabel,
    boundary_errors,
    edit_score,
    per_second_metrics,
    per_second_scores,
    per_second_targets,
    point_targets,
    segment_average_precision,
    segment_metrics,
    segmental_f1,
    without_masked,
)

UNKNOWN = -100


def timed(start, end, *, label=0, score=1.0, video="v"):
    return TimedLabel(video, label, start, end, score)


def one_label_ap(predictions, truths, min_overlap=0.5, unknown=()):
    kept = without_masked(predictions, unknown)
    (value,) = segment_average_precision(kept, truths, num_labels=1, min_overlap=min_overlap)
    return value


def one_label_f1(predictions, truths, min_overlap=0.5, unknown=()):
    kept = without_masked(predictions, unknown)
    return segmental_f1(kept, truths, num_labels=1, min_overlap=min_overlap)[0]


def test_overlap_share_of_half_open_intervals():
    assert timed(0, 10).overlap_share(timed(5, 15)) == pytest.approx(1 / 3)
    assert timed(0, 10).overlap_share(timed(10, 20)) == 0
    assert timed(0, 10).overlap_share(timed(0, 10)) == 1


@pytest.mark.parametrize("times", [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_a_segment_that_does_not_end_after_its_start_is_refused(times):
    with pytest.raises(ShapeError, match="start_seconds < end_seconds"):
        timed(*times)


def test_known_event_found_at_share_0_5_counts_up_to_that_overlap():
    result = segment_metrics([timed(0, 5, score=0.9)], [timed(0, 10)], num_labels=1)
    assert result["map_at"] == {
        "0.1": 1, "0.2": 1, "0.3": 1, "0.4": 1, "0.5": 1, "0.6": 0, "0.7": 0
    }  # fmt: skip
    assert result["mean_map"] == pytest.approx(5 / 7)
    assert result["f1_at"] == {"10": 1, "25": 1, "50": 1}
    assert (result["num_truths"], result["num_predictions"], result["num_masked"]) == (1, 1, 0)
    assert result["num_labels_scored"] == 1


@pytest.mark.parametrize("overlap", SEGMENT_MAP_OVERLAPS)
def test_an_overlap_of_exactly_the_bound_is_a_hit(overlap):
    truth, prediction = timed(0.3, 1.3), timed(0.3, 0.3 + overlap)
    assert one_label_ap([prediction], [truth], overlap) == 1


def test_average_precision_by_hand():
    truths = [timed(0, 10), timed(20, 30), timed(40, 50)]
    predictions = [
        timed(0, 10, score=0.9),  # hit, precision 1/1
        timed(60, 70, score=0.8),  # false alarm
        timed(20, 30, score=0.7),  # hit, precision 2/3
    ]
    assert one_label_ap(predictions, truths) == pytest.approx((1 + 2 / 3) / 3)
    assert one_label_f1(predictions, truths) == pytest.approx(2 * 2 / (3 + 3))


def test_each_truth_is_matched_once_by_the_better_score():
    truths = [timed(0, 10)]
    predictions = [timed(0, 10, score=0.5), timed(0, 9, score=0.9)]
    assert one_label_ap(predictions, truths) == 1
    assert one_label_ap(predictions, [*truths, timed(20, 30)]) == pytest.approx(1 / 2)
    assert one_label_f1(predictions, truths) == pytest.approx(2 / 3)


def test_a_prediction_takes_the_free_truth_that_it_overlaps_most():
    truths = [timed(0, 10), timed(10, 20)]
    predictions = [timed(0, 20, score=0.9), timed(0, 10, score=0.8)]
    assert one_label_ap(predictions, truths, 0.5) == pytest.approx(1 / 2)
    assert one_label_ap([predictions[1], timed(2, 18, score=0.5)], truths, 0.4) == pytest.approx(1)


def test_splitting_one_action_into_pieces_costs():
    pieces = [timed(second, second + 1) for second in range(10)]
    assert one_label_f1(pieces, [timed(0, 10)], 0.1) == pytest.approx(2 * 1 / 11)
    assert one_label_f1([timed(0, 10)], [timed(0, 10)], 0.1) == 1


def test_videos_and_labels_are_never_mixed():
    truths = [timed(0, 10), timed(0, 10, label=1, video="w")]
    predictions = [timed(0, 10, label=1), timed(0, 10, video="w")]
    values = segment_average_precision(predictions, truths, num_labels=2, min_overlap=0.1)
    assert values.tolist() == [0, 0]
    micro, per_label = segmental_f1(predictions, truths, num_labels=2, min_overlap=0.1)
    assert (micro, per_label.tolist()) == (0, [0, 0])


def test_label_without_a_true_segment_is_nan_and_out_of_the_mean():
    predictions = [timed(0, 10), timed(0, 10, label=1)]
    values = segment_average_precision(predictions, [timed(0, 10)], num_labels=3, min_overlap=0.5)
    assert values[0] == 1
    assert np.isnan(values[1:]).all()
    micro, per_label = segmental_f1(predictions, [timed(0, 10)], num_labels=3, min_overlap=0.5)
    assert per_label[0] == 1
    assert np.isnan(per_label[1:]).all()
    assert micro == pytest.approx(2 / 3)


def test_no_prediction_scores_zero_and_no_truth_is_nan():
    assert one_label_ap([], [timed(0, 1)]) == 0
    assert one_label_f1([], [timed(0, 1)]) == 0
    assert np.isnan(one_label_ap([timed(0, 1)], []))
    assert np.isnan(one_label_f1([timed(0, 1)], []))


def test_predictions_mostly_in_unannotated_spans_are_left_out():
    truths = [timed(0, 10)]
    unknown = [timed(20, 26), timed(24, 30), timed(0, 100, video="w")]
    masked, half, known = timed(20, 30), timed(25, 35), timed(28, 38)
    assert without_masked([masked, half, known], unknown) == [half, known]
    assert without_masked([timed(0, 5, label=1)], unknown) == [timed(0, 5, label=1)]
    assert one_label_f1([timed(0, 10), masked], truths, unknown=unknown) == 1
    best_is_masked = [timed(0, 10, score=0.5), timed(20, 30, score=0.9)]
    assert one_label_ap(best_is_masked, truths) == pytest.approx(1 / 2)
    assert one_label_ap(best_is_masked, truths, unknown=unknown) == 1
    result = segment_metrics([timed(0, 10), masked], truths, unknown, num_labels=1)
    assert (result["num_predictions"], result["num_masked"]) == (1, 1)


def test_spans_that_contain_one_another_are_counted_once():
    unknown = [timed(0, 10), timed(2, 3), timed(12, 13)]
    assert without_masked([timed(6, 14)], unknown) == []
    assert without_masked([timed(7, 17)], unknown) == [timed(7, 17)]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30)
def test_order_of_segments_never_matters(seed):
    generator = np.random.default_rng(seed)

    def some(num):
        starts = generator.integers(0, 30, num)
        return [
            timed(
                int(start),
                int(start + generator.integers(1, 9)),
                label=int(generator.integers(2)),
                score=float(generator.integers(1, 5)) / 4,
            )
            for start in starts
        ]

    predictions, truths = some(12), some(8)
    plain = segment_metrics(predictions, truths, num_labels=2)
    generator.shuffle(predictions)
    generator.shuffle(truths)
    assert segment_metrics(predictions, truths, num_labels=2) == plain
    assert all(0 <= value <= 1 for value in (*plain["map_at"].values(), *plain["f1_at"].values()))
    falling = list(plain["f1_at"].values())
    assert falling == sorted(falling, reverse=True)


def test_truth_as_prediction_is_perfect():
    truths = [timed(0, 2), timed(1, 3), timed(5, 6, label=1), timed(0, 1, video="w")]
    result = segment_metrics(truths, truths, num_labels=2)
    assert set(result["map_at"].values()) == {1}
    assert set(result["f1_at"].values()) == {1}


def test_label_index_out_of_range_is_refused():
    for arguments in (([timed(0, 1, label=3)], []), ([], [timed(0, 1, label=-1)])):
        with pytest.raises(ShapeError, match="expected 0 to 1"):
            segment_average_precision(*arguments, num_labels=2, min_overlap=0.5)
        with pytest.raises(ShapeError, match="expected 0 to 1"):
            segmental_f1(*arguments, num_labels=2, min_overlap=0.5)


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


def test_per_second_metrics_of_a_known_event():
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
    assert result["label_ap"][[0, 2]].tolist() == [1, 1]
    assert np.isnan(result["label_ap"][1])
    assert result["macro_map"] == 1
    assert result["macro_f1"] == pytest.approx((0.8 + 1) / 2)
    assert (result["num_known_seconds"], result["num_labels_scored"]) == (5, 2)


def test_errors_of_borders_start_and_end_apart():
    truths = [timed(10, 20), timed(30, 40), timed(10, 20, label=1)]
    predictions = [timed(9, 20.5), timed(33, 40), timed(10, 20, label=1)]
    result = boundary_errors(predictions, truths)
    assert result["start"] == {"median": 1.0, "percentile_90": pytest.approx(2.6), "number": 3}
    assert result["end"] == {"median": 0.0, "percentile_90": pytest.approx(0.4), "number": 3}
    assert result["both"]["number"] == 6
    assert [result[f"num_{name}"] for name in ("missed", "spurious", "split", "joined")] == [0] * 4


def test_borders_of_the_video_and_of_the_annotation_have_no_error():
    truths = [timed(0, 8), timed(20, 30)]
    predictions = [timed(1, 9), timed(21, 28)]
    result = boundary_errors(predictions, truths, [timed(8, 20)], {"v": 30})
    assert result["both"]["number"] == 0
    assert np.isnan(result["both"]["median"])
    other = boundary_errors(predictions, truths, [timed(8, 20, label=1)], {"w": 30})
    assert (other["start"]["number"], other["end"]["number"]) == (1, 2)


def test_segments_without_a_partner_of_their_own_are_counted():
    truths = [timed(0, 10), timed(20, 30), timed(40, 44), timed(45, 50)]
    predictions = [timed(1, 4), timed(5, 9), timed(12, 14), timed(40, 50), timed(0, 9, video="w")]
    result = boundary_errors(predictions, truths)
    assert (result["num_missed"], result["num_spurious"]) == (1, 2)
    assert (result["num_split"], result["num_joined"]) == (1, 1)
    # The larger overlap of each makes the pair: 5 to 9 with 0 to 10, 40 to 50 with 45 to 50.
    assert result["end"]["median"] == pytest.approx(0.5)


def test_errors_of_borders_need_no_truth_and_no_prediction():
    assert boundary_errors([], [timed(0, 1)])["num_missed"] == 1
    assert boundary_errors([timed(0, 1)], [])["num_spurious"] == 1
    assert boundary_errors([], [])["both"]["number"] == 0


def test_edit_score_counts_labels_in_order_not_times():
    truths = [timed(0, 1), timed(1, 2, label=1), timed(2, 3)]
    later = [timed(4, 5), timed(6, 7, label=1), timed(8, 9)]
    assert edit_score(later, truths) == 1
    # One of three is missing, and a fourth is too many: the longer side is the measure.
    assert edit_score(truths[:2], truths) == pytest.approx(2 / 3)
    assert edit_score([*truths, timed(3, 4, label=1)], truths) == pytest.approx(3 / 4)
    assert edit_score([timed(0, 1, label=1)], [timed(0, 1)]) == 0
    # A second video without a true segment, in which one is predicted, counts as much as the first.
    assert edit_score([*truths, timed(0, 1, video="w")], truths) == pytest.approx(1 / 2)
    assert np.isnan(edit_score([], []))


def test_moments_take_their_truth():
    times = [0.5, 1.0, 1.99, 2.0, 9.0]
    truths, unknown = [timed(1, 2, label=1)], [timed(1.5, 3, label=1), timed(3, 10)]
    assert point_targets(truths, unknown, times, num_labels=2).tolist() == [
        [0, 0], [0, 1], [0, 1], [0, UNKNOWN], [UNKNOWN, 0]
    ]  # fmt: skip
