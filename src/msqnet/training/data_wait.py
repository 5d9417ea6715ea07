"""How long training waited for its data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True)
class DataWait:
    """Time that passes in epochs; validation and saving are not part of it.

    On a GPU the waiting is an upper bound: the device may still be busy with earlier steps.

    Attributes:
        waited_seconds: in which no step could begin because its batch was not there.
        training_seconds: all of it, the waiting too.
    """

    waited_seconds: float = 0.0
    training_seconds: float = 0.0

    def __add__(self, other: DataWait) -> DataWait:
        return DataWait(
            self.waited_seconds + other.waited_seconds,
            self.training_seconds + other.training_seconds,
        )

    @property
    def share(self) -> float:
        """Of the waiting, 0 to 1; 0 where nothing was trained."""
        return self.waited_seconds / self.training_seconds if self.training_seconds else 0.0

    def __str__(self) -> str:
        return (
            f"waited for data {self.share:.0%} of the training time "
            f"({self.waited_seconds:.1f} of {self.training_seconds:.1f} s)"
        )


class StopWatch(TrainerCallback):
    """Measures a `DataWait`.

    Attributes:
        epochs: one for each epoch that ended.
    """

    def __init__(self) -> None:
        self.epochs: list[DataWait] = []
        self._waited = 0.0
        self._began = 0.0

    @property
    def total(self) -> DataWait:
        """Of all epochs together."""
        return sum(self.epochs, DataWait())

    def watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; the time until each is there is counted."""
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - asked
            yield batch

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start."""
        self._waited, self._began = 0.0, time.perf_counter()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the epoch."""
        self.epochs.append(DataWait(self._waited, time.perf_counter() - self._began))
