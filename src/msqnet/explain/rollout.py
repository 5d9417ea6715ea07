"""Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928), from a label's query to patches.

A layer with attention A, averaged over heads, passes on (I + A) / 2 of what goes into it: half by
its skip connection, half by what was attended to. Rollout multiplies these over all layers. Here
that is done from the output to the input, for the rows of the asked labels alone, so that no
matrix over all pairs of tokens is ever made::

    r <- (r + r A) / 2, layer by layer, from the last to the first

First through the decoder, where cross-attention moves relevance from a label's query to the frame
memory, then through the video encoder, where attention over space and over time move it between
patches. What a token was made of by the layers before the attention (patch embedding, or the
convolutions of ``lite``) stays in its place.

Axes: K labels asked for, T time steps, M memory items, G looks, P patches of a frame on a grid of
h rows and w columns, N tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from msqnet.errors import ConfigError
from msqnet.model.video_encoders.lite import LiteVideoEncoder
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.model.video_encoders.videomae import VideoMAEVideoEncoder
from msqnet.model.video_encoders.vit import FrameEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from msqnet.model.msqnet import MSQNet
    from msqnet.model.recording import AttentionRecord


class HeadMix:
    """Recorded attention with its heads made one.

    Args:
        record: of a forward pass.
        mix: (B, A, N, M) weights of one attention -> (B, N, M).
    """

    def __init__(self, record: AttentionRecord, mix: Callable[[Tensor], Tensor]) -> None:
        self._record = record
        self._mix = mix

    def of(self, module: Any) -> Tensor:
        """(B, N, M) of one module."""
        return self._mix(self._record.of(module))

    def layers(self) -> list[Tensor]:
        """(B, N, M) of each attention, in the order of the forward pass."""
        return [self._mix(weights) for weights in self._record.weights]


def mean_of_heads(weights: Tensor) -> Tensor:
    """Plain rollout: (B, A, N, M) -> (B, N, M)."""
    return weights.mean(dim=1)


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
            on_queries = _through(on_queries, attention.of(layer.self_attention)[0])
    if model.memory_encoder is not None:
        for layer in reversed(list(model.memory_encoder.layers)):
            on_memory = _through(on_memory, attention.of(layer.attention)[0])
    shares: Tensor = on_memory / on_memory.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return shares


def _through(relevance: Tensor, attention: Tensor) -> Tensor:
    """One layer back.

    Args:
        relevance: (K, N), or (K, S, N) of S independent sequences.
        attention: (N, N), or (S, N, N).

    Returns:
        Relevance before the layer, of the same shape.
    """
    attended = (relevance[..., None, :] @ attention)[..., 0, :]  # (..., 1, N) -> (..., N)
    return (relevance + attended) / 2


def _through_divided(
    on_patches: Tensor, on_global: Tensor, over_space: Tensor, over_time: Tensor
) -> tuple[Tensor, Tensor]:
    """One layer of divided space-time attention back: first over space, then over time.

    Args:
        on_patches: (K, T, P) relevance.
        on_global: (K,) that of the global token, which takes part in every frame's attention; its
            answers are averaged over the frames.
        over_space: (T, 1 + P, 1 + P) attention in each frame, the global token first.
        over_time: (P, T, T) attention at each patch.

    Returns:
        The two before the layer.
    """
    num_frames = on_patches.shape[1]
    repeated = (on_global / num_frames)[:, None, None].expand(-1, num_frames, 1)
    tokens = torch.cat([repeated, on_patches], dim=2)  # (K, T, 1 + P)
    tokens = _through(tokens, over_space)
    on_patches, on_global = tokens[:, :, 1:], tokens[:, :, 0].sum(dim=1)
    on_patches = _through(on_patches.mT, over_time).mT  # (K, P, T) and back
    return on_patches, on_global


def _lite(encoder: LiteVideoEncoder, attention: HeadMix, memory: Tensor) -> Tensor:
    """Memory [z_0, v_1 .. v_T, c_1 .. c_T]; an item is the mean of its look's cells."""
    num_looks, grid = encoder.config.num_looks, encoder.config.grid_size
    on_items = memory[:, 1:].unflatten(1, (num_looks, -1, 1))  # (K, G, T, 1)
    cells = on_items.expand(-1, -1, -1, grid**2) / grid**2  # (K, G, T, P)
    on_patches = cells.transpose(1, 2).flatten(2)  # (K, T, G*P)
    on_global = memory[:, 0]
    for block in reversed(list(encoder.blocks)):
        on_patches, on_global = _through_divided(
            on_patches,
            on_global,
            attention.of(block.space_attention),
            attention.of(block.time_attention),
        )
    looks: Tensor = on_patches.unflatten(2, (num_looks, grid, grid)).transpose(1, 2)
    return looks  # (K, G, T, h, w)


def _timesformer(encoder: TimesformerVideoEncoder, attention: HeadMix, memory: Tensor) -> Tensor:
    """Memory [z_0, v_1 .. v_T], v_t the mean of a frame's patches; or T bins of all tokens."""
    config = encoder.config
    grid = config.image_size // config.patch_size
    num_frames, num_patches = config.num_frames, grid**2
    if encoder.frame_pooling == "flat":
        on_global, on_patches = _unpacked(
            _spread_over_bins(memory, 1 + num_patches * num_frames), num_frames
        )
    else:
        on_global = memory[:, 0]
        on_patches = memory[:, 1:, None].expand(-1, -1, num_patches) / num_patches  # (K, T, P)
    layers: list[Any] = list(encoder.backbone.encoder.layer)
    for layer in reversed(layers):
        over_space = attention.of(layer.attention.attention)
        if layer.is_divided:
            over_time = attention.of(layer.temporal_attention.attention)
            on_patches, on_global = _through_divided(on_patches, on_global, over_space, over_time)
        else:
            tokens = torch.cat([on_global[:, None], on_patches.mT.flatten(1)], dim=1)
            on_global, on_patches = _unpacked(_through(tokens, over_space[0]), num_frames)
    maps: Tensor = on_patches.unflatten(2, (grid, grid))[:, None]
    return maps  # (K, 1, T, h, w)


def _unpacked(tokens: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
    """(K, 1 + P*T), patch-major -> (K,) of the global token and (K, T, P) of the patches."""
    return tokens[:, 0], tokens[:, 1:].unflatten(1, (-1, num_frames)).mT


def _spread_over_bins(memory: Tensor, num_tokens: int) -> Tensor:
    """(K, T) relevance of bins of the token sequence -> (K, N) of its tokens.

    Bin t is the mean of tokens floor(t N / T) to ceil((t + 1) N / T), as
    `torch.nn.functional.adaptive_avg_pool1d` has it; neighbours may share a token.
    """
    num_bins = memory.shape[1]
    tokens = memory.new_zeros(len(memory), num_tokens)
    for item in range(num_bins):
        start = item * num_tokens // num_bins
        end = -(-(item + 1) * num_tokens // num_bins)
        tokens[:, start:end] += memory[:, item : item + 1] / (end - start)
    return tokens


def _videomae(encoder: VideoMAEVideoEncoder, attention: HeadMix, memory: Tensor) -> Tensor:
    """Joint attention over all tubelets, ordered time-major; an item is the mean of a time step."""
    grid = encoder.config.image_size // encoder.config.patch_size
    tokens = (memory[:, :, None].expand(-1, -1, grid**2) / grid**2).flatten(1)  # (K, S*P)
    for weights in reversed(attention.layers()):
        tokens = _through(tokens, weights[0])
    maps: Tensor = tokens.unflatten(1, (1, -1, grid, grid))
    return maps  # (K, 1, S, h, w)


def _frames(encoder: FrameEncoder, attention: HeadMix, memory: Tensor) -> Tensor:
    """Attention inside of each frame; class token and registers stand before the patches."""
    grid = encoder.config.image_size // encoder.config.patch_size
    layers = attention.layers()  # each (T, N, N)
    num_others = int(layers[0].shape[-1]) - grid**2
    patches = memory[:, :, None].expand(-1, -1, grid**2) / grid**2  # (K, T, P)
    tokens = torch.cat([patches.new_zeros(*patches.shape[:2], num_others), patches], dim=2)
    for weights in reversed(layers):
        tokens = _through(tokens, weights)  # (K, T, N)
    maps: Tensor = tokens[:, None, :, num_others:].unflatten(3, (grid, grid))
    return maps  # (K, 1, T, h, w)


_ENCODER_ROLLOUTS: dict[type, Callable[[Any, HeadMix, Tensor], Tensor]] = {
    LiteVideoEncoder: _lite,
    TimesformerVideoEncoder: _timesformer,
    VideoMAEVideoEncoder: _videomae,
    FrameEncoder: _frames,
}


def check_has_rollout(encoder: nn.Module) -> None:
    """Refuse an encoder whose attention cannot be rolled out.

    Raises:
        ConfigError: it has none, or not between patches.
    """
    if type(encoder) not in _ENCODER_ROLLOUTS:
        known = ", ".join(kind.__name__ for kind in _ENCODER_ROLLOUTS)
        raise ConfigError(
            f"{type(encoder).__name__} has no attention between patches that could be rolled out; "
            f"use a model with one of {known}"
        )


def encoder_rollout(encoder: nn.Module, attention: HeadMix, memory: Tensor) -> Tensor:
    """From memory items to the patches that they were made of.

    Args:
        encoder: a video encoder whose forward pass for one clip was recorded.
        attention: of that pass.
        memory: (K, M) relevance of its memory items.

    Returns:
        (K, G, T', h, w) float, not negative: T' are the encoder's time steps, G its looks. What
        ends on tokens that stand for no place (the global token, registers) is left out.

    Raises:
        ConfigError: see `check_has_rollout`.
    """
    check_has_rollout(encoder)
    return _ENCODER_ROLLOUTS[type(encoder)](encoder, attention, memory)
