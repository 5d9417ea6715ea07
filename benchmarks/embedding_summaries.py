"""How K decoded queries become one embedding of a video, compared on held-out training groups.

    python benchmarks/embedding_summaries.py --data mixed_actors.csv --out runs/embedding-map

Trains `lite` with text queries and with multi-modal queries alike (frozen trunk, unchanged clips,
no direct path) on two of three folds of the rows of split `train`, by group, and asks how well the
nearest rows of other groups tell labels among the rows of the third. Keeps both models, in
OUT/text_init and OUT/full, for `msqnet embed`; a model that lies there is not trained again. Rows
of split `test` are not touched.
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
from transformers import set_seed

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig, EmbeddingMapConfig, TrainConfig
from msqnet.data.splits import grouped_folds
from msqnet.data.table import read_table
from msqnet.explain.embedding_maps import (
    label_silhouette,
    neighbour_accuracy,
    shown_labels,
    unit_rows,
)
from msqnet.labels import LabelSet
from msqnet.model.builder import clip_settings, new_model
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import encoder_spec
from msqnet.training.features import FeatureDataset, FeatureStore
from msqnet.training.finetuning import freeze
from msqnet.training.fit import stored_features
from msqnet.training.fitted_parts import describe_training, normalize_query
from msqnet.training.trainer import run_trainer
from msqnet.training.training_run import Run, save_model, trainable_labels, variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from msqnet.data.records import ClipTable
    from msqnet.model.msqnet import MSQNetOutput

NUM_FOLDS = 3
VARIANTS = ("text_init", "full")
ALL_QUERIES = "after: all decoded queries, one after the other"


def _weighted_by_score(output: MSQNetOutput) -> Tensor:
    weights = output.decoder_logits.sigmoid()[..., None]  # (B, K, 1)
    return (weights * output.decoded).sum(dim=1) / weights.sum(dim=1)


SUMMARIES: dict[str, Callable[[MSQNetOutput], Tensor | None]] = {
    "the video query alone": lambda output: output.video_query,
    "before the decoder: mean of the memory": lambda output: output.memory.mean(dim=1),
    ALL_QUERIES: lambda output: output.decoded.flatten(1),
    "after: their mean": lambda output: output.decoded.mean(dim=1),
    "after: their mean weighted by score": _weighted_by_score,
    "after: their maximum": lambda output: output.decoded.amax(dim=1),
    "after: the decoder's logits": lambda output: output.decoder_logits,
}


def new_run(options: argparse.Namespace, name: str) -> Run:
    """Settings of one variant and the training rows."""
    table = read_table(options.data).select("train")
    arch = variant(ArchConfig(), name)
    return Run(
        table=table,
        labels=LabelSet(trainable_labels(table)),
        arch=arch,
        clip=clip_settings(arch, encoder_spec("lite").recipe().clip),
        augmentation=AugmentationConfig(),
        train=replace(
            TrainConfig(), epochs=options.epochs, folds=0, validation_share=0.0, cached_views=1
        ),
        task="multi_label",
        folder=options.out / name,
        init_from=None,
        provenance={"data": table.path.name, "variant": name, "made_by": Path(__file__).name},
        features=options.features or options.out / "features",
    )


def trained(model: MSQNet, run: Run, store: FeatureStore, rows: np.ndarray) -> None:
    """Train a model on the unchanged clips of some rows."""
    freeze(model, run.train.finetune)
    targets = run.targets[rows]
    if model.config.video_query == "trunk":
        normalize_query(model, store.video_queries(rows, 0))
    data = FeatureDataset(store, rows, torch.from_numpy(targets))
    set_seed(run.train.seed)
    with TemporaryDirectory() as checkpoints:
        run_trainer(model, data, None, run.train, Path(checkpoints), targets)


@torch.inference_mode()
def summaries(model: MSQNet, store: FeatureStore, rows: np.ndarray) -> dict[str, np.ndarray]:
    """(V, E) float32 of some rows, by the name of the summary."""
    model.train(mode=False)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SUMMARIES}
    for start in range(0, len(rows), 16):
        part = rows[start : start + 16].tolist()
        output = model(**store.batch(part, [0] * len(part)))
        for name, summary in SUMMARIES.items():
            values = summary(output)
            if values is not None:
                parts[name].append(values.numpy())
    return {name: np.concatenate(part) for name, part in parts.items() if part}


def spreads(model: MSQNet, store: FeatureStore, rows: np.ndarray) -> tuple[float, float]:
    """How far decoded queries differ over the labels of a clip, and over clips."""
    flat = summaries(model, store, rows)[ALL_QUERIES]
    decoded = flat.reshape(len(rows), -1, model.config.width)  # (V, K * D) -> (V, K, D)
    return float(decoded.std(axis=1).mean()), float(decoded.std(axis=0).mean())


def measured(embeddings: np.ndarray, table: ClipTable, labels: LabelSet) -> tuple[float, float]:
    """Accuracy of the nearest neighbours, and silhouette, among the rows of a table."""
    unit = unit_rows(embeddings)
    found = neighbour_accuracy(
        unit,
        table.targets(labels),
        table.group_ids(),
        num_neighbours=EmbeddingMapConfig.num_neighbours,
        single_label=False,
    )
    shown = shown_labels([record.labels for record in table.records])
    return found.accuracy, label_silhouette(unit, shown)


def main() -> None:
    """Train, measure, print, keep the models."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with a split train")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and models")
    parser.add_argument("--features", type=Path, help="folder of stored features")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    options = parser.parse_args()
    print("| queries | embedding | width | 5-NN accuracy | silhouette |\n|---|---|---|---|---|")
    for name in VARIANTS:
        run = new_run(options, name)
        set_seed(run.train.seed)
        model = new_model(run.arch, run.clip, run.labels, task=run.task)
        store = stored_features(model, run, run.table, augmented=False)
        fold_of = grouped_folds(run.table, run.labels, num_folds=NUM_FOLDS)
        train_rows, held_out = np.flatnonzero(fold_of != 0), np.flatnonzero(fold_of == 0)
        if run.folder.is_dir():
            model = MSQNet.from_pretrained(run.folder)
        else:
            trained(model, run, store, train_rows)
            describe_training(replace(run, table=run.table.take(train_rows)), model)
            save_model(model, run.folder)
        table = run.table.take(held_out)
        for key, embeddings in summaries(model, store, held_out).items():
            accuracy, silhouette = measured(embeddings, table, run.labels)
            cells = (name, key, embeddings.shape[1], f"{accuracy:.3f}", f"{silhouette:.3f}")
            print("|", " | ".join(map(str, cells)), "|", flush=True)
        over_labels, over_clips = spreads(model, store, held_out)
        print(
            f"{name}, {len(held_out)} rows: decoded queries differ by {over_labels:.3f} over labels"
            f" and by {over_clips:.3f} over clips (mean standard deviation)",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
