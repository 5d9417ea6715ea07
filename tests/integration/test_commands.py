"""`train`, `evaluate` and `predict` one after the other, as a user types them."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

import msqnet
from msqnet.cli.main import main, parse_settings
from msqnet.data.table import read_table
from msqnet.errors import ConfigError
from msqnet.inference.predictor import Predictor
from msqnet.model.pretrained import MSQNet
from tests.fixtures.models import write_timesformer_folder
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

NUM_TRAIN = 8


def write_table(folder: Path) -> Path:
    """Bright and dark videos of one second; the test rows also show a label not in train."""
    rows = ["path,start,end,labels,split,group,source,actor"]
    for index in range(NUM_TRAIN + 4):
        is_bright = index % 2 == 0
        write_video(folder / f"{index}.mov", [210 if is_bright else 40] * 10)
        is_test = index >= NUM_TRAIN
        label = ("bright" if is_bright else "dark") + ("|new" if index == NUM_TRAIN else "")
        split = "test" if is_test else "train"
        rows.append(f"{index}.mov,0,1,{label},{split},g{index},lab,lamp")
    path = folder / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def train_arguments(table: Path, weights: Path, out: Path) -> list[str]:
    return [
        *("train", "--data", str(table), "--out", str(out)),
        *("--arch.video_encoder", "timesformer", "--arch.video_weights", str(weights)),
        *("--arch.video_query", "none", "--arch.image_encoder", "none"),
        *("--arch.text_encoder", "random"),
        *("--arch.num_frames", "4", "--arch.width", "16", "--arch.decoder_heads", "2"),
        *("--arch.decoder_layers", "1", "--arch.decoder_feedforward", "16"),
        *("--train.epochs", "1", "--train.num_workers", "0", "--train.validation_share", "0.25"),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """The table, the run folder, and the arguments that made it."""
    folder = tmp_path_factory.mktemp("commands")
    table = write_table(folder)
    weights = write_timesformer_folder(folder / "weights")
    arguments = train_arguments(table, weights, folder / "run")
    assert main(arguments) == 0
    return table, folder / "run", arguments


def test_training_leaves_a_model_and_all_settings(trained: tuple[Path, Path, list[str]]) -> None:
    _, run, _ = trained
    settings = yaml.safe_load((run / "run.yaml").read_text())
    assert settings["num_rows"] == NUM_TRAIN
    assert settings["labels"] == ["bright", "dark"]
    assert settings["train"]["learning_rate"] == 1e-5  # the paper's, as the recipe says
    predictor = Predictor.from_pretrained(run)
    assert predictor.backend.labels.names == ("bright", "dark")
    assert predictor.backend.train_positive_windows == [NUM_TRAIN // 2, NUM_TRAIN // 2]


def test_models_of_one_label_at_a_time_work_to_the_end(
    trained: tuple[Path, Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, _ = trained
    assert yaml.safe_load((run / "run.yaml").read_text())["task"] == "single_label"
    # Dark, then bright: labels that never hold at the same time.
    write_video(tmp_path / "both.mov", [40] * 20 + [210] * 20)
    predict = ["predict", str(tmp_path / "both.mov"), "--model", str(run), "--include_weak"]
    assert main([*predict, "--out", str(tmp_path / "results")]) == 0
    [found] = (tmp_path / "results").rglob("*.json")
    content = json.loads(found.read_text())
    assert content["single_label"] is True
    assert content["segments"]
    times = sorted((item["start_seconds"], item["end_seconds"]) for item in content["segments"])
    assert all(end <= start for (_, end), (start, _) in pairwise(times))
    assert main(["report", str(tmp_path / "results")]) == 0
    capsys.readouterr()


def test_task_that_was_seen_is_said_and_remembered(
    trained: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, arguments = trained
    assert main([*arguments, "--resume"]) == 0
    assert f"task: single_label, as this run began so in {run}" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_not_overwritten(
    trained: tuple[Path, Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, arguments = trained
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert "holds a run; continue it with --resume true" in printed
    assert "recipe" not in printed  # it is refused before the rows are read
    assert main([*arguments, "--resume", "--train.seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_evaluation_prints_and_writes_what_it_says(
    trained: tuple[Path, Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run, _ = trained
    arguments = ["evaluate", "--data", str(table), "--model", str(run), "--split", "test"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert f"macro mAP: {metrics['macro_map']:.3f}" in printed
    assert "not scored: new: the model does not have this label" in printed
    with (tmp_path / "per_label.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["bright", "dark"]
    assert (tmp_path / "scores.parquet").exists()
    assert main([*arguments, "--strict_labels"]) == 2


def test_timelines_are_evaluated_on_whole_videos(
    trained: tuple[Path, Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run, _ = trained
    arguments = ["evaluate", "--data", str(table), "--model", str(run), "--split", "test"]
    assert main([*arguments, "--protocol", "timeline", "--out", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "timeline.json").read_text())
    assert figures["num_videos"] == 4
    assert figures["segments"]["num_truths"] == 4
    assert "4 videos" in capsys.readouterr().out


def test_training_starts_from_another_model(
    trained: tuple[Path, Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, arguments = trained
    changed = [*arguments, "--init_from", str(run), "--out", str(tmp_path / "next")]
    assert main(changed) == 0
    assert "kept bright, dark" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,labels\nmissing.mov,a\n", "row 2"),
        ("path,labels,split\n0.mov,bright,Training\n", "train"),
    ],
    ids=["missing video", "no split called train"],
)
def test_training_refuses_tables_it_cannot_use(
    trained: tuple[Path, Path, list[str]],
    tmp_path: Path,
    text: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, _, arguments = trained
    wrong = table.with_name("wrong.csv")
    wrong.write_text(text)
    changed = [str(wrong) if argument == str(table) else argument for argument in arguments]
    assert main([*changed, "--out", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_from_python_is_that_of_the_command(
    trained: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    table, run, _ = trained
    arch = parse_settings("train", train_arguments(table, table.parent / "weights", run)[1:])[1]
    said: list[str] = []
    found = msqnet.train(
        read_table(table),
        tmp_path / "run",
        arch=arch["arch"],
        train=arch["train"],
        report=said.append,
    )
    assert said[0].startswith("task: ")
    assert len(found.table) == NUM_TRAIN
    assert (
        found.validation["macro_map"]
        == json.loads((run / "validation.json").read_text(encoding="utf-8"))["macro_map"]
    )
    expected, weights = (MSQNet.from_pretrained(folder) for folder in (run, found.folder))
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(weights.state_dict()[name], tensor)
    assert (found.model_folder / "config.json").is_file()
    assert not list((found.folder / "checkpoints").glob("checkpoint-*"))
    assert "rows to train on" in (found.folder / "train.log").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="holds a run"):
        msqnet.train(table, tmp_path / "run", arch=arch["arch"], train=arch["train"])
