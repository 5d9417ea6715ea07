"""`msqnet predict` beside small video networks, each as a whole process on the same clip.

    python -m benchmarks.peers clip.mp4 --rounds 7 --seconds 10
    python -m benchmarks.peers --only X3D-XS MobileNetV3-Small-TSM

msqnet runs as it comes. The peers (`benchmarks.peers.catalogue`) run in PyTorch and in OpenVINO,
with random weights: they show what such a network costs, not what it finds. Each decodes the clip,
scores a window of 2 s every second, and writes the scores. What they read, graphs and OpenVINO's
own compiled ones, is written before the rounds, into `build/peers`.

Each round runs every contender once on the clip, and once on one of a single window. The second
table shows the difference: the cost of video, without the start and the first window. The networks
have no part in the choice of windows, so a peer's multiply-adds a second are those of one window.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.catalogue import PEERS, RUNTIMES, STRIDE_SECONDS, TITLES, WINDOW_SECONDS
from benchmarks.whole_process import HEIGHT, RATE, ROOT, WIDTH, Contender, cut
from msqnet.cli.main import exit_code_of
from msqnet.demo import FOLDER as DEMO
from msqnet.errors import MsqnetError

FOLDER = ROOT / "build" / "peers"
MSQNET = "msqnet"
WHOLE_FRAME = [0.0, 0.0, 1.0, 1.0]


@dataclass
class Entry:
    """A contender on both clips.

    Attributes:
        key: of its parameters and multiply-adds.
        whole: its runs on the clip.
        short: its runs on one window.
    """

    key: str
    whole: Contender
    short: Contender

    @classmethod
    def of_msqnet(cls) -> Entry:
        """The shipped model as it comes."""
        return cls(MSQNET, Contender("msqnet", ROOT), Contender("msqnet, one window", ROOT))

    @classmethod
    def of_peer(cls, name: str, runtime: str, options: tuple[str, ...] = ()) -> Entry:
        """A peer in a runtime, with options of `benchmarks.peers.score`."""
        command = ("-m", "benchmarks.peers.score", name, runtime, str(FOLDER), *options)
        title = f"{name}, {TITLES[runtime]}"
        whole, short = (Contender(each, ROOT, command) for each in (title, f"{title}, one window"))
        return cls(name, whole, short)

    @property
    def extra(self) -> np.ndarray:
        """(rounds, 2): CPU and wall seconds of the clip beyond those of one window."""
        difference: np.ndarray = np.array(self.whole.runs) - np.array(self.short.runs)
        return difference[:, :2]


def prepare(short_clip: Path, clip: Path, seconds: float, names: list[str]) -> dict:
    """Parameters and multiply-adds of all, after their files were written.

    Raises:
        MsqnetError: it failed; what it printed says why.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    more_seconds = str(seconds - WINDOW_SECONDS)
    command = [sys.executable, "-m", "benchmarks.peers.prepare"]
    arguments = [str(FOLDER), str(short_clip), str(clip), more_seconds, *names]
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [*command, *arguments], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise MsqnetError("the peers' files could not be written; see above")
    costs: dict = json.loads((FOLDER / "costs.json").read_text())
    return costs


def warm_up(entry: Entry, clip: Path, seconds: float, folder: Path) -> None:
    """One run that is not counted: it fills caches, and shows precision and number of windows.

    msqnet's motion crops cost nothing in windows where they show the whole frame.

    Raises:
        MsqnetError: a peer scored more or fewer windows than there are.
    """
    out = entry.whole.run(clip, folder)
    entry.whole.runs.clear()
    if entry.key == MSQNET:
        found = json.loads((out / f"{clip.name}.json").read_text())["windows"]
        crops = sum(window["motion_box"] != WHOLE_FRAME for window in found)
        entry.whole.name += f" (motion crops in {crops} of {len(found)} windows)"
        return
    content = json.loads((out / "scores.json").read_text())
    expected = int((seconds - WINDOW_SECONDS) / STRIDE_SECONDS) + 1
    if len(content["windows"]) != expected:
        raise MsqnetError(f"{entry.whole.name}: {len(content['windows'])} windows, not {expected}")
    entry.whole.name += f" ({content['precision']})"


def print_tables(entries: list[Entry], costs: dict, seconds: float) -> None:
    """Whole processes, then the same without start; the first entry is what ratios refer to."""
    base = np.array(entries[0].whole.runs)
    print(
        "| whole process | parameters, M | GMACs a second | CPU s | wall s | MB at the peak |",
        end="",
    )
    print(" CPU ratio |\n|---|---:|---:|---:|---:|---:|---:|")
    for entry in entries:
        runs, cost = np.array(entry.whole.runs), costs[entry.key]
        cpu, wall, memory = np.median(runs, axis=0)
        ratio = np.median(runs[:, 0] / base[:, 0])
        print(
            f"| {entry.whole.name} | {cost['parameters']:.2f} | {cost['gmacs']:.2f} | {cpu:.2f} | "
            f"{wall:.2f} | {memory:.0f} | {ratio:.2f} |"
        )
    print(
        "\n| a second of video, without start | CPU s | wall s | CPU ratio |\n|---|---:|---:|---:|"
    )
    medians = [np.median(entry.extra, axis=0) / (seconds - WINDOW_SECONDS) for entry in entries]
    for entry, (cpu, wall) in zip(entries, medians, strict=True):
        print(f"| {entry.whole.name} | {cpu:.3f} | {wall:.3f} | {cpu / medians[0][0]:.2f} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("clip", type=Path, nargs="?", default=DEMO / "worm.mp4")
    parser.add_argument("--seconds", type=int, default=10, help="of the copy that is scored")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), help="peers beside msqnet")
    parser.add_argument("--threads", type=int, help="of every contender; else as it comes")
    parser.add_argument("--f32", action="store_true", help="OpenVINO, in float32 on any processor")
    chosen = parser.parse_args()
    if chosen.seconds <= WINDOW_SECONDS:
        parser.error(f"--seconds {chosen.seconds}: must be more than a window's {WINDOW_SECONDS}")
    if chosen.rounds < 1:
        parser.error(f"--rounds {chosen.rounds}: must be at least 1")
    if chosen.threads is not None and chosen.threads < 1:
        parser.error(f"--threads {chosen.threads}: must be at least 1")
    return chosen


def main() -> None:
    """Run all contenders in turns and print their tables."""
    chosen = _arguments()
    if chosen.threads:
        os.environ["OMP_NUM_THREADS"] = str(chosen.threads)
    names = [name for name in PEERS if not chosen.only or name in chosen.only]
    entries = [Entry.of_msqnet()]
    options = ("--f32",) if chosen.f32 else ()
    entries += [Entry.of_peer(name, runtime, options) for name in names for runtime in RUNTIMES]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip, short_clip = folder / "clip.mp4", folder / "window.mp4"
        cut(chosen.clip, clip, chosen.seconds)
        cut(chosen.clip, short_clip, WINDOW_SECONDS)
        costs = prepare(short_clip, clip, chosen.seconds, names)
        for entry in entries:
            warm_up(entry, clip, chosen.seconds, folder)
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", file=sys.stderr, flush=True)
            for entry in entries:
                entry.whole.run(clip, folder)
                entry.short.run(short_clip, folder)
    limit = os.environ.get("OMP_NUM_THREADS")
    threads = f"{limit} threads" if limit else "threads as they come"
    print(f"\n{chosen.seconds} s of {WIDTH} x {HEIGHT} at {RATE} frames a second, ", end="")
    print(f"{chosen.rounds} rounds, {threads}\n")
    print_tables(entries, costs, chosen.seconds)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
