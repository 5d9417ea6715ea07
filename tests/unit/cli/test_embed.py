"""`msqnet embed`: figure, rows and numbers, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from msqnet.cli import main as cli
from tests.fixtures.models import tiny_model
from tests.fixtures.tables import write_split_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_split_table(tmp_path / "clips.csv", num_train=2, num_test=12)


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    """Folders of a tiny model with a video query and of one without."""
    full, text = tmp_path / "full", tmp_path / "text"
    tiny_model("lite").save_pretrained(full)
    tiny_model("lite", video_query="none", direct_path=False).save_pretrained(text)
    return str(full), str(text)


def test_decoder_that_has_no_part_in_the_scores_is_said(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model("lite", query_share=1.0).save_pretrained(tmp_path / "direct")
    argv = ["embed", "--data", str(table), "--model", str(tmp_path / "direct"), "--split", "test"]
    assert cli.main([*argv, "--map.num_neighbours", "1", "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "note: the direct path gives all scores of direct; its decoder does not take" in said


def test_two_models_and_a_table_become_three_panels(
    table: Path, models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    full, text = models
    options = ["--split", "test", "--map.num_neighbours", "1", "--map.seed", "3", "--format", "svg"]
    argv = ["embed", "--data", str(table), "--model", full, "--text_model", text]

    assert cli.main([*argv, *options, "--out", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    numbers = json.loads((out / "embedding_map.json").read_text())
    assert [panel["model"]["name"] for panel in numbers["panels"]] == ["full", "text", "full"]
    assert numbers["settings"]["seed"] == 3
    assert numbers["num_rows"] == 12
    for panel in numbers["panels"]:
        assert f"{panel['neighbour_accuracy']:.3f}" in printed
        assert len(panel["model"]["weights_digest"]) == 16
    assert "multi-modal queries less before the decoder: 1-NN accuracy " in printed
    assert numbers["definitions"]["neighbour_accuracy"] in printed
    rows = pq.read_table(out / "embeddings.parquet")
    assert rows["row"].to_pylist() == list(range(4, 16))
    assert "<svg" in (out / "embedding_map.svg").read_text()
    assert sorted(path.name for path in out.iterdir()) == [
        "embedding_map.json",
        "embedding_map.svg",
        "embeddings.parquet",
    ]


@pytest.mark.slow
def test_same_command_gives_the_same_map(
    table: Path, models: tuple[str, str], tmp_path: Path
) -> None:
    outs = [tmp_path / name for name in ("first", "second")]
    for out in outs:
        argv = ["embed", "--data", str(table), "--model", models[0], "--map.num_resamples", "0"]
        assert cli.main([*argv, "--out", str(out), "--device", "cpu"]) == 0
    for name in ("embedding_map.png", "embedding_map.json", "embeddings.parquet"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()


def test_too_few_rows_end_with_a_message(
    table: Path, models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", "--data", str(table), "--model", models[0], "--split", "train"]

    assert cli.main([*argv, "--out", str(tmp_path / "out")]) == 1
    assert "2 row(s) chosen, expected at least 10" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_without_labels_end_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("path,labels\n" + "".join(f"{index}.mp4,\n" for index in range(12)))

    assert cli.main(["embed", "--data", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "none of the 12 chosen rows has a label" in capsys.readouterr().err


def test_text_model_that_knows_the_video_is_wrong_usage(
    table: Path, models: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", "--data", str(table), "--model", models[0], "--text_model", models[0]]

    assert cli.main([*argv, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "--arch.video-query none" in capsys.readouterr().err


def test_more_names_than_colours_are_wrong_usage(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", "--data", str(table), "--out", str(tmp_path / "out"), "--num_named", "9"]

    assert cli.main(argv) == 2
    assert "num_named 9" in capsys.readouterr().err
