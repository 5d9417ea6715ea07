"""Sound beside the frames: its tokens in the memory, its embedding in the query.

Missing sound is masked: its tokens get no attention, and without any sound Q_a adds nothing to the
query. A clip without sound therefore has the scores of a model whose inputs end at its frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from msqnet.clips import SOUND_TIMES

if TYPE_CHECKING:
    from msqnet.model.video_encoders.encoder import FrameFeatures

AUDIO_TOKENS = "audio_tokens"
"""Name of a clip's tokens of sound (B, A, D_a) among its features."""
AUDIO_QUERY = "audio_query"
"""Likewise of its audio embedding (B, D_a), which has no meaning where `has_sound` is false."""
SOUND_FEATURES = (AUDIO_TOKENS, AUDIO_QUERY, SOUND_TIMES)


def has_sound(times: Tensor) -> Tensor:
    """Which of B clips have any sound, by the times (B, A) of their tokens: (B,) bool."""
    return (times >= 0).any(dim=1)


class SoundMemory(nn.Module):
    """Tokens of sound as memory items. The bias of the projection tells them from frames."""

    def __init__(self, audio_width: int, width: int):
        super().__init__()
        self.project = nn.Linear(audio_width, width)

    def forward(
        self, features: FrameFeatures, memory: Tensor | None, indices: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Append tokens (B, A, D_a) to the frame memory (B, M, D); None for no frames.

        Returns the memory (B, M + A, D), time indices (B, M + A) and which items there are, bool.
        ``indices`` (M,) are those of the frames' items: of T' time steps, step t has its middle at
        the share (t + 0.5) / T' of the window. Tokens get the index of their own middle.
        """
        times = features[SOUND_TIMES].to(torch.float32)  # (B, A)
        is_heard = times >= 0
        at = torch.where(is_heard, times * (indices.max() + 1) - 0.5, -1.0)
        sound = self.project(features[AUDIO_TOKENS])
        if memory is None:
            return sound, at, is_heard
        own = indices.to(at.dtype).expand(memory.shape[0], -1)
        is_there = torch.ones_like(own, dtype=torch.bool)
        return (
            torch.cat([memory, sound.to(memory.dtype)], dim=1),
            torch.cat([own, at], dim=1),
            torch.cat([is_there, is_heard], dim=1),
        )


def joined_query(
    video_query: Tensor | None, features: FrameFeatures, audio_width: int
) -> Tensor | None:
    """[Q_v, Q_a] of clips, (B, D'' + D_a), from Q_v (B, D'') or None.

    Q_a is NaN where there is no sound, which the model's normalization turns into nothing. Features
    without sound at all have none.
    """
    if AUDIO_QUERY not in features:
        if video_query is None:
            return None
        audio = video_query.new_full((video_query.shape[0], audio_width), torch.nan)
    else:
        audio = features[AUDIO_QUERY]
        audio = torch.where(has_sound(features[SOUND_TIMES])[:, None], audio, torch.nan)
    if video_query is None:
        return audio
    return torch.cat([video_query, audio.to(video_query.dtype)], dim=1)
