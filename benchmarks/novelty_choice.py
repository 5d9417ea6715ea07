"""Which distance tells videos of a source that a model has never seen, on training rows alone.

    python benchmarks/novelty_choice.py --data mixed_actors.csv --out runs/novelty

Each source of the split `train` is left out in turn: `lite` is trained without it (frozen trunk,
unchanged clips, no direct path), and distances are measured to the rows of the other sources. What
has to be told from each other are the videos of the source that was left out and the videos of the
others, each compared with groups other than its own. The figure is the area under the ROC curve
over videos (median over the windows of a video). Rows of split `test` are not touched.

Then, for the distance that was chosen, the share of videos of the left-out source that are farther
than a share of the others: what a warning from that share on finds.

Embeddings that lie in OUT are not computed again.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from transformers import set_seed

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.data.table import read_table
from msqnet.labels import LabelSet
from msqnet.model.builder import clip_settings, new_model
from msqnet.model.registry import encoder_spec
from msqnet.training.features import FeatureDataset, FeatureStore
from msqnet.training.finetuning import freeze
from msqnet.training.fit import stored_features
from msqnet.training.fitted_parts import normalize_query
from msqnet.training.trainer import run_trainer
from msqnet.training.training_run import Run, trainable_labels, variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.data.records import ClipTable
    from msqnet.model.msqnet import MSQNetOutput

# A covariance of more needs more rows than there are.
MAX_WIDTH = 256
CHOSEN = ("memory", "cosine, nearest")
SHARES = (0.99, 0.95, 0.9)

EMBEDDINGS: dict[str, Callable[[MSQNetOutput], torch.Tensor]] = {
    "memory": lambda output: output.memory.mean(dim=1),
    "decoded queries": lambda output: output.decoded.mean(dim=1),
    "video query": lambda output: output.video_query,
}


def cosine(num_neighbours: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Mean cosine distance to the nearest rows, after the mean was taken off."""

    def distance(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        centre = known.mean(axis=0)
        known, asked = known - centre, asked - centre
        known /= np.linalg.norm(known, axis=1, keepdims=True)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        return np.sort(1 - asked @ known.T, axis=1)[:, :num_neighbours].mean(axis=1)

    return distance


def euclidean(num_neighbours: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Mean distance to the nearest rows, every axis divided by its standard deviation."""

    def distance(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
        spread = known.std(axis=0) + 1e-6
        known, asked = known / spread, asked / spread
        squares = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
        lengths = np.sqrt(np.maximum(squares, 0))
        return np.sort(lengths, axis=1)[:, :num_neighbours].mean(axis=1)

    return distance


def mahalanobis(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Distance to the mean under the covariance, shrunk as Ledoit and Wolf (2004) have it."""
    return np.sqrt(LedoitWolf().fit(known).mahalanobis(asked))


DISTANCES = {
    "cosine, nearest": cosine(1),
    "cosine, 5 nearest": cosine(5),
    "cosine, 20 nearest": cosine(20),
    "Euclidean, 5 nearest": euclidean(5),
    "Mahalanobis": mahalanobis,
}


def embeddings_without(source: str, table: ClipTable, options: argparse.Namespace) -> dict:
    """Embeddings (V, D) of all rows by a model that was trained without a source."""
    kept = options.out / f"{source.replace('/', '-')}.npz"
    if kept.exists():
        return dict(np.load(kept))
    rows = np.array([i for i, record in enumerate(table.records) if record.source != source])
    labels = LabelSet(trainable_labels(table.take(rows)))
    arch = variant(ArchConfig(), "full")
    run = Run(
        table=table,
        labels=labels,
        arch=arch,
        clip=clip_settings(arch, encoder_spec("lite").recipe().clip),
        augmentation=AugmentationConfig(),
        train=replace(
            TrainConfig(), epochs=options.epochs, folds=0, validation_share=0.0, cached_views=1
        ),
        task="multi_label",
        folder=options.out,
        init_from=None,
        provenance={},
        features=options.features or options.out / "features",
    )
    set_seed(run.train.seed)
    model = new_model(run.arch, run.clip, labels, task=run.task)
    store = stored_features(model, run, table, augmented=False)
    freeze(model, run.train.finetune)
    normalize_query(model, store.video_queries(rows, 0))
    data = FeatureDataset(store, rows, torch.from_numpy(run.targets[rows]))
    set_seed(run.train.seed)
    with TemporaryDirectory() as checkpoints:
        run_trainer(model, data, None, run.train, Path(checkpoints), run.targets[rows])
    found = embedded(model, store, len(table))
    np.savez(kept, **found)
    return found


@torch.inference_mode()
def embedded(model: torch.nn.Module, store: FeatureStore, num_rows: int) -> dict[str, np.ndarray]:
    """(V, D) float32 of all rows, by the name of the embedding."""
    model.train(mode=False)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in EMBEDDINGS}
    for start in range(0, num_rows, 16):
        rows = list(range(start, min(start + 16, num_rows)))
        output = model(**store.batch(rows, [0] * len(rows)))
        for name, embedding in EMBEDDINGS.items():
            parts[name].append(embedding(output).numpy())
    return {name: np.concatenate(part) for name, part in parts.items()}


def distances(
    values: np.ndarray, table: ClipTable, source: str, distance: Callable
) -> tuple[np.ndarray, np.ndarray]:
    """Of each video: median distance, and whether it is of the source that was left out."""
    groups, videos = np.array(table.group_ids()), np.array(table.clip_ids())
    is_new = np.array([record.source == source for record in table.records])
    known = np.flatnonzero(~is_new)
    found = np.empty(len(table))
    found[is_new] = distance(values[known], values[is_new])
    for group in np.unique(groups[known]):
        own = known[groups[known] == group]
        others = known[groups[known] != group]
        found[own] = distance(values[others], values[own])
    names = np.unique(videos)
    return (
        np.array([np.median(found[videos == name]) for name in names]),
        np.array([is_new[videos == name][0] for name in names]),
    )


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with a split train")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and results")
    parser.add_argument("--features", type=Path, help="folder of stored features")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = read_table(options.data).select("train")
    sources = sorted({record.source for record in table.records})
    areas: dict[tuple[str, str], list[float]] = {}
    found_at: list[str] = []
    for source in sources:
        found = embeddings_without(source, table, options)
        for name, values in found.items():
            for kind, distance in DISTANCES.items():
                if kind == "Mahalanobis" and values.shape[1] > MAX_WIDTH:
                    continue
                medians, is_new = distances(values.astype(np.float64), table, source, distance)
                areas.setdefault((name, kind), []).append(roc_auc_score(is_new, medians))
                if (name, kind) == CHOSEN:
                    nearer = np.searchsorted(np.sort(medians[~is_new]), medians[is_new])
                    cells = [f"{np.mean(nearer / (~is_new).sum() >= s):.2f}" for s in SHARES]
                    found_at.append(f"| {source} | {is_new.sum()} | {' | '.join(cells)} |")
        print(f"without {source}: {int(is_new.sum())} new videos of {len(is_new)}", flush=True)
    print("| embedding | distance | " + " | ".join(sources) + " | mean |")
    print("|---" * (len(sources) + 3) + "|")
    for (name, kind), values in sorted(areas.items(), key=lambda item: -np.mean(item[1])):
        cells = [f"{value:.3f}" for value in (*values, float(np.mean(values)))]
        print(f"| {name} | {kind} | {' | '.join(cells)} |")
    print(f"\n{', '.join(CHOSEN)}: found by a warning from this share on")
    print(f"| left out | videos | {' | '.join(map(str, SHARES))} |\n|---|---|---|---|---|")
    print("\n".join(found_at))


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
