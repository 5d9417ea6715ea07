"""What a batch run is told reaches what predicts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from msqnet.batch.settings import ModelSettings
from msqnet.cli import batch, batch_progress
from msqnet.cli.main import main
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SETTINGS = ModelSettings(
    model="mine",
    labels=("dark", "two cats"),
    label_table="labels.csv",
    window=WindowConfig(2.0, 0.5, 3),
    segments=SegmentConfig(0.7, 0.25, 1.5),
    device="cpu",
    runtime="torch",
    precision="bf16",
    num_threads=2,
)
OPTIONS = {
    "model": "mine",
    "labels": "dark|two cats",
    "label_table": "labels.csv",
    "window_seconds": "2",
    "stride_seconds": "0.5",
    "batch_size": "3",
    "threshold": "0.7",
    "min_duration_seconds": "0.25",
    "max_gap_seconds": "1.5",
    "device": "cpu",
    "runtime": "torch",
    "precision": "bf16",
    "threads": "2",
}


def test_every_setting_differs_from_its_default() -> None:
    plain = ModelSettings()
    for field in fields(ModelSettings):
        assert getattr(SETTINGS, field.name) != getattr(plain, field.name), field.name


def test_settings_reach_the_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def from_pretrained(model: str | None, **settings: Any) -> None:
        seen.update(model=model, **settings)

    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(Predictor, "from_pretrained", from_pretrained)
    SETTINGS.load()
    assert threads == [2]
    names = {field.name for field in fields(ModelSettings)} - {"num_threads"}
    assert seen == {name: getattr(SETTINGS, name) for name in names}


def test_options_reach_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(batch, "_runner", lambda settings, *_: seen.append(settings))
    monkeypatch.setattr(batch_progress, "show_run", lambda *_: 0)
    video = write_video(tmp_path / "clip.mov", [10] * 10)
    options = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
    out = str(tmp_path / "out")
    assert main(["batch", "run", "--inputs", str(video), "--out", out, *options]) == 0
    assert seen[0].model == SETTINGS
