"""The multi-modal decoder: label queries look at the frame memory (paper, equations 4 to 6)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.model.attention import MultiHeadAttention


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the memory, feed-forward; post-norm, ReLU.

    The weights mean the same as those of `torch.nn.TransformerDecoderLayer`; the difference is that
    positions are added to the keys of the cross-attention only, never to its values.

    Args:
        width: D.
        num_heads: A.
        feedforward_width: hidden width of the feed-forward part.
        dropout: in training, after each part and inside the attention.
    """

    def __init__(self, width: int, num_heads: int, feedforward_width: int, dropout: float):
        super().__init__()
        self.self_attention = MultiHeadAttention(width, num_heads, dropout)
        self.self_attention_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, num_heads, dropout)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, feedforward_width)
        self.contract = nn.Linear(feedforward_width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, memory_keys: Tensor) -> Tensor:
        """One round.

        Args:
            queries: (B, K, D) float.
            memory: (B, M, D) float, the values of the cross-attention.
            memory_keys: (B, M, D) float, memory plus time positions.

        Returns:
            (B, K, D) float.
        """
        heard = self.self_attention(queries, queries, queries)
        queries = self.self_attention_norm(queries + self.dropout(heard))
        seen = self.cross_attention(queries, memory_keys, memory)
        queries = self.cross_attention_norm(queries + self.dropout(seen))
        hidden = self.dropout(F.relu(self.expand(queries)))
        result: Tensor = self.feedforward_norm(queries + self.dropout(self.contract(hidden)))
        return result


class QueryDecoder(nn.Module):
    """A stack of decoder layers over one memory.

    Labels have no order, so queries carry no position by default: permuting them permutes the
    result. ``num_query_positions`` adds the learned ones of equations 4 and 5.

    Args:
        num_layers: L.
        width: D.
        num_heads: A.
        feedforward_width: hidden width of the feed-forward parts.
        dropout: in training.
        num_query_positions: 0, or the number of labels K to learn one position for each.
    """

    def __init__(
        self,
        num_layers: int,
        width: int,
        num_heads: int,
        feedforward_width: int,
        dropout: float,
        num_query_positions: int = 0,
    ):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width, num_heads, feedforward_width, dropout) for _ in range(num_layers)
        )
        self.query_positions = (
            nn.Embedding(num_query_positions, width) if num_query_positions else None
        )

    def forward(self, queries: Tensor, memory: Tensor, memory_positions: Tensor) -> Tensor:
        """Decode.

        Args:
            queries: (B, K, D) float, Q_0.
            memory: (B, M, D) float, the frame memory F.
            memory_positions: (M, D) float, zero for the global token.

        Returns:
            (B, K, D) float, Q_L.
        """
        memory_keys = memory + memory_positions.to(memory.dtype)
        if self.query_positions is not None:
            queries = queries + self.query_positions.weight
        for layer in self.layers:
            queries = layer(queries, memory, memory_keys)
        return queries
