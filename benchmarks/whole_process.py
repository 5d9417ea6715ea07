"""`msqnet predict` as a user runs it: CPU time, wall time and memory of the whole process.

    python -m benchmarks.whole_process clip.mp4 --before ../earlier --rounds 7

Each round runs every contender once, so that what else the machine does reaches all of them:
this source tree as it comes, the same in PyTorch, and with ``--before`` the source tree of an
earlier commit, in the same environment. With ``--busy`` each contender also runs beside a process
that keeps one core busy, and what that costs is printed as a ratio to its run alone. Printed are
medians, and ratios as medians over the rounds.

Predicted are copies of the clip, by default of 10 and of 2 s, at 720p and 30 frames a second, so
that figures of several machines are of the same work.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from msqnet.cli.main import exit_code_of
from msqnet.errors import MsqnetError

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, RATE = 1280, 720, 30
PREDICT = ("-m", "msqnet", "predict")

# A process hands its own peak of memory on to those that it starts: this one stays small.
_STARTER = """
import os, sys, time
silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
started = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(process, 0)
wall = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
print(code, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss)
"""


@dataclass
class Contender:
    """A program that scores a video, and what its runs took: CPU s, wall s, MB at the peak.

    Attributes:
        name: in the table.
        source: the tree that it is run from.
        command: what follows the interpreter; the clip and ``--out FOLDER`` are added.
        is_busy: whether another process keeps one core busy meanwhile.
    """

    name: str
    source: Path
    command: tuple[str, ...] = PREDICT
    is_busy: bool = False
    runs: list[tuple[float, float, float]] = field(default_factory=list)

    def run(self, clip: Path, folder: Path) -> Path:
        """Score the clip in a process of its own, into a new folder inside ``folder``."""
        out = Path(tempfile.mkdtemp(dir=folder))
        paths = f"{self.source / 'src'}{os.pathsep}{self.source}"
        # Installed packages have byte code; without it, every start compiles all of them.
        environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, *self.command, str(clip), "--out", str(out)]
        busy = (
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) if self.is_busy else None
        )
        try:
            done = subprocess.run(
                [sys.executable, "-IS", "-c", _STARTER, *command],
                env=environment,
                cwd=out,
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
        status, cpu, wall, memory = (float(item) for item in done.stdout.split())
        if status:
            raise MsqnetError(f"{self.name}: failed with status {status:.0f}: {' '.join(command)}")
        self.runs.append((cpu, wall, memory / 1e3))
        return out


def cut(source: Path, target: Path, seconds: float) -> None:
    """A copy of so many seconds at `WIDTH` x `HEIGHT`; a shorter source starts anew."""
    with av.open(str(target), "w") as written:
        stream = written.add_stream("libx264", rate=RATE, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        number = 0
        while number < round(seconds * RATE):
            with av.open(str(source)) as read:
                for frame in read.decode(video=0):
                    scaled = frame.reformat(WIDTH, HEIGHT, "yuv420p")
                    scaled.pts, scaled.time_base = number, Fraction(1, RATE)
                    written.mux(stream.encode(scaled))
                    number += 1
                    if number == round(seconds * RATE):
                        break
        written.mux(stream.encode())


def print_table(contenders: list[Contender], first: Contender) -> None:
    """Medians of each contender, and its CPU and wall time as shares of the first one's."""
    print("| contender | CPU s | wall s | MB at the peak | CPU ratio | wall ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    base = np.array(first.runs)
    for item in contenders:
        runs = np.array(item.runs)
        cpu, wall, memory = np.median(runs, axis=0)
        ratios = np.median(runs[:, :2] / base[:, :2], axis=0)
        print(
            f"| {item.name} | {cpu:.2f} | {wall:.2f} | {memory:.0f} | {ratios[0]:.2f} | "
            f"{ratios[1]:.2f} |"
        )


def print_busy_ratios(contenders: list[Contender]) -> None:
    """Of each contender, CPU and wall time beside a busy process as shares of those alone.

    Contenders alone come first, then the same in the same order beside the busy process.
    """
    half = len(contenders) // 2
    print("\nbeside a busy process, as a ratio to alone (goal: at most 1.5)")
    for alone, busy in zip(contenders[:half], contenders[half:], strict=True):
        cpu, wall, _ = np.median(np.array(busy.runs) / np.array(alone.runs), axis=0)
        print(f"{alone.name}: CPU {cpu:.2f}, wall {wall:.2f}")


def main() -> None:
    """Run all contenders in turns and print their figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--before", type=Path, help="source tree of an earlier commit")
    parser.add_argument("--seconds", type=float, nargs="*", default=[10.0, 2.0], help="of copies")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", action="store_true", help="also beside a busy process")
    parser.add_argument("--no-torch", action="store_true", help="do not run it in PyTorch")
    chosen = parser.parse_args()
    ways: list[tuple[str, Path, tuple[str, ...]]]
    ways = [("now", ROOT, PREDICT)]
    if not chosen.no_torch:
        ways.append(("now, in PyTorch", ROOT, (*PREDICT, "--runtime", "torch")))
    if chosen.before:
        ways.insert(0, ("before", chosen.before, PREDICT))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for seconds in chosen.seconds:
            clip = out / f"{seconds:g}s.mp4"
            cut(chosen.clip, clip, seconds)
            contenders = [
                Contender(
                    f"{name}{', beside a busy process' if is_busy else ''}",
                    source,
                    command,
                    is_busy,
                )
                for is_busy in (False, True)[: 1 + chosen.busy]
                for name, source, command in ways
            ]
            for _ in range(1 + chosen.rounds):
                for item in contenders:
                    item.run(clip, out)
            for item in contenders:
                del item.runs[0]  # writes byte code, where it was missing
            print(f"\n{seconds:g} s of {WIDTH} x {HEIGHT} at {RATE} frames a second, ", end="")
            print(f"{chosen.rounds} rounds\n")
            print_table(contenders, contenders[0])
            if chosen.busy:
                print_busy_ratios(contenders)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
