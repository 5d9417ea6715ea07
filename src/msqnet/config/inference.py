"""How a finished model predicts, is evaluated, calibrated and mapped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from msqnet.errors import check, check_numbers
from msqnet.labels import split_labels

RuntimeName = Literal["auto", "torch", "onnxruntime", "openvino"]
"""PyTorch runs model folders, the others run the folders that `msqnet export` writes."""

Precision = Literal["fp32", "bf16"]
"""Number type of matrix products and convolutions and of the activations between them; logits, and
weights that are not multiplied, are always float32."""

PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]
"""What may be asked for: PyTorch computes in a `Precision`, graphs in float32 or int8."""

CalibrationMethod = Literal["platt", "temperature"]
ThresholdRule = Literal["f1", "precision"]

# As in training: without a bound, the best F1 of a label that cannot be told flags everything.
_MIN_PRECISION: dict[ThresholdRule, float] = {"f1": 0.5, "precision": 0.9}


@dataclass(frozen=True)
class ModelOptions:
    """Which model predicts which labels, and how it is computed.

    Attributes:
        model: A finished model: a folder, also one that `msqnet export` wrote, a Hugging Face Hub
            id, or a name listed by `msqnet models`. By default the model that comes with msqnet,
            or, if it does not know the labels, the recommended open one. A CLIP or SigLIP is used
            without training: a folder, a name listed by `msqnet models`, or
            `clip-zero-shot:ID_OR_FOLDER`.
        labels: Labels to predict, `walking|two animals fighting`: any words. A model with labels of
            its own predicts some of these only. By default all labels of the model.
        label_table: CSV with the columns name, description, synonyms of these labels, for models
            that were trained with descriptions or synonyms.
        prompts: Of a CLIP or SigLIP without training: sentences around a label, whose embeddings
            are averaged. `templates` (the default) fit any actor; `people`, `animals`, `none` (the
            label alone), `descriptions` (of the table), or your own such as `a photo of a dog {}`;
            several are joined by `|`.
        contrast: Of a CLIP or SigLIP without training: texts for no action, `an empty scene|a dog
            asleep`, or `default`. A score then says how much better a label fits than these, and a
            CLIP scores each label on its own. By default none.
        device: auto, cpu, cuda, cuda:1, mps, ...
        runtime: Library that computes the scores: `onnxruntime` or `openvino` (CPU only) where
            `msqnet export` wrote graphs, as beside the model that comes with msqnet, or `torch`.
            `auto` takes graphs where there are some, unless `--precision`, `--device` or a GPU asks
            for PyTorch.
        precision: Number type of matrix products: `fp32`; `int8`, for the features of frames, where
            `msqnet export --int8` wrote such a graph, as beside the model that comes with msqnet;
            or `bf16`, in PyTorch, on NVIDIA GPUs since Ampere and on CPUs with AVX512-BF16 or AMX.
            int8 and bf16 are faster and change the scores slightly. `auto` takes int8 where a model
            has it and the processor multiplies 8-bit integers fast, else fp32.
    """

    model: str | None = None
    labels: str | tuple[str, ...] | None = None
    label_table: str | None = None
    prompts: str | None = None
    contrast: str | None = None
    device: str = "auto"
    runtime: RuntimeName = "auto"
    precision: PrecisionChoice = "auto"

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The labels one by one; None for all labels of the model. None at all is no choice."""
        names = split_labels(self.labels) if isinstance(self.labels, str) else self.labels
        check(
            names is None or len(names) > 0,
            f"labels {self.labels!r}: found no label; name some, joined by '|'",
        )
        return names


@dataclass(frozen=True)
class WindowConfig:
    """How a long video is cut into windows.

    Attributes:
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from the start of one window to the start of the next; by default about
            half a window, such that overlapping windows share frames.
        batch_size: Windows scored at a time.
        fps: Frames a second of folders of images, and of raw streams that state no rate; 25 is
            assumed without it.
    """

    window_seconds: float | None = None
    stride_seconds: float | None = None
    batch_size: int = 8
    fps: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self, ["window_seconds", "stride_seconds", "fps"], batch_size=1)


@dataclass(frozen=True)
class SegmentConfig:
    """How a timeline of scores becomes segments.

    Attributes:
        threshold: Lowest score, 0 to 1, at which an action counts as present; by default the
            model's own threshold of each label.
        min_duration_seconds: Shorter segments are dropped.
        max_gap_seconds: Gaps of one label up to this length are closed.
        include_weak: Make segments of labels too that the model was not shown to recognise, or that
            were annotated for other actors only.
        ood: Time that is unlike the training videos (out of distribution): `hide` makes no segments
            there, `report` makes segments and says where it is, `ignore` does not look for it.
    """

    threshold: float | None = None
    min_duration_seconds: float = 0.0
    max_gap_seconds: float = 0.5
    include_weak: bool = False
    ood: Literal["hide", "report", "ignore"] = "hide"

    def __post_init__(self) -> None:
        choices = ("hide", "report", "ignore")
        check(self.ood in choices, f"ood {self.ood!r}: expected one of {', '.join(choices)}")
        check_numbers(self, (), ["threshold"], min_duration_seconds=0, max_gap_seconds=0)


@dataclass(frozen=True)
class InferenceOptions(SegmentConfig, WindowConfig, ModelOptions):
    """Which model predicts, how videos are cut into windows, and how scores become segments."""

    def __post_init__(self) -> None:
        WindowConfig.__post_init__(self)
        SegmentConfig.__post_init__(self)


@dataclass(frozen=True)
class ViewConfig:
    """How many views of a clip are scored, and how their scores are merged.

    Attributes:
        num_clips: Views over time: each has T frames over the row's whole time, between the frames
            of the others.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores, label by label, after sigmoid or softmax.
    """

    num_clips: int = 1
    crops: Literal[1, 3] = 1
    merge: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        check_numbers(self, num_clips=1)
        check(self.crops in (1, 3), f"crops {self.crops}: expected 1 or 3")
        check(self.merge in ("mean", "max"), f"merge {self.merge!r}: expected mean or max")

    @property
    def num_views(self) -> int:
        """Views of a row in time and space."""
        return self.num_clips * self.crops


@dataclass(frozen=True)
class ViewChoice:
    """Views that replace those of the protocol.

    Attributes:
        num_clips: Views over time, each of T frames over the row's whole time.
        crops: Views in space: 1 is the centre, 3 are both ends and the centre of the long side.
        merge: `mean` or `max` of the views' scores.
    """

    num_clips: int | None = None
    crops: Literal[1, 3] | None = None
    merge: Literal["mean", "max"] | None = None

    def over(self, views: ViewConfig) -> ViewConfig:
        """The given views with these settings in place of theirs; raises `ConfigError`."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(views, **chosen)


@dataclass(frozen=True)
class CalibrationConfig:
    """How scores and thresholds are fitted.

    Attributes:
        method: `platt` fits a scale and a bias for each label, `temperature` a scale alone; by
            default `platt`, and `temperature` for models with exactly one label at a time.
        thresholds: `f1` takes each label's threshold of the highest F1, `precision` the lowest one
            that is precise enough.
        min_precision: Precision that a threshold must reach on these rows, from 0 to 1; by default
            0.5 for `f1` and 0.9 for `precision`.
        min_windows: A label with fewer known positive or negative windows, or with positive ones of
            one group only, is not changed and is listed.
        num_folds: Parts of the rows, by groups, for the metrics on rows that were not fitted on.
        num_bins: Bins of the calibration error.
        num_bootstrap: Resamples of groups for the 95 % intervals.
        seed: Seed of parts and resamples.
    """

    method: CalibrationMethod | None = None
    thresholds: ThresholdRule = "f1"
    min_precision: float | None = None
    min_windows: int = 5
    num_folds: int = 5
    num_bins: int = 10
    num_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(
            *(self, (), ["min_precision"]), min_windows=1, num_folds=2, num_bins=1, num_bootstrap=1
        )

    @property
    def wanted_precision(self) -> float:
        """Lowest precision of a threshold on the rows."""
        chosen = self.min_precision
        return _MIN_PRECISION[self.thresholds] if chosen is None else chosen


@dataclass(frozen=True)
class EmbeddingMapConfig:
    """How a map of embeddings is made and measured.

    Attributes:
        perplexity: Number of neighbours that t-SNE keeps close to each row, roughly; by default 30,
            or a third of the other rows if that is less.
        num_neighbours: Nearest rows of other groups that vote on the labels of a row.
        num_resamples: Resamples of whole groups for the 95 % intervals; 0 for none.
        seed: Seed of the map and of the resamples; it repeats the map on the same machine.
    """

    perplexity: float | None = None
    num_neighbours: int = 5
    num_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, ["perplexity"], num_neighbours=1, num_resamples=0, seed=0)
