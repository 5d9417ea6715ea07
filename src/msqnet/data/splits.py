"""Sets rows aside for validation, with rows of one group on one side and labels on both.

Groups are dealt out greedily, those with the rarest label first, each to the part that lacks most
of it: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with whole groups in place
of rows. Afterwards single groups are moved as long as that puts a label into a part that lacks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet

_UNASSIGNED = -1
_TRAIN, _VALIDATION = 0, 1


def grouped_validation_split(
    table: ClipTable, label_set: LabelSet, *, share: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide V rows into a training and a validation part.

    Rows of one group (`ClipTable.group_ids`) stay together. A label that lives in one group only
    stays in training; one that lives in several is in both parts wherever groups allow it, so that
    the validation part can be larger than asked for.

    Args:
        table: V rows.
        label_set: the labels to balance.
        share: part of the rows, and of each label's rows, to set aside; 0 (nothing) to below 1.
        seed: breaks ties; the same table and seed give the same parts.

    Returns:
        Positions of the training rows and of the validation rows, each (V',) int64, increasing.

    Raises:
        ConfigError: the share is out of range.
        DatasetError: no group can be set aside.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"validation share {share}: expected at least 0 and less than 1")
    if share == 0:
        return np.arange(len(table)), np.zeros(0, dtype=np.int64)
    groups = _Groups(table, label_set, [1 - share, share], seed)
    is_lone = (groups.num_positives > 0).sum(axis=0) == 1  # (K,): one group alone shows the label
    may_leave = ~(groups.num_positives[:, is_lone] > 0).any(axis=1)  # (G,)
    if not may_leave.any():
        raise DatasetError(
            f"{table.path}: nothing can be set aside for validation: each of the "
            f"{len(groups.num_rows)} group(s) or files is the only one that shows some label; add "
            "videos, or set the validation share to 0"
        )
    for group in np.flatnonzero(~may_leave).tolist():
        groups.place(group, _TRAIN)
    part = groups.deal()
    if not (part == _VALIDATION).any():
        smallest = np.where(may_leave, groups.num_rows, np.iinfo(np.int64).max).argmin()
        part[smallest] = _VALIDATION
    # Where labels compete, a label must be learnable before it can be validated. Such a label lives
    # in several groups, so that one of them remains for validation.
    for count in groups.num_positives.T:
        holders = np.flatnonzero(count)
        if len(holders) and (part[holders] == _VALIDATION).all():
            part[holders[count[holders].argmax()]] = _TRAIN
    part_of_row = part[groups.of_row]
    return np.flatnonzero(part_of_row == _TRAIN), np.flatnonzero(part_of_row == _VALIDATION)


def grouped_folds(
    table: ClipTable, label_set: LabelSet, *, num_folds: int, seed: int = 0
) -> NDArray[np.int64]:
    """Number the rows for cross-validation: fold f is validated by a model trained on all others.

    The (V,) int64 go from 0 to ``num_folds - 1``.
    While a group that alone shows some label is held out, nothing is left to learn that label from,
    but its other labels are validated. Labels are balanced over the folds; the seed breaks ties.
    Less than 2 folds are a `ConfigError`, fewer groups than folds a `DatasetError`.
    """
    if num_folds < 2:
        raise ConfigError(f"{num_folds} fold(s): expected at least 2")
    groups = _Groups(table, label_set, [1 / num_folds] * num_folds, seed)
    num_groups = len(groups.num_rows)
    if num_groups < num_folds:
        raise DatasetError(
            f"{table.path}: {num_groups} group(s) or files can be held out, which is less than "
            f"{num_folds} folds; use fewer folds, or add videos"
        )
    folds: NDArray[np.int64] = groups.deal()[groups.of_row]
    return folds


class _Groups:
    """G groups of the V rows of a table, and their dealing to F parts by shares that sum to 1.

    ``of_row``, (V,) int64, is the group of each row; of the groups there are ``num_rows``, (G,)
    int64, and ``num_positives``, (G, K) int64, rows in which the label is seen.
    """

    def __init__(
        self, table: ClipTable, label_set: LabelSet, shares: list[float], seed: int
    ) -> None:
        number_of: dict[str, int] = {}
        ids = (number_of.setdefault(name, len(number_of)) for name in table.group_ids())
        self.of_row = np.fromiter(ids, dtype=np.int64, count=len(table))
        self.num_rows = np.bincount(self.of_row, minlength=len(number_of))
        self.num_positives = np.zeros((len(number_of), len(label_set)), dtype=np.int64)
        np.add.at(self.num_positives, self.of_row, table.targets(label_set) == 1)
        self._part = np.full(len(number_of), _UNASSIGNED)
        # A random order once, then stable sorting: ties are broken the same way everywhere.
        self._order = np.random.default_rng(seed).permutation(len(number_of))
        share = np.array(shares)
        self._lacking_rows = share * self.num_rows.sum()  # (F,)
        self._lacking = share[:, None] * self.num_positives.sum(axis=0)  # (F, K)
        self._num_groups = np.zeros((len(shares), len(label_set)), dtype=np.int64)

    def deal(self) -> NDArray[np.int64]:
        """(G,) int64: the part of each group; those that are placed already stay."""
        is_free = self._part == _UNASSIGNED
        is_open = is_free.copy()
        while True:
            num_open = (self.num_positives[is_open] > 0).sum(axis=0)  # (K,)
            if not num_open.any():
                break
            label = int(np.where(num_open > 0, num_open, np.iinfo(np.int64).max).argmin())
            # Groups with the label that are still to be dealt, those with most of it first.
            holders = self._order[
                is_open[self._order] & (self.num_positives[self._order, label] > 0)
            ]
            by_count = np.argsort(-self.num_positives[holders, label], kind="stable")
            for group in holders[by_count].tolist():
                self.place(group, self._best_part(label, int(num_open[label])))
                is_open[group] = False
                num_open[label] -= 1
        for group in sorted(self._order[is_open[self._order]], key=lambda g: -self.num_rows[g]):
            self.place(int(group), int(self._lacking_rows.argmax()))
        self._repair(self._order[is_free[self._order]].tolist())
        return self._part

    def _best_part(self, label: int, num_left: int) -> int:
        parts = np.arange(len(self._lacking_rows))
        without = parts[self._num_groups[:, label] == 0]
        # The last groups of a label go to parts that would otherwise have none of it.
        candidates = without if 0 < num_left <= len(without) else parts
        need = np.lexsort(
            (-self._lacking_rows[candidates], -self._lacking[candidates, label].round(9))
        )
        return int(candidates[need[0]])

    def place(self, group: int, part: int, sign: int = 1) -> None:
        """Put a group into a part; with sign -1, take it back."""
        self._part[group] = part
        self._lacking_rows[part] -= sign * self.num_rows[group]
        self._lacking[part] -= sign * self.num_positives[group]
        self._num_groups[part] += sign * (self.num_positives[group] > 0)

    def _repair(self, movable: list[int]) -> None:
        """Move single groups while that puts more labels into more parts."""
        has_moved = True
        while has_moved and not (self._num_groups > 0).all():
            has_moved = False
            for group in movable:
                held = self.num_positives[group] > 0
                here = int(self._part[group])
                num_lost = int((self._num_groups[here][held] == 1).sum())
                num_won = (self._num_groups[:, held] == 0).sum(axis=1)  # (F,)
                best = int(num_won.argmax())
                if int(num_won[best]) > num_lost:
                    self.place(group, here, -1)
                    self.place(group, best)
                    has_moved = True
