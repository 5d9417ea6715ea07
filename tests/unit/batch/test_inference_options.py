"""The options of a model reach what predicts, by every command that takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
import torch

from msqnet.batch import runners
from msqnet.batch.runners import load_predictor
from msqnet.cli import batch
from msqnet.cli.main import main
from msqnet.config import InferenceOptions, SegmentConfig, WindowConfig
from msqnet.errors import ConfigError
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = InferenceOptions(
    model="mine",
    labels="dark|two cats",
    label_table="labels.csv",
    prompts="people",
    contrast="default",
    device="cpu",
    runtime="torch",
    precision="bf16",
    window_seconds=2.0,
    stride_seconds=0.5,
    batch_size=3,
    fps=12.5,
    threshold=0.7,
    min_duration_seconds=0.25,
    max_gap_seconds=1.5,
    include_weak=True,
    ood="report",
)


def test_every_option_differs_from_its_default() -> None:
    plain = asdict(InferenceOptions())
    for name, value in asdict(OPTIONS).items():
        assert value != plain[name], name


def test_options_are_those_of_labels_windows_and_segments() -> None:
    assert OPTIONS.label_names == ("dark", "two cats")
    assert isinstance(OPTIONS, WindowConfig)
    assert isinstance(OPTIONS, SegmentConfig)
    assert InferenceOptions(labels=("a", "b")).label_names == ("a", "b")
    assert InferenceOptions().label_names is None


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="batch_size 0"):
        InferenceOptions(batch_size=0)
    with pytest.raises(ConfigError, match="threshold 2"):
        InferenceOptions(threshold=2)
    with pytest.raises(ConfigError, match="ood 'drop': expected one of hide, report, ignore"):
        InferenceOptions(ood="drop")  # type: ignore[arg-type]


def test_options_reach_the_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[InferenceOptions] = []
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # given back after the test
    monkeypatch.setattr(
        Predictor, "from_pretrained", lambda *, options: seen.append(options) or None
    )
    load_predictor(OPTIONS, 2)
    assert threads == [2]
    assert seen == [OPTIONS]


@pytest.mark.parametrize("kebab", [False, True])
def test_options_of_the_command_line_reach_a_batch_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kebab: bool
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        runners, "ProcessesRunner", lambda _settings, load, _num: seen.append(load.args[0])
    )
    monkeypatch.setattr(batch, "show_run", lambda *_: 0)
    video = write_video(tmp_path / "clip.mov", [10] * 10)
    options = [
        part
        for name, value in asdict(OPTIONS).items()
        for part in (f"--{name.replace('_', '-') if kebab else name}", str(value))
    ]
    out = str(tmp_path / "out")
    assert main(["batch", "run", "--inputs", str(video), "--out", out, *options]) == 0
    assert seen == [OPTIONS]
