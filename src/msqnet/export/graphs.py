"""The two stages of a model as modules of plain tensors, and the ONNX files made of them.

The frame graph is what is computed of each frame alone, the clip graph what makes scores of the
frames' features, so that windows which share frames go on sharing them.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from msqnet.errors import ExportError, MissingExtra
from msqnet.inference.manifest import (
    CLOSEUP_PREFIX,
    EMBEDDING_OUTPUT,
    EMBEDDINGS_KEY,
    FRAMES_INPUT,
    SCORES_OUTPUT,
)
from msqnet.model.out_of_distribution import mean_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msqnet.model.pretrained import MSQNet

# Of the examples that graphs are traced with: 0 and 1 would be taken for constants.
_NUM_EXAMPLES = 2


class FrameGraph(nn.Module):
    """(N, 3, S, S) uint8 to the features of `MSQNet.frame_features`, in the order of their names.

    Args:
        model: prepared for inference.

    Attributes:
        names: of the features.
        shapes: of the features of one frame, without N.
    """

    def __init__(self, model: MSQNet) -> None:
        super().__init__()
        self.model = model
        with torch.no_grad():
            features = model.frame_features(example_frames(model))
        self.names = tuple(sorted(features))
        self.shapes = tuple(tuple(features[name].shape[1:]) for name in self.names)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        """The features by themselves."""
        features = self.model.frame_features(frames)
        return tuple(features[name] for name in self.names)


class ClipGraph(nn.Module):
    """Features of clips, (B, T, ...) each, and label embeddings (K, D_t) to scores (B, K).

    The embeddings of the clips (B, D), which warning scores are made of, come along.

    Args:
        model: prepared for inference.
        names: of the features.
    """

    def __init__(self, model: MSQNet, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def input_names(self) -> tuple[str, ...]:
        """Frames' features, then those of close-ups, then label embeddings, where there are any."""
        closeups = [CLOSEUP_PREFIX + name for name in self.names]
        has_closeup, is_open = self.model.config.clip_config.closeup, self.model.config.is_open
        return (
            *self.names,
            *(closeups if has_closeup else ()),
            *([EMBEDDINGS_KEY] if is_open else ()),
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Calibrated scores (B, K) and embeddings (B, D), float32."""
        given = dict(zip(self.input_names(), inputs, strict=True))
        frames = {name: given[name] for name in self.names}
        closeups = None
        if self.model.config.clip_config.closeup:
            closeups = {name: given[CLOSEUP_PREFIX + name] for name in self.names}
        output = self.model.score_frames(frames, closeups, given.get(EMBEDDINGS_KEY))
        if output.logits is None:
            raise ExportError("the model gives no logits")
        return self.model.scores(output.logits), mean_memory(output).float()


def example_frames(model: MSQNet) -> Tensor:
    """Some noise of the shape of frames, (N, 3, S, S) uint8."""
    size = model.config.clip_config.size_pixels
    generator = torch.Generator().manual_seed(0)
    shape = (_NUM_EXAMPLES, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def check_exportable(model: MSQNet) -> None:
    """Refuse a model of which the two graphs would not be what it computes.

    Raises:
        ExportError: close-ups beside an image query, which looks at whole frames only.
    """
    if model.config.clip_config.closeup and model.image_encoder is not None:
        raise ExportError(
            "this model takes close-ups and has an image query too; one frame graph cannot serve "
            "both, expected one of them: train with --arch.closeup false, or use it in PyTorch"
        )


def write_frame_graph(graph: FrameGraph, path: Path) -> None:
    """Write the frame graph as ONNX: "frames" to the features by their names; N is free.

    Raises:
        ExportError: torch cannot trace the model.
        MissingExtra: onnx or onnxscript is not installed.
    """
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    _write(graph, (example_frames(graph.model),), dynamic, (FRAMES_INPUT,), graph.names, path)


def write_clip_graph(graph: ClipGraph, shapes: tuple[tuple[int, ...], ...], path: Path) -> None:
    """Write the clip graph as ONNX; B is free, and K where the vocabulary is open.

    Args:
        graph: to be written.
        shapes: of the features of one frame.
        path: the file.

    Raises:
        ExportError: torch cannot trace the model.
        MissingExtra: onnx or onnxscript is not installed.
    """
    config = graph.model.config
    leading = (_NUM_EXAMPLES, config.clip_config.num_frames)
    examples: list[Tensor] = []
    for name in graph.input_names():
        if name == EMBEDDINGS_KEY:
            examples.append(torch.ones(_NUM_EXAMPLES + 1, config.label_width))
        else:
            shape = shapes[graph.names.index(name.removeprefix(CLOSEUP_PREFIX))]
            examples.append(torch.zeros(*leading, *shape))
    dynamic = (tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),)  # of the one *inputs
    outputs = (SCORES_OUTPUT, EMBEDDING_OUTPUT)
    _write(graph, tuple(examples), dynamic, graph.input_names(), outputs, path)


def _write(
    graph: nn.Module,
    examples: tuple[Tensor, ...],
    dynamic: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    path: Path,
) -> None:
    try:
        import onnx  # noqa: F401 - torch asks for it only after a long time
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra("exporting a model", extra="export") from error
    # Tracing fails in many ways; its messages run over pages, of which the first line tells most.
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
            )
            if program is None:
                raise ExportError("torch gave no graph")
            program.save(path)
    except Exception as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ExportError(
            f"{path.stem} of this model cannot be exported ({type(error).__name__}: {reason}); "
            "use it in PyTorch"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters say about themselves off the terminal; errors are raised anyway.

    torch warns of every operator of torchvision that it does without, quantisation of each bias.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
