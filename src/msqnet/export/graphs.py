"""The two stages of a model as modules of plain tensors, and the ONNX files made of them.

The frame graph computes the features of each frame alone, the clip graph scores from the features
of frames. So windows that share frames go on sharing their features.

A frame graph can be quantized after training, to integers of 8 bits. It is nine tenths of the work
of `lite`. The clip graph stays in float32: its attention and the statistics of the video query
would lose more than the tenth is worth.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from msqnet.clips import SOUND_INPUTS, SOUND_TIMES
from msqnet.errors import ExportError, needs_extra
from msqnet.inference.manifest import (
    EMBEDDING_OUTPUT,
    EMBEDDINGS_KEY,
    FRAME_LOGITS_OUTPUT,
    FRAMES_INPUT,
    MOTION_CROP_PREFIX,
    SCORES_OUTPUT,
)
from msqnet.model.out_of_distribution import clip_embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.clips import Clip
    from msqnet.model.pretrained import MSQNet

# Of the examples that graphs are traced with: 0 and 1 would be taken for constants.
_NUM_EXAMPLES = 2
# Those of the stem of EfficientNet-Lite and of its first block.
_CONVOLUTIONS_IN_FLOAT = 3


class FrameGraph(nn.Module):
    """(N, 3, S, S) uint8 to the features of `MSQNet.frame_features`, in the order of their names.

    `shapes` are those of the features of one frame, without N.
    """

    def __init__(self, model: MSQNet) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            features = model.frame_features(_example_frames(model))
        self.names = tuple(sorted(features))
        self.shapes = tuple(tuple(features[name].shape[1:]) for name in self.names)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """The features by themselves."""
        features = self.model.frame_features(frames)
        return tuple(features[name] for name in self.names)


class ClipGraph(nn.Module):
    """Features of clips, (B, T, ...) each, and label embeddings (K, D_t) to scores (B, K).

    The embeddings of the clips (B, D) come along, for out-of-distribution scores, and the logits of
    frames (B, T, K) where the model has them. `names` are those of the features.
    """

    def __init__(self, model: MSQNet, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def input_names(self) -> tuple[str, ...]:
        """Frames' features, those of motion crops, sound, and label embeddings, if any."""
        crops = [MOTION_CROP_PREFIX + name for name in self.names]
        has_crop, is_open = self.model.config.clip_config.closeup, self.model.config.is_open
        embeddings = [EMBEDDINGS_KEY] if is_open else []
        sound = () if self.model.audio_encoder is None else SOUND_INPUTS
        return (*self.names, *(crops if has_crop else ()), *sound, *embeddings)

    def output_names(self) -> tuple[str, ...]:
        """In the order of what `forward` gives."""
        of_frames = (FRAME_LOGITS_OUTPUT,) if self.model.config.frame_head else ()
        return (SCORES_OUTPUT, EMBEDDING_OUTPUT, *of_frames)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Calibrated scores (B, K), embeddings (B, D), and logits of frames, if any; float32."""
        given = dict(zip(self.input_names(), inputs, strict=True))
        sound = [name for name in SOUND_INPUTS if name in given]
        frames = {name: given[name] for name in (*self.names, *sound)}
        crops = None
        if self.model.config.clip_config.closeup:
            crops = {name: given[MOTION_CROP_PREFIX + name] for name in self.names}
        output = self.model.score_frames(frames, crops, given.get(EMBEDDINGS_KEY))
        if output.logits is None:
            raise ExportError("the model gives no logits")
        of_frames = () if output.frame_logits is None else (output.frame_logits,)
        return self.model.scores(output.logits), clip_embeddings(self.model, output), *of_frames


def _example_frames(model: MSQNet) -> Tensor:
    """Noise of the shape of frames, (N, 3, S, S) uint8."""
    size = model.config.clip_config.size_pixels
    generator = torch.Generator().manual_seed(0)
    shape = (_NUM_EXAMPLES, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def check_exportable(model: MSQNet) -> None:
    """Refuse, by an `ExportError`, a model that the two graphs cannot represent.

    An image query takes whole frames only.
    """
    if model.config.clip_config.closeup and model.image_encoder is not None:
        raise ExportError(
            "this model takes motion crops and has an image query too; one frame graph cannot "
            "serve both, expected one of them: train with --arch.closeup false, or use the "
            "model in PyTorch"
        )


def write_frame_graph(graph: FrameGraph, path: Path, weights: Path | None = None) -> None:
    """Write the frame graph as ONNX: "frames" to the features by their names; N is free.

    With ``weights``, the graph takes its tensors from that file, see `share_weights`.
    """
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    _write(
        graph, (_example_frames(graph.model),), dynamic, (FRAMES_INPUT,), graph.names, path, weights
    )


def write_clip_graph(
    graph: ClipGraph, shapes: tuple[tuple[int, ...], ...], path: Path, weights: Path | None = None
) -> None:
    """Write the clip graph as ONNX; B is free, and K where the vocabulary is open.

    ``shapes`` are those of the features of one frame; for ``weights`` see `write_frame_graph`.
    """
    config = graph.model.config
    leading = (_NUM_EXAMPLES, config.clip_config.num_frames)
    examples: list[Tensor] = []
    for name in graph.input_names():
        if name == EMBEDDINGS_KEY:
            examples.append(torch.ones(_NUM_EXAMPLES + 1, config.label_width))
        elif name in SOUND_INPUTS and (sound := config.clip_config.sound) is not None:
            form = (sound.num_frames, sound.num_mel_bins)
            is_times = name == SOUND_TIMES
            examples.append(torch.zeros(leading[0], *((sound.num_tokens,) if is_times else form)))
        else:
            shape = shapes[graph.names.index(name.removeprefix(MOTION_CROP_PREFIX))]
            examples.append(torch.zeros(*leading, *shape))
    dynamic = (tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),)  # of the one *inputs
    _write(
        *(graph, tuple(examples), dynamic, graph.input_names(), graph.output_names()),
        *(path, weights),
    )


def _write(
    graph: nn.Module,
    examples: tuple[Tensor, ...],
    dynamic: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    path: Path,
    weights: Path | None,
) -> None:
    """Trace a graph; an `ExportError` if that fails."""
    with needs_extra("exporting a model", extra="export"):
        import onnx  # noqa: F401 - torch asks for it only after a long time
        import onnxscript.optimizer
    # Tracing fails in many ways, with messages of many pages. The first line says most.
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval(),
                examples,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
                optimize=weights is None,
            )
            if program is None:
                raise ExportError("torch gave no graph")
            if weights is not None:
                # Folded, a tensor would no longer be one of the file. But ONNX Runtime makes a
                # convolution and the ReLU6 after it one step only where the bounds are constants.
                onnxscript.optimizer.fold_constants(
                    program.model, should_fold=lambda node: node.op_type in ("CastLike", "Cast")
                )
            program.save(path)
        if weights is not None:
            share_weights(path, weights)
    except Exception as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ExportError(
            f"{path.stem} of this model cannot be exported ({type(error).__name__}: {reason}); "
            "use it in PyTorch"
        ) from error


def share_weights(path: Path, weights: Path) -> None:
    """Let a graph read what it can from the model's safetensors file, which lies beside it.

    Tensors stay in the half precision in which they are stored, and are converted when the graph is
    loaded; the graph itself becomes small. Only tensors that are equal to the bit are shared.
    """
    import onnx

    stored = weights.read_bytes()
    start = 8 + int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8:start])
    model = onnx.load(path)
    graph, halves, casts = model.graph, [], []
    for tensor in list(graph.initializer):
        entry = header.get(tensor.name.removeprefix("model."), {})
        if entry.get("dtype") != "F16" or entry["shape"] != list(tensor.dims):
            continue
        first, last = entry["data_offsets"]
        half = np.frombuffer(stored[start + first : start + last], "<f2").reshape(entry["shape"])
        if not np.array_equal(half.astype(np.float32), onnx.numpy_helper.to_array(tensor)):
            continue
        shared = onnx.TensorProto(
            name=f"{tensor.name}.half",
            dims=tensor.dims,
            data_type=onnx.TensorProto.FLOAT16,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": weights.name, "offset": start + first, "length": last - first}
        for key, value in place.items():
            shared.external_data.add(key=key, value=str(value))
        halves.append(shared)
        casts.append(
            onnx.helper.make_node("Cast", [shared.name], [tensor.name], to=onnx.TensorProto.FLOAT)
        )
        graph.initializer.remove(tensor)
    graph.initializer.extend(halves)
    nodes = [*casts, *graph.node]
    for node in nodes:  # where each line of code stands, and shapes: nobody reads them
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for field in ("node", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the chatter of converters off the terminal; errors are raised anyway.

    torch warns of every operator of torchvision that it does without, quantization of each bias.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def check_quantizable(model: MSQNet) -> None:
    """Refuse, by an `ExportError`, a model whose encoder does its work in the clip graph."""
    if not model.video_encoder.has_fast_frames:
        raise ExportError(
            f"int8: the frame graph of {model.video_encoder.display_name} does little of its "
            "work, so that 8 bits there gain nothing, and the rest stays in float32; expected a "
            "model with the lite encoder; leave --int8 out"
        )


def quantize_frame_graph(path: Path, clips: Sequence[Clip]) -> None:
    """Replace a frame graph by one of 8-bit integers.

    Activations are unsigned, weights signed with one scale a channel. The stem and the first block
    stay in float32: they cost little, and most of the error in the features would be theirs.

    The clips show the usual range of values; an `ExportError` if there are none.
    """
    if not clips:
        raise ExportError("int8: no clip to calibrate on; name some with --calibrate-on")
    with needs_extra("quantizing a model", extra="export"):
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
        from onnxruntime.quantization import quantize_static as quantize
        from onnxruntime.quantization.shape_inference import quant_pre_process
    prepared, result = path.with_suffix(".prepared.onnx"), path.with_suffix(".int8.onnx")
    try:
        with quiet():
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantize(
                prepared,
                result,
                _FrameReader(clips),
                quant_format=QuantFormat.QDQ,
                nodes_to_exclude=_nodes_in_float(prepared),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        result.replace(path)
    finally:
        prepared.unlink(missing_ok=True)


def _nodes_in_float(path: Path) -> list[str]:
    """Names of the nodes before the first convolution that is to be quantized, in order."""
    import onnx

    names, num_convolutions = [], 0
    for node in onnx.load(path, load_external_data=False).graph.node:
        num_convolutions += node.op_type == "Conv"
        if num_convolutions > _CONVOLUTIONS_IN_FLOAT:
            break
        names.append(node.name)
    return names


class _FrameReader:
    """The first and middle frame of clips, of both views, a clip at a time, for calibration."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = iter(clips)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        return iter(self.get_next, None)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """As onnxruntime asks for it: None after the last."""
        clip = next(self._clips, None)
        if clip is None:
            return None
        places = [0, clip.pixels.shape[0] // 2]
        views = [clip.pixels] if clip.motion_crop is None else [clip.pixels, clip.motion_crop]
        return {FRAMES_INPUT: np.concatenate([view[places] for view in views])}
