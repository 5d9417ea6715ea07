"""The scripts in examples/ and benchmarks/ do what their first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from msqnet.inference.predictor import Predictor
from msqnet.report.style import INK
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_published_weights_can_be_checked_by_one_command(tmp_path: Path) -> None:
    done = run(
        "examples/check_published_weights.py",
        "--timesformer",
        write_timesformer_folder(tmp_path / "timesformer"),
        "--clip",
        write_clip_folder(tmp_path / "clip"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": equal") == 2


def test_a_result_is_drawn_with_the_annotated_actions(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [BLACK] * 20 + [WHITE] * 20)
    table = tmp_path / "clips.csv"
    table.write_text("path,start,end,labels\nclip.mov,2,4,bright\n")
    Predictor(BrightnessBackend())(video).write(tmp_path / "clip.mov")
    picture = tmp_path / "timeline.png"
    done = run(
        "examples/plot_timeline.py",
        tmp_path / "clip.mov.json",
        "--table",
        table,
        "--out",
        picture,
    )
    assert done.returncode == 0, done.stderr
    with av.open(picture) as container:
        frame = next(container.decode(video=0))
    pixels = frame.to_ndarray(format="rgb24").reshape(-1, 3)
    ink = tuple(bytes.fromhex(INK.removeprefix("#")))
    assert (pixels == ink).all(axis=1).sum() > 500  # the annotated stretch


def test_weights_that_cannot_be_fetched_are_said_in_a_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = run("examples/check_published_weights.py", "--timesformer", missing)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("not checked: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.weights
def test_linear_probe_prints_figures_of_a_small_table(tmp_path: Path) -> None:
    rows = ["path,labels,split,group"]
    for number, split in enumerate(["train"] * 4 + ["test"] * 4):
        is_bright = number % 2 == 0
        levels = [WHITE if is_bright else BLACK] * 20
        write_video(tmp_path / f"{number}.mov", levels, size=(64, 48))
        rows.append(f"{number}.mov,{'walking' if is_bright else 'sitting'},{split},{number}")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join([*rows, ""]))
    done = run("benchmarks/linear_probe.py", "--data", table, "--model", "mixed-actors-lite")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("well supported undefined (no such label)") == 3
    assert "probe: macro mAP 1.000" in done.stdout
