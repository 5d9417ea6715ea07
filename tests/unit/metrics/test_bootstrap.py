from __future__ import annotations

import numpy as np
import pytest

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import average_precision, macro_map, micro_average_precision
from msqnet.metrics.bootstrap import (
    bootstrap,
    macro_map_statistic,
    micro_ap_statistic,
    paired_bootstrap,
    resampled_weights,
)

NUM_ROWS = 80
CLIPS = [f"clip{row // 4}" for row in range(NUM_ROWS)]


def random_set(seed: int = 0):
    generator = np.random.default_rng(seed)
    targets = (generator.random((NUM_ROWS, 4)) < 0.3).astype(np.float64)
    scores = np.round(generator.random(targets.shape) * 0.6 + 0.3 * targets, 2)
    targets[generator.random(targets.shape) < 0.2] = -100
    return scores, targets


def all_weights(groups, **settings):
    return np.concatenate(list(resampled_weights(groups, **settings)))


def test_windows_of_one_clip_are_drawn_together():
    weights = all_weights(CLIPS, num_resamples=50).reshape(50, 20, 4)
    assert (weights == weights[:, :, :1]).all()
    assert (weights[:, :, 0].sum(axis=1) == 20).all()


def test_every_clip_is_drawn_once_on_average():
    weights = all_weights(CLIPS, num_resamples=4000)
    # The count of one clip has variance 1 - 1/20; five standard errors of 4000 draws are 0.08.
    assert weights.mean(axis=0) == pytest.approx(np.ones(NUM_ROWS), abs=0.08)


def test_same_seed_draws_the_same_and_another_seed_does_not():
    first = all_weights(CLIPS, num_resamples=5, seed=3)
    assert np.array_equal(first, all_weights(CLIPS, num_resamples=5, seed=3))
    assert not np.array_equal(first, all_weights(CLIPS, num_resamples=5, seed=4))


def test_size_of_parts_does_not_change_what_is_drawn(monkeypatch):
    at_once = all_weights(CLIPS, num_resamples=7)
    monkeypatch.setattr("msqnet.metrics.bootstrap._NUM_WEIGHTS_AT_ONCE", 2 * NUM_ROWS)
    parts = list(resampled_weights(CLIPS, num_resamples=7))
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert np.array_equal(np.concatenate(parts), at_once)


def test_estimate_is_the_figure_of_all_rows_and_lies_in_the_interval():
    scores, targets = random_set()
    macro = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=300)
    assert macro.estimate[0] == pytest.approx(macro_map(average_precision(scores, targets)))
    assert macro.low[0] < macro.estimate[0] < macro.high[0]
    assert macro.num_defined.tolist() == [300]
    micro = bootstrap(micro_ap_statistic(scores, targets), CLIPS, num_resamples=300)
    assert micro.estimate[0] == pytest.approx(micro_average_precision(scores, targets))
    assert micro.low[0] < micro.estimate[0] < micro.high[0]


def test_samples_equal_figures_of_copied_rows():
    scores, targets = random_set()
    result = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=5, seed=1)
    for weights, sample in zip(
        all_weights(CLIPS, num_resamples=5, seed=1), result.samples, strict=True
    ):
        rows = np.repeat(np.arange(NUM_ROWS), weights.astype(int))
        expected = macro_map(average_precision(scores[rows], targets[rows]))
        assert sample[0] == pytest.approx(expected, abs=1e-12)


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(size=400)
    result = bootstrap(
        lambda weights: weights @ values / weights.sum(axis=1),
        np.arange(400),
        num_resamples=4000,
    )
    half = 1.96 * values.std() / np.sqrt(400)
    # Monte Carlo error of a 2.5 % quantile of 4000 resamples: about 4 % of the half width.
    assert result.high[0] - values.mean() == pytest.approx(half, rel=0.12)
    assert values.mean() - result.low[0] == pytest.approx(half, rel=0.12)


def test_order_of_rows_does_not_change_the_interval():
    scores, targets = random_set()
    order = np.random.default_rng(5).permutation(NUM_ROWS)
    plain = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=50)
    shuffled = bootstrap(
        macro_map_statistic(scores[order], targets[order]),
        [CLIPS[row] for row in order],
        num_resamples=50,
    )
    assert shuffled.samples == pytest.approx(plain.samples, abs=1e-12)


def test_a_figure_that_is_never_defined_has_no_interval():
    statistic = macro_map_statistic([[0.1], [0.2]], [[0], [0]])
    result = bootstrap(statistic, ["a", "b"], num_resamples=10)
    assert np.isnan([result.estimate[0], result.low[0], result.high[0]]).all()
    assert result.num_defined.tolist() == [0]


def test_resamples_without_a_positive_are_counted_as_undefined():
    statistic = macro_map_statistic([[0.9], [0.2], [0.1]], [[1], [0], [0]])
    result = bootstrap(statistic, ["a", "b", "c"], num_resamples=500)
    assert 0 < result.num_defined[0] < 500
    assert (result.low[0], result.high[0]) == (1, 1)


def test_paired_difference_of_equal_scorers_is_zero():
    scores, targets = random_set()
    result = paired_bootstrap(scores, scores, targets, CLIPS, num_resamples=50)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert result.share_not_better == 1


def test_paired_bootstrap_sees_a_small_difference_that_single_intervals_hide():
    scores, targets = random_set()
    better = np.where(targets == 1, scores + 0.06, scores)
    result = paired_bootstrap(better, scores, targets, CLIPS, num_resamples=500)
    single = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=500)
    assert result.figure_a < single.high[0]
    assert result.low > 0
    assert result.share_not_better == 0
    assert result.mean_difference == pytest.approx(result.difference, abs=0.03)


def test_paired_bootstrap_turns_its_sign_with_its_arguments():
    scores, targets = random_set()
    other, _ = random_set(1)
    forth = paired_bootstrap(scores, other, targets, CLIPS, num_resamples=50)
    back = paired_bootstrap(other, scores, targets, CLIPS, num_resamples=50)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.difference == -back.difference


def test_paired_bootstrap_compares_selected_labels_and_other_figures():
    scores, targets = random_set()
    better = scores.copy()
    better[:, 0] = targets[:, 0] == 1
    kept_out = paired_bootstrap(
        better, scores, targets, CLIPS, select=[False, True, True, True], num_resamples=20
    )
    assert kept_out.difference == 0
    micro = paired_bootstrap(
        better, scores, targets, CLIPS, num_resamples=20, make_statistic=micro_ap_statistic
    )
    assert micro.figure_a == pytest.approx(micro_average_precision(better, targets))


def test_paired_bootstrap_without_any_defined_figure_says_so():
    result = paired_bootstrap([[0.1]], [[0.2]], [[1]], ["a"], num_resamples=3)
    assert result.num_defined == 0
    assert np.isnan([result.mean_difference, result.low, result.share_not_better]).all()


@pytest.mark.parametrize(("groups", "num_resamples"), [([], 10), (["a"], 0), ([["a"]], 10)])
def test_nothing_to_draw_is_an_error(groups, num_resamples):
    with pytest.raises(ShapeError, match="at least 1"):
        list(resampled_weights(groups, num_resamples=num_resamples))
