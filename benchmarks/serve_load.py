"""A server under load: clients that send videos, bad files among them, without a pause.

python benchmarks/serve_load.py
python benchmarks/serve_load.py --clients 8 --seconds 60

Starts `msqnet serve` with the shipped model (or takes one that runs: --address), lets every client
send a video, ask until it is predicted and delete it, or send something that is no video, over and
over, and prints what became of all of it. Exit code 1 if anything was answered with a server error,
was accepted and not predicted, or left a file behind.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx
import numpy as np

from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 300
_JOB_SECONDS = 300
_REST_SECONDS = 10.0
_REQUEST_SECONDS = 120
_POLL_SECONDS = 0.2
_MAX_WAIT_SECONDS = 2.0
_GOOD_SHARE = 0.5


@dataclass
class Load:
    """What all clients saw together."""

    statuses: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    num_posts: int = 0
    num_wrong: int = 0
    post_seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def num_server_errors(self) -> int:
        """Answers of status 500 and more."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    @property
    def num_accepted(self) -> int:
        """Videos that were taken."""
        return sum(self.outcomes.values())

    def percentile(self, percent: float) -> float:
        """Of the time until a POST was answered, in seconds."""
        return float(np.percentile(self.post_seconds, percent)) if self.post_seconds else 0.0


def write_clip(path: Path, num_frames: int = 20) -> Path:
    """Two seconds of a square that moves over a noisy ground."""
    noise = np.random.default_rng(0).integers(60, 120, (240, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(num_frames):
            image = noise.copy()
            image[80:160, 8 * number : 8 * number + 60] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


def files_to_send(clip: bytes) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """Names and contents that are to be taken, and such that are to be refused."""
    header = b"YUV4MPEG2 W20000 H20000 F25:1 C420\nFRAME\n" + bytes(1000)
    good = [
        ("clip.mp4", clip),
        ("../../etc/passwd", clip),
        ("a\x00b.mp4", clip),
        ("x" * 300 + ".mp4", clip),
        ("M\u00e4use \U0001f42d.mp4", clip),
    ]
    bad = [
        ("empty.mp4", b""),
        ("text.mp4", b"Dear sir or madam,\n" * 200),
        ("truncated.mp4", clip[: len(clip) // 2]),
        ("giant.mp4", header),
    ]
    return good, bad


class Client(threading.Thread):
    """One visitor.

    Args:
        address: of the server.
        until: by the monotonic clock; what was accepted before is waited for.
        good: names and contents that are to be taken.
        bad: names and contents that are to be refused.
        load: where to note what happens.
        seed: of the order of what is sent.
    """

    def __init__(
        self,
        address: str,
        until: float,
        files: tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]],
        load: Load,
        seed: int,
    ) -> None:
        super().__init__()
        self._http = httpx.Client(base_url=address, timeout=_REQUEST_SECONDS)
        self._until = until
        self._good, self._bad = files
        self._load = load
        self._random = random.Random(seed)

    def run(self) -> None:
        """Visit until the time is over."""
        with self._http:
            while time.monotonic() < self._until:
                is_good = self._random.random() < _GOOD_SHARE
                self._visit(*self._random.choice(self._good if is_good else self._bad), is_good)

    def _visit(self, name: str, content: bytes, is_good: bool) -> None:
        started = time.monotonic()
        answer = self._ask("POST", "/api/v1/predictions", files={"file": (name, content)})
        with self._load.lock:
            self._load.num_posts += 1
            self._load.post_seconds.append(time.monotonic() - started)
        if answer.status_code == 202:
            self._follow(f"/api/v1/predictions/{answer.json()['id']}", is_good)
            return
        code = answer.json()["error"]["code"]
        with self._load.lock:
            self._load.refusals[code] += 1
            self._load.num_wrong += is_good and code != "queue_full"
        wait = float(answer.headers.get("retry-after", 0))
        time.sleep(min(wait, _MAX_WAIT_SECONDS))

    def _follow(self, path: str, is_good: bool) -> None:
        deadline = time.monotonic() + _JOB_SECONDS
        state = "queued"
        while state in ("queued", "running") and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            state = self._ask("GET", path).json()["state"]
        with self._load.lock:
            self._load.outcomes[state] += 1
            self._load.num_wrong += not is_good
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._http.request(method, path, **options)
        with self._load.lock:
            self._load.statuses[answer.status_code] += 1
        return answer


@contextmanager
def own_server(folder: Path, queue_length: int) -> Iterator[str]:
    """Start a server; gives its address when the model is loaded."""
    command = [sys.executable, "-m", "msqnet", "serve", "--port", "0"]
    limits = ["--limits.queue_length", str(queue_length)]
    process = subprocess.Popen(
        [*command, "--work_folder", str(folder), *limits], stdout=subprocess.PIPE, text=True
    )
    if process.stdout is None:
        raise RuntimeError("the server has no output")
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise RuntimeError("the server did not start")
        wait_until_ready(found[0])
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


def wait_until_ready(address: str) -> None:
    """Return when the model is loaded."""
    deadline = time.monotonic() + _START_SECONDS
    while httpx.get(f"{address}readyz", timeout=_REQUEST_SECONDS).status_code != 200:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{address}: not ready after {_START_SECONDS} s")
        time.sleep(_POLL_SECONDS)


def metrics(address: str) -> dict[str, float]:
    """Numbers of `/metrics` by name and labels."""
    text = httpx.get(f"{address}metrics", timeout=_REQUEST_SECONDS).text
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("msqnet_"): float(value) for name, value in rows}


def num_left(found: dict[str, float]) -> float:
    """Videos and bytes that the server holds."""
    return found["jobs_kept"] + found["uploads_arriving"] + found["stored_bytes"]


def metrics_at_rest(address: str) -> dict[str, float]:
    """`metrics` when nothing is left, or after some seconds: files go after the response."""
    deadline = time.monotonic() + _REST_SECONDS
    while num_left(found := metrics(address)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def memory_line(when: str, found: dict[str, float]) -> str:
    """Memory of the server and its processes in megabytes."""
    names = ("server", "worker", "checker")
    sizes = {name: found.get(f'resident_memory_bytes{{process="{name}"}}', 0.0) for name in names}
    text = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items() if size)
    return f"memory {when}: {text}"


def run_load(address: str, num_clients: int, seconds: float) -> tuple[Load, float, list[str]]:
    """Let clients visit.

    Returns:
        What they saw, how long it took in seconds, and lines on memory.
    """
    lines = [memory_line("at the start", metrics(address))]
    with tempfile.TemporaryDirectory() as folder:
        files = files_to_send(write_clip(Path(folder) / "clip.mp4").read_bytes())
    load = Load()
    started = time.monotonic()
    clients = [Client(address, started + seconds, files, load, seed) for seed in range(num_clients)]
    for client in clients:
        client.start()
    time.sleep(seconds / 3)
    lines.append(memory_line(f"after {seconds / 3:.0f} s", metrics(address)))
    for client in clients:
        client.join()
    lines.append(memory_line("at the end", metrics(address)))
    return load, time.monotonic() - started, lines


def report(load: Load, seconds: float, lines: list[str], after: dict[str, float]) -> bool:
    """Print the figures; whether all is as it must be."""
    num_done = load.outcomes["done"]
    refused = ", ".join(f"{count} {code}" for code, count in sorted(load.refusals.items()))
    num_kept = num_left(after)
    print(f"requests: {sum(load.statuses.values())}, of which {load.num_posts} sent a file")
    print(f"accepted: {load.num_accepted}, predicted: {num_done}")
    print(f"refused: {refused or 'none'}")
    print(f"refused or accepted wrongly: {load.num_wrong}")
    print(f"server errors (5xx): {load.num_server_errors}")
    print(f"POST: p50 {load.percentile(50):.2f} s, p95 {load.percentile(95):.2f} s")
    print(f"predictions: {num_done / seconds:.2f} a second over {seconds:.0f} s")
    print(*lines, sep="\n")
    print(f"workers lost: {after['worker_restarts_total']:.0f}")
    print(f"videos and bytes left on the server: {num_kept:.0f}")
    is_answered = num_done == load.num_accepted
    return is_answered and not (load.num_server_errors or load.num_wrong or num_kept)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue_length", type=int, default=4, help="of the server of its own")
    parser.add_argument("--address", help="a server that runs, instead of one of its own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        if arguments.address:
            loaded = run_load(arguments.address, arguments.clients, arguments.seconds)
            is_right = report(*loaded, metrics_at_rest(arguments.address))
        else:
            with own_server(folder, arguments.queue_length) as address:
                loaded = run_load(address, arguments.clients, arguments.seconds)
                is_right = report(*loaded, metrics_at_rest(address))
            left = list(folder.iterdir())
            print(f"files left after the stop: {len(left)}")
            is_right = is_right and not left
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
