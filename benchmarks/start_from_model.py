"""What a first model is worth to a small table: `msqnet train --init-from` for few rows.

    python -m benchmarks.start_from_model --data many_actors.csv --first mixed_actors.csv --out OUT

Everything is of the split `train`. A first model is the direct path fitted to some of its rows. New
tables are rows drawn at random from other groups; a third of these groups is held out to measure
macro mAP. The direct path is fitted to the new rows from nothing, from the first model, and from
the one of the two with the higher macro mAP in five folds of the new rows, as the command does it.

- same: half of the groups of the sources of `--first`, then the other half of these groups
- mice, rats: all other sources of `--first`, then this one
- other: the sources of `--first`, then all others of `--data`
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.review_order import SCENE_WEIGHT, SOURCES, STRENGTH, features_of
from msqnet.cli.main import exit_code_of
from msqnet.data.splits import grouped_folds
from msqnet.data.table import read_table
from msqnet.errors import DatasetError
from msqnet.labels import UNKNOWN, LabelSet
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.training.fitted_parts import fit_linear
from msqnet.training.training_run import trainable_labels

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable

NUM_ROWS = (25, 50, 100, 200)
NUM_FOLDS = 5


@dataclass
class DirectPath:
    """A direct path: (K, D) weights and (K,) biases on features as they are, by name of label."""

    labels: LabelSet
    weight: torch.Tensor
    bias: torch.Tensor

    def of(self, labels: LabelSet) -> DirectPath:
        """The same for other labels: zero where it has none of that name."""
        weight, bias = torch.zeros(len(labels), self.weight.shape[1]), torch.zeros(len(labels))
        for place, name in enumerate(labels):
            if name in self.labels:
                own = self.labels.names.index(name)
                weight[place], bias[place] = self.weight[own], self.bias[own]
        return DirectPath(labels, weight, bias)


@dataclass
class Rows:
    """The split `train` of a table, with features (V, D) and which of them are of whole frames."""

    table: ClipTable
    features: torch.Tensor
    scene: slice

    def take(self, rows: np.ndarray) -> Rows:
        """Some of them."""
        return Rows(self.table.take(rows), self.features[torch.from_numpy(rows)], self.scene)

    def fitted(
        self, labels: LabelSet, scene_weight: float, start: DirectPath | None = None
    ) -> DirectPath:
        """The direct path that is fitted to them; see `normalize_query` and `fit_query_head`."""
        mean, deviation = self.features.mean(dim=0), self.features.std(dim=0, correction=0)
        deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        deviation[self.scene] /= scene_weight
        begin = None
        if start is not None:
            begin = start.weight * deviation, start.bias + start.weight @ mean
        targets = torch.from_numpy(self.table.targets(labels))
        normalized = (self.features - mean) / deviation
        weight, bias = fit_linear(normalized, targets, STRENGTH, start=begin)
        weight = weight / deviation
        return DirectPath(labels, weight, bias - weight @ mean)

    def logits(self, path: DirectPath) -> np.ndarray:
        """(V, K) of a direct path."""
        found: np.ndarray = (self.features @ path.weight.T + path.bias).numpy()
        return found

    def held_out_map(self, labels: LabelSet, start: DirectPath | None) -> float:
        """Macro mAP on folds that a fit from this start has not seen."""
        folds = grouped_folds(
            self.table,
            labels,
            num_folds=min(NUM_FOLDS, len(set(self.table.group_ids()))),
            seed=0,
        )
        targets = self.table.targets(labels)
        logits = np.zeros_like(targets)
        for fold in range(folds.max() + 1):
            train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            path = self.take(train).fitted(labels, SCENE_WEIGHT, start)
            logits[held_out] = self.take(held_out).logits(path)
            never_seen = np.flatnonzero(~(targets[train] == 1).any(axis=0))
            targets[np.ix_(held_out, never_seen)] = UNKNOWN
        return _macro_map(logits, targets)


def _macro_map(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(np.nan_to_num(macro_map(average_precision(logits, targets))))


def compare(rows: Rows, first: DirectPath, number: int, seed: int) -> list[float] | None:
    """Macro mAP on held-out groups: of the first model, from nothing, from it, the chosen one.

    None where a draw has too few rows, or too few groups to choose.
    """
    groups = np.array(rows.table.group_ids())
    random = np.random.default_rng(seed)
    names = random.permutation(np.unique(groups))
    is_held = np.isin(groups, names[: max(1, len(names) // 3)])
    others = random.permutation(np.flatnonzero(~is_held))
    if len(others) < number:
        return None
    drawn, held_out = rows.take(np.sort(others[:number])), rows.take(np.flatnonzero(is_held))
    labels = LabelSet(trainable_labels(drawn.table))
    start = first.of(labels)
    targets = held_out.table.targets(labels)
    paths = [start, drawn.fitted(labels, SCENE_WEIGHT), drawn.fitted(labels, SCENE_WEIGHT, start)]
    found = [_macro_map(held_out.logits(path), targets) for path in paths]
    try:
        is_better = drawn.held_out_map(labels, start) >= drawn.held_out_map(labels, None)
    except DatasetError:
        return None
    return [*found, found[2] if is_better else found[1]]


def main() -> None:
    """Draw, fit, and print a row for each number of rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="many_actors.csv")
    parser.add_argument("--first", type=Path, required=True, help="mixed_actors.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of stored features")
    parser.add_argument("--draws", type=int, default=5)
    settings = parser.parse_args()
    table = read_table(settings.data)
    features, scene = features_of(table, settings.out)
    train = np.flatnonzero([record.split == "train" for record in table.records])
    rows = Rows(table.take(train), torch.from_numpy(features[train]).float(), scene)
    of_first = {record.source for record in read_table(settings.first).records}
    sources = np.array([record.source for record in rows.table.records])
    groups = np.array(rows.table.group_ids())
    is_first = np.isin(sources, list(of_first))
    names = np.random.default_rng(0).permutation(np.unique(groups[is_first]))
    is_half = is_first & np.isin(groups, names[: len(names) // 2])
    cases = {"same": (is_half, is_first & ~is_half), "other": (is_first, ~is_first)}
    for name in ("mice", "rats"):
        own = sources == SOURCES[name]
        cases[name] = is_first & ~own, own
    print("| new rows are of | rows | the first model | from nothing | from it | chosen |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, parts in cases.items():
        before, new = (rows.take(np.flatnonzero(part)) for part in parts)
        first = before.fitted(LabelSet(trainable_labels(before.table)), 1.0)
        for number in NUM_ROWS:
            found = [compare(new, first, number, seed) for seed in range(settings.draws)]
            values = [item for item in found if item is not None]
            if values:
                cells = " | ".join(f"{value:.3f}" for value in np.mean(values, axis=0))
                print(f"| {name} ({len(values)} draws) | {number} | {cells} |", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
