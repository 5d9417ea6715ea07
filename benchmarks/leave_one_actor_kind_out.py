"""How far what the recipe learns of some kinds of actors holds for a kind that it never saw.

    python -m benchmarks.leave_one_actor_kind_out --data mixed_actors.csv shipped.csv --out kinds

For each kind of actor of the split `train` (human, mouse, rat), the recipe `lite` is trained on the
rows of the other kinds, and scored on the rows of that kind: frozen backbone, one plain and three
augmented views, direct path and decoder, without folds and calibration; 0.75 of the logits are the
direct path's, as in the shipped model. Beside it stand the direct path alone, the decoder alone,
and the probes of `benchmarks/linear_probe.py` (8 frames; whole frames, or with the motion crop),
fitted on the same rows. Rows of split `test` are not touched.

A cell is a kind and a label with a positive in the rows of the other kinds and, among those rows of
the kind where it is known, a positive and a negative. The figures are average precisions of the
cells, over known rows, and their means. The interval is from 1000 resamples of groups within each
kind; a cell that has lost its positives or negatives is left out of that resample.

With several tables the recipe is trained on each in turn. The first gives cells and scored rows;
the others hold its rows and more, such as background. Rows of the kind that is left out are never
trained on, whichever table they are in; rows whose actor is `none`, or not among the kinds of the
first table, always are.

Stored features (`msqnet train --features`) are reused. Logits and features that lie in OUT are not
computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import set_seed

from benchmarks.linear_probe import probe_features, probe_scores
from msqnet.cli.main import exit_code_of
from msqnet.config import AugmentationConfig
from msqnet.data.table import read_table
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import known_cells, mean_over_labels
from msqnet.metrics.bootstrap import percentile_interval, resampled_weights
from msqnet.model.builder import clip_settings, new_model
from msqnet.model.registry import encoder_spec
from msqnet.training.features import FeatureDataset
from msqnet.training.finetuning import freeze
from msqnet.training.fit import stored_features
from msqnet.training.fitted_parts import fit_query_head, joined_logits, normalize_query
from msqnet.training.trainer import part_logits, run_trainer
from msqnet.training.training_run import Run, rows_digest, trainable_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.data.records import ClipTable, Record

SHARE = 0.75
BACKGROUND = "none"
METHODS = ("probe", "probe with crop", "decoder", "direct path", "recipe")


@dataclass(frozen=True)
class Cell:
    """A kind of actor and a label that other kinds show too.

    Attributes:
        rows: (n,) positions of the kind's scored rows.
        column: of the label.
    """

    kind: str
    label: str
    rows: np.ndarray
    column: int


def joined_tables(tables: Sequence[ClipTable]) -> tuple[ClipTable, list[np.ndarray]]:
    """All rows once, those of the first table first, and the positions of each table's rows."""
    places: dict[tuple[object, ...], int] = {}
    records: list[Record] = []
    positions = []
    for table in tables:
        found = []
        for record in table.records:
            key = (record.path.resolve(), record.start_seconds or 0.0, record.end_seconds)
            if key not in places:
                places[key] = len(records)
                records.append(record)
            found.append(places[key])
        positions.append(np.array(found))
    return replace(tables[0], records=tuple(records)), positions


def shared_cells(table: ClipTable, labels: LabelSet) -> list[Cell]:
    """The cells of a table, kind after kind."""
    actors = np.array([record.actor for record in table.records])
    targets = table.targets(labels)
    found = []
    for kind in sorted({actor for actor in actors if actor not in ("", BACKGROUND)}):
        rows, others = np.flatnonzero(actors == kind), np.flatnonzero(actors != kind)
        for column, label in enumerate(labels):
            of_kind = targets[rows, column]
            if (targets[others, column] == 1).any() and {0, 1} <= set(of_kind):
                found.append(Cell(kind, label, rows, column))
    return found


def trained_logits(
    table: ClipTable, rows: np.ndarray, asked: np.ndarray, labels: LabelSet, features: Path
) -> np.ndarray:
    """Logits (2, n, K) of decoder and direct path for the asked rows, trained on other rows."""
    recipe = encoder_spec("lite").recipe()
    run = Run(
        table=table,
        labels=labels,
        arch=recipe.arch,
        clip=clip_settings(recipe.arch, recipe.clip),
        augmentation=AugmentationConfig(),
        train=replace(recipe.train, folds=0, validation_share=0.0),
        task="multi_label",
        folder=features,
        init_from=None,
        provenance={},
        features=features,
    )
    set_seed(run.train.seed)
    model = new_model(run.arch, run.clip, labels, task=run.task)
    freeze(model, run.train.finetune)
    store = stored_features(
        model,
        run,
        table,
        augmented=True,
        progress=lambda done, total: print(f"features: {done} of {total} clips", flush=True),
    )
    num_views = store.num_views + 1
    queries = torch.cat([store.video_queries(rows, view) for view in range(num_views)])
    targets = torch.from_numpy(run.targets)
    normalize_query(model, queries)
    repeated = targets[rows].repeat(num_views, 1)
    fit_query_head(model, queries, repeated, run.train.probe_strength, num_views, apart=True)
    data = FeatureDataset(store, rows, targets[rows], view_seed=run.train.seed)
    set_seed(run.train.seed)
    with TemporaryDirectory() as checkpoints:
        run_trainer(model, data, None, run.train, Path(checkpoints), run.targets[rows])
    return part_logits(model, FeatureDataset(store, asked, targets[asked]), run.train.batch_size)


def recipe_scores(
    table: ClipTable, rows: np.ndarray, asked: np.ndarray, labels: LabelSet, kept: Path, *, at: Path
) -> dict[str, np.ndarray]:
    """Logits (n, K) of the asked rows by method; columns of labels that `rows` lack are 0."""
    known = LabelSet(trainable_labels(table.take(rows)))
    if kept.exists():
        parts = np.load(kept)
    else:
        parts = trained_logits(table, rows, asked, known, at)
        np.save(kept, parts)
    both = np.zeros((2, len(asked), len(labels)))
    names = [name for name in labels if name in known]
    both[:, :, list(labels.indices(names))] = parts[:, :, list(known.indices(names))]
    return {
        "decoder": both[0],
        "direct path": both[1],
        "recipe": joined_logits(both, SHARE),
    }


def cell_precisions(
    cells: list[Cell], scores: np.ndarray, targets: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average precision of the cells: (C,) of all rows and (R, C) of the resamples."""
    if not cells:
        raise SystemExit("no kind of actor has test rows with and without a label of the others")
    values, samples = [], []
    for cell in cells:
        ranked = known_cells(scores[cell.rows], targets[cell.rows]).ranked(cell.column)
        values.append(ranked.average_precision(np.ones((1, len(cell.rows))))[0])
        # The same draws for all cells of a kind and for all methods.
        drawn = resampled_weights(groups[cell.rows])
        samples.append(np.concatenate([ranked.average_precision(weights) for weights in drawn]))
    return np.array(values), np.stack(samples, axis=1)


def mean_with_interval(values: np.ndarray, samples: np.ndarray) -> dict[str, Any]:
    """Mean over cells, and the middle 95 % of the means of the resamples."""
    every = np.ones(len(values), dtype=np.bool_)
    low, high = percentile_interval(mean_over_labels(samples, every)[:, None])
    return {"mean": float(values.mean()), "interval": [float(low[0]), float(high[0])]}


def summary(
    cells: list[Cell], scores: dict[str, np.ndarray], targets: np.ndarray, groups: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Figures by method, and differences of the recipe from the probes."""
    found = {name: cell_precisions(cells, scores[name], targets, groups) for name in METHODS}
    kinds = np.array([cell.kind for cell in cells])
    result: dict[str, dict[str, Any]] = {}
    for name, (values, samples) in found.items():
        of_kinds = {kind: float(values[kinds == kind].mean()) for kind in sorted(set(kinds))}
        result[name] = {
            **mean_with_interval(values, samples),
            "kinds": of_kinds,
            "mean_over_kinds": float(np.mean(list(of_kinds.values()))),
            "cells": {
                f"{cell.kind} {cell.label}": float(value)
                for cell, value in zip(cells, values, strict=True)
            },
        }
    for name in METHODS[:2]:
        pair = zip(found["recipe"], found[name], strict=True)
        values, samples = (first - second for first, second in pair)
        result[f"recipe minus {name}"] = mean_with_interval(values, samples)
    return result


def print_figures(
    title: str, cells: list[Cell], targets: np.ndarray, figures: dict[str, dict[str, Any]]
) -> None:
    """One Markdown table: cells, means of kinds, means of all."""
    print(f"\n{title}\n\n| tested on | label | positive / known | chance | {' | '.join(METHODS)} |")
    print("|---" * (4 + len(METHODS)) + "|")
    chances = []
    for cell in cells:
        column = targets[cell.rows, cell.column]
        values = [figures[name]["cells"][f"{cell.kind} {cell.label}"] for name in METHODS]
        positive, known = (column == 1).sum(), (column >= 0).sum()
        chances.append(positive / known)
        values = [chances[-1], *values]
        print(f"| {cell.kind} | {cell.label} | {positive} / {known} | {cells_of(values)} |")
    for kind in figures["recipe"]["kinds"]:
        values = [figures[name]["kinds"][kind] for name in METHODS]
        print(f"| {kind} | mean | | | {cells_of(values)} |")
    values = [figures[name]["mean_over_kinds"] for name in METHODS]
    print(f"| mean over kinds | | | | {cells_of(values)} |")
    values = [float(np.mean(chances)), *(figures[name]["mean"] for name in METHODS)]
    print(f"| mean over cells | | | {cells_of(values)} |")
    bounds = ["{:.3f} to {:.3f}".format(*figures[name]["interval"]) for name in METHODS]
    print(f"| 95 % | | | | {' | '.join(bounds)} |")
    for name in METHODS[:2]:
        found = figures[f"recipe minus {name}"]
        low, high = found["interval"]
        print(f"recipe minus {name}: {found['mean']:+.3f} ({low:+.3f} to {high:+.3f})")


def cells_of(values: Sequence[float]) -> str:
    """Cells of a Markdown table."""
    return " | ".join(f"{value:.3f}" for value in values)


def stored_probe_features(table: ClipTable, kept: Path) -> np.ndarray:
    """`probe_features`, kept in a file."""
    if not kept.exists():
        np.save(kept, probe_features(table))
    found: np.ndarray = np.load(kept)
    return found


@dataclass(frozen=True)
class Rows:
    """All rows, and what is asked of them.

    Attributes:
        table: the rows of all tables; those of the first table come first.
        num_scored: rows of the first table.
        labels: of the first table.
        cells: see `shared_cells`.
        probed: (V, D) `probe_features`.
    """

    table: ClipTable
    num_scored: int
    labels: LabelSet
    cells: list[Cell]
    probed: np.ndarray


def scores_without_kinds(
    every: Rows, rows_of_table: np.ndarray, out: Path, features: Path
) -> dict[str, np.ndarray]:
    """Scores (V, K) of the first table's rows by method, trained on other kinds' rows of a table.

    Probes are fitted for labels of the cells only; their other columns are 0.
    """
    actors = np.array([record.actor for record in every.table.records])
    targets, half = every.table.targets(every.labels), every.probed.shape[1] // 2
    scores = {name: np.zeros((every.num_scored, len(every.labels))) for name in METHODS}
    for kind in sorted({cell.kind for cell in every.cells}):
        asked = np.flatnonzero(actors[: every.num_scored] == kind)
        rows = rows_of_table[actors[rows_of_table] != kind]
        print(f"{len(rows)} rows without {kind}, {len(asked)} rows of it", flush=True)
        kept = out / f"{kind}-{rows_digest(every.table.take(rows))}.npy"
        found = recipe_scores(every.table, rows, asked, every.labels, kept, at=features)
        for name, values in found.items():
            scores[name][asked] = values
        columns = np.unique([cell.column for cell in every.cells if cell.kind == kind])
        wanted = targets[np.ix_(rows, columns)]
        for name, width in (("probe", half), ("probe with crop", None)):
            part = every.probed[:, :width]
            values = probe_scores(part[rows], wanted, part[asked])
            scores[name][np.ix_(asked, columns)] = values
    return scores


def main() -> None:
    """Train without each kind, score it, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="tables, see above")
    parser.add_argument("--out", type=Path, required=True, help="folder for logits and figures")
    parser.add_argument("--features", type=Path, help="folder of stored features")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tables = [read_table(path).select("train") for path in options.data]
    table, positions = joined_tables(tables)
    scored, labels = tables[0], LabelSet(trainable_labels(tables[0]))
    probed = stored_probe_features(table, options.out / f"probe-{rows_digest(table)}.npy")
    every = Rows(table, len(scored), labels, shared_cells(scored, labels), probed)
    targets, groups = scored.targets(labels), np.array(scored.group_ids())
    figures = {}
    for data, rows in zip(options.data, positions, strict=True):
        print(data.name, flush=True)
        features = options.features or options.out / "features"
        scores = scores_without_kinds(every, rows, options.out, features)
        figures[data.name] = summary(every.cells, scores, targets, groups)
        print_figures(data.name, every.cells, targets, figures[data.name])
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
