"""Running the program as a process of its own that is watched, limited or killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROGRAM = (sys.executable, "-m", "msqnet")


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
    before: Callable[[], Any] | None = None,
    kill_after_seconds: float | None = None,
) -> Done:
    """Run `msqnet` with arguments.

    Args:
        arguments: of the program.
        timeout_seconds: after which it counts as hung.
        before: called in the process before the program starts, to set limits.
        kill_after_seconds: send SIGKILL to it and to all that it started, if it still runs then.

    Raises:
        TimeoutError: it hangs; it is killed.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        # A pipe, to which limits on the size of files do not apply.
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=_environment(),
        preexec_fn=before,
        start_new_session=True,
    )
    output = bytearray()
    reader = threading.Thread(target=_drain, args=(process, output), daemon=True)
    reader.start()
    peak_bytes = 0
    while True:
        # The last look is the one to keep: until the program starts, memory is a copy of our own.
        peak_bytes = _peak_bytes(process.pid) or peak_bytes
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        seconds = time.monotonic() - start
        if pid:
            break
        if kill_after_seconds is not None and seconds > kill_after_seconds:
            os.killpg(process.pid, signal.SIGKILL)
            kill_after_seconds = None
        if seconds > timeout_seconds:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise TimeoutError(f"{arguments}: still ran after {seconds:.0f} s\n{_tail(output)}")
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for
    reader.join(10)
    return Done(process.returncode, peak_bytes, seconds, _tail(output))


def _peak_bytes(pid: int) -> int:
    """Most memory that a running program had (proc(5), VmHWM); 0 where that is not known.

    What `os.wait4` says on Linux includes the copy of our own memory from before the program.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _environment() -> dict[str, str]:
    """One thread, and no measuring of coverage: it writes files where none can be written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def _drain(process: subprocess.Popen[bytes], output: bytearray) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            output.extend(line)


def _tail(output: bytearray) -> str:
    return bytes(output[-8000:]).decode("utf-8", "replace")
