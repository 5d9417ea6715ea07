"""From a model folder to an exported folder: graphs, manifest, and a check on real clips."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import save_file

from msqnet.clips import ClipBatch
from msqnet.config import TableOptions
from msqnet.data.records import Record
from msqnet.data.table import read_table
from msqnet.data.table_files import READABLE_SUFFIXES
from msqnet.errors import ConfigError, ExportError, needs_extra
from msqnet.export.graphs import (
    ClipGraph,
    FrameGraph,
    check_exportable,
    check_quantizable,
    quantize_frame_graph,
    quiet,
    write_clip_graph,
    write_frame_graph,
)
from msqnet.inference.backends import clip_scores, source_of
from msqnet.inference.exported import RUNTIMES, ExportedBackend
from msqnet.inference.manifest import (
    CLIP_GRAPH,
    EMBEDDINGS_FILE,
    EMBEDDINGS_KEY,
    FRAME_GRAPH,
    FRAME_GRAPH_INT8,
    SUFFIXES,
    Manifest,
    file_digest,
    read_manifest,
)
from msqnet.inference.results import find_videos
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.out_of_distribution import TrainingReference
from msqnet.models import CARD_FILE, MANIFEST_FILE, WEIGHTS_FILE, changed_model
from msqnet.models.taught import BACKGROUND_FILE, TAUGHT_FILE
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.clips import Clip
    from msqnet.config import PrecisionChoice
    from msqnet.inference.backends import Backend
    from msqnet.inference.manifest import ExportFormat
    from msqnet.model.pretrained import MSQNet


TOLERANCE = 1e-4
"""Scores of float32 graphs differ by no more: about a hundred times what rounding makes of them."""

_logger = logging.getLogger(__name__)
_BATCH_SIZE = 4
_WINDOWS_PER_VIDEO = 3


def export_model(
    folder: Path,
    out: Path,
    clips: Sequence[Clip],
    *,
    export_format: ExportFormat = "onnx",
    tolerance: float = TOLERANCE,
    calibration: Sequence[Clip] | None = None,
) -> Manifest:
    """Export a finished model and check it against PyTorch.

    The new folder ``out`` appears whole, or not at all; its manifest holds the result of the check.

    Args:
        clips: real clips to compare scores on.
        tolerance: largest difference of scores that float32 graphs may have.
        calibration: clips to quantize on, for int8 graphs; None for float32.

    Raises:
        CheckpointError: the model is incomplete or damaged.
        ConfigError: ``out`` exists.
        ExportError: the model cannot be exported, or its graphs give other scores.
    """
    from msqnet.model.pretrained import MSQNet

    if out.exists():
        raise ConfigError(f"{out} exists; remove it, or name another folder with --out")
    model = MSQNet.from_pretrained(folder)
    training = TrainingReference.load(folder)
    reference = TorchBackend(model, "cpu", source_of(folder), training)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        if training is not None:
            training.save(draft)
        for name in (TAUGHT_FILE, BACKGROUND_FILE):  # the graphs compute their features as well
            if (folder / name).is_file():
                shutil.copyfile(folder / name, draft / name)
        manifest = write_graphs(model, draft, export_format, reference.provenance, calibration)
        manifest = _checked(manifest, reference, draft, clips, tolerance)
        draft.chmod(0o755)  # temporary folders are their owner's alone
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def add_graphs(
    folder: Path, clips: Sequence[Clip], calibration: Sequence[Clip] | None = None
) -> Manifest:
    """Put graphs for ONNX Runtime into a finished model's own folder, checked against PyTorch.

    They share the model's weights. With ``calibration``, a frame graph of 8-bit integers comes
    beside them. The folder is replaced as a whole, or stays as it is. Errors are those of
    `export_model`; a folder that cannot be written is an `OSError`.
    """
    from msqnet.model.pretrained import MSQNet

    training = TrainingReference.load(folder)
    reference = TorchBackend(MSQNet.from_pretrained(folder), "cpu", source_of(folder), training)
    with changed_model(folder, folder, overwrite=True) as draft:
        model = MSQNet.from_pretrained(folder)  # not prepared: its tensors are those of the file
        manifest = write_graphs(
            model, draft, "onnx", reference.provenance, calibration, shares_weights=True
        )
        return _checked(manifest, reference, draft, clips, TOLERANCE)


def _checked(
    manifest: Manifest, reference: TorchBackend, folder: Path, clips: Sequence[Clip], limit: float
) -> Manifest:
    """The manifest with the result of the check, written to the exported folder."""
    results = check_graphs(reference, folder, clips, limit)
    verification: dict[str, Any] = {name: asdict(item) for name, item in results.items()}
    manifest = replace(manifest, verification=verification)
    manifest.write(folder)
    return manifest


def check_graphs(
    reference: TorchBackend, folder: Path, clips: Sequence[Clip], tolerance: float
) -> dict[str, Verification]:
    """Compare an exported folder with the model in PyTorch, by every runtime of its format.

    The keys are those runtimes, with "onnxruntime int8" and so on for an int8 graph beside another.
    Differences of int8 are not limited. A runtime that is not installed is left out, but for the
    one that runs the format by default. Errors are those of `verify`, and a `ConfigError` for int8
    on a CPU that lacks it.
    """
    manifest = read_manifest(folder)
    default, *others = RUNTIMES[manifest.format]
    results = {}
    for runtime in (default, *(name for name in others if find_spec(name) is not None)):
        for precision in manifest.precisions:
            wanted: PrecisionChoice = "int8" if precision == "int8" else "fp32"
            exported = ExportedBackend.from_pretrained(folder, runtime=runtime, precision=wanted)
            is_int8 = precision == "int8"
            key = runtime if precision == manifest.precision else f"{runtime} {precision}"
            limit = None if is_int8 else tolerance
            results[key] = verify(reference, exported, clips, limit)
    return results


def write_graphs(
    model: MSQNet,
    folder: Path,
    export_format: ExportFormat,
    provenance: dict[str, object],
    calibration: Sequence[Clip] | None = None,
    *,
    shares_weights: bool = False,
) -> Manifest:
    """Write graphs and manifest, unchecked, to a folder that holds the model or nothing else.

    Without `calibration`, clips to quantize on, graphs are float32. With `shares_weights` they read
    those of the model in the folder, and a quantized frame graph comes beside the other instead of
    in its place. Errors are `ExportError`.
    """
    check_exportable(model)
    if calibration is not None:
        check_quantizable(model)
    frame_graph = FrameGraph(model)
    clip_graph = ClipGraph(model, frame_graph.names)
    names = FRAME_GRAPH, CLIP_GRAPH, FRAME_GRAPH_INT8
    frame_path, clip_path, int8_path = (folder / f"{name}.onnx" for name in names)
    weights = folder / WEIGHTS_FILE if shares_weights else None
    write_frame_graph(frame_graph, frame_path, weights)
    write_clip_graph(clip_graph, frame_graph.shapes, clip_path, weights)
    if calibration is not None and shares_weights:
        write_frame_graph(frame_graph, int8_path)
        quantize_frame_graph(int8_path, calibration)
    elif calibration is not None:
        quantize_frame_graph(frame_path, calibration)
    if export_format == "openvino":
        for path in (frame_path, clip_path):
            _to_openvino(path)
    if model.config.is_open:
        own = model.query_encoder.label_embeddings.detach().float().cpu().contiguous()
        save_file({EMBEDDINGS_KEY: own}, folder / EMBEDDINGS_FILE)
    config = model.config
    manifest = Manifest(
        format=export_format,
        precision="float32" if calibration is None or shares_weights else "int8",
        frame_features=frame_graph.names,
        labels=config.label_set.names,
        thresholds=tuple(config.thresholds or ()),
        evidence=config.evidence,
        single_label=config.task == "single_label",
        is_open=config.is_open,
        window_seconds=float(config.window_seconds),
        clip=config.clip_config.as_dict(),
        text_encoder=config.text_encoder if config.is_open else None,
        prompts=config.prompts,
        train_positive_windows=config.train_positive_windows,
        train_negative_windows=config.train_negative_windows,
        provenance=provenance,
        verification={},
        files={
            path.name: file_digest(path)
            for path in sorted(folder.iterdir())
            if path.name not in (CARD_FILE, MANIFEST_FILE)
        },
    )
    manifest.write(folder)
    return manifest


def _to_openvino(path: Path) -> None:
    with needs_extra("exporting to OpenVINO", extra="export"):
        import openvino
    with quiet():
        model = openvino.Core().read_model(path)
        # Half precision would halve the file, and cost the last digits of the scores.
        openvino.save_model(model, path.with_suffix(SUFFIXES["openvino"]), compress_to_fp16=False)
    path.unlink()


@dataclass(frozen=True)
class Verification:
    """Absolute differences of two backends' scores on the same clips.

    `tolerance` is the one that was allowed, None where the difference was only measured.
    """

    num_clips: int
    max_difference: float
    mean_difference: float
    tolerance: float | None


def verify(
    reference: Backend, exported: Backend, clips: Sequence[Clip], tolerance: float | None
) -> Verification:
    """Compare scores of real clips, by themselves and in batches.

    No clip, or scores that differ by more than a tolerance or are no numbers, is an `ExportError`.
    """
    if not clips:
        raise ExportError("no clip to check the export on; name videos with --videos")
    # Two ways to cut them up: a batch size that was traced as a constant shows in one of them.
    batches = [[clip] for clip in clips]
    batches += [list(clips[i : i + _BATCH_SIZE]) for i in range(0, len(clips), _BATCH_SIZE)]
    differences = []
    for batch in batches:
        stacked = ClipBatch.stack(batch)
        expected, found = clip_scores(reference, stacked), clip_scores(exported, stacked)
        if expected.shape != found.shape or not np.isfinite(found).all():
            raise ExportError(
                f"exported graphs give scores {found.shape} that are not all finite or not of the "
                f"expected shape {expected.shape}; do not use them"
            )
        differences.append(np.abs(expected - found))
    values = np.concatenate(differences)
    result = Verification(len(clips), float(values.max()), float(values.mean()), tolerance)
    if tolerance is not None and result.max_difference > tolerance:
        raise ExportError(
            f"exported graphs and PyTorch differ: largest difference of scores found "
            f"{result.max_difference:.2g} on {len(clips)} clips, expected at most {tolerance:g}; "
            "nothing was written; try the other --format, or use the model in PyTorch"
        )
    return result


def windows_of_videos(videos: Sequence[Path], window_seconds: float) -> list[Record]:
    """Windows of videos and folders as rows: at the start, in the middle and at the end of each.

    No videos are a `ConfigError`, one that cannot be read is a `VideoError`.
    """
    records = []
    for number, item in enumerate(find_videos(videos)):
        with open_video(item.source) as video:
            first = video.start_seconds
            last_start = max(first, video.end_seconds - window_seconds)
        starts = np.unique(np.linspace(first, last_start, _WINDOWS_PER_VIDEO))
        records += [
            Record(
                row=number,
                path=Path(item.source),
                relative_path=item.name,
                labels=(),
                start_seconds=float(start),
                end_seconds=float(start) + window_seconds,
            )
            for start in starts
        ]
    return records


def windows_for(
    source: Path,
    split: str | None,
    window_seconds: float,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
) -> list[Record]:
    """Windows of a table or a split of it, or of a video or a folder.

    A split, or options, of what is no table are a `ConfigError`, a table that cannot be used is a
    `DatasetError`.
    """
    if source.suffix.lower() in READABLE_SUFFIXES:
        table = read_table(source, reading)
        for note in table.notes:
            _logger.warning(note)
        return list(table.select(split).records)
    if split is not None:
        raise ConfigError(f"{source}: split {split!r} needs a table of clips, found another file")
    if reading.changes:
        raise ConfigError(f"{source}: {next(iter(reading.changes))} needs a table of clips")
    return windows_of_videos([source], window_seconds)


def spread(records: Sequence[Record], at_most: int) -> list[Record]:
    """So many of the rows, evenly over their order."""
    places = np.linspace(0, len(records) - 1, min(at_most, len(records))).round().astype(int)
    return [records[place] for place in places]
