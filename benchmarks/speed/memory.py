"""Peak memory of a contender: it runs alone, in a process of its own.

    python -m benchmarks.speed.memory WORK --preset bench

prints the bytes that were resident at most, loading included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.harness import StageClock
from benchmarks.speed.machine import peak_memory_bytes
from benchmarks.speed.settings import PRESETS
from msqnet.process import keep_freed_memory

if TYPE_CHECKING:
    from benchmarks.speed.bench import Bench

WORKS = ("imports", "baseline", "msqnet", "lite")


def run_work(work: str, bench: Bench) -> None:
    """Do what a user of this contender would do; nothing for what the imports alone take."""
    settings = bench.settings
    if work in ("msqnet", "lite"):  # as the command does, and as the timed runs do
        keep_freed_memory()
    if work == "baseline":
        from benchmarks.speed import baseline

        # One window at a time: more of them take no more memory.
        baseline.predict(
            bench.unshared_video, bench.parts, settings, StageClock(), from_start=False
        )
    elif work == "msqnet":
        video, stride = bench.paper_video, settings.stride_seconds
        bench.predict(bench.backend, video, stride, settings.window_seconds)
    elif work == "lite":
        bench.predict(bench.lite, bench.lite_video)


def measured(work: str, preset: str, source: Path) -> int:
    """Bytes that one of `WORKS` came to in a fresh process.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    module = [sys.executable, "-m", "benchmarks.speed.memory", work]
    options = ["--preset", preset, "--video", str(source)]
    done = subprocess.run([*module, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"memory of {work}: the process failed\n{done.stderr}")
    return int(done.stdout.split()[-1])


def main() -> None:
    """Run one contender and print its peak."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--preset", choices=sorted(PRESETS), required=True)
    parser.add_argument("--video", type=Path, required=True)
    arguments = parser.parse_args()
    from benchmarks.speed.bench import Bench

    run_work(arguments.work, Bench(PRESETS[arguments.preset], arguments.video))
    print(peak_memory_bytes())


if __name__ == "__main__":
    main()
