"""Multi-head attention, as the decoder and the ``lite`` encoder use it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(D / A)) V over A heads, with an output projection.

    Args:
        width: D, a multiple of ``num_heads``.
        num_heads: A.
        dropout: of the attention weights, in training.
    """

    def __init__(self, width: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def _heads(self, x: Tensor) -> Tensor:
        num_items, width = x.shape[1:]
        heads = x.view(len(x), num_items, self.num_heads, width // self.num_heads)
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
        mixed = F.scaled_dot_product_attention(
            self._heads(self.query(queries)),
            self._heads(self.key(keys)),
            self._heads(self.value(values)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        result: Tensor = self.output(
            mixed.transpose(1, 2).flatten(2)
        )  # (B, A, N, D/A) -> (B, N, D)
        return result
