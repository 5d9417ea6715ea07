"""Settings of a process that msqnet has to itself: the program, and what a server starts."""

from __future__ import annotations

import ctypes
import sys

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
