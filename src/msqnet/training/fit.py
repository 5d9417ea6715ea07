"""A whole training run: rows -> model -> validation -> calibration -> model folder.

The run folder::

    run.yaml          every resolved setting, labels, versions
    features/         features of frozen encoders (removed at the end)
    fold-*/           one per fold: its held-out logits
    checkpoints/      the Trainer's own, for resuming
    tensorboard/      events, where that is installed
    tracker.json      the run of another tracker, to go on in it
    best/             the finished model folder
    last/             that of the last epoch, where another one is the best
    training_time.json  how long the last call trained, and waited for data
    validation.json   macro mAP and label APs on rows the scored model had not seen
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import set_seed

from msqnet.data.dataset import ClipDataset
from msqnet.files import write_json
from msqnet.labels import UNKNOWN
from msqnet.model.builder import new_model, transfer
from msqnet.model.decoder import VideoQueryHead
from msqnet.model.losses import ActionLoss, LabelCounts
from msqnet.model.pretrained import MSQNet
from msqnet.training.features import FeatureDataset, FeatureStore
from msqnet.training.finetuning import (
    describe_adapters,
    freeze,
    merge_adapters,
    model_of,
    turn_on_checkpointing,
)
from msqnet.training.fitted_parts import (
    HeldOut,
    Part,
    calibrate_and_describe,
    describe_training,
    fit_query_head,
    gain_over_direct,
    normalize_query,
    partition,
    scorable_targets,
    seen_before,
    teaching_background,
    training_reference,
)
from msqnet.training.frame_fit import fit_frames
from msqnet.training.processes import Processes, lost_processes_named
from msqnet.training.trackers import Reports, reports_of
from msqnet.training.trainer import (
    DataWait,
    last_whole_checkpoint,
    part_logits,
    run_trainer,
)
from msqnet.training.training_run import (
    Run,
    check_folder,
    claim_folder,
    is_finished,
    save_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.data.records import ClipTable

    Progress = Callable[[str, int, int], None]

# Of the augmented views that are kept: the same for all runs, so that they can share them.
_VIEW_SEED = 0
# The decoder is trained on so many folds before it is judged; below the gain in macro mAP it costs
# more than it brings, and the gain is of the best of several shares.
_FOLDS_TO_JUDGE = 2
_MIN_GAIN = 0.005


def build_model(run: Run, report: Callable[[str], None]) -> MSQNet:
    """A new model, or one that starts from another; `ConfigError` for settings that do not fit."""
    set_seed(run.train.seed)
    model = new_model(run.arch, run.clip, run.labels, task=run.task)
    if run.init_from is not None:
        kept, new = transfer(MSQNet.from_pretrained(run.init_from), model)
        report(f"from {run.init_from}: kept {', '.join(kept) or 'no label'}")
        report(f"new labels: {', '.join(new) or 'none'}")
    freeze(model, run.train.finetune)
    if run.train.finetune == "lora":
        report(describe_adapters(model, run.train.lora))
    if run.features is not None and run.train.trains_backbone:
        report(f"{run.features} is not used: finetune {run.train.finetune} keeps no features")
    if run.train.gradient_checkpointing:
        turn_on_checkpointing(model)
    return model


def fit(
    run: Run,
    *,
    report: Callable[[str], None],
    progress: Progress | None = None,
    resume: bool = False,
) -> Path:
    """Train, calibrate and save; returns the finished model's folder.

    ``report`` is called with lines for the user, ``progress`` with what takes time, how much of it
    is done, and how much there is. With ``resume`` a run goes on in the folder that it was
    started in; finished parts are not done again, and a finished run is left as it is.

    Settings that do not fit together, or a folder that holds a run, are a `ConfigError`, rows that
    cannot be split a `DatasetError`, those that cannot be read a `VideoError`.
    """
    processes = Processes.current()
    if not processes.is_first:
        report, progress = (lambda _line: None), None
    with lost_processes_named():
        # What can fail at once comes before what takes long, and before the folder is claimed.
        ActionLoss(run.task, run.train.loss, LabelCounts.of(run.targets))
        parts = partition(run)
        model = build_model(run, report)
        if processes.is_first:
            check_folder(run, resume=resume)
        processes.wait()
        if resume and is_finished(run.folder):
            report("the run is finished; nothing is left to do")
            return run.folder / "best"
        with reports_of(run, is_first=processes.is_first) as reports:
            if processes.is_first:
                claim_folder(run)
            processes.wait()
            data = _TrainingData(run, model, progress, processes, reports)
            best_and_last, held_out = _trained(run, parts, data, report)
            if processes.is_first:
                folds = parts if run.train.folds else []
                _finish(run, data, held_out, best_and_last, folds, report)
            processes.wait()
    return run.folder / "best"


def _trained(
    run: Run, parts: list[Part], data: _TrainingData, report: Callable[[str], None]
) -> tuple[tuple[MSQNet, MSQNet], HeldOut]:
    """The models of the best and the last epoch, which can be the same, and held-out logits."""
    unknown = _told_before(run, data, report)
    if run.train.folds:
        held_out = _cross_validated(run, parts, data, unknown, report)
        every = np.arange(len(run.table))
        if held_out.direct_alone:
            best = _with_direct_path(run, data, every, keeps_start=held_out.keeps_start)
        else:
            report("training on all rows")
            best, *_ = _train_once(run, data, every, None, run.folder)
        return (best, best), held_out
    train_rows, rows = parts[0]
    report(f"{len(train_rows)} rows to train on, {len(rows)} to validate")
    validation_rows = rows if len(rows) else None
    best, last, logits = _train_once(run, data, train_rows, validation_rows, run.folder)
    targets = scorable_targets(run, train_rows, rows)
    targets[unknown[rows]] = UNKNOWN
    return (best, last), HeldOut(rows, logits, targets)


def _told_before(run: Run, data: _TrainingData, report: Callable[[str], None]) -> np.ndarray:
    """(V, K) bool: labels of rows that the model to start from was trained on.

    Held out, such a row is no test of a label that this model knows already.
    """
    told = np.zeros((len(run.table), len(run.labels)), bool)
    seen, columns = seen_before(run, data.fresh_model(), partial(data.rows, augmented=False))
    told[np.ix_(seen, np.asarray(columns, int))] = True
    if seen.any():
        names = ", ".join(run.labels.names[column] for column in columns)
        report(
            f"{run.init_from} was trained on {seen.sum()} of these rows, which therefore do not "
            f"test what it knows ({names})"
        )
    return told


def _finish(
    run: Run,
    data: _TrainingData,
    held_out: HeldOut,
    best_and_last: tuple[MSQNet, MSQNet],
    folds: list[Part],
    report: Callable[[str], None],
) -> None:
    """Calibrate and write; the best and the last model can be the same.

    ``folds`` are those that the held-out logits are of; none where it was one part.
    """
    best, last = best_and_last
    if len(held_out.rows):
        data.reports.log("validation", calibrate_and_describe(run, best, held_out, report))
        if folds:
            fit_frames(run, best, data.store, folds, report)
    else:
        describe_training(run, best)
        report("no rows kept aside: not calibrated, thresholds 0.5")
    models = {"best": best}
    if last is not best:
        last.config = best.config
        models = {"last": last, **models}  # the best comes last: it says that the run is finished
    for name, model in models.items():
        rows = partial(data.rows, augmented=False)
        reference = training_reference(run, model, rows)
        background = teaching_background(run, model, rows)
        save_model(model, run.folder / name, reference, background)
    data.remove()
    wait = data.wait
    if wait.training_seconds:
        report(str(wait))
        times = {
            "waited_seconds": round(wait.waited_seconds, 3),
            "training_seconds": round(wait.training_seconds, 3),
            "waited_share": round(wait.share, 3),
        }
        write_json(run.folder / "training_time.json", times)


class _TrainingData:
    """Rows as model inputs: decoded anew in every epoch, or from stored features."""

    def __init__(
        self,
        run: Run,
        model: MSQNet,
        progress: Progress | None,
        processes: Processes,
        reports: Reports,
    ):
        self.run = run
        self.progress = progress
        self.processes = processes
        self.reports = reports
        self.wait = DataWait()
        self.initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.model = model
        self.targets = torch.from_numpy(run.targets)  # (V, K)
        self.store: FeatureStore | None = None
        if run.cached_views:
            told = None if progress is None else partial(progress, "features")
            self.store = stored_features(model, run, run.table, augmented=True, progress=told)
            processes.wait()

    def fresh_model(self) -> MSQNet:
        """The model as it was before any training; the same object each time."""
        self.model.load_state_dict(self.initial)
        freeze(self.model, self.run.train.finetune)
        return self.model

    def rows(self, rows: np.ndarray, *, augmented: bool) -> Any:
        """A dataset of some rows."""
        if self.store is None:
            run = self.run
            return ClipDataset(
                run.table.take(rows),
                run.labels,
                run.clip,
                augmentation=run.augmentation if augmented else None,
                seed=run.train.seed,
            )
        seed = self.run.train.seed if augmented else None
        return FeatureDataset(self.store, rows, self.targets[rows], view_seed=seed)

    def video_queries(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Queries (N, D'') and targets (N, K) of all views of some rows, and the views per row."""
        targets = self.targets[rows]
        if self.store is not None:
            num_views = self.store.num_views + 1
            views = [self.store.video_queries(rows, view) for view in range(num_views)]
            return torch.cat(views), targets.repeat(len(views), 1), len(views)
        loader = torch.utils.data.DataLoader(
            self.rows(rows, augmented=False),
            batch_size=self.run.train.batch_size,
            num_workers=self.run.train.num_workers,
        )
        self.model.train(mode=False)
        queries = []
        with torch.inference_mode():
            for batch in loader:
                del batch["labels"]
                query: Any = self.model.clip_query(self.model.encode(**batch))
                queries.append(query.float().cpu())
        return torch.cat(queries), targets, 1

    def remove(self) -> None:
        """Delete the stored features, which can be many times the size of the model."""
        self.store = None
        if self.run.features is None:
            shutil.rmtree(self.run.folder / "features", ignore_errors=True)


def stored_features(
    model: MSQNet,
    run: Run,
    table: ClipTable,
    *,
    augmented: bool,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """Features of the frozen part for all rows of a table, computed where they are missing.

    The model goes to the GPU where there is one. ``run`` says where features are kept, what is
    frozen, and how clips are made and augmented. All runs for which these are the same share them,
    whatever their seed, rows and labels. The other arguments, and the errors, are those of
    `FeatureStore` and its `fill`.
    """
    if torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")  # the Trainer would do so only later
    dataset = ClipDataset(
        table, run.labels, run.clip, augmentation=run.augmentation, seed=_VIEW_SEED
    )
    folder = run.features or run.folder / "features"
    store = FeatureStore(folder, model, dataset, run.cached_views, run.train.finetune)
    store.fill(
        np.arange(len(table)),
        augmented=augmented,
        num_workers=run.train.num_workers,
        progress=progress,
    )
    return store


def _train_once(
    run: Run,
    data: _TrainingData,
    train_rows: np.ndarray,
    held_out: np.ndarray | None,
    folder: Path,
    *,
    choose_epoch: bool = True,
) -> tuple[MSQNet, MSQNet, np.ndarray]:
    """The models of the best and the last epoch on some rows, and logits of the held-out ones.

    The logits are (2, V, K), see `part_logits`; V is 0 without any.
    """
    model = data.fresh_model()
    if run.init_from is None:
        _prepare_query(run, model, data, train_rows)
    train_data = data.rows(train_rows, augmented=True)
    held_out_data = None if held_out is None else data.rows(held_out, augmented=False)
    validation_data = held_out_data if choose_epoch else None
    set_seed(run.train.seed)
    is_fold = folder != run.folder
    what = f"fold {int(folder.name.removeprefix('fold-')) + 1}" if is_fold else "training"
    told = None if data.progress is None else partial(data.progress, what)
    run_trainer(
        *(model, train_data, validation_data, run.train, folder, run.targets[train_rows]),
        processes=data.processes,
        wait=data.wait,
        progress=told,
        log=partial(data.reports.log, what.replace(" ", "-")),
    )
    checkpoint = last_whole_checkpoint(folder)
    last = model if checkpoint is None else model_of(checkpoint, model)
    merge_adapters(model, last)
    logits = np.zeros((2, 0, len(run.labels)), np.float32)
    if held_out_data is not None:
        logits = part_logits(model, held_out_data, run.train.batch_size)
    data.processes.wait()  # until nobody reads the checkpoints any more
    return model, last, logits


def _prepare_query(run: Run, model: MSQNet, data: _TrainingData, train_rows: np.ndarray) -> None:
    """Normalize the video query, and start its path to the scores.

    An image query without that path stays as it is: the paper does not normalize it.
    """
    if model.config.video_query != "trunk" and model.query_head is None:
        return
    queries, targets, num_views = data.video_queries(train_rows)
    normalize_query(model, queries, run.scene_weight)
    if (strength := run.train.probe_strength) and isinstance(model.query_head, VideoQueryHead):
        fit_query_head(model, queries, targets, strength, num_views, apart=not run.has_few_rows)


def _with_direct_path(
    run: Run, data: _TrainingData, rows: np.ndarray, *, keeps_start: bool
) -> MSQNet:
    """The model with its direct path fitted to some rows, from what it is or from nothing."""
    model = data.fresh_model()
    if not keeps_start and model.query_head is not None:
        for parameter in model.query_head.parameters():
            parameter.data.zero_()
    _prepare_query(run, model, data, rows)
    model.train(mode=False)
    return model


def _direct_logits(
    run: Run, folds: list[Part], data: _TrainingData, *, keeps_start: bool
) -> np.ndarray:
    """(V, K) logits of every row by a direct path that saw no row of its group."""
    assert data.store is not None
    logits = np.zeros((len(run.table), len(run.labels)), np.float32)
    for train_rows, held_out in folds:
        model = _with_direct_path(run, data, train_rows, keeps_start=keeps_start)
        queries = data.store.video_queries(held_out, 0).to(model.device)
        head: Any = model.query_head
        with torch.inference_mode():
            found = head(model.normalized(queries), None)
        logits[held_out] = found.float().cpu().numpy()
    return logits


def _direct_alone(
    run: Run,
    folds: list[Part],
    data: _TrainingData,
    targets: np.ndarray,
    report: Callable[[str], None],
) -> HeldOut | None:
    """Every row by the direct path, from what a first model knows or from nothing: the better one.

    What a model learnt elsewhere helps on videos of that kind, and is in the way on others. None
    where the path is trained together with the rest, or the features are not stored.
    """
    has_path = isinstance(data.model.query_head, VideoQueryHead) and run.train.probe_strength
    if not has_path or data.store is None or not run.decoder_rows:
        return None
    found = []
    for keeps_start in (True, False) if run.init_from else (True,):
        logits = _direct_logits(run, folds, data, keeps_start=keeps_start)
        parts, every = np.stack([logits, logits]), np.arange(len(logits))
        found.append(HeldOut(every, parts, targets, direct_alone=True, keeps_start=keeps_start))
    values = [item.macro_map(1) for item in found]
    best = found[int(np.argmax(values))]
    if best.is_scorable:
        report(f"direct path alone: macro mAP {max(values):.3f} on held-out rows")
        if len(found) > 1:
            start = run.init_from if best.keeps_start else "nothing"
            report(
                f"it starts from {start} (from nothing: macro mAP {values[1]:.3f}, from "
                f"{run.init_from}: {values[0]:.3f})"
            )
    return best


def _cross_validated(
    run: Run,
    folds: list[Part],
    data: _TrainingData,
    unknown: np.ndarray,
    report: Callable[[str], None],
) -> HeldOut:
    """Logits of every row from a model that saw no row of its group.

    ``unknown`` (V, K) are cells that test nothing. First comes the direct path, which is fitted in
    seconds. The rest is trained where rows are many, and for as long as folds show that it helps.
    """
    targets = run.targets.copy()
    for train_rows, held_out in folds:
        targets[held_out] = scorable_targets(run, train_rows, held_out)
    targets[unknown] = UNKNOWN
    alone = _direct_alone(run, folds, data, targets, report)
    if alone is not None and run.has_few_rows:
        report(
            f"fewer than {run.decoder_rows} rows: the direct path gives all scores, the "
            "rest of the model is not trained (--train.decoder_rows 0 trains it)"
        )
        return alone
    logits = np.zeros((2, *targets.shape), np.float32)
    for fold, (train_rows, held_out) in enumerate(folds):
        if alone is not None and fold >= _FOLDS_TO_JUDGE:
            done = np.concatenate([rows for _, rows in folds[:fold]])
            gain = gain_over_direct(
                HeldOut(done, logits[:, done], targets[done]),
                HeldOut(done, alone.parts[:, done], targets[done]),
            )
            if gain < _MIN_GAIN:
                report(
                    f"after {fold} folds the decoder adds {gain:.3f} to the macro mAP of the "
                    "direct path, which therefore gives all scores"
                )
                return alone
        folder = run.folder / f"fold-{fold}"
        stored = folder / "logits.npy"
        if stored.exists():
            logits[:, held_out] = np.load(stored)
            continue
        report(f"fold {fold + 1} of {len(folds)}: {len(held_out)} rows held out")
        *_, found = _train_once(run, data, train_rows, held_out, folder, choose_epoch=False)
        logits[:, held_out] = found
        if data.processes.is_first:
            partial_file = folder / "logits.partial.npy"
            np.save(partial_file, found)
            partial_file.replace(stored)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return HeldOut(np.arange(len(run.table)), logits, targets)
