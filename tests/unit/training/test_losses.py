"""The losses over known labels, against numbers worked by hand, loops and PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from msqnet.config import LossConfig
from msqnet.errors import ShapeError
from msqnet.labels import UNKNOWN
from msqnet.model.losses import (
    LOSSES,
    ActionLoss,
    LabelCounts,
    label_columns,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

NUM_ROWS, NUM_LABELS = 7, 5


def counts_of(positives: list[int], negatives: list[int]) -> LabelCounts:
    return LabelCounts(
        torch.tensor(positives, dtype=torch.float64), torch.tensor(negatives, dtype=torch.float64)
    )


COUNTS = counts_of([1, 20, 2, 9, 12], [39, 20, 38, 31, 28])
# Labels in less than a tenth of the rows.
IS_TAIL = torch.tensor([True, False, True, False, False])
LABEL_WEIGHT = COUNTS.effective_number_weight(0.9)


def loss_of(
    name: str = "cross_entropy",
    task: str = "multi_label",
    counts: LabelCounts = COUNTS,
    class_balance: str = "none",
    **options: float | None,
) -> Callable[..., Tensor]:
    return ActionLoss(task, LossConfig(name, options), counts, class_balance).mean


binary_cross_entropy = loss_of()
cross_entropy = loss_of(task="single_label")
MULTI_LABEL = {
    "cross entropy": binary_cross_entropy,
    "weighted": loss_of("class_balanced", beta=0.9),
    "adjusted": loss_of("logit_adjustment"),
    "focal": loss_of("focal"),
    "focal, root": loss_of("focal", gamma=0.5, alpha=None),
    "asymmetric": loss_of("asymmetric"),
    "asymmetric, roots": loss_of("asymmetric", gamma_negative=0.5, gamma_positive=0.5),
    "asymmetric, no clip": loss_of("asymmetric", gamma_negative=0.5, gamma_positive=0.0, clip=0.0),
    "equalisation": loss_of("equalisation", threshold=0.1, drop=0.9),
}
SINGLE_LABEL = {
    "cross entropy": cross_entropy,
    "weighted": loss_of("class_balanced", "single_label", beta=0.9),
    "adjusted": loss_of("logit_adjustment", "single_label"),
    "focal": loss_of("focal", "single_label"),
    "focal, root": loss_of("focal", "single_label", gamma=0.5),
}


every_loss = pytest.mark.parametrize(
    ("task", "loss"),
    [
        pytest.param(task, loss, id=f"{task}: {name}")
        for task, losses in (("multi_label", MULTI_LABEL), ("single_label", SINGLE_LABEL))
        for name, loss in losses.items()
    ],
)


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


def batch_of(task: str) -> tuple[Tensor, Tensor]:
    return multi_label_batch() if task == "multi_label" else single_label_batch()


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
    found = loss_of("focal", gamma=2.0, alpha=0.25)(logits, targets)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_asymmetric_loss_equals_numbers_worked_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), math.log(3.0), -math.log(3.0)]])
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    # p = 3/4: (1/4) log(4/3) for the positive; q = 1/2: (1/2)^4 log 2; q = 0 for p = 1/4
    expected = (math.log(4 / 3) / 4 + math.log(2) / 16) / 3
    found = loss_of("asymmetric", gamma_negative=4.0, gamma_positive=1.0, clip=0.25)(
        logits, targets
    )
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
    found = loss_of("focal", gamma=gamma, alpha=alpha)(*batch)
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
    options = {"gamma_negative": negative, "gamma_positive": positive, "clip": clip}
    found = loss_of("asymmetric", **options)(*batch)
    assert found.item() == pytest.approx(mean_over_cells(*batch, term), rel=1e-5)


def test_equalisation_loss_equals_a_loop() -> None:
    def term(logit: float, target: float, column: int, row: list[float]) -> float:
        is_foreground = 1 in row
        is_spared = is_foreground and bool(IS_TAIL[column]) and target == 0
        return (0.1 if is_spared else 1.0) * cell_cross_entropy(logit, target)

    batch = multi_label_batch()
    found = MULTI_LABEL["equalisation"](*batch)
    assert found.item() == pytest.approx(mean_over_cells(*batch, term), rel=1e-5)


def test_equalisation_keeps_negatives_of_clips_that_show_nothing() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    targets = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    counts = counts_of([1, 10], [39, 30])
    loss_of("equalisation", counts=counts, threshold=0.1, drop=1.0)(logits, targets).backward()
    assert logits.grad[0, 0] == 0
    assert logits.grad[1, 0] > 0


def test_weighted_and_adjusted_losses_equal_a_loop() -> None:
    def weighted(logit: float, target: float, column: int, _row: list[float]) -> float:
        return LABEL_WEIGHT[column].item() * cell_cross_entropy(logit, target)

    def adjusted(logit: float, target: float, column: int, _row: list[float]) -> float:
        odds = (COUNTS.positives / COUNTS.negatives)[column].item()
        return cell_cross_entropy(logit + math.log(odds), target)

    batch = multi_label_batch()
    found = MULTI_LABEL["weighted"](*batch)
    assert found.item() == pytest.approx(mean_over_cells(*batch, weighted), rel=1e-5)
    found = MULTI_LABEL["adjusted"](*batch)
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

    found = loss_of("focal", "single_label", gamma=gamma)(logits, targets)
    assert found.item() == pytest.approx(mean_over_rows(logits, targets, focal), rel=1e-5)
    found = SINGLE_LABEL["weighted"](logits, targets)
    assert found.item() == pytest.approx(mean_over_rows(logits, targets, weighted), rel=1e-5)
    found = SINGLE_LABEL["adjusted"](logits, targets)
    expected = mean_over_rows(logits + COUNTS.positives.log(), targets, plain)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("task", "name", "options"),
    [
        ("multi_label", "focal", {"gamma": 0.0, "alpha": None}),
        ("multi_label", "asymmetric", {"gamma_negative": 0.0, "gamma_positive": 0.0, "clip": 0.0}),
        ("multi_label", "class_balanced", {"beta": 0.0}),
        ("multi_label", "equalisation", {"threshold": 0.0}),
        ("multi_label", "equalisation", {"threshold": 0.1, "drop": 0.0}),
        ("multi_label", "logit_adjustment", {"tau": 0.0}),
        ("single_label", "focal", {"gamma": 0.0}),
        ("single_label", "class_balanced", {"beta": 0.0}),
        ("single_label", "logit_adjustment", {"tau": 0}),
    ],
)
def test_neutral_options_leave_cross_entropy(task: str, name: str, options: dict[str, Any]) -> None:
    batch = batch_of(task)
    found = loss_of(name, task, **options)(*batch)
    torch.testing.assert_close(found, loss_of(task=task)(*batch))


@every_loss
def test_what_is_unknown_gets_no_gradient(task: str, loss: Callable[..., Tensor]) -> None:
    logits, targets = batch_of(task)
    if task == "multi_label":
        logits = logits.abs()  # above the margin of the asymmetric loss
    logits.requires_grad_()
    loss(logits, targets).backward()
    has_label = (targets == 1).any(dim=1, keepdim=True) | (task == "multi_label")
    assert torch.equal(logits.grad != 0, has_label & (targets != UNKNOWN))
    assert targets[(has_label & (targets != UNKNOWN)).any(dim=1)].eq(UNKNOWN).any()


@every_loss
def test_nothing_known_gives_zero_and_no_gradient(task: str, loss: Callable[..., Tensor]) -> None:
    logits = torch.randn(2, NUM_LABELS, requires_grad=True)
    value = loss(logits, torch.full((2, NUM_LABELS), float(UNKNOWN)))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@every_loss
def test_extreme_logits_give_a_finite_loss(task: str, loss: Callable[..., Tensor]) -> None:
    nothing_known = torch.full((1, NUM_LABELS), float(UNKNOWN))
    everything_known = torch.eye(NUM_LABELS)
    if task == "multi_label":
        everything_known = torch.tensor([[1.0] * NUM_LABELS, [0.0] * NUM_LABELS])
    first_unknown = everything_known.clone()
    first_unknown[:, 0] = UNKNOWN
    targets = torch.cat([everything_known, first_unknown, nothing_known])
    row = torch.tensor([1e4, -1e4, 0.0, 200.0, -200.0])
    logits = row.expand(len(targets), -1).clone().requires_grad_()
    value = loss(logits, targets)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@every_loss
def test_parts_of_a_batch_divided_by_what_it_knows_add_up_to_the_whole(
    task: str, loss: Callable[..., Tensor]
) -> None:
    logits, targets = batch_of(task)
    # Known labels, or rows with one.
    num_known = (targets != UNKNOWN).sum() if task == "multi_label" else NUM_ROWS - 2
    parts = [
        loss(logits[rows], targets[rows], num_known=num_known)
        for rows in (slice(0, 1), slice(1, 3), slice(3, NUM_ROWS))
    ]
    torch.testing.assert_close(sum(parts), loss(logits, targets))


def test_positives_weigh_what_their_label_says() -> None:
    logits = torch.zeros(2, 2)
    targets = torch.tensor([[1.0, 1.0], [0.0, UNKNOWN]])
    counts = counts_of([10, 10], [30, 50])
    expected = math.log(2) * (3 + 5 + 1) / 3
    found = loss_of(counts=counts, class_balance="inverse")(logits, targets)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_column_of_a_row_is_that_of_its_label() -> None:
    targets = torch.tensor(
        [[0.0, 1.0, UNKNOWN], [0.0, 0.0, UNKNOWN], [UNKNOWN] * 3, [1.0, 0.0, 0.0]]
    )
    assert label_columns(targets).tolist() == [1, UNKNOWN, UNKNOWN, 0]


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_single_label_losses_equal_pytorch_where_everything_is_known(gamma: float) -> None:
    logits, columns = torch.randn(6, NUM_LABELS), torch.randint(0, NUM_LABELS, (6,))
    targets = functional.one_hot(columns, NUM_LABELS).float()
    expected = functional.cross_entropy(logits, columns)
    torch.testing.assert_close(cross_entropy(logits, targets), expected)
    terms = functional.cross_entropy(logits, columns, reduction="none")
    focal = ((1 - torch.exp(-terms)) ** gamma * terms).mean()
    found = loss_of("focal", "single_label", gamma=gamma)(logits, targets)
    torch.testing.assert_close(found, focal)


@pytest.mark.parametrize("name", SINGLE_LABEL)
def test_row_of_which_only_the_label_is_known_says_nothing(name: str) -> None:
    logits = torch.randn(2, NUM_LABELS, requires_grad=True)
    targets = torch.tensor([[UNKNOWN, 1.0, UNKNOWN, UNKNOWN, UNKNOWN], [0.0, 1.0, 0.0, 0.0, 0.0]])
    value = SINGLE_LABEL[name](logits, targets)
    value.backward()
    assert not logits.grad[0].any()
    # It counts as a row all the same.
    torch.testing.assert_close(value, SINGLE_LABEL[name](logits[1:], targets[1:]) / 2)


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


@pytest.mark.parametrize("losses", [MULTI_LABEL, SINGLE_LABEL], ids=["multi", "single"])
def test_logits_and_targets_of_other_shapes_are_refused(losses: dict[str, Any]) -> None:
    for loss in losses.values():
        with pytest.raises(ShapeError, match=r"\(2, 5\).*\(5, 2\)"):
            loss(torch.zeros(2, NUM_LABELS), torch.zeros(NUM_LABELS, 2))


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_adjusted_logits_are_balanced_where_the_data_are_not(task: str) -> None:
    """One logit per label and no input: the best answer is the prior, here taken out of it."""
    # Label 0 is in 9 of 10 rows, label 1 in 5 of 10, label 2 in 1 of 10.
    labels = torch.tensor([[1.0, 1, 0]] * 5 + [[1, 0, 0]] * 4 + [[0, 0, 1]] + [[UNKNOWN] * 3] * 2)
    if task == "single_label":
        labels = torch.eye(3)[torch.tensor([0] * 9 + [1] * 5 + [2])]
    logits = torch.zeros(1, 3, requires_grad=True)
    loss = loss_of("logit_adjustment", task, LabelCounts.of(labels.numpy()))
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(logits.expand(len(labels), 3), labels)
        value.backward()
        return value

    logits.data += torch.tensor([1.0, -2.0, 3.0])
    optimiser.step(objective)
    # All alike; a softmax leaves their common value open.
    level = logits.detach().mean() if task == "single_label" else 0.0
    torch.testing.assert_close(logits.detach(), torch.zeros(1, 3) + level, atol=1e-3, rtol=0)


def test_both_paths_are_trained_to_answer_alone() -> None:
    logits, labels = multi_label_batch()
    query = torch.randn_like(logits)
    loss = ActionLoss("multi_label", LossConfig(), COUNTS)
    found = loss({"decoder_logits": logits, "query_logits": query}, labels)
    expected = (binary_cross_entropy(logits, labels) + binary_cross_entropy(query, labels)) / 2
    torch.testing.assert_close(found, expected)


def test_every_loss_is_named_in_the_help_and_has_neutral_terms_of_its_shape() -> None:
    assert LossConfig.__doc__ is not None
    for (task, name), function in LOSSES.items():
        assert f"`{name}`" in LossConfig.__doc__
        logits, targets = batch_of(task)
        terms = function(logits, targets, COUNTS)
        assert terms.shape == (targets[:, 0] if task == "single_label" else targets).shape
