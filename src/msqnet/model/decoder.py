"""Label queries, the multi-modal decoder, and the heads (paper, section 3.2 and equations 4 to 7).

All layers are post-norm with ReLU, as in DETR; their weights mean the same as those of
`torch.nn.TransformerEncoderLayer` and `torch.nn.TransformerDecoderLayer`. A group-wise head has one
weight vector for each trained label. An open one is a function of the label's text, so that it
scores labels that it was never trained on.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from msqnet.errors import VocabularyError
from msqnet.model.attention import MultiHeadAttention
from msqnet.model.computing import Float32Module

if TYPE_CHECKING:
    from msqnet.model.configuration import MSQNetConfig

# Of text alignment: as SigLIP starts, but for rarer negatives (labels of one clip, not of a batch).
_INITIAL_SCALE = 10.0
_INITIAL_BIAS = -3.0


def sinusoidal_positions(indices: Tensor, width: int) -> Tensor:
    """Sine and cosine of each position (Vaswani et al. 2017): (..., M) -> (..., M, D) float32.

    PE(t, 2i) = sin(t / 10000^(2i / D)), PE(t, 2i + 1) = cos(the same); D is even. An index of -1
    stands for no position (the global token) and gives zeros; sound may lie between the indices of
    frames. Recomputed where it is used: kept in a model, the table would be cast with its weights.
    """
    position = indices.to(torch.float32)[..., None]  # (M, 1)
    even = torch.arange(0, width, 2, dtype=torch.float32, device=indices.device)
    angle = position * torch.exp(even * (-math.log(10000.0) / width))  # (M, D/2)
    table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)  # (M, D/2, 2) -> (M, D)
    return table.masked_fill(position <= -1, 0.0)


class QueryEncoder(nn.Module):
    """Multi-modal label queries: Q_0 = W_que [Q_l, Q_v] (paper, section 3.2), or [Q_l, Q_v, Q_a].

    ``query_width`` is D'' and the width of Q_a, where there is sound; 0 for label queries alone.
    """

    def __init__(self, config: MSQNetConfig, query_width: int):
        super().__init__()
        label_width, width = config.label_width, config.width
        self.label_embeddings = nn.Parameter(torch.empty(len(config.label_set), label_width))
        self.label_embeddings.requires_grad_(config.learn_label_queries)
        # W_que [Q_l, Q_v] = W_l Q_l + W_v Q_v: the video's part is computed once, not K times.
        self.project_labels = nn.Linear(label_width, width, bias=False)
        self.project_video = nn.Linear(query_width, width, bias=False) if query_width else None

    def reset_parameters(self) -> None:
        """Label embeddings N(0, 0.02)."""
        nn.init.normal_(self.label_embeddings, std=0.02)

    def forward(self, text: Tensor, video_query: Tensor | None, batch_size: int) -> Tensor:
        """Text (K, D_t) and [Q_v, Q_a] of the clips (B, D''), or None -> (B, K, D) float."""
        queries: Tensor = self.project_labels(text)  # (K, D)
        if self.project_video is None or video_query is None:
            return queries.expand(batch_size, -1, -1)
        from_video: Tensor = self.project_video(video_query)  # (B, D)
        return queries + from_video[:, None]  # (B, K, D)


class _Layer(nn.Module):
    """The feed-forward part of both kinds of layer."""

    def __init__(self, config: MSQNetConfig):
        super().__init__()
        self.expand = nn.Linear(config.width, config.decoder_feedforward)
        self.contract = nn.Linear(config.decoder_feedforward, config.width)
        self.feedforward_norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def _feedforward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.expand(x)))
        return cast("Tensor", self.feedforward_norm(x + self.dropout(self.contract(hidden))))


class MemoryLayer(_Layer):
    """Self-attention among memory items, then feed-forward."""

    def __init__(self, config: MSQNetConfig):
        super().__init__(config)
        self.attention = MultiHeadAttention(config.width, config.decoder_heads, config.dropout)
        self.attention_norm = nn.LayerNorm(config.width)

    def forward(
        self, memory: Tensor, positions: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """(B, M, D) float -> the same; positions (M, D) go to queries and keys, not to values.

        ``mask`` (B, M) bool is true where there is an item.
        """
        keys = memory if positions is None else memory + positions
        attn_output = self.attention(keys, keys, memory, mask)
        return self._feedforward(self.attention_norm(memory + self.dropout(attn_output)))


class MemoryEncoder(nn.Module):
    """Layers over the memory before the decoder; the paper has none, its released code has six."""

    def __init__(self, config: MSQNetConfig):
        super().__init__()
        num_layers = config.memory_encoder_layers
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(num_layers))
        self.norm = nn.LayerNorm(config.width) if config.final_norms else None

    def forward(
        self, memory: Tensor, positions: Tensor | None, mask: Tensor | None = None
    ) -> Tensor:
        """(B, M, D) float -> (B, M, D) float; other arguments as for `MemoryLayer`."""
        for layer in self.layers:
            memory = layer(memory, positions, mask)
        return memory if self.norm is None else self.norm(memory)


class DecoderLayer(_Layer):
    """Self-attention among queries, cross-attention to the memory, feed-forward.

    Positions are added to the keys of the cross-attention only, never to its values. Without
    ``query_attention`` the score of a label does not depend on the other labels.
    """

    def __init__(self, config: MSQNetConfig):
        super().__init__(config)
        width, heads, dropout = config.width, config.decoder_heads, config.dropout
        self.self_attention = self.self_attention_norm = None
        if config.query_attention:
            self.self_attention = MultiHeadAttention(width, heads, dropout)
            self.self_attention_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_attention_norm = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, memory: Tensor, memory_keys: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Queries (B, K, D), memory (B, M, D) and the memory with positions -> (B, K, D) float.

        ``mask`` (B, M) bool is true where the memory has an item.
        """
        if self.self_attention is not None and self.self_attention_norm is not None:
            attn_output = self.self_attention(queries, queries, queries)
            queries = self.self_attention_norm(queries + self.dropout(attn_output))
        attn_output = self.cross_attention(queries, memory_keys, memory, mask)
        return self._feedforward(self.cross_attention_norm(queries + self.dropout(attn_output)))


class QueryDecoder(nn.Module):
    """A stack of decoder layers over one memory.

    Labels have no order, so queries carry no position by default: permuting them permutes the
    result. ``query_positions`` "learned" adds those of equations 4 and 5.
    """

    def __init__(self, config: MSQNetConfig):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(config.width) if config.final_norms else None
        self.query_positions = None
        if config.query_positions == "learned":
            self.query_positions = nn.Embedding(len(config.label_set), config.width)

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        memory_positions: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Queries Q_0 (B, K, D) and the memory F (B, M, D) -> Q_L (B, K, D) float.

        ``memory_positions`` is (M, D) or (B, M, D) float, zero for the global token; None where the
        memory holds its positions already. ``mask`` (B, M) bool is true where there is an item,
        None for everywhere.
        """
        memory_keys = memory if memory_positions is None else memory + memory_positions
        if self.query_positions is not None:
            queries = queries + self.query_positions.weight
        for layer in self.layers:
            queries = layer(queries, memory, memory_keys, mask)
        return queries if self.norm is None else self.norm(queries)


class LogitHead(Float32Module):
    """Vectors to logits, computed in the type of its own weights even under autocast.

    In bfloat16 logits would lie on a grid of 8 bits, and the scores of different clips would tie.
    """

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Logits (B, K) float of x and text (K, D_t).

        ``x`` is (B, K, D) float, one vector for each label, or (B, D'') one for all.
        """
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):
            return self.logits(x, text)
        dtype = next(self.parameters()).dtype
        with torch.autocast(x.device.type, enabled=False):
            return self.logits(x.to(dtype), text.to(dtype))

    @abstractmethod
    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """As `forward`."""


class GroupWiseLinear(LogitHead):
    """Equation 7: logit_k = W_k . Q_(L,k) + b_k, one weight vector for each trained label.

    It cannot score a label that it was not trained on.
    """

    def __init__(self, num_labels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_labels, width))
        self.bias = nn.Parameter(torch.zeros(num_labels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(D), as `torch.nn.Linear`; zero bias."""
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) -> (B, K) float; a `VocabularyError` for another number of labels."""
        if x.shape[1:] != self.weight.shape:
            raise VocabularyError(
                f"decoded queries: found {tuple(x.shape)}, "
                f"expected (B, {self.weight.shape[0]}, {self.weight.shape[1]}): this head "
                "scores the labels that it was trained on and no others"
            )
        return (x * self.weight).sum(dim=-1) + self.bias


class SharedLinear(LogitHead):
    """logit_k = w . Q_(L,k) + b: one weight vector for all labels, which the queries tell apart."""

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) float -> (B, K) float logits; the text is in the queries already."""
        return cast("Tensor", self.linear(x)[..., 0])  # (B, K, 1) -> (B, K)


class TextAlignment(LogitHead):
    """logit_k = s cos(P x_k, text_k) + b, with a learned scale and bias for all labels.

    ``width`` is D of the decoded queries or D'' of the video query, ``text_width`` D_t.
    """

    def __init__(self, width: int, text_width: int):
        super().__init__()
        self.project = nn.Linear(width, text_width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(_INITIAL_SCALE).log())
        self.offset = nn.Parameter(torch.tensor(_INITIAL_BIAS))

    def reset_parameters(self) -> None:
        """Scale and bias; the projection is a linear layer like others."""
        nn.init.constant_(self.log_scale, float(torch.tensor(_INITIAL_SCALE).log()))
        nn.init.constant_(self.offset, _INITIAL_BIAS)

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, K, D) or (B, D''), and (K, D_t) float -> (B, K) float logits."""
        projected = F.normalize(self.project(x), dim=-1)  # (B, K, D_t) or (B, D_t)
        text = F.normalize(text, dim=-1)
        cosine = (projected * text).sum(dim=-1) if x.ndim == 3 else projected @ text.T  # (B, K)
        return self.log_scale.exp() * cosine + self.offset


class VideoQueryHead(LogitHead):
    """A linear path from the video query to the scores: logit_k = U_k . (Q_v - mean) / std + c_k.

    It holds what a linear probe on the frozen features holds, so that the whole model starts from
    the probe instead of having to find it again through the decoder (linear probing, then
    fine-tuning: Kumar et al. 2022, arXiv:2202.10054).
    """

    def __init__(self, num_labels: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_labels, width))
        self.bias = nn.Parameter(torch.zeros(num_labels))

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, D'') float -> (B, K) float logits; the text is not used."""
        return F.linear(x, self.weight, self.bias)


def new_heads(config: MSQNetConfig, query_width: int) -> tuple[LogitHead, LogitHead | None]:
    """The head of the decoded queries; and that of the video query, (B, D''), if there is one."""
    num_labels = len(config.label_set)
    head: LogitHead
    if config.head == "shared":
        head = SharedLinear(config.width)
    elif config.head == "cosine":
        head = TextAlignment(config.width, config.label_width)
    else:
        head = GroupWiseLinear(num_labels, config.width)
    if not config.direct_path:
        return head, None
    if config.is_open:
        return head, TextAlignment(query_width, config.label_width)
    return head, VideoQueryHead(num_labels, query_width)
