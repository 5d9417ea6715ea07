"""The configuration that travels with every model: sizes, labels, task, pixels, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from msqnet.config import ArchConfig, ClipConfig
from msqnet.config.architecture import check_method
from msqnet.errors import ConfigError, check
from msqnet.labels import LabelSet
from msqnet.model.registry import encoder_spec, spec_of_model_type
from msqnet.models import DEFAULT_THRESHOLD, DEFAULT_WINDOW_SECONDS, thresholds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHOICES = {
    "task": ("multi_label", "single_label"),
    "video_query": ("none", "image", "trunk"),
    "query_positions": ("none", "learned"),
    "memory_positions": ("keys", "input"),
    "head": ("group_wise", "shared", "cosine"),
}


def _as_config(value: Any) -> PreTrainedConfig | None:
    """A nested configuration, rebuilt from the plain values that a JSON file holds."""
    if value is None or isinstance(value, PreTrainedConfig):
        return value
    values = dict(value)
    model_type = values.pop("model_type", None)
    if (spec := spec_of_model_type(model_type)) is not None:
        spec.load()  # which makes its configuration known
    if model_type not in CONFIG_MAPPING:
        raise ConfigError(f"encoder of unknown model_type {model_type!r}")
    return AutoConfig.for_model(model_type, **values)


class MSQNetConfig(PreTrainedConfig):
    """All that is needed to rebuild and use an `MSQNet`.

    Settings of the method (from ``video_query`` to ``head`` below) have the names, meanings and
    defaults of `ArchConfig`. ``embedding`` was called ``image_embedding``, and ``direct_path``
    ``video_query_to_scores``; files with these names are read.

    Attributes:
        video_encoder: configuration of the video encoder; its ``model_type`` tells which.
        image_encoder: of the frozen encoder behind the video query, where ``video_query`` is
            "image".
        audio_encoder: of the encoder of sound; None for none.
        text_encoder: what `load_text_encoder` needs to embed further labels; None where label
            queries started at random.
        labels: K names, in column order.
        label_width: D_t, width of the label embeddings.
        task: "multi_label" (sigmoid) or "single_label" (softmax).
        query_share: weight of the direct path in the logits, the decoder having the rest; in
            [0, 1].
        video_query_dropout: of the normalized video query, in training.
        clip: `ClipConfig` as plain values: how frames become a model input.
        window_seconds: typical length of a training window; the default when predicting.
        thresholds: (K,) score from which a label counts as present.
        calibration_scale: (K,) factor on the logits before the sigmoid.
        calibration_bias: (K,) summand after it.
        evidence: (K,) what held-out rows showed of each label, `LabelEvidence` as plain values;
            None where that was not measured.
        frame_head: whether there is a `FrameHead`.
        compares_appearance: whether windows are compared with training windows by the appearance
            part of the encoder's own video query, not by the frame memory.
        train_positive_windows: (K,) positive windows the model was trained on.
        train_negative_windows: (K,) windows known to be negative.
        provenance: data, licences, settings and versions behind the weights; plain values.
    """

    model_type = "msqnet"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *("decoder_logits", "query_logits", "frame_logits", "decoded", "memory", "video_query"),
    ]
    sub_configs: ClassVar[dict[str, Any]] = {
        "video_encoder": AutoConfig,
        "image_encoder": AutoConfig,
        "audio_encoder": AutoConfig,
    }

    video_encoder: dict[str, Any] | PreTrainedConfig | None = None
    image_encoder: dict[str, Any] | PreTrainedConfig | None = None
    audio_encoder: dict[str, Any] | PreTrainedConfig | None = None
    text_encoder: dict[str, Any] | None = None
    labels: list[str] | None = None
    label_width: int = 384
    task: str = "multi_label"
    query_share: float = 0.5
    video_query_dropout: float = 0.5

    video_query: str = ArchConfig.video_query
    direct_path: bool = ArchConfig.direct_path
    embedding: str = ArchConfig.embedding
    frame_pooling: str = ArchConfig.frame_pooling
    frame_memory: bool = ArchConfig.frame_memory
    prompts: str = ArchConfig.prompts
    learn_label_queries: bool = ArchConfig.learn_label_queries
    width: int = ArchConfig.width
    memory_encoder_layers: int = ArchConfig.memory_encoder_layers
    memory_positions: str = ArchConfig.memory_positions
    decoder_layers: int = ArchConfig.decoder_layers
    decoder_heads: int = ArchConfig.decoder_heads
    decoder_feedforward: int = ArchConfig.decoder_feedforward
    dropout: float = ArchConfig.dropout
    query_positions: str = ArchConfig.query_positions
    query_attention: bool = ArchConfig.query_attention
    final_norms: bool = ArchConfig.final_norms
    head: str = ArchConfig.head

    clip: dict[str, Any] | None = None
    window_seconds: float = DEFAULT_WINDOW_SECONDS
    thresholds: list[float] | None = None
    calibration_scale: list[float] | None = None
    calibration_bias: list[float] | None = None
    evidence: list[dict[str, Any]] | None = None
    frame_head: bool = False
    compares_appearance: bool = False
    train_positive_windows: list[int] | None = None
    train_negative_windows: list[int] | None = None
    provenance: dict[str, Any] | None = None

    def __post_init__(
        self,
        video_query_to_scores: bool | None = None,
        image_embedding: str | None = None,
        **kwargs: Any,
    ) -> None:
        if video_query_to_scores is not None:
            self.direct_path = video_query_to_scores
        self.embedding = image_embedding or self.embedding
        self.video_encoder = _as_config(self.video_encoder)
        if self.video_encoder is None:
            default: Any = encoder_spec(ArchConfig.video_encoder).load().config_class
            self.video_encoder = default()
        self.image_encoder = _as_config(self.image_encoder)
        self.audio_encoder = _as_config(self.audio_encoder)
        self.labels = list(self.labels or ["action"])
        num_labels = len(self.labels)
        self.clip = self.clip or ClipConfig().as_dict()
        self.thresholds = self.thresholds or [DEFAULT_THRESHOLD] * num_labels
        self.calibration_scale = self.calibration_scale or [1.0] * num_labels
        self.calibration_bias = self.calibration_bias or [0.0] * num_labels
        self.provenance = self.provenance or {}
        self._check()
        self.problem_type = None  # there one label alone is refused as a problem
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._name_labels()

    def _name_labels(self) -> None:
        """Say in the words of `transformers`, too, what `labels` and `task` say."""
        self.id2label = dict(enumerate(self.labels or ()))
        self.label2id = {name: column for column, name in enumerate(self.labels or ())}
        self.problem_type = (
            "single_label_classification" if self.has_softmax else "multi_label_classification"
        )

    def check_labels(self) -> None:
        """Refuse, with a `ConfigError`, ``num_labels`` or ``id2label`` other than `labels`."""
        expected = dict(enumerate(self.labels or ()))
        check(
            self.id2label == expected,
            f"num_labels or id2label: found {self.id2label}, but the labels of this model are "
            f"{expected}; for other labels build a new one with MSQNet.from_encoders",
        )

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            found = getattr(self, name)
            check(found in choices, f"{name} {found!r}: expected one of {choices}")
        check(
            (self.video_query == "image") == (self.image_encoder is not None),
            "an image encoder is needed for video_query 'image', and only there",
        )
        check(
            (self.audio_encoder is None) == (self.clip_config.sound is None),
            "clip settings with sound are needed for an audio encoder, and only there",
        )
        check(0 <= self.query_share <= 1, f"query_share {self.query_share}: expected 0 to 1")
        kind = cast("PreTrainedConfig", self.video_encoder).model_type
        spec = spec_of_model_type(kind)
        needed = {"video_query"} if self.video_query == "trunk" else set()
        needed |= {"frame_pooling"} if self.frame_pooling != "frames" else set()
        for name in sorted(needed - set(() if spec is None else spec.settings)):
            found = getattr(self, name)
            raise ConfigError(f"{name} {found!r}: not for the video encoder of type {kind!r}")
        check_method(self)
        for name in ("thresholds", "calibration_scale", "calibration_bias", "evidence"):
            expected = len(self.label_set)
            found = expected if getattr(self, name) is None else len(getattr(self, name))
            check(found == expected, f"{name} has {found} values, expected {expected}")

    def set_labels(self, names: Sequence[str]) -> None:
        """Other labels of an open vocabulary; new ones get the median of the thresholds."""
        known = dict(zip(self.labels or (), self.thresholds or (), strict=True))
        scale, bias = (self.calibration_scale or [1.0])[0], (self.calibration_bias or [0.0])[0]
        self.labels = list(names)
        self._name_labels()
        self.thresholds = thresholds_of(names, known)
        self.calibration_scale = [scale] * len(names)
        self.calibration_bias = [bias] * len(names)
        self.evidence = self.train_positive_windows = self.train_negative_windows = None

    @property
    def decoder_is_unused(self) -> bool:
        """Whether the direct path gives all scores; mostly, the decoder is not even trained."""
        return self.direct_path and self.query_share == 1

    @property
    def is_open(self) -> bool:
        """Whether the model scores labels that it was not trained on."""
        return self.head != "group_wise"

    @property
    def has_softmax(self) -> bool:
        """Whether scores are shares of one softmax, not each of its own sigmoid.

        With an open vocabulary it would make the score of a label depend on those asked for.
        """
        return self.task == "single_label" and not self.is_open

    @property
    def num_frames(self) -> int:
        """Frames of a clip, under the name that pipelines of `transformers` ask for."""
        return self.clip_config.num_frames

    @property
    def label_set(self) -> LabelSet:
        """The labels with their lookups."""
        return LabelSet(tuple(self.labels or ()))

    @property
    def clip_config(self) -> ClipConfig:
        """How frames become a model input."""
        return ClipConfig.from_dict(self.clip or {})
