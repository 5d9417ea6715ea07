"""`transformers.Trainer` with our data, loss, metric and parameter groups; no loop of our own."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from msqnet.errors import ConfigError
from msqnet.metrics.average_precision import known_cells, label_average_precisions, macro_map
from msqnet.metrics.classification import top_k_accuracy
from msqnet.model.computing import has_fast_bf16, resolve_device
from msqnet.model.losses import ActionLoss, LabelCounts, label_columns
from msqnet.training.features import FeatureDataset, collate
from msqnet.training.finetuning import add_adapters, check_frozen, parameter_groups
from msqnet.training.processes import (
    ClassAwareSampler,
    FewRowsSampler,
    PaddedRows,
    PaddedSampler,
    Processes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch.utils.data import Dataset, Sampler

    from msqnet.config import TrainConfig
    from msqnet.model.pretrained import MSQNet

_logger = logging.getLogger(__name__)
# The metric that chooses the best epoch, by task.
_BEST_BY = {"multi_label": "macro_map", "single_label": "top_1_accuracy"}


class DataWait(TrainerCallback):
    """How long training waited for its data, over all Trainers that it is given to.

    Only time in epochs counts; validation and saving are not part of it. On a GPU the waiting is an
    upper bound: the device may still be busy with earlier steps. ``training_seconds`` holds
    ``waited_seconds``, in which no step could begin because its batch was not there.
    """

    def __init__(self) -> None:
        self.waited_seconds = 0.0
        self.training_seconds = 0.0
        self._waited = 0.0
        self._began = 0.0

    @property
    def share(self) -> float:
        """Waiting / training, 0 to 1; 0 where nothing was trained."""
        return self.waited_seconds / self.training_seconds if self.training_seconds else 0.0

    def __str__(self) -> str:
        return (
            f"waited for data {self.share:.0%} of the training time "
            f"({self.waited_seconds:.1f} of {self.training_seconds:.1f} s)"
        )

    def watched(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; the time until each is there is counted."""
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - asked
            yield batch

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the watch."""
        self._waited, self._began = 0.0, time.perf_counter()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Add the epoch."""
        self.waited_seconds += self._waited
        self.training_seconds += time.perf_counter() - self._began


class _EpochOfData(TrainerCallback):
    """Tells the training data, which has an ``epoch``, which one it is.

    So its draws depend on nothing else. Accelerate's own `set_epoch` misses a sampler that is both
    divided among ranks and resumed in the middle of an epoch.
    """

    def __init__(self, *drawing: Any):
        self.drawing = drawing

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        for item in self.drawing:
            item.epoch = int((state.epoch or 0.0) + 1e-6)


class _Told(TrainerCallback):
    """Says after each step how far training is, and logs what is measured after each epoch.

    ``log`` takes that too, with the number of the step.
    """

    def __init__(
        self,
        progress: Callable[[int, int], None] | None,
        log: Callable[[dict[str, Any], int], None] | None,
    ):
        self.progress = progress
        self.log = log

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.progress is not None:
            self.progress(state.global_step, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if state.is_world_process_zero and logs:
            _logger.info("%s", ", ".join(f"{name} {value}" for name, value in logs.items()))
            if self.log is not None:
                self.log(logs, state.global_step)


class ActionTrainer(Trainer):
    """Trainer with the learning rates of `TrainConfig`.

    Its items are what the loss has terms for: known cells, or rows of single-label sets.
    ``train_sampler`` says which rows an epoch shows, None for each once; ``wait`` adds up how long
    it waited for data.
    """

    def __init__(
        self,
        *args: Any,
        config: TrainConfig,
        train_sampler: Sampler[int] | None,
        wait: DataWait,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.config = config
        self.train_sampler = train_sampler
        self.wait = wait
        self.add_callback(wait)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As in the base class."""
        return _with_own_draws(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As in the base class."""
        return _with_own_draws(super().get_eval_dataloader(eval_dataset))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """As in the base class, with a look at the watch."""
        batches = self.wait.watched(epoch_iterator)
        found: tuple[list[Any], torch.Tensor | int | None]
        found = super().get_batch_samples(batches, num_batches, device)
        return found

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int] | None:
        if self.train_sampler is None:
            return super()._get_train_sampler(train_dataset)
        return self.train_sampler

    def _get_num_items_in_batch(
        self, batch_samples: list[Any], device: torch.device
    ) -> torch.Tensor | int | None:
        model: Any = self.model
        if model.config.task == "single_label":
            batch_samples = [{"labels": label_columns(item["labels"])} for item in batch_samples]
        found: torch.Tensor | int | None = super()._get_num_items_in_batch(batch_samples, device)
        return found

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; with a weight decay of 0 it is the paper's Adam."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            groups = parameter_groups(trained, self.config)
            is_fused = self.args.device.type in ("cpu", "cuda")
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate, fused=is_fused)
        return self.optimizer


def _with_own_draws(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let persistent workers draw their seed from a generator of their own.

    They draw it once, in the epoch in which they start: from the shared generator, a resumed run
    would get other random numbers than an unbroken one.
    """
    base: Any = getattr(loader, "base_dataloader", loader)
    if base.persistent_workers:
        base.generator = torch.Generator()
    return loader


def _device_has_bf16() -> bool:
    """CPUs are left out: torch 2.13 gives wrong gradients of their 3D convolutions in bf16."""
    device = resolve_device("auto")
    return device.type == "cuda" and has_fast_bf16(device)


def training_arguments(
    config: TrainConfig,
    folder: Path,
    *,
    best_by: str | None,
    num_workers: int,
    is_joined: bool = False,
) -> TrainingArguments:
    """Translate our settings to those of the Trainer.

    ``folder`` takes checkpoints; ``best_by`` is the metric of `validation_metrics` that
    chooses the best epoch, None without validation. ``is_joined`` says that this process has joined
    others that train the same model. A precision that the device lacks is a `ConfigError`.
    """
    validates, has_gpu = best_by is not None, torch.cuda.is_available()
    if config.precision == "bf16" and not _device_has_bf16():
        raise ConfigError(
            "precision bf16: training has it on NVIDIA's GPUs since Ampere only; use auto or fp32"
        )
    restarts = {}
    if config.restart_epochs:
        restarts["num_cycles"] = max(1, round(config.epochs / config.restart_epochs))
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine_with_restarts" if config.restart_epochs else "cosine",
        lr_scheduler_kwargs=restarts,
        warmup_steps=config.warmup_share,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation_steps,
        bf16=config.precision != "fp32" and _device_has_bf16(),
        max_grad_norm=config.max_gradient_norm,
        restore_callback_states_from_checkpoint=True,
        save_strategy="epoch",
        save_total_limit=2,
        eval_strategy="epoch" if validates else "no",
        load_best_model_at_end=validates,
        metric_for_best_model=best_by,
        greater_is_better=True if validates else None,
        logging_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_num_workers=num_workers,
        dataloader_persistent_workers=num_workers > 0,
        dataloader_pin_memory=has_gpu,
        torch_compile=config.compile == "on"
        or (config.compile == "auto" and has_gpu and config.trains_backbone),
        remove_unused_columns=False,
        accelerator_config={"use_configured_state": is_joined},
        label_names=["labels"],
    )


def validation_metrics(prediction: EvalPrediction, *, task: str) -> dict[str, float]:
    """The metric that chooses the best epoch, by its name; 0 where nothing can be scored.

    ``prediction`` holds logits (V, K), and targets (V, K) of 1, 0 and -100.
    """
    cells = known_cells(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))
    if task == "single_label":
        value = float(top_k_accuracy(cells, 1)[0])
    else:
        value = macro_map(label_average_precisions(cells)[0])
    return {_BEST_BY[task]: 0.0 if np.isnan(value) else value}


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end, or None.

    The Trainer writes its state last, so a checkpoint is whole where that file can be read.
    """
    found = (folder / "checkpoints").glob("checkpoint-*")
    for path in sorted(found, key=lambda path: -int(path.name.rpartition("-")[2])):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            _logger.warning("%s is not whole (a run was killed while writing it); skipped", path)
            continue
        return path
    return None


def run_trainer(
    model: MSQNet,
    train_data: Dataset[dict[str, Any]],
    validation_data: Dataset[dict[str, Any]] | None,
    config: TrainConfig,
    folder: Path,
    targets: np.ndarray,
    processes: Processes = Processes(),  # noqa: B008 - frozen
    wait: DataWait | None = None,
    progress: Callable[[int, int], None] | None = None,
    log: Callable[[dict[str, Any], int], None] | None = None,
) -> ActionTrainer:
    """Train in place, from the last whole checkpoint in ``folder`` where there is one.

    Args:
        model: with validation data it ends as its best epoch; with ``finetune`` "lora" it still
            has its adapters, see `merge_adapters`.
        train_data: has an ``epoch`` attribute that is set before each pass.
        folder: checkpoints go there.
        targets: (V, K) of 1, 0 and -100, the labels of ``train_data``.
        processes: those that train together; each takes ``config.batch_size`` rows of a batch.
        wait: adds up how long training waits for data.
        progress: called with (steps done, steps in all).
        log: called with what is measured after each epoch, and the number of the step.

    Raises:
        ConfigError: settings that do not fit the task or the device.
        DatasetError: class-aware sampling of rows without any label.
    """
    task = model.config.task
    if config.finetune == "lora":
        check_frozen(model, folder / "checkpoints", writes=processes.is_first)
        add_adapters(model, config.lora)
    sampler: Any = None
    if config.sampling == "class_aware":
        sampler = ClassAwareSampler(targets, seed=config.seed)
    elif config.samples_per_epoch:
        sampler = FewRowsSampler(len(targets), config.samples_per_epoch, seed=config.seed)
    # Stored features need no decoding, and some systems would copy them to each process.
    num_workers = 0 if isinstance(train_data, FeatureDataset) else config.num_workers
    if processes.count > 1 and sampler is None:
        # The order of the Trainer's own shuffling.
        sampler = SeedableRandomSampler(range(len(targets)), data_seed=config.seed)
    drawing = [train_data] if sampler is None else [train_data, sampler]
    callbacks: list[TrainerCallback] = [_EpochOfData(*drawing), _Told(progress, log)]
    if processes.count > 1:
        multiple = processes.count * config.batch_size
        sampler = PaddedSampler(sampler, len(targets), multiple)
        train_data = PaddedRows(train_data, multiple)
    if validation_data is not None and config.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(config.early_stopping_patience))
    trainer = ActionTrainer(
        model=model,
        args=training_arguments(
            config,
            folder,
            best_by=None if validation_data is None else _BEST_BY[task],
            num_workers=num_workers,
            is_joined=processes.count > 1,
        ),
        data_collator=collate,
        train_dataset=train_data,
        eval_dataset=validation_data,
        compute_loss_func=ActionLoss(
            task, config.loss, LabelCounts.of(targets), config.class_balance
        ),
        compute_metrics=partial(validation_metrics, task=task),
        callbacks=callbacks,
        config=config,
        train_sampler=sampler,
        wait=wait or DataWait(),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_whole_checkpoint(folder)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


def batch_outputs(
    model: MSQNet, data: Dataset[dict[str, Any]], batch_size: int, *, num_workers: int = 0
) -> Iterator[Any]:
    """`MSQNetOutput` of a model in eval mode, batch by batch in the order of the data."""
    model.train(mode=False)
    loader = DataLoader(data, batch_size, num_workers=num_workers, collate_fn=collate)
    for batch in loader:
        batch.pop("labels", None)  # a loss of other rows is asked for nowhere
        with torch.inference_mode():
            outputs = model(**{name: value.to(model.device) for name, value in batch.items()})
        yield outputs


def part_logits(model: MSQNet, data: Dataset[dict[str, Any]], batch_size: int) -> np.ndarray:
    """Logits of the two parts of a model, (2, N, K) float32, in the order of the data.

    The first are from the decoder, the second straight from the video query; without a path from
    the query to the scores both are the decoder's.
    """
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for outputs in batch_outputs(model, data, batch_size):
        decoder = outputs.decoder_logits.float().cpu()
        query = outputs.query_logits
        parts.append((decoder, decoder if query is None else query.float().cpu()))
    return np.stack([torch.cat(part).numpy() for part in zip(*parts, strict=True)])
