"""Devices, number formats and chunks: errors, the effect of bf16, sizes of chunks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from msqnet.errors import ConfigError
from msqnet.model.computing import (
    Computing,
    Fusable,
    chunks_of,
    computed_whole,
    has_fast_bf16,
    resolve_device,
)
from msqnet.model.decoder import LogitHead, SharedLinear, TextAlignment, VideoQueryHead
from tests.fixtures.models import fill_with_noise
from tests.unit.inference.test_shared_frames import model_of
from tests.unit.model.test_compile import logits, stages
from tests.unit.model.test_every_encoder import clips_for, every_case, shared_model, shared_outputs

if TYPE_CHECKING:
    from msqnet.model.pretrained import MSQNet

ITEMS = torch.arange(10).view(5, 2)


@pytest.mark.parametrize("name", ["bogus", "cuda:99", "cpu:x"])
def test_device_that_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used"):
        resolve_device(name)


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(1, device=resolve_device("auto")).item() == 1


def test_precision_is_refused_on_devices_that_it_is_not_for() -> None:
    assert not has_fast_bf16(torch.device("meta"))
    with pytest.raises(ConfigError, match=r"precision bf16: not for this meta; .* take fp32"):
        Computing.of("meta", "bf16")


def test_precision_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="precision 'fp8': expected fp32 or bf16"):
        Computing.of("cpu", "fp8")  # type: ignore[arg-type]


def in_bf16(model: MSQNet) -> tuple[MSQNet, Computing]:
    """A copy in bf16, whatever instructions the CPU has: it imitates those that it lacks."""
    rounded = copy.deepcopy(model).prepare_for_inference()
    computing = Computing(torch.device("cpu"), "bf16")
    computing.prepare(rounded)
    return rounded, computing


@every_case
def test_bf16_gives_nearly_the_logits_of_fp32(name: str) -> None:
    exact = shared_outputs(name)
    model, computing = in_bf16(shared_model(name))
    with computing.inference():
        found = model(pixels=clips_for(model))
    assert found.logits.dtype == torch.float32
    assert not torch.equal(found.logits, exact.logits)
    # Seven bits behind the point remain of each factor; some of these random models multiply the
    # error from layer to layer.
    share = (found.logits - exact.logits).norm() / exact.logits.norm()
    assert share < (0.5 if name == "lite" else 0.05)


@pytest.mark.parametrize("kind", ["timesformer", "lite", "vit"])
def test_stages_in_bf16_give_nearly_the_scores_of_fp32(kind: str) -> None:
    """As windows that share frames are scored."""
    plain = copy.deepcopy(model_of(kind)).prepare_for_inference()
    model, computing = in_bf16(plain)
    with computing.inference():
        found = model.scores(logits(model, stages(model), 3))
    with torch.inference_mode():
        exact = plain.scores(logits(plain, stages(plain), 3))
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_only_products_change_their_numbers() -> None:
    model, _ = in_bf16(model_of("timesformer"))
    products = (nn.Linear, nn.Conv2d)
    for name, module in model.named_modules():
        own = {parameter.dtype for parameter in module.parameters(recurse=False)}
        is_rounded = isinstance(module, products) and not name.startswith(("head", "query_head"))
        assert own <= {torch.bfloat16 if is_rounded else torch.float32}, name
    folded = [module for module in model.modules() if isinstance(module, Fusable)]
    assert {module.fused_weight.dtype for module in folded} == {torch.bfloat16}  # type: ignore[union-attr]


@pytest.mark.parametrize("head", [SharedLinear(8), TextAlignment(8, 6), VideoQueryHead(3, 8)])
def test_heads_compute_in_float32_under_autocast(head: LogitHead) -> None:
    torch.manual_seed(0)
    fill_with_noise(head)
    x, text = torch.randn(2, 3, 8), torch.randn(3, 6)
    if isinstance(head, VideoQueryHead):
        x = x[:, 0]
    exact = head(x, text)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ torch.ones(8, 1)).dtype == torch.bfloat16
        assert torch.equal(head(x, text), exact)


def test_autocast_of_a_caller_stays_in_fp32() -> None:
    with torch.autocast("cpu", torch.bfloat16), Computing(torch.device("cpu")).inference():
        assert torch.is_autocast_enabled("cpu")


def sizes(*, keeps_gradients: bool = False) -> list[int]:
    chunks = chunks_of(ITEMS, 2, keeps_gradients=keeps_gradients)
    assert torch.equal(torch.cat(list(chunks)), ITEMS)
    return [len(chunk) for chunk in chunks]


def test_cpu_computes_a_few_at_a_time() -> None:
    assert sizes() == [2, 2, 1]


def test_all_at_once_where_gradients_or_a_reader_need_it() -> None:
    assert sizes(keeps_gradients=True) == [5]
    with computed_whole():
        assert sizes() == [5]
    assert sizes() == [2, 2, 1]


def test_other_devices_compute_all_at_once() -> None:
    (whole,) = chunks_of(ITEMS.to("meta"), 2, keeps_gradients=False)
    assert whole.shape == ITEMS.shape
