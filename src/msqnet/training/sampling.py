"""Which rows an epoch of training shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator


class FewRowsSampler(Sampler[int]):
    """Some rows, drawn anew for every epoch: what the paper's released code calls an epoch.

    A function of (seed, epoch) alone, as `ClassAwareSampler` is. No row comes twice in an epoch
    before every row has come once.

    Args:
        num_rows: of the data set.
        num_draws: rows in an epoch.
        seed: of the draws.
    """

    def __init__(self, num_rows: int, num_draws: int, *, seed: int):
        self.seed = seed
        self.epoch = 0
        self._num_rows = num_rows
        self._num_draws = num_draws

    def __len__(self) -> int:
        return self._num_draws

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        left = self._num_draws
        while left > 0:
            yield from rng.permutation(self._num_rows)[:left].tolist()
            left -= self._num_rows


class ClassAwareSampler(Sampler[int]):
    """Each draw takes a label, all alike, then one of its rows, all alike.

    After Shen et al. 2016 (arXiv:1512.05830), where the lists of labels and rows are shuffled and
    gone through; here draws are independent. Rows that are known to lack some labels and show none
    are one more label; rows of which nothing is known teach nothing and are left out. A row of
    several labels comes up through each of them.

    An epoch has as many draws as there are rows, so rows of frequent labels are left out of some
    epochs and those of rare ones repeated. The draws are a function of (seed, epoch): each rank
    makes the same list and takes its own batches of it, and a run that goes on in the middle of an
    epoch skips what it has seen. Set `epoch` before each pass.

    Args:
        targets: (V, K) of 1, 0 and -100, the rows of the data set in its order.
        seed: of the draws.

    Raises:
        DatasetError: no row has a label.
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
        self.seed = seed
        self.epoch = 0
        self._num_rows = len(targets)
        self._sizes = sizes[sizes > 0]
        self._ends = np.cumsum(self._sizes)
        self._rows = np.nonzero(classes.T)[1]  # rows of the first label, then of the second, ...

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        label = rng.integers(len(self._sizes), size=len(self))
        place = rng.integers(self._sizes[label])
        yield from self._rows[self._ends[label] - self._sizes[label] + place].tolist()
