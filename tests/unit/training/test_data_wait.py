"""How long training waits: a slow data set shows, a fast one does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from msqnet.config import TrainConfig
from msqnet.training.trainer import DataWait, freeze, run_trainer
from tests.fixtures.models import NUM_FRAMES, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

NUM_CLIPS, NUM_EPOCHS = 4, 2


class Clips(torch.utils.data.Dataset[dict[str, Any]]):
    """Random features, each of which takes some seconds to come."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.epoch = 0
        self.labels = torch.eye(2).repeat(NUM_CLIPS // 2, 1)
        self.labels = torch.cat([self.labels, self.labels[:, :1]], dim=1)

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        time.sleep(self.seconds)
        return {
            "maps": torch.rand(2, NUM_FRAMES, 1, 320),
            "pooled": torch.rand(2, NUM_FRAMES, 1280),
            "labels": self.labels[index],
        }


def wait_of(folder: Path, seconds: float) -> DataWait:
    torch.set_num_threads(1)
    config = TrainConfig(epochs=NUM_EPOCHS, batch_size=2, folds=0, num_workers=0, precision="fp32")
    model, data = tiny_model("lite"), Clips(seconds)
    freeze(model, "after_trunk")
    trainer = run_trainer(model, data, data, config, folder, data.labels.numpy())
    return trainer.wait


def test_slow_data_are_waited_for_and_fast_ones_are_not(tmp_path: Path) -> None:
    slow, fast = wait_of(tmp_path / "slow", 0.1), wait_of(tmp_path / "fast", 0.0)
    # Validation sleeps as long again, which is no part of it.
    slept = 0.1 * NUM_CLIPS * NUM_EPOCHS
    assert slept <= slow.waited_seconds < 1.5 * slept
    assert slow.waited_seconds < slow.training_seconds
    assert slow.share > 0.5
    assert fast.waited_seconds < 0.1 * slept
    assert fast.share < 0.5


def test_batches_pass_the_watch_unchanged() -> None:
    assert list(DataWait().watched(iter("abc"))) == ["a", "b", "c"]


def test_error_of_the_data_passes_the_watch() -> None:
    def broken() -> Any:
        yield 1
        raise OSError("gone")

    batches = DataWait().watched(broken())
    assert next(batches) == 1
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_figure_is_said_in_one_line() -> None:
    both = DataWait()
    both.waited_seconds, both.training_seconds = 3.1, 25.6
    assert str(both) == "waited for data 12% of the training time (3.1 of 25.6 s)"
    assert DataWait().share == 0.0
