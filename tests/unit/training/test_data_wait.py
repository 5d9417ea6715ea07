"""How long training waits for data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from msqnet.config import TrainConfig
from msqnet.training import trainer
from msqnet.training.finetuning import freeze
from msqnet.training.trainer import DataWait, run_trainer
from tests.fixtures.models import NUM_FRAMES, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

NUM_CLIPS, NUM_EPOCHS = 4, 2
SECONDS = 0.5


class Clock:
    """Stands still but for the seconds that it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


class Clips(torch.utils.data.Dataset[dict[str, Any]]):
    """Random features, each of which takes some seconds to come."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.epoch = 0
        self.labels = torch.eye(2).repeat(NUM_CLIPS // 2, 1)
        self.labels = torch.cat([self.labels, self.labels[:, :1]], dim=1)

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.clock.seconds += SECONDS
        return {
            "maps": torch.rand(2, NUM_FRAMES, 1, 320),
            "pooled": torch.rand(2, NUM_FRAMES, 1280),
            "labels": self.labels[index],
        }


def test_time_until_data_of_an_epoch_are_there_is_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)
    config = TrainConfig(epochs=NUM_EPOCHS, batch_size=2, folds=0, num_workers=0, precision="fp32")
    model, data = tiny_model("lite"), Clips(clock)
    freeze(model, "after_trunk")
    wait = run_trainer(model, data, data, config, tmp_path, data.labels.numpy()).wait
    # Validation waits as long again, which is no part of it.
    assert clock.seconds == 2 * SECONDS * NUM_CLIPS * NUM_EPOCHS
    assert wait.waited_seconds == wait.training_seconds == SECONDS * NUM_CLIPS * NUM_EPOCHS
    assert wait.share == 1.0


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
