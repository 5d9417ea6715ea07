"""Which patches of a clip speak for a label, by each path from the pixels to its score.

Every model has the path through the decoder: there it is attention rollout that tells, see
`msqnet.explain.rollout`. A ``lite`` model may have a second one, from the video query straight to
the logits. Nothing attends there, but its parts add up: the video query is made of the trunk's
features averaged over the frame, so every cell's share in a logit is known,

    relevance_(t, cell) = max(0, dlogit / dpooled_t . (feature_(t, cell) - mean) / number of cells)

with the mean feature of the training clips, so that what every video shows speaks for no label
(gradient times input, for a linear layer the same as class activation maps, Zhou et al. 2016,
arXiv:1512.04150).

Axes: K labels asked for, G looks, T frames, P = h w cells or patches, E feature width.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from msqnet.explain.heat_maps import frames_from_steps
from msqnet.explain.rollout import HeadMix, decoder_rollout, encoder_rollout, mean_of_heads
from msqnet.model.recording import recorded_attention
from msqnet.model.video_encoders.lite import LiteVideoEncoder, video_statistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from msqnet.clips import ClipBatch
    from msqnet.model.msqnet import MSQNet


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
    with torch.no_grad(), _last_maps(model) as maps:
        with (
            recorded_attention(model.video_encoder) as of_encoder,
            recorded_attention(model.decoder, model.memory_encoder) as of_decoder,
        ):
            result = model(pixels=clip.pixels, closeups=clip.closeups)
        scores = model.scores(result.logits)[0, list(columns)]
        memory = decoder_rollout(model, HeadMix(of_decoder, mean_of_heads), columns)
        looks = encoder_rollout(model.video_encoder, HeadMix(of_encoder, mean_of_heads), memory)
    num_frames = clip.pixels.shape[1]
    spans = model.video_encoder.memory_spans(num_frames)
    direct_share = model.config.query_share if maps else 0.0
    decoder = PathRelevance(
        "decoder", 1 - direct_share, frames_from_steps(looks, spans, num_frames)
    )
    if not maps:
        return [decoder], scores
    direct = _direct_relevance(model, torch.cat(maps), num_frames, columns)
    return [decoder, PathRelevance("direct", direct_share, direct)], scores


@contextmanager
def _last_maps(model: MSQNet) -> Iterator[list[Tensor]]:
    """The trunk's last maps of a forward pass, where a path leads from them to the logits."""
    maps: list[Tensor] = []
    encoder = model.video_encoder
    if model.query_head is None or not isinstance(encoder, LiteVideoEncoder):
        yield maps
        return
    hook = encoder.trunk.network.register_forward_hook(
        lambda _module, _input, out: maps.append(out[0])
    )
    try:
        yield maps
    finally:
        hook.remove()


def _direct_relevance(
    model: MSQNet, maps: Tensor, num_frames: int, columns: Sequence[int]
) -> Tensor:
    """(G*T, C, h, w) last maps -> (K, G, T, h, w)."""
    encoder: Any = model.video_encoder
    with torch.no_grad():
        cells = encoder.trunk.network.final_features(maps)  # (G*T, E, h, w)
        cells = cells.unflatten(0, (-1, num_frames))  # (G, T, E, h, w)
        mean = model.query_mean.view(len(cells), -1, cells.shape[2])[:, 0]  # (G, E)
        above = (cells - mean[:, None, :, None, None]) / (cells.shape[3] * cells.shape[4])
    pooled = cells.mean(dim=(3, 4))[None].requires_grad_()  # (1, G, T, E)
    query = (video_statistics(pooled) - model.query_mean) / model.query_std
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
