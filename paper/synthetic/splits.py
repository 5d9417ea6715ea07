"""Which clips are trained on and which are tested, by what is to be new in the test."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synthetic.actions import ACTIONS, BY_NAME, LABELS
from synthetic.clips import clip_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synthetic.clips import ClipPlan

TRAIN, TEST, LEFT_OUT = "train", "test", ""
DEFAULT_HELD_OUT_KIND = "winged"
NUM_LABEL_SPLITS = 5

_GAITS = ("walking", "running", "jumping")
_TEST_SHARE = 0.2
_NUM_EXTRA_PAIRS = 4
# Streams of random numbers, beside those that draw the clips.
_PLAIN, _COMBINATIONS, _LABELS = range(100, 103)


def split_plainly(plans: Sequence[ClipPlan]) -> list[str]:
    """A fifth of the clips, drawn one by one, is the test."""
    return [TEST if _is_drawn(plan) else TRAIN for plan in plans]


def split_by_kind(plans: Sequence[ClipPlan], held_out: str) -> list[str]:
    """The clips of one kind of actor are the test."""
    return [TEST if plan.kind == held_out else TRAIN for plan in plans]


def split_by_combination(
    plans: Sequence[ClipPlan], held_out: Sequence[tuple[str, str]]
) -> list[str]:
    """The clips that show one of these pairs of actions are the test."""

    def shows(plan: ClipPlan) -> bool:
        return any(first in plan.labels and second in plan.labels for first, second in held_out)

    return [TEST if shows(plan) else TRAIN for plan in plans]


def hold_out_combinations(seed: int) -> tuple[tuple[str, str], ...]:
    """Pairs of actions of different groups, such that each action is in one pair or more.

    Every action of the body gets one partner, in turn from all other actions; some pairs without
    an action of the body are added. Each action keeps most of its partners in training.
    """
    rng = clip_rng(seed, 0, _COMBINATIONS)
    body = [action.name for action in ACTIONS if action.group == "body"]
    others = [action.name for action in ACTIONS if action.group != "body"]
    partners = itertools.cycle(rng.permutation(others).tolist())
    pairs = list(zip(body, partners, strict=False))
    rest = [
        pair
        for pair in itertools.combinations(others, 2)
        if BY_NAME[pair[0]].group != BY_NAME[pair[1]].group
    ]
    chosen = rng.choice(len(rest), _NUM_EXTRA_PAIRS, replace=False)
    return (*pairs, *(rest[index] for index in sorted(chosen.tolist())))


@dataclass(frozen=True)
class LabelSplit:
    """Labels to learn from, and labels that only their text tells.

    Attributes:
        number: Of the split.
        unseen: Labels that no clip in training shows.
    """

    number: int
    unseen: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """Labels to learn from, in order."""
        return tuple(name for name in LABELS if name not in self.unseen)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"number": self.number, "seen": list(self.seen), "unseen": list(self.unseen)}


def draw_label_splits(seed: int) -> tuple[LabelSplit, ...]:
    """Splits of the labels, each with two unseen ways of moving and two other unseen actions.

    The two ways of moving differ in gait and direction, and no two splits have the same, so that
    every word of them is in a seen label too. Each of the other actions is unseen in one split;
    the two of a split are of different groups.
    """
    rng = clip_rng(seed, 0, _LABELS)
    ways = list(itertools.permutations(_GAITS, 2))
    order = rng.permutation(len(ways))
    still = [action.name for action in ACTIONS if not action.direction]
    pairs: list[list[str]] = []
    while not pairs or any(BY_NAME[a].group == BY_NAME[b].group for a, b in pairs):
        pairs = rng.permutation(still).reshape(NUM_LABEL_SPLITS, 2).tolist()
    splits = []
    for number, pair in enumerate(pairs):
        to_left, to_right = ways[order[number]]
        chosen = {f"{to_left} to the left", f"{to_right} to the right", *pair}
        splits.append(LabelSplit(number, tuple(name for name in LABELS if name in chosen)))
    return tuple(splits)


def split_by_label(plans: Sequence[ClipPlan], labels: LabelSplit) -> list[str]:
    """All clips that show an unseen label are the test, and a fifth of the others."""
    unseen = set(labels.unseen)
    return [TEST if unseen & set(plan.labels) or _is_drawn(plan) else TRAIN for plan in plans]


def _is_drawn(plan: ClipPlan) -> bool:
    """Whether a clip is among the fifth for tests, whatever the number of clips."""
    return bool(plan.rng(_PLAIN).random() < _TEST_SHARE)
