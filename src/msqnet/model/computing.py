"""Where models compute, with which numbers, how much at a time, and with which fused weights."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, get_args

import torch
from torch import nn

from msqnet.config import Precision
from msqnet.errors import ConfigError, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

_WITH_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_is_whole: ContextVar[bool] = ContextVar("_is_whole", default=False)


class Fusable(nn.Module):
    """A module that computes faster with a weight and a bias made of several of its own.

    They are None until `fuse` is called, and never saved.
    """

    fused_weight: Tensor | None
    fused_bias: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fused_weight", None, persistent=False)
        self.register_buffer("fused_bias", None, persistent=False)

    @abstractmethod
    def fused(self) -> tuple[Tensor, Tensor] | None:
        """Weight and bias from the weights as they are now; None where nothing can be fused."""

    @torch.no_grad()
    def fuse(self) -> None:
        """Make them, in eval mode. `train` forgets them, and so does loading other weights."""
        made = None if self.training else self.fused()
        if made is not None:
            self.fused_weight, self.fused_bias = made

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training forgets what `fuse` made."""
        if mode:
            self.fused_weight = self.fused_bias = None
        return super().train(mode)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.fused_weight = self.fused_bias = None
        super()._load_from_state_dict(*args, **kwargs)


class Float32Module(nn.Module):
    """A module whose weights stay in float32 whatever the precision of the model."""


@contextmanager
def computed_whole() -> Iterator[None]:
    """Inside, nothing is computed in chunks: hooks and recorders see whole batches."""
    token = _is_whole.set(True)
    try:
        yield
    finally:
        _is_whole.reset(token)


def chunks_of(items: Tensor, size: int, *, keeps_gradients: bool) -> Sequence[Tensor]:
    """(N, ...) items in chunks (n, ...) that are computed one after the other; N is at least 1.

    On a CPU chunks of ``size``, so that what they need stays in its cache. All at once on other
    devices, which large batches keep busy; where gradients keep what was computed anyway; and in a
    graph, which holds for any number.
    """
    if keeps_gradients or not items.is_cpu or torch.compiler.is_compiling() or _is_whole.get():
        return [items]
    chunks: Sequence[Tensor] = items.split(size)
    return chunks


def resolve_device(name: str) -> torch.device:
    """The device called ``name``, else a `ConfigError`; ``auto`` is an accelerator or the CPU."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used: {reason}; try auto or cpu") from error
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether this is a device that models compute faster on in bfloat16.

    Those of other makers may have the instructions too; they were not tried. Without them products
    are imitated: a CPU takes several times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    if device.type == "cpu":  # AVX512-BF16 or AMX
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@dataclass(frozen=True)
class Computing:
    """The device that holds the weights of a finished model, and the precision of its products."""

    device: torch.device
    precision: Precision = "fp32"

    @classmethod
    def of(cls, device: str = "auto", precision: Precision = "fp32") -> Computing:
        """By names: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; `fp32` or `bf16`.

        A device that cannot be used, or not with this precision, is a `ConfigError`.
        """
        choices = get_args(Precision)
        check(precision in choices, f"precision {precision!r}: expected {' or '.join(choices)}")
        found = resolve_device(device)
        check(
            precision != "bf16" or has_fast_bf16(found),
            f"precision bf16: not for this {found.type}; it is for NVIDIA's GPUs since Ampere, "
            "and for CPUs with AVX512-BF16 or AMX: take fp32",
        )
        return cls(found, precision)

    def prepare(self, module: nn.Module) -> None:
        """Move a module to the device; in bf16, round the weights of its products for good.

        Autocast alone would round them anew at every call.
        """
        nn.Module.to(module, self.device)
        if self.precision == "bf16":
            _round(module)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Compute without gradients."""
        is_mixed = self.precision == "bf16"
        mixed = torch.autocast(self.device.type, torch.bfloat16) if is_mixed else nullcontext()
        with torch.inference_mode(), mixed:
            yield


def _round(module: nn.Module) -> None:
    if isinstance(module, Float32Module):
        return
    if isinstance(module, _WITH_PRODUCTS):
        module.to(torch.bfloat16)
    if isinstance(module, Fusable) and module.fused_weight is not None:
        module.fused_weight = module.fused_weight.to(torch.bfloat16)
    for part in module.children():
        _round(part)
