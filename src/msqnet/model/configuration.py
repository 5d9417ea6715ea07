"""The configuration that travels with every model: sizes, labels, task, pixels, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    CLIPVisionConfig,
    PreTrainedConfig,
    TimesformerConfig,
)

from msqnet.config import ClipConfig
from msqnet.errors import ConfigError
from msqnet.labels import LabelSet
from msqnet.model.video_encoders.c3d import C3DConfig
from msqnet.model.video_encoders.i3d import I3DConfig
from msqnet.model.video_encoders.lite import LiteConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

_TASKS = ("multi_label", "single_label")
_VIDEO_QUERIES = ("none", "image", "trunk")
_QUERY_POSITIONS = ("none", "learned")
_MEMORY_POSITIONS = ("keys", "input")
_CLOSED_HEAD = "group_wise"
OPEN_ADVICE = (
    "train one with --arch.head cosine --arch.direct_path false --arch.learn_label_queries false "
    "--arch.query_attention false, or use --model clip-zero-shot:ID_OR_FOLDER"
)
"""What to do about a label that a closed-set model does not have."""
_HEADS = (_CLOSED_HEAD, "shared", "cosine")


def _as_config(value: Any) -> PreTrainedConfig | None:
    """A nested configuration, rebuilt from the plain values that a JSON file holds."""
    if value is None or isinstance(value, PreTrainedConfig):
        return value
    values = dict(value)
    model_type = values.pop("model_type", None)
    if model_type not in CONFIG_MAPPING:
        raise ConfigError(f"encoder of unknown model_type {model_type!r}")
    return AutoConfig.for_model(model_type, **values)


class MSQNetConfig(PreTrainedConfig):
    """All that is needed to rebuild and use an `MSQNet`.

    Attributes:
        video_encoder: configuration of the video encoder; its ``model_type`` tells which.
        frame_pooling: "frames" or "flat", see `TimesformerVideoEncoder`.
        image_encoder: of the frozen encoder behind the video query, where ``video_query`` is
            "image": `CLIPVisionConfig`.
        image_embedding: "pooled" or "projected", see `ClipImageEncoder`.
        text_encoder: what `load_text_encoder` needs to embed further labels; None where label
            queries started at random.
        prompts: how the text of a label is made, see `msqnet.prompts`.
        labels: K names, in column order.
        task: "multi_label" (sigmoid) or "single_label" (softmax).
        video_query: what the queries know of the video: "none" (text only), "image" (mean of the
            image encoder's frame embeddings, the paper) or "trunk" (statistics of the ``lite``
            trunk's features).
        video_query_to_scores: adds a linear path from the video query to the logits.
        query_share: weight of that path in the logits, the decoder having the rest; in [0, 1].
        label_width: D_t, width of the label embeddings.
        learn_label_queries: whether Q_l is trained.
        width: D, of queries and memory.
        decoder_layers: of the decoder.
        decoder_heads: A.
        decoder_feedforward: hidden width of its feed-forward parts.
        memory_encoder_layers: self-attention layers over the memory before the decoder.
        memory_positions: "keys" adds time positions to the keys of every attention to the memory,
            "input" to the memory once, with dropout.
        query_attention: whether label queries attend to each other.
        final_norms: whether the two stacks end in one more layer norm.
        head: "group_wise", "shared" or "cosine"; the latter two score any label.
        dropout: of the decoder.
        video_query_dropout: of the standardised video query, in training.
        query_positions: "none" or "learned" (equations 4 and 5).
        clip: `ClipConfig` as plain values: how frames become a model input.
        window_seconds: typical length of a training window; the default when predicting.
        thresholds: (K,) score from which a label counts as present.
        calibration_scale: (K,) factor on the logits before the sigmoid.
        calibration_bias: (K,) summand after it.
        train_positive_windows: (K,) positive windows the model was trained on.
        train_negative_windows: (K,) windows known to be negative.
        provenance: data, licences, settings and versions behind the weights; plain values.
    """

    model_type = "msqnet"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "decoder_logits",
        "query_logits",
        "decoded",
        "memory",
        "video_query",
    ]
    sub_configs: ClassVar[dict[str, Any]] = {
        "video_encoder": AutoConfig,
        "image_encoder": AutoConfig,
    }

    video_encoder: dict[str, Any] | PreTrainedConfig | None = None
    frame_pooling: str = "frames"
    image_encoder: dict[str, Any] | PreTrainedConfig | None = None
    image_embedding: str = "pooled"
    text_encoder: dict[str, Any] | None = None
    prompts: str = "none"
    labels: list[str] | None = None
    task: str = "multi_label"
    video_query: str = "trunk"
    video_query_to_scores: bool = True
    query_share: float = 0.5
    label_width: int = 384
    learn_label_queries: bool = True
    width: int = 256
    decoder_layers: int = 3
    decoder_heads: int = 8
    decoder_feedforward: int = 1024
    memory_encoder_layers: int = 0
    memory_positions: str = "keys"
    query_attention: bool = True
    final_norms: bool = False
    head: str = "group_wise"
    dropout: float = 0.1
    video_query_dropout: float = 0.5
    query_positions: str = "none"
    clip: dict[str, Any] | None = None
    window_seconds: float = 2.0
    thresholds: list[float] | None = None
    calibration_scale: list[float] | None = None
    calibration_bias: list[float] | None = None
    train_positive_windows: list[int] | None = None
    train_negative_windows: list[int] | None = None
    provenance: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.video_encoder = _as_config(self.video_encoder) or LiteConfig()
        self.image_encoder = _as_config(self.image_encoder)
        self.labels = list(self.labels or ["action"])
        num_labels = len(self.labels)
        self.clip = self.clip or ClipConfig().to_dict()
        self.thresholds = self.thresholds or [0.5] * num_labels
        self.calibration_scale = self.calibration_scale or [1.0] * num_labels
        self.calibration_bias = self.calibration_bias or [0.0] * num_labels
        self.provenance = self.provenance or {}
        self._check()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    def _check(self) -> None:
        for name, choices in (
            ("task", _TASKS),
            ("video_query", _VIDEO_QUERIES),
            ("query_positions", _QUERY_POSITIONS),
            ("memory_positions", _MEMORY_POSITIONS),
            ("head", _HEADS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} {getattr(self, name)!r}: expected one of {choices}")
        self._check_queries()
        for name in ("thresholds", "calibration_scale", "calibration_bias"):
            if len(getattr(self, name)) != len(self.label_set):
                raise ConfigError(
                    f"{name} has {len(getattr(self, name))} values, expected {len(self.label_set)}"
                )

    def _check_queries(self) -> None:
        if (self.video_query == "image") != (self.image_encoder is not None):
            raise ConfigError("an image encoder is needed for video_query 'image', and only there")
        if self.video_query == "trunk" and not isinstance(self.video_encoder, LiteConfig):
            raise ConfigError("video_query 'trunk' needs the lite video encoder")
        if not 0 <= self.query_share <= 1:
            raise ConfigError(f"query_share {self.query_share}: expected 0 to 1")
        if self.video_query == "none" and self.video_query_to_scores:
            raise ConfigError("video_query_to_scores needs a video query")
        if self.is_open and (self.query_attention or self.query_positions != "none"):
            raise ConfigError(f"head {self.head!r} needs queries that do not know each other")
        if self.is_open and self.learn_label_queries:
            raise ConfigError(f"head {self.head!r} needs label embeddings that stay text")
        if self.width % self.decoder_heads or self.width % 2:
            raise ConfigError(f"width {self.width}: expected an even multiple of decoder_heads")

    def set_labels(self, names: Sequence[str]) -> None:
        """Other labels; the known ones keep their thresholds, new ones get the median.

        Args:
            names: of an open vocabulary.
        """
        known = dict(zip(self.labels or (), self.thresholds or (), strict=True))
        usual = sorted(known.values())[len(known) // 2]
        scale, bias = (self.calibration_scale or [1.0])[0], (self.calibration_bias or [0.0])[0]
        self.labels = list(names)
        self.thresholds = [known.get(name, usual) for name in names]
        self.calibration_scale = [scale] * len(names)
        self.calibration_bias = [bias] * len(names)
        self.train_positive_windows = self.train_negative_windows = None

    @property
    def is_open(self) -> bool:
        """Whether labels can be asked for that the model was not trained on."""
        return self.head != _CLOSED_HEAD

    @property
    def label_set(self) -> LabelSet:
        """The labels with their lookups."""
        return LabelSet(tuple(self.labels or ()))

    @property
    def clip_config(self) -> ClipConfig:
        """How frames become a model input."""
        return ClipConfig.from_dict(self.clip or {})


for _own in (LiteConfig, I3DConfig, C3DConfig):
    AutoConfig.register(_own.model_type, _own)
__all__ = ["OPEN_ADVICE", "CLIPVisionConfig", "LiteConfig", "MSQNetConfig", "TimesformerConfig"]
