"""The parts of MSQNet that are not files of their own: label queries, and which head is built.

Axes: B clips, K labels = queries, D width, D'' of the video query, D_t of label embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from msqnet.model.decoder import StackSizes
from msqnet.model.heads import GroupWiseLinear, SharedLinear, TextAlignment, VideoQueryHead

if TYPE_CHECKING:
    from msqnet.model.configuration import MSQNetConfig


class QueryEncoder(nn.Module):
    """Multi-modal label queries: Q_0 = W_que [Q_l, Q_v] (paper, section 3.2).

    Args:
        config: of the whole model.
        query_width: D'', or 0 without a video query.
    """

    def __init__(self, config: MSQNetConfig, query_width: int):
        super().__init__()
        num_labels = len(config.label_set)
        self.label_embeddings = nn.Parameter(torch.empty(num_labels, config.label_width))
        self.label_embeddings.requires_grad_(config.learn_label_queries)
        # W_que [Q_l, Q_v] = W_l Q_l + W_v Q_v: the video's part is computed once, not K times.
        self.project_labels = nn.Linear(config.label_width, config.width, bias=False)
        self.project_video = (
            nn.Linear(query_width, config.width, bias=False) if query_width else None
        )

    def forward(self, text: Tensor, video_query: Tensor | None, batch_size: int) -> Tensor:
        """Text (K, D_t) and the clips' (B, D''), or None -> (B, K, D) float."""
        queries: Tensor = self.project_labels(text)  # (K, D)
        if self.project_video is None or video_query is None:
            return queries.expand(batch_size, -1, -1)
        from_video: Tensor = self.project_video(video_query)  # (B, D)
        return queries + from_video[:, None]  # (B, K, D)


def stack_sizes(config: MSQNetConfig, num_layers: int) -> StackSizes:
    """Of a stack of this many layers."""
    return StackSizes(
        num_layers,
        config.width,
        config.decoder_heads,
        config.decoder_feedforward,
        config.dropout,
        config.final_norms,
    )


def decoder_head(config: MSQNetConfig) -> nn.Module:
    """From decoded queries to logits."""
    if config.head == "shared":
        return SharedLinear(config.width)
    if config.head == "cosine":
        return TextAlignment(config.width, config.label_width)
    return GroupWiseLinear(len(config.label_set), config.width)


def query_head(config: MSQNetConfig, query_width: int) -> nn.Module | None:
    """Straight from the video query to logits, where the model has that path."""
    if not config.video_query_to_scores:
        return None
    if config.is_open:
        return TextAlignment(query_width, config.label_width)
    return VideoQueryHead(len(config.label_set), query_width)
