"""Which patches of a clip speak for a label, by each path from the pixels to its score.

Every model has the path through the decoder: there it is attention rollout that tells, see
`msqnet.explain.rollout`. A model whose video encoder gives the video query may have a second one,
straight from it to the logits. Nothing attends there, but its parts add up: the video query is made
of features averaged over the frame, so every cell's share in a logit is known,

    relevance_(t, cell) = max(0, dlogit / dpooled_t . (feature_(t, cell) - mean) / number of cells)

with the mean feature of the training clips, so that what every video shows speaks for no label
(gradient times input, for a linear layer the same as class activation maps, Zhou et al. 2016,
arXiv:1512.04150).

Axes: K labels asked for, G looks, T frames, P = h w cells or patches, E feature width.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from msqnet.explain.heat_maps import frames_from_steps
from msqnet.explain.rollout import decoder_rollout
from msqnet.model.attention import HeadMix, mean_of_heads, recorded_attention
from msqnet.model.video_encoders.encoder import POOLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.clips import ClipBatch
    from msqnet.model.pretrained import MSQNet


@dataclass(frozen=True)
class PathRelevance:
    """What one path to the scores looked at.

    Attributes:
        name: ``decoder`` or ``direct``.
        share: weight of the path in the logits; all paths of a model add up to 1.
        looks: (K, G, T, h, w) float, not negative, by patches of each look.
    """

    name: str
    share: float
    looks: Tensor


def label_relevance(
    model: MSQNet, clip: ClipBatch, columns: Sequence[int]
) -> tuple[list[PathRelevance], Tensor]:
    """Relevance by each path, and the scores that it explains.

    Args:
        model: in eval mode.
        clip: a batch of one clip, on the model's device.
        columns: K labels by their column.

    Returns:
        One entry a path, the decoder first, and (K,) float32 scores in [0, 1].

    Raises:
        ConfigError: a video encoder whose attention cannot be rolled out.
    """
    encoder: Any = model.video_encoder
    has_direct_path = model.query_head is not None and model.config.video_query == "trunk"
    watched = encoder.recorded_query_cells() if has_direct_path else nullcontext([])
    with torch.no_grad(), watched as cells:
        with (
            recorded_attention(encoder) as of_encoder,
            recorded_attention(model.decoder, model.memory_encoder) as of_decoder,
        ):
            result = model(pixels=clip.pixels, closeups=clip.closeups)
        scores = model.scores(result.logits)[0, list(columns)]
        memory = decoder_rollout(model, HeadMix(of_decoder, mean_of_heads), columns)
        looks = encoder.rollout(HeadMix(of_encoder, mean_of_heads), memory)
    num_frames = clip.pixels.shape[1]
    direct_share = model.config.query_share if cells else 0.0
    looks = frames_from_steps(looks, encoder.memory_spans(num_frames), num_frames)
    decoder = PathRelevance("decoder", 1 - direct_share, looks)
    if not cells:
        return [decoder], scores
    direct = _direct_relevance(model, torch.cat(cells), num_frames, columns)
    return [decoder, PathRelevance("direct", direct_share, direct)], scores


def _direct_relevance(
    model: MSQNet, cells: Tensor, num_frames: int, columns: Sequence[int]
) -> Tensor:
    """(G*T, E, h, w) final features -> (K, G, T, h, w)."""
    with torch.no_grad():
        cells = cells.unflatten(0, (-1, num_frames))  # (G, T, E, h, w)
        mean = model.query_mean.view(len(cells), -1, cells.shape[2])[:, 0]  # (G, E)
        above = (cells - mean[:, None, :, None, None]) / (cells.shape[3] * cells.shape[4])
    pooled = cells.mean(dim=(3, 4))[None].requires_grad_()  # (1, G, T, E)
    query = model.normalized(model.video_query({POOLED: pooled}))
    query_head: Any = model.query_head
    logits = query_head(query, model.query_encoder.label_embeddings.detach())[0]
    found = [
        torch.einsum(
            "gte,gtehw->gthw",
            torch.autograd.grad(logits[column], pooled, retain_graph=True)[0][0],
            above,
        )
        for column in columns
    ]
    return torch.stack(found).clamp_min(0)  # (K, G, T, h, w)
