"""MSQNet: label queries that know the video look at its frames and score every action.

Axes: B clips, T frames, G looks (1, or 2 with the close-up), M memory items, K labels = queries,
D width of queries and memory, D' of the video encoder, D'' of the video query, D_t of label
embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from msqnet.errors import ConfigError, ShapeError
from msqnet.model.configuration import CLIPVisionConfig, LiteConfig, MSQNetConfig, TimesformerConfig
from msqnet.model.decoder import QueryDecoder
from msqnet.model.heads import GroupWiseLinear, VideoQueryHead
from msqnet.model.loading import check_loaded, check_report, loading_from
from msqnet.model.positional import sinusoidal_positions
from msqnet.model.query_encoders.clip import ClipImageEncoder
from msqnet.model.video_encoders.lite import LiteVideoEncoder, TrunkFeatures, video_statistics
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder

if TYPE_CHECKING:
    from pathlib import Path

VIDEO_ENCODERS: dict[type, type[nn.Module]] = {
    LiteConfig: LiteVideoEncoder,
    TimesformerConfig: TimesformerVideoEncoder,
}
IMAGE_ENCODERS: dict[type, type[nn.Module]] = {CLIPVisionConfig: ClipImageEncoder}


def _build(registry: dict[type, type[nn.Module]], config: Any, what: str) -> Any:
    if type(config) not in registry:
        known = ", ".join(kind.__name__ for kind in registry)
        raise ConfigError(f"no {what} for {type(config).__name__}; expected one of {known}")
    return registry[type(config)](config)


@dataclass
class MSQNetOutput(ModelOutput):
    """What `MSQNet.forward` returns.

    Attributes:
        logits: (B, K) float; `MSQNet.scores` turns them into scores.
        decoder_logits: (B, K) float, the part that came through the decoder.
        query_logits: (B, K) float, the part straight from the video query, or None; with it,
            ``logits`` are the mean of the two parts, weighted by the config's ``query_share``.
        decoded: (B, K, D) float, the decoded queries Q_L.
        memory: (B, M, D) float, the frame memory F.
        video_query: (B, D'') float, or None.
    """

    logits: Tensor | None = None
    decoder_logits: Tensor | None = None
    query_logits: Tensor | None = None
    decoded: Tensor | None = None
    memory: Tensor | None = None
    video_query: Tensor | None = None


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

    def forward(self, video_query: Tensor | None, batch_size: int) -> Tensor:
        """(B, D'') float or None -> (B, K, D) float."""
        queries: Tensor = self.project_labels(self.label_embeddings)  # (K, D)
        if self.project_video is None or video_query is None:
            return queries.expand(batch_size, -1, -1)
        from_video: Tensor = self.project_video(video_query)  # (B, D)
        return queries + from_video[:, None]  # (B, K, D)


class MSQNet(PreTrainedModel):
    """The model of the paper as a Hugging Face model.

    ``from_pretrained`` computes in float32 unless told otherwise, whatever the file holds, and
    refuses weights that are missing or not finite.
    """

    config_class = MSQNetConfig
    config: MSQNetConfig
    base_model_prefix = "msqnet"
    main_input_name = "pixels"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    query_mean: Tensor
    query_std: Tensor

    def __init__(self, config: MSQNetConfig):
        super().__init__(config)
        self.video_encoder = _build(VIDEO_ENCODERS, config.video_encoder, "video encoder")
        self.image_encoder = None
        query_width = 0
        if config.video_query == "image":
            self.image_encoder = _build(IMAGE_ENCODERS, config.image_encoder, "image encoder")
            query_width = self.image_encoder.width
        elif config.video_query == "trunk":
            query_width = self.video_encoder.query_width
        self.register_buffer("query_mean", torch.zeros(query_width))
        self.register_buffer("query_std", torch.ones(query_width))
        self.query_dropout = nn.Dropout(config.video_query_dropout)
        self.project_memory = nn.Linear(self.video_encoder.width, config.width, bias=False)  # W_out
        self.query_encoder = QueryEncoder(config, query_width)
        num_labels = len(config.label_set)
        self.decoder = QueryDecoder(
            config.decoder_layers,
            config.width,
            config.decoder_heads,
            config.decoder_feedforward,
            config.dropout,
            num_query_positions=num_labels if config.query_positions == "learned" else 0,
        )
        self.head = GroupWiseLinear(num_labels, config.width)
        self.query_head = (
            VideoQueryHead(num_labels, query_width) if config.video_query_to_scores else None
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise what is ours; encoders initialise themselves.

        Linear layers Xavier-uniform and embeddings N(0, 0.02), as DETR's transformer does.
        """
        init = nn.init
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, QueryEncoder):
            init.normal_(module.label_embeddings, std=0.02)
        elif isinstance(module, GroupWiseLinear):
            module.reset_parameters()
        elif isinstance(module, LiteVideoEncoder):
            for parameter in (module.cell_positions, module.frame_positions, module.global_token):
                init.normal_(parameter, std=0.02)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> MSQNet:
        """Load a model folder or hub id; see `transformers.PreTrainedModel.from_pretrained`.

        Raises:
            CheckpointError: a tensor is missing, unexpected, without values or not finite.
        """
        origin = str(args[0] if args else kwargs.get("pretrained_model_name_or_path"))
        kwargs.setdefault("dtype", torch.float32)
        with loading_from(origin):
            loaded: Any = super().from_pretrained(*args, **kwargs, output_loading_info=True)
        model: MSQNet = loaded[0]
        check_report(loaded[1], origin)
        check_loaded(model, origin)
        # A mapped file's tensors lie at any address; copies are aligned, and matrix products then
        # give the same bits as before saving.
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
        # Loading makes every parameter trainable again.
        learned = model.config.learn_label_queries
        model.query_encoder.label_embeddings.requires_grad_(learned)
        return model

    def train(self, mode: bool = True) -> MSQNet:
        """Set the mode, but leave every module without a trainable parameter in eval mode."""
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def encode(
        self, pixels: Tensor, closeups: Tensor | None
    ) -> tuple[Tensor | TrunkFeatures, Tensor | None]:
        """The part of the forward pass that depends on the encoders' input alone.

        Args:
            pixels: (B, T, 3, H, W) uint8.
            closeups: (B, T, 3, H, W) uint8 or None.

        Returns:
            What `video_encoder` takes (for ``lite`` its trunk's features, else the pixels), and
            the video query (B, D''), not yet standardised.
        """
        query: Tensor | None = None
        features: Tensor | TrunkFeatures = pixels
        if isinstance(self.video_encoder, LiteVideoEncoder):
            features = self.video_encoder.features(pixels, closeups)
            query = (
                video_statistics(features.pooled) if self.config.video_query == "trunk" else None
            )
        elif closeups is not None:
            raise ShapeError("this model takes no close-up; its clip settings say closeup: false")
        if self.image_encoder is not None:
            query = self.image_encoder(pixels).mean(dim=1)  # (B, T, D'') -> (B, D'')
        return features, query

    def forward(
        self,
        pixels: Tensor | None = None,
        closeups: Tensor | None = None,
        trunk_maps: Tensor | None = None,
        trunk_pooled: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MSQNetOutput:
        """Score every label of every clip.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB.
            closeups: (B, T, 3, H, W) uint8 RGB of what moves, where the model takes a second look.
            trunk_maps: with ``trunk_pooled`` in place of pixels: `TrunkFeatures` of ``lite``.
            trunk_pooled: see there.
            labels: ignored; accepted because data collators of `transformers` pass it along.

        Returns:
            Logits (B, K) and what they were made of.
        """
        if pixels is None:
            if trunk_maps is None or trunk_pooled is None:
                raise ShapeError("neither pixels nor trunk features were given")
            features: Any = TrunkFeatures(trunk_maps, trunk_pooled)
            video_query = (
                video_statistics(trunk_pooled) if self.config.video_query == "trunk" else None
            )
        else:
            features, video_query = self.encode(pixels, closeups)
        memory = self.project_memory(self.video_encoder(features))  # (B, M, D)
        if video_query is not None:
            video_query = (video_query - self.query_mean) / self.query_std
        dropped = None if video_query is None else self.query_dropout(video_query)
        queries = self.query_encoder(dropped, len(memory))  # (B, K, D)
        decoded = self.decoder(queries, memory, self._memory_positions(memory))
        decoder_logits = self.head(decoded)
        query_logits = None if self.query_head is None else self.query_head(dropped)
        logits = decoder_logits
        if query_logits is not None:
            logits = torch.lerp(decoder_logits, query_logits, self.config.query_share)
        return MSQNetOutput(logits, decoder_logits, query_logits, decoded, memory, video_query)

    def _memory_positions(self, memory: Tensor) -> Tensor:
        """(M, D) float: sinusoids of each item's time, zero for the global token."""
        num_frames = self.config.clip_config.num_frames
        indices = self.video_encoder.time_positions(num_frames)
        return sinusoidal_positions(indices, self.config.width, device=memory.device)

    def scores(self, logits: Tensor) -> Tensor:
        """Calibrated scores.

        Args:
            logits: (B, K) float.

        Returns:
            (B, K) float32 in [0, 1]: sigmoid of scale * logit + bias, or softmax for single-label
            models.
        """
        scale = logits.new_tensor(self.config.calibration_scale, dtype=torch.float32)
        bias = logits.new_tensor(self.config.calibration_bias, dtype=torch.float32)
        calibrated = logits.float() * scale + bias
        if self.config.task == "single_label":
            return calibrated.softmax(dim=-1)
        return calibrated.sigmoid()


def save_in_half(model: MSQNet, folder: str | Path) -> None:
    """Save a model folder with matrices in half precision, at half the size.

    Vectors (norms, biases, batch-norm and query statistics) stay in float32: they are small, and
    some leave the range of half precision. Loading computes in float32 as always.
    """
    weights = {
        name: tensor.detach().half() if tensor.ndim > 1 else tensor.detach()
        for name, tensor in model.state_dict().items()
    }
    model.save_pretrained(folder, state_dict=weights)


AutoConfig.register("msqnet_lite", LiteConfig)
AutoConfig.register("msqnet", MSQNetConfig)
AutoModel.register(MSQNetConfig, MSQNet)
