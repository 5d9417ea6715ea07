"""A batch of 1,000 short real videos, 5 % of them broken, killed ten times on each kind of runner.

MSQNET_DATA=path/to/clips python -m benchmarks.batch
MSQNET_DATA=path/to/clips python -m benchmarks.batch --videos 60 --kills 1

Cuts the videos from the real clips below the folder that MSQNET_DATA names, into build/batch/videos
(kept for the next time). Then the shipped model predicts all of them, one thread a process: with
one process, unbroken, which is what the others are compared with; with two processes and on a local
Ray cluster of two actors, each with its process group killed (SIGKILL) ten times at random moments
and started again. Rates are measured with a tenth of the videos, by turns. Prints tables and writes
them to build/batch/result.json. Exit code 1 if a result is missing, there twice, or differs by more
than 1e-6.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds

from benchmarks.short_videos import cut_videos
from msqnet.cli.main import exit_code_of
from msqnet.predictions import VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path("build") / "batch"
TABLES = ("segments", "scores", "videos")
TOLERANCE = 1e-6
# The token keeps others on the machine off the Ray cluster.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
_POLL_SECONDS = 0.1
_RUN_SECONDS = 3600.0


@dataclass
class Measured:
    """One way to run, and how it ended.

    Attributes:
        name: of the way.
        kills: how often its process group was killed.
        wall_seconds: of all its starts together.
        videos_per_second: from the first result to the last one; None of a run that was killed.
        statuses: of all videos, from index.csv.
        missing: videos with results in the reference, but not here.
        doubled: rows that are in the data set more than once.
        unequal_rows: of `index.csv` and of tables segments and videos, against the reference.
        max_difference: of any score.
        finished_at_kills: videos that were finished at each kill.
    """

    name: str
    kills: int
    wall_seconds: float
    videos_per_second: float | None
    statuses: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    doubled: int = 0
    unequal_rows: int = 0
    max_difference: float = 0.0
    finished_at_kills: list[int] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether it ended as the reference did."""
        wrong = self.missing + self.doubled + self.unequal_rows
        return not wrong and self.max_difference <= TOLERANCE


class Run:
    """Starts of `msqnet batch run` on one results folder.

    Args:
        out: the results folder; what is there is removed.
        inputs: folder or manifest of videos.
        options: of the command.
    """

    def __init__(self, out: Path, inputs: Path, options: Sequence[str]) -> None:
        shutil.rmtree(out, ignore_errors=True)
        self._inputs = inputs
        self.out = out
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.wall_seconds = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Start it in a process group of its own."""
        command = [sys.executable, "-m", "msqnet", "batch", "run", "--threads", "1"]
        command += ["--inputs", str(self._inputs), "--out", str(self.out), *self._options]
        self._started = time.monotonic()
        with (FOLDER / f"{self.out.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )

    @property
    def num_finished(self) -> int:
        """Videos in the journal, counted without reading it as a batch does."""
        try:
            content = (self.out / ".batch" / "journal.jsonl").read_bytes()
        except FileNotFoundError:
            return 0
        return len({json.loads(line)["name"] for line in content.splitlines(keepends=True)[:-1]})

    def kill(self) -> None:
        """Kill the whole process group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.wall_seconds += time.monotonic() - self._started

    @property
    def is_over(self) -> bool:
        """Whether the process ended by itself."""
        assert self._process is not None
        return self._process.poll() is not None

    def wait(self) -> float | None:
        """Wait for the end; gives the rate in videos a second from the first to the last result."""
        assert self._process is not None
        seen: list[tuple[float, int]] = []
        while self._process.poll() is None:
            num_finished = self.num_finished
            if num_finished and (not seen or num_finished > seen[-1][1]):
                seen.append((time.monotonic(), num_finished))
            time.sleep(_POLL_SECONDS)
        self.wall_seconds += time.monotonic() - self._started
        if self._process.returncode not in (0, 1):
            raise SystemExit(f"{self.out}: ended with {self._process.returncode}; see its .log")
        if len(seen) < 2:
            return None
        (first_at, first), (last_at, last) = seen[0], seen[-1]
        return (last - first) / (last_at - first_at)


def run_unbroken(name: str, inputs: Path, options: Sequence[str]) -> Measured:
    """Run once, without a kill."""
    run = Run(FOLDER / name, inputs, options)
    run.start()
    rate = run.wait()
    return Measured(name, 0, run.wall_seconds, rate)


def run_killed(name: str, options: Sequence[str], num_videos: int, num_kills: int) -> Measured:
    """Run, kill at random moments all over the work, and let the last start end."""
    run = Run(FOLDER / name, FOLDER / "videos", options)
    chance = random.Random(name)
    targets = sorted(chance.sample(range(1, round(0.9 * num_videos)), num_kills))
    finished: list[int] = []
    for target in targets:
        run.start()
        deadline = time.monotonic() + _RUN_SECONDS
        while run.num_finished < target and not run.is_over and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        time.sleep(chance.uniform(0.0, 0.3))
        if run.is_over:
            raise SystemExit(f"{name}: ended before it could be killed; see its .log")
        run.kill()
        finished.append(run.num_finished)
    run.start()
    run.wait()
    return Measured(name, num_kills, run.wall_seconds, None, finished_at_kills=finished)


def compare(measured: Measured, reference: str) -> None:
    """Fill in how the results of a run differ from those of the reference."""
    out, expected = FOLDER / measured.name, FOLDER / reference
    lines, expected_lines = (
        (folder / "index.csv").read_text().splitlines()[1:] for folder in (out, expected)
    )
    measured.statuses = dict(Counter(line.split(",")[2] for line in lines))
    measured.unequal_rows = sum((Counter(lines) - Counter(expected_lines)).values())
    found, wanted = _results(out), _results(expected)
    measured.missing = len(set(wanted) - set(found))
    measured.max_difference = max(
        _difference(found[name], wanted[name]) for name in set(wanted) & set(found)
    )
    for table in TABLES:
        columns = None if table != "scores" else ["name", "label", "start_seconds", "end_seconds"]
        rows, expected_rows = (_rows(folder, table, columns) for folder in (out, expected))
        measured.doubled += sum(count - 1 for count in rows.values())
        measured.missing += sum((expected_rows - rows).values())


def _results(out: Path) -> dict[str, VideoPredictions]:
    return {
        path.relative_to(out).as_posix(): VideoPredictions.from_json(path.read_text())
        for path in sorted(out.rglob("*.mp4.json"))
    }


def _rows(out: Path, table: str, columns: list[str] | None) -> Counter[tuple[Any, ...]]:
    data = ds.dataset(out / "dataset" / table, partitioning="hive").to_table(columns=columns)
    names = [name for name in data.column_names if name != "score"]
    return Counter(zip(*(data.column(name).to_pylist() for name in names), strict=True))


def _difference(found: VideoPredictions, wanted: VideoPredictions) -> float:
    if found.timeline.scores.shape != wanted.timeline.scores.shape:
        return float("inf")
    differences = [np.abs(found.timeline.scores - wanted.timeline.scores).max()]
    for one, other in zip(found.windows, wanted.windows, strict=True):
        differences.append(np.abs(one.scores - other.scores).max())
    return float(max(differences))


@contextmanager
def ray_cluster() -> Iterator[str]:
    """A Ray cluster of this machine that outlives the runs on it; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    program = str(Path(sys.executable).with_name("ray"))
    start = [program, "start", "--head", "--block", "--num-cpus", "2", "--port", str(port)]
    start += ["--include-dashboard", "false", "--object-store-memory", "200000000"]
    start += ["--node-ip-address", "127.0.0.1", "--disable-usage-stats"]
    environment = {**os.environ, **ENVIRONMENT}
    with (FOLDER / "ray.log").open("wb") as log:
        cluster = subprocess.Popen(
            start, stdout=log, stderr=log, start_new_session=True, env=environment
        )
    try:
        deadline = time.monotonic() + 180
        ask = [program, "health-check", "--address", address]
        while subprocess.run(ask, check=False, capture_output=True, env=environment).returncode:
            if time.monotonic() > deadline or cluster.poll() is not None:
                raise SystemExit("the Ray cluster does not start; see build/batch/ray.log")
        yield address
    finally:
        cluster.terminate()
        cluster.wait(60)


def measure_rates(count: int, rounds: int, ways: Mapping[str, Sequence[str]]) -> list[Measured]:
    """Run the first videos unbroken in every way, by turns; gives each way's round of best rate."""
    manifest = FOLDER / "some.csv"
    paths = sorted((FOLDER / "videos").rglob("*.mp4"))[:count]
    names = [path.relative_to(FOLDER).as_posix() for path in paths]
    manifest.write_text("\n".join(["path", *names, ""]))
    runs = [
        run_unbroken(f"rate-{name}", manifest, options)
        for _ in range(rounds)
        for name, options in ways.items()
    ]
    best = {run.name: run for run in sorted(runs, key=lambda run: run.videos_per_second or 0.0)}
    return [best[f"rate-{name}"] for name in ways]


def print_rates(rates: Sequence[Measured], count: int) -> None:
    """Print a line a way to run."""
    print(f"rates with {count} videos, from the first result to the last:")
    base = rates[0].videos_per_second or float("nan")
    for row in rates:
        rate = row.videos_per_second or float("nan")
        wall = f"{row.wall_seconds:.0f} s with its start"
        print(f"  {row.name:<16} {rate:6.2f} videos/s, {rate / base:.2f} of one process, {wall}")


def print_table(rows: Sequence[Measured], num_videos: int) -> None:
    """Print a line a run."""
    print(f"{num_videos} videos: {rows[0].statuses}")
    heads = ("run", "kills", "wall s", "missing", "doubled", "unequal", "max diff")
    print(" | ".join(f"{head:>16}" for head in heads))
    for row in rows:
        cells = (
            *(row.name, row.kills, f"{row.wall_seconds:.0f}"),
            *(row.missing, row.doubled, row.unequal_rows, f"{row.max_difference:.1e}"),
        )
        print(" | ".join(f"{cell:>16}" for cell in cells))
    for row in rows:
        if row.kills:
            print(f"{row.name}: videos finished at each kill: {row.finished_at_kills}")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1, help="of rates")
    arguments = parser.parse_args()
    source = Path(os.environ.get("MSQNET_DATA", ""))
    if not os.environ.get("MSQNET_DATA") or not source.is_dir():
        parser.error("set MSQNET_DATA to a folder of real clips")
    FOLDER.mkdir(parents=True, exist_ok=True)
    num_videos = arguments.videos
    cut_videos(source, FOLDER / "videos", num_videos)
    ways = {"one": ["--processes", "1"], "processes": ["--processes", "2"]}
    rows = [run_unbroken("one", FOLDER / "videos", ways["one"])]
    with ray_cluster() as address:
        ways["ray"] = ["--processes", "2", "--ray", address]
        for name in ("processes", "ray"):
            rows.append(run_killed(name, ways[name], num_videos, arguments.kills))
        rates = measure_rates(num_videos // 10, arguments.rounds, ways)
    for row in rows:
        compare(row, "one")
    print_table(rows, num_videos)
    print_rates(rates, num_videos // 10)
    document = {"runs": list(map(asdict, rows)), "rates": list(map(asdict, rates))}
    (FOLDER / "result.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(row.is_right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
