"""How time and memory grow: frames, labels, length of the video, batch size, processes.

    python -m benchmarks.speed.growth
    python -m benchmarks.speed.growth --only labels --smoke

Every point is a process of its own, which warms up, repeats the work and tells its peak memory; the
sweeps over length and processes run once, without warming up, so what a start takes weighs on their
small sizes. The exponent e of time ~ size^e is fitted through all points and through the last two;
beside it stands what the method lets expect. Models have random weights.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import machine
from benchmarks.speed.harness import cost_summaries, fitted_exponent
from benchmarks.speed.tables import growth_tables
from benchmarks.speed.videos import FOLDER, looped, repeated, source_clip
from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.speed.harness import Cost
    from msqnet.model.pretrained import MSQNet

_REPEATS = 3
_SMALL_HEIGHT = 180
_CLIP_SECONDS = 10.0
_LONG_WINDOW_SECONDS = 30.0
_BATCH_OF_LABELS = 8

SWEEPS: dict[str, dict[str, Any]] = {
    "frames, lite": {
        "sizes": [8, 16, 32, 64, 128],
        "smoke": [4, 8],
        "expected": "time 1, memory 1 at most: each frame is seen once, the decoder sees all",
    },
    "frames, TimeSformer": {
        "sizes": [8, 16, 32],
        "smoke": [],
        "expected": "time 1 and a little: attention over time is quadratic, and small",
    },
    "labels, decoder with attention among queries": {
        "sizes": [10, 30, 100, 300, 1000],
        "smoke": [10, 30],
        "expected": "time rising from 1 towards 2",
    },
    "labels, decoder without it": {
        "sizes": [10, 30, 100, 300, 1000],
        "smoke": [10, 30],
        "expected": "time 1 once labels outweigh what does not depend on them",
    },
    "length of the video, seconds": {
        "sizes": [10, 60, 600, 3600],
        "smoke": [10, 20],
        "expected": "time 1, memory 0",
    },
    "batch size": {
        "sizes": [1, 2, 4, 8, 16, 32],
        "smoke": [1, 2],
        "expected": "time 0, memory below 1",
    },
    "processes of one thread, each a video": {
        "sizes": [1, 2, 4],
        "smoke": [1, 2],
        "expected": "wall time 0 up to the number of cores, then 1; memory 1",
    },
}
"""What is swept: sizes, those of a smoke run, and the law that the method lets expect."""


def _lite(num_frames: int, num_labels: int = 10, *, query_attention: bool = True) -> MSQNet:
    from dataclasses import replace

    from msqnet.labels import LabelSet
    from msqnet.model.builder import new_model
    from msqnet.model.registry import encoder_spec

    recipe = encoder_spec("lite").recipe()
    arch = replace(
        recipe.arch,
        video_weights="random",
        text_encoder="random",
        num_frames=num_frames,
        query_attention=query_attention,
    )
    labels = LabelSet(tuple(f"label {number}" for number in range(num_labels)))
    return new_model(arch, recipe.clip, labels)


def _score_one_clip(model: MSQNet) -> Callable[[], object]:
    import torch

    clip = model.config.clip_config
    shape = (1, clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    model.prepare_for_inference()
    return lambda: model(pixels, pixels if clip.closeup else None)


def _frames_of_lite(size: int) -> Callable[[], object]:
    return _score_one_clip(_lite(size))


def _frames_of_timesformer(size: int) -> Callable[[], object]:
    from dataclasses import replace

    from benchmarks.speed.models import paper_model
    from benchmarks.speed.settings import PAPER, PRESETS

    sizes = replace(PAPER, num_frames=size)
    return _score_one_clip(paper_model(replace(PRESETS["bench"], sizes=sizes)))


def _labels(size: int, *, query_attention: bool) -> Callable[[], object]:
    """What comes behind the encoders, for some clips at a time."""
    import torch

    model = _lite(16, size, query_attention=query_attention).prepare_for_inference()
    spans = model.video_encoder.memory_spans(16)
    memory = torch.randn(_BATCH_OF_LABELS, len(spans), model.video_encoder.width)
    query = torch.randn(_BATCH_OF_LABELS, model.video_encoder.query_width)
    return lambda: model(frame_memory=memory, video_query=query)


def _predict(video: Path, num_frames: int, **window: Any) -> Callable[[], object]:
    from msqnet import Predictor, WindowConfig
    from msqnet.inference.torch_backends import TorchBackend

    backend = TorchBackend(_lite(num_frames), "cpu")
    predictor = Predictor(backend, WindowConfig(**window))
    return lambda: predictor(video)


def _length(size: int) -> Callable[[], object]:
    """Few frames a window, so that decoding, which nothing can spare, is most of the work."""
    clip = looped(source_clip(), _CLIP_SECONDS, height=_SMALL_HEIGHT)
    video = repeated(clip, round(size / _CLIP_SECONDS))
    seconds = min(_LONG_WINDOW_SECONDS, _CLIP_SECONDS)
    return _predict(video, 4, window_seconds=seconds, stride_seconds=seconds, batch_size=4)


def _batch_size(size: int) -> Callable[[], object]:
    clip = looped(source_clip(), _CLIP_SECONDS, height=_SMALL_HEIGHT)
    video = repeated(clip, 4)
    return _predict(video, 8, window_seconds=2.0, stride_seconds=1.0, batch_size=size)


def _processes(size: int) -> Callable[[], int]:
    """As many processes at once; what they take to start is part of it. Gives their peaks' sum."""
    looped(source_clip(), _CLIP_SECONDS, height=_SMALL_HEIGHT)
    command = [sys.executable, "-m", "benchmarks.speed.growth", "--one_video"]

    def work() -> int:
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(size)]
        said = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise RuntimeError(f"one of {size} processes failed")
        return sum(map(int, said))

    return work


def prepared(sweep: str, size: int) -> Callable[[], object]:
    """The work of one point, ready to run."""
    works: dict[str, Callable[[], Callable[[], object]]] = {
        "frames, lite": lambda: _frames_of_lite(size),
        "frames, TimeSformer": lambda: _frames_of_timesformer(size),
        "labels, decoder with attention among queries": lambda: _labels(size, query_attention=True),
        "labels, decoder without it": lambda: _labels(size, query_attention=False),
        "length of the video, seconds": lambda: _length(size),
        "batch size": lambda: _batch_size(size),
        "processes of one thread, each a video": lambda: _processes(size),
    }
    return works[sweep]()


def run_point(sweep: str, size: int) -> dict[str, Any]:
    """Costs and peak memory of one point, in this process."""
    import torch

    from benchmarks.speed.harness import Contender, run_rounds

    work = prepared(sweep, size)
    is_long = sweep.startswith(("length", "processes"))
    peaks: list[int] = []

    @torch.inference_mode()
    def run(clock: object) -> None:
        del clock
        found = work()
        if sweep.startswith("processes"):
            assert isinstance(found, int)
            peaks.append(found)

    contender = Contender(sweep, run, (lambda: None) if is_long else None)
    repeats = 1 if is_long else _REPEATS
    costs: list[Cost] = run_rounds([contender], num_rounds=repeats)[sweep]
    return {
        "size": size,
        **cost_summaries(costs),
        "peak_memory_bytes": max(peaks) if peaks else machine.peak_memory_bytes(),
    }


def point_of(sweep: str, size: int) -> dict[str, Any]:
    """As `run_point`, in a fresh process.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    command = [sys.executable, "-m", "benchmarks.speed.growth", "--point", sweep, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{sweep}, {size}: the process failed\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponents(points: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Fitted through all points and through the last two: of CPU time, wall time and memory."""
    sizes = [float(point["size"]) for point in points]
    values = {
        "cpu": [point["cpu_seconds"]["median"] for point in points],
        "wall": [point["wall_seconds"]["median"] for point in points],
        "memory": [float(point["peak_memory_bytes"]) for point in points],
    }
    return {
        name: {
            "all": fitted_exponent(sizes, found),
            "last": fitted_exponent(sizes[-2:], found[-2:]),
        }
        for name, found in values.items()
    }


def measured(*, smoke: bool, only: str = "") -> dict[str, Any]:
    """All sweeps whose name holds ``only``: JSON values only."""
    started = time.perf_counter()
    sweeps: dict[str, Any] = {}
    for name, sweep in SWEEPS.items():
        sizes = sweep["smoke" if smoke else "sizes"]
        if only not in name or not sizes:
            continue
        points = []
        for size in sizes:
            points.append(point_of(name, size))
            wall_seconds = points[-1]["wall_seconds"]["median"]
            print(f"{name}: {size}: {wall_seconds:.2f} s", flush=True)
        sweeps[name] = {
            "points": points,
            "expected": sweep["expected"],
            "exponents": exponents(points),
        }
    return {
        "kind": "growth",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {**machine.facts(), "load_average": [machine.load_average()]},
        "sweeps": sweeps,
        "seconds": time.perf_counter() - started,
    }


def _one_video() -> None:
    """What each of several processes does; prints its peak memory in bytes."""
    import torch

    torch.set_num_threads(1)
    clip = looped(source_clip(), _CLIP_SECONDS, height=_SMALL_HEIGHT)
    _predict(clip, 8, window_seconds=2.0, stride_seconds=1.0)()
    print(machine.peak_memory_bytes())


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="sweeps whose name holds this")
    parser.add_argument("--smoke", action="store_true", help="few and small points")
    parser.add_argument("--out", type=Path, default=FOLDER / "growth.json")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--one_video", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_video:
        _one_video()
    elif arguments.point:
        print(json.dumps(run_point(arguments.point[0], int(arguments.point[1]))))
    else:
        results = measured(smoke=arguments.smoke, only=arguments.only)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"\n{growth_tables(results)}\n\nwritten to {arguments.out}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
