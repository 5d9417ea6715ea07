"""Draws of training rows, label by label."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader

from msqnet.errors import DatasetError
from msqnet.training.processes import ClassAwareSampler, FewRowsSampler

UNKNOWN = -100
# 60 rows of label 0, 12 of label 1, 4 of both, 2 of label 2, 20 of none, 2 of which nothing is
# known; label 3 has no row.
TARGETS = np.array(
    [[1, 0, 0, 0]] * 60
    + [[0, 1, 0, UNKNOWN]] * 12
    + [[1, 1, 0, 0]] * 4
    + [[UNKNOWN, UNKNOWN, 1, 0]] * 2
    + [[0, UNKNOWN, 0, 0]] * 20
    + [[UNKNOWN] * 4] * 2,
    np.float32,
)


def draws(num_epochs: int, *, seed: int = 0) -> np.ndarray:
    sampler = ClassAwareSampler(TARGETS, seed=seed)
    drawn: list[int] = []
    for epoch in range(num_epochs):
        sampler.epoch = epoch
        drawn += list(sampler)
    return np.array(drawn)


def test_an_epoch_has_as_many_draws_as_rows() -> None:
    sampler = ClassAwareSampler(TARGETS, seed=0)
    assert len(sampler) == len(list(sampler)) == len(TARGETS) == 100


def test_labels_come_up_alike_and_rows_of_one_label_alike() -> None:
    drawn = draws(400)
    counts = np.bincount(drawn, minlength=len(TARGETS)) / len(drawn)
    # Three labels with rows, and none: a quarter each, divided among the label's rows.
    expected = np.zeros(len(TARGETS))
    expected[:60] += 1 / 4 / 64
    expected[60:72] += 1 / 4 / 16
    expected[72:76] += 1 / 4 / 64 + 1 / 4 / 16
    expected[76:78] += 1 / 4 / 2
    expected[78:98] += 1 / 4 / 20
    assert expected.sum() == pytest.approx(1)
    error = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(counts - expected) <= 5 * error).all()
    assert not counts[98:].any()


def test_draws_depend_on_seed_and_epoch_and_on_nothing_else() -> None:
    first = ClassAwareSampler(TARGETS, seed=3)
    second = ClassAwareSampler(TARGETS, seed=3)
    first.epoch = second.epoch = 5
    list(second)
    expected = list(first)
    assert list(second) == expected
    second.epoch = 6
    assert list(second) != expected
    other = ClassAwareSampler(TARGETS, seed=4)
    other.epoch = 5
    assert list(other) != expected


def test_ranks_divide_the_draws_of_one_process_among_them() -> None:
    sampler = ClassAwareSampler(TARGETS, seed=0)
    sampler.epoch = 2
    expected = [rows.tolist() for rows in DataLoader(range(100), batch_size=5, sampler=sampler)]
    of_ranks = []
    for rank in range(2):
        own = ClassAwareSampler(TARGETS, seed=0)
        own.epoch = 2
        loader = prepare_data_loader(
            DataLoader(range(100), batch_size=5, sampler=own), num_processes=2, process_index=rank
        )
        of_ranks.append([rows.tolist() for rows in loader])
    assert [batch for pair in zip(*of_ranks, strict=True) for batch in pair] == expected


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_an_epoch_that_is_taken_up_again_shows_what_was_left(num_ranks: int) -> None:
    sampler = ClassAwareSampler(TARGETS, seed=0)
    loader = prepare_data_loader(
        DataLoader(range(100), batch_size=5, sampler=sampler),
        num_processes=num_ranks,
        process_index=0,
    )
    sampler.epoch = 4
    expected = [rows.tolist() for rows in loader]
    resumed = skip_first_batches(loader, 3)
    resumed.set_epoch(4)
    assert [rows.tolist() for rows in resumed] == expected[3:]


def test_rows_of_single_labels_are_drawn_as_well() -> None:
    targets = np.eye(3, dtype=np.float32)[[0] * 8 + [1, 2]]
    sampler = ClassAwareSampler(targets, seed=0)
    drawn: Counter[int] = Counter()
    for epoch in range(300):
        sampler.epoch = epoch
        drawn.update(sampler)
    # 1000 expected of each label, with a standard deviation of 26.
    assert sum(drawn[row] for row in range(8)) == pytest.approx(1000, abs=130)
    assert drawn[8] == pytest.approx(1000, abs=130)
    assert drawn[9] == pytest.approx(1000, abs=130)


def test_rows_without_any_label_are_refused() -> None:
    with pytest.raises(DatasetError, match="none of 3 rows has a label"):
        ClassAwareSampler(np.zeros((3, 2), np.float32), seed=0)


def test_few_rows_are_drawn_anew_in_each_epoch_and_never_twice_before_all_came() -> None:
    sampler = FewRowsSampler(10, 4, seed=1)
    epochs = []
    for epoch in range(30):
        sampler.epoch = epoch
        epochs.append(list(sampler))
        assert len(epochs[-1]) == len(sampler) == len(set(epochs[-1])) == 4
        assert list(sampler) == epochs[-1]
    assert {row for rows in epochs for row in rows} == set(range(10))
    more = list(FewRowsSampler(3, 8, seed=0))
    assert sorted(more[:3]) == sorted(more[3:6]) == [0, 1, 2]
    assert len(more) == 8
    assert epochs[0] != list(FewRowsSampler(10, 4, seed=2))
