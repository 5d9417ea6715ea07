"""`msqnet export`: a model as graphs for ONNX Runtime and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.config import TableOptions
from msqnet.errors import check

if TYPE_CHECKING:
    from msqnet.inference.manifest import Manifest

_MAX_CALIBRATION_CLIPS = 100


def export(
    out: str | None = None,
    model: str | None = None,
    format: Literal["onnx", "openvino"] = "onnx",
    videos: list[str] | None = None,
    int8: bool = False,
    calibrate_on: str | None = None,
    calibration_split: str | None = None,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
) -> int:
    """Export a model to ONNX or OpenVINO, and compare the scores on real clips.

    Writes two graphs, one for the features of each frame and one from features to scores, and
    manifest.json, which `msqnet predict --model FOLDER` reads. If a score differs from PyTorch's by
    more than 0.0001, nothing is written.

    Args:
        out: Folder to write; must not exist. Without it the graphs go into the model's own folder,
            where they share its weights, and every command uses them by itself.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        format: `onnx` runs in ONNX Runtime and OpenVINO, `openvino` in OpenVINO only.
        videos: Video files and folders to compare the scores on; by default the demo clips
            that come with msqnet.
        int8: Compute the features of frames with 8-bit integers, on processors that do this fast.
            It is nearly twice as fast and changes the scores. The difference is printed, not
            limited: compare `msqnet evaluate --precision int8` and `--precision fp32`. Without
            `--out`, the graph comes beside the one in float32, and is taken by default.
        calibrate_on: With `--int8`, clips that show the usual range of values: a table of clips, a
            video or a folder of videos, similar to those to be predicted; by default `--videos`.
        calibration_split: Split of that table to use, for instance `train`; by default all.
        reading: How that table is read.
    """
    from msqnet.data.dataset import iter_clips
    from msqnet.demo import demo_clips
    from msqnet.export.exporter import (
        add_graphs,
        export_model,
        spread,
        windows_for,
        windows_of_videos,
    )
    from msqnet.inference.exported import NO_INT8
    from msqnet.inference.manifest import FRAME_GRAPH_INT8
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.models import model_folder
    from msqnet.process import multiplies_int8

    check(
        int8 or not (calibrate_on or calibration_split or reading.changes),
        "--calibrate-on and its options are for --int8; give both or neither",
    )
    check(
        not calibration_split or bool(calibrate_on),
        "--calibration-split takes rows of a table; name it with --calibrate-on",
    )
    check(
        not int8 or bool(calibrate_on or videos),
        "--int8 needs clips similar to those to be predicted: name a table of clips, a video or a "
        "folder with --calibrate-on",
    )
    check(
        out is not None or model is not None,
        "name the folder to write with --out, or a model that gets graphs of its own with --model",
    )
    check(
        out is not None or format == "onnx",
        "graphs in the model's own folder are onnx; for others name a folder with --out",
    )
    check(not int8 or multiplies_int8(), f"--int8: {NO_INT8}; export on one that has them")
    is_taken = out is not None and Path(out).exists()
    check(not is_taken, f"{out} exists; remove it, or name another folder with --out")
    folder = model_folder(model)
    config = MSQNetConfig.from_pretrained(folder)
    paths = [Path(video) for video in videos] if videos else [clip.path for clip in demo_clips()]
    records = windows_of_videos(paths, config.window_seconds)
    clips = list(iter_clips(records, config.clip_config))
    calibration = clips if int8 else None
    if calibrate_on:
        rows = windows_for(Path(calibrate_on), calibration_split, config.window_seconds, reading)
        calibration = list(iter_clips(spread(rows, _MAX_CALIBRATION_CLIPS), config.clip_config))
    num_videos = len({record.path for record in records})
    if out is None:
        if not int8 and (folder / f"{FRAME_GRAPH_INT8}.onnx").exists():
            print(f"{folder}: its int8 graph is of the former ones and goes; --int8 makes it anew")
        _show(folder, add_graphs(folder, clips, calibration=calibration), num_videos)
        return 0
    manifest = export_model(folder, Path(out), clips, export_format=format, calibration=calibration)
    _show(Path(out), manifest, num_videos)
    return 0


def _show(folder: Path, manifest: Manifest, num_videos: int) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    precision = " and ".join(manifest.precisions)
    print(f"written: {folder} ({manifest.format}, {precision}, {size / 1e6:.1f} MB)")
    for runtime, found in manifest.verification.items():
        limit = found["tolerance"]
        allowed = "not limited for int8" if limit is None else f"at most {limit:g} is allowed"
        print(
            f"{runtime}: largest score difference from PyTorch {found['max_difference']:.2g} "
            f"({found['num_clips']} clips of {num_videos} videos; {allowed})"
        )
    print(f"use it: msqnet predict clip.mp4 --model {folder}")
