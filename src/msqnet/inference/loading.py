"""From the name of a model to what scores clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError
from msqnet.inference.backends import TorchBackend
from msqnet.inference.clip_zero_shot import PREFIX, ClipZeroShotBackend
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import is_exported
from msqnet.inference.runtimes import check_runtime
from msqnet.models import model_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msqnet.inference.backends import Backend
    from msqnet.inference.runtimes import RuntimeName
    from msqnet.labels import LabelSet
    from msqnet.model.computing import Precision
    from msqnet.prompts import LabelText


def load_backend(
    model: str | Path | None = None,
    *,
    labels: LabelSet | None = None,
    texts: Mapping[str, LabelText] | None = None,
    device: str = "auto",
    runtime: RuntimeName = "auto",
    precision: Precision = "fp32",
) -> Backend:
    """Load what scores clips.

    Args:
        model: a folder, also of an exported model, a Hugging Face Hub id, the name of a model that
            comes with msqnet, None for the default one, or ``clip-zero-shot:ID_OR_FOLDER`` for the
            training-free baseline.
        labels: what to ask for; by default the labels that the model was trained on. Any labels of
            an open-vocabulary model and of the baseline, some of its own of any other.
        texts: descriptions and synonyms by label name.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; exported models run on the CPU.
        runtime: `auto`, `torch`, or for exported models `onnxruntime` or `openvino`.
        precision: numbers of matrix products, `fp32` or, where the device has them, `bf16`;
            exported models keep what they were exported with.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ConfigError: the device, the runtime, the precision or the settings cannot be used.
        MissingExtra: the runtime is not installed.
        VocabularyError: the model's head is bound to other labels.
    """
    check_runtime(runtime)
    if model is not None and is_exported(model):
        if precision != "fp32":
            raise ConfigError(
                f"precision {precision!r}: {model} is an exported model and keeps the numbers it "
                "was exported with; give the model that was exported, or export with --int8"
            )
        return ExportedBackend.from_pretrained(Path(model), device, labels, texts, runtime)
    if runtime not in ("auto", "torch"):
        raise ConfigError(
            f"runtime {runtime!r} runs exported models; export this one first: msqnet export "
            f"{'' if model is None else f'--model {model} '}--out FOLDER, then give --model FOLDER"
        )
    if str(model or "").startswith(PREFIX):
        if labels is None:
            raise ConfigError(f"{model}: was trained on no labels; say --labels 'walking|eating'")
        name = str(model).removeprefix(PREFIX)
        return ClipZeroShotBackend.from_pretrained(name, labels, texts, device, precision)
    return TorchBackend.from_pretrained(model_folder(model), device, labels, texts, precision)
