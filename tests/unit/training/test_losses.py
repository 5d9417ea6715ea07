"""The losses over known labels, against numbers worked by hand, loops and PyTorch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from msqnet.config import LossConfig, TrainConfig
from msqnet.errors import ConfigError, ShapeError
from msqnet.training.losses import (
    LOSSES,
    UNKNOWN,
    ActionLoss,
    LabelCounts,
    label_columns,
    loss_options,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    ("name", "options"),
    [
        ("focal", {"gamma": 0.0, "alpha": None}),
        ("asymmetric", {"gamma_negative": 0.0, "gamma_positive": 0.0, "clip": 0.0}),
        ("class_balanced", {"beta": 0.0}),
        ("equalisation", {"threshold": 0.0}),
        ("equalisation", {"threshold": 0.1, "drop": 0.0}),
        ("logit_adjustment", {"tau": 0.0}),
    ],
)
def test_neutral_options_leave_cross_entropy(name: str, options: dict[str, Any]) -> None:
    batch = multi_label_batch()
    torch.testing.assert_close(loss_of(name, **options)(*batch), binary_cross_entropy(*batch))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("focal", {"gamma": 0.0}),
        ("class_balanced", {"beta": 0.0}),
        ("logit_adjustment", {"tau": 0}),
    ],
)
def test_neutral_options_leave_single_label_cross_entropy(
    name: str, options: dict[str, Any]
) -> None:
    batch = single_label_batch()
    found = loss_of(name, "single_label", **options)(*batch)
    torch.testing.assert_close(found, cross_entropy(*batch))


def test_positives_weigh_what_their_label_says() -> None:
    logits = torch.zeros(2, 2)
    targets = torch.tensor([[1.0, 1.0], [0.0, UNKNOWN]])
    counts = counts_of([10, 10], [30, 50])
    expected = math.log(2) * (3 + 5 + 1) / 3
    found = loss_of(counts=counts, class_balance="inverse")(logits, targets)
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
        logits, targets = single_label_batch() if task == "single_label" else multi_label_batch()
        terms = function(logits, targets, COUNTS)
        assert terms.shape == (targets[:, 0] if task == "single_label" else targets).shape


@pytest.mark.parametrize("name", ["asymmetric", "equalisation"])
def test_losses_of_positives_and_negatives_are_refused_for_single_labels(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is for multi_label.*cross_entropy, focal"):
        loss_of(name, "single_label")
    with pytest.raises(ConfigError, match=r"loss huber is unknown; use asymmetric"):
        loss_of("huber")


def test_option_of_another_loss_is_refused_by_both_names() -> None:
    expected = (
        r"loss option tau belongs to logit_adjustment, not to focal of multi_label models, whose "
        r"options are: gamma, alpha"
    )
    with pytest.raises(ConfigError, match=expected):
        loss_of("focal", tau=1.0)
    with pytest.raises(ConfigError, match=r"alpha belongs to focal, not to focal of single_label"):
        loss_of("focal", "single_label", alpha=0.5)
    with pytest.raises(ConfigError, match=r"temperature belongs to no loss.*options are: none"):
        loss_of(task="single_label", temperature=2.0)


@pytest.mark.parametrize(
    ("task", "name", "option", "value"),
    [
        (task, name, option, -0.1)
        for (task, name), function in LOSSES.items()
        for option in loss_options(function)
    ]
    + [
        ("multi_label", "focal", "alpha", 1.1),
        ("multi_label", "asymmetric", "clip", 1.0),
        ("multi_label", "class_balanced", "beta", 1.0),
        ("single_label", "class_balanced", "beta", 1.0),
        ("multi_label", "equalisation", "threshold", 1.1),
        ("multi_label", "equalisation", "drop", 1.1),
    ],
)
def test_options_out_of_range_are_refused(task: str, name: str, option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{option} {value}"):
        loss_of(name, task, **{option: value})


def test_weights_of_positives_are_for_cross_entropy_only() -> None:
    loss = LossConfig(name="focal")
    with pytest.raises(ConfigError, match=r"class_balance inverse .* not focal: set class_balance"):
        TrainConfig(loss=loss, class_balance="inverse")
    assert TrainConfig(loss=loss, class_balance="none").loss == loss


@pytest.fixture
def power_loss() -> Iterator[None]:
    """A loss of this module, by one registration."""

    @register("power", "multi_label")
    def power(
        logits: Tensor, targets: Tensor, counts: LabelCounts, *, exponent: float = 2.0
    ) -> Tensor:
        return (logits.float().sigmoid() - targets).abs() ** exponent

    yield
    del LOSSES["multi_label", "power"]


@pytest.mark.usefixtures("power_loss")
def test_registered_function_is_a_loss_with_options() -> None:
    logits = torch.tensor([[0.0, 0.0, 5.0]])
    targets = torch.tensor([[1.0, 0.0, UNKNOWN]])
    found = [
        loss_of("power", counts=counts_of([1] * 3, [1] * 3), **o)(logits, targets).item()
        for o in ({}, {"exponent": 1.0})
    ]
    assert found == [0.25, 0.5]
    with pytest.raises(ConfigError, match="exponent belongs to power, not to cross_entropy"):
        loss_of(exponent=1.0)


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
