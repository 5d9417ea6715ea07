"""Of the process itself: memory that it keeps, the stack of its signal handlers, its end."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_KEPT_BYTES = 2**30


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of handing it back after every operation.

    A layer's results are tens of megabytes; glibc maps and unmaps each of them, and the page faults
    can cost as much time as the arithmetic. Other C libraries are left alone. A program that uses
    msqnet as a library decides for itself whether to call this.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def num_usable_cores() -> int:
    """Cores that this process may use: fewer than there are where somebody limited it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _SignalStack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = (
        ("start", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("num_bytes", ctypes.c_size_t),
    )


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Undo what the block does to the stack on which this thread's signal handlers run.

    OpenVINO 2026.4 gives the thread that compiles a model a stack of its own, and sets back what it
    found there when the model is dropped. Of two models dropped in the order in which they came,
    the second one sets back the freed stack of the first: the next signal, such as that of a child
    process that ends, then kills the process.
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
    """End this process when the one that started it is gone; to be run in a thread of its own.

    A process whose owner was killed must not go on, whatever it is doing.
    """
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
