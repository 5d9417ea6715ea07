"""Devices and number formats: what is refused, what bf16 changes, and how much."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from msqnet.errors import ConfigError
from msqnet.model.computing import Computing, has_fast_bf16, resolve_device
from tests.unit.inference.test_shared_frames import model_of
from tests.unit.model.test_compile import logits, stages

if TYPE_CHECKING:
    from msqnet.model.computing import Precision
    from msqnet.predictions import FloatArray


@pytest.mark.parametrize("name", ["bogus", "cuda:99", "cpu:x"])
def test_device_that_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used"):
        resolve_device(name)


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(1, device=resolve_device("auto")).item() == 1


def test_precision_without_instructions_for_it_is_refused() -> None:
    assert not has_fast_bf16(torch.device("meta"))
    with pytest.raises(ConfigError, match="precision bf16: meta has no instructions for it"):
        Computing.of("meta", "bf16")


def test_precision_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="precision 'fp8': expected fp32 or bf16"):
        Computing.of("cpu", "fp8")  # type: ignore[arg-type]


def scores_of(kind: str, precision: Precision) -> FloatArray:
    """Whatever instructions the CPU has: it imitates those that it lacks."""
    model = copy.deepcopy(model_of(kind)).prepare_for_inference()
    computing = Computing(torch.device("cpu"), precision)
    computing.prepare(model)
    with computing.inference():
        found = model.scores(logits(model, stages(model), 3))
    assert found.dtype == torch.float32
    return np.asarray(found.numpy(), dtype=np.float32)


@pytest.mark.parametrize("kind", ["timesformer", "lite", "vit"])
def test_bf16_gives_nearly_the_scores_of_fp32(kind: str) -> None:
    exact, found = scores_of(kind, "fp32"), scores_of(kind, "bf16")
    # Eight bits of a product's factors remain; random weights of this size saturate nothing.
    np.testing.assert_allclose(found, exact, atol=0.02)
    assert not np.array_equal(found, exact)


def test_only_products_change_their_numbers() -> None:
    model = copy.deepcopy(model_of("timesformer"))
    Computing(torch.device("cpu"), "bf16").prepare(model)
    for name, module in model.named_modules():
        own = {parameter.dtype for parameter in module.parameters(recurse=False)}
        is_product = isinstance(module, nn.Linear | nn.Conv2d)
        assert own <= {torch.bfloat16 if is_product else torch.float32}, name
