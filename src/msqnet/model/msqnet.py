"""MSQNet: label queries that know the video look at its frames and score every action.

Axes: B clips, T frames, G looks (1, or 2 with the close-up), M memory items, K labels = queries,
D width of queries and memory, D' of the video encoder, D'' of the video query, D_t of label
embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from msqnet.errors import ShapeError, VocabularyError
from msqnet.model.attention import check_attention, set_attention
from msqnet.model.configuration import OPEN_ADVICE, MSQNetConfig
from msqnet.model.decoder import MemoryEncoder, QueryDecoder
from msqnet.model.encoders import build_image_encoder, build_video_encoder, resized
from msqnet.model.folding import Foldable
from msqnet.model.heads import GroupWiseLinear, TextAlignment
from msqnet.model.loading import align, check_loaded, check_report, loading_from
from msqnet.model.parts import QueryEncoder, decoder_head, query_head, stack_sizes
from msqnet.model.positional import sinusoidal_positions
from msqnet.model.video_encoders.encoder import of_clips, time_positions
from msqnet.model.video_encoders.lite import LiteVideoEncoder, TrunkFeatures, video_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from msqnet.config import ClipConfig
    from msqnet.model.query_encoders.image_encoder import ImageEncoder
    from msqnet.model.query_encoders.text_encoder import Embedding, TextEncoder
    from msqnet.model.video_encoders.encoder import FrameFeatures, VideoEncoder


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


class MSQNet(PreTrainedModel):
    """The model of the paper as a Hugging Face model.

    ``from_pretrained`` computes in float32 unless told otherwise, whatever the file holds, and
    refuses weights that are missing or not finite. ``attn_implementation`` is "sdpa" (default) or
    "eager"; it holds for the encoders too, where they have it.
    """

    config_class = MSQNetConfig
    config: MSQNetConfig
    base_model_prefix = "msqnet"
    main_input_name = "pixels"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    query_mean: Tensor
    query_std: Tensor
    time_positions: Tensor

    def __init__(self, config: MSQNetConfig):
        check_attention(config._attn_implementation)
        super().__init__(config)
        self.video_encoder: Any = build_video_encoder(config)
        # On the model's device, so that no call copies it there.
        self.register_buffer("time_positions", self._computed_positions(), persistent=False)
        self.image_encoder: Any = None
        query_width: Any = 0
        if config.video_query == "image":
            self.image_encoder = build_image_encoder(config)
            query_width = self.image_encoder.width
        elif config.video_query == "trunk":
            query_width = self.video_encoder.query_width
        self.register_buffer("query_mean", torch.zeros(query_width))
        self.register_buffer("query_std", torch.ones(query_width))
        self.query_dropout = nn.Dropout(config.video_query_dropout)
        self.project_memory = nn.Linear(self.video_encoder.width, config.width, bias=False)  # W_out
        self.memory_dropout = nn.Dropout(config.dropout)
        self.query_encoder = QueryEncoder(config, query_width)
        self.memory_encoder = (
            MemoryEncoder(stack_sizes(config, config.memory_encoder_layers))
            if config.memory_encoder_layers
            else None
        )
        num_labels = len(config.label_set)
        self.decoder = QueryDecoder(
            stack_sizes(config, config.decoder_layers),
            query_attention=config.query_attention,
            num_query_positions=num_labels if config.query_positions == "learned" else 0,
        )
        self.head = decoder_head(config)
        self.query_head = query_head(config, query_width)
        self._hand_down_attention()
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
        elif isinstance(module, GroupWiseLinear | TextAlignment):
            module.reset_parameters()
        for parameter in _embeddings_of(module):
            init.normal_(parameter, std=0.02)

    def _computed_positions(self) -> Tensor:
        """(M,) int64, time index of each memory item; -1 for an item of the whole clip."""
        spans = self.video_encoder.memory_spans(self.config.clip_config.num_frames)
        return torch.tensor(time_positions(spans))

    def _hand_down_attention(self) -> None:
        """Let every part compute attention as its own configuration says."""
        for part, settings in (
            (self.decoder, self.config),
            (self.memory_encoder, self.config),
            (self.video_encoder, self.config.video_encoder),
            (self.image_encoder, self.config.image_encoder),
        ):
            if part is not None and isinstance(settings, PreTrainedConfig):
                set_attention(part, settings._attn_implementation)

    def set_attn_implementation(
        self, attn_implementation: str | dict[str, Any], allow_all_kernels: bool = False
    ) -> None:
        """Compute attention in another way from now on; see `transformers.PreTrainedModel`.

        Unlike there, encoders that are no models of `transformers` follow too, and one that lacks
        what was asked for stays as it is and is named in the log.

        Args:
            attn_implementation: "sdpa" or "eager", or names by part: "" for all but the encoders,
                "video_encoder", "image_encoder".
            allow_all_kernels: without effect; there are no kernels of others.

        Raises:
            ConfigError: neither "sdpa" nor "eager".
        """
        del allow_all_kernels
        check_attention(attn_implementation)
        self.config._attn_implementation = attn_implementation
        self._hand_down_attention()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> MSQNet:
        """Load a model folder or hub id; see `transformers.PreTrainedModel.from_pretrained`.

        Raises:
            CheckpointError: a tensor is missing, unexpected, without values or not finite.
            ConfigError: an ``attn_implementation`` that is neither "sdpa" nor "eager".
        """
        check_attention(kwargs.get("attn_implementation"))
        origin = str(args[0] if args else kwargs.get("pretrained_model_name_or_path"))
        kwargs.setdefault("dtype", torch.float32)
        with loading_from(origin):
            loaded: Any = super().from_pretrained(*args, **kwargs, output_loading_info=True)
        model: MSQNet = loaded[0]
        check_report(loaded[1], origin)
        check_loaded(model, origin)
        align(model)
        # No file holds them, and loading makes an empty buffer of what it does not find.
        model.time_positions.copy_(model._computed_positions())
        # Loading makes every parameter trainable again.
        learned = model.config.learn_label_queries
        model.query_encoder.label_embeddings.requires_grad_(learned)
        return model

    @classmethod
    def from_encoders(
        cls,
        *,
        video: VideoEncoder | str | Path,
        image: ImageEncoder | str | Path | None = None,
        text: TextEncoder | str | None = None,
        labels: Iterable[str],
        clip: ClipConfig | None = None,
        embedding: Embedding = "pooled",
        **settings: Any,
    ) -> MSQNet:
        """A new model, ready to be trained: pretrained encoders, the rest random.

        Args:
            video: the video encoder, or hub id or folder of its weights, whose ``config.json``
                tells its kind. ``lite``, ``i3d`` and ``c3d`` have no such file: give the encoder.
            image: likewise the encoder behind the video query; it is frozen in the model. None for
                no such query (``lite`` has one of its own).
            text: what label queries start from: the encoder, or a name as for `load_text_encoder`.
                None for random queries.
            labels: K names, or a `LabelSet`.
            clip: how frames become a model input; by default as a given encoder needs it, else 16
                frames of 224 pixels.
            embedding: of CLIP, for image and text encoders given by name: "pooled" (the paper) or
                "projected".
            settings: further fields of `MSQNetConfig`, and ``attn_implementation``. Its defaults
                hold, except that only ``lite`` has a path from the video query to the scores.

        Raises:
            ConfigError: settings that are unknown, told by the encoders, or do not fit each other.
            CheckpointError: weights that cannot be loaded whole, or of another kind of model.
            MissingExtra: parts of ``msqnet[lite]`` that are not installed.
            VocabularyError: a label that is empty or listed twice.

        Examples:
            >>> model = MSQNet.from_encoders(  # doctest: +SKIP
            ...     video="facebook/timesformer-base-finetuned-k400",
            ...     image="openai/clip-vit-base-patch16",
            ...     text="openai/clip-vit-base-patch16",
            ...     labels=["sit", "walk"],
            ... )
        """
        from msqnet.model.from_encoders import model_from_encoders  # which imports this module

        return model_from_encoders(
            video, image, text, labels=labels, clip=clip, embedding=embedding, settings=settings
        )

    def train(self, mode: bool = True) -> MSQNet:
        """Set the mode, but leave every module without a trainable parameter in eval mode."""
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            is_frozen = parameters and not any(part.requires_grad for part in parameters)
            if is_frozen and module is not self:
                module.eval()
        return self

    def prepare_for_inference(self) -> MSQNet:
        """Go to eval mode and compute once what the weights alone decide.

        Whoever changes weights afterwards calls `train` first, or loads them: both undo it.
        """
        self.train(mode=False)
        for module in self.modules():
            if isinstance(module, Foldable):
                module.fold()
        return self

    def frame_features(self, frames: Tensor, *, is_closeup: bool = False) -> FrameFeatures:
        """What the encoders compute of each frame alone, whatever clips it is part of.

        Args:
            frames: (N, 3, H, W) uint8 RGB.
            is_closeup: they are of the second look.

        Returns:
            By name, (N, ...) each: what the video encoder's `frame_features` gives, and the image
            embedding (N, D''), where there is one, as "image".
        """
        features: FrameFeatures = self.video_encoder.frame_features(frames)
        if self.image_encoder is not None and not is_closeup:
            inputs = resized(frames[None], self.image_encoder.config.image_size)
            features["image"] = self.image_encoder(inputs)[0]
        return features

    def encode(
        self, pixels: Tensor, closeups: Tensor | None
    ) -> tuple[FrameFeatures | TrunkFeatures, Tensor | None]:
        """The part of the forward pass that depends on the encoders' input alone.

        Args:
            pixels: (B, T, 3, H, W) uint8.
            closeups: (B, T, 3, H, W) uint8 or None.

        Returns:
            What the video encoder's `memory` takes, and the video query (B, D''), not yet
            standardised.
        """
        self.video_encoder.check_pixels(pixels, *self.video_encoder.clip_form)
        frames = of_clips(self.frame_features, pixels)
        if closeups is None:
            return self._clips(frames, None)
        self.video_encoder.check_pixels(closeups, *self.video_encoder.clip_form)
        of_closeup = partial(self.frame_features, is_closeup=True)
        return self._clips(frames, of_clips(of_closeup, closeups))

    def _clips(
        self, frames: FrameFeatures, closeups: FrameFeatures | None
    ) -> tuple[FrameFeatures | TrunkFeatures, Tensor | None]:
        """As `encode`, from what `frame_features` made, (B, T, ...) each."""
        frames = dict(frames)
        image = frames.pop("image", None)  # (B, T, D'')
        query = None if image is None else image.mean(dim=1)
        if isinstance(self.video_encoder, LiteVideoEncoder):
            looks = [frames] if closeups is None else [frames, closeups]
            trunk = self.video_encoder.joined(looks)
            if self.config.video_query == "trunk":
                query = video_statistics(trunk.pooled)
            return trunk, query
        if closeups is not None:
            raise ShapeError("this model takes no close-up; its clip settings say closeup: false")
        return frames, query

    def forward(
        self,
        pixels: Tensor | None = None,
        closeups: Tensor | None = None,
        trunk_maps: Tensor | None = None,
        trunk_pooled: Tensor | None = None,
        label_embeddings: Tensor | None = None,
        frame_memory: Tensor | None = None,
        video_query: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MSQNetOutput:
        """Score every label of every clip.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB.
            closeups: (B, T, 3, H, W) uint8 RGB of what moves, where the model takes a second look.
            trunk_maps: with ``trunk_pooled`` in place of pixels: `TrunkFeatures` of ``lite``.
            trunk_pooled: see there.
            label_embeddings: (K, D_t) float, texts to ask for instead of the model's own labels;
                open vocabularies only.
            frame_memory: (B, M, D') float, in place of pixels: what the video encoder gave.
            video_query: (B, D'') float, not standardised: with ``frame_memory``, and in place of
                the one that ``trunk_pooled`` would give.
            labels: ignored; accepted because data collators of `transformers` pass it along.

        Returns:
            Logits (B, K) and what they were made of.

        Raises:
            ShapeError: no clips, or clips of another form.
            VocabularyError: label embeddings for a model whose head is bound to its labels.
        """
        if pixels is not None:
            features, video_query = self.encode(pixels, closeups)
            frame_memory = self.video_encoder.memory(features)
        elif trunk_maps is not None and trunk_pooled is not None:
            frame_memory = self.video_encoder.memory(TrunkFeatures(trunk_maps, trunk_pooled))
            if self.config.video_query == "trunk":
                video_query = video_statistics(trunk_pooled)
        elif frame_memory is None:
            raise ShapeError("neither pixels nor what the encoders made of them was given")
        return self._answer(frame_memory, video_query, label_embeddings)

    def score_frames(
        self,
        frames: FrameFeatures,
        closeups: FrameFeatures | None = None,
        label_embeddings: Tensor | None = None,
    ) -> MSQNetOutput:
        """As `forward`, from what `frame_features` made of the frames, (B, T, ...) each."""
        features, video_query = self._clips(frames, closeups)
        return self._answer(self.video_encoder.memory(features), video_query, label_embeddings)

    def _answer(
        self, frame_memory: Tensor, video_query: Tensor | None, label_embeddings: Tensor | None
    ) -> MSQNetOutput:
        """All that comes after the encoders."""
        memory, positions = self._memory(frame_memory)
        if self.config.video_query == "none":
            video_query = None  # stored features have one, for models that use it
        if video_query is not None:
            video_query = (video_query - self.query_mean) / self.query_std
        dropped = None if video_query is None else self.query_dropout(video_query)
        text = self._text(label_embeddings)
        queries = self.query_encoder(text, dropped, memory.shape[0])  # (B, K, D)
        decoded = self.decoder(queries, memory, positions)
        decoder_logits = self.head(decoded, text)
        query_logits = None if self.query_head is None else self.query_head(dropped, text)
        logits = decoder_logits
        if query_logits is not None:
            logits = torch.lerp(decoder_logits, query_logits, self.config.query_share)
        return MSQNetOutput(logits, decoder_logits, query_logits, decoded, memory, video_query)

    def _text(self, label_embeddings: Tensor | None) -> Tensor:
        """(K, D_t) float."""
        own: Tensor = self.query_encoder.label_embeddings
        if label_embeddings is None:
            return own
        self._check_open("label_embeddings")
        return label_embeddings.to(own)

    def _memory(self, frame_memory: Tensor) -> tuple[Tensor, Tensor | None]:
        """Frame memory (B, M, D), and the positions (M, D) that the decoder adds to its keys."""
        memory = self.project_memory(frame_memory)  # (B, M, D') -> (B, M, D)
        table = sinusoidal_positions(self.time_positions, self.config.width)
        positions: Tensor | None = table.to(memory.dtype)
        if self.config.memory_positions == "input":
            memory, positions = self.memory_dropout(memory + positions), None
        if self.memory_encoder is not None:
            memory = self.memory_encoder(memory, positions)
        return memory, positions

    def _check_open(self, what: str) -> None:
        if not self.config.is_open:
            raise VocabularyError(
                f"{what}: this model has one weight vector for each of its "
                f"{len(self.config.label_set)} labels and scores no others; {OPEN_ADVICE}"
            )

    def set_labels(self, names: Sequence[str], embeddings: Tensor) -> None:
        """Ask for other labels from now on. Scores of a label do not depend on the others.

        Args:
            names: K labels.
            embeddings: (K, D_t) float, from the text encoder that the model was trained with.

        Raises:
            VocabularyError: the model's head is bound to the labels that it was trained on.
            ShapeError: another number of embeddings, or another width.
        """
        self._check_open("set_labels")
        expected = (len(names), self.config.label_width)
        if embeddings.shape != expected:
            raise ShapeError(f"embeddings: found {tuple(embeddings.shape)}, expected {expected}")
        own = self.query_encoder.label_embeddings
        self.query_encoder.label_embeddings = nn.Parameter(embeddings.to(own), requires_grad=False)
        self.config.set_labels(names)

    def scores(self, logits: Tensor) -> Tensor:
        """Calibrated scores.

        Args:
            logits: (B, K) float.

        Returns:
            (B, K) float32 in [0, 1]: sigmoid of scale * logit + bias, or softmax for single-label
            models with a closed vocabulary.
        """
        scale = logits.new_tensor(self.config.calibration_scale, dtype=torch.float32)
        bias = logits.new_tensor(self.config.calibration_bias, dtype=torch.float32)
        if self.config.is_open:  # one calibration for all labels, whichever are asked for
            scale, bias = scale[:1], bias[:1]
        calibrated = logits.float() * scale + bias
        # A softmax would make the score of a label depend on the others asked for.
        if self.config.task == "single_label" and not self.config.is_open:
            return calibrated.softmax(dim=-1)
        return calibrated.sigmoid()


def _embeddings_of(module: nn.Module) -> tuple[Tensor, ...]:
    """Parameters of this module itself that are looked up or added, not multiplied with."""
    if isinstance(module, nn.Embedding):
        return (module.weight,)
    if isinstance(module, QueryEncoder):
        return (module.label_embeddings,)
    if isinstance(module, LiteVideoEncoder):
        return (module.cell_positions, module.frame_positions, module.global_token)
    return ()


def save_in_half(model: MSQNet, folder: str | Path) -> None:
    """Save a model folder with matrices in half precision, at half the size.

    Vectors (norms, biases, batch-norm and query statistics) stay in float32: they are small, and
    some leave the range of half precision. Loading computes in float32 as always.
    """
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    weights = {
        name: tensor.detach().half() if name in matrices else tensor.detach()
        for name, tensor in model.state_dict().items()
    }
    model.save_pretrained(folder, state_dict=weights)


AutoConfig.register("msqnet", MSQNetConfig)
AutoModel.register(MSQNetConfig, MSQNet)
