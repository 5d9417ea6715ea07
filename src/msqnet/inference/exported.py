"""Exported models on the CPU: the runtimes of their graphs, and the backend that runs them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from msqnet.clips import NO_SOUND, SOUND_INPUTS
from msqnet.config import ClipConfig, PrecisionChoice, RuntimeName
from msqnet.errors import CheckpointError, ConfigError, MissingExtra, ShapeError, check
from msqnet.inference.backends import ClipOutputs, ScoreColumns
from msqnet.inference.manifest import (
    EMBEDDING_OUTPUT,
    EMBEDDINGS_FILE,
    EMBEDDINGS_KEY,
    FRAME_LOGITS_OUTPUT,
    FRAMES_INPUT,
    MOTION_CROP_PREFIX,
    SCORES_OUTPUT,
    read_manifest,
)
from msqnet.labels import LabelSet
from msqnet.model.out_of_distribution import REFERENCE_FILE, TrainingReference
from msqnet.models import thresholds_of
from msqnet.process import multiplies_int8, num_threads, signal_stack_kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.clips import Pixels
    from msqnet.inference.backends import Arrays
    from msqnet.inference.manifest import ExportFormat, GraphPrecision, Manifest
    from msqnet.prompts import LabelText

RUNTIMES: Mapping[ExportFormat, tuple[RuntimeName, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
"""Runtimes of each format, the first one by default."""

_PRECISIONS: Mapping[PrecisionChoice, GraphPrecision] = {"fp32": "float32", "int8": "int8"}
NO_INT8 = "this processor lacks fast products of 8-bit integers (VNNI, or ARM's dot product)"
_EXTRA = "export"
_ERRORS_ONLY = 3

_logger = logging.getLogger(__name__)


Graph = Callable[["Mapping[str, NDArray[Any]]"], "dict[str, NDArray[Any]]"]
"""A graph that is ready to run: inputs by name to outputs by name; the arrays are the caller's."""


def runtime_for(export_format: ExportFormat, runtime: RuntimeName) -> RuntimeName:
    """The runtime that runs a format; raises `ConfigError` if the one asked for cannot."""
    able = RUNTIMES[export_format]
    check(
        runtime in ("auto", *able),
        f"runtime {runtime!r} does not run models exported as {export_format!r}; expected "
        f"{' or '.join(able)}"
        + (", or give the model that was exported" if runtime == "torch" else ""),
    )
    return able[0] if runtime == "auto" else runtime


def precision_for(manifest: Manifest, wanted: PrecisionChoice) -> GraphPrecision:
    """The precision that graphs compute in; raises `ConfigError` if they or the CPU cannot.

    Products of 8-bit integers need instructions that add them up in 32 bits; without these, those
    of 8-bit weights overflow, and the scores would be others.
    """
    able = manifest.precisions
    chosen = able[-1] if wanted == "auto" else _PRECISIONS.get(wanted)
    if chosen is None or chosen not in able:
        others = "give the model that was exported, with --runtime auto"
        if wanted == "int8":
            others = "make them with: msqnet export --int8 --calibrate-on clips.csv --model MODEL"
        raise ConfigError(
            f"precision {wanted!r}: the graphs of this model are in {' and '.join(able)}; take "
            f"auto, or {others}"
        )
    if chosen == "float32" or multiplies_int8():
        return chosen
    if wanted == "auto" and "float32" in able:
        return "float32"
    advice = "--precision fp32" if "float32" in able else "a model in float32"
    raise ConfigError(f"precision int8: {NO_INT8}; take {advice}")


def exported_provenance(
    manifest: Manifest, runtime: RuntimeName, precision: GraphPrecision
) -> dict[str, Any]:
    """Which exported model computed scores, and by what: plain values."""
    exported = {
        "format": manifest.format,
        "precision": precision,
        "runtime": runtime,
        "digest": manifest.digest,
    }
    return {**manifest.provenance, "exported": exported}


def load_graph(path: Path, runtime: RuntimeName) -> Graph:
    """Read a graph, to be run by `num_threads` threads.

    `CheckpointError` if the runtime cannot read it, `MissingExtra` if it is not installed.
    """
    try:
        load = _onnxruntime_graph if runtime == "onnxruntime" else _openvino_graph
        return load(path)
    except ImportError as error:
        raise MissingExtra(f"running {path.parent} by {runtime}", extra=_EXTRA) from error
    # Both raise errors of their own, which derive from RuntimeError or from Exception alone.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        message = f"{path}: {runtime} cannot read it ({reason}); export it again"
        raise CheckpointError(message) from error


def _onnxruntime_graph(path: Path) -> Graph:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    options.inter_op_num_threads = 1
    # Threads that wait in a loop take the cores from other programs, and from the decoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _openvino_graph(path: Path) -> Graph:
    import openvino

    # Read by the core, not by `convert_model`, which reports its use to the makers.
    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": num_threads(),
        # Some processors would take bfloat16 by themselves, and give other scores.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    with signal_stack_kept():
        compiled = core.compile_model(core.read_model(path), "CPU", settings)
    # What it returns is overwritten by the next call. A value may have several names.
    return lambda inputs: {
        name: np.array(value)
        for port, value in compiled(dict(inputs)).items()
        for name in port.get_names()
    }


# What a few frames need stays in the processor's cache.
_FRAMES_AT_A_TIME = 2
# Few clips at once take less memory and no more time (ONNX Runtime).
# OpenVINO 2026.4 mixes up the biases of labels, which are added to sums over features, where it
# gets two and more clips at once (findings/openvino_offset_after_a_mean.sh).
_CLIPS_AT_A_TIME: Mapping[RuntimeName, int] = {"openvino": 1, "onnxruntime": 2}


class ExportedBackend(ScoreColumns):
    """An exported model on the CPU.

    Args:
        frame_graph: (N, 3, S, S) uint8 "frames" to the features that the manifest names.
        clip_graph: features of clips, and label embeddings of an open vocabulary, to "scores".
        embeddings: (K, D_t) float32 of the labels, where the vocabulary is open.
    """

    def __init__(
        self,
        manifest: Manifest,
        frame_graph: Graph,
        clip_graph: Graph,
        runtime: RuntimeName,
        precision: GraphPrecision,
        embeddings: NDArray[np.float32] | None,
        training_reference: TrainingReference | None = None,
    ) -> None:
        super().__init__(
            LabelSet(manifest.labels),
            manifest.thresholds,
            manifest.train_positive_windows,
            manifest.train_negative_windows,
            manifest.evidence,
        )
        self._manifest = manifest
        self._runtime = runtime
        self._frame_graph = frame_graph
        self._clip_graph = clip_graph
        self._own_embeddings = embeddings
        self._embeddings = embeddings
        self.training_reference = training_reference
        self.clip_config = ClipConfig.from_dict(manifest.clip)
        self.single_label = manifest.single_label
        self.is_open = manifest.is_open
        self.window_seconds = float(manifest.window_seconds)
        self.provenance = exported_provenance(manifest, runtime, precision)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        device: str = "auto",
        labels: LabelSet | None = None,
        texts: Mapping[str, LabelText] | None = None,
        runtime: RuntimeName = "auto",
        precision: PrecisionChoice = "auto",
    ) -> ExportedBackend:
        """Load a folder that `msqnet export` wrote; see `TorchBackend.from_pretrained`.

        Raises:
            CheckpointError: the folder is incomplete or damaged.
            ConfigError: another device than the CPU, a runtime that cannot run the format, or a
                precision that the graphs or the CPU do not have.
            MissingExtra: the runtime is not installed.
            VocabularyError: labels that the model was not trained on and cannot score.
        """
        check(
            device in ("auto", "cpu"),
            f"device {device!r}: exported models run on the CPU; give auto or cpu, or the model "
            "that was exported",
        )
        manifest = read_manifest(folder)
        chosen = runtime_for(manifest.format, runtime)
        numbers = precision_for(manifest, precision)
        if precision == "auto" and numbers != manifest.precisions[-1]:
            _logger.warning("computing in float32, which is slower than int8: %s", NO_INT8)
        embeddings = None
        if manifest.is_open:
            path = folder / EMBEDDINGS_FILE
            try:
                embeddings = load_file(path)[EMBEDDINGS_KEY]
            except (OSError, KeyError) as error:
                message = f"{path}: no label embeddings ({error}); export it again"
                raise CheckpointError(message) from error
        backend = cls(
            manifest,
            load_graph(manifest.frame_graph(folder, numbers), chosen),
            load_graph(manifest.clip_graph(folder), chosen),
            chosen,
            numbers,
            embeddings,
            TrainingReference.load(folder) if REFERENCE_FILE in manifest.files else None,
        )
        if labels is not None:
            backend.ask_for(labels, texts)
        return backend

    def ask_for(self, labels: LabelSet, texts: Mapping[str, LabelText] | None = None) -> None:
        """Score these labels from now on, any of an open vocabulary.

        `CheckpointError` if the text encoder is not there, or is another than in training;
        `ConfigError` for a text that cannot be read, or descriptions that are missing.
        """
        manifest = self._manifest
        own_embeddings = self._own_embeddings
        if own_embeddings is None or manifest.text_encoder is None:
            self.keep_labels(labels)
            return
        import torch

        from msqnet.model.vocabulary import embeddings_as_trained

        own = manifest.labels[0], torch.from_numpy(own_embeddings[0])
        self._embeddings = embeddings_as_trained(
            manifest.text_encoder, manifest.prompts, own, labels, texts
        ).numpy()
        known = dict(zip(manifest.labels, manifest.thresholds, strict=True))
        ScoreColumns.__init__(self, labels, thresholds_of(labels, known), None, None)

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """See `Backend.frame_features`; motion crops pass through the same weights."""
        size = self.clip_config.size_pixels
        if frames.dtype != np.uint8 or tuple(frames.shape[1:]) != (3, size, size):
            raise ShapeError(
                f"frames: found {frames.dtype} {tuple(frames.shape)}, expected uint8 "
                f"(N, 3, {size}, {size})"
            )
        starts = range(0, len(frames), _FRAMES_AT_A_TIME)
        chunks = (frames[start : start + _FRAMES_AT_A_TIME] for start in starts)
        found = [self._frame_graph({FRAMES_INPUT: chunk}) for chunk in chunks]
        return {
            name: np.concatenate([chunk[name] for chunk in found])
            for name in self._manifest.frame_features
        }

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """See `Backend.clip_outputs`; graphs of earlier exports give no embeddings."""
        if (motion_crops is not None) != self.clip_config.closeup:
            found = "no motion crops" if motion_crops is None else "motion crops"
            raise ShapeError(f"clips: found {found}, unlike the model's clip settings")
        if self.clip_config.sound is not None and not frames.keys() >= set(SOUND_INPUTS):
            raise ShapeError(
                f"clips: found no {' and '.join(SOUND_INPUTS)}, which this model takes; where a "
                f"clip has no sound, all its times are {NO_SOUND:g}"
            )
        inputs: dict[str, NDArray[Any]] = {}
        for prefix, features in (("", frames), (MOTION_CROP_PREFIX, motion_crops or {})):
            inputs |= {prefix + name: value for name, value in features.items()}
        num_clips = len(next(iter(inputs.values())))
        size = _CLIPS_AT_A_TIME.get(self._runtime, num_clips)
        texts = {} if self._embeddings is None else {EMBEDDINGS_KEY: self._embeddings}
        parts = [
            self._clip_graph(
                texts | {name: value[first : first + size] for name, value in inputs.items()}
            )
            for first in range(0, num_clips, size)
        ]
        outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        frame_logits = outputs.get(FRAME_LOGITS_OUTPUT)
        return ClipOutputs(
            outputs[SCORES_OUTPUT][:, self._columns],
            outputs.get(EMBEDDING_OUTPUT),
            None if frame_logits is None else frame_logits[..., self._columns],
        )
