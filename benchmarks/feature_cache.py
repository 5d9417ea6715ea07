"""Epochs on stored features against epochs on videos: seconds of each, and macro mAP of both.

Both train the same new ``lite`` model on the same rows of the split `train`, in one process, in
turns: stored, videos, stored. Augmented views are drawn from those that are stored in the one case
and made anew in the other, for the decoder; the direct path is fitted on stored features in both.
Macro mAP, of the mean of both, is that of whole groups of the same split, held out.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import set_seed

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.data.dataset import ClipDataset
from msqnet.data.splits import grouped_folds
from msqnet.data.table import read_table
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.model.builder import clip_settings, new_model
from msqnet.model.registry import encoder_spec
from msqnet.training.features import FeatureDataset
from msqnet.training.finetuning import freeze
from msqnet.training.fit import stored_features
from msqnet.training.fitted_parts import fit_query_head, normalize_query
from msqnet.training.trainer import DataWait, part_logits, run_trainer
from msqnet.training.training_run import Run, trainable_labels

if TYPE_CHECKING:
    from msqnet.model.pretrained import MSQNet
    from msqnet.training.features import FeatureStore

KINDS = ("stored", "videos", "stored again")


@dataclass(frozen=True)
class Measured:
    """One training.

    Attributes:
        epoch_seconds: of each epoch's steps.
        whole_seconds: of an epoch with its checkpoint and all else that the training does, in mean.
        wait: how long it waited for data, in words.
        score: macro mAP of the rows held out.
    """

    epoch_seconds: list[float]
    whole_seconds: float
    wait: str
    score: float


class EpochTimes(DataWait):
    """The wait for data, and the seconds of each epoch's steps."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch_seconds: list[float] = []

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Add the epoch."""
        before = self.training_seconds
        super().on_epoch_end(*args, **kwargs)
        self.epoch_seconds.append(self.training_seconds - before)


def new_run(options: argparse.Namespace) -> Run:
    """Settings, and some rows of the table."""
    table = read_table(options.data).select("train")
    chosen = np.random.default_rng(0).permutation(len(table))[: options.rows]
    table = table.take(np.sort(chosen))
    train = replace(
        TrainConfig(),
        epochs=options.epochs,
        folds=0,
        validation_share=0.0,
        finetune=options.finetune,
        num_workers=options.workers,
    )
    return Run(
        table=table,
        labels=LabelSet(trainable_labels(table)),
        arch=ArchConfig(),
        clip=clip_settings(ArchConfig(), encoder_spec("lite").recipe().clip),
        augmentation=AugmentationConfig(),
        train=train,
        task="multi_label",
        folder=options.out,
        init_from=None,
        provenance={},
        features=options.out / "features",
    )


def new_start(run: Run) -> MSQNet:
    """A model with what the recipe freezes frozen; the same in every call."""
    set_seed(run.train.seed)
    model = new_model(run.arch, run.clip, run.labels, task=run.task)
    freeze(model, run.train.finetune)
    return model


def data_of(run: Run, store: FeatureStore, kind: str, rows: np.ndarray, *, augmented: bool) -> Any:
    """A data set of some rows, of features or of videos."""
    seed = run.train.seed
    if kind == "videos":
        augmentation = run.augmentation if augmented else None
        table = run.table.take(rows)
        return ClipDataset(table, run.labels, run.clip, augmentation=augmentation, seed=seed)
    targets = torch.from_numpy(run.targets[rows])
    return FeatureDataset(store, rows, targets, view_seed=seed if augmented else None)


def measure(
    run: Run, store: FeatureStore, kind: str, train_rows: np.ndarray, held_out: np.ndarray
) -> Measured:
    """Train on one kind of data, and score the rows held out."""
    model = new_start(run)
    views = [store.video_queries(train_rows, view) for view in range(store.num_views + 1)]
    queries, targets = torch.cat(views), run.targets[train_rows]
    normalize_query(model, queries)
    repeated = torch.from_numpy(targets).repeat(len(views), 1)
    fit_query_head(model, queries, repeated, run.train.probe_strength, len(views))
    data = data_of(run, store, kind, train_rows, augmented=True)
    set_seed(run.train.seed)
    with TemporaryDirectory() as folder:
        times = EpochTimes()
        trainer = run_trainer(model, data, None, run.train, Path(folder), targets, wait=times)
    whole = next(e["train_runtime"] for e in trainer.state.log_history if "train_runtime" in e)
    scored = data_of(run, store, kind, held_out, augmented=False)
    # Half of each part: a share chosen on these rows would count what they say twice.
    logits = part_logits(model, scored, run.train.batch_size).mean(axis=0)
    return Measured(
        times.epoch_seconds,
        whole / run.train.epochs,
        str(times),
        macro_map(average_precision(logits, run.targets[held_out])),
    )


def print_table(found: dict[str, list[Measured]]) -> None:
    """One line a kind of data, over the folds."""
    print("| data | s an epoch, median | with checkpoint | macro mAP, by fold |\n|---|---|---|---|")
    medians = {}
    for kind, folds in found.items():
        medians[kind] = median(s for fold in folds for s in fold.epoch_seconds)
        scores = ", ".join(f"{fold.score:.3f}" for fold in folds)
        whole = mean(fold.whole_seconds for fold in folds)
        print(f"| {kind} | {medians[kind]:.3f} | {whole:.3f} | {scores} |")
    for kind in ("stored", "stored again"):
        print(
            f"epochs on videos take {medians['videos'] / medians[kind]:.0f} times as long: {kind}"
        )
        whole = [mean(fold.whole_seconds for fold in found[name]) for name in ("videos", kind)]
        print(f"with writing its checkpoint: {whole[0] / whole[1]:.0f} times")
    for kind, folds in found.items():
        print(f"{kind}: macro mAP {mean(fold.score for fold in folds):.3f}, mean of folds")
    pairs = zip(found["stored"], found["videos"], strict=True)
    differences = [stored.score - videos.score for stored, videos in pairs]
    absolute = mean(abs(difference) for difference in differences)
    print(
        f"macro mAP, stored less videos: mean {mean(differences):+.3f}, mean absolute "
        f"{absolute:.3f} over {len(differences)}"
    )
    for kind, folds in found.items():
        print(f"{kind}: {'; '.join(fold.wait for fold in folds)}")


def main() -> None:
    """Fill the cache, train in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with a split train")
    parser.add_argument("--out", type=Path, required=True, help="folder for the features")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4, help="folds that the rows are cut into")
    parser.add_argument(
        "--measured_folds", type=int, default=1, help="how many of them are held out"
    )
    parser.add_argument("--finetune", choices=("after_trunk", "decoder"), default="decoder")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    run = new_run(options)
    began = time.perf_counter()
    store = stored_features(new_start(run), run, run.table, augmented=True)
    size = sum(path.stat().st_size for path in store.folder.glob("*.safetensors")) / 2**20
    print(f"{len(run.table)} rows, {store.num_views + 1} views, finetune {run.train.finetune}")
    print(f"features: {size:.1f} MiB, there after {time.perf_counter() - began:.1f} s", flush=True)
    fold_of = grouped_folds(run.table, run.labels, num_folds=options.folds, seed=0)
    found: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    for fold in range(options.measured_folds):
        rows = (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
        for kind in KINDS:
            found[kind].append(measure(run, store, kind, *rows))
    print_table(found)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
