"""What several tests of training share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.model.losses import LOSSES, register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from msqnet.model.losses import LabelCounts


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
