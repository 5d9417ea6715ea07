"""Counts of labels, and the weights and priors that losses take from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from msqnet.model.losses import LabelCounts
from tests.unit.training.test_losses import counts_of

TARGETS = np.array([[1, 0, 0, -100]] + [[0, 1, 0, -100]] * 3 + [[0, 1, -100, 0]] * 9, np.float32)


def test_rows_where_a_label_is_unknown_count_for_neither() -> None:
    counts = LabelCounts.of(TARGETS)
    assert counts.positives.tolist() == [1, 12, 0, 0]
    assert counts.negatives.tolist() == [12, 1, 4, 9]


def test_share_is_over_the_known_rows() -> None:
    shares = counts_of([1, 3, 0], [3, 0, 0]).shares
    assert shares.tolist() == [0.25, 1.0, 0.0]


def test_positives_weigh_negatives_over_positives_within_bounds() -> None:
    assert LabelCounts.of(TARGETS).positive_weight(10.0).tolist() == [10.0, 1.0, 4.0, 9.0]
    assert LabelCounts.of(TARGETS[:4]).positive_weight(10.0).tolist()[:2] == [3.0, 1.0]


def test_effective_number_weight_equals_the_paper_by_a_loop() -> None:
    positives = [1, 20, 3000]
    found = counts_of(positives, [9, 9, 9]).effective_number_weight(0.999)
    # E_n as the sum 1 + beta + ... + beta^(n - 1) that the paper derives it from
    inverse = [1 / sum(0.999**power for power in range(num)) for num in positives]
    expected = [len(positives) * value / sum(inverse) for value in inverse]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.dtype == torch.float32


def test_effective_number_goes_from_no_weight_to_the_inverse_count() -> None:
    counts = counts_of([1, 4, 100], [0, 0, 0])
    assert counts.effective_number_weight(0.0).tolist() == [1.0, 1.0, 1.0]
    weight = counts.effective_number_weight(1 - 1e-9)
    assert (weight * counts.positives).std().item() == pytest.approx(0, abs=1e-5)


def test_label_without_a_positive_row_keeps_its_weight() -> None:
    found = counts_of([0, 2, 2], [4, 2, 2]).effective_number_weight(0.9)
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert counts_of([0], [4]).effective_number_weight(0.9).tolist() == [1.0]


def test_priors_are_those_of_the_known_rows() -> None:
    counts = counts_of([1, 12, 0, 0], [3, 0, 4, 0])
    odds = [math.log(1 / 3), math.log(24), math.log(1 / 8), 0.0]
    assert counts.log_prior_odds.tolist() == pytest.approx(odds)
    prior = [0.0, math.log(12), math.log(0.5), math.log(0.5)]
    assert counts.log_prior.tolist() == pytest.approx(prior)
