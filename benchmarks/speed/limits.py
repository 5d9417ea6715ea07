"""What this machine can do at most, measured in the same run as everything else.

- Matrix products: `torch.nn.functional.linear` at the shapes that occur, in fp32, and in bf16 where
  the CPU has instructions for it.
- Memory: copying a tensor that no cache holds.
- Decoding: PyAV alone, every frame of the video, no conversion.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from msqnet.model.computing import has_fast_bf16

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.speed.settings import Settings, Sizes

_COPY_BYTES = 256 * 2**20
_MIN_SECONDS = 0.05
_NUM_REPEATS = 5
_CLIP_FRAMES_AT_A_TIME = 4

Shape = tuple[int, int, int]
"""Rows, width in, width out."""


def matrix_shapes(sizes: Sizes, num_labels: int) -> dict[str, Shape]:
    """The matrix products of one window, by where they occur."""
    width, inner = sizes.width, sizes.intermediate
    tokens = sizes.num_patches * sizes.num_frames
    with_global = sizes.num_frames * (1 + sizes.num_patches)
    of_clip = _CLIP_FRAMES_AT_A_TIME * (1 + sizes.num_patches)
    decoder, decoder_inner = sizes.decoder_width, sizes.decoder_intermediate
    return {
        "TimeSformer, time: queries, keys, values": (tokens, width, 3 * width),
        "TimeSformer, time: output": (tokens, width, width),
        "TimeSformer, space: queries, keys, values": (with_global, width, 3 * width),
        "TimeSformer, space: output": (with_global, width, width),
        "TimeSformer, feed-forward in": (tokens + 1, width, inner),
        "TimeSformer, feed-forward out": (tokens + 1, inner, width),
        "CLIP, each of queries, keys, values": (of_clip, width, width),
        "CLIP, feed-forward in": (of_clip, width, inner),
        "CLIP, feed-forward out": (of_clip, inner, width),
        "decoder, queries": (num_labels, decoder, decoder),
        "decoder, keys and values": (1 + sizes.num_frames, decoder, decoder),
        "decoder, feed-forward in": (num_labels, decoder, decoder_inner),
        "decoder, feed-forward out": (num_labels, decoder_inner, decoder),
    }


def _rate(work: Callable[[], object], amount: float) -> float:
    """Amount a second: median of some repeats, each long enough for the clock."""
    work()
    start = time.perf_counter()
    work()
    once = max(time.perf_counter() - start, 1e-7)
    number = max(1, round(_MIN_SECONDS / once))
    rates = []
    for _ in range(_NUM_REPEATS):
        start = time.perf_counter()
        for _ in range(number):
            work()
        rates.append(number * amount / (time.perf_counter() - start))
    return statistics.median(rates)


@torch.inference_mode()
def matrix_rates(
    sizes: Sizes, num_labels: int, dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Floating-point operations a second of each shape, with all of torch's threads."""
    rates = {}
    for name, (rows, width_in, width_out) in matrix_shapes(sizes, num_labels).items():
        shapes = (rows, width_in), (width_out, width_in), (width_out,)
        x, weight, bias = (torch.randn(shape).to(dtype) for shape in shapes)
        rates[name] = _rate(
            lambda x=x, w=weight, b=bias: F.linear(x, w, b), 2.0 * x.numel() * width_out
        )  # type: ignore[misc]
    return rates


def copy_bandwidth() -> float:
    """Bytes a second, read and written ones together, of copying memory with torch's threads."""
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return _rate(lambda: target.copy_(source), 2.0 * _COPY_BYTES)


def frame_rate(path: Path) -> float:
    """Frames a second of a file with a steady rate."""
    import av

    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    assert rate is not None
    return float(rate)


def decode_rate(path: Path) -> float:
    """Frames a second of decoding a file with FFmpeg's own choice of threads, and no more."""
    import av  # the GPU benchmark uses this module where PyAV is not installed

    def decode() -> int:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            return sum(1 for _ in container.decode(stream))

    return _rate(decode, float(decode()))


def measured(settings: Settings, path: Path) -> dict[str, Any]:
    """All limits: JSON values only.

    ``sgemm_flops_per_second`` is that of the best shape: shares of it are the strictest.
    ``bf16_flops_per_second`` likewise, where it is asked for and the CPU has instructions for it.
    """
    rates = matrix_rates(settings.sizes, settings.num_labels)
    in_bf16: dict[str, float] = {}
    if settings.with_bf16 and has_fast_bf16(torch.device("cpu")):
        in_bf16 = matrix_rates(settings.sizes, settings.num_labels, torch.bfloat16)
    return {
        **({"bf16_flops_per_second": max(in_bf16.values())} if in_bf16 else {}),
        "sgemm_flops_per_second": max(rates.values()),
        "sgemm_by_shape": rates,
        "copy_bytes_per_second": copy_bandwidth(),
        "decode_realtime_factor": decode_rate(path) / frame_rate(path),
    }


def best_of(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The better of two measurements of the same limits, each on its own."""
    best: dict[str, Any] = {}
    for name, value in first.items():
        other = second[name]
        best[name] = best_of(value, other) if isinstance(value, dict) else max(value, other)
    return best


class _FlopCounter(TorchDispatchMode):
    """Adds up what torch's own table of formulas says of every operation.

    torch's `FlopCounterMode` also follows modules by their gradients, which fails for parameters
    that are used under `torch.inference_mode`; and its table lacks fused attention for CPUs.
    """

    def __init__(self) -> None:
        super().__init__()
        attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        self._formulas: dict[Any, Any] = {**flop_registry, attention: _attention_flops}
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self._formulas.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        result = func(*args, **kwargs)
        self.total += int(formula(*args, **kwargs, out_val=result))
        return result


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """Of the two products of an attention, from its tensors."""
    del args, kwargs
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and convolutions while ``work`` runs.

    A multiplication and an addition count as two; all else counts as nothing.
    """
    with _FlopCounter() as counter:
        work()
    return counter.total
