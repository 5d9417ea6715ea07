from __future__ import annotations

import numpy as np
import pytest

from msqnet.errors import ShapeError
from msqnet.metrics.softmax import fit_softmax_temperature, softmax

UNKNOWN = -100


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_the_true_factor_is_found(factor: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (3000, 4))
    chances = softmax(factor * logits)
    drawn = (chances.cumsum(axis=1) < generator.random((3000, 1))).sum(axis=1)

    found = fit_softmax_temperature(logits, np.eye(4)[drawn])

    # The standard error at 3000 rows is below 0.05.
    assert found == pytest.approx(factor, rel=0.1)


def test_logits_that_tell_nothing_lose_their_weight() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 3, (500, 3))

    assert fit_softmax_temperature(logits, np.eye(3)[generator.integers(0, 3, 500)]) < 0.1


def test_labels_that_are_not_known_do_not_compete() -> None:
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 2, (100, 3))
    targets = np.eye(3)[generator.integers(0, 2, 100)]
    logits_without, targets_without = logits[:, :2], targets[:, :2]
    targets[:, 2] = UNKNOWN

    found = fit_softmax_temperature(logits, targets)

    assert found == pytest.approx(fit_softmax_temperature(logits_without, targets_without))


def test_rows_without_exactly_one_label_teach_nothing() -> None:
    assert fit_softmax_temperature(np.ones((2, 2)), np.array([[1, 1], [0, 0]])) == 1.0


def test_strength_has_to_be_positive() -> None:
    with pytest.raises(ShapeError, match="strength 0"):
        fit_softmax_temperature(np.ones((1, 2)), np.array([[1, 0]]), strength=0)
