"""Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928), from a label's query to patches.

A layer with attention A, averaged over heads, passes on (I + A) / 2 of what goes into it: half by
its skip connection, half by what was attended to. Rollout multiplies these over all layers. Here
that is done from the output to the input, for the rows of the asked labels alone, so that no
matrix over all pairs of tokens is ever made::

    r <- (r + r A) / 2, layer by layer, from the last to the first

First through the decoder, where cross-attention moves relevance from a label's query to the frame
memory, then through the video encoder (`VideoEncoder.rollout`), where attention over space and over
time move it between patches. What a token was made of by the layers before the attention (patch
embedding, convolutions) stays in its place.

Axes: K labels asked for, T time steps, M memory items, G views, P patches of a frame on a grid of
h rows and w columns, N tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from msqnet.errors import ConfigError
from msqnet.model.attention import through
from msqnet.model.registry import VIDEO_ENCODERS
from msqnet.model.video_encoders.encoder import VideoEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.model.attention import HeadMix
    from msqnet.model.pretrained import MSQNet


def decoder_rollout(model: MSQNet, attention: HeadMix, columns: Sequence[int]) -> Tensor:
    """Which memory items the queries of some labels looked at.

    Args:
        model: whose forward pass for one clip was recorded.
        attention: of its decoder and, where it has one, its memory encoder.
        columns: K labels by their column.

    Returns:
        (K, M) float, not negative, rows that add up to 1.
    """
    num_labels = len(model.config.label_set)
    on_queries = torch.eye(num_labels, device=model.device)[list(columns)]  # (K, all labels)
    on_memory: Any = 0.0
    for layer in reversed(list(model.decoder.layers)):
        on_memory = on_memory + on_queries @ attention.of(layer.cross_attention)[0] / 2  # (K, M)
        on_queries = on_queries / 2
        if layer.self_attention is not None:
            on_queries = through(on_queries, attention.of(layer.self_attention)[0])
    if model.memory_encoder is not None:
        for layer in reversed(list(model.memory_encoder.layers)):
            on_memory = through(on_memory, attention.of(layer.attention)[0])
    shares: Tensor = on_memory / on_memory.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return shares


def check_has_rollout(encoder: VideoEncoder) -> None:
    """Refuse an encoder whose attention cannot be rolled out.

    Raises:
        ConfigError: it has none, or not between patches.
    """
    if type(encoder).rollout is not VideoEncoder.rollout:
        return
    known = [
        name
        for name, spec in VIDEO_ENCODERS.items()
        if spec.load().rollout is not VideoEncoder.rollout
    ]
    raise ConfigError(
        f"{encoder.display_name} has no attention between patches that could be rolled out; use a "
        f"model with one of {', '.join(known)}"
    )
