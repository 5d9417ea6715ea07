"""The losses over known labels, against numbers worked by hand, loops and PyTorch."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from msqnet.errors import ShapeError
from msqnet.training.losses import (
    UNKNOWN,
    asymmetric_loss,
    binary_cross_entropy,
    cross_entropy,
    equalisation_loss,
    focal_loss,
    label_columns,
    single_label_focal_loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

NUM_ROWS, NUM_LABELS = 7, 5
IS_TAIL = torch.tensor([True, False, True, False, False])
LABEL_WEIGHT = torch.tensor([2.0, 0.5, 1.0, 0.25, 1.25])
OFFSET = torch.tensor([-3.0, 0.0, 1.0, -0.5, 2.0])
MULTI_LABEL = {
    "cross entropy": binary_cross_entropy,
    "weighted": partial(binary_cross_entropy, label_weight=LABEL_WEIGHT),
    "adjusted": partial(binary_cross_entropy, offset=OFFSET),
    "focal": partial(focal_loss, gamma=2.0, alpha=0.25),
    "focal, root": partial(focal_loss, gamma=0.5),
    "asymmetric": partial(asymmetric_loss, gamma_negative=4.0, gamma_positive=1.0, clip=0.05),
    "asymmetric, roots": partial(
        asymmetric_loss, gamma_negative=0.5, gamma_positive=0.5, clip=0.05
    ),
    "asymmetric, no clip": partial(
        asymmetric_loss, gamma_negative=0.5, gamma_positive=0.0, clip=0.0
    ),
    "equalisation": partial(equalisation_loss, is_tail=IS_TAIL, drop=0.9),
}
SINGLE_LABEL = {
    "cross entropy": cross_entropy,
    "weighted": partial(cross_entropy, label_weight=LABEL_WEIGHT),
    "adjusted": partial(cross_entropy, offset=OFFSET),
    "focal": partial(single_label_focal_loss, gamma=2.0),
    "focal, root": partial(single_label_focal_loss, gamma=0.5),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def multi_label_batch() -> tuple[Tensor, Tensor]:
    """Logits and targets with unknown cells, a row without positives and one without anything."""
    logits = 2 * torch.randn(NUM_ROWS, NUM_LABELS)
    targets = torch.randint(0, 2, (NUM_ROWS, NUM_LABELS)).float()
    targets[torch.rand(NUM_ROWS, NUM_LABELS) < 0.3] = UNKNOWN
    targets[0] = UNKNOWN
    targets[1] = torch.tensor([0.0, 0.0, UNKNOWN, 0.0, 0.0])
    return logits, targets


def single_label_batch() -> tuple[Tensor, Tensor]:
    """Logits and targets with unknown cells, a row whose label is not known and one of nothing."""
    columns = torch.randint(0, NUM_LABELS, (NUM_ROWS,))
    targets = functional.one_hot(columns, NUM_LABELS).float()
    targets[(torch.rand(NUM_ROWS, NUM_LABELS) < 0.3) & (targets == 0)] = UNKNOWN
    targets[2] = UNKNOWN
    targets[5] = torch.tensor([0.0, UNKNOWN, 0.0, 0.0, UNKNOWN])
    return 2 * torch.randn(NUM_ROWS, NUM_LABELS), targets


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def mean_over_cells(
    logits: Tensor, targets: Tensor, term: Callable[[float, float, int, list[float]], float]
) -> float:
    """Mean of ``term(logit, target, column, the row's targets)`` over the known cells."""
    terms = [
        term(logit, target, column, wanted)
        for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True)
        for column, (logit, target) in enumerate(zip(row, wanted, strict=True))
        if target != UNKNOWN
    ]
    return sum(terms) / len(terms)


def mean_over_rows(
    logits: Tensor, targets: Tensor, term: Callable[[list[float], int], float]
) -> float:
    """Mean of ``term(probabilities, column)`` over rows with a label, among their known labels."""
    terms = []
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        if 1 in wanted:
            known = [target != UNKNOWN for target in wanted]
            powers = [math.exp(logit) * is_in for logit, is_in in zip(row, known, strict=True)]
            terms.append(term([power / sum(powers) for power in powers], wanted.index(1)))
    return sum(terms) / len(terms)


def cell_cross_entropy(logit: float, target: float) -> float:
    return -math.log(sigmoid(logit) if target == 1 else 1 - sigmoid(logit))


def test_loss_equals_numbers_worked_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, math.log(3.0)]])
    targets = torch.tensor([[1.0, 1.0], [UNKNOWN, 0.0]])
    # -log of 1/2, 3/4 and 1 - 3/4 over the three known cells
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(expected, abs=1e-6)


def test_focal_loss_equals_numbers_worked_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), math.log(3.0)]])
    targets = torch.tensor([[1.0, 0.0]])
    # p = 3/4: .25 (1/4)^2 log(4/3) for the positive, .75 (3/4)^2 log 4 for the negative
    expected = (math.log(4 / 3) / 64 + 27 / 64 * math.log(4)) / 2
    found = focal_loss(logits, targets, gamma=2.0, alpha=0.25)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_asymmetric_loss_equals_numbers_worked_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), math.log(3.0), -math.log(3.0)]])
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    # p = 3/4: (1/4) log(4/3) for the positive; q = 1/2: (1/2)^4 log 2; q = 0 for p = 1/4
    expected = (math.log(4 / 3) / 4 + math.log(2) / 16) / 3
    found = asymmetric_loss(logits, targets, gamma_negative=4.0, gamma_positive=1.0, clip=0.25)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_loss_equals_pytorch_on_the_known_cells_alone() -> None:
    logits = torch.randn(6, 4)
    targets = torch.randint(0, 2, (6, 4)).float()
    is_known = torch.rand(6, 4) > 0.4
    masked = torch.where(is_known, targets, float(UNKNOWN))
    expected = functional.binary_cross_entropy_with_logits(logits[is_known], targets[is_known])
    torch.testing.assert_close(binary_cross_entropy(logits, masked), expected)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, None), (3.0, 0.9)])
def test_focal_loss_equals_a_loop(gamma: float, alpha: float | None) -> None:
    def term(logit: float, target: float, _column: int, _row: list[float]) -> float:
        right = sigmoid(logit) if target == 1 else 1 - sigmoid(logit)
        weight = 1.0 if alpha is None else alpha if target == 1 else 1 - alpha
        return -weight * (1 - right) ** gamma * math.log(right)

    batch = multi_label_batch()
    found = focal_loss(*batch, gamma=gamma, alpha=alpha)
    assert found.item() == pytest.approx(mean_over_cells(*batch, term), rel=1e-5)


@pytest.mark.parametrize(
    ("negative", "positive", "clip"), [(4.0, 1.0, 0.05), (0.5, 2.0, 0.3), (2.0, 0.0, 0.0)]
)
def test_asymmetric_loss_equals_a_loop(negative: float, positive: float, clip: float) -> None:
    def term(logit: float, target: float, _column: int, _row: list[float]) -> float:
        score = sigmoid(logit)
        if target == 1:
            return -((1 - score) ** positive) * math.log(score)
        clipped = max(score - clip, 0)
        return -(clipped**negative) * math.log(1 - clipped)

    batch = multi_label_batch()
    found = asymmetric_loss(*batch, gamma_negative=negative, gamma_positive=positive, clip=clip)
    assert found.item() == pytest.approx(mean_over_cells(*batch, term), rel=1e-5)


def test_equalisation_loss_equals_a_loop() -> None:
    def term(logit: float, target: float, column: int, row: list[float]) -> float:
        is_foreground = 1 in row
        is_spared = is_foreground and bool(IS_TAIL[column]) and target == 0
        return (0.1 if is_spared else 1.0) * cell_cross_entropy(logit, target)

    batch = multi_label_batch()
    found = equalisation_loss(*batch, is_tail=IS_TAIL, drop=0.9)
    assert found.item() == pytest.approx(mean_over_cells(*batch, term), rel=1e-5)


def test_equalisation_keeps_negatives_of_clips_that_show_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    targets = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    is_tail = torch.tensor([True, False])
    equalisation_loss(logits, targets, is_tail=is_tail, drop=1.0).backward()
    assert logits.grad[0, 0] == 0
    assert logits.grad[1, 0] > 0


def test_weighted_and_adjusted_losses_equal_a_loop() -> None:
    def weighted(logit: float, target: float, column: int, _row: list[float]) -> float:
        return LABEL_WEIGHT[column].item() * cell_cross_entropy(logit, target)

    def adjusted(logit: float, target: float, column: int, _row: list[float]) -> float:
        return cell_cross_entropy(logit + OFFSET[column].item(), target)

    batch = multi_label_batch()
    found = binary_cross_entropy(*batch, label_weight=LABEL_WEIGHT)
    assert found.item() == pytest.approx(mean_over_cells(*batch, weighted), rel=1e-5)
    found = binary_cross_entropy(*batch, offset=OFFSET)
    assert found.item() == pytest.approx(mean_over_cells(*batch, adjusted), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_single_label_losses_equal_a_loop(gamma: float) -> None:
    logits, targets = single_label_batch()

    def focal(scores: list[float], column: int) -> float:
        return -((1 - scores[column]) ** gamma) * math.log(scores[column])

    def weighted(scores: list[float], column: int) -> float:
        return -LABEL_WEIGHT[column].item() * math.log(scores[column])

    def plain(scores: list[float], column: int) -> float:
        return -math.log(scores[column])

    found = single_label_focal_loss(logits, targets, gamma=gamma)
    assert found.item() == pytest.approx(mean_over_rows(logits, targets, focal), rel=1e-5)
    found = cross_entropy(logits, targets, label_weight=LABEL_WEIGHT)
    assert found.item() == pytest.approx(mean_over_rows(logits, targets, weighted), rel=1e-5)
    found = cross_entropy(logits, targets, offset=OFFSET)
    assert found.item() == pytest.approx(mean_over_rows(logits + OFFSET, targets, plain), rel=1e-5)


@pytest.mark.parametrize(
    "neutral",
    [
        partial(focal_loss, gamma=0.0, alpha=None),
        partial(asymmetric_loss, gamma_negative=0.0, gamma_positive=0.0, clip=0.0),
        partial(equalisation_loss, is_tail=torch.zeros(NUM_LABELS, dtype=torch.bool), drop=0.9),
        partial(equalisation_loss, is_tail=IS_TAIL, drop=0.0),
    ],
    ids=["focal", "asymmetric", "equalisation, no tail", "equalisation, no drop"],
)
def test_neutral_parameters_leave_cross_entropy(neutral: Callable[..., Tensor]) -> None:
    batch = multi_label_batch()
    torch.testing.assert_close(neutral(*batch), binary_cross_entropy(*batch))


def test_single_label_focal_loss_without_focus_is_cross_entropy() -> None:
    batch = single_label_batch()
    torch.testing.assert_close(single_label_focal_loss(*batch, gamma=0.0), cross_entropy(*batch))


def test_positives_weigh_what_their_label_says() -> None:
    logits = torch.zeros(2, 2)
    targets = torch.tensor([[1.0, 1.0], [0.0, UNKNOWN]])
    weight = torch.tensor([3.0, 5.0])
    expected = math.log(2) * (3 + 5 + 1) / 3
    found = binary_cross_entropy(logits, targets, positive_weight=weight)
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", MULTI_LABEL)
def test_unknown_targets_give_no_gradient(name: str) -> None:
    logits, targets = multi_label_batch()
    logits = logits.abs().requires_grad_()  # above the margin of the asymmetric loss
    MULTI_LABEL[name](logits, targets).backward()
    assert torch.equal(logits.grad == 0, targets == UNKNOWN)


def test_column_of_a_row_is_that_of_its_label() -> None:
    targets = torch.tensor(
        [[0.0, 1.0, UNKNOWN], [0.0, 0.0, UNKNOWN], [UNKNOWN] * 3, [1.0, 0.0, 0.0]]
    )
    assert label_columns(targets).tolist() == [1, UNKNOWN, UNKNOWN, 0]


@pytest.mark.parametrize("name", SINGLE_LABEL)
def test_unknown_labels_take_no_part_in_a_softmax(name: str) -> None:
    logits, targets = single_label_batch()
    logits.requires_grad_()
    SINGLE_LABEL[name](logits, targets).backward()
    takes_part = (targets == 1).any(dim=1, keepdim=True) & (targets != UNKNOWN)
    assert torch.equal(logits.grad != 0, takes_part)
    assert targets[takes_part.any(dim=1)].eq(UNKNOWN).any()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_single_label_losses_equal_pytorch_where_everything_is_known(gamma: float) -> None:
    logits, columns = torch.randn(6, NUM_LABELS), torch.randint(0, NUM_LABELS, (6,))
    targets = functional.one_hot(columns, NUM_LABELS).float()
    expected = functional.cross_entropy(logits, columns)
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    terms = functional.cross_entropy(logits, columns, reduction="none")
    focal = ((1 - torch.exp(-terms)) ** gamma * terms).mean()
    torch.testing.assert_close(single_label_focal_loss(logits, targets, gamma=gamma), focal)


@pytest.mark.parametrize("name", SINGLE_LABEL)
def test_row_of_which_only_the_label_is_known_says_nothing(name: str) -> None:
    logits = torch.randn(2, NUM_LABELS, requires_grad=True)
    targets = torch.tensor([[UNKNOWN, 1.0, UNKNOWN, UNKNOWN, UNKNOWN], [0.0, 1.0, 0.0, 0.0, 0.0]])
    value = SINGLE_LABEL[name](logits, targets)
    value.backward()
    assert not logits.grad[0].any()
    # It counts as a row all the same.
    torch.testing.assert_close(value, SINGLE_LABEL[name](logits[1:], targets[1:]) / 2)


@pytest.mark.parametrize(
    "loss",
    [*MULTI_LABEL.values(), *SINGLE_LABEL.values()],
    ids=[*MULTI_LABEL, *(f"single label: {name}" for name in SINGLE_LABEL)],
)
def test_nothing_known_gives_zero_and_no_gradient(loss: Callable[..., Tensor]) -> None:
    logits = torch.randn(2, NUM_LABELS, requires_grad=True)
    value = loss(logits, torch.full((2, NUM_LABELS), float(UNKNOWN)))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", MULTI_LABEL)
def test_extreme_logits_give_a_finite_loss(name: str) -> None:
    row = [1e4, -1e4, 0.0, 200.0, -200.0]
    logits = torch.tensor([row, row, row], requires_grad=True)
    targets = torch.tensor([[1.0] * 5, [0.0] * 5, [UNKNOWN] * 5])
    value = MULTI_LABEL[name](logits, targets)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", SINGLE_LABEL)
def test_extreme_logits_give_a_finite_single_label_loss(name: str) -> None:
    row = [1e4, -1e4, 0.0, 200.0, -200.0]
    logits = torch.tensor([row] * 11, requires_grad=True)
    everything_known = torch.eye(NUM_LABELS)
    first_unknown = everything_known.clone()
    first_unknown[:, 0] = UNKNOWN
    targets = torch.cat([everything_known, first_unknown, torch.full((1, NUM_LABELS), UNKNOWN)])
    value = SINGLE_LABEL[name](logits, targets)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    for losses, (logits, targets) in (
        (MULTI_LABEL, multi_label_batch()),
        (SINGLE_LABEL, single_label_batch()),
    ):
        half = logits.to(dtype)
        for loss in losses.values():
            found = loss(half, targets)
            assert found.dtype == torch.float32
            assert torch.equal(found, loss(half.float(), targets))


@pytest.mark.parametrize("name", MULTI_LABEL)
def test_parts_of_a_batch_divided_by_its_known_labels_add_up_to_the_whole(name: str) -> None:
    logits, targets = multi_label_batch()
    num_known = (targets != UNKNOWN).sum()
    loss = MULTI_LABEL[name]
    parts = [
        loss(logits[rows], targets[rows], num_known=num_known)
        for rows in (slice(0, 1), slice(1, 3), slice(3, NUM_ROWS))
    ]
    torch.testing.assert_close(sum(parts), loss(logits, targets))


@pytest.mark.parametrize("name", SINGLE_LABEL)
def test_parts_of_a_single_label_batch_add_up_to_the_whole(name: str) -> None:
    logits, targets = single_label_batch()
    loss = SINGLE_LABEL[name]
    parts = [
        loss(logits[rows], targets[rows], num_known=NUM_ROWS - 2)
        for rows in (slice(0, 1), slice(1, 3), slice(3, NUM_ROWS))
    ]
    torch.testing.assert_close(sum(parts), loss(logits, targets))


@pytest.mark.parametrize("losses", [MULTI_LABEL, SINGLE_LABEL], ids=["multi", "single"])
def test_logits_and_targets_of_other_shapes_are_refused(losses: dict[str, Any]) -> None:
    for loss in losses.values():
        with pytest.raises(ShapeError, match=r"\(2, 5\).*\(5, 2\)"):
            loss(torch.zeros(2, NUM_LABELS), torch.zeros(NUM_LABELS, 2))
