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


def test_of_windows_that_are_alike_the_least_certain_is_asked_about() -> None:
    uncertainty = np.array([0.3, 0.9, 0.8, 0.1, 0.2, 0.4])

    chosen = choose(uncertainty, COMPASS, 4)

    # East and west twice each come first, then north and south.
    assert set(chosen[:2]) == {1, 2}
    assert set(chosen[2:]) == {3, 4}


def test_what_is_like_labelled_windows_is_not_asked_about() -> None:
    uncertainty = np.array([1.0, 1.0, 0.9, 0.2])
    values = np.array([EAST, EAST, WEST, NORTH], np.float32)

    chosen = choose(uncertainty, values, 1, known=np.array([EAST, SOUTH, WEST], np.float32))

    assert chosen == [3]


def test_where_nothing_else_is_left_the_least_certain_come() -> None:
    assert choose(np.array([0.1, 0.9, 0.5]), np.array([EAST] * 3, np.float32), 3) == [1, 2, 0]


def test_wide_embeddings_are_told_apart_by_their_main_axes() -> None:
    generator = np.random.default_rng(0)
    kinds = generator.normal(size=(4, 500))
    values = np.repeat(kinds, 10, axis=0) + 0.05 * generator.normal(size=(40, 500))

    chosen = choose(np.ones(40), values.astype(np.float32), 4)

    assert sorted(place // 10 for place in chosen) == [0, 1, 2, 3]


def test_no_more_windows_are_chosen_than_there_are() -> None:
    assert sorted(choose(np.ones(6), COMPASS, 50)) == list(range(6))


@pytest.mark.parametrize(("num", "rows"), [(0, 6), (2, 5)])
def test_arrays_that_do_not_fit_are_refused(num: int, rows: int) -> None:
    with pytest.raises(ShapeError, match="at least 1"):
        choose(np.ones(rows), COMPASS, num)
