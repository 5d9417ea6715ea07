"""Where models compute, and with which numbers."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
from torch import nn

from msqnet.config import Precision
from msqnet.errors import ConfigError
from msqnet.model.folding import Foldable
from msqnet.model.heads import LogitHead

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_WITH_BF16 = (8, 0)  # CUDA's compute capability of Ampere
_WITH_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first accelerator, or else the CPU.

    Raises:
        ConfigError: PyTorch does not know the device, or this machine does not have it.
    """
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
        return torch.cuda.get_device_capability(device) >= _FIRST_WITH_BF16
    if device.type == "cpu":  # AVX512-BF16 or AMX
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


@dataclass(frozen=True)
class Computing:
    """Where a finished model computes, and with which numbers.

    Attributes:
        device: that holds the weights.
        precision: of products.
    """

    device: torch.device
    precision: Precision = "fp32"

    @classmethod
    def of(cls, device: str = "auto", precision: Precision = "fp32") -> Computing:
        """By names.

        Args:
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            precision: `fp32` or `bf16`.

        Raises:
            ConfigError: a device that cannot be used, or not with this precision.
        """
        if precision not in get_args(Precision):
            raise ConfigError(
                f"precision {precision!r}: expected {' or '.join(get_args(Precision))}"
            )
        found = resolve_device(device)
        if precision == "bf16" and not has_fast_bf16(found):
            raise ConfigError(
                f"precision bf16: not for this {found.type}; it is for NVIDIA's GPUs since Ampere, "
                "and for CPUs with AVX512-BF16 or AMX: take fp32"
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
    if isinstance(module, LogitHead):
        return
    if isinstance(module, _WITH_PRODUCTS):
        module.to(torch.bfloat16)
    if isinstance(module, Foldable) and module.folded_weight is not None:
        module.folded_weight = module.folded_weight.to(torch.bfloat16)
    for part in module.children():
        _round(part)
