from __future__ import annotations

import numpy as np
import pytest

from msqnet.errors import ShapeError
from msqnet.metrics.average_precision import (
    average_precision,
    known_cells,
    label_average_precisions,
    macro_map,
    mean_over_labels,
)
from msqnet.metrics.bootstrap import bootstrap, percentile_interval, resampled_weights

NUM_ROWS = 80
CLIPS = [f"clip{row // 4}" for row in range(NUM_ROWS)]


def random_set(seed: int = 0):
    generator = np.random.default_rng(seed)
    targets = (generator.random((NUM_ROWS, 4)) < 0.3).astype(np.float64)
    scores = np.round(generator.random(targets.shape) * 0.6 + 0.3 * targets, 2)
    targets[generator.random(targets.shape) < 0.2] = -100
    return scores, targets


def macro_map_statistic(scores, targets):
    cells = known_cells(scores, targets)
    every = np.ones(cells.scores.shape[1], bool)
    return lambda weights: mean_over_labels(label_average_precisions(cells, weights), every)[
        :, None
    ]


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


def test_estimate_is_the_metric_of_all_rows_and_lies_in_the_interval():
    scores, targets = random_set()
    found = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=300)
    (estimate,), (low,), (high,) = found
    assert estimate == pytest.approx(macro_map(average_precision(scores, targets)))
    assert low < estimate < high


def test_resamples_equal_metrics_of_copied_rows():
    scores, targets = random_set()
    statistic = macro_map_statistic(scores, targets)
    drawn = all_weights(CLIPS, num_resamples=5, seed=1)
    for weights, sample in zip(drawn, statistic(drawn), strict=True):
        rows = np.repeat(np.arange(NUM_ROWS), weights.astype(int))
        expected = macro_map(average_precision(scores[rows], targets[rows]))
        assert sample[0] == pytest.approx(expected, abs=1e-12)
    _, low, high = bootstrap(statistic, CLIPS, num_resamples=5, seed=1)
    assert (low, high) == percentile_interval(statistic(drawn))


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(size=400)
    _, (low,), (high,) = bootstrap(
        lambda weights: (weights @ values / weights.sum(axis=1))[:, None],
        np.arange(400),
        num_resamples=4000,
    )
    half = 1.96 * values.std() / np.sqrt(400)
    # Monte Carlo error of a 2.5 % quantile of 4000 resamples: about 4 % of the half width.
    assert high - values.mean() == pytest.approx(half, rel=0.12)
    assert values.mean() - low == pytest.approx(half, rel=0.12)


def test_order_of_rows_does_not_change_the_interval():
    scores, targets = random_set()
    order = np.random.default_rng(5).permutation(NUM_ROWS)
    plain = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=50)
    shuffled = bootstrap(
        macro_map_statistic(scores[order], targets[order]),
        [CLIPS[row] for row in order],
        num_resamples=50,
    )
    assert np.concatenate(shuffled) == pytest.approx(np.concatenate(plain), abs=1e-12)


def test_a_metric_that_is_never_defined_has_no_interval():
    statistic = macro_map_statistic([[0.1], [0.2]], [[0], [0]])
    assert np.isnan(bootstrap(statistic, ["a", "b"], num_resamples=10)).all()


def test_resamples_without_a_positive_are_left_out():
    statistic = macro_map_statistic([[0.9], [0.2], [0.1]], [[1], [0], [0]])
    _, low, high = bootstrap(statistic, ["a", "b", "c"], num_resamples=500)
    assert (low[0], high[0]) == (1, 1)


def test_no_resamples_give_the_estimate_alone():
    scores, targets = random_set()
    found = bootstrap(macro_map_statistic(scores, targets), CLIPS, num_resamples=0)
    assert np.isnan(found).ravel().tolist() == [False, True, True]


@pytest.mark.parametrize(("groups", "num_resamples"), [([], 10), (["a"], 0), ([["a"]], 10)])
def test_nothing_to_draw_is_an_error(groups, num_resamples):
    with pytest.raises(ShapeError, match="at least 1"):
        list(resampled_weights(groups, num_resamples=num_resamples))
