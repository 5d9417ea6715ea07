"""What a model's own files tell of it, without PyTorch and before any weights are read.

It is enough to tell whether results that exist are those of this model and of these settings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from msqnet import __version__
from msqnet.config import ClipConfig, SegmentConfig
from msqnet.errors import ConfigError, MsqnetError, VocabularyError, check
from msqnet.inference.backends import source_of
from msqnet.inference.exported import exported_provenance, precision_for, runtime_for
from msqnet.inference.manifest import has_graphs, is_exported, read_manifest
from msqnet.inference.taught import asked_of_model, labels_with
from msqnet.inference.windows import window_lengths
from msqnet.labels import LabelSet
from msqnet.model.out_of_distribution import TrainingReference
from msqnet.model.registry import DUAL_LICENCES
from msqnet.models import (
    CONFIG_FILE,
    DEFAULT_THRESHOLD,
    DEFAULT_WINDOW_SECONDS,
    OPEN_ADVICE,
    SHIPPED_MODEL,
    closed_labels,
    model_folder,
    thresholds_of,
)
from msqnet.models.hub import TOKENIZER_FILES, checkpoint_folder
from msqnet.models.open_models import PREFIX, RECOMMENDED, open_model_source
from msqnet.models.taught import TAUGHT_THRESHOLD, TaughtLabels
from msqnet.predictions import SCHEMA_VERSION
from msqnet.prompts import TEMPLATE_ENSEMBLE, contrast_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msqnet.config import InferenceOptions, ModelOptions, Precision, WindowConfig
    from msqnet.predictions import FloatArray

# The mean of windows climbs from one level to the next within a window on either side of a border;
# half a window more holds a step of the level itself. Of 0.5, 1 and 1.5 windows, 1.5 had the
# smallest errors on films of joined training clips (`benchmarks/joined_clips.py`).
BORDER_REACH_WINDOWS = 1.5
_NUM_DUAL_FRAMES = 8
_DUAL_IMAGE_PIXELS = 224


class Described(Protocol):
    """A backend, or what is known of one, as far as results name it; see `Backend`."""

    labels: LabelSet
    clip_config: ClipConfig
    thresholds: FloatArray
    window_seconds: float
    provenance: dict[str, Any]


@dataclass
class ModelFacts:
    """A model that was not loaded; the fields are those of `Backend`."""

    labels: LabelSet
    clip_config: ClipConfig
    thresholds: FloatArray
    window_seconds: float
    provenance: dict[str, Any]


@dataclass(frozen=True)
class ModelPlace:
    """Where the model of some options is, and which of its labels are asked for.

    Attributes:
        folder: that of the model.
        labels: as the model spells them; None for all.
        is_graphs_alone: it is an exported model without the model that it was made of.
        open_source: id or folder, as it was named, of a CLIP or SigLIP without training.
        taught: the labels that it was taught; None without any.
    """

    folder: Path
    labels: LabelSet | None
    is_graphs_alone: bool = False
    open_source: str | None = None
    taught: TaughtLabels | None = None


def locate_model(options: ModelOptions) -> ModelPlace:
    """Find a model and check its labels; raises the errors of `Predictor.from_pretrained`."""
    model, names = options.model, options.label_names
    labels = None if names is None else LabelSet(tuple(names))
    if (source := open_model_source(model)) is not None:
        check_open_model(options)
        return ModelPlace(checkpoint_folder(source, TOKENIZER_FILES), labels, open_source=source)
    for option in ("prompts", "contrast"):
        check(
            getattr(options, option) is None,
            f"--{option}: only for a CLIP or SigLIP without training, found "
            f"{model or SHIPPED_MODEL}; take --model {RECOMMENDED.name}",
        )
    is_graphs_alone = is_exported(model)
    folder = Path(model or "") if is_graphs_alone else model_folder(model)
    if labels is not None and (own := closed_labels(folder)) is not None:
        try:  # a wrong one stops here, before weights are read
            labels = LabelSet(own.as_spelled(labels))
        except VocabularyError as error:
            raise VocabularyError(f"{error}; for other labels {OPEN_ADVICE}") from None
    return ModelPlace(folder, labels, is_graphs_alone, None, TaughtLabels.load(folder))


def unknown_words(options: ModelOptions) -> str:
    """The words that the shipped model does not know, with near matches, if no model was chosen.

    Empty where a model was chosen, or where all words are labels of the shipped one.
    """
    if options.model is not None or options.label_names is None:
        return ""
    own = closed_labels(model_folder())
    unknown = () if own is None else own.unknown(options.label_names)
    if own is None or not unknown:
        return ""
    near = own.nearest(unknown)
    nearest = f" (nearest: {', '.join(near)})" if near else ""
    verb = "is no label" if len(unknown) == 1 else "are no labels"
    return f"{', '.join(map(repr, unknown))} {verb} of {SHIPPED_MODEL}{nearest}"


def takes_graphs(folder: Path, options: ModelOptions) -> bool:
    """Whether the graphs in a model's folder are to compute, not PyTorch, if there are some.

    They do not do what some options ask for, and a GPU is faster.
    """
    if options.runtime != "auto" or options.precision == "int8":
        return options.runtime != "torch"
    if options.precision == "bf16" or options.device not in ("auto", "cpu"):
        return False
    has_gpu = options.device == "auto" and Path("/dev/nvidiactl").exists()
    return has_graphs(folder) and not (has_gpu and find_spec("torch") is not None)


def check_open_model(options: ModelOptions) -> None:
    """Refuse options with a `ConfigError` that a CLIP or SigLIP without training cannot follow."""
    check(
        options.label_names is not None,
        f"{options.model}: was trained on no labels; say --labels 'walking|eating'",
    )
    check(
        options.runtime in ("auto", "torch"),
        f"runtime {options.runtime!r}: {options.model} runs in PyTorch; give auto or torch",
    )
    torch_precision(options)


def torch_precision(options: ModelOptions) -> Precision:
    """The precision that PyTorch computes in; int8 is a `ConfigError`."""
    if options.precision == "int8":
        raise ConfigError(
            "precision 'int8': PyTorch computes in fp32 or bf16; take --runtime auto, and a model "
            "with graphs in int8 (msqnet export --int8)"
        )
    return "fp32" if options.precision == "auto" else options.precision


def known_provenance(options: InferenceOptions) -> dict[str, Any] | None:
    """The provenance of results by a model that is not loaded; None if only loading tells."""
    try:
        return provenance_of(read_facts(options), options, options)
    except (MsqnetError, OSError, ValueError, KeyError, TypeError):
        return None  # loading says what is wrong


def read_facts(options: ModelOptions) -> ModelFacts:
    """What is known of a model. Raises what damaged files do: they are checked by loading."""
    place = locate_model(options)
    if place.open_source is not None:
        return _facts_of_dual(options, place)
    if (taught := place.taught) is None:
        return _facts_of_model(options, place)
    asked = place.labels
    facts = _facts_of_model(options, replace(place, labels=asked_of_model(asked, taught)))
    limits = dict(zip(facts.labels, facts.thresholds, strict=True))
    limits |= dict.fromkeys(taught.names, TAUGHT_THRESHOLD)
    labels = asked or labels_with(facts.labels, taught)
    thresholds = np.array([limits[name] for name in labels], dtype=np.float32)
    return replace(facts, labels=labels, thresholds=thresholds)


def _facts_of_model(options: ModelOptions, place: ModelPlace) -> ModelFacts:
    """What is known of the model itself, without the labels that it was taught."""
    folder = place.folder
    if place.is_graphs_alone or (has_graphs(folder) and takes_graphs(folder, options)):
        manifest = read_manifest(folder)
        if place.is_graphs_alone or place.labels is None or not manifest.is_open:
            runtime = runtime_for(manifest.format, options.runtime)
            precision = precision_for(manifest, options.precision)
            provenance = exported_provenance(manifest, runtime, precision)
            return _facts(asdict(manifest), place, provenance, manifest.is_open)
    told = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    provenance = torch_provenance(
        source_of(folder),
        told.get("provenance"),
        TrainingReference.load(folder),
        torch_precision(options),
    )
    return _facts(told, place, provenance, closed_labels(folder) is None)


def torch_provenance(
    source: Mapping[str, Any],
    of_training: Mapping[str, Any] | None,
    reference: TrainingReference | None,
    precision: str,
) -> dict[str, Any]:
    """Which model in PyTorch computed scores; ``source`` and ``of_training`` are plain values."""
    found = {**source, **(of_training or {})}
    if reference is not None:
        found["novelty_digest"] = reference.digest
    if precision != "fp32":  # gives other scores; unnamed before there was a choice
        found["precision"] = precision
    return found


def _facts(
    told: Mapping[str, Any], place: ModelPlace, provenance: dict[str, Any], is_open: bool
) -> ModelFacts:
    """The facts of a `config.json`, which leaves defaults out, or of a `manifest.json`."""
    own = tuple(str(name) for name in told["labels"])
    limits = told.get("thresholds") or [DEFAULT_THRESHOLD] * len(own)
    labels = place.labels or LabelSet(own)
    if not is_open:
        LabelSet(own).indices(labels)
    return ModelFacts(
        labels,
        ClipConfig.from_dict(told.get("clip") or {}),
        np.asarray(thresholds_of(labels, dict(zip(own, limits, strict=True))), dtype=np.float32),
        float(told.get("window_seconds", DEFAULT_WINDOW_SECONDS)),
        provenance,
    )


def _facts_of_dual(options: ModelOptions, place: ModelPlace) -> ModelFacts:
    """Of a CLIP or SigLIP without training."""
    told = json.loads((place.folder / CONFIG_FILE).read_text(encoding="utf-8"))
    size = told.get("vision_config", {}).get("image_size", _DUAL_IMAGE_PIXELS)
    name, labels = str(place.open_source), place.labels or LabelSet(())
    return dual_facts(
        name,
        labels,
        told["model_type"],
        size,
        torch_precision(options),
        options.prompts or TEMPLATE_ENSEMBLE,
        contrast_texts(options.contrast),
    )


def dual_facts(
    name: str,
    labels: LabelSet,
    kind: str,
    image_pixels: int,
    precision: str,
    prompts: str = TEMPLATE_ENSEMBLE,
    contrast: tuple[str, ...] = (),
) -> ModelFacts:
    """How a CLIP or SigLIP predicts without training.

    Args:
        kind: ``clip`` or ``siglip``.
        image_pixels: side of the images that it was trained on.
        prompts: style of the texts of labels.
        contrast: texts for no action.
    """
    provenance: dict[str, Any] = {
        "name": f"{PREFIX}{name}",
        "protocol": f"{kind}, training-free: mean frame-text similarity of a window",
        "borders": "frames",
        "prompts": prompts,
        "pretrained_licences": [DUAL_LICENCES[kind]],
    }
    if contrast:
        provenance["contrast"] = list(contrast)
    if precision != "fp32":  # gives other scores; unnamed before there was a choice
        provenance["precision"] = precision
    clip = ClipConfig(
        num_frames=_NUM_DUAL_FRAMES,
        size_pixels=image_pixels,
        resize="stretch",
        short_side_pixels=image_pixels,
        decode_short_side_pixels=image_pixels,
    )
    # 0.5 is SigLIP's own probability that text and image belong together; a share of CLIP's softmax
    thresholds = np.full(len(labels), DEFAULT_THRESHOLD, dtype=np.float32)
    return ModelFacts(labels, clip, thresholds, DEFAULT_WINDOW_SECONDS, provenance)


def provenance_of(
    model: Described, window: WindowConfig, segments: SegmentConfig
) -> dict[str, Any]:
    """The model and settings behind results: JSON values only; see `Predictor.provenance`.

    A stride that is longer than the window is a `ConfigError`.
    """
    window_seconds, stride_seconds = window_lengths(
        window, model.window_seconds, model.clip_config.num_frames
    )
    settings = {
        "clip": model.clip_config.as_dict(),
        "window_seconds": window_seconds,
        "stride_seconds": stride_seconds,
        "fps": window.fps,
        "border_reach_seconds": BORDER_REACH_WINDOWS * window_seconds,
        "thresholds": [float(value) for value in thresholds_in_use(model, segments)],
        "segments": {item.name: getattr(segments, item.name) for item in fields(SegmentConfig)},
    }
    text = json.dumps(settings, sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "msqnet_version": __version__,
        "model": model.provenance,
        "labels_digest": model.labels.digest,
        "config_digest": hashlib.sha256(text.encode()).hexdigest()[:16],
        "settings": settings,
    }


def thresholds_in_use(model: Described, segments: SegmentConfig) -> FloatArray:
    """(K,) float32, one for all labels where the settings say so."""
    if segments.threshold is None:
        return model.thresholds
    return np.full_like(model.thresholds, segments.threshold)
