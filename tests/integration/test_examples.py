"""The scripts in examples/ and benchmarks/ do what their first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from msqnet.demo import demo_clips
from msqnet.inference.predictor import Predictor
from msqnet.style import INK
from tests.fixtures.document_scene import set_scene
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.fixtures.text_checkpoints import write_siglip_folder
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

ROOT = Path(__file__).parents[2]
FAST = ("benchmarks/linear_probe.py", "benchmarks/speed/report.py")


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
        write_clip_folder(tmp_path / "clip", max_num_tokens=77),
        "--open-models",
        tmp_path / "clip",
        write_siglip_folder(tmp_path / "siglip", num_tokens=77),
    )
    assert done.returncode == 1, done.stderr  # random scales are not those of published weights
    assert done.stdout.count(": equal") == 2
    assert done.stdout.count("(expected < 0.001): ok") == 2
    assert done.stdout.count("DIFFERENT") == 2
    assert done.stdout.count("a rat stands up") == 2 * len(demo_clips())


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


RUNNABLE = [
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "benchmarks/peers", "benchmarks/speed", "examples", "paper")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]
WITHOUT_OPTIONS = ("benchmarks/encoder_table.py", "benchmarks/size_of_the_house.py")


def run_module(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script as it can be run: as a module if it imports what lies beside its folder."""
    if not re.search(r"^from benchmarks\b", (ROOT / script).read_text(encoding="utf-8"), re.M):
        return run(script, *arguments)
    module = script.removesuffix("/__main__.py").removesuffix(".py").replace("/", ".")
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", [name for name in RUNNABLE if name not in WITHOUT_OPTIONS])
def test_help_of_every_script_is_printed(script: str) -> None:
    done = run_module(script, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


WITHOUT_INPUT: dict[str, list[str]] = {
    "benchmarks/ablation.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/embedding_summaries.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/explanation_check.py": ["--data", "{missing}"],
    "benchmarks/feature_cache.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/int8.py": ["--data", "{missing}"],
    "benchmarks/joined_clips.py": ["{missing}", "--out", "{out}"],
    "benchmarks/label_table.py": ["{missing}"],
    "benchmarks/leave_one_actor_kind_out.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/linear_probe.py": ["--data", "{missing}"],
    "benchmarks/novelty.py": ["--data", "{missing}", "--misc", "{missing}", "--out", "{out}"],
    "benchmarks/novelty_choice.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/ship_model.py": ["{missing}", "new-model", "--data", "{missing}"],
    "benchmarks/shipped_table.py": ["{missing}", "{out}"],
    "benchmarks/trust.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/peers/__main__.py": ["{missing}"],
    "benchmarks/whole_process.py": ["{missing}"],
    "benchmarks/zero_shot_tables.py": ["--data", "{missing}", "--out", "{out}"],
    "benchmarks/golden.py": ["compare", "{missing}"],
    "benchmarks/speed/report.py": ["{missing}"],
    "benchmarks/speed/floors.py": ["{missing}"],
    "examples/plot_timeline.py": ["{missing}"],
    "paper/run.py": ["table1/charades_timesformer_mmq", "--data", "{missing}", "--dry-run"],
}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in WITHOUT_INPUT
    ],
)
def test_missing_input_of_a_script_is_said_in_one_line(script: str, tmp_path: Path) -> None:
    missing, out = tmp_path / "missing.csv", tmp_path / "out"
    arguments = [item.format(missing=missing, out=out) for item in WITHOUT_INPUT[script]]
    done = run_module(script, *arguments)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines[-1].startswith(("msqnet: error: ", "error: ")), done.stderr
    assert "missing.csv" in lines[-1]
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that documents speak of."""
    folder = tmp_path_factory.mktemp("documented")
    set_scene(folder)
    return folder


SMALL_RUNS = {
    "encoder_memory": ["lite"],
    "encoder_table": [],
    "joined_clips": ["mixed_actors.csv", "--split", "test", "--films", "1", "--out", "films"],
    "explanation_check": ["--data", "mixed_actors.csv", "--split", "test", "--clips", "1"],
    "embedding_summaries": ["--data", "mixed_actors.csv", "--out", "runs/map", "--epochs", "1"],
    "ablation": [
        *("--data", "many_actors.csv", "--out", "runs/many", "--closeup", "--seeds", "1"),
        *("--epochs", "1", "--variants", "vanilla|full"),
    ],
    "zero_shot_tables": [
        *("--data", "many_actors.csv", "--out", "runs/unseen", "--splits", "1", "--epochs", "1"),
        *("--variants", "open_full"),
    ],
    "novelty": [
        *("--data", "mixed_actors.csv", "--misc", "folder/", "--singles", "videos/"),
        *("--out", "runs/novelty"),
    ],
    "whole_process": ["folder/person.mp4", "--rounds", "1", "--seconds", "1"],
    "linear_probe": ["--data", "clips.csv", "--model", "runs/mine"],
}


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", SMALL_RUNS)
def test_documented_script_runs_on_a_small_table(name: str, documented: Path) -> None:
    script = ROOT / "benchmarks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, script, *SMALL_RUNS[name]],
        capture_output=True,
        text=True,
        check=False,
        cwd=documented,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_script_says_errors_in_one_line() -> None:
    # Those that are left out are measured themselves, with all that they import.
    measured = {"benchmarks/speed/memory.py", "benchmarks/peers/score.py"}
    for name in sorted({*RUNNABLE} - measured):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.search(r"exit_code_of\(main\)|except \(?(?:\w+, )?MsqnetError", text), name


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


def walk(data: Path, out: Path, walks: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / "examples/first_hour.sh", data, out],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "WALKS": walks,
            "VIDEOS_OF": "misc",
            "CLIPS_OF": "clips",
        },
    )


def test_walk_of_new_users_stops_at_the_first_failure(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    row = "clips/gone.mp4,0,1,walking,test,a"
    (data / "many_actors.csv").write_text(f"path,start,end,labels,split,group\n{row}\n")
    done = walk(data, tmp_path / "out", "1")
    assert done.returncode == 1
    assert "gone.mp4" in done.stderr
    assert "All commands ended" not in done.stdout
    again = walk(data, tmp_path / "out", "1")
    assert again.returncode == 2
    assert "is not empty" in again.stdout


@pytest.mark.slow
def test_walk_with_a_folder_of_videos(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "misc"
    folder.mkdir(parents=True)
    write_video(folder / "one.mov", [BLACK] * 20 + [WHITE] * 20)
    done = walk(tmp_path / "data", tmp_path / "out", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 error, 1 exists" in done.stdout
    assert "All commands ended as they should." in done.stdout
