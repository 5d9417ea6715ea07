"""The options that all commands with a finished model share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msqnet.config.windows import SegmentConfig, WindowConfig
from msqnet.errors import check
from msqnet.labels import split_labels

RuntimeName = Literal["auto", "torch", "onnxruntime", "openvino"]
"""PyTorch runs model folders, the others run the folders that `msqnet export` writes."""

Precision = Literal["fp32", "bf16"]
"""Number type of matrix products and convolutions and of the activations between them; logits, and
weights that are not multiplied, are always float32."""

PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]
"""What may be asked for: PyTorch computes in a `Precision`, graphs in float32 or int8."""


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
class InferenceOptions(SegmentConfig, WindowConfig, ModelOptions):
    """Which model predicts, how videos are cut into windows, and how scores become segments."""

    def __post_init__(self) -> None:
        WindowConfig.__post_init__(self)
        SegmentConfig.__post_init__(self)
