"""Whether a run fits, on devices of known size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from msqnet.evaluation.experiment_memory import (
    DeviceMemory,
    check_memory,
    device_memory,
    machine_memory,
)
from msqnet.evaluation.experiment_plan import Cost

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
# 4 GiB of weights, gradients and moments, and 8 of activations.
PARAMETERS = {"all": (GIB // 4, GIB // 4)}
COST = Cost(PARAMETERS, flops=1, activation_bytes=2 * GIB, batch_size=4)


def memory(available: int | None, total: int) -> DeviceMemory:
    return DeviceMemory("gpu", None if available is None else available * GIB, total * GIB)


@pytest.mark.parametrize(
    ("device", "is_error", "words"),
    [
        (memory(13, 16), False, "fits: 13.0 of 16.0 GiB free in gpu"),
        (memory(11, 16), False, "does not fit into what is free now"),
        (memory(None, 16), False, "fits if enough is free"),
        # 8 GiB with bf16 activations, 12 without.
        (memory(9, 10), False, "may not fit: gpu has 10.0 GiB"),
        (memory(7, 7), True, "does not fit: at least 8.0 GiB are needed, gpu has 7.0 GiB"),
        (None, False, "not known"),
    ],
)
def test_estimate_is_held_against_the_device(
    device: DeviceMemory | None, is_error: bool, words: str
) -> None:
    assert COST.memory_bytes == 12 * GIB
    finding = check_memory(COST, device)
    assert finding.is_error is is_error
    assert words in finding.message


def test_float32_needs_all_and_checkpointing_only_the_states() -> None:
    whole = Cost(PARAMETERS, 1, 2 * GIB, 4, precision="fp32")
    assert check_memory(whole, memory(10, 10)).is_error
    least = Cost(PARAMETERS, 1, 2 * GIB, 4, precision="fp32", is_checkpointed=True)
    assert not check_memory(least, memory(5, 5)).is_error
    assert check_memory(least, memory(3, 3)).is_error


def test_memory_of_linux_is_read(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:   8 kB\nHugePages: 0\n")
    found = machine_memory(path)
    assert found is not None
    assert (found.available_bytes, found.total_bytes) == (8 * 1024, 16 * 1024)


def test_elsewhere_the_total_is_known_at_most(tmp_path: Path) -> None:
    found = machine_memory(tmp_path / "none")
    assert found is None or (found.available_bytes is None and found.total_bytes > 0)


def test_this_device_has_memory() -> None:
    found = device_memory()
    assert found is None or 0 < (found.available_bytes or 1) <= found.total_bytes
    if torch.cuda.is_available():
        assert found is not None
        assert found.device == torch.cuda.get_device_name()
