"""The `manifest.json` of an exported model, which describes its two graphs.

It lies in a folder of its own, or beside the model itself, whose weights the graphs then share.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from msqnet.config import ClipConfig
from msqnet.errors import CheckpointError, VocabularyError, check
from msqnet.labels import LabelSet
from msqnet.models import CONFIG_FILE, MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

ExportFormat = Literal["onnx", "openvino"]
GraphPrecision = Literal["float32", "int8"]

EMBEDDINGS_FILE = "label_embeddings.safetensors"
EMBEDDINGS_KEY = "label_embeddings"
FRAME_GRAPH = "frame_graph"
FRAME_GRAPH_INT8 = "frame_graph_int8"
"""Beside another in float32, which stays the model's own."""
CLIP_GRAPH = "clip_graph"
FRAMES_INPUT = "frames"
SCORES_OUTPUT = "scores"
EMBEDDING_OUTPUT = "embedding"
FRAME_LOGITS_OUTPUT = "frame_logits"
MOTION_CROP_PREFIX = "closeup_"
SUFFIXES: Mapping[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml"}
"""Of the file that a graph is read from."""

_FORMAT_VERSION = 1
_DIGEST_DIGITS = 16
_EXPORT_AGAIN = "export the model again with: msqnet export"


@dataclass(frozen=True)
class Manifest:
    """All that is known of an exported model besides its two graphs; see `Backend` for the rest.

    Attributes:
        frame_features: names of the outputs of the frame graph, in its order. The clip graph takes
            them under the same names, those of motion crops with `MOTION_CROP_PREFIX`.
        labels: K names.
        thresholds: (K,).
        is_open: the clip graph takes label embeddings, (K, D_t), for any labels.
        window_seconds: length of the windows the model was trained on.
        clip: `ClipConfig` as plain values.
        text_encoder: of an open vocabulary, the encoder of its embeddings; else None.
        prompts: of an open vocabulary.
        train_positive_windows: (K,); None if not known.
        train_negative_windows: (K,); None if not known.
        provenance: plain values.
        verification: by runtime, how its scores compared with PyTorch's when it was exported; plain
            values.
        files: SHA-256 of every other file that belongs to them, by name.
        evidence: (K,) see `MSQNetConfig`.
    """

    format: ExportFormat
    precision: GraphPrecision
    frame_features: tuple[str, ...]
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    single_label: bool
    is_open: bool
    window_seconds: float
    clip: dict[str, Any]
    text_encoder: dict[str, Any] | None
    prompts: str
    train_positive_windows: list[int] | None
    train_negative_windows: list[int] | None
    provenance: dict[str, Any]
    verification: dict[str, Any]
    files: dict[str, str]
    evidence: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        formats = get_args(ExportFormat)
        check(self.format in formats, f"format {self.format!r}: expected one of {formats}")
        num_labels, num_thresholds = len(LabelSet(self.labels)), len(self.thresholds)
        check(num_labels == num_thresholds, f"{num_thresholds} thresholds of {num_labels} labels")
        num_known = num_labels if self.evidence is None else len(self.evidence)
        check(num_known == num_labels, f"evidence of {num_known} of {num_labels} labels")
        for name in (FRAME_GRAPH, CLIP_GRAPH):
            file = name + SUFFIXES[self.format]
            check(file in self.files, f"files: no {file}")
        ClipConfig.from_dict(self.clip)

    @property
    def digest(self) -> str:
        """First 16 hex digits of a SHA-256 over all that is said here, those of files included."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]

    @property
    def precisions(self) -> tuple[GraphPrecision, ...]:
        """Of the frame graphs that are there, the model's own first."""
        has_both = FRAME_GRAPH_INT8 + SUFFIXES[self.format] in self.files
        return (self.precision, "int8") if has_both else (self.precision,)

    def frame_graph(self, folder: Path, precision: GraphPrecision) -> Path:
        """The file to read the frame graph of one of the `precisions` from."""
        name = FRAME_GRAPH if precision == self.precision else FRAME_GRAPH_INT8
        return folder / f"{name}{SUFFIXES[self.format]}"

    def clip_graph(self, folder: Path) -> Path:
        """The file to read the clip graph from."""
        return folder / f"{CLIP_GRAPH}{SUFFIXES[self.format]}"

    def write(self, folder: Path) -> None:
        """Write `manifest.json`."""
        values = {"format_version": _FORMAT_VERSION, **asdict(self)}
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def is_exported(model: str | Path | None) -> bool:
    """Whether ``model`` is a folder that holds an exported model only."""
    return (
        model is not None and has_graphs(Path(model)) and not (Path(model) / CONFIG_FILE).exists()
    )


def has_graphs(folder: Path) -> bool:
    """Whether a folder holds graphs, by themselves or beside their model."""
    return (folder / MANIFEST_FILE).is_file()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an exported folder, and check that its files are those it names.

    A damaged one or one of another version, and a missing or changed file, are a `CheckpointError`.
    """
    path = folder / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("format_version")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: no manifest ({error}); {_EXPORT_AGAIN}") from error
    if version != _FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: found format_version {version!r}, expected {_FORMAT_VERSION}; {_EXPORT_AGAIN}"
        )
    try:
        for name in ("frame_features", "labels", "thresholds"):
            values[name] = tuple(values[name])
        manifest = Manifest(**values)
    except (KeyError, TypeError, ValueError, AttributeError, VocabularyError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); {_EXPORT_AGAIN}") from error
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(
                f"{folder}: {name!r} is missing, which {MANIFEST_FILE} names; copy the whole "
                f"folder, or {_EXPORT_AGAIN}"
            )
        found = file_digest(path)
        if found != expected:
            raise CheckpointError(
                f"{path}: found SHA-256 {found[:_DIGEST_DIGITS]}..., expected "
                f"{expected[:_DIGEST_DIGITS]}...: not the file that was exported; copy it again, "
                f"or {_EXPORT_AGAIN}"
            )
    return manifest
