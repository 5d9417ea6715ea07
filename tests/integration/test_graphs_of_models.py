"""The graphs beside the shipped model: the same scores, with few packages, and never stale."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from msqnet.config import ModelOptions
from msqnet.demo import FOLDER
from msqnet.errors import CheckpointError, ConfigError
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import is_exported
from msqnet.inference.predictor import Predictor, load_backend
from msqnet.inference.torch_backends import TorchBackend
from msqnet.models import changed_model, model_folder
from msqnet.models.card import change_config
from msqnet.process import multiplies_int8
from msqnet.video.reader import VIDEO_SUFFIXES
from tests.fixtures.graphs import operators_as_run

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-5  # as docs/how-to/export.md states of this model
INT8_MEAN_DIFFERENCE = 0.02  # of a clip; over those of a split it is 0.004
LIGHT = """
import sys

lacking = (
    *("torch", "transformers", "accelerate", "kornia", "scipy", "huggingface_hub"),
    *("pandas", "pyarrow", "matplotlib", "typeshed_client"),
)
sys.modules.update(dict.fromkeys(lacking))
from msqnet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_way_to_an_answer_needs_what_is_always_installed(tmp_path: Path) -> None:
    clip, out = str(FOLDER / "rat_washing.mp4"), str(tmp_path / "out")
    for arguments in (
        ("predict", clip, "--out", out, "--overlay"),
        ("report", out),
        ("convert", "--from", "predictions", "--input", out, "--out", str(tmp_path / "o.csv")),
        ("batch", "run", "--inputs", clip, "--out", str(tmp_path / "batch")),
        ("doctor", "--offline"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    scores = pq.read_table(tmp_path / "out" / "rat_washing.mp4.scores.parquet")
    assert scores.column_names[:2] == ["start_seconds", "end_seconds"]


def test_what_else_is_needed_is_named(tmp_path: Path) -> None:
    clip, out = str(FOLDER / "rat_washing.mp4"), str(tmp_path / "out")
    (tmp_path / "list.parquet").touch()
    for arguments, extra in (
        (("explain", clip, "--labels", "grooming", "--out", out), "train"),
        (("predict", clip, "--out", out, "--labels", "dog jumping", "--yes"), "train"),
        (("predict", clip, "--out", out, "--model", "clip-base", "--labels", "a|b"), "train"),
        (("models", "--fetch", "siglip2-base"), "train"),
        (("predict", clip, "--out", out, "--figure"), "figures"),
        (("predict", str(tmp_path / "list.parquet"), "--out", out), "pandas"),
    ):
        refused = run(*arguments)
        assert refused.returncode == 1, arguments
        assert f"pip install 'msqnet[{extra}]'" in refused.stderr
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def both() -> tuple[Predictor, Predictor]:
    """The shipped model by its graphs in float32, and in PyTorch."""
    graphs = Predictor.from_pretrained(precision="fp32")
    pytorch = Predictor.from_pretrained(runtime="torch")
    assert isinstance(graphs.backend, ExportedBackend)
    assert isinstance(pytorch.backend, TorchBackend)
    return graphs, pytorch


def largest_difference(both: tuple[Predictor, Predictor], path: Path) -> float:
    """Of scores and distances of the windows of a video; the segments have to be the same."""
    found, expected = (predictor(path) for predictor in both)
    assert [item.label for item in found.segments] == [item.label for item in expected.segments]
    differences = [0.0]
    for window, other in zip(found.windows, expected.windows, strict=True):
        assert window.start_seconds == other.start_seconds
        differences.append(float(np.abs(window.scores - other.scores).max()))
        differences.append(abs((window.distance or 0.0) - (other.distance or 0.0)))
    return max(differences)


@pytest.mark.parametrize("name", [path.name for path in sorted(FOLDER.glob("*.mp4"))])
def test_scores_are_those_of_pytorch(name: str, both: tuple[Predictor, Predictor]) -> None:
    assert largest_difference(both, FOLDER / name) <= TOLERANCE


@pytest.mark.skipif(not multiplies_int8(), reason="this processor is not fast at int8")
@pytest.mark.parametrize("name", [path.name for path in sorted(FOLDER.glob("*.mp4"))])
def test_int8_is_the_default_and_lies_close(name: str, both: tuple[Predictor, Predictor]) -> None:
    found, expected = Predictor.from_pretrained()(FOLDER / name), both[0](FOLDER / name)
    assert found.provenance["model"]["exported"]["precision"] == "int8"
    assert found.provenance["config_digest"] == expected.provenance["config_digest"]
    assert found.provenance["model"] != expected.provenance["model"]
    assert {item.label for item in found.segments} == {item.label for item in expected.segments}
    scores, others = (np.stack([w.scores for w in item.windows]) for item in (found, expected))
    assert 0 < np.abs(scores - others).mean() < INT8_MEAN_DIFFERENCE


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_scores_of_every_real_clip_are_those_of_pytorch(
    real_data: Path, both: tuple[Predictor, Predictor]
) -> None:
    found = sorted(path for path in real_data.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    differences = {path: largest_difference(both, path) for path in found}
    assert {path: value for path, value in differences.items() if value > TOLERANCE} == {}
    assert len(found) > 700


def test_the_frame_graph_has_no_slow_steps(tmp_path: Path) -> None:
    operators = operators_as_run(model_folder() / "frame_graph.onnx", tmp_path)
    assert "Conv" in operators
    assert "Clip" not in operators, "ONNX Runtime takes half as long again"
    assert "Where" not in operators, "pooling over areas gathers and masks"


def test_graphs_of_other_settings_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder(), folder)
    assert not is_exported(folder)
    assert isinstance(load_backend(ModelOptions(str(folder))), ExportedBackend)
    change_config(folder, {"window_seconds": 3.0})
    with caplog.at_level(logging.WARNING):
        assert isinstance(load_backend(ModelOptions(str(folder))), TorchBackend)
    assert "computing in PyTorch, which is slower" in caplog.text
    assert "config.json" in caplog.text
    with pytest.raises(CheckpointError, match=r"config\.json: found SHA-256"):
        load_backend(ModelOptions(str(folder), runtime="onnxruntime"))


def test_what_graphs_do_not_do_is_done_in_pytorch() -> None:
    for options in (ModelOptions(runtime="torch"), ModelOptions(precision="bf16")):
        assert isinstance(load_backend(options), TorchBackend)
    some = load_backend(ModelOptions(labels=("walking", "grooming")))
    assert isinstance(some, ExportedBackend)
    assert some.labels.names == ("walking", "grooming")


def test_a_changed_copy_has_no_graphs(tmp_path: Path) -> None:
    with changed_model(model_folder(), tmp_path / "copy", overwrite=False) as draft:
        assert not list(draft.glob("*.onnx"))
    assert isinstance(load_backend(ModelOptions(str(tmp_path / "copy"))), TorchBackend)
    with pytest.raises(ConfigError, match="holds no graphs; make them first: msqnet export"):
        load_backend(ModelOptions(str(tmp_path / "copy"), runtime="openvino"))
