"""Multi-head attention, as all of our own parts use it, and how it is computed.

``attn_implementation`` means what it means in `transformers`: ``sdpa`` is torch's fused attention,
which takes the flash kernel where the device has it; ``eager`` computes the weights explicitly.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger = logging.getLogger(__name__)

SDPA = "sdpa"
EAGER = "eager"


class Attention(nn.Module):
    """What every attention of ours shares: softmax(Q K^T / sqrt(d)) V over heads of width d.

    Args:
        dropout: of the attention weights, in training.

    Attributes:
        implementation: "sdpa" or "eager", see the module.
        recorder: given every attention's weights, (B, A, N, M), before dropout; they are then
            computed explicitly. None where nobody asks; see `msqnet.model.recording`.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        self.implementation = SDPA
        self.recorder: Callable[[Tensor], None] | None = None

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Mix the values: (B, A, N, d), (B, A, M, d) and (B, A, M, d) -> (B, A, N, d)."""
        dropout = self.dropout if self.training else 0.0
        if self.implementation == SDPA and self.recorder is None:
            return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        weights = attention_weights(queries, keys, queries.shape[-1] ** -0.5)
        if self.recorder is not None:
            self.recorder(weights)
        return F.dropout(weights, dropout) @ values


class MultiHeadAttention(Attention):
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(D / A)) V over A heads, with an output projection.

    Args:
        width: D, a multiple of ``num_heads``.
        num_heads: A.
        dropout: of the attention weights, in training.
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

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend.

        Args:
            queries: (B, N, D) float.
            keys: (B, M, D) float.
            values: (B, M, D) float.

        Returns:
            (B, N, D) float.
        """
        mixed = self.attend(
            self._heads(self.query(queries)),
            self._heads(self.key(keys)),
            self._heads(self.value(values)),
        )
        result: Tensor = self.output(
            mixed.transpose(1, 2).flatten(2)
        )  # (B, A, N, D/A) -> (B, N, D)
        return result


def attention_weights(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """softmax(scale Q K^T): (B, A, N, d) and (B, A, M, d) -> (B, A, N, M)."""
    products = queries @ keys.transpose(-2, -1)  # (B, A, N, M)
    return (products * scale).softmax(dim=-1)


def check_attention(implementation: Any) -> None:
    """Refuse what our own attention does not have.

    Args:
        implementation: a name; None for the default; or names by sub-configuration, where "" is
            the model itself.

    Raises:
        ConfigError: neither "sdpa" nor "eager".
    """
    own = implementation.get("") if isinstance(implementation, dict) else implementation
    if own not in (None, SDPA, EAGER):
        raise ConfigError(
            f"attn_implementation {own!r}: expected {SDPA!r} or {EAGER!r}; {SDPA!r} takes the "
            "flash kernel by itself where the device has it"
        )


@contextmanager
def attention_if_available(config: PreTrainedConfig) -> Iterator[None]:
    """Build an encoder inside this, and its attention is only asked for where it has a choice.

    A model of `transformers` refuses to be built with an attention that it lacks, but finds the
    best one that it has where none is asked for. `set_attention` then tells what came of it.

    Args:
        config: of the encoder.
    """
    asked = config._attn_implementation
    if asked == SDPA:
        config._attn_implementation = None
    yield
    config._attn_implementation = asked or config._attn_implementation


def set_attention(part: nn.Module, implementation: str | None) -> None:
    """Choose how every attention in a part of a model is computed.

    A part of `transformers` without "sdpa" stays with "eager", and the log names it.

    Args:
        part: changed in place, with the configurations that its modules hold.
        implementation: as `transformers` names it; None leaves all as it is.

    Raises:
        ConfigError: our own attention does not have it.
        ValueError: a part of `transformers` does not have it.
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
