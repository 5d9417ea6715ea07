"""Process-level settings: malloc tuning, signal stack, exit with the parent."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
_KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of returning it after every operation.

    Activations of a layer take tens of megabytes. glibc maps and unmaps each of them, and the page
    faults can cost as much time as the arithmetic. All threads share one heap: what one has freed
    then serves the others. Programs that use msqnet as a library decide
    themselves whether to call this.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def stop_spinning_soon() -> None:
    """Let idle threads of OpenMP sleep after some microseconds, and NumPy do without any.

    Where other programs use the cores, threads that wait in a loop take them from the thread that
    is waited for, and a prediction takes many times as long. NumPy's products are small here, and
    its threads only wait: without them a prediction costs 0.2 s of CPU time less. It must be called
    before torch and NumPy are imported, and what the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def num_usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """Threads that compute on the CPU: ``OMP_NUM_THREADS``, else one for each usable core.

    A core that shows as two for its hyper-threads counts once, as in PyTorch.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return min(num_usable_cores(), psutil.cpu_count(logical=False) or num_usable_cores())


def multiplies_int8() -> bool:
    """Whether the CPU has instructions that multiply 8-bit integers and add them up in 32 bits.

    They are VNNI on x86 and the dot product on ARM. Where nothing tells, the answer is no.
    """
    told = Path("/proc/cpuinfo")  # of Linux
    if told.is_file():
        flags = told.read_text(encoding="utf-8", errors="replace").split()
        return not {"avx512_vnni", "avx_vnni", "asimddp"}.isdisjoint(flags)
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")


def limit_threads(number: int) -> None:
    """Let this process compute by so many threads from now on; graphs that are loaded keep theirs.

    PyTorch follows whether it is imported already or later.
    """
    os.environ["OMP_NUM_THREADS"] = str(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)


class _SignalStack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("num_bytes", ctypes.c_size_t),
    )


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Restore the signal stack of this thread when the block ends.

    OpenVINO 2026.4 sets a signal stack when it compiles a model, and restores the previous one when
    the model is dropped. If two models are dropped in the order of their creation, the second
    restores the freed stack of the first, and the next signal kills the process.
    """
    if sys.platform != "linux":
        yield
        return
    libc, found = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(found))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(found), None)


def end_with_parent() -> None:
    """End this process as soon as its parent is gone; runs in a thread of its own."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
