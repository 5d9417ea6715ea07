"""Running the program as a process of its own that is watched, limited or killed.

Processes are forked from a server that has imported what the program needs: a start takes no time.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import re
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from msqnet.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PRELOADED = [
    *("torch", "transformers", "av", "pandas", "pyarrow.parquet", "msqnet.model.pretrained"),
    *("msqnet.batch.runners", "msqnet.batch.run", "msqnet.training.training_run"),
    *("msqnet.cli.predict", "msqnet.cli.batch", "msqnet.cli.train", "msqnet.cli.convert"),
]
_CONTEXT = multiprocessing.get_context("forkserver")
_PR_SET_SECUREBITS, _SECBIT_NOROOT, _CAPABILITY_VERSION_3 = 28, 1, 0x20080522


@dataclass(frozen=True)
class Done:
    """What became of a process.

    Attributes:
        exit_code: negative: the number of the signal that ended it.
        peak_bytes: most memory that it had at a time; 0 where the system does not say.
        seconds: from start to end.
        output: what it wrote, to both streams.
    """

    exit_code: int
    peak_bytes: int
    seconds: float
    output: str


def run(
    arguments: Sequence[object],
    *,
    timeout_seconds: float = 240,
    max_file_bytes: int | None = None,
    privileged: bool = True,
    kill_after_seconds: float | None = None,
) -> Done:
    """Run `msqnet` with arguments.

    Args:
        arguments: of the program.
        timeout_seconds: after which it counts as hung.
        max_file_bytes: the most that it may write into a file.
        privileged: whether permissions may be ignored, as root does.
        kill_after_seconds: send SIGKILL to it and to all that it started, if it still runs then.

    Raises:
        TimeoutError: it hangs; it is killed.
    """
    reading, writing = _CONTEXT.Pipe(duplex=False)
    limits = (max_file_bytes, privileged)
    with _plain_environment():
        process = _CONTEXT.Process(target=_child, args=(writing, limits, [*map(str, arguments)]))
        start = time.monotonic()
        process.start()
    writing.close()
    output = bytearray()
    reader = threading.Thread(target=_drain, args=(reading.fileno(), output), daemon=True)
    reader.start()
    pid = process.pid
    assert pid is not None
    peak_bytes = 0
    while process.is_alive():
        peak_bytes = max(_peak_bytes(pid), peak_bytes)
        seconds = time.monotonic() - start
        if kill_after_seconds is not None and seconds > kill_after_seconds:
            _kill_all(pid)
            kill_after_seconds = None
        if seconds > timeout_seconds:
            _kill_all(pid)
            process.join()
            raise TimeoutError(f"{arguments}: still ran after {seconds:.0f} s\n{_tail(output)}")
        process.join(0.01)
    seconds = time.monotonic() - start
    reader.join(10)
    reading.close()
    assert process.exitcode is not None
    return Done(process.exitcode, peak_bytes, seconds, _tail(output))


def _child(pipe: Any, limits: tuple[int | None, bool], arguments: list[str]) -> None:
    """What a new process does: both streams into a pipe, to which limits of files do not apply."""
    os.setsid()
    for stream in (1, 2):
        os.dup2(pipe.fileno(), stream)
    max_file_bytes, privileged = limits
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    if not privileged:
        _give_up_privileges()
    sys.argv = ["msqnet", *arguments]
    sys.exit(main(arguments))


def _give_up_privileges() -> None:
    """Root ignores permissions unless it gives up its capabilities, in programs it starts too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT, 0, 0, 0) or libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


def _kill_all(pid: int) -> None:
    """The process and all that it started; one that has no session of its own yet is alone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _plain_environment() -> Iterator[None]:
    """One thread, and no measuring of coverage: it writes files where none can be written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with mock.patch.dict(os.environ, {**kept, "OMP_NUM_THREADS": "1"}, clear=True):
        _CONTEXT.set_forkserver_preload(_PRELOADED)
        yield


def _peak_bytes(pid: int) -> int:
    """Most memory that a running program had (proc(5), VmHWM); 0 where that is not known."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _drain(descriptor: int, output: bytearray) -> None:
    while data := os.read(descriptor, 65536):
        output.extend(data)


def _tail(output: bytearray) -> str:
    return bytes(output[-8000:]).decode("utf-8", "replace")
