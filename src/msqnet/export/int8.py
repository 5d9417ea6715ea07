"""Static quantisation after training: the frame graph in integers of 8 bits.

Of `lite`, the frame graph is nine tenths of the work; the clip graph stays in float32, as its
attention and the statistics of the video query would lose more than the tenth is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ExportError, MissingExtra
from msqnet.export.graphs import quiet
from msqnet.inference.manifest import FRAMES_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.clips import Clip
    from msqnet.model.pretrained import MSQNet


def check_quantisable(model: MSQNet) -> None:
    """Refuse a model that would not gain by it.

    Raises:
        ExportError: a video encoder that does its work in the clip graph.
    """
    if not model.video_encoder.has_fast_frames:
        raise ExportError(
            f"int8: the frame graph of {model.video_encoder.display_name} does little of its "
            "work, so that 8 bits there gain nothing, and the rest stays in float32; expected a "
            "model with the lite encoder; leave --int8 out"
        )


def quantise_frame_graph(path: Path, clips: Sequence[Clip]) -> None:
    """Replace a frame graph by one of 8-bit integers.

    Activations are unsigned, weights signed with one scale a channel, and of 7 bits: without the
    VNNI instructions, products of 8-bit weights overflow the 16 bits that they are added up in.

    Args:
        path: the ONNX file, in float32; replaced.
        clips: real ones, at least one; they show the usual range of values.

    Raises:
        ExportError: no clips.
        MissingExtra: onnxruntime is not installed.
    """
    if not clips:
        raise ExportError("int8: no clip to calibrate on; name some with --calibrate_on")
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
        from onnxruntime.quantization import quantize_static as quantize
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtra("quantising a model", extra="export") from error
    prepared, result = path.with_suffix(".prepared.onnx"), path.with_suffix(".int8.onnx")
    try:
        with quiet():
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize(
                prepared,
                result,
                _FrameReader(clips),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        result.replace(path)
    finally:
        prepared.unlink(missing_ok=True)


class _FrameReader:
    """Frames as onnxruntime's calibration asks for them: one batch after the other, then None."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._batches = _batches(clips)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return self._batches


def _batches(clips: Sequence[Clip]) -> Iterator[dict[str, NDArray[Any]]]:
    """The first and the middle frame of each clip, of both looks."""
    for clip in clips:
        places = [0, clip.pixels.shape[0] // 2]
        looks = [clip.pixels] if clip.closeup is None else [clip.pixels, clip.closeup]
        yield {FRAMES_INPUT: np.concatenate([look[places].numpy() for look in looks])}
