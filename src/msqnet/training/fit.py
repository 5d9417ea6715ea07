"""A whole training run: rows -> model -> validation -> calibration -> model folder.

The run folder::

    run.yaml          every resolved setting, labels, versions
    features/         trunk features of the augmented views (removed at the end)
    fold-*/           one per fold: its held-out logits
    checkpoints/      the Trainer's own, for resuming
    best/  last/      finished model folders
    validation.json   macro mAP and label APs on rows the scored model had not seen
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from transformers import set_seed

from msqnet.data.dataset import ClipDataset
from msqnet.data.splits import grouped_folds, grouped_validation_split
from msqnet.errors import ConfigError, DatasetError
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.metrics.calibration import best_f1_thresholds, fit_platt
from msqnet.model.builder import new_model, transfer
from msqnet.model.msqnet import MSQNet
from msqnet.model.video_encoders.lite import video_statistics
from msqnet.training.features import FeatureDataset, FeatureStore
from msqnet.training.losses import UNKNOWN
from msqnet.training.probe import fit_query_head
from msqnet.training.trainer import (
    freeze,
    last_whole_checkpoint,
    part_logits,
    positive_weight,
    run_trainer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.config import ArchConfig, AugmentationConfig, ClipConfig, TrainConfig
    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet

_logger = logging.getLogger(__name__)
_SIDED_WORDS = {
    *("left", "right", "leftward", "rightward", "leftwards", "rightwards"),
    *("clockwise", "anticlockwise", "counterclockwise"),
}
_QUERY_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Run:
    """What a run trains on and with; every setting resolved.

    Attributes:
        table: the training rows, all readable.
        labels: columns of the model.
        arch: architecture.
        clip: how frames become a model input.
        augmentation: random changes in training.
        train: training settings.
        task: "multi_label" or "single_label".
        folder: the run folder.
        init_from: model folder to start from, or None.
        provenance: goes into the model's configuration.
    """

    table: ClipTable
    labels: LabelSet
    arch: ArchConfig
    clip: ClipConfig
    augmentation: AugmentationConfig
    train: TrainConfig
    task: str
    folder: Path
    init_from: str | None
    provenance: dict[str, Any]

    @property
    def targets(self) -> np.ndarray:
        """(V, K) float32 of 1, 0 and -100."""
        return self.table.targets(self.labels)


def trainable_labels(table: ClipTable) -> tuple[str, ...]:
    """Labels with at least one positive row.

    Raises:
        DatasetError: there is none.
    """
    names = table.label_names()
    if not names:
        raise DatasetError(f"{table.path}: no row has a label; there is nothing to train on")
    return names


def check_single_label(table: ClipTable) -> None:
    """Refuse rows that do not have exactly one label.

    Raises:
        DatasetError: names the rows.
    """
    wrong = [record.row for record in table.records if len(record.labels) != 1]
    if wrong:
        named = ", ".join(map(str, wrong[:10]))
        raise DatasetError(
            f"{table.path}: {len(wrong)} rows have no label or several (row {named} ...); "
            "single_label needs exactly one in each, multi_label takes any number"
        )


def build_model(run: Run, report: Callable[[str], None]) -> MSQNet:
    """A new model, or one that starts from another."""
    set_seed(run.train.seed)
    model = new_model(run.arch, run.clip, run.labels, task=run.task)
    if run.init_from is not None:
        kept, new = transfer(MSQNet.from_pretrained(run.init_from), model)
        report(f"from {run.init_from}: kept {', '.join(kept) or 'no label'}")
        report(f"new labels: {', '.join(new) or 'none'}")
    freeze(model, run.train.finetune)
    if run.train.gradient_checkpointing:
        if run.arch.video_encoder == "lite":
            raise ConfigError("gradient_checkpointing: the lite encoder has none; leave it off")
        # transformers 5.17 knows the first name only, 5.23 warns about it.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)()
    return model


def fit(
    run: Run,
    *,
    report: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
    resume: bool = False,
) -> Path:
    """Train, calibrate and save.

    Args:
        run: what to do.
        report: called with lines for the user.
        progress: called with (clips done, clips in all) while features are computed.
        resume: go on in a folder that this run was started in; finished parts are not done again.

    Returns:
        The finished model's folder.

    Raises:
        ConfigError: settings that do not fit together, or a folder that holds a run.
        DatasetError: rows that cannot be split.
        VideoError: a row cannot be read.
    """
    # What can fail at once comes before what takes long, and before the folder is claimed.
    parts = _partition(run)
    model = build_model(run, report)
    claim_folder(run, resume=resume)
    data = _TrainingData(run, model, report, progress)
    if run.train.folds:
        held_out = _cross_validated(run, parts, data, report)
        trained = _train_once(run, data, np.arange(len(run.table)), None, run.folder)
        best = last = trained.model
    else:
        train_rows, rows = parts[0]
        report(f"{len(train_rows)} rows to train on, {len(rows)} to validate")
        trained = _train_once(run, data, train_rows, rows, run.folder)
        best, last = trained.model, trained.last
        held_out = _HeldOut(rows, trained.logits, _scorable_targets(run, train_rows, rows))
    _finish(run, best, held_out, report)
    for name, model in (("last", last), ("best", best)):
        if model is not best:
            model.config = best.config
        save_model(model, run.folder / name)
    data.remove()
    return run.folder / "best"


class _TrainingData:
    """Rows as model inputs: decoded anew in every epoch, or from stored features."""

    def __init__(
        self,
        run: Run,
        model: MSQNet,
        report: Callable[[str], None],
        progress: Callable[[int, int], None] | None,
    ):
        self.run = run
        self.report = report
        self.initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.model = model
        self.store: FeatureStore | None = None
        if run.train.cached_views:
            self._fill(progress)

    def _fill(self, progress: Callable[[int, int], None] | None) -> None:
        train = self.run.train
        dataset = ClipDataset(
            self.run.table,
            self.run.labels,
            self.run.clip,
            augmentation=self.run.augmentation,
            single_label=self.run.task == "single_label",
            seed=train.seed,
        )
        self.store = FeatureStore(
            self.run.folder / "features", self.model, dataset, train.cached_views
        )
        self.store.fill(batch_size=4, num_workers=train.num_workers, progress=progress)

    def fresh_model(self) -> MSQNet:
        """The model as it was before any training; the same object each time."""
        self.model.load_state_dict(self.initial)
        freeze(self.model, self.run.train.finetune)
        return self.model

    def rows(self, rows: np.ndarray, *, augmented: bool) -> Any:
        """A dataset of some rows."""
        if self.store is not None:
            return FeatureDataset(self.store, rows, augmented=augmented)
        run = self.run
        return ClipDataset(
            run.table.take(rows),
            run.labels,
            run.clip,
            augmentation=run.augmentation if augmented else None,
            single_label=run.task == "single_label",
            seed=run.train.seed,
        )

    def video_queries(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Queries (N, D'') and targets (N, K) of all views of some rows, and the views per row."""
        targets = torch.from_numpy(self.run.targets[rows])
        if self.store is not None:
            views = [
                video_statistics(torch.from_numpy(np.asarray(pooled[rows])).float())
                for pooled in self.store.pooled
            ]
            return torch.cat(views), targets.repeat(len(views), 1), len(views)
        loader = torch.utils.data.DataLoader(
            self.rows(rows, augmented=False),
            batch_size=self.run.train.batch_size,
            num_workers=self.run.train.num_workers,
        )
        queries = []
        with torch.inference_mode():
            self.model.train(mode=False)
            for batch in loader:
                closeups = batch.get("closeups")
                query = self.model.encode(
                    batch["pixels"].to(self.model.device),
                    None if closeups is None else closeups.to(self.model.device),
                )[1]
                if query is None:
                    raise ConfigError("probe_strength needs a model with a video query")
                queries.append(query.float().cpu())
        return torch.cat(queries), targets, 1

    def remove(self) -> None:
        """Delete the stored features; they can be many times the size of the model."""
        self.store = None
        shutil.rmtree(self.run.folder / "features", ignore_errors=True)


@dataclass(frozen=True)
class _Trained:
    model: MSQNet
    last: MSQNet
    logits: np.ndarray  # (2, V, K) of the held-out rows, see `part_logits`; V is 0 without any


def _train_once(
    run: Run,
    data: _TrainingData,
    train_rows: np.ndarray,
    held_out: np.ndarray | None,
    folder: Path,
    *,
    choose_epoch: bool = True,
) -> _Trained:
    model = data.fresh_model()
    if run.train.probe_strength and model.query_head is not None and run.init_from is None:
        queries, targets, num_views = data.video_queries(train_rows)
        fit_query_head(model, queries, targets, run.train.probe_strength, num_views)
    train_data = data.rows(train_rows, augmented=True)
    held_out_data = None if held_out is None else data.rows(held_out, augmented=False)
    weight = None
    if run.train.class_balance == "inverse" and run.task == "multi_label":
        weight = positive_weight(run.targets[train_rows])
    set_seed(run.train.seed)
    run_trainer(
        model, train_data, held_out_data if choose_epoch else None, run.train, folder, weight
    )
    logits = np.zeros((2, 0, len(run.labels)), np.float32)
    if held_out_data is not None:
        logits = part_logits(model, held_out_data, run.train.batch_size)
    return _Trained(model, _last_epoch(model, folder), logits)


def _last_epoch(model: MSQNet, folder: Path) -> MSQNet:
    """The model after the last epoch, where another one was the best."""
    checkpoint = last_whole_checkpoint(folder)
    if checkpoint is None:
        return model
    return MSQNet.from_pretrained(checkpoint)


Part = tuple[np.ndarray, np.ndarray]
"""Rows to train on, and rows held out."""


def _partition(run: Run) -> list[Part]:
    """The folds, or the one validation part; rows of a group stay together."""
    if not run.train.folds:
        return [
            grouped_validation_split(
                run.table, run.labels, share=run.train.validation_share, seed=run.train.seed
            )
        ]
    fold_of = grouped_folds(
        run.table,
        run.labels,
        num_folds=run.train.folds,
        seed=run.train.seed,
        hold_out_all=True,
    )
    return [
        (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
        for fold in range(run.train.folds)
    ]


@dataclass(frozen=True)
class _HeldOut:
    """What models said of rows that they were not trained on.

    Attributes:
        rows: (V,) positions in the table.
        parts: (2, V, K) logits, see `part_logits`.
        targets: (V, K) of 1, 0 and -100, see `_scorable_targets`.
    """

    rows: np.ndarray
    parts: np.ndarray
    targets: np.ndarray


def _scorable_targets(run: Run, train_rows: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Targets of held-out rows; unknown where the model that scored them never saw the label.

    A label that lives in one group has no positive left to train on while that group is held out.
    Its logits there say nothing of the finished model, which did see it.
    """
    targets: np.ndarray = run.targets[rows].copy()
    never_seen = ~(run.targets[train_rows] == 1).any(axis=0)
    targets[:, never_seen] = UNKNOWN
    return targets


def _cross_validated(
    run: Run, folds: list[Part], data: _TrainingData, report: Callable[[str], None]
) -> _HeldOut:
    """Logits of every row from a model that saw no row of its group."""
    logits = np.zeros((2, len(run.table), len(run.labels)), np.float32)
    targets = run.targets.copy()
    for fold, (train_rows, held_out) in enumerate(folds):
        targets[held_out] = _scorable_targets(run, train_rows, held_out)
        folder = run.folder / f"fold-{fold}"
        stored = folder / "logits.npy"
        if stored.exists():
            logits[:, held_out] = np.load(stored)
            continue
        report(f"fold {fold + 1} of {len(folds)}: {len(held_out)} rows held out")
        trained = _train_once(run, data, train_rows, held_out, folder, choose_epoch=False)
        logits[:, held_out] = trained.logits
        partial = folder / "logits.partial.npy"
        np.save(partial, trained.logits)
        partial.replace(stored)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return _HeldOut(np.arange(len(run.table)), logits, targets)


def _best_share(parts: np.ndarray, targets: np.ndarray) -> tuple[float, dict[float, float]]:
    """The weight of the direct path that ranks held-out rows best, and the macro mAP of each."""
    values = {
        share: macro_map(average_precision((1 - share) * parts[0] + share * parts[1], targets))
        for share in _QUERY_SHARES
    }
    return max(values, key=lambda share: np.nan_to_num(values[share])), values


def _finish(run: Run, model: MSQNet, held_out: _HeldOut, report: Callable[[str], None]) -> None:
    """Weigh the parts, calibrate and set thresholds on held-out rows; write what they showed."""
    parts, targets = held_out.parts, held_out.targets
    config = model.config
    if model.query_head is not None:
        config.query_share, values = _best_share(parts, targets)
        shown = ", ".join(f"{share:g}: {value:.3f}" for share, value in values.items())
        report(f"macro mAP by share of the direct path: {shown}")
    logits = (1 - config.query_share) * parts[0] + config.query_share * parts[1]
    known = run.targets
    config.train_positive_windows = (known == 1).sum(axis=0).tolist()
    config.train_negative_windows = (known == 0).sum(axis=0).tolist()
    config.window_seconds = _typical_window(run.table)
    config.provenance = run.provenance
    if run.task == "multi_label":
        platt = fit_platt(logits, targets)
        config.calibration_scale = platt.scale.tolist()
        config.calibration_bias = platt.bias.tolist()
        config.thresholds = best_f1_thresholds(platt.apply(logits), targets).tolist()
    precision = average_precision(logits, targets)
    not_calibrated = [
        name
        for name, column in zip(run.labels, targets.T, strict=True)
        if not (column == 1).any() or not (column == 0).any()
    ]
    summary = {
        "what": "cross-validation by groups inside the training rows"
        if run.train.folds
        else "validation part of the training rows, kept apart by groups; chose the epoch",
        "num_rows": len(held_out.rows),
        "query_share": config.query_share,
        "macro_map": _or_none(macro_map(precision)),
        "label_ap": {
            name: _or_none(value) for name, value in zip(run.labels, precision, strict=True)
        },
        "not_calibrated": not_calibrated,
    }
    np.savez(run.folder / "validation.npz", rows=held_out.rows, parts=parts, targets=targets)
    (run.folder / "validation.json").write_text(json.dumps(summary, indent=2) + "\n")
    report(f"macro mAP {summary['macro_map']} on {len(held_out.rows)} rows ({summary['what']})")
    if not_calibrated:
        names = ", ".join(not_calibrated)
        report(f"not calibrated, threshold 0.5 (seen in one group only): {names}")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _typical_window(table: ClipTable) -> float:
    """Median length of the training windows in seconds; 2 where rows are whole videos."""
    lengths = [
        record.end_seconds - (record.start_seconds or 0.0)
        for record in table.records
        if record.end_seconds is not None
    ]
    return round(float(np.median(lengths)), 3) if lengths else 2.0


def save_model(model: MSQNet, folder: Path) -> None:
    """Write a finished model folder; half-written ones never carry the final name."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def _rows_digest(table: ClipTable) -> str:
    """Identifies the rows, their order and their labels."""
    rows = [
        (
            r.relative_path,
            r.start_seconds,
            r.end_seconds,
            r.labels,
            sorted(r.annotated or "*"),
            r.group,
        )
        for r in table.records
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def claim_folder(run: Run, *, resume: bool) -> None:
    """Write ``run.yaml``; refuse a folder that holds another run.

    Raises:
        ConfigError: the folder holds a run and ``resume`` is off, or a run with other settings.
    """
    path = run.folder / "run.yaml"
    settings = yaml.safe_dump(settings_of(run), sort_keys=False)
    if path.exists():
        if not resume:
            raise ConfigError(f"{run.folder} holds a run; use --resume or another --out")
        if path.read_text(encoding="utf-8") != settings:
            raise ConfigError(f"{path} has other settings or rows than this call; repeat that call")
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    path.write_text(settings, encoding="utf-8")


def settings_of(run: Run) -> dict[str, Any]:
    """Everything that decides the result, as plain values for ``run.yaml``."""
    return {
        "data": str(run.table.path),
        "num_rows": len(run.table),
        "rows_digest": _rows_digest(run.table),
        "labels": list(run.labels),
        "task": run.task,
        "init_from": run.init_from,
        "arch": asdict(run.arch),
        "clip": run.clip.to_dict(),
        "augmentation": asdict(run.augmentation),
        "train": asdict(run.train),
        "provenance": run.provenance,
    }


def without_flip_where_sides_matter(
    augmentation: AugmentationConfig, labels: LabelSet
) -> AugmentationConfig:
    """No mirrored clips where a label speaks of left or right."""
    words = {word.lower() for name in labels for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    if augmentation.horizontal_flip and words & _SIDED_WORDS:
        _logger.warning("labels speak of left and right: clips are not mirrored")
        return replace(augmentation, horizontal_flip=False)
    return augmentation
