"""What the machine is, how busy it is, and how much memory a process came to."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_PACKAGES = ("msqnet", "torch", "transformers", "av", "onnxruntime", "openvino")
_BUSY_LOAD = 0.5
# Parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4


def facts() -> dict[str, Any]:
    """What decides figures besides the code: JSON values only."""
    import torch  # a process that only reads its own memory needs none

    cpu = _cpu_info()
    flags = set(str(cpu.get("flags", "")).split())
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "num_cpus": os.cpu_count(),
        "num_usable_cpus": _num_usable_cpus(),
        "flags": {name: name in flags for name in _FLAGS},
        "memory_gib": round(_memory_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch_threads": torch.get_num_threads(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "blas": _blas(torch.__config__.show()),
        "versions": _versions(),
    }


def hand_back_memory() -> None:
    """Undo `msqnet.process.keep_freed_memory`: memory as in a program that sets nothing.

    The C library moves its thresholds as a program goes on, until a setting is made; these are the
    highest that it moves them to by itself, so a program that sets nothing has no better ones.
    """
    libc = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_MAX, 65_536)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)


def load_average() -> float:
    """Processes that wanted to run, mean of the last minute; this one is among them."""
    return os.getloadavg()[0]


def load_warning(load: float, own: float) -> str | None:
    """A sentence where others use the machine too.

    Args:
        load: the load average.
        own: what this process alone would come to: 0 before it works, then its threads.
    """
    if load <= own + _BUSY_LOAD:
        return None
    return (
        f"load average {load:.1f} where {own:.0f} was expected: others use this machine; ratios of "
        "CPU time stay usable, wall times do not"
    )


def peak_memory_bytes() -> int:
    """Most memory that this process had resident since it started its program.

    Linux adds to ``ru_maxrss`` of a new program what the process had before it, a copy of its
    parent: so the high-water mark of the address space is read where there is one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_info() -> dict[str, str]:
    """Of the first processor, where the system tells."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _num_usable_cpus() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _blas(build: str) -> str:
    words = build.split("BLAS_INFO=")
    return words[1].partition(",")[0] if len(words) > 1 else "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
