from __future__ import annotations

import itertools
from collections import Counter

import pytest

from synthetic.actions import BY_NAME, LABELS
from synthetic.actors import KINDS
from synthetic.clips import ClipPlan, plan_clip
from synthetic.splits import (
    NUM_LABEL_SPLITS,
    draw_label_splits,
    hold_out_combinations,
    split_by_combination,
    split_by_kind,
    split_by_label,
    split_plainly,
)


@pytest.fixture(scope="module")
def plans() -> list[ClipPlan]:
    return [plan_clip(0, index) for index in range(2400)]


def test_every_label_and_every_pair_is_frequent_enough(plans: list[ClipPlan]) -> None:
    num_of = Counter(name for plan in plans for name in plan.labels)
    pairs = Counter(
        pair for plan in plans for pair in itertools.combinations(sorted(plan.labels), 2)
    )

    assert min(num_of[name] for name in LABELS) >= 0.05 * len(plans)
    assert max(num_of.values()) <= 0.25 * len(plans)
    assert len(pairs) == 79  # all pairs of actions of different groups
    assert min(pairs.values()) >= 15
    assert Counter(len(plan.labels) > 1 for plan in plans)[True] > 0.6 * len(plans)


def test_labels_are_independent_of_the_kind_of_actor(plans: list[ClipPlan]) -> None:
    assert Counter(plan.kind for plan in plans) == dict.fromkeys(KINDS, 600)
    for name in LABELS:
        of_kind = Counter(plan.kind for plan in plans if name in plan.labels)
        expected = sum(of_kind.values()) / 4
        assert all(abs(of_kind[kind] - expected) < 4.5 * expected**0.5 for kind in KINDS), name


def test_at_most_one_action_of_a_group(plans: list[ClipPlan]) -> None:
    for plan in plans:
        groups = [BY_NAME[name].group for name in plan.labels]
        assert groups
        assert len(set(groups)) == len(groups)


def test_held_out_kind_is_in_the_test_only(plans: list[ClipPlan]) -> None:
    splits = split_by_kind(plans, "winged")

    assert {plan.kind for plan, split in zip(plans, splits, strict=True) if split == "test"} == {
        "winged"
    }
    assert Counter(splits) == {"train": 1800, "test": 600}


def test_held_out_pairs_are_in_every_test_clip_and_in_no_train_clip(plans: list[ClipPlan]) -> None:
    pairs = hold_out_combinations(0)
    splits = split_by_combination(plans, pairs)

    assert {name for pair in pairs for name in pair} == set(LABELS)
    for plan, split in zip(plans, splits, strict=True):
        shows = any(set(pair) <= set(plan.labels) for pair in pairs)
        assert shows == (split == "test")
    for part in ("train", "test"):
        seen = Counter(
            name
            for plan, split in zip(plans, splits, strict=True)
            if split == part
            for name in plan.labels
        )
        assert min(seen[name] for name in LABELS) >= 30
    assert 0.1 < Counter(splits)["test"] / len(plans) < 0.3


def test_unseen_labels_are_in_the_test_only(plans: list[ClipPlan]) -> None:
    for labels in draw_label_splits(0):
        splits = split_by_label(plans, labels)
        in_train = {
            name
            for plan, split in zip(plans, splits, strict=True)
            if split == "train"
            for name in plan.labels
        }
        without = sum(
            split == "test" and not set(labels.unseen) & set(plan.labels)
            for plan, split in zip(plans, splits, strict=True)
        )

        assert in_train == set(labels.seen)
        assert Counter(splits)["train"] > 0.35 * len(plans)
        assert without > 0.08 * len(plans)


@pytest.mark.parametrize("seed", range(5))
def test_words_of_unseen_ways_of_moving_are_seen(seed: int) -> None:
    splits = draw_label_splits(seed)
    unseen = Counter(name for labels in splits for name in labels.unseen)

    assert len(splits) == NUM_LABEL_SPLITS
    assert all(unseen[name] == 1 for name in LABELS if not BY_NAME[name].direction)
    for labels in splits:
        assert len(labels.unseen) == 4
        assert sorted((*labels.seen, *labels.unseen)) == sorted(LABELS)
        words = {word for name in labels.seen for word in name.split()}
        moving = [name for name in labels.unseen if BY_NAME[name].direction]
        assert len(moving) == 2
        assert {word for name in moving for word in name.split()} <= words


def test_plain_split_does_not_depend_on_the_number_of_clips(plans: list[ClipPlan]) -> None:
    splits = split_plainly(plans)

    assert split_plainly(plans[:50]) == splits[:50]
    assert 0.17 < Counter(splits)["test"] / len(plans) < 0.23
