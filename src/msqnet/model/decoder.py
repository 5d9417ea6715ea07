"""The multi-modal decoder: label queries look at the frame memory (paper, equations 4 to 6).

All layers are post-norm with ReLU, as in DETR; their weights mean the same as those of
`torch.nn.TransformerEncoderLayer` and `torch.nn.TransformerDecoderLayer`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.model.attention import MultiHeadAttention


@dataclass(frozen=True)
class StackSizes:
    """Sizes of a stack of layers.

    Attributes:
        num_layers: L.
        width: D.
        num_heads: A.
        feedforward_width: hidden width of the feed-forward parts.
        dropout: in training, after each part and inside the attention.
        final_norm: whether one more layer norm follows the last layer, as in
            `torch.nn.Transformer`.
    """

    num_layers: int
    width: int
    num_heads: int
    feedforward_width: int
    dropout: float
    final_norm: bool = False


class _Layer(nn.Module):
    """What both kinds of layer have: the feed-forward part."""

    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.expand = nn.Linear(sizes.width, sizes.feedforward_width)
        self.contract = nn.Linear(sizes.feedforward_width, sizes.width)
        self.feedforward_norm = nn.LayerNorm(sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def _feedforward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.expand(x)))
        result: Tensor = self.feedforward_norm(x + self.dropout(self.contract(hidden)))
        return result


class MemoryLayer(_Layer):
    """Self-attention among memory items, then feed-forward."""

    def __init__(self, sizes: StackSizes):
        super().__init__(sizes)
        self.attention = MultiHeadAttention(sizes.width, sizes.num_heads, sizes.dropout)
        self.attention_norm = nn.LayerNorm(sizes.width)

    def forward(self, memory: Tensor, positions: Tensor | None) -> Tensor:
        """One round.

        Args:
            memory: (B, M, D) float.
            positions: (M, D) float added to what is compared, not to what is passed on; or None.

        Returns:
            (B, M, D) float.
        """
        compared = memory if positions is None else memory + positions
        heard = self.attention(compared, compared, memory)
        return self._feedforward(self.attention_norm(memory + self.dropout(heard)))


class MemoryEncoder(nn.Module):
    """Layers over the memory before the decoder; the paper has none, its released code has six."""

    def __init__(self, sizes: StackSizes):
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(sizes) for _ in range(sizes.num_layers))
        self.norm = nn.LayerNorm(sizes.width) if sizes.final_norm else None

    def forward(self, memory: Tensor, positions: Tensor | None) -> Tensor:
        """(B, M, D) float -> (B, M, D) float; ``positions`` as for `MemoryLayer`."""
        for layer in self.layers:
            memory = layer(memory, positions)
        return memory if self.norm is None else self.norm(memory)


class DecoderLayer(_Layer):
    """Self-attention among queries, cross-attention to the memory, feed-forward.

    Positions are added to the keys of the cross-attention only, never to its values.

    Args:
        sizes: see there.
        query_attention: without it queries do not know of each other, so that the score of a label
            does not depend on which others are asked for.
    """

    def __init__(self, sizes: StackSizes, *, query_attention: bool = True):
        super().__init__(sizes)
        width, heads, dropout = sizes.width, sizes.num_heads, sizes.dropout
        self.self_attention = self.self_attention_norm = None
        if query_attention:
            self.self_attention = MultiHeadAttention(width, heads, dropout)
            self.self_attention_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_attention_norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor, memory_keys: Tensor) -> Tensor:
        """One round.

        Args:
            queries: (B, K, D) float.
            memory: (B, M, D) float, the values of the cross-attention.
            memory_keys: (B, M, D) float, memory plus time positions.

        Returns:
            (B, K, D) float.
        """
        if self.self_attention is not None and self.self_attention_norm is not None:
            heard = self.self_attention(queries, queries, queries)
            queries = self.self_attention_norm(queries + self.dropout(heard))
        seen = self.cross_attention(queries, memory_keys, memory)
        return self._feedforward(self.cross_attention_norm(queries + self.dropout(seen)))


class QueryDecoder(nn.Module):
    """A stack of decoder layers over one memory.

    Labels have no order, so queries carry no position by default: permuting them permutes the
    result. ``num_query_positions`` adds the learned ones of equations 4 and 5.

    Args:
        sizes: see there.
        query_attention: see `DecoderLayer`.
        num_query_positions: 0, or the number of labels K to learn one position for each.
    """

    def __init__(
        self, sizes: StackSizes, *, query_attention: bool = True, num_query_positions: int = 0
    ):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(sizes, query_attention=query_attention) for _ in range(sizes.num_layers)
        )
        self.norm = nn.LayerNorm(sizes.width) if sizes.final_norm else None
        self.query_positions = (
            nn.Embedding(num_query_positions, sizes.width) if num_query_positions else None
        )

    def forward(self, queries: Tensor, memory: Tensor, memory_positions: Tensor | None) -> Tensor:
        """Decode.

        Args:
            queries: (B, K, D) float, Q_0.
            memory: (B, M, D) float, the frame memory F.
            memory_positions: (M, D) float, zero for the global token; None where the memory holds
                its positions already.

        Returns:
            (B, K, D) float, Q_L.
        """
        memory_keys = memory if memory_positions is None else memory + memory_positions
        if self.query_positions is not None:
            queries = queries + self.query_positions.weight
        for layer in self.layers:
            queries = layer(queries, memory, memory_keys)
        return queries if self.norm is None else self.norm(queries)
