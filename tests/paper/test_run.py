"""`paper/run.py`: dry runs of every row, whole runs of tiny ones, tables of what was run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import run as script
import table as table_script
from experiments import experiments, find_experiment, resolve
from msqnet.data.table import read_table
from msqnet.evaluation.views import score_rows
from msqnet.evaluation.zero_shot_protocol import LabelSplit
from msqnet.inference.predictor import Predictor
from msqnet.model.pretrained import MSQNet
from tests.fixtures.models import fill_with_noise, write_clip_folder, write_timesformer_folder
from tests.fixtures.tables import GREY_LEVELS, write_split_table
from tests.fixtures.text_checkpoints import write_bert_folder

if TYPE_CHECKING:
    from experiments import Experiment

SIZE_PIXELS = 32
TINY: dict[str, Any] = {
    "size_pixels": SIZE_PIXELS,
    "width": 16,
    "decoder_layers": 1,
    "decoder_heads": 2,
    "decoder_feedforward": 32,
}
QUICK = {"epochs": 1, "batch_size": 4, "num_workers": 0, "precision": "fp32"}
OWN = [item for item in experiments().values() if not item.reported]


def write_videomae_folder(folder: Path) -> Path:
    config = VideoMAEConfig(
        image_size=SIZE_PIXELS,
        patch_size=16,
        num_frames=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=3,
    )
    model = VideoMAEForVideoClassification(config)
    fill_with_noise(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny random weights of every encoder, by its name."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "convolutions.pt").touch()  # a dry run does not read weights
    return {
        "timesformer": str(write_timesformer_folder(folder / "timesformer")),
        "videomae": str(write_videomae_folder(folder / "videomae")),
        "clip": str(write_clip_folder(folder / "clip")),
        "vit": str(folder / "clip"),
        "bert": f"bert:{write_bert_folder(folder / 'bert')}",
        "i3d": str(folder / "convolutions.pt"),
        "c3d": str(folder / "convolutions.pt"),
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split_table(
        tmp_path_factory.mktemp("clips") / "clips.csv", num_train=8, num_test=6
    )


def tiny_arch(item: Experiment, weights: dict[str, str]) -> dict[str, Any]:
    """What makes an experiment small enough to run here."""
    arch = resolve(item).arch
    text = "bert" if arch.text_encoder.startswith("bert:") else "clip"
    changes = {"video_weights": weights[item.video_encoder], "text_encoder": weights[text], **TINY}
    if arch.video_query == "image":
        changes["image_encoder"] = weights["clip"]
    return changes


def arguments(item: Experiment, weights: dict[str, str], *more: str, **arch: Any) -> list[str]:
    settings = {f"arch.{k}": v for k, v in {**tiny_arch(item, weights), **arch}.items()}
    settings |= {f"train.{name}": value for name, value in QUICK.items()}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [item.name, *options, "--num-bootstrap", "0", *more]


def run(name: str, weights: dict[str, str], out: Path, *more: str, **arch: Any) -> dict[str, Any]:
    """The result of an experiment made small."""
    item = find_experiment(name)
    assert script.main(arguments(item, weights, "--out", str(out), *more, **arch)) == 0
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def job(
    item: Experiment, preset: str, weights: dict[str, str], data: tuple[Path, ...]
) -> script.Job:
    named = resolve(item, preset)
    settings = replace(named, arch=replace(named.arch, **tiny_arch(item, weights)))
    return script.Job(item, preset, settings, data, Path("unused"))


@pytest.mark.parametrize("preset", ["default", "reference"])
@pytest.mark.parametrize("number", range(1, 7))
def test_every_row_passes_a_dry_run(
    number: int,
    preset: str,
    weights: dict[str, str],
    table: Path,
) -> None:
    of_table = [item for item in OWN if item.table == number and not item.same_as]
    # Rows that differ in the data set alone are the same model.
    different = {(resolve(item, preset).digest, item.data_set.task): item for item in of_table}
    for item in different.values():
        lines = list(script.plan(job(item, preset, weights, (table,))))
        assert all(is_fine for is_fine, _ in lines), item.name
        shown = "\n".join(line for _, line in lines)
        assert f"the paper: {item.paper:.2f}" in shown
        assert f"preset {preset}: " in shown
        assert "NOT" not in shown
        assert "8 train, 6 test" in shown or "6 test, 8 train" in shown
        assert f"4 labels in split train, {item.data_set.title} has" in shown
        assert "GFLOPs forward" in shown
        assert "14 of 14 videos exist" in shown
        assert "  fits: " in shown


def test_dry_run_says_what_is_not_at_hand_and_exits_2(
    weights: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = find_experiment("table1/hockey_timesformer_mmq")
    missing = {**weights, "timesformer": str(tmp_path / "nowhere")}
    assert script.main(arguments(item, missing, "--dry-run")) == 2
    shown = capsys.readouterr().out
    assert f"video encoder: {tmp_path / 'nowhere'}: NOT AT HAND" in shown
    assert "image encoder" in shown
    assert "TimeSformer weights: CC-BY-NC 4.0" in shown
    assert "modified: train.epochs=1" in shown
    assert "data: not given" in shown
    assert "could NOT start" in shown
    assert script.main(arguments(item, weights, "--dry-run")) == 0


def test_supervised_row_is_trained_measured_and_shown(
    weights: dict[str, str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "table1/animal_kingdom_timesformer_mmq"
    out = tmp_path / "runs" / "ak"
    found = run(name, weights, out, "--data", str(table), num_frames=4)
    assert (found["experiment"], found["preset"]) == (name, "default")
    assert found["paper"]["percent"] == 73.10
    assert [(item["protocol"], item["metric"]) for item in found["measured"]] == [
        ("standard", "macro_map"),
        ("reference_micro_ap", "reference_micro_ap"),
    ]
    assert [item["num_rows"] for item in found["measured"]] == [[6], [6]]
    assert [item["is_reference"] for item in found["measured"]] == [False, True]
    assert found["label_splits"] == []
    assert "protocol of the paper's released code" in capsys.readouterr().err
    test = read_table(table).select("test")
    backend = Predictor.from_pretrained(str(out / "part-1"), device="cpu").backend
    assert set(backend.labels) == set(GREY_LEVELS)
    scores, targets = score_rows(test, backend), test.targets(backend.labels)
    expected = [
        average_precision_score(targets[:, k], scores[:, k])
        for k in range(len(backend.labels))
        if targets[:, k].any()
    ]
    assert found["measured"][0]["value"] == pytest.approx(np.mean(expected))
    # 6 rows are one batch of 8, so the released code's figure is micro AP.
    micro = average_precision_score(targets.ravel(), scores.ravel())
    assert found["measured"][1]["value"] == pytest.approx(micro)

    for change in ("arch.width=16", "train.epochs=1", "8 of 24004 train rows", "4 of 140 labels"):
        assert change in found["modified"]
    assert not any(item.startswith("train.num_workers") for item in found["modified"])
    assert found["settings"]["train.validation_share"] == 0.0
    assert found["data"][0]["train_rows"] == 8
    assert any(line.startswith("TimeSformer weights: CC-BY-NC") for line in found["licences"])
    model = MSQNet.from_pretrained(out / "part-1" / "best")
    assert model.config.provenance["experiment"] == name
    assert sum(model.config.train_positive_windows) == 8

    assert table_script.main(["4", "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert f"standard macro_map {100 * np.mean(expected):.2f} (modified: " in shown
    again = arguments(
        find_experiment(name), weights, "--data", str(table), "--out", str(out), num_frames=4
    )
    assert script.main(again) == 2
    assert "holds a run; continue it with --resume true" in capsys.readouterr().err


@pytest.mark.slow
def test_reference_preset_is_measured_by_the_oracle_where_times_are_given(
    weights: dict[str, str], table: Path, tmp_path: Path
) -> None:
    timed = write_split_table(table.parent / "timed.csv", num_train=8, num_test=6, seconds=True)
    options = ("--preset", "reference", "--data", str(table), "--train.samples_per_epoch", "8")
    found = run("table5/charades_8_frames", weights, tmp_path / "no_times", *options)
    values = {item["metric"]: item["value"] for item in found["measured"]}
    assert values["reference_micro_ap"] is None
    assert "--times" in found["measured"][2]["note"]
    assert found["settings"]["arch.frame_pooling"] == "flat"
    more = (*options, "--times", str(timed))
    found = run("table5/charades_8_frames", weights, tmp_path / "times", *more)
    assert all(0 < item["value"] <= 1 for item in found["measured"])
    assert "ORACLE" in found["measured"][2]["definition"]


@pytest.mark.slow
def test_three_official_splits_give_their_mean(
    weights: dict[str, str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "table2/hmdb51_timesformer_mmq"
    found = run(name, weights, tmp_path, "--data", *[str(table)] * 3, num_frames=4)
    top_1 = found["measured"][0]
    assert len(top_1["parts"]) == 3
    assert top_1["value"] == pytest.approx(np.mean(top_1["parts"]))
    assert top_1["deviation"] == pytest.approx(np.std(top_1["parts"], ddof=1))
    assert (tmp_path / "part-3" / "best").is_dir()
    options = ("--data", *[str(table)] * 3, "--resume")
    assert run(name, weights, tmp_path, *options, num_frames=4) == found
    arguments_of_four = [name, "--out", "x", "--data", *["a.csv"] * 4]
    assert script.main(arguments_of_four) == 2
    assert "takes 3" in capsys.readouterr().err


@pytest.mark.slow
def test_zero_shot_row_is_the_mean_over_splits_of_the_labels(
    weights: dict[str, str], table: Path, tmp_path: Path
) -> None:
    options = ("--data", str(table), "--num-splits", "2")
    name = "table3/thumos14_50_text"
    found = run(name, weights, tmp_path, *options, num_frames=4, prompts="none")
    values = {item["metric"]: item for item in found["measured"]}
    assert set(values) == {
        *("unseen", "chance_unseen", "generalised_seen", "generalised_unseen", "harmonic")
    }
    assert values["chance_unseen"]["value"] == 0.5
    assert len(values["unseen"]["parts"]) == 2
    assert 0 <= values["unseen"]["value"] <= 1
    assert "2 of 10 splits of the labels" in found["modified"]
    splits = json.loads((tmp_path / "splits.json").read_text())
    assert [len(split["seen"]) for split in splits] == [2, 2]
    assert found["label_splits"] == splits
    assert splits[0]["origin"] == "random, seed 0, number 0, 0.5 seen"
    # What was trained, not the full model that the variant is taken from.
    trained = MSQNet.from_pretrained(tmp_path / "split_0" / "open_text" / "best").config
    settings = found["settings"]
    assert settings["variant"] == "open_text"
    assert (settings["arch.video_query"], trained.video_query) == ("none", "none")
    assert (settings["arch.head"], trained.head) == ("cosine", "cosine")


@pytest.mark.slow
def test_published_splits_are_recorded_and_another_share_is_a_change(
    weights: dict[str, str], table: Path, tmp_path: Path
) -> None:
    entries = [
        {
            "name": "by_hand",
            "origin": "published list",
            "seen": ["Black", "dark", "light"],
            "unseen": ["white"],
        }
    ]
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(entries))
    options = ("--data", str(table), "--split-lists", str(lists), "--out", str(tmp_path / "run"))
    name = "table3/thumos14_50_vanilla"
    argv = arguments(find_experiment(name), weights, *options, num_frames=4, prompts="none")
    assert script.main(argv) == 0
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["label_splits"] == [{**entries[0], "seen": ["black", "dark", "light"]}]
    assert "3 of 4 labels seen (75% instead of 50%)" in found["modified"]
    assert "1 of 10 splits of the labels" in found["modified"]
    assert found["settings"]["arch.text_encoder"] == "random"
    assert not any("CLIP" in line for line in found["licences"])


def test_split_lists_of_the_rows_share_are_no_change() -> None:
    def modified(name: str, num_seen: int, num_labels: int) -> list[str]:
        names = tuple(f"label {number}" for number in range(num_labels))
        split = LabelSplit(names[:num_seen], names[num_seen:], "split", "published")
        item = find_experiment(name)
        whole = script.Job(item, "default", resolve(item), (), Path("unused"))
        return replace(whole, split_lists=(split,) * 10).modified

    assert modified("table3/thumos14_75_full", 15, 20) == []
    assert modified("table3/charades_50_full", 78, 157) == []
    assert modified("table3/charades_50_full", 79, 157) == []
    assert modified("table3/thumos14_75_full", 10, 20) == [
        "10 of 20 labels seen (50% instead of 75%)"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table4/animal_kingdom_videomae", "table6/charades_bert"])
def test_other_encoders_run(
    name: str, weights: dict[str, str], table: Path, tmp_path: Path
) -> None:
    found = run(name, weights, tmp_path, "--data", str(table), num_frames=4)
    assert 0 < found["measured"][0]["value"] <= 1


def test_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(item.name in shown for item in experiments().values())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name a row"),
        (["table1/charades_mvit"], "there is nothing to run"),
        (["table1/charade_mvit"], "did you mean table1/charades_mvit"),
        (["table1/charades_timesformer_mmq"], "--data: name the table of Charades"),
        (["table1/charades_timesformer_mmq", "--out", "x"], "msqnet convert --from charades"),
        (["table1/charades_timesformer_mmq", "--preset", "paper"], "preset"),
    ],
)
def test_wrong_usage_says_what_to_do(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(argv) == 2
    assert words in capsys.readouterr().err


def test_settings_in_a_file_start_from_the_row(
    weights: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "dry_run: true\n"
        f"arch:\n  video_weights: {weights['timesformer']}\n  text_encoder: {weights['clip']}\n"
        "  size_pixels: 32\n  decoder_layers: 1\n"
    )
    assert (
        script.main(
            ["table1/thumos14_timesformer_text", "--preset", "reference", "--config", str(path)]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "arch.frame_pooling: flat" in shown
    assert "arch.video_query: none" in shown
    assert "modified: arch.decoder_layers=1" in shown
    assert "a misprint" in shown


def test_unreadable_test_video_stops_before_training(
    weights: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    (tmp_path / "grey5.mov").write_bytes(b"no video")
    item = find_experiment("table1/hockey_timesformer_text")
    argv = arguments(item, weights, "--data", str(path), "--out", str(tmp_path / "run"))
    assert script.main(argv) == 1
    assert "1 errors (row 7" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
