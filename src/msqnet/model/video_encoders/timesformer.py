"""TimeSformer as a video encoder: the paper's default (equations 1 to 3).

The network is written here, although `transformers.TimesformerModel` has the same parameters under
the same names and gives the same result (`tests/parity`): that one computes attention in one way
only, and gives out the weights of its attention over space alone. Here both kinds are computed by
`msqnet.model.attention`, fused or recorded. The embeddings, the drop of whole branches and the
initialisation are used from there. Published Kinetics weights are CC-BY-NC 4.0.

Axes: B clips, T frames, P patches of a frame, D' width. Tokens are ordered patch-major: the global
token, then token 1 + p*T + t.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TimesformerConfig, TimesformerModel
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.timesformer.modeling_timesformer import (
    TimesformerDropPath,
    TimesformerEmbeddings,
    TimesformerPreTrainedModel,
)

from msqnet.errors import check
from msqnet.model.attention import Attention, through, through_divided
from msqnet.model.checkpoints import changed, filled, load_backbone
from msqnet.model.computing import Fusable
from msqnet.model.video_encoders.encoder import (
    RANDOM,
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    check_patches,
    frame_spans,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import ArchConfig, ClipConfig
    from msqnet.model.attention import AttentionRecord

FramePooling = Literal["frames", "flat"]
TimeEmbeddings = Literal["interpolated", "zeros"]


class _Dense(nn.Sequential):
    """Linear layer, activation and dropout, under the name that checkpoints give the layer."""

    def __init__(self, width_in: int, width_out: int, dropout: float, activation: Any = None):
        super().__init__()
        self.dense = nn.Linear(width_in, width_out)
        if isinstance(activation, str):
            activation = ACT2FN[activation]
        self.activation = activation or nn.Identity()
        self.dropout = nn.Dropout(dropout)


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


class _AttentionBlock(nn.Sequential):
    """Self-attention and its output projection, under the names that checkpoints give them."""

    def __init__(self, config: TimesformerConfig):
        super().__init__()
        self.attention = SelfAttention(config)
        self.output = _Dense(config.hidden_size, config.hidden_size, config.hidden_dropout_prob)


class TimesformerLayer(Fusable, GradientCheckpointingLayer):
    """One layer: divided attention over time, then over space; or joint attention over both.

    ``attention`` is that over space, the global token taking part in every frame, or over all
    tokens; ``temporal_attention``, at each patch, exists with divided attention only. Weight
    (D', D') and bias (D',) of both linear layers after the latter are fused.
    """

    def __init__(self, config: TimesformerConfig, drop_path: float):
        super().__init__()
        self.num_frames = config.num_frames
        self.is_divided = config.attention_type == "divided_space_time"
        self.drop_path = TimesformerDropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.attention = _AttentionBlock(config)
        inner, dropout = config.intermediate_size, config.hidden_dropout_prob
        self.intermediate = _Dense(config.hidden_size, inner, dropout, config.hidden_act)
        self.output = _Dense(inner, config.hidden_size, dropout)
        width, epsilon = config.hidden_size, config.layer_norm_eps
        self.layernorm_before = nn.LayerNorm(width, eps=epsilon)
        self.layernorm_after = nn.LayerNorm(width, eps=epsilon)
        if self.is_divided:
            self.temporal_layernorm = nn.LayerNorm(width, eps=epsilon)
            self.temporal_attention = _AttentionBlock(config)
            self.temporal_dense = nn.Linear(width, width)

    def fused(self) -> tuple[Tensor, Tensor] | None:
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
        return cast("Tensor", tokens + self.drop_path(changed))

    def _over_time(self, patches: Tensor) -> Tensor:
        """(B, P*T, D') -> (B, P, T, D')."""
        patches = patches.unflatten(1, (-1, self.num_frames))  # (B, P, T, D')
        normed = self.temporal_layernorm(patches).flatten(0, 1)
        if self.fused_weight is None:
            attn_output = self.temporal_dense(self.drop_path(self.temporal_attention(normed)))
        else:
            mixed = self.temporal_attention.attention(normed)
            attn_output = F.linear(mixed, self.fused_weight, self.fused_bias)
        return cast("Tensor", patches + attn_output.unflatten(0, patches.shape[:2]))

    def _over_space(self, global_token: Tensor, patches: Tensor) -> Tensor:
        """(B, 1, D') and (B, P, T, D') -> (B, 1 + P*T, D').

        The global token's outputs in the frames are averaged.
        """
        frames = patches.transpose(1, 2)  # (B, T, P, D')
        repeated = global_token[:, None].expand(-1, self.num_frames, -1, -1)  # (B, T, 1, D')
        tokens = torch.cat([repeated, frames], dim=2).flatten(0, 1)  # (B*T, 1 + P, D')
        attn_output = self.drop_path(self.attention(self.layernorm_before(tokens)))
        attn_output = attn_output.unflatten(0, frames.shape[:2])  # (B, T, 1 + P, D')
        global_token = global_token + attn_output[:, :, 0].mean(dim=1, keepdim=True)
        patches = patches + attn_output[:, :, 1:].transpose(1, 2)  # (B, P, T, D')
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
    """Clips of ``config.num_frames`` frames to tokens, by divided or joint space-time attention."""

    _supports_sdpa = True

    def __init__(self, config: TimesformerConfig):
        super().__init__(config)
        self.embeddings = TimesformerEmbeddings(config)
        self.encoder = _Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, normalized -> (B, 1 + P*T, D') after the last layer norm."""
        patches = self.patches(pixels.flatten(0, 1))
        return self.tokens(patches.unflatten(0, pixels.shape[:2]))

    def patches(self, frames: Tensor) -> Tensor:
        """Embeddings of the patches of single frames, with their positions in space.

        (N, 3, H, W) float, normalized -> (N, P, D') float.
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


class TimesformerVideoEncoder(VideoEncoder):
    """Frame memory from a divided space-time transformer.

    With tokens z_(p,t) after the backbone's last layer norm, P patches and T frames::

        frames: [z_0, v_1 .. v_T], v_t = mean_p z_(p,t)                       (T + 1 items)
        flat:   the token sequence z_0, z_(1,1) .. z_(P,T) averaged in T bins (T items)

    ``flat`` is what the authors' released code does. Tokens are ordered patch-major, so its bins
    are horizontal image strips averaged over time, not frames; it exists so that published results
    can be compared. The width projection W_out is not part of this.

    ``config.num_frames`` must be T of every clip: the backbone reshapes with it, so that another
    one gives wrong attention, not an error. Tokens that are not laid out as above are a
    `ConfigError`.
    """

    config_class = TimesformerConfig  # its defaults are TimeSformer-B/16 with divided attention
    display_name = "TimeSformer"
    licence = "TimeSformer weights: CC-BY-NC 4.0 (not for commercial use)"

    def __init__(self, config: TimesformerConfig, *, frame_pooling: FramePooling = "frames"):
        check(
            frame_pooling in ("frames", "flat"),
            f"frame_pooling {frame_pooling!r}: expected 'frames' or 'flat'",
        )
        check(
            config.attention_type != "space_only",
            "TimeSformer attention_type 'space_only' has no token of one patch in one frame; "
            "use 'divided_space_time' or 'joint_space_time'",
        )
        size, patch = config.image_size, config.patch_size
        check_patches("TimeSformer", size, patch, config.num_channels, config.num_frames)
        # The published weights were trained with these statistics.
        statistics = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
        super().__init__(config, width=config.hidden_size, pixel_statistics=statistics)
        self.frame_pooling = frame_pooling
        self.backbone = TimesformerBackbone(config)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip and each frame; with ``flat`` the T bins count as frames, as they did."""
        frames = frame_spans(num_frames)
        return frames if self.frame_pooling == "flat" else (None, *frames)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """Patch embeddings (N, P, D') with their positions in space, as "patches"."""
        features = super().frame_features(frames)
        return {"patches": self.backbone.patches(features["pixels"])}

    def _memory(self, features: FrameFeatures) -> Tensor:
        tokens = self.backbone.tokens(features["patches"])  # (B, 1 + P*T, D')
        num_frames = self.config.num_frames
        if self.frame_pooling == "flat":
            pooled = F.adaptive_avg_pool1d(tokens.transpose(1, 2), num_frames)  # (B, D', T)
            return pooled.transpose(1, 2)  # (B, T, D')
        patches = tokens[:, 1:].unflatten(1, (-1, num_frames))  # (B, P, T, D')
        return torch.cat([tokens[:, :1], patches.mean(dim=1)], dim=1)  # (B, T + 1, D')

    @classmethod
    def from_arch(cls, arch: ArchConfig, clip: ClipConfig) -> TimesformerVideoEncoder:
        """With time embeddings as the settings say."""
        if arch.video_weights == RANDOM:
            return super().from_arch(arch, clip)
        form, time = (clip.num_frames, clip.size_pixels), arch.time_embeddings
        return cls.from_pretrained(arch.video_weights, *form, time_embeddings=time)

    @classmethod
    def from_model_config(cls, config: Any) -> TimesformerVideoEncoder:
        """With the frame pooling of the model."""
        return cls(config.video_encoder, frame_pooling=config.frame_pooling)

    @property
    def model_settings(self) -> dict[str, Any]:
        """The frame pooling."""
        return {"frame_pooling": self.frame_pooling}

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        num_frames: int,
        image_size: int | None = None,
        *,
        frame_pooling: FramePooling = "frames",
        time_embeddings: TimeEmbeddings = "interpolated",
    ) -> TimesformerVideoEncoder:
        """Start from Hugging Face TimeSformer weights, with or without their classifier.

        The weights are loaded at their own number of frames; the time embeddings are then
        interpolated linearly where it differs, and the position embeddings bicubically where the
        size does. Errors are those of the base class.

        Args:
            image_size: by default the checkpoint's.
            frame_pooling: see the class.
            time_embeddings: ``zeros`` drops those of another number of frames instead, as loading
                with ``ignore_mismatched_sizes`` in transformers 4 did, and with it the authors'
                released code.
        """
        source = load_backbone(
            TimesformerModel,
            name_or_folder,
            model_types={"timesformer"},
            ignored_prefixes=("classifier.",),
        )
        config = changed(
            source.config, num_frames=num_frames, image_size=image_size or source.config.image_size
        )
        embeddings = source.embeddings
        weights = source.state_dict()
        in_time = embeddings.time_embeddings.detach()
        if time_embeddings == "zeros" and in_time.shape[1] != num_frames:
            in_time = torch.zeros(1, num_frames, config.hidden_size)
        weights["embeddings.time_embeddings"] = interpolate_time_embeddings(in_time, num_frames)
        weights["embeddings.position_embeddings"] = interpolate_position_embeddings(
            embeddings.position_embeddings.detach(), config.image_size // config.patch_size
        )
        return filled(
            lambda: cls(config, frame_pooling=frame_pooling), {"backbone": weights}, name_or_folder
        )

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """See the base class; a memory item is the mean of a frame's patches, or of a bin."""
        grid = self.config.image_size // self.config.patch_size
        num_frames, num_patches = self.config.num_frames, grid**2
        if self.frame_pooling == "flat":
            tokens = _spread_over_bins(memory, 1 + num_patches * num_frames)
            on_global, on_patches = _unpacked(tokens, num_frames)
        else:
            on_global = memory[:, 0]
            on_patches = memory[:, 1:, None].expand(-1, -1, num_patches) / num_patches  # (K, T, P)
        layers: list[Any] = list(self.backbone.encoder.layer)
        for layer in reversed(layers):
            over_space = attention.mean_of(layer.attention.attention)
            if layer.is_divided:
                over_time = attention.mean_of(layer.temporal_attention.attention)
                on_patches, on_global = through_divided(
                    on_patches, on_global, over_space, over_time
                )
            else:
                tokens = torch.cat([on_global[:, None], on_patches.mT.flatten(1)], dim=1)
                on_global, on_patches = _unpacked(through(tokens, over_space[0]), num_frames)
        maps: Tensor = on_patches.unflatten(2, (grid, grid))[:, None]
        return maps  # (K, 1, T, h, w)


def interpolate_time_embeddings(embeddings: Tensor, num_frames: int) -> Tensor:
    """Interpolate time embeddings (1, T_old, D') linearly to (1, T, D'); the ends keep theirs.

    Deviation: transformers would take the nearest one, giving pairs of frames the same time. The
    input itself is returned where T is T_old.
    """
    if embeddings.shape[1] == num_frames:
        return embeddings
    in_time = F.interpolate(embeddings.mT, size=num_frames, mode="linear", align_corners=True)
    return in_time.mT  # (1, D', T) -> (1, T, D')


def interpolate_position_embeddings(embeddings: Tensor, grid_size: int) -> Tensor:
    """Resize the position embeddings of a square patch grid bicubically.

    (1, 1 + G_old * G_old, D') float -> (1, 1 + G * G, D'); the input itself where G is G_old. The
    global token's, item 0, is kept.
    """
    old_size = round((embeddings.shape[1] - 1) ** 0.5)
    if old_size == grid_size:
        return embeddings
    grid = embeddings[:, 1:].transpose(1, 2)  # (1, D', G_old * G_old)
    grid = grid.reshape(1, -1, old_size, old_size)  # (1, D', G_old, G_old)
    resized = F.interpolate(grid, size=grid_size, mode="bicubic", align_corners=False)
    patches = resized.flatten(2).transpose(1, 2)  # (1, D', G, G) -> (1, G * G, D')
    return torch.cat([embeddings[:, :1], patches], dim=1)


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
