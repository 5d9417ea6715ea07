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
from msqnet.labels import LabelSet
from msqnet.models import model_folder
from msqnet.prompts import read_label_table

if TYPE_CHECKING:
    from msqnet.config import ModelOptions
    from msqnet.inference.backends import Backend


def load_backend(options: ModelOptions) -> Backend:
    """Load what scores clips.

    Args:
        options: which model, for which labels; exported models run on the CPU and keep the
            precision that they were exported with.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
        ConfigError: the device, the runtime, the precision or the settings cannot be used.
        MissingExtra: the runtime is not installed.
        VocabularyError: the model's head is bound to other labels.
    """
    model, runtime, precision = options.model, options.runtime, options.precision
    names, table = options.label_names, options.label_table
    labels = None if names is None else LabelSet(tuple(names))
    texts = None if table is None else read_label_table(table)
    check_runtime(runtime)
    if model is not None and is_exported(model):
        if precision != "fp32":
            raise ConfigError(
                f"precision {precision!r}: {model} is an exported model and keeps the numbers it "
                "was exported with; give the model that was exported, or export with --int8"
            )
        return ExportedBackend.from_pretrained(Path(model), options.device, labels, texts, runtime)
    if runtime not in ("auto", "torch"):
        raise ConfigError(
            f"runtime {runtime!r} runs exported models; export this one first: msqnet export "
            f"{'' if model is None else f'--model {model} '}--out FOLDER, then give --model FOLDER"
        )
    if (model or "").startswith(PREFIX):
        if labels is None:
            raise ConfigError(f"{model}: was trained on no labels; say --labels 'walking|eating'")
        name = str(model).removeprefix(PREFIX)
        return ClipZeroShotBackend.from_pretrained(name, labels, texts, options.device, precision)
    return TorchBackend.from_pretrained(
        model_folder(model), options.device, labels, texts, precision
    )
