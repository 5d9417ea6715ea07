"""Which patches of a clip speak for a label, by each path from the pixels to its score.

Every model has the path through the decoder. There we use attention rollout (Abnar and Zuidema
2020, arXiv:2005.00928). A layer with attention A, averaged over heads, passes on (I + A) / 2 of its
input: half by its skip connection, half by attention. Rollout multiplies these over all layers. We
go from the output to the input, for the rows of the requested labels alone, so that no matrix over
all pairs of tokens is ever made::

    r <- (r + r A) / 2, layer by layer, from the last to the first

First through the decoder, where cross-attention moves relevance from a label's query to the frame
memory, then through the video encoder (`VideoEncoder.rollout`), where attention over space and over
time move it between patches. Layers before the attention (patch embedding, convolutions) leave
relevance in its place.

A model whose video encoder gives the video query may have a second path, straight from it to the
logits. Nothing attends there, but its parts add up: the video query is made of features averaged
over the frame, so every cell's share in a logit is known::

    relevance_(t, cell) = max(0, dlogit / dpooled_t . (feature_(t, cell) - mean) / number of cells)

with the mean feature of the training clips, so that features that every video shows speak for no
label (gradient times input, for a linear layer the same as class activation maps, Zhou et al. 2016,
arXiv:1512.04150).

Axes: K requested labels, G views, T frames, M memory items, E feature width, N tokens.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from msqnet.errors import ConfigError
from msqnet.model.attention import recorded_attention, through
from msqnet.model.registry import VIDEO_ENCODERS
from msqnet.model.video_encoders.encoder import POOLED, VideoEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.clips import ClipBatch
    from msqnet.model.attention import AttentionRecord
    from msqnet.model.pretrained import MSQNet
    from msqnet.model.video_encoders.encoder import MemorySpans


class PathRelevance(NamedTuple):
    """Relevance by one path to the scores, ``decoder`` or ``direct``.

    ``share`` is its weight in the logits; all paths of a model add up to 1. ``views`` are
    (K, G, T, h, w) float, not negative, by patches of each view.
    """

    name: str
    share: float
    views: Tensor


def label_relevance(
    model: MSQNet, clip: ClipBatch, columns: Sequence[int]
) -> tuple[list[PathRelevance], Tensor]:
    """Relevance by each path, the decoder first; and the scores (K,) float32 that it explains.

    The model is in eval mode, ``clip`` is a batch of one, ``columns`` are those of K labels.
    """
    encoder: Any = model.video_encoder
    has_direct_path = model.query_head is not None and model.config.video_query == "trunk"
    watched = encoder.recorded_query_cells() if has_direct_path else nullcontext([])
    with torch.no_grad(), watched as cells:
        with (
            recorded_attention(encoder) as of_encoder,
            recorded_attention(model.decoder, model.memory_encoder) as of_decoder,
        ):
            result = model(**clip.inputs())
        scores = model.scores(result.logits)[0, list(columns)]
        memory = decoder_rollout(model, of_decoder, columns)
        memory = memory[:, : len(model.time_positions)]  # of frames; sound has no place in them
        steps = encoder.rollout(of_encoder, memory)
    num_frames = clip.pixels.shape[1]
    direct_share = model.config.query_share if cells else 0.0
    views = frames_from_steps(steps, encoder.memory_spans(num_frames), num_frames)
    paths = [PathRelevance("decoder", 1 - direct_share, views)]
    if cells:
        direct = _direct_relevance(model, torch.cat(cells), num_frames, columns)
        paths.append(PathRelevance("direct", direct_share, direct))
    return paths, scores


def undrawn_share(model: MSQNet) -> float:
    """Weight in the logits of a direct path of which no cells are known; 0 if all can be drawn.

    That is a path from the embedding of an image encoder, or of a video encoder that keeps no
    cells.
    """
    if model.query_head is None:
        return 0.0
    keeps_cells = (
        type(model.video_encoder).recorded_query_cells is not VideoEncoder.recorded_query_cells
    )
    is_drawn = model.config.video_query == "trunk" and keeps_cells
    return 0.0 if is_drawn else float(model.config.query_share)


def decoder_rollout(model: MSQNet, attention: AttentionRecord, columns: Sequence[int]) -> Tensor:
    """Relevance of the memory items for the queries of K labels: (K, M) float, rows add up to 1.

    `attention` is that of the decoder, and of the memory encoder where there is one, in the forward
    pass of one clip.
    """
    num_labels = len(model.config.label_set)
    on_queries = torch.eye(num_labels, device=model.device)[list(columns)]  # (K, all labels)
    on_memory: Any = 0.0
    for layer in reversed(list(model.decoder.layers)):
        crossed = attention.mean_of(layer.cross_attention)[0]  # (all labels, M)
        on_memory = on_memory + on_queries @ crossed / 2  # (K, M)
        on_queries = on_queries / 2
        if layer.self_attention is not None:
            on_queries = through(on_queries, attention.mean_of(layer.self_attention)[0])
    if model.memory_encoder is not None:
        for layer in reversed(list(model.memory_encoder.layers)):
            on_memory = through(on_memory, attention.mean_of(layer.attention)[0])
    shares: Tensor = on_memory / on_memory.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return shares


def frames_from_steps(steps: Tensor, spans: MemorySpans, num_frames: int) -> Tensor:
    """Relevance of time steps (K, G, T', h, w) to that of frames (K, G, T, h, w).

    A step shares its relevance among its frames, which the ``spans`` of the memory items tell,
    whatever view they are of.
    """
    frames = steps.new_zeros(*steps.shape[:2], num_frames, *steps.shape[3:])
    for step, (first, end) in enumerate(sorted({span for span in spans if span is not None})):
        frames[:, :, first:end] += steps[:, :, step : step + 1] / (end - first)
    return frames


def _direct_relevance(
    model: MSQNet, cells: Tensor, num_frames: int, columns: Sequence[int]
) -> Tensor:
    """(G*T, E, h, w) final features -> (K, G, T, h, w)."""
    with torch.no_grad():
        cells = cells.unflatten(0, (-1, num_frames))  # (G, T, E, h, w)
        own = model.query_mean[: model.video_query_width]
        mean = own.view(len(cells), -1, cells.shape[2])[:, 0]  # (G, E)
        above = (cells - mean[:, None, :, None, None]) / (cells.shape[3] * cells.shape[4])
    pooled = cells.mean(dim=(3, 4))[None].requires_grad_()  # (1, G, T, E)
    query = model.normalized(model.clip_query({POOLED: pooled}))
    query_head: Any = model.query_head
    logits = query_head(query, model.query_encoder.label_embeddings.detach())[0]
    found = []
    for column in columns:
        (slope,) = torch.autograd.grad(logits[column], pooled, retain_graph=True)
        found.append(torch.einsum("gte,gtehw->gthw", slope[0], above))
    return torch.stack(found).clamp_min(0)  # (K, G, T, h, w)


def check_has_rollout(encoder: VideoEncoder) -> None:
    """Refuse, by a `ConfigError`, an encoder without attention between patches to roll out."""
    if type(encoder).rollout is not VideoEncoder.rollout:
        return
    encoders = {name: spec.load() for name, spec in VIDEO_ENCODERS.items()}
    known = [name for name, item in encoders.items() if item.rollout is not VideoEncoder.rollout]
    raise ConfigError(
        f"{encoder.display_name} has no attention between patches that could be rolled out; use a "
        f"model with one of {', '.join(known)}"
    )
