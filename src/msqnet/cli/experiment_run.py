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
        out: run folder.
        num_splits: random splits of the labels, of a zero-shot experiment.
        split_lists: published ones instead; empty for random ones.
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
    out: Path
    num_splits: int
    split_lists: tuple[LabelSplit, ...]
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
            number = len(self.split_lists) or self.num_splits
            if number != NUM_ZERO_SHOT_SPLITS:
                changes.append(f"{number} of {NUM_ZERO_SHOT_SPLITS} splits of the labels")
            changes += _other_shares(self.split_lists, self.experiment.seen_share or 0.0)
        elif self.data and len(self.data) != expected:
            changes.append(f"{len(self.data)} of {expected} official splits")
        return changes


def _other_shares(splits: Sequence[LabelSplit], share: float) -> list[str]:
    """Numbers of seen labels that a label or more off the row's share of them."""
    sizes = [(len(split.seen), len(split.seen) + len(split.unseen)) for split in splits]
    return [
        f"{seen} of {number} labels seen ({seen / number:.0%} instead of {share:.0%})"
        for seen, number in dict.fromkeys(sizes)
        if abs(seen - share * number) >= 1
    ]


@dataclass(frozen=True)
class _Done:
    """What a finished experiment was."""

    measured: tuple[Measured, ...]
    parts: Sequence[SupervisedPart]
    label_splits: Sequence[LabelSplit] = ()


def run_experiment(asked: Asked, *, dry_run: bool) -> int:
    """Run an experiment and write its result, or say what it would need.

    Returns:
        Exit code; of a dry run 2 where the run could not start.

    Raises:
        ConfigError: no table is named, or settings that do not fit.
        DatasetError: rows that cannot be used.
    """
    from rich.console import Console

    _check_tables_and_splits(asked)
    if dry_run:
        from msqnet.cli.experiment_plan import show_plan

        return 0 if show_plan(Console(), asked) else _EXIT_NOT_READY
    if not asked.data:
        made_by = asked.experiment.data_set.convert
        raise ConfigError(f"--data: name the table of {asked.experiment.data_set.title}: {made_by}")
    console = Console(stderr=True)
    for line in asked.modified:
        console.print(f"modified: {line}", highlight=False)
    run = _zero_shot if asked.experiment.is_zero_shot else _supervised
    done = run(console, asked)
    path = _result(asked, done).write(asked.out)
    for item in done.measured:
        value = "not measured" if item.value is None else f"{100 * item.value:.2f}"
        remarks = f" ({'; '.join(item.remarks)})" if item.remarks else ""
        line = f"{item.protocol}, {item.metric}: {value}{remarks}"
        console.print(line, highlight=False, soft_wrap=True)
    paper = asked.experiment
    console.print(
        f"the paper: {paper.paper:.2f} ({paper.paper_metric}: {paper.means})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"written: {path}", soft_wrap=True)
    return 0


def _result(asked: Asked, done: _Done) -> ExperimentResult:
    from msqnet.evaluation.experiment_results import ExperimentResult
    from msqnet.model.builder import licences_of

    experiment, provenance = asked.experiment, done.parts[0].run.provenance
    return ExperimentResult(
        experiment=experiment.name,
        preset=asked.preset,
        paper={
            "percent": experiment.paper,
            "metric": experiment.paper_metric,
            "means": experiment.means,
        },
        measured=done.measured,
        modified=(*asked.modified, *_changes_of_rows(asked, done)),
        settings=asked.settings.trained(),
        settings_digest=asked.settings.digest,
        data=tuple(
            _described(path, part) for path, part in zip(asked.data, done.parts, strict=True)
        ),
        licences=tuple(licences_of(asked.settings.trained_arch)),
        versions={name: provenance[name] for name in ("msqnet", "torch", "transformers")},
        label_splits=tuple(split.to_dict() for split in done.label_splits),
    )


def _check_tables_and_splits(asked: Asked) -> None:
    limit = 1 if asked.experiment.is_zero_shot else asked.experiment.data_set.num_parts
    if len(asked.data) > limit:
        raise ConfigError(
            f"--data: {len(asked.data)} tables, {asked.experiment.name} takes at most {limit}"
        )
    if asked.split_lists and not asked.experiment.is_zero_shot:
        raise ConfigError(
            f"--split_lists: {asked.experiment.name} is trained on all labels; splits of the "
            "labels belong to the rows of table 3"
        )


def _supervised(console: Console, asked: Asked) -> _Done:
    from msqnet.cli.train import readable_rows
    from msqnet.evaluation.experiment_runs import SupervisedPart, run_supervised

    def test_rows(path: Path) -> ClipTable:
        return readable_rows(console, path, "test", asked.skip_errors)

    timed = None if asked.times is None else test_rows(asked.times)
    parts = []
    for number, path in enumerate(asked.data, start=1):
        run = _prepared(console, asked, path, asked.out / f"part-{number}")
        parts.append(SupervisedPart(run, test_rows(path), timed))
    measured = run_supervised(
        asked.experiment,
        parts,
        report=console.print,
        resume=asked.resume,
        num_bootstrap=asked.num_bootstrap,
        device=asked.device,
    )
    return _Done(measured, parts)


def _zero_shot(console: Console, asked: Asked) -> _Done:
    from msqnet.cli.train import readable_rows
    from msqnet.evaluation.experiment_runs import SupervisedPart, run_zero_shot
    from msqnet.evaluation.zero_shot import check_labels
    from msqnet.evaluation.zero_shot_runs import ZeroShotTask

    path, out = asked.data[0], asked.out
    run = replace(_prepared(console, asked, path, out), features=out / "features")
    task = ZeroShotTask(run, readable_rows(console, path, "test", asked.skip_errors))
    named = label_splits(asked, run.table.label_names())
    splits = [check_labels(split, run.table) for split in named]
    variant = asked.settings.variant
    measured = run_zero_shot(asked.experiment, task, splits, variant, console.print)
    return _Done(measured, [SupervisedPart(run, task.test)], splits)


def label_splits(asked: Asked, labels: Sequence[str]) -> list[LabelSplit]:
    """The splits of the labels that a zero-shot experiment is run on.

    Args:
        asked: says how many, or holds published ones.
        labels: of the training rows.

    Raises:
        ConfigError: too few labels.
    """
    from msqnet.evaluation.zero_shot import random_splits

    if asked.split_lists:
        return list(asked.split_lists)
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


def _changes_of_rows(asked: Asked, done: _Done) -> list[str]:
    """Numbers of rows and of labels that are not those of the official lists."""
    data_set = asked.experiment.data_set
    changes = []
    for part in done.parts:
        used = {"train": len(part.run.table), "test": len(part.test)}
        changes += [
            f"{used[split]} of {expected} {split} rows"
            for split, expected in data_set.rows.items()
            if used[split] != expected
        ]
        if len(part.run.labels) != data_set.num_labels:
            changes.append(f"{len(part.run.labels)} of {data_set.num_labels} labels")
        changes += [
            f"{split.name}: {len(split.seen) + len(split.unseen)} of {len(part.run.labels)} labels"
            for split in done.label_splits
            if len(split.seen) + len(split.unseen) != len(part.run.labels)
        ]
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
