"""Multi-head attention: how it is computed, how its weights are recorded and rolled out.

``attn_implementation`` means what it means in `transformers`: ``sdpa`` is torch's fused attention,
which takes the flash kernel where the device has it; ``eager`` computes the weights explicitly.

Fused attention never holds its weights. Inside of `recorded_attention` they are computed
explicitly: in our own modules through `Attention.recorder`, in those of `transformers` through an
attention function in their registry
(https://huggingface.co/docs/transformers/attention_interface).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from msqnet.errors import check
from msqnet.model.computing import computed_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger = logging.getLogger(__name__)

SDPA = "sdpa"
EAGER = "eager"
_RECORDED = "msqnet_recorded"
# The record of each module, by its identity, while one is being made.
_records: ContextVar[dict[int, AttentionRecord]] = ContextVar("_records")


class Attention(nn.Module):
    """Base of our own attention: softmax(Q K^T / sqrt(d)) V over heads of width d.

    In training, dropout is applied to the weights. A ``recorder`` gets them before dropout,
    (B, A, N, M); see `recorded_attention`.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.implementation = SDPA
        self.recorder: Callable[[Tensor], None] | None = None

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Mix the values: (B, A, N, d), (B, A, M, d) and (B, A, M, d) -> (B, A, N, d).

        ``mask``, bool and of a shape that fits (B, A, N, M), is true where there is a value.
        """
        dropout = self.dropout if self.training else 0.0
        if self.implementation == SDPA and self.recorder is None:
            return F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, dropout_p=dropout
            )
        weights = attention_weights(queries, keys, queries.shape[-1] ** -0.5, mask=mask)
        if self.recorder is not None:
            self.recorder(weights)
        return F.dropout(weights, dropout) @ values


class MultiHeadAttention(Attention):
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(D / A)) V over A heads, with an output projection.

    ``width`` is D, a multiple of ``num_heads``.
    """

    def __init__(self, width: int, num_heads: int, dropout: float = 0.0):
        super().__init__(dropout)
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def _heads(self, x: Tensor) -> Tensor:
        num_items, width = x.shape[1:]
        # `len` would make a constant of the number of clips where the model is exported.
        heads = x.view(x.shape[0], num_items, self.num_heads, width // self.num_heads)
        return heads.transpose(1, 2)  # (B, N, A, D/A) -> (B, A, N, D/A)

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Queries (B, N, D), keys and values (B, M, D) -> (B, N, D) float.

        ``mask`` (B, M) bool is true where there is a value. Where there is none at all, queries get
        none: their mixture is 0.
        """
        heads = (
            self._heads(self.query(queries)),
            self._heads(self.key(keys)),
            self._heads(self.value(values)),
        )
        if mask is None:
            mixed = self.attend(*heads)
        else:
            has_any = mask.any(dim=1)[:, None]  # (B, 1); a softmax over nothing is no number
            mixed = self.attend(*heads, (mask | ~has_any)[:, None, None])
            mixed = mixed * has_any[:, None, None].to(mixed.dtype)
        return cast("Tensor", self.output(mixed.transpose(1, 2).flatten(2)))  # (B, N, D)


def attention_weights(
    queries: Tensor,
    keys: Tensor,
    scale: float,
    softcap: float | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """softmax(scale Q K^T): (B, A, N, d) and (B, A, M, d) -> (B, A, N, M).

    With ``softcap`` c, each product x comes as c tanh(x / c). Where ``mask``, bool and of a shape
    that fits, is false, weights are 0.
    """
    products = queries @ keys.transpose(-2, -1) * scale  # (B, A, N, M)
    if softcap is not None:
        products = softcap * (products / softcap).tanh()
    if mask is not None:
        products = products.masked_fill(~mask, -torch.inf)
    return products.softmax(dim=-1)


def check_attention(implementation: Any) -> None:
    """Refuse what our own attention lacks with a `ConfigError`.

    A name; None for the default; or names by sub-configuration, where "" is the model itself.
    """
    own = implementation.get("") if isinstance(implementation, dict) else implementation
    check(
        own in (None, SDPA, EAGER),
        f"attn_implementation {own!r}: expected {SDPA!r} or {EAGER!r}; {SDPA!r} takes the "
        "flash kernel by itself where the device has it",
    )


@contextmanager
def attention_if_available(config: PreTrainedConfig) -> Iterator[None]:
    """Build an encoder inside this, and its attention is only asked for where it has a choice.

    A model of `transformers` refuses to be built with an attention that it lacks, but finds the
    best one that it has where none is asked for. `set_attention` then tells what came of it.
    """
    asked = config._attn_implementation
    if asked == SDPA:
        config._attn_implementation = None
    yield
    config._attn_implementation = asked or config._attn_implementation


def set_attention(part: nn.Module, implementation: str | None) -> None:
    """Choose how attention in a part of a model is computed; None leaves all as it is.

    The part and the configurations of its modules are changed in place. A part of `transformers`
    without "sdpa" stays with "eager", and the log names it. What our own attention lacks is a
    `ConfigError`, what a part of `transformers` lacks a `ValueError`.
    """
    if implementation is None:
        return
    for model in part.modules():
        if not isinstance(model, PreTrainedModel):
            continue
        if implementation == SDPA and not model._supports_sdpa:
            _logger.warning(
                "%s has no attention %r; it computes %r", type(model).__name__, SDPA, EAGER
            )
            implementation = EAGER
        implementation = model.get_correct_attn_implementation(implementation)
    for module in part.modules():
        if isinstance(module, Attention):
            check_attention(implementation)
            module.implementation = implementation
        # Modules of transformers look it up in their configuration; some hold a copy of their own.
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig):
            config._attn_implementation = implementation


class AttentionRecord:
    """Attention weights, each (B, A, N, M) with rows that add up to 1, in the order computed."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self._of: dict[int, Tensor] = {}

    def __call__(self, module: nn.Module, weights: Tensor) -> None:
        """Keep the weights that a module computed."""
        self.weights.append(weights)
        self._of[id(module)] = weights

    def of(self, module: nn.Module) -> Tensor:
        """The weights that one module computed last; a KeyError if it computed none."""
        return self._of[id(module)]

    def mean_of(self, module: Any) -> Tensor:
        """(B, N, M) mean over the heads of one module."""
        return self.of(module).mean(dim=1)

    def means(self) -> list[Tensor]:
        """(B, N, M) mean over the heads of each attention, in the order of the forward pass."""
        return [weights.mean(dim=1) for weights in self.weights]


@contextmanager
def recorded_attention(*parts: nn.Module | None) -> Iterator[AttentionRecord]:
    """Run the parts inside this, and their attention weights are kept.

    Results are those of the fused kernels but for rounding. Gradients flow through the weights.
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
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention as `transformers` asks for it; all are (B, A, N or M, d)."""
    if attention_mask is not None:
        raise ValueError("attention with a mask cannot be recorded; no video encoder has one")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    weights = attention_weights(query, key, scale, softcap)
    _records.get()[id(module)](module, weights)
    mixed = F.dropout(weights, dropout, training=module.training) @ value  # (B, A, N, d)
    return mixed.transpose(1, 2).contiguous(), weights


def through(relevance: Tensor, attention: Tensor) -> Tensor:
    """Relevance one attention layer back: r <- (r + r A) / 2.

    ``relevance`` is (K, N), or (K, S, N) of S independent sequences; ``attention`` (N, N) or
    (S, N, N).
    """
    attended = (relevance[..., None, :] @ attention)[..., 0, :]  # (..., 1, N) -> (..., N)
    return (relevance + attended) / 2


def through_divided(
    on_patches: Tensor, on_global: Tensor, over_space: Tensor, over_time: Tensor
) -> tuple[Tensor, Tensor]:
    """One layer of divided space-time attention back: first over space, then over time.

    Relevance is (K, T, P) on patches and (K,) on the global token, which comes first in every
    frame's attention (T, 1 + P, 1 + P) over space; its outputs are averaged over the frames.
    Attention over time is (P, T, T).
    """
    num_frames = on_patches.shape[1]
    repeated = (on_global / num_frames)[:, None, None].expand(-1, num_frames, 1)
    tokens = torch.cat([repeated, on_patches], dim=2)  # (K, T, 1 + P)
    tokens = through(tokens, over_space)
    on_patches, on_global = tokens[:, :, 1:], tokens[:, :, 0].sum(dim=1)
    on_patches = through(on_patches.mT, over_time).mT  # (K, P, T) and back
    return on_patches, on_global
