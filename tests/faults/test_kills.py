"""kill -9 at random moments, then the same command again: nothing lost, doubled or half there.

Moments are drawn by a fixed seed over the length of an unbroken run, its start and end included.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file

from msqnet.data.table import read_table, write_table
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.boris import FORMAT as BORIS
from msqnet.labels import LabelSet
from msqnet.predictions import VideoPredictions
from tests.faults.processes import run
from tests.fixtures.tables import write_brightness_table
from tests.unit.inference.brightness import BLACK, WHITE, write_video

FEW = {"train": 1, "convert": 2}  # for batch see test_batch.py of the integration tests
MANY = {"train": 15, "batch": 20, "convert": 15}
NUM_VIDEOS = 6


def check_batch(num_kills: int, folder: Path) -> None:
    """Every result that is there is whole, always; in the end each video has one row."""
    videos = folder / "videos"
    for number in range(NUM_VIDEOS):
        write_video(videos / f"{number:02}.mov", [WHITE, BLACK] * (6 + number))
    (videos / "broken.mov").write_bytes(b"not a video")
    names = sorted(path.name for path in videos.iterdir())
    out = folder / "out"
    options = ("--device", "cpu", "--threads", 1)
    whole = ["batch", "run", "--inputs", videos, "--out", folder / "whole", *options]
    unbroken = run(whole)
    assert unbroken.exit_code == 1, unbroken.output  # the broken one
    command = ["batch", "run", "--inputs", videos, "--out", out, *options]

    def results() -> dict[str, VideoPredictions]:
        return {
            path.name.removesuffix(".json"): VideoPredictions.from_json(path.read_text())
            for path in out.rglob("*.mov.json")
        }

    rng = random.Random(1)
    num_hit = num_runs = 0
    while num_hit < num_kills:
        if len(results()) == NUM_VIDEOS:  # nothing is left to be killed
            num_runs += 1
            command[5] = out = folder / f"out{num_runs}"
        before = results()
        done = run(command, kill_after_seconds=rng.uniform(0.1, 1.0) * unbroken.seconds)
        assert done.exit_code in (1, -9), done.output
        num_hit += done.exit_code == -9
        assert before.items() <= results().items()
    last = run(command)
    assert last.exit_code == 1, last.output
    expected = {
        path.name.removesuffix(".json"): VideoPredictions.from_json(path.read_text())
        for path in (folder / "whole").rglob("*.mov.json")
    }
    assert results() == expected
    assert len(expected) == NUM_VIDEOS
    rows = (out / "index.csv").read_text().splitlines()[1:]
    assert Counter(Path(row.split(",")[0]).name for row in rows) == dict.fromkeys(names, 1)
    assert not list(out.rglob("*.part"))
    print(f"batch: killed {num_hit} times; {NUM_VIDEOS} results, equal to an unbroken run's")


def check_train(num_kills: int, folder: Path) -> None:
    """The weights of an unbroken run, to the bit."""
    table = write_brightness_table(folder / "videos", 4)
    write_table(table.records, folder / "clips.csv")

    def command(out: Path, *more: str) -> list[object]:
        settings = ("--train.epochs", 2, "--train.folds", 2, "--train.cached_views", 1)
        settings += ("--train.decoder_rows", 0, "--keep", "all")
        encoders = ("--arch.video_weights", "random", "--arch.text_encoder", "random")
        sizes = ("--train.num_workers", 0, "--train.batch_size", 4)
        data = ("--data", folder / "clips.csv", "--out", out)
        return ["train", *data, *settings, *encoders, *sizes, *more]

    unbroken = run(command(folder / "unbroken"))
    assert unbroken.exit_code == 0, unbroken.output

    def assert_equal(out: Path) -> None:
        found = load_file(out / "best" / "model.safetensors")
        expected = load_file(folder / "unbroken" / "best" / "model.safetensors")
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            assert tensor.equal(found[key]), key

    rng = random.Random(2)
    num_hit = num_runs = 0
    while num_hit < num_kills:
        out = folder / f"out{num_runs}"
        moment = rng.uniform(0.1, 1.0) * unbroken.seconds
        done = run(command(out, "--resume"), kill_after_seconds=moment, timeout_seconds=240)
        assert done.exit_code in (0, -9), done.output
        if (out / "best").exists():  # whole where it is there at all
            load_file(out / "best" / "model.safetensors")
            json.loads((out / "best" / "config.json").read_text())
        if done.exit_code == 0:  # nothing is left to be killed
            assert_equal(out)
            num_runs += 1
        num_hit += done.exit_code == -9
    last = run(command(out, "--resume"), timeout_seconds=240)
    assert last.exit_code == 0, last.output
    assert_equal(out)
    print(f"train: killed {num_hit} times in {num_runs + 1} runs, each equal to an unbroken one's")


def check_convert(num_kills: int, folder: Path) -> None:
    """The table that was there, or the new one: never a part of one."""
    labels = LabelSet(tuple(f"label {number}" for number in range(20)))
    events = tuple(
        Event(f"label {number % 20}", number * 0.5, number * 0.5 + 1.7) for number in range(2000)
    )
    videos = tuple(AnnotatedVideo(folder / f"{number}.mp4", events, 1100.0) for number in range(3))
    BORIS.write(Annotations(videos, labels), folder / "project.boris", {})
    out = folder / "clips.csv"
    command = ["convert", "--from", "boris", "--input", folder / "project.boris"]
    command += ["--out", out, "--overwrite"]
    unbroken = run(command)
    assert unbroken.exit_code == 0, unbroken.output
    expected = out.read_bytes()

    def whole() -> None:
        assert out.read_bytes() == expected

    rng = random.Random(3)
    num_hit = 0
    while num_hit < num_kills:
        done = run(command, kill_after_seconds=rng.uniform(0.1, 1.0) * unbroken.seconds)
        assert done.exit_code in (0, -9), done.output
        num_hit += done.exit_code == -9
        whole()
    last = run(command)
    assert last.exit_code == 0, last.output
    whole()
    print(f"convert: killed {num_hit} times; always the old table or the new one")
    assert len(read_table(out)) > 1000


CHECKS = {"train": check_train, "batch": check_batch, "convert": check_convert}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", FEW)
def test_killed_command_ends_as_an_unbroken_one(command: str, tmp_path: Path) -> None:
    CHECKS[command](FEW[command], tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", CHECKS)
def test_command_killed_many_times_ends_as_an_unbroken_one(command: str, tmp_path: Path) -> None:
    start = time.monotonic()
    CHECKS[command](MANY[command], tmp_path)
    print(f"{command}: {time.monotonic() - start:.0f} s in all")
