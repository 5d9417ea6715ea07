"""`msqnet zero-shot` and open vocabularies as commands, on tiny models and videos."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from msqnet.cli.main import EXIT_FAILED, EXIT_USAGE, main
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("dark", "dim", "light", "bright")
LEVELS = (20, 90, 160, 230)


def write_table(folder: Path, *, shares_a_video: bool = False) -> Path:
    rows = ["path,labels,split"]
    for index in range(16):
        name, level = NAMES[index % 4], LEVELS[index % 4]
        write_video(folder / f"{index}.mov", [level + index // 4] * 8)
        rows.append(f"{index}.mov,{name},{'test' if index >= 12 else 'train'}")
    if shares_a_video:
        rows.append("0.mov,dark,test")
    path = folder / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A file with settings of tiny encoders and one epoch, without data and output."""
    folder = tmp_path_factory.mktemp("weights")
    clip = write_clip_folder(folder / "clip")
    video = write_timesformer_folder(folder / "timesformer")
    settings = {
        "arch": {
            "video_encoder": "timesformer",
            "video_weights": str(video),
            "image_encoder": str(clip),
            "text_encoder": f"clip:{clip}",
            "num_frames": 4,
            "size_pixels": 32,
            "width": 16,
            "decoder_layers": 1,
            "decoder_heads": 2,
            "decoder_feedforward": 16,
        },
        "train": {"epochs": 1, "num_workers": 0},
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(settings))
    return ["--settings", str(path)]


def test_zero_shot_scores_unseen_labels_and_does_nothing_twice(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [
        *("zero-shot", "--data", str(write_table(tmp_path)), "--out", str(out)),
        *("--splits", "2", "--variants", "text_init|open_full|open_full_shuffled"),
        *("--task", "single_label", *arguments),
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "top-1 accuracy, 2 splits" in shown
    assert "chance is what to expect" in shown
    results = json.loads((out / "results.json").read_text())
    assert [row["variant"] for row in results["variants"]] == [
        "text_init",
        "open_full",
        "open_full_shuffled",
    ]
    for row in results["variants"]:
        assert row["num_splits"] == 2
        assert row["chance_unseen"] == 0.5
        assert row["unseen"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    splits = json.loads((out / "splits.json").read_text())
    model = json.loads((out / "split_0" / "open_full" / "best" / "config.json").read_text())
    run = yaml.safe_load((out / "split_0" / "open_full" / "run.yaml").read_text())
    assert (run["train"]["folds"], run["train"]["validation_share"]) == (0, 0.0)
    assert (run["train"]["epochs"], run["arch"]["width"]) == (1, 16)
    assert sorted(model["labels"]) == sorted(splits[0]["seen"])
    files = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(files) >= 6
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert json.loads((out / "results.json").read_text()) == results

    # The same open model answers other labels on the command line; the closed one refuses.
    video = str(tmp_path / "0.mov")
    open_model = str(out / "split_0" / "open_full")
    asked = ["predict", video, "--labels", "dark|cats", "--window_seconds", "0.4"]
    assert main([*asked, "--model", open_model, "--out", str(tmp_path / "results")]) == 0
    answer = json.loads(next((tmp_path / "results").glob("*.json")).read_text())
    assert answer["labels"] == ["dark", "cats"]
    capsys.readouterr()
    closed_model = str(out / "split_0" / "text_init")
    assert main([*asked, "--model", closed_model]) == EXIT_USAGE
    assert "--model siglip2-base" in capsys.readouterr().err
    known = ["predict", video, "--labels", "light", "--window_seconds", "0.4"]
    assert main([*known, "--model", closed_model]) == 0


def test_video_in_training_and_test_stops_zero_shot(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, shares_a_video=True)
    splits = tmp_path / "splits.json"
    split = {"name": "s", "origin": "hand", "seen": ["dark", "dim"], "unseen": ["light", "bright"]}
    splits.write_text(json.dumps([split]))
    command = [
        *("zero-shot", "--data", str(table), "--out", str(tmp_path / "out")),
        *("--split_lists", str(splits), "--variants", "open_full", *arguments),
    ]
    assert main(command) == EXIT_FAILED
    assert "leakage in split s: 1 videos stand in training and in test" in capsys.readouterr().err


def test_unknown_variant_is_named(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["zero-shot", "--data", "x.csv", "--out", str(tmp_path), "--variants", "fuller"]
    assert main([*command, *arguments]) == EXIT_USAGE
    assert "fuller: expected some of vanilla" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("init_from: runs/mine", "zero-shot has no init_from"),
        ("arch: {breadth: 16}", "breadth"),
        (None, "no such file"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    text: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["zero-shot", "--data", "x.csv", "--settings", str(path)]) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_training_free_baseline_scores_any_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Room for the sentences around a label, which this tokenizer spells.
    clip = write_clip_folder(tmp_path / "clip", max_num_tokens=77)
    write_video(tmp_path / "a.mov", [100] * 8)
    command = [
        *("predict", str(tmp_path / "a.mov"), "--model", f"clip-zero-shot:{clip}"),
        *("--window_seconds", "0.4", "--out", str(tmp_path / "out")),
    ]
    assert main([*command, "--labels", "dig|two cats"]) == 0
    answer = json.loads((tmp_path / "out" / "a.mov.json").read_text())
    assert answer["labels"] == ["dig", "two cats"]
    for scores in answer["timeline"]["scores"]:
        assert sum(scores) == pytest.approx(1, abs=1e-3)
    assert "training-free" in json.dumps(answer["provenance"])
    assert main([*command, "--overwrite"]) == EXIT_USAGE
    assert "say --labels" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--labels", "dig"]) == EXIT_USAGE
    assert "ask for two or more" in capsys.readouterr().err
