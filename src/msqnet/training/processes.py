"""Several processes that train one model, and which rows each epoch shows them.

`torchrun` and `accelerate launch` start them and say in the environment how many there are. All
read the same rows and settings; the Trainer gives each its part of every batch and puts gradients
together. Of what is computed besides, features are shared out; the first process alone calibrates
and writes, into a folder that all of them see.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.utils.data import Dataset, Sampler

from msqnet.errors import ConfigError, DatasetError, TrainingError
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Processes wait for each other while one of them computes features. A process that dies does not
# make the others wait: what started them ends them all.
_LONGEST_WAIT = timedelta(hours=6)
_PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


@dataclass(frozen=True)
class Processes:
    """This process among those that train one model: its rank, from 0, and their count."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> Processes:
        """This process as the environment describes it; joins the others where there are any.

        A start in a way that is not data parallel is a `ConfigError`.
        """
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count <= 1:
            return cls()
        # Accelerate takes the CPU only if it is told to.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)
        if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise ConfigError(
                "FSDP: msqnet trains with whole copies of the model in each process (DDP); its "
                "models fit one device. Start without --use_fsdp"
            )
        if state.distributed_type not in _PLAIN:
            raise ConfigError(
                f"{state.distributed_type}: expected processes of one kind of device (DDP); start "
                "with torchrun, or with accelerate launch --multi_gpu"
            )
        if state.num_processes != count:
            raise ConfigError(
                f"found {state.num_processes} process, expected {count} (WORLD_SIZE); start them "
                "with torchrun or accelerate launch"
            )
        return cls(state.process_index, count)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            PartialState().wait_for_everyone()


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Raise a `TrainingError` where the loss of another process of this run ends the block."""
    try:
        yield
    except RuntimeError as error:
        is_lost = any(sign in str(error) for sign in ("gloo", "NCCL", "Connection closed by peer"))
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or not is_lost:
            raise
        raise TrainingError(
            "another process of this run ended; its own message, or the system's log (killed for "
            f"memory?), says why. Start the same command again with --resume. ({error})"
        ) from error


class PaddedRows(Dataset["dict[str, Any]"]):
    """Rows, and behind them repeats of the first ones of which nothing is known.

    The last batch of an epoch must be as long in every process. Repeats that counted would make the
    result depend on the number of processes; rows without a known label change neither the loss nor
    what it is divided by. The length becomes a multiple of ``multiple``.
    """

    def __init__(self, rows: Any, multiple: int):
        self.rows = rows
        self._length = -(-len(rows) // multiple) * multiple

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        count = len(self.rows)
        item: dict[str, Any] = self.rows[index % count]
        if index < count:
            return item
        return {**item, "labels": torch.full_like(item["labels"], UNKNOWN)}


class PaddedSampler(Sampler[int]):
    """An epoch in the order that one process would have, then the rows that fill the last batch.

    ``sampler`` gives the order and has an ``epoch``; ``num_rows`` is without padding.
    """

    def __init__(self, sampler: Any, num_rows: int, multiple: int):
        self._sampler = sampler
        self._num_rows = num_rows
        self._multiple = multiple

    def __len__(self) -> int:
        return -(-len(self._sampler) // self._multiple) * self._multiple

    def __iter__(self) -> Iterator[int]:
        # `SeedableRandomSampler` moves its epoch on by itself; the epoch is set before each pass.
        epoch = self._sampler.epoch
        yield from self._sampler
        self._sampler.epoch = epoch
        for number in range(len(self) - len(self._sampler)):
            yield self._num_rows + number


class _EpochSampler(Sampler[int]):
    """``num_draws`` rows in each epoch, drawn as a function of (seed, epoch) alone.

    So each rank makes the same list and takes its own batches of it, and a run that goes on in the
    middle of an epoch skips what it has seen. Set `epoch` before each pass.
    """

    def __init__(self, num_draws: int, seed: int):
        self.seed = seed
        self.epoch = 0
        self._num_draws = num_draws

    def __len__(self) -> int:
        return self._num_draws

    def __iter__(self) -> Iterator[int]:
        yield from self._drawn(np.random.default_rng([self.seed, self.epoch])).tolist()

    @abstractmethod
    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """(num_draws,) int."""


class FewRowsSampler(_EpochSampler):
    """``num_draws`` rows, drawn anew for every epoch, as in the paper's released code.

    No row comes twice in an epoch before every row has come once.
    """

    def __init__(self, num_rows: int, num_draws: int, *, seed: int):
        super().__init__(num_draws, seed)
        self._num_rows = num_rows

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        num_passes = -(-self._num_draws // self._num_rows)
        passes = [rng.permutation(self._num_rows) for _ in range(num_passes)]
        return np.concatenate(passes)[: self._num_draws]


class ClassAwareSampler(_EpochSampler):
    """Each draw takes a label, all alike, then one of its rows, all alike.

    After Shen et al. 2016 (arXiv:1512.05830), where the lists of labels and rows are shuffled and
    gone through; here draws are independent. Rows that are known to lack some labels and show none
    are one more label; rows of which nothing is known teach nothing and are left out. A row of
    several labels comes up through each of them. (V, K) targets without any are a `DatasetError`.

    An epoch has as many draws as there are rows, so rows of frequent labels are left out of some
    epochs and those of rare ones repeated.
    """

    def __init__(self, targets: np.ndarray, *, seed: int):
        is_positive = targets == 1
        if not is_positive.any():
            raise DatasetError(
                f"class-aware sampling: none of {len(targets)} rows has a label; "
                "set train.sampling to rows"
            )
        has_none = (targets == 0).any(axis=1) & ~is_positive.any(axis=1)
        classes = np.column_stack([is_positive, has_none])  # (V, K + 1)
        sizes = classes.sum(axis=0)
        super().__init__(len(targets), seed)
        self._sizes = sizes[sizes > 0]
        self._ends = np.cumsum(self._sizes)
        self._rows = np.nonzero(classes.T)[1]  # rows of the first label, then of the second, ...

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        label = rng.integers(len(self._sizes), size=len(self))
        place = rng.integers(self._sizes[label])
        rows: np.ndarray = self._rows[self._ends[label] - self._sizes[label] + place]
        return rows
