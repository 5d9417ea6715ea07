"""Losses by name, with the counts of the training rows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from msqnet.config import LossConfig, TrainConfig
from msqnet.errors import ConfigError
from msqnet.training.action_loss import LOSSES, ActionLoss
from msqnet.training.label_counts import label_counts
from msqnet.training.losses import UNKNOWN, binary_cross_entropy, cross_entropy

# Label 0 is in 9 of 10 rows, label 1 in 5 of 10, label 2 in 1 of 10.
TARGETS = np.array(
    [[1, 1, 0]] * 5 + [[1, 0, 0]] * 4 + [[0, 0, 1]] + [[UNKNOWN] * 3] * 2, np.float32
)
COUNTS = label_counts(TARGETS)
EVERY_LOSS = [(task, name) for task, builders in LOSSES.items() for name in builders]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def batch(task: str) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.randn(8, 3)
    if task == "single_label":
        labels = torch.eye(3)[torch.tensor([0, 0, 2, 1, 0, 0, 0, 1])]
        labels[1] = labels[3, 0] = labels[6] = UNKNOWN
        return logits, labels
    labels = torch.randint(0, 2, (8, 3)).float()
    labels[1] = labels[4, 0] = labels[6, 2] = UNKNOWN
    return logits, labels


def loss_of(task: str, logits: torch.Tensor, labels: torch.Tensor, **settings: Any) -> torch.Tensor:
    loss = ActionLoss(task, LossConfig(**settings), COUNTS)
    return loss({"decoder_logits": logits}, labels)


def plain(task: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = cross_entropy if task == "single_label" else binary_cross_entropy
    return loss(logits, labels)


def test_every_name_in_the_settings_is_a_loss() -> None:
    names = set(get_args(get_type_hints(LossConfig)["name"]))
    assert names == set(LOSSES["multi_label"])
    assert names >= set(LOSSES["single_label"])


@pytest.mark.parametrize(("task", "name"), EVERY_LOSS)
def test_parts_of_a_batch_divided_by_its_known_labels_add_up_to_the_whole(
    task: str, name: str
) -> None:
    logits, labels = batch(task)
    is_known = labels == 1 if task == "single_label" else labels != UNKNOWN
    num_known = is_known.sum()
    loss = ActionLoss(task, LossConfig(name=name, equalisation_threshold=0.2), COUNTS)
    parts = [
        loss({"decoder_logits": logits[rows]}, labels[rows], num_known)
        for rows in (slice(0, 2), slice(2, 8))
    ]
    whole = loss({"decoder_logits": logits}, labels)
    torch.testing.assert_close(parts[0] + parts[1], whole)
    if name != "cross_entropy":
        assert not torch.isclose(whole, plain(task, logits, labels))


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("multi_label", {"name": "focal", "focal_gamma": 0.0, "focal_alpha": None}),
        ("single_label", {"name": "focal", "focal_gamma": 0.0}),
        (
            "multi_label",
            {
                "name": "asymmetric",
                "asymmetric_gamma_negative": 0.0,
                "asymmetric_gamma_positive": 0.0,
                "asymmetric_clip": 0.0,
            },
        ),
        ("multi_label", {"name": "class_balanced", "class_balanced_beta": 0.0}),
        ("single_label", {"name": "class_balanced", "class_balanced_beta": 0.0}),
        ("multi_label", {"name": "equalisation", "equalisation_threshold": 0.0}),
        ("multi_label", {"name": "logit_adjustment", "logit_adjustment_tau": 0.0}),
        ("single_label", {"name": "logit_adjustment", "logit_adjustment_tau": 0.0}),
    ],
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_neutral_parameters_leave_cross_entropy(task: str, settings: dict[str, Any]) -> None:
    logits, labels = batch(task)
    found = loss_of(task, logits, labels, **settings)
    torch.testing.assert_close(found, plain(task, logits, labels))


def test_labels_below_the_threshold_are_spared_negatives() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    labels = torch.tensor([[0.0, 1.0, 0.0]])
    settings = {"name": "equalisation", "equalisation_threshold": 0.11, "equalisation_drop": 0.75}
    loss_of("multi_label", logits, labels, **settings).backward()
    # A sigmoid's slope at 0 is a half, over three known cells; label 2 alone is in so few rows.
    assert logits.grad[0].tolist() == pytest.approx([1 / 6, -1 / 6, 1 / 24])


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
def test_adjusted_logits_are_balanced_where_the_data_are_not(task: str) -> None:
    """One logit per label and no input: the best answer is the prior, here taken out of it."""
    if task == "multi_label":
        labels, counts = torch.from_numpy(TARGETS), COUNTS
    else:
        labels = torch.eye(3)[torch.tensor([0] * 9 + [1] * 5 + [2])]
        counts = label_counts(labels.numpy())
    logits = torch.zeros(1, 3, requires_grad=True)
    loss = ActionLoss(task, LossConfig(name="logit_adjustment"), counts)
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss({"decoder_logits": logits.expand(len(labels), 3)}, labels)
        value.backward()
        return value

    logits.data += torch.tensor([1.0, -2.0, 3.0])
    optimiser.step(objective)
    # All alike; a softmax leaves their common value open.
    level = logits.detach().mean() if task == "single_label" else 0.0
    torch.testing.assert_close(logits.detach(), torch.zeros(1, 3) + level, atol=1e-3, rtol=0)


def test_both_paths_are_trained_to_answer_alone() -> None:
    decoder, query = torch.randn(2, 3), torch.randn(2, 3)
    labels = torch.tensor([[1.0, 0.0, UNKNOWN], [0.0, 1.0, 1.0]])
    loss = ActionLoss("multi_label", LossConfig(), COUNTS)
    found = loss({"decoder_logits": decoder, "query_logits": query}, labels)
    expected = (binary_cross_entropy(decoder, labels) + binary_cross_entropy(query, labels)) / 2
    torch.testing.assert_close(found, expected)


def test_weighted_positives_reach_the_cross_entropy() -> None:
    logits, labels = batch("multi_label")
    weight = torch.tensor([1.0, 2.0, 3.0])
    loss = ActionLoss("multi_label", LossConfig(), COUNTS, weight)
    expected = binary_cross_entropy(logits, labels, positive_weight=weight)
    assert torch.equal(loss({"decoder_logits": logits}, labels), expected)


@pytest.mark.parametrize("name", ["asymmetric", "equalisation"])
def test_losses_of_positives_and_negatives_are_refused_for_single_labels(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is for multi_label.*cross_entropy, focal"):
        ActionLoss("single_label", LossConfig(name=name), COUNTS)


@pytest.mark.parametrize(
    "settings",
    [{item.name: -0.1} for item in fields(LossConfig) if item.name != "name"]
    + [{"focal_alpha": 1.1}, {"class_balanced_beta": 1.0}, {"asymmetric_clip": 1.0}],
    ids=lambda settings: next(iter(settings)),
)
def test_parameters_out_of_range_are_refused(settings: dict[str, float]) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f"{name} {value}"):
        LossConfig(**settings)


def test_weights_of_positives_are_for_cross_entropy_only() -> None:
    loss = LossConfig(name="focal")
    with pytest.raises(ConfigError, match=r"class_balance inverse .* not focal: set class_balance"):
        TrainConfig(loss=loss, class_balance="inverse")
    assert TrainConfig(loss=loss, class_balance="none").loss == loss
