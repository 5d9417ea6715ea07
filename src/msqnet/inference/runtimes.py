"""Programs that run exported graphs on the CPU: ONNX Runtime and OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
import torch

from msqnet.config import RuntimeName
from msqnet.errors import CheckpointError, ConfigError, MissingExtra
from msqnet.process import signal_stack_kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.inference.manifest import ExportFormat

RUNTIMES: Mapping[ExportFormat, tuple[RuntimeName, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
}
"""Runtimes of each format, the first one by default."""

_EXTRA = "export"
_ERRORS_ONLY = 3


class Graph(Protocol):
    """A graph that is ready to run."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, from inputs by name; the arrays are the caller's."""
        ...


def check_runtime(runtime: str) -> None:
    """Refuse the name of a runtime that there is not.

    Raises:
        ConfigError: says which there are.
    """
    if runtime not in get_args(RuntimeName):
        raise ConfigError(
            f"runtime {runtime!r}: expected one of {', '.join(get_args(RuntimeName))}"
        )


def runtime_for(export_format: ExportFormat, runtime: RuntimeName) -> RuntimeName:
    """The runtime that runs a format.

    Raises:
        ConfigError: the one asked for cannot.
    """
    check_runtime(runtime)
    able = RUNTIMES[export_format]
    if runtime == "auto":
        return able[0]
    if runtime not in able:
        raise ConfigError(
            f"runtime {runtime!r} does not run models exported as {export_format!r}; expected "
            f"{' or '.join(able)}"
            + (", or give the model that was exported" if runtime == "torch" else "")
        )
    return runtime


def load_graph(path: Path, runtime: RuntimeName) -> Graph:
    """Read a graph, to be run by as many threads as torch has.

    Args:
        path: ``.onnx``, or for OpenVINO ``.xml`` too.
        runtime: ``onnxruntime`` or ``openvino``.

    Raises:
        CheckpointError: the runtime cannot read it.
        MissingExtra: the runtime is not installed.
    """
    try:
        return _OnnxRuntimeGraph(path) if runtime == "onnxruntime" else _OpenVinoGraph(path)
    except ImportError as error:
        raise MissingExtra(f"running {path.parent} by {runtime}", extra=_EXTRA) from error
    # Both raise errors of their own, which derive from RuntimeError or from Exception alone.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path}: {runtime} cannot read it ({reason}); export it again"
        ) from (error)


class _OnnxRuntimeGraph:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [item.name for item in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, found, strict=True))


class _OpenVinoGraph:
    def __init__(self, path: Path) -> None:
        import openvino

        # Read by the core, not by `convert_model`, which reports its use to the makers.
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Some processors would take bfloat16 by themselves, and give other scores.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        with signal_stack_kept():
            self._compiled = core.compile_model(core.read_model(path), "CPU", settings)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found = self._compiled(dict(inputs))
        # What it returns is overwritten by the next call.
        return {port.get_any_name(): np.array(value) for port, value in found.items()}
