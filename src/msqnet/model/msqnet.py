"""MSQNet, the method of the paper: label queries that know the video attend to its frames.

Axes: B clips, T frames, M memory items, K labels = queries, D width of queries and memory, D' of
the video encoder, D'' of the video query, D_t of label embeddings.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from msqnet.model.builder import build_image_encoder, build_video_encoder, sound_encoder_of
from msqnet.model.decoder import (
    MemoryEncoder,
    QueryDecoder,
    QueryEncoder,
    new_heads,
    sinusoidal_positions,
)
from msqnet.model.frame_head import FrameHead
from msqnet.model.sound import SOUND_FEATURES, SoundMemory, joined_query
from msqnet.model.video_encoders.encoder import (
    FRAME_MEMORY,
    POOLED,
    VIDEO_QUERY,
    time_positions,
)

if TYPE_CHECKING:
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.video_encoders.encoder import FrameFeatures


@dataclass
class MSQNetOutput(ModelOutput):
    """The outputs of a model.

    Attributes:
        loss: () float32, where labels were given.
        logits: (B, K) float; `MSQNet.scores` turns them into scores.
        decoder_logits: (B, K) float, the part that came through the decoder.
        query_logits: (B, K) float, the part straight from the video query, or None; with it,
            ``logits`` are the mean of the two parts, weighted by the config's ``query_share``.
        frame_logits: (B, T, K) float32 of the frames, where the model has a `FrameHead`; not on the
            scale of ``logits``.
        decoded: (B, K, D) float, the decoded queries Q_L.
        memory: (B, M, D) float, the frame memory F; of a model of sound alone, the memory of sound,
            0 where that is missing.
        video_query: (B, D'') float, or None.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    decoder_logits: Tensor | None = None
    query_logits: Tensor | None = None
    frame_logits: Tensor | None = None
    decoded: Tensor | None = None
    memory: Tensor | None = None
    video_query: Tensor | None = None


class MSQNetModel(nn.Module):
    """Video encoder, query encoder, decoder and head."""

    query_mean: Tensor
    query_std: Tensor
    time_positions: Tensor

    def __init__(self, config: MSQNetConfig):
        nn.Module.__init__(self)  # by name, since the class may have another base beside it
        self.config = config
        self.video_encoder: Any = build_video_encoder(config)
        # On the model's device, so that no call copies it there.
        self.register_buffer("time_positions", self.computed_positions(), persistent=False)
        self.image_encoder: Any = build_image_encoder(config)
        self.audio_encoder: Any = sound_encoder_of(config)
        query_width = self.image_encoder.width if self.image_encoder is not None else 0
        if config.video_query == "trunk":
            query_width = self.video_encoder.query_width
        self.video_query_width = query_width
        self.sound_memory: SoundMemory | None = None
        if self.audio_encoder is not None:
            self.sound_memory = SoundMemory(self.audio_encoder.width, config.width)
            query_width += self.audio_encoder.width
        self.register_buffer("query_mean", torch.zeros(query_width))
        self.register_buffer("query_std", torch.ones(query_width))
        self.query_dropout = nn.Dropout(config.video_query_dropout)
        self.project_memory = nn.Linear(self.video_encoder.width, config.width, bias=False)  # W_out
        self.memory_dropout = nn.Dropout(config.dropout)
        self.query_encoder = QueryEncoder(config, query_width)
        has_layers = config.memory_encoder_layers > 0
        self.memory_encoder = MemoryEncoder(config) if has_layers else None  # not in the paper
        self.decoder = QueryDecoder(config)
        self.head, self.query_head = new_heads(config, query_width)
        self.frame_head: FrameHead | None = None
        if config.frame_head:
            self.add_frame_head()

    def forward(
        self, features: FrameFeatures, label_embeddings: Tensor | None = None
    ) -> MSQNetOutput:
        """Score every label of every clip; numbers in parentheses are the paper's equations.

        ``features`` are what the encoders computed of each frame, (B, T, ...) by name;
        ``label_embeddings``, (K, D_t) float, stand in place of the learned ones.
        """
        frames = self.frame_memory(features)  # z_t: (1), (2) and the mean in (3)
        memory, positions, mask = self.positioned(frames, features)  # F = [v_0 .. v_T]: (3)
        text = self.query_encoder.label_embeddings if label_embeddings is None else label_embeddings
        query = self.normalized(self.clip_query(features))  # Q_v: section 3.2
        dropped = None if query is None else self.query_dropout(query)
        queries = self.query_encoder(text, dropped, memory.shape[0])  # Q_0 = W_que [Q_l, Q_v]: 3.2
        decoded = self.decoder(queries, memory, positions, mask)  # Q_L: (4), (5), (6) by layer
        decoder_logits = self.head(decoded, text)  # W_k Q_(L,k) + b_k: (7) before the activation
        query_logits = None if self.query_head is None else self.query_head(dropped, text)
        logits = decoder_logits
        if query_logits is not None:  # the direct path, not in the paper
            logits = torch.lerp(decoder_logits, query_logits, self.config.query_share)
        frame_logits = None
        if self.frame_head is not None and POOLED in features:
            frame_logits = self.frame_head(features[POOLED])
        return MSQNetOutput(
            *(None, logits, decoder_logits, query_logits, frame_logits),
            *(decoded, self._own_memory(memory, frames, mask), self._own_query(query)),
        )

    def _own_memory(self, memory: Tensor, frames: Tensor | None, mask: Tensor | None) -> Tensor:
        """Of the memory what an output holds."""
        if mask is None:
            return memory
        return memory * mask[..., None] if frames is None else memory[:, : frames.shape[1]]

    def _own_query(self, query: Tensor | None) -> Tensor | None:
        """Q_v of [Q_v, Q_a]."""
        if query is None or self.config.video_query == "none":
            return None
        return query[:, : self.video_query_width]

    def add_frame_head(self) -> FrameHead:
        """A head of frames that is yet to be fitted; the encoder must give pooled features."""
        self.config.frame_head = True
        num_labels = len(self.config.label_set)
        self.frame_head = FrameHead(num_labels, self.video_encoder.pooled_width)
        return self.frame_head.to(self.time_positions.device)

    def video_query(self, features: FrameFeatures) -> Tensor | None:
        """What the queries know of the clips, (B, D'') not yet normalized; None for nothing."""
        if self.config.video_query == "none":
            return None
        if self.config.video_query == "trunk" and VIDEO_QUERY not in features:
            own: Tensor = self.video_encoder.video_query(features)
            return own
        return features.get(VIDEO_QUERY)

    def clip_query(self, features: FrameFeatures) -> Tensor | None:
        """[Q_v, Q_a] of clips, (B, D''), not yet normalized; NaN in Q_a where sound is missing."""
        video_query = self.video_query(features)
        if self.audio_encoder is None:
            return video_query
        return joined_query(video_query, features, self.audio_encoder.width)

    def normalized(self, query: Tensor | None) -> Tensor | None:
        """With the statistics of the training clips; missing sound adds nothing to the query."""
        if query is None:
            return None
        normalized = (query - self.query_mean) / self.query_std
        if self.audio_encoder is None:
            return normalized
        video, audio = normalized.tensor_split([self.video_query_width], dim=1)
        return torch.cat([video, torch.where(audio.isnan(), 0.0, audio)], dim=1)

    def raw_video_query(self, video_query: Tensor) -> Tensor:
        """Q_v of an output, (B, D''), as it was before it was normalized."""
        width = self.video_query_width
        return video_query * self.query_std[:width] + self.query_mean[:width]

    def frame_memory(self, features: FrameFeatures) -> Tensor | None:
        """The encoder's frame memory, (B, M, D'); None for a model of sound alone."""
        if not self.config.frame_memory:
            return None
        if FRAME_MEMORY in features:
            return features[FRAME_MEMORY]
        own = {name: values for name, values in features.items() if name not in SOUND_FEATURES}
        memory: Tensor = self.video_encoder.memory(own)
        return memory

    def positioned(
        self, frames: Tensor | None, features: FrameFeatures
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The memory of clips as the decoder takes it, with the sound of their ``features``.

        Frames (B, M, D'), or None -> memory (B, M, D), positions to add to its keys, (M, D) or
        (B, M, D), and which items there are, (B, M) bool; None for all.
        """
        indices, mask = self.time_positions, None
        memory: Any = None if frames is None else self.project_memory(frames)
        if self.sound_memory is not None:
            memory, indices, mask = self.sound_memory(features, memory, indices)
        table = sinusoidal_positions(indices, self.config.width)
        positions = table.to(memory.dtype)
        keys: Tensor | None = positions
        if self.config.memory_positions == "input":
            memory, keys = self.memory_dropout(memory + positions), None
        if self.memory_encoder is not None:
            memory = self.memory_encoder(memory, keys, mask)
        return memory, keys, mask

    def computed_positions(self) -> Tensor:
        """(M,) int64, time index of each memory item; -1 for an item of the whole clip."""
        spans = self.video_encoder.memory_spans(self.config.clip_config.num_frames)
        return torch.tensor(time_positions(spans))


def __getattr__(name: str) -> Any:  # the former place of `MSQNet`
    if name == "MSQNet":
        warnings.warn("MSQNet: import it from msqnet", FutureWarning, stacklevel=2)
        return importlib.import_module("msqnet.model.pretrained").MSQNet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
