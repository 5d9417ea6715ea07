"""What every attention of a part of a model weighed, in the order of its layers.

Fused attention never holds its weights, so inside of `recorded_attention` they are computed
explicitly: in our own modules through `Attention.recorder`, in those of `transformers` through an
attention function of that name in their registry
(https://huggingface.co/docs/transformers/attention_interface).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedConfig

from msqnet.model.attention import Attention, attention_weights
from msqnet.model.pieces import computed_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

_RECORDED = "msqnet_recorded"
_records: ContextVar[dict[int, AttentionRecord]] = ContextVar("_records")
"""The record of each module, by its identity, as far as one is being made."""


class AttentionRecord:
    """Attention weights, each (B, A, N, M) with rows that add up to 1.

    Attributes:
        weights: in the order in which they were computed.
    """

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self._of: dict[int, Tensor] = {}

    def __call__(self, module: nn.Module, weights: Tensor) -> None:
        """Keep the weights that a module computed."""
        self.weights.append(weights)
        self._of[id(module)] = weights

    def of(self, module: nn.Module) -> Tensor:
        """The weights that one module computed last.

        Raises:
            KeyError: it computed none.
        """
        return self._of[id(module)]


@contextmanager
def recorded_attention(*parts: nn.Module | None) -> Iterator[AttentionRecord]:
    """Run the parts inside this, and their attention weights are kept.

    Results are those of the fused kernels but for rounding. Gradients flow through the weights.

    Args:
        parts: of a model; None counts as nothing.
    """
    AttentionInterface.register(_RECORDED, _recorded_attention)
    record = AttentionRecord()
    modules = [module for part in parts if part is not None for module in part.modules()]
    own = [module for module in modules if isinstance(module, Attention)]
    found = [getattr(module, "config", None) for module in modules]
    configs = {id(item): item for item in found if isinstance(item, PreTrainedConfig)}
    before = [(config, config._attn_implementation) for config in configs.values()]
    token = _records.set(_records.get({}) | {id(module): record for module in modules})
    try:
        for module in own:
            module.recorder = lambda weights, module=module: record(module, weights)
        for config, _ in before:
            config._attn_implementation = _RECORDED
        with computed_whole():
            yield record
    finally:
        for module in own:
            module.recorder = None
        for config, implementation in before:
            config._attn_implementation = implementation
        _records.reset(token)


def _recorded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention as `transformers` asks for it; all are (B, A, N or M, d)."""
    if attention_mask is not None:
        raise ValueError("attention with a mask cannot be recorded; no video encoder has one")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = attention_weights(query, key, scale)
    _records.get()[id(module)](module, weights)
    mixed = F.dropout(weights, dropout, training=module.training) @ value  # (B, A, N, d)
    return mixed.transpose(1, 2).contiguous(), weights
