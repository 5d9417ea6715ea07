"""The loss over known labels, against numbers worked by hand and against PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from msqnet.errors import ShapeError
from msqnet.training.losses import UNKNOWN, ActionLoss, binary_cross_entropy, cross_entropy


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_loss_equals_numbers_worked_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, math.log(3.0)]])
    targets = torch.tensor([[1.0, 1.0], [UNKNOWN, 0.0]])
    # -log of 1/2, 3/4 and 1 - 3/4 over the three known cells
    expected = (math.log(2) + math.log(4 / 3) + math.log(4)) / 3
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(expected, abs=1e-6)


def test_loss_equals_pytorch_on_the_known_cells_alone() -> None:
    logits = torch.randn(6, 4)
    targets = torch.randint(0, 2, (6, 4)).float()
    is_known = torch.rand(6, 4) > 0.4
    masked = torch.where(is_known, targets, float(UNKNOWN))
    expected = functional.binary_cross_entropy_with_logits(logits[is_known], targets[is_known])
    torch.testing.assert_close(binary_cross_entropy(logits, masked), expected)


def test_positives_weigh_what_their_label_says() -> None:
    logits = torch.zeros(2, 2)
    targets = torch.tensor([[1.0, 1.0], [0.0, UNKNOWN]])
    weight = torch.tensor([3.0, 5.0])
    expected = math.log(2) * (3 + 5 + 1) / 3
    found = binary_cross_entropy(logits, targets, positive_weight=weight)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_unknown_targets_give_no_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    targets = torch.zeros(3, 4)
    targets[0, 1] = targets[2, 3] = UNKNOWN
    binary_cross_entropy(logits, targets).backward()
    assert torch.equal(logits.grad == 0, targets == UNKNOWN)


@pytest.mark.parametrize(
    ("targets", "loss"),
    [
        (torch.full((2, 3), float(UNKNOWN)), binary_cross_entropy),
        (torch.full((2,), UNKNOWN), cross_entropy),
    ],
    ids=["multi label", "single label"],
)
def test_nothing_known_gives_zero_and_no_gradient(targets: torch.Tensor, loss: object) -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    value = loss(logits, targets)
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_extreme_logits_give_a_finite_loss() -> None:
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    value = binary_cross_entropy(logits, torch.tensor([[0.0, 1.0]]))
    value.backward()
    assert value.item() == pytest.approx(1e4)
    assert logits.grad.isfinite().all()


def test_single_label_loss_equals_pytorch_on_known_rows() -> None:
    logits = torch.randn(4, 3)
    targets = torch.tensor([2, UNKNOWN, 0, 1])
    expected = functional.cross_entropy(logits[[0, 2, 3]], targets[[0, 2, 3]])
    torch.testing.assert_close(cross_entropy(logits, targets), expected)


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_parts_of_a_batch_divided_by_its_known_labels_add_up_to_the_whole(task: str) -> None:
    outputs = {"decoder_logits": torch.randn(8, 3)}
    labels = torch.randint(0, 3, (8,)) if task == "single_label" else torch.eye(3)[[0] * 8]
    labels[1] = UNKNOWN
    num_known = (labels != UNKNOWN).sum()
    loss = ActionLoss(task)
    whole = loss(outputs, labels)
    parts = [
        loss({"decoder_logits": outputs["decoder_logits"][rows]}, labels[rows], num_known)
        for rows in (slice(0, 2), slice(2, 8))
    ]
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_both_paths_are_trained_to_answer_alone() -> None:
    decoder, query = torch.randn(2, 3), torch.randn(2, 3)
    labels = torch.tensor([[1.0, 0.0, UNKNOWN], [0.0, 1.0, 1.0]])
    found = ActionLoss("multi_label")({"decoder_logits": decoder, "query_logits": query}, labels)
    expected = (binary_cross_entropy(decoder, labels) + binary_cross_entropy(query, labels)) / 2
    torch.testing.assert_close(found, expected)


def test_logits_and_targets_of_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\).*\(3, 2\)"):
        binary_cross_entropy(torch.zeros(2, 3), torch.zeros(3, 2))
