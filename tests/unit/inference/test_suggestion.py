from __future__ import annotations

import numpy as np
import pytest

from msqnet.errors import ShapeError
from msqnet.inference.suggestion import choose, label_uncertainty

# Three directions; the mean of all is 0.
EAST, WEST = [1.0, 0.0], [-1.0, 0.0]
NORTH, SOUTH = [0.0, 1.0], [0.0, -1.0]
COMPASS = np.array([EAST, EAST, WEST, NORTH, SOUTH, WEST], np.float32)


def test_a_coin_is_one_bit_and_certainty_none() -> None:
    scores = np.array([[0.5, 0.5], [0.0, 1.0], [0.5, 1.0]], np.float32)

    assert label_uncertainty(scores) == pytest.approx([1.0, 0.0, 0.5])


def test_uncertainty_of_a_softmax_is_the_entropy_of_its_one_label() -> None:
    scores = np.array([[0.25] * 4, [1.0, 0.0, 0.0, 0.0]], np.float32)

    assert label_uncertainty(scores, single_label=True) == pytest.approx([2.0, 0.0])


@pytest.mark.parametrize("scores", [[0.5, 0.5], [[1.5]], [[-0.1]]])
def test_what_are_no_scores_is_refused(scores: list[float]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        label_uncertainty(np.array(scores, np.float32))


def test_a_twin_of_a_chosen_window_comes_last() -> None:
    uncertainty = np.array([0.9, 0.8, 0.3, 0.5, 0.4, 0.2])

    chosen = choose(uncertainty, COMPASS, 6)

    # East first. Its opposite west counts twice (0.6), north and south once (0.5, 0.4); then the
    # twins are at no distance, and come in the order of their places.
    assert chosen == [0, 2, 3, 4, 1, 5]


def test_what_is_known_is_kept_away_from() -> None:
    uncertainty = np.array([1.0, 1.0, 0.9, 0.2])
    values = np.array([EAST, EAST, WEST, NORTH], np.float32)

    chosen = choose(uncertainty, values, 2, known=np.array([EAST, SOUTH, WEST], np.float32))

    # Of the mean over all, which lies at the origin but for a little, only north is far.
    assert chosen[0] == 3


def test_of_equal_uncertainty_the_farthest_are_taken() -> None:
    chosen = choose(np.ones(6), COMPASS, 4)

    assert sorted(map(tuple, COMPASS[chosen].tolist())) == sorted(
        map(tuple, [EAST, WEST, NORTH, SOUTH])
    )


def test_no_more_windows_are_chosen_than_there_are() -> None:
    assert sorted(choose(np.ones(6), COMPASS, 50)) == list(range(6))


@pytest.mark.parametrize(("num", "rows"), [(0, 6), (2, 5)])
def test_arrays_that_do_not_fit_are_refused(num: int, rows: int) -> None:
    with pytest.raises(ShapeError, match="at least 1"):
        choose(np.ones(rows), COMPASS, num)
