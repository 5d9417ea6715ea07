"""What choosing windows to label gains over taking random ones, simulated on labelled clips.

    python benchmarks/suggest.py --data mixed_actors.csv --out runs/suggest

The windows of split `train` are the videos of somebody who has labelled none. Ten random ones are
labelled first; then, again and again, a model is fitted to what is labelled, and the next windows
are chosen. What a label costs is a window: it reveals what was annotated there, known to be absent
or present, and nothing else. The model is `lite` without its decoder: the direct path, one balanced
logistic regression a label on the frozen trunk's statistics (`msqnet.training.probe`), which is
three quarters of the shipped model's scores and is fitted in seconds. The embedding is what it is
fitted on, the standardised video query.

The figure is macro mAP on the rows of split `test`, over the labels with a positive in both splits;
a label without a positive so far counts with the AP of a constant score. With `--dev` a third of
the groups of `train` stands in for `test`: that is where choices are made.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import set_seed

from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.data.splits import grouped_folds
from msqnet.data.table import read_table
from msqnet.inference.suggestion import choose, label_uncertainty
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import average_precision
from msqnet.model.builder import clip_settings, new_model
from msqnet.training.fit import stored_features
from msqnet.training.probe import fit_linear, standardisation
from msqnet.training.recipes import RECIPES
from msqnet.training.run import Run, trainable_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.data.records import ClipTable

NUM_FIRST = 10
NUM_FOLDS = 3


def at_random(
    scores: np.ndarray, values: np.ndarray, known: np.ndarray, num: int, rng: np.random.Generator
) -> list[int]:
    """Any windows."""
    del values, known
    return rng.permutation(len(scores))[:num].tolist()


def by_uncertainty(
    scores: np.ndarray, values: np.ndarray, known: np.ndarray, num: int, rng: np.random.Generator
) -> list[int]:
    """Those of whose labels the model is least sure."""
    del values, known, rng
    return np.argsort(-label_uncertainty(scores), kind="stable")[:num].tolist()


def by_diversity(
    scores: np.ndarray, values: np.ndarray, known: np.ndarray, num: int, rng: np.random.Generator
) -> list[int]:
    """One of each group of like windows in which none is labelled, whichever comes first."""
    del rng
    return choose(np.ones(len(scores)), values, num, known=known)


def by_both(
    scores: np.ndarray, values: np.ndarray, known: np.ndarray, num: int, rng: np.random.Generator
) -> list[int]:
    """As `msqnet suggest` does."""
    del rng
    return choose(label_uncertainty(scores), values, num, known=known)


CHOICES: dict[str, Callable[..., list[int]]] = {
    "random": at_random,
    "uncertainty": by_uncertainty,
    "diversity": by_diversity,
    "uncertainty x diversity": by_both,
}


def video_queries(table: ClipTable, options: argparse.Namespace) -> torch.Tensor:
    """(V, D'') float32 of the frozen trunk; computed once and kept."""
    arch = ArchConfig()
    run = Run(
        table=table,
        labels=LabelSet(trainable_labels(table)),
        arch=arch,
        clip=clip_settings(arch, RECIPES["lite"].clip),
        augmentation=AugmentationConfig(),
        train=replace(TrainConfig(), folds=0, validation_share=0.0, cached_views=1),
        task="multi_label",
        folder=options.out,
        init_from=None,
        provenance={},
        features=options.features or options.out / "features",
    )
    set_seed(0)
    model = new_model(run.arch, run.clip, run.labels, task=run.task)
    store = stored_features(model, run, table, augmented=False)
    return store.video_queries(np.arange(len(table)), 0)


def fitted_scores(
    queries: torch.Tensor, targets: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(V, K) scores of all rows by a fit to some, and (K,) whether the label has a positive there.

    The fit lies in the span of its rows, so that it is computed there: the same, and much faster.
    """
    mean, deviation = standardisation(queries[rows])
    values = (queries - mean) / deviation
    basis = torch.linalg.svd(values[rows], full_matrices=False).Vh  # (n, D'')
    inside = values @ basis.T
    known = torch.from_numpy(targets[rows])
    weight, bias = fit_linear(inside[rows], known, TrainConfig().probe_strength)
    logits = torch.nn.functional.linear(inside, weight, bias)
    return logits.sigmoid().numpy(), (targets[rows] == 1).any(axis=0)


def curve(
    name: str,
    seed: int,
    queries: torch.Tensor,
    targets: np.ndarray,
    pool: np.ndarray,
    asked: np.ndarray,
    budgets: list[int],
) -> list[float]:
    """Macro mAP on the asked rows for each number of labelled windows."""
    rng = np.random.default_rng(seed)
    counts = (targets[pool] == 1).any(axis=0) & (targets[asked] == 1).any(axis=0)
    mean, deviation = standardisation(queries[pool])
    embeddings = ((queries - mean) / deviation).numpy()

    def judged(scores: np.ndarray, has_positive: np.ndarray) -> float:
        constant = np.where(has_positive, scores[asked], 0.0)
        return float(np.nanmean(average_precision(constant, targets[asked])[counts]))

    labelled = rng.permutation(pool)[: budgets[0]]
    scores, has_positive = fitted_scores(queries, targets, labelled)
    found = [judged(scores, has_positive)]
    for budget in budgets[1:]:
        free, num = np.setdiff1d(pool, labelled), budget - len(labelled)
        chosen = CHOICES[name](scores[free], embeddings[free], embeddings[labelled], num, rng)
        labelled = np.concatenate([labelled, free[chosen]])
        scores, has_positive = fitted_scores(queries, targets, labelled)
        found.append(judged(scores, has_positive))
    return found


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with splits train and test")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and curves")
    parser.add_argument("--features", type=Path, help="folder of stored features")
    parser.add_argument("--dev", action="store_true", help="leave split test alone")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--step", type=int, default=20, help="windows labelled at a time")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = read_table(options.data).select("train" if options.dev else None)
    train = np.array([record.split == "train" for record in table.records])
    labels = LabelSet(trainable_labels(table.take(np.flatnonzero(train))))
    queries, targets = video_queries(table, options), table.targets(labels)
    pool, asked = np.flatnonzero(train), np.flatnonzero(~train)
    if options.dev:
        folds = grouped_folds(table.take(pool), labels, num_folds=NUM_FOLDS, hold_out_all=True)
        pool, asked = pool[folds != 0], pool[folds == 0]
    budgets = [NUM_FIRST + options.step * index for index in range(options.rounds + 1)]
    budgets = [budget for budget in budgets if budget <= len(pool)]
    curves = {
        name: np.array(
            [
                curve(name, seed, queries, targets, pool, asked, budgets)
                for seed in range(options.seeds)
            ]
        )
        for name in CHOICES
    }
    scores, _ = fitted_scores(queries, targets, pool)
    counts = (targets[pool] == 1).any(axis=0) & (targets[asked] == 1).any(axis=0)
    whole = np.nanmean(average_precision(scores[asked], targets[asked])[counts])
    print(
        f"{len(pool)} windows to choose from, {len(asked)} to measure on, {counts.sum()} labels; "
    )
    print(f"with all labelled: macro mAP {whole:.3f}")
    print(f"| labelled windows | {' | '.join(CHOICES)} | {list(CHOICES)[-1]} less random |")
    print("|---" * (len(CHOICES) + 2) + "|")
    differences = curves["uncertainty x diversity"] - curves["random"]
    for place, budget in enumerate(budgets):
        cells = [
            f"{values[:, place].mean():.3f} ({values[:, place].min():.3f} to "
            f"{values[:, place].max():.3f})"
            for values in curves.values()
        ]
        paired = differences[:, place]
        cells.append(f"{paired.mean():+.3f} ({paired.min():+.3f} to {paired.max():+.3f})")
        print(f"| {budget} | {' | '.join(cells)} |")
    stem = "curves-dev" if options.dev else "curves"
    values = {name: part.tolist() for name, part in curves.items()}
    text = json.dumps({"budgets": budgets, "curves": values, "all_labelled": float(whole)})
    (options.out / f"{stem}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
