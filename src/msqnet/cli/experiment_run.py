"""What `msqnet experiment run NAME` does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.experiment_results import ExperimentResult, Measured
    from msqnet.evaluation.experiment_runs import SupervisedPart
    from msqnet.evaluation.experiments import Experiment, ExperimentSettings
    from msqnet.evaluation.zero_shot import LabelSplit
    from msqnet.training.run import Run

_EXIT_NOT_READY = 2


@dataclass(frozen=True)
class Asked:
    """What `run` was asked for.

    Attributes:
        experiment: one that can be run.
        preset: its name.
        settings: those that will be used.
        as_named: those of the preset.
        data: tables of clips, one for each official split that is run.
        times: table of rows with times, or None.
        out: run folder; a dry run needs none.
        num_splits: random splits of the labels, of a zero-shot experiment.
        split_lists: published ones instead, or None.
        num_bootstrap: resamples for the intervals.
        device: where finished models are scored.
        resume: whether to go on in the run folder.
        skip_errors: whether rows that cannot be read are left out.
    """

    experiment: Experiment
    preset: str
    settings: ExperimentSettings
    as_named: ExperimentSettings
    data: tuple[Path, ...]
    times: Path | None
    out: Path | None
    num_splits: int
    split_lists: Path | None
    num_bootstrap: int
    device: str
    resume: bool
    skip_errors: bool

    @property
    def modified(self) -> list[str]:
        """What is not as the paper's row, apart from the rows themselves."""
        from msqnet.evaluation.experiments import NUM_ZERO_SHOT_SPLITS

        changes = self.settings.changes_from(self.as_named)
        expected = self.experiment.data_set.num_parts
        if self.experiment.is_zero_shot:
            if self.split_lists is None and self.num_splits != NUM_ZERO_SHOT_SPLITS:
                changes.append(f"{self.num_splits} of {NUM_ZERO_SHOT_SPLITS} splits of the labels")
        elif self.data and len(self.data) != expected:
            changes.append(f"{len(self.data)} of {expected} official splits")
        return changes


def run_experiment(asked: Asked, *, dry_run: bool) -> int:
    """Run an experiment and write its result, or say what it would need.

    Returns:
        Exit code; of a dry run 2 where the run could not start.

    Raises:
        ConfigError: no table or folder is named, or settings that do not fit.
        DatasetError: rows that cannot be used.
    """
    from rich.console import Console

    _check_number_of_tables(asked)
    if dry_run:
        from msqnet.cli.experiment_plan import show_plan

        return 0 if show_plan(Console(), asked) else _EXIT_NOT_READY
    if asked.out is None:
        raise ConfigError("--out: name the run folder, such as runs/table1-charades")
    if not asked.data:
        made_by = asked.experiment.data_set.convert
        raise ConfigError(f"--data: name the table of {asked.experiment.data_set.title}: {made_by}")
    console = Console(stderr=True)
    for line in asked.modified:
        console.print(f"modified: {line}", highlight=False)
    run = _zero_shot if asked.experiment.is_zero_shot else _supervised
    measured, parts = run(console, asked, asked.out)
    result = _result(asked, measured, parts)
    path = result.write(asked.out)
    for item in measured:
        value = "not measured" if item.value is None else f"{100 * item.value:.2f}"
        console.print(f"{item.protocol}, {item.metric}: {value}", highlight=False)
    paper = asked.experiment
    console.print(
        f"the paper: {paper.paper:.2f} ({paper.paper_metric}: {paper.means})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"written: {path}", soft_wrap=True)
    return 0


def _result(
    asked: Asked, measured: tuple[Measured, ...], parts: Sequence[SupervisedPart]
) -> ExperimentResult:
    from msqnet.evaluation.experiment_results import ExperimentResult

    experiment, provenance = asked.experiment, parts[0].run.provenance
    return ExperimentResult(
        experiment=experiment.name,
        preset=asked.preset,
        paper={
            "percent": experiment.paper,
            "metric": experiment.paper_metric,
            "means": experiment.means,
        },
        measured=measured,
        modified=(*asked.modified, *_changes_of_rows(asked, parts)),
        settings=asked.settings.dotted(),
        settings_digest=asked.settings.digest,
        data=tuple(_described(path, part) for path, part in zip(asked.data, parts, strict=True)),
        licences=tuple(provenance["pretrained_licences"]),
        versions={name: provenance[name] for name in ("msqnet", "torch", "transformers")},
    )


def _check_number_of_tables(asked: Asked) -> None:
    limit = 1 if asked.experiment.is_zero_shot else asked.experiment.data_set.num_parts
    if len(asked.data) > limit:
        raise ConfigError(
            f"--data: {len(asked.data)} tables, {asked.experiment.name} takes at most {limit}"
        )


def _supervised(
    console: Console, asked: Asked, out: Path
) -> tuple[tuple[Measured, ...], list[SupervisedPart]]:
    from msqnet.evaluation.experiment_runs import SupervisedPart, run_supervised

    timed = None if asked.times is None else _test_rows(asked.times, asked, console)
    parts = []
    for number, path in enumerate(asked.data, start=1):
        run = _prepared(console, asked, path, out / f"part-{number}")
        parts.append(SupervisedPart(run, _test_rows(path, asked, console), timed))
    measured = run_supervised(
        asked.experiment,
        parts,
        report=console.print,
        resume=asked.resume,
        num_bootstrap=asked.num_bootstrap,
        device=asked.device,
    )
    return measured, parts


def _zero_shot(
    console: Console, asked: Asked, out: Path
) -> tuple[tuple[Measured, ...], list[SupervisedPart]]:
    from msqnet.data.table import read_table
    from msqnet.evaluation.experiment_runs import SupervisedPart, run_zero_shot
    from msqnet.evaluation.zero_shot_runs import ZeroShotTask

    path = asked.data[0]
    run = replace(
        _prepared(console, asked, path, out),
        features=out / "features",
        feature_table=read_table(path),
    )
    task = ZeroShotTask(run, _test_rows(path, asked, console))
    splits = label_splits(asked, run.table.label_names())
    variant = asked.settings.variant
    measured = run_zero_shot(asked.experiment, task, splits, variant, console.print)
    return measured, [SupervisedPart(run, task.test)]


def label_splits(asked: Asked, labels: Sequence[str]) -> list[LabelSplit]:
    """The splits of the labels that a zero-shot experiment is run on.

    Args:
        asked: says how many, or where published ones are.
        labels: of the training rows.

    Raises:
        ConfigError: too few labels, or no published lists where they should be.
    """
    from msqnet.evaluation.zero_shot import random_splits, read_splits

    if asked.split_lists is not None:
        return read_splits(asked.split_lists)
    share = asked.experiment.seen_share or 0.0
    seed = asked.settings.train.seed
    return random_splits(labels, seen_share=share, num_splits=asked.num_splits, seed=seed)


def _prepared(console: Console, asked: Asked, data: Path, folder: Path) -> Run:
    """The run on one table; its training videos are checked."""
    from msqnet.cli.train import Request, prepare

    settings = asked.settings
    run = prepare(
        console,
        Request(
            data=data,
            out=folder,
            arch=settings.arch,
            train=settings.train,
            augmentation=settings.augmentation,
            task=asked.experiment.data_set.task,
            split="train",
            init_from=None,
            features=None,
            skip_errors=asked.skip_errors,
        ),
    )
    named = {"experiment": asked.experiment.name, "preset": asked.preset}
    return replace(run, provenance={**run.provenance, **named, "modified": asked.modified})


def _test_rows(path: Path, asked: Asked, console: Console) -> ClipTable:
    """Rows of split test whose videos can be read: found out before training, not after it."""
    from msqnet.data.check import check_table
    from msqnet.data.table import read_table
    from msqnet.errors import DatasetError

    table = read_table(path).select("test")
    errors = [item for item in check_table(table).problems if item.severity == "error"]
    if not errors:
        return table
    shown = "; ".join(f"row {item.row or '-'}: {item.message}" for item in errors[:3])
    if not asked.skip_errors:
        raise DatasetError(
            f"{path}: {len(errors)} errors in split test ({shown} ...); `msqnet check {path}` "
            "lists them, --skip_errors leaves these rows out and says so in the result"
        )
    rows = {item.row for item in errors if item.row is not None}
    console.print(f"left out of split test: {len(rows)} rows ({shown} ...)")
    return table.without_rows(rows)


def _changes_of_rows(asked: Asked, parts: Sequence[SupervisedPart]) -> list[str]:
    """Numbers of rows and of labels that are not those of the official lists."""
    data_set = asked.experiment.data_set
    changes = []
    for part in parts:
        used = {"train": len(part.run.table), "test": len(part.test)}
        changes += [
            f"{used[split]} of {expected} {split} rows"
            for split, expected in data_set.rows.items()
            if used[split] != expected
        ]
        if len(part.run.labels) != data_set.num_labels:
            changes.append(f"{len(part.run.labels)} of {data_set.num_labels} labels")
    return list(dict.fromkeys(changes))


def _described(path: Path, part: SupervisedPart) -> dict[str, Any]:
    from msqnet.training.run import settings_of

    run = part.run
    return {
        "table": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        "train_rows": len(run.table),
        "train_rows_digest": settings_of(run)["rows_digest"],
        "test_rows": len(part.test),
        "num_labels": len(run.labels),
        "labels_digest": run.labels.digest,
    }
