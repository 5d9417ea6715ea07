"""The network of TimeSformer, with attention that can be fused, and looked at.

Names and values of all parameters are those of `transformers.TimesformerModel`, and so is the
result (`tests/parity`). That one computes attention in one way only and gives out the weights of
its attention over space alone; here both kinds are computed by `msqnet.model.attention`. The
embeddings, the drop of whole branches and the initialisation are used from there.

Axes: B clips, T frames, P patches of a frame, D' width. Tokens are ordered patch-major: the global
token, then token 1 + p*T + t.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.timesformer.modeling_timesformer import (
    TimesformerDropPath,
    TimesformerEmbeddings,
    TimesformerPreTrainedModel,
)

from msqnet.model.attention import Attention
from msqnet.model.folding import Foldable

if TYPE_CHECKING:
    from transformers import TimesformerConfig

_DIVIDED = "divided_space_time"


class _Dense(nn.Module):
    """A linear layer under the name that checkpoints give it."""

    def __init__(self, width_in: int, width_out: int, dropout: float = 0.0):
        super().__init__()
        self.dense = nn.Linear(width_in, width_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.dense(x))
        return result


class SelfAttention(Attention):
    """Attention of tokens to each other, queries, keys and values by one matrix."""

    def __init__(self, config: TimesformerConfig):
        super().__init__(config.attention_probs_dropout_prob)
        self.num_heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D') -> (B, N, D')."""
        joint = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1))  # (B, N, 3, A, d)
        queries, keys, values = joint.permute(2, 0, 3, 1, 4)  # each (B, A, N, d)
        return self.attend(queries, keys, values).transpose(1, 2).flatten(2)  # (B, N, D')


class _AttentionBlock(nn.Module):
    """Self-attention and its output projection, under the names that checkpoints give them."""

    def __init__(self, config: TimesformerConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.output = _Dense(config.hidden_size, config.hidden_size, config.hidden_dropout_prob)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.output(self.attention(tokens))
        return result


class _Intermediate(nn.Module):
    def __init__(self, config: TimesformerConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        activation = config.hidden_act
        self.activation = ACT2FN[activation] if isinstance(activation, str) else activation
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.activation(self.dense(x)))
        return result


class TimesformerLayer(Foldable, GradientCheckpointingLayer):
    """One layer: divided attention over time, then over space; or joint attention over both.

    Attributes:
        attention: over space, the global token taking part in every frame; with joint attention
            over all tokens.
        temporal_attention: over time at each patch; only with divided attention.
        folded_weight: (D', D') float, of both linear layers after the attention over time.
        folded_bias: (D',) float, likewise.
    """

    def __init__(self, config: TimesformerConfig, drop_path: float):
        super().__init__()
        self.num_frames = config.num_frames
        self.is_divided = config.attention_type == _DIVIDED
        self.drop_path = TimesformerDropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.attention = _AttentionBlock(config)
        self.intermediate = _Intermediate(config)
        self.output = _Dense(
            config.intermediate_size, config.hidden_size, config.hidden_dropout_prob
        )
        width, epsilon = config.hidden_size, config.layer_norm_eps
        self.layernorm_before = nn.LayerNorm(width, eps=epsilon)
        self.layernorm_after = nn.LayerNorm(width, eps=epsilon)
        if self.is_divided:
            self.temporal_layernorm = nn.LayerNorm(width, eps=epsilon)
            self.temporal_attention = _AttentionBlock(config)
            self.temporal_dense = nn.Linear(width, width)

    def made_of_weights(self) -> tuple[Tensor, Tensor] | None:
        """One of the two linear layers after the attention over time, W2 (W1 x + b1) + b2.

        Nothing but dropout lies between them, so this holds in eval mode.
        """
        if not self.is_divided:
            return None
        first, second = self.temporal_attention.output.dense, self.temporal_dense
        # A layer that was wrapped, for instance by an adapter, computes more than its weight says.
        if type(first) is not nn.Linear or type(second) is not nn.Linear:
            return None
        return second.weight @ first.weight, second.weight @ first.bias + second.bias

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 1 + P*T, D') -> (B, 1 + P*T, D')."""
        if self.is_divided:
            tokens = self._over_space(tokens[:, :1], self._over_time(tokens[:, 1:]))
        else:
            tokens = tokens + self.drop_path(self.attention(self.layernorm_before(tokens)))
        changed = self.output(self.intermediate(self.layernorm_after(tokens)))
        result: Tensor = tokens + self.drop_path(changed)
        return result

    def _over_time(self, patches: Tensor) -> Tensor:
        """(B, P*T, D') -> (B, P, T, D')."""
        patches = patches.unflatten(1, (-1, self.num_frames))  # (B, P, T, D')
        normed = self.temporal_layernorm(patches).flatten(0, 1)
        if self.folded_weight is None:
            seen = self.temporal_dense(self.drop_path(self.temporal_attention(normed)))
        else:
            mixed = self.temporal_attention.attention(normed)
            seen = F.linear(mixed, self.folded_weight, self.folded_bias)
        result: Tensor = patches + seen.unflatten(0, patches.shape[:2])
        return result

    def _over_space(self, global_token: Tensor, patches: Tensor) -> Tensor:
        """(B, 1, D') and (B, P, T, D') -> (B, 1 + P*T, D').

        The global token's answers in the frames are averaged.
        """
        frames = patches.transpose(1, 2)  # (B, T, P, D')
        repeated = global_token[:, None].expand(-1, self.num_frames, -1, -1)  # (B, T, 1, D')
        tokens = torch.cat([repeated, frames], dim=2).flatten(0, 1)  # (B*T, 1 + P, D')
        seen = self.drop_path(self.attention(self.layernorm_before(tokens)))
        seen = seen.unflatten(0, frames.shape[:2])  # (B, T, 1 + P, D')
        global_token = global_token + seen[:, :, 0].mean(dim=1, keepdim=True)
        patches = patches + seen[:, :, 1:].transpose(1, 2)  # (B, P, T, D')
        return torch.cat([global_token, patches.flatten(1, 2)], dim=1)


class _Encoder(nn.Module):
    def __init__(self, config: TimesformerConfig):
        super().__init__()
        rates = torch.linspace(0, config.drop_path_rate, config.num_hidden_layers, device="cpu")
        self.layer = nn.ModuleList(TimesformerLayer(config, rate) for rate in rates.tolist())

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.layer:
            tokens = layer(tokens)
        return tokens


class TimesformerBackbone(TimesformerPreTrainedModel):
    """Clips to tokens.

    Args:
        config: its ``num_frames`` is T and must be that of every clip; ``attention_type`` is
            "divided_space_time" or "joint_space_time".

    Attributes:
        encoder: its ``layer`` holds the `TimesformerLayer`s.
    """

    _supports_sdpa = True

    def __init__(self, config: TimesformerConfig):
        super().__init__(config)
        self.embeddings = TimesformerEmbeddings(config)
        self.encoder = _Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, standardised -> (B, 1 + P*T, D') after the last layer norm."""
        patches = self.patches(pixels.flatten(0, 1))
        return self.tokens(patches.unflatten(0, pixels.shape[:2]))

    def patches(self, frames: Tensor) -> Tensor:
        """Embeddings of the patches of single frames, with their positions in space.

        Args:
            frames: (N, 3, H, W) float, standardised.

        Returns:
            (N, P, D') float.
        """
        cells: Tensor = self.embeddings.patch_embeddings.projection(frames)  # (N, D', h, w)
        positions: Tensor = self.embeddings.position_embeddings[:, 1:]  # (1, P, D')
        return cells.flatten(2).transpose(1, 2) + positions

    def tokens(self, patches: Tensor) -> Tensor:
        """(B, T, P, D') from `patches` -> (B, 1 + P*T, D') after the last layer norm."""
        parts: Any = self.embeddings
        global_token = parts.cls_token + parts.position_embeddings[:, :1]  # (1, 1, D')
        global_token = parts.pos_drop(global_token.expand(patches.shape[0], -1, -1))
        over_time = parts.pos_drop(patches).transpose(1, 2) + parts.time_embeddings
        over_time = parts.time_drop(over_time).flatten(1, 2)  # (B, P*T, D')
        tokens = torch.cat([global_token, over_time], dim=1)
        return cast("Tensor", self.layernorm(self.encoder(tokens)))
