from __future__ import annotations

import json
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from msqnet.data.table import read_table
from msqnet.errors import ConfigError
from synthesize import main
from synthetic import VERSION
from synthetic.actions import LABELS
from synthetic.benchmark import BenchmarkSettings, generate
from synthetic.clips import draw_clip, plan_clip

if TYPE_CHECKING:
    from pathlib import Path

NUM_CLIPS = 16
SIZE = 64
SMALL = ("--clips", str(NUM_CLIPS), "--size", str(SIZE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic")
    assert main(["--out", str(path), *SMALL]) == 0
    return path


def decode(path: Path) -> np.ndarray:
    """(T, H, W, 3) uint8."""
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 8
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Decibels."""
    error = ((first.astype(float) - second) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))


def test_tables_hold_the_planned_labels(folder: Path) -> None:
    table = read_table(folder / "held_out_actors.csv")

    assert len(table.records) == NUM_CLIPS
    for index, record in enumerate(table.records):
        plan = plan_clip(0, index)
        assert record.labels == plan.labels
        assert record.actor == plan.kind
        assert record.annotated is None  # all labels are known
        assert record.split == ("test" if plan.kind == "winged" else "train")
        assert record.path.is_file()


def test_every_table_reads_and_no_clip_is_in_two_splits(folder: Path) -> None:
    tables = sorted(folder.glob("*.csv"))

    assert len(tables) == 12
    for path in tables:
        paths = [record.path for record in read_table(path).records]
        assert len(set(paths)) == len(paths)


def test_video_shows_the_drawn_frames(folder: Path) -> None:
    shown = decode(folder / "clips" / "00003.mp4")

    assert len(shown) == 16
    # Colour is stored at half the resolution, which costs most at the edges of such small pictures.
    assert psnr(shown, draw_clip(plan_clip(0, 3), SIZE)) > 24


def test_manifest_says_what_was_made(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    assert (manifest["version"], manifest["seed"], manifest["num_clips"]) == (VERSION, 0, NUM_CLIPS)
    assert [action["name"] for action in manifest["actions"]] == list(LABELS)
    assert sum(manifest["num_clips_of_actor"].values()) == NUM_CLIPS
    split = json.loads((folder / "unseen_labels_2.json").read_text(encoding="utf-8"))
    assert sorted(split["seen"] + split["unseen"]) == sorted(LABELS)
    assert "wagging the tail" in (folder / "README.md").read_text(encoding="utf-8")


def test_more_clips_and_other_processes_give_the_same_clips(folder: Path, tmp_path: Path) -> None:
    generate(tmp_path, BenchmarkSettings(num_clips=NUM_CLIPS + 4, size=SIZE, num_workers=1))

    for name in ("clips/00000.mp4", "clips/00007.mp4"):
        # Not the bytes: the encoder decides differently from run to run. Other clips are below 20.
        assert psnr(decode(tmp_path / name), decode(folder / name)) > 35
    rows = (folder / "seen.csv").read_text(encoding="utf-8").splitlines()
    more = (tmp_path / "seen.csv").read_text(encoding="utf-8").splitlines()
    assert more[: len(rows)] == rows


def test_files_are_not_overwritten_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert main(["--out", str(tmp_path), *SMALL]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "notes.txt"), *SMALL]) == 1
    assert "a file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"num_clips": 3}, "3 clips"),
        ({"size": 97}, "size 97"),
        ({"num_workers": -2}, "-2 workers"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BenchmarkSettings(**settings)
