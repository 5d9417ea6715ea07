from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table, write_table
from msqnet.evaluation.recalibration import Calibration
from msqnet.evaluation.views import row_outputs, score_rows
from msqnet.inference.torch_backends import TorchBackend
from msqnet.metrics.evidence import LabelEvidence
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.out_of_distribution import REFERENCE_FILE
from msqnet.model.pretrained import MSQNet
from tests.fixtures.models import tiny_model
from tests.fixtures.tables import write_brightness_table

if TYPE_CHECKING:
    from pathlib import Path

NUM_VIDEOS = 12
QUICK = ("--num_bootstrap", "20", "--min_windows", "2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark videos in turn, each a group of its own."""
    folder = tmp_path_factory.mktemp("videos")
    path = folder / "val.csv"
    write_table(write_brightness_table(folder, NUM_VIDEOS).records, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows bright, dark, and a label that the table never says."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny_model(
        "lite",
        labels=["bright", "dark", "asleep"],
        thresholds=[0.5, 0.5, 0.6],
        window_seconds=0.8,
        evidence=[asdict(LabelEvidence("untested", reason="not looked for"))] * 3,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def calibrated(model: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one call wrote."""
    out = tmp_path_factory.mktemp("calibrated") / "model"
    arguments = ["--data", str(table), "--training_data", str(table), "--out", str(out)]
    assert main(["calibrate", "--model", str(model), *arguments, *QUICK]) == 0
    return out


def test_only_the_calibration_of_the_model_is_another(model: Path, calibrated: Path) -> None:
    before, after = (
        json.loads((folder / "config.json").read_text()) for folder in (model, calibrated)
    )
    weights = [(folder / "model.safetensors").read_bytes() for folder in (model, calibrated)]

    changed = {name for name in after if before.get(name) != after[name]}

    assert weights[0] == weights[1]
    assert changed == {
        *("calibration_scale", "calibration_bias", "thresholds", "evidence", "provenance")
    }
    record = after["provenance"]["calibration"]
    assert (record["data"], record["num_windows"], record["num_groups"]) == ("val.csv", 12, 12)
    assert record["labels"] == ["bright", "dark"]


def test_evidence_of_fitted_labels_is_what_the_rows_show(calibrated: Path) -> None:
    bright, dark, asleep = MSQNetConfig.from_pretrained(calibrated).evidence or ()

    assert (bright["num_groups"], dark["num_groups"]) == (6, 6)
    assert {bright["status"], dark["status"]} <= {"reliable", "weak"}
    assert bright["chance"] == pytest.approx(6 / 11, abs=1e-4)  # one row does not say
    assert asleep["reason"] == "not looked for"


def test_label_that_the_rows_never_show_has_what_it_had(model: Path, calibrated: Path) -> None:
    before, after = (MSQNetConfig.from_pretrained(folder) for folder in (model, calibrated))

    for name in ("calibration_scale", "calibration_bias", "thresholds"):
        assert getattr(before, name)[2] == getattr(after, name)[2], name
    figures = json.loads((calibrated / "calibration" / "calibration.json").read_text())
    assert "0 known positive windows" in figures["labels"][2]["kept"]


def test_predictions_use_what_was_fitted(model: Path, calibrated: Path, table: Path) -> None:
    rows = read_table(table)
    logits, _ = row_outputs(rows, MSQNet.from_pretrained(model), device="cpu")
    stored = Calibration.of_model(MSQNetConfig.from_pretrained(calibrated))
    backend = TorchBackend.from_pretrained(calibrated, "cpu")

    scores = score_rows(rows, backend)

    assert scores == pytest.approx(stored.scores(logits.astype(np.float64)), abs=1e-5)
    assert backend.thresholds == pytest.approx(stored.thresholds)
    assert backend.provenance["calibration"]["data"] == "val.csv"


def test_figures_and_plot_lie_beside_the_model(calibrated: Path) -> None:
    folder = calibrated / "calibration"
    figures = json.loads((folder / "calibration.json").read_text())

    assert {path.name for path in folder.iterdir()} == {"calibration.json", "reliability.png"}
    assert figures["settings"]["method"] == "platt"
    assert figures["settings"]["min_precision"] == 0.5
    assert set(figures["overall"]) == {"expected_calibration_error", "brier_score", "macro_f1"}
    assert sum(figures["bins"]["after"]["count"]) == NUM_VIDEOS * 2 - 1
    assert (folder / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_training_rows_are_kept_for_the_warning_score(calibrated: Path) -> None:
    backend = TorchBackend.from_pretrained(calibrated, "cpu")

    assert (calibrated / REFERENCE_FILE).is_file()
    assert backend.training_reference is not None
    assert len(backend.training_reference.distances) == NUM_VIDEOS


def test_figures_are_printed_with_what_was_kept(
    model: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", "--model", str(model), "--data", str(table), *QUICK]
    precise = ["--thresholds", "precision", "--min_precision", "0.6", "--method", "temperature"]

    assert main([*arguments, *precise, "--out", str(tmp_path / "new")]) == 0

    printed = capsys.readouterr().out
    assert "12 windows of 12 groups; after: held out by groups" in printed
    assert "calibration error (ECE): before 0." in printed
    assert "kept: asleep: 0 known positive windows, expected at least 2" in printed
    assert "note: fewer than 20 positive windows" in printed


def test_own_folder_is_changed_only_where_that_is_said(
    model: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    arguments = ["calibrate", "--model", str(copy), "--data", str(table), *QUICK]

    assert main(arguments) == 2
    assert "the model itself; name a new folder with --out" in capsys.readouterr().err
    assert MSQNetConfig.from_pretrained(copy).provenance == {}

    assert main([*arguments, "--overwrite"]) == 0
    assert MSQNetConfig.from_pretrained(copy).provenance["calibration"]["data"] == "val.csv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to do: name rows to calibrate on with --data"),
        (["--split", "val"], "nothing to do"),
        (["--data", "{table}", "--training_split", "train"], "name it with --training-data"),
        (["--data", "{table}", "--model", "clip-zero-shot:any"], "training-free baseline has no"),
        (["--data", "{table}", "--model", "{exported}"], "an exported model, whose calibration"),
        (["--data", "{table}", "--min_precision", "1.5"], "min_precision 1.5: expected 0 to 1"),
        (["--data", "{table}", "--num_folds", "1"], "num_folds 1: expected at least 2"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    options: list[str],
    message: str,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exported = tmp_path / "exported"
    if "{exported}" in options:
        exported.mkdir()
        (exported / "manifest.json").write_text("{}")
    given = [option.format(table=table, exported=exported) for option in options]

    assert main(["calibrate", "--out", str(tmp_path / "new"), *given]) == 2

    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_model_of_the_package_needs_a_folder_to_go_to(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--data", str(table), "--overwrite"]) == 2

    assert "is not a folder of yours; name a new one" in capsys.readouterr().err


def test_rows_of_one_group_are_refused(
    model: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [replace(record, group="one") for record in read_table(table).records]
    path = table.with_name("one.csv")
    write_table(records, path)
    out = tmp_path / "new"
    arguments = ["calibrate", "--model", str(model), "--out", str(out)]

    assert main([*arguments, "--data", str(path)]) == 1
    assert "all 12 rows are of one group, 'one'" in capsys.readouterr().err
    assert main([*arguments, "--training_data", str(path)]) == 2
    assert "all rows are of one group; expected at least 2" in capsys.readouterr().err
    assert not out.exists()
