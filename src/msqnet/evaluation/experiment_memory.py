"""Whether a run fits into the memory of the device that it would be trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from msqnet.evaluation.experiment_plan import Finding

if TYPE_CHECKING:
    from msqnet.evaluation.experiment_plan import Cost

_MEMINFO = Path("/proc/meminfo")
_KIB = 1024
_GIB = 2**30


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a device.

    Attributes:
        device: its name.
        available_bytes: what nothing uses now; None where the system does not tell.
        total_bytes: all of it.
    """

    device: str
    available_bytes: int | None
    total_bytes: int


def device_memory() -> DeviceMemory | None:
    """Memory of the GPU where there is one, else of the machine; None where it is not known."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return DeviceMemory(torch.cuda.get_device_name(), free, total)
    return machine_memory()


def machine_memory(meminfo: Path = _MEMINFO) -> DeviceMemory | None:
    """Memory of the machine; None where it is not known.

    Args:
        meminfo: where Linux tells it, see proc_meminfo(5).
    """
    name = "this machine's memory"
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        kibibytes = {line.partition(":")[0]: int(line.split()[1]) for line in lines if ":" in line}
        available, total = kibibytes["MemAvailable"], kibibytes["MemTotal"]
        return DeviceMemory(name, available * _KIB, total * _KIB)
    except (OSError, ValueError, KeyError, IndexError):
        pass  # not Linux, or one without this file
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return DeviceMemory(name, None, total) if total > 0 else None


def check_memory(cost: Cost, memory: DeviceMemory | None) -> Finding:
    """Whether training fits; an error only where it cannot, whatever is freed for it.

    Args:
        cost: of the run.
        memory: of the device; None where it is not known.
    """
    if memory is None:
        return Finding(False, "whether this fits is not known: the system does not tell its memory")
    total = f"{memory.total_bytes / _GIB:.1f} GiB"
    if cost.least_memory_bytes > memory.total_bytes:
        least = f"at least {cost.least_memory_bytes / _GIB:.1f} GiB"
        message = f"does not fit: {least} are needed, {memory.device} has {total} in all"
        return Finding(True, f"{message}; {_ADVICE}")
    if cost.memory_bytes > memory.total_bytes:
        message = f"may not fit: {memory.device} has {total} in all, less than the estimate"
        return Finding(False, f"{message}; {_ADVICE}")
    if memory.available_bytes is None:
        return Finding(False, f"fits if enough is free: {memory.device} has {total} in all")
    available = f"{memory.available_bytes / _GIB:.1f} of {total} free in {memory.device}"
    if cost.memory_bytes > memory.available_bytes:
        return Finding(False, f"does not fit into what is free now: {available}")
    return Finding(False, f"fits: {available}")


_ADVICE = "use a smaller --train.batch_size or --train.gradient_checkpointing true"
