"""`MSQNet`: the method as a model of `transformers`, with loading, saving, labels and scores."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForVideoClassification,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

from msqnet.clips import NO_SOUND, SOUND_INPUTS, SOUND_TIMES, SPECTROGRAM
from msqnet.errors import ShapeError, VocabularyError
from msqnet.model.attention import check_attention, set_attention
from msqnet.model.builder import model_from_encoders, resized
from msqnet.model.checkpoints import align, check_loaded, check_report, loading_from
from msqnet.model.computing import Fusable
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.decoder import GroupWiseLinear, QueryEncoder, TextAlignment
from msqnet.model.losses import plain_loss
from msqnet.model.msqnet import MSQNetModel, MSQNetOutput
from msqnet.model.processing import MSQNetVideoProcessor, write_processor_file
from msqnet.model.sound import AUDIO_QUERY, AUDIO_TOKENS
from msqnet.model.video_encoders.encoder import VIDEO_QUERY, VideoEncoder, of_clips
from msqnet.models import OPEN_ADVICE, local_model
from msqnet.models.card import write_card

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msqnet.config import ClipConfig
    from msqnet.model.audio_encoders import AudioEncoder
    from msqnet.model.image_encoders import ImageEncoder
    from msqnet.model.text_encoders import Embedding, TextEncoder
    from msqnet.model.video_encoders.encoder import FrameFeatures

_SIGMOID_SINCE = (5, 23)
"""Version of `transformers` whose pipeline follows the model's ``problem_type``."""
_logger = logging.getLogger(__name__)


class MSQNet(MSQNetModel, PreTrainedModel):
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
    accepts_loss_kwargs = False  # `Trainer` would otherwise take **features for them
    _supports_sdpa = True

    def __init__(self, config: MSQNetConfig):
        check_attention(config._attn_implementation)
        config.check_labels()
        PreTrainedModel.__init__(self, config)
        MSQNetModel.__init__(self, config)
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
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=0.02)
        elif isinstance(module, GroupWiseLinear | TextAlignment | QueryEncoder | VideoEncoder):
            module.reset_parameters()

    def _hand_down_attention(self) -> None:
        """Let every part compute attention as its own configuration says."""
        for part, settings in (
            (self.decoder, self.config),
            (self.memory_encoder, self.config),
            (self.video_encoder, self.config.video_encoder),
            (self.image_encoder, self.config.image_encoder),
            (self.audio_encoder, self.config.audio_encoder),
        ):
            if part is not None and isinstance(settings, PreTrainedConfig):
                set_attention(part, settings._attn_implementation)

    def set_attn_implementation(
        self, attn_implementation: str | dict[str, Any], allow_all_kernels: bool = False
    ) -> None:
        """Compute attention in another way from now on; see `transformers.PreTrainedModel`.

        Unlike there, encoders that are no models of `transformers` follow too, and one that lacks
        what was requested stays as it is and is named in the log. ``attn_implementation`` is "sdpa"
        or "eager", else a `ConfigError`; or names by part: "" for all but the encoders,
        "video_encoder", "image_encoder", "audio_encoder". ``allow_all_kernels`` has no effect.
        """
        del allow_all_kernels
        check_attention(attn_implementation)
        self.config._attn_implementation = attn_implementation
        self._hand_down_attention()

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path | None, *args: Any, **kwargs: Any
    ) -> MSQNet:
        """Load a model, see `local_model`; else as `transformers.PreTrainedModel.from_pretrained`.

        A tensor that is missing, unexpected, without values or not finite is a `CheckpointError`.
        """
        check_attention(kwargs.get("attn_implementation"))
        name, origin = pretrained_model_name_or_path, str(pretrained_model_name_or_path)
        kwargs.setdefault("dtype", torch.float32)
        # Without a name transformers builds the model of a given configuration and weights.
        if name is not None or "state_dict" not in kwargs:
            name, kwargs = local_model(name, kwargs)
            origin = origin if pretrained_model_name_or_path is not None else str(name)
        with loading_from(origin):
            loaded: Any = super().from_pretrained(name, *args, **kwargs, output_loading_info=True)
        model: MSQNet = loaded[0]
        check_report(loaded[1], origin)
        check_loaded(model, origin)
        align(model)
        # No file holds them, and loading makes an empty buffer of what it does not find.
        model.time_positions.copy_(model.computed_positions())
        # Loading makes every parameter trainable again.
        model.query_encoder.label_embeddings.requires_grad_(model.config.learn_label_queries)
        return model

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, *args: Any, **kwargs: Any
    ) -> None:
        """Save a folder that `from_pretrained` loads, with a card; see `PreTrainedModel`.

        A card that somebody else wrote, `README.md`, stays as it is.
        """
        write_processor_file(save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)
        write_card(Path(save_directory))

    @classmethod
    def from_encoders(
        cls,
        *,
        video: VideoEncoder | str | Path,
        image: ImageEncoder | str | Path | None = None,
        text: TextEncoder | str | None = None,
        audio: AudioEncoder | str | None = None,
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
            audio: the encoder of sound, or a name as for `load_audio_encoder`; None for no sound.
            clip: how frames become a model input; by default as a given encoder needs it, else 16
                frames of 224 pixels.
            embedding: of CLIP, for image and text encoders given by name: "pooled" (the paper) or
                "projected".
            settings: further fields of `MSQNetConfig`, and ``attn_implementation``. Its defaults
                hold, except that only ``lite`` has a path from the video query to the scores.

        Raises:
            ConfigError: settings that are unknown, told by the encoders, or do not fit each other.
            CheckpointError: weights that cannot be loaded whole, or of another kind of model.

        Examples:
            >>> clip = "openai/clip-vit-base-patch16"
            >>> model = MSQNet.from_encoders(  # doctest: +SKIP
            ...     video="facebook/timesformer-base-finetuned-k400",
            ...     image=clip, text=clip, labels=["sit", "walk"],
            ... )
        """
        return model_from_encoders(
            *(video, image, text, audio),
            labels=labels,
            clip=clip,
            embedding=embedding,
            settings=settings,
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
            if isinstance(module, Fusable):
                module.fuse()
        return self

    def frame_features(self, frames: Tensor, *, is_motion_crop: bool = False) -> FrameFeatures:
        """What the encoders compute of each frame alone, whatever clips it is part of.

        (N, 3, H, W) uint8 RGB -> (N, ...) by name: what the video encoder's `frame_features` gives
        and, of whole frames, the image embedding (N, D''), where there is one, as "image".
        """
        features: FrameFeatures = self.video_encoder.frame_features(frames)
        if self.image_encoder is not None and not is_motion_crop:
            inputs = resized(frames[None], self.image_encoder.config.image_size)
            features["image"] = self.image_encoder(inputs)[0]
        return features

    def sound_features(
        self, num_clips: int, spectrogram: Tensor | None = None, sound_times: Tensor | None = None
    ) -> FrameFeatures:
        """What the audio encoder gives of B clips, see `SOUND_FEATURES`; nothing without one.

        Arguments are those of `forward`; where they are None, all sound is missing.
        """
        if self.audio_encoder is None:
            return {}
        sound, device = self.audio_encoder.sound, self.time_positions.device
        if spectrogram is None or sound_times is None:
            width = self.audio_encoder.width
            query = self.query_mean.new_zeros(num_clips, width)
            tokens = query[:, None].expand(-1, sound.num_tokens, -1)
            times = query.new_full((num_clips, sound.num_tokens), NO_SOUND)
            return {AUDIO_TOKENS: tokens, AUDIO_QUERY: query, SOUND_TIMES: times}
        tokens, query = self.audio_encoder(spectrogram.to(device))
        return {AUDIO_TOKENS: tokens, AUDIO_QUERY: query, SOUND_TIMES: sound_times.to(device)}

    def encode(
        self, pixels: Tensor, motion_crops: Tensor | None = None, **sound: Tensor
    ) -> FrameFeatures:
        """The part of the forward pass that depends on the encoders' input alone.

        Clips (B, T, 3, H, W) uint8, on any device, and their motion crops where the model takes
        them -> features of clips, as `forward` takes them in place of pixels; the image query
        (B, D''), where there is one, as "video_query". ``sound`` is that of `forward`. Another form
        of clips is a `ShapeError`.
        """
        features = self.sound_features(len(pixels), **sound)
        device = self.time_positions.device
        self.video_encoder.check_clips(pixels)
        frames = of_clips(self.frame_features, pixels.to(device))
        if motion_crops is None:
            return features | self._joined(frames, None)
        self.video_encoder.check_clips(motion_crops)
        of_crops = partial(self.frame_features, is_motion_crop=True)
        return features | self._joined(frames, of_clips(of_crops, motion_crops.to(device)))

    def _joined(self, frames: FrameFeatures, motion_crops: FrameFeatures | None) -> FrameFeatures:
        """As `encode`, from `frame_features` (B, T, ...) of whole frames and motion crops."""
        whole = dict(frames)
        image = whole.pop("image", None)  # (B, T, D'')
        views = [whole] if motion_crops is None else [whole, motion_crops]
        features: FrameFeatures = dict(self.video_encoder.join_views(views))
        if image is not None:
            features[VIDEO_QUERY] = image.mean(dim=1)
        return features

    def forward(  # type: ignore[override]
        self,
        pixels: Tensor | None = None,
        motion_crops: Tensor | None = None,
        label_embeddings: Tensor | None = None,
        labels: Tensor | None = None,
        spectrogram: Tensor | None = None,
        sound_times: Tensor | None = None,
        **features: Tensor,
    ) -> MSQNetOutput:
        """Score every label of every clip: logits (B, K) and what they were made of.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB, on any device.
            motion_crops: (B, T, 3, H, W) uint8 RGB motion crops, where the model takes them.
            label_embeddings: (K, D_t) float, texts to score instead of the model's own labels;
                open vocabularies only.
            labels: (B, K) of 1, 0 and -100 for unknown; of single-label models also (B,) int64,
                the column of each clip's label. With them the output holds the loss of
                `plain_loss`, which `transformers.Trainer` minimises.
            spectrogram: (B, F, N) float, the sound beside pixels, where the model takes it; without
                it, all sound is missing.
            sound_times: (B, A) float, see `SoundInput`; NO_SOUND, -1, where sound is missing.
            features: in place of pixels: what `encode` made of them, by name; or ``frame_memory``
                (B, M, D'), what the video encoder's `memory` gives, with ``video_query`` (B, D'').

        Raises:
            ShapeError: no clips, or clips or labels of another form.
            VocabularyError: label embeddings for a model whose head is bound to its labels.
        """
        if pixels is not None:
            given = {SPECTROGRAM: spectrogram, SOUND_TIMES: sound_times}
            sound = {name: values for name, values in given.items() if values is not None}
            features = self.encode(pixels, motion_crops, **sound)
        elif not features:
            raise ShapeError("neither pixels nor what the encoders made of them was given")
        else:
            num_clips = next(iter(features.values())).shape[0]
            features = self.sound_features(num_clips) | features
            features |= {} if sound_times is None else {SOUND_TIMES: sound_times}
        outputs = self._score_clips(features, label_embeddings)
        if labels is None:
            return outputs
        return MSQNetOutput(loss=plain_loss(self.config.task, outputs, labels), **outputs)

    def _score_clips(
        self, features: FrameFeatures, label_embeddings: Tensor | None
    ) -> MSQNetOutput:
        if label_embeddings is not None:
            self._check_open("label_embeddings")
            label_embeddings = label_embeddings.to(self.query_encoder.label_embeddings)
        return super().forward(features, label_embeddings)

    def score_frames(
        self,
        frames: FrameFeatures,
        motion_crops: FrameFeatures | None = None,
        label_embeddings: Tensor | None = None,
    ) -> MSQNetOutput:
        """As `forward`, from what `frame_features` made of the frames, (B, T, ...) each.

        Among the ``frames`` are the spectrograms and times of sound, where the model takes it.
        """
        frames = dict(frames)
        sound = {name: frames.pop(name) for name in SOUND_INPUTS if name in frames}
        num_clips = next(iter(frames.values())).shape[0]
        features = self.sound_features(num_clips, **sound)
        # Not through `forward`: its argument "pixels" is not the feature of that name.
        return self._score_clips(features | self._joined(frames, motion_crops), label_embeddings)

    def _check_open(self, what: str) -> None:
        if not self.config.is_open:
            raise VocabularyError(
                f"{what}: this model has one weight vector for each of its "
                f"{len(self.config.label_set)} labels and scores no others; {OPEN_ADVICE}"
            )

    def set_labels(self, names: Sequence[str], embeddings: Tensor) -> None:
        """Ask for K other labels from now on. Scores of a label do not depend on the others.

        ``embeddings`` (K, D_t) float are from the text encoder of training; another shape is a
        `ShapeError`. A model whose head is bound to its labels raises a `VocabularyError`.
        """
        self._check_open("set_labels")
        expected = (len(names), self.config.label_width)
        if embeddings.shape != expected:
            raise ShapeError(f"embeddings: found {tuple(embeddings.shape)}, expected {expected}")
        own = self.query_encoder.label_embeddings
        self.query_encoder.label_embeddings = nn.Parameter(embeddings.to(own), requires_grad=False)
        self.config.set_labels(names)

    def scores(self, logits: Tensor) -> Tensor:
        """Logits (B, K) float -> calibrated scores (B, K) float32 in [0, 1].

        Sigmoid of scale * logit + bias; softmax for single-label models with a closed vocabulary.
        """
        calibrated = self.calibrated(logits)
        if self.config.has_softmax:
            return calibrated.softmax(dim=-1)
        return calibrated.sigmoid()

    def calibrated(self, logits: Tensor) -> Tensor:
        """Scale * logit + bias, (B, K) float -> (B, K) float32."""
        scale = logits.new_tensor(self.config.calibration_scale, dtype=torch.float32)
        bias = logits.new_tensor(self.config.calibration_bias, dtype=torch.float32)
        if self.config.is_open:  # one calibration for all labels, whichever they are
            scale, bias = scale[:1], bias[:1]
        return logits.float() * scale + bias


class MSQNetForVideoClassification(MSQNet):
    """The same model with calibrated logits, as the video classification pipeline needs them.

    Their sigmoid, or softmax where the config's ``problem_type`` is for one label, are the scores
    of `MSQNet.scores`. It is what `AutoModelForVideoClassification` loads; train an `MSQNet`.
    """

    def __init__(self, config: MSQNetConfig):
        super().__init__(config)
        version = tuple(map(int, transformers.__version__.split(".")[:2]))
        if version < _SIGMOID_SINCE and not config.has_softmax:
            _logger.warning(
                "pipelines of transformers %s apply a softmax, and this model needs a sigmoid: "
                'say pipeline(..., function_to_apply="sigmoid")',
                transformers.__version__,
            )

    def forward(self, *args: Any, **kwargs: Any) -> MSQNetOutput:
        """As `MSQNet.forward`, but for the calibration."""
        outputs: Any = super().forward(*args, **kwargs)
        outputs["logits"] = self.calibrated(outputs.logits)
        return cast("MSQNetOutput", outputs)


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
AutoModelForVideoClassification.register(MSQNetConfig, MSQNetForVideoClassification)
AutoProcessor.register(MSQNetConfig, MSQNetVideoProcessor)
AutoVideoProcessor.register(MSQNetConfig, MSQNetVideoProcessor)
