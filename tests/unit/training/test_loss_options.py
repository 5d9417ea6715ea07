"""Which losses and options there are for which task, and which are refused."""

from __future__ import annotations

import pytest
import torch

from msqnet.config import LossConfig, TrainConfig
from msqnet.errors import ConfigError
from msqnet.labels import UNKNOWN
from msqnet.model.losses import LOSSES, loss_options, register
from tests.unit.training.test_losses import counts_of, loss_of


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


@pytest.mark.usefixtures("power_loss")
def test_name_of_a_loss_that_is_taken_is_refused() -> None:
    taken = LOSSES["multi_label", "power"]
    with pytest.raises(ConfigError, match="loss 'power' of multi_label is taken"):
        register("power", "multi_label")(lambda logits, _targets, _counts: logits)
    assert LOSSES["multi_label", "power"] is taken
    register("power", "single_label")(taken)
    assert LOSSES.pop(("single_label", "power")) is taken
