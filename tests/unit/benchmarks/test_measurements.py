"""The measurements themselves, at tiny sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from benchmarks import gpu
from benchmarks.speed import baseline, limits
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import StageClock
from benchmarks.speed.models import HuggingFaceParts, paper_model
from benchmarks.speed.settings import PRESETS, TINY
from benchmarks.speed.videos import repeated

from msqnet.video.reader import open_video

ROOT = Path(__file__).parents[3]
SMOKE = PRESETS["smoke"]
FPS = 10
SECONDS = 4


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s of 96x64 whose frames differ, with a keyframe every second."""
    path = tmp_path_factory.mktemp("bench") / "clip.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(FPS * SECONDS):
            pixels = torch.full((64, 96, 3), 40, dtype=torch.uint8)
            pixels[:, 2 * number : 2 * number + 16] = 220
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.numpy(), "rgb24")))
        output.mux(stream.encode(None))
    return path


def test_flops_of_fused_attention_and_linear_are_counted_in_inference_mode() -> None:
    query, key = torch.randn(2, 4, 10, 8), torch.randn(2, 4, 30, 8)
    layer = torch.nn.Linear(16, 32)

    def work() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, key, key)
        layer(torch.randn(5, 16))

    with torch.inference_mode():
        found = limits.count_flops(work)
    assert found == 2 * (2 * 4 * 10 * 30 * 8) * 2 + 2 * 5 * 16 * 32


def test_both_ways_of_reading_give_the_frames_that_msqnet_reads(video: Path) -> None:
    for times in baseline.window_times(video, SMOKE):
        from_keyframe = baseline.read_window(video, times, from_keyframe=True)
        from_start = baseline.read_window(video, times, from_keyframe=False)
        assert (from_keyframe == from_start).all()
        with open_video(video) as opened:
            ours = opened.frames_at(times).pixels.transpose(0, 2, 3, 1)
        # Two ways from YUV to RGB; frames beside each other differ by more than 100 levels.
        assert np.abs(from_start - ours.astype(int)).mean() < 4


def test_baseline_and_ours_are_the_same_work(video: Path) -> None:
    bench = Bench(SMOKE, video)
    bench.paper_video = video
    found = bench.check_agreement()
    assert found["largest_difference"] < 1e-5 < found["between_windows"]
    clock = StageClock()
    scores = bench.baseline_run(clock, from_start=True)
    assert scores.shape == (SECONDS - 1, SMOKE.num_labels)
    assert set(clock.stages) == {
        f"{stage}/{number}"
        for stage in ("keyframe", "start", "resize", "model")
        for number in range(SECONDS - 1)
    }


def test_a_baseline_with_other_weights_stops_the_run(video: Path) -> None:
    bench = Bench(SMOKE, video)
    bench.paper_video = video
    other = paper_model(SMOKE)
    torch.nn.init.normal_(other.head.weight, std=3.0)
    bench.parts = HuggingFaceParts.of(other, TINY)
    with pytest.raises(RuntimeError, match="do not do the same work"):
        bench.check_agreement()


def test_a_repeated_video_is_as_long_as_its_repeats(video: Path) -> None:
    with open_video(repeated(video, 3)) as opened:
        assert opened.num_frames == 3 * FPS * SECONDS
        assert opened.duration_seconds == pytest.approx(3 * SECONDS)


def test_gpu_measurement_runs_at_tiny_sizes_and_both_ways_agree() -> None:
    results = gpu.measured(gpu.settings_of(smoke=True), torch.device("cpu"), compiled=False)
    assert json.loads(json.dumps(results)) == results
    assert results["inference"]["scores_differ_by"] < 0.02  # bf16 keeps 8 bits
    flops = {
        (kind, way): results[kind][way]["flops_a_batch"]
        for kind in ("training", "inference")
        for way in ("plain", "best")
    }
    assert flops["training", "plain"] > flops["inference", "plain"]
    assert flops["inference", "best"] < flops["inference", "plain"]  # folded, class token only
    assert "training: best is" in gpu.printed(results)


@pytest.mark.slow  # imports torch and transformers once more
def test_gpu_measurement_needs_neither_pyav_nor_kornia() -> None:
    code = "import sys, benchmarks.gpu; print([m for m in ('av', 'kornia') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_whole_benchmark_runs_and_writes_its_tables(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "smoke.json"
    command = [sys.executable, "-m", "benchmarks.speed", "--preset", "smoke"]
    done = subprocess.run(
        [*command, "--video", str(video), "--out", str(out)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text(encoding="utf-8"))
    assert {"model only", "CLIP: transformers / class token only"} <= set(results["ratios"])
    assert all(len(found["rounds"]) == 2 for found in results["contenders"].values())
    assert results["peak_memory_bytes"]["msqnet"] > results["peak_memory_bytes"]["imports"] // 2
    assert "| model only |" in done.stdout
