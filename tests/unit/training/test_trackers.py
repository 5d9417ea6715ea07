"""What a run reports to TensorBoard, Weights & Biases and MLflow, and what it says without them."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.config import TrainConfig
from msqnet.errors import ConfigError, TrainingError
from msqnet.training.fit import fit
from msqnet.training.trackers import reports_of, tracker_name
from tests.fixtures.tables import write_brightness_table
from tests.fixtures.training_runs import lite_run

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable

NUM_VIDEOS = 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ClipTable:
    return write_brightness_table(tmp_path_factory.mktemp("videos"), NUM_VIDEOS)


def validation_of(folder: Path) -> dict[str, float]:
    """What `validation.json` says, by the names of the metrics that are reported."""
    found = json.loads((folder / "validation.json").read_bytes())
    by_label = {f"validation/ap/{name}": value for name, value in found["label_ap"].items()}
    return {"validation/macro_map": found["macro_map"], **by_label}


def in_tensorboard(folder: Path) -> tuple[dict[str, list[float]], str]:
    """Scalars by tag, and the settings, as TensorBoard reads them."""
    reader: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    text = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    scalars = {
        tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    return scalars, text


def test_folds_the_model_and_the_results_are_in_one_folder_for_tensorboard(
    table: ClipTable, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    fit(lite_run(table, tmp_path, decoder_rows=0), report=lambda _line: None)
    scalars, settings = in_tensorboard(tmp_path)
    for group in ("fold-1", "fold-2", "training"):
        assert len(scalars[f"{group}/loss"]) == 2, group
    for name, value in validation_of(tmp_path).items():
        assert scalars[name] == [pytest.approx(value)], name
    assert "decoder_rows: 0" in settings


def test_run_that_only_fits_the_direct_path_reports_its_results(
    table: ClipTable, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    fit(lite_run(table, tmp_path, decoder_rows=NUM_VIDEOS + 1), report=lambda _line: None)
    scalars, _ = in_tensorboard(tmp_path)
    assert {name.partition("/")[0] for name in scalars} == {"validation"}
    assert scalars["validation/macro_map"] == [
        pytest.approx(validation_of(tmp_path)["validation/macro_map"])
    ]


@pytest.mark.filterwarnings("ignore")  # of its own libraries
def test_mlflow_gets_one_run_with_name_settings_folds_and_results(
    table: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    run = lite_run(table, tmp_path / "mine", decoder_rows=0, report_to="mlflow")
    fit(run, report=lambda _line: None)
    (found,) = mlflow.search_runs(experiment_names=["msqnet"], output_format="list")
    assert (found.info.run_name, found.info.status) == ("mine", "FINISHED")
    assert found.data.params["train.decoder_rows"] == "0"
    assert {"fold-1/loss", "fold-2/loss", "training/loss"} <= found.data.metrics.keys()
    for name, value in validation_of(run.folder).items():
        assert found.data.metrics[name] == pytest.approx(value)


@pytest.mark.filterwarnings("ignore")  # of its own libraries
def test_wandb_gets_one_run_with_name_settings_folds_and_results(
    table: ClipTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run = lite_run(table, tmp_path / "mine", decoder_rows=0, report_to="wandb")
    seen: list[Any] = []
    finish = wandb.Run.finish
    monkeypatch.setattr(
        wandb.Run,
        "finish",
        lambda self, **how: (
            seen.append((self.name, self.project, dict(self.config), dict(self.summary), how)),
            finish(self, **how),
        ),
    )
    fit(run, report=lambda _line: None)
    ((name, project, settings, summary, how),) = seen
    assert (name, project, how) == ("mine", "msqnet", {"exit_code": 0})
    assert settings["train"]["decoder_rows"] == 0
    assert {"fold-1/loss", "fold-2/loss", "training/loss"} <= summary.keys()
    for metric, value in validation_of(run.folder).items():
        assert summary[metric] == pytest.approx(value)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


class WandbError(Exception):
    """Stands for the errors of W&B."""


class OutsideRun:
    """A run of a W&B whose server may be away."""

    def __init__(self, run_id: str, is_away: bool) -> None:
        self.id = run_id
        self.config: dict[str, Any] = {}
        self.is_away = is_away
        self.exit_codes: list[int] = []

    def define_metric(self, name: str, step_metric: str) -> None:
        pass

    def log(self, values: dict[str, float]) -> None:
        if self.is_away:
            raise WandbError("no answer")

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A W&B outside of this machine: its begun runs, and what it raises."""
    state = SimpleNamespace(asked=[], runs=[], fails=None, is_away=False)
    module: Any = ModuleType("wandb")
    module.__spec__ = SimpleNamespace(origin="wandb/__init__.py")
    module.Error, module.run = WandbError, None

    def init(**asked: Any) -> OutsideRun:
        if state.fails is not None:
            raise state.fails
        state.asked.append(asked)
        state.runs.append(OutsideRun(asked["id"] or f"id-{len(state.asked)}", state.is_away))
        return state.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return state


def test_tracker_that_does_not_start_is_named_before_the_folder_is_claimed(
    table: ClipTable, tmp_path: Path, outside: SimpleNamespace
) -> None:
    outside.fails = WandbError("no API key")
    run = lite_run(table, tmp_path, report_to="wandb")
    with pytest.raises(ConfigError, match=r"report_to wandb: it did not start .*no API key.*none"):
        fit(run, report=lambda _line: None)
    assert not (tmp_path / "run.yaml").exists()


def test_run_goes_on_in_the_trackers_run_when_it_is_resumed(
    table: ClipTable, tmp_path: Path, outside: SimpleNamespace
) -> None:
    run = lite_run(table, tmp_path, report_to="wandb")
    with pytest.raises(TrainingError), reports_of(run, is_first=True):
        raise TrainingError
    with reports_of(run, is_first=True):
        pass
    assert [asked["id"] for asked in outside.asked] == [None, "id-1"]
    assert [begun.exit_codes for begun in outside.runs] == [[1], [0]]


def test_tracker_out_of_reach_is_told_once_and_training_goes_on(
    table: ClipTable,
    tmp_path: Path,
    outside: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside.is_away = True
    run = lite_run(table, tmp_path, report_to="wandb")
    with caplog.at_level(logging.WARNING), reports_of(run, is_first=True) as reports:
        reports.log("training", {"loss": 1.0}, 1)
        reports.log("training", {"loss": 0.5}, 2)
    (said,) = caplog.messages
    assert said.startswith("Wandb: no answer; nothing more is reported there")
    assert outside.runs[0].exit_codes == [0]


def test_other_processes_of_a_run_report_nothing(
    table: ClipTable, tmp_path: Path, outside: SimpleNamespace
) -> None:
    with reports_of(lite_run(table, tmp_path, report_to="wandb"), is_first=False) as reports:
        reports.log("training", {"loss": 1.0}, 1)
    assert not outside.asked


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_tracker_that_is_not_installed_is_named_with_its_package(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What W&B leaves where it was called from is a folder, not the package.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for absent in ("wandb", "tensorboard"):
        (tmp_path / absent).mkdir()
        monkeypatch.delitem(sys.modules, absent, raising=False)
    package = {"tensorboard": r"'msqnet\[train\]'"}.get(name, name)
    with pytest.raises(ConfigError, match=f"{name}: it is not installed; pip install {package},"):
        tracker_name(TrainConfig(report_to=name))
    assert tracker_name(TrainConfig(report_to="auto")) is None
    assert tracker_name(TrainConfig(report_to="none")) is None
