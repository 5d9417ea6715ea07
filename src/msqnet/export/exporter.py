"""From a model folder to an exported folder: graphs, check, manifest."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from msqnet.errors import ConfigError, MissingExtra
from msqnet.export.graphs import (
    ClipGraph,
    FrameGraph,
    check_exportable,
    quiet,
    write_clip_graph,
    write_frame_graph,
)
from msqnet.export.int8 import check_quantisable, quantise_frame_graph
from msqnet.export.verification import TOLERANCE, Verification, verify
from msqnet.inference.backends import TorchBackend, weights_digest
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import (
    CLIP_GRAPH,
    EMBEDDINGS_FILE,
    EMBEDDINGS_KEY,
    FRAME_GRAPH,
    SUFFIXES,
    Manifest,
    file_digest,
    read_manifest,
)
from msqnet.inference.runtimes import RUNTIMES
from msqnet.model.out_of_distribution import NoveltyReference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.clips import Clip
    from msqnet.config import RuntimeName
    from msqnet.inference.manifest import ExportFormat
    from msqnet.model.pretrained import MSQNet


@dataclass(frozen=True)
class ExportSettings:
    """How a model is exported.

    Attributes:
        format: of the graphs.
        tolerance: largest difference of scores that float32 graphs may have.
    """

    format: ExportFormat = "onnx"
    tolerance: float = TOLERANCE


def export_model(
    folder: Path,
    out: Path,
    clips: Sequence[Clip],
    settings: ExportSettings | None = None,
    calibration: Sequence[Clip] | None = None,
) -> Manifest:
    """Export a finished model and check it against PyTorch.

    The folder appears whole, or not at all.

    Args:
        folder: of the model.
        out: the new folder; must not exist yet.
        clips: real clips to compare scores on.
        settings: format and tolerance.
        calibration: clips to quantise on, for int8 graphs; None for float32.

    Returns:
        What was written, with the result of the check.

    Raises:
        CheckpointError: the model is incomplete or damaged.
        ConfigError: ``out`` exists.
        ExportError: the model cannot be exported, or its graphs give other scores.
        MissingExtra: an optional part is not installed.
    """
    from msqnet.model.pretrained import MSQNet

    settings = settings or ExportSettings()
    if out.exists():
        raise ConfigError(f"{out} exists; remove it, or name another folder with --out")
    model = MSQNet.from_pretrained(folder)
    source = {"name": folder.name, "weights_digest": weights_digest(folder)}
    novelty = NoveltyReference.load(folder)
    reference = TorchBackend(model, "cpu", source, novelty)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        if novelty is not None:
            novelty.save(draft)
        manifest = write_graphs(model, draft, settings.format, reference.provenance, calibration)
        is_exact = calibration is None
        results = check_graphs(reference, draft, clips, settings.tolerance if is_exact else None)
        verification: dict[str, Any] = {
            str(name): asdict(result) for name, result in results.items()
        }
        manifest = replace(manifest, verification=verification)

        manifest.write(draft)
        draft.chmod(0o755)  # temporary folders are their owner's alone
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def check_graphs(
    reference: TorchBackend, folder: Path, clips: Sequence[Clip], tolerance: float | None
) -> dict[RuntimeName, Verification]:
    """Compare an exported folder with the model in PyTorch, by every runtime of its format.

    A runtime that is not installed is left out, but for the one that runs the format by default.

    Raises:
        ExportError: see `verify`.
        MissingExtra: the default runtime is not installed.
    """
    default, *others = RUNTIMES[read_manifest(folder).format]
    return {
        runtime: verify(
            reference, ExportedBackend.from_pretrained(folder, runtime=runtime), clips, tolerance
        )
        for runtime in (default, *(name for name in others if find_spec(name) is not None))
    }


def write_graphs(
    model: MSQNet,
    folder: Path,
    export_format: ExportFormat,
    provenance: dict[str, object],
    calibration: Sequence[Clip] | None = None,
) -> Manifest:
    """Write graphs and manifest, unchecked.

    Args:
        model: prepared for inference.
        folder: holds nothing but what belongs to the export.
        export_format: of the graphs.
        provenance: which model this is; plain values.
        calibration: clips to quantise on; None for float32.

    Raises:
        ExportError: the model cannot be exported.
        MissingExtra: an optional part is not installed.
    """
    check_exportable(model)
    if calibration is not None:
        check_quantisable(model)
    frame_graph = FrameGraph(model)
    clip_graph = ClipGraph(model, frame_graph.names)
    frame_path, clip_path = (folder / f"{name}.onnx" for name in (FRAME_GRAPH, CLIP_GRAPH))
    write_frame_graph(frame_graph, frame_path)
    write_clip_graph(clip_graph, frame_graph.shapes, clip_path)
    if calibration is not None:
        quantise_frame_graph(frame_path, calibration)
    if export_format == "openvino":
        for path in (frame_path, clip_path):
            _to_openvino(path)
    if model.config.is_open:
        own = model.query_encoder.label_embeddings.detach().float().cpu().contiguous()
        save_file({EMBEDDINGS_KEY: own}, folder / EMBEDDINGS_FILE)
    manifest = _manifest(
        model, folder, export_format, frame_graph.names, provenance, is_int8=calibration is not None
    )
    manifest.write(folder)
    return manifest


def _to_openvino(path: Path) -> None:
    """Replace an ONNX file by OpenVINO's two."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("exporting to OpenVINO", extra="export") from error
    with quiet():
        model = openvino.Core().read_model(path)
        # Half precision would halve the file, and cost the last digits of the scores.
        openvino.save_model(model, path.with_suffix(SUFFIXES["openvino"]), compress_to_fp16=False)
    path.unlink()


def _manifest(
    model: MSQNet,
    folder: Path,
    export_format: ExportFormat,
    frame_features: tuple[str, ...],
    provenance: dict[str, object],
    *,
    is_int8: bool,
) -> Manifest:
    config = model.config
    return Manifest(
        format=export_format,
        precision="int8" if is_int8 else "float32",
        frame_features=frame_features,
        labels=config.label_set.names,
        thresholds=tuple(config.thresholds or ()),
        single_label=config.task == "single_label",
        is_open=config.is_open,
        window_seconds=float(config.window_seconds),
        clip=config.clip_config.to_dict(),
        text_encoder=config.text_encoder if config.is_open else None,
        prompts=config.prompts,
        train_positive_windows=config.train_positive_windows,
        train_negative_windows=config.train_negative_windows,
        provenance=provenance,
        verification={},
        files={path.name: file_digest(path) for path in sorted(folder.iterdir())},
    )
