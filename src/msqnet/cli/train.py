"""`msqnet train`: train a model on a table of labelled clips."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msqnet.cli.console import progress_bar, say
from msqnet.cli.tables import say_notes
from msqnet.config import ArchConfig, AugmentationConfig, TableOptions, TrainConfig
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from msqnet.data.overview import Task
    from msqnet.data.records import ClipTable
    from msqnet.model.registry import Recipe
    from msqnet.training.training_run import Run

_RENAMED = {
    r"train\.loss\.(?:focal|asymmetric|class_balanced|equalisation|logit_adjustment)_(\w+)": (
        r"train.loss.options.\1"
    ),
    r"train\.schedule": "train.restart_epochs, where 0 stands for one cosine",
    r"augmentation\.(?:brightness|contrast|saturation|hue)": "augmentation.colour_strength",
}
"""New names of options, by patterns of the old ones."""
_AS_IS = TableOptions()
_SINGLE_LABEL = (
    ": videos will have at most one label at a time. Where several can be seen at "
    "once, or rows without a label are to be added, say --task multi_label"
)
"""What follows from that task, where nobody asked for it."""


def train(
    data: list[str],
    out: str,
    arch: ArchConfig = ArchConfig(),  # noqa: B008 - frozen
    train: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    task: Literal["auto", "multi_label", "single_label"] = "auto",
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    split: str | None = None,
    init_from: str | None = None,
    features: str | None = None,
    resume: bool = False,
    keep: Literal["result", "all"] = "result",
    skip_errors: bool = False,
) -> int:
    """Train a model on a table of labelled clips.

    Settings that you leave out come from the recipe of the video encoder
    (`--arch.video_encoder`). The command prints those that differ, and writes all to `run.yaml` in
    the run folder.

    Args:
        data: Table (.csv, .tsv, .xlsx, .ods, .parquet) with the columns path, labels and, where
            they are known, start, end, annotated, split, group; or a folder per label; or several.
        out: Run folder; the finished model is in its `best/`, and `--model OUT` finds it.
        arch: Architecture of a new model.
        train: How the model is trained.
        task: `multi_label` (several actions at once) or `single_label` (exactly one); `auto` takes
            the one that the rows show, and says so.
        reading: How the table is read.
        augmentation: Random changes to training clips.
        split: Rows to train on; by default those of split `train` where the table has one.
        init_from: Finished model to start from; weights of labels of the same name are kept.
        features: Folder that keeps the features of frozen encoders for other runs on the same
            clips, also simultaneous ones; by default they are removed at the end.
        resume: Continue a run that was stopped or killed; the result is the same.
        keep: What stays in the run folder: the `result`, or `all`, with checkpoints and folds.
        skip_errors: Leave out rows whose video is missing or unreadable instead of stopping.
    """
    from rich.console import Console

    # Of several processes (torchrun, accelerate launch) the first one speaks.
    console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")
    run = prepare(
        console,
        data,
        arch,
        train,
        augmentation,
        reading=_remembered(reading, Path(out)) if resume else reading,
        split=split,
        skip_errors=skip_errors,
        task=task,
        folder=Path(out),
        init_from=init_from,
        features=None if features is None else Path(features),
    )
    from transformers.utils.logging import disable_progress_bar

    from msqnet.cli.training_summary import show_summary
    from msqnet.training.fit import fit
    from msqnet.training.training_run import remove_leftovers

    disable_progress_bar()  # of every file that it writes
    with _run_log(run.folder) as log, progress_bar("preparing", console) as show:

        def report(line: str) -> None:
            say(console, line)
            log.line(line)

        fit(
            run,
            report=report,
            progress=lambda what, done, total: show(done, total, what),
            resume=resume,
        )
    if not console.quiet:
        if keep == "result":
            remove_leftovers(run.folder)
        show_summary(console, run.table, run.folder)
    return 0


class _RunLog(logging.Handler):
    """Lines for `train.log` in a run folder; what training logs goes there too.

    The file is made once the folder is claimed, that is when its settings were found right.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self.folder = folder.absolute()
        self.waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or keep it until there is a folder."""
        self.waiting.append(f"{self.format(record)}\n")
        if (self.folder / "run.yaml").exists():
            with (self.folder / "train.log").open("a", encoding="utf-8") as file:
                file.writelines(self.waiting)
            self.waiting.clear()

    def line(self, text: str) -> None:
        """Write a line that nobody has logged."""
        self.handle(logging.makeLogRecord({"msg": text}))


@contextmanager
def _run_log(folder: Path) -> Iterator[_RunLog]:
    log, logger = _RunLog(folder), logging.getLogger("msqnet.training")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


def defaults(argv: Sequence[str]) -> dict[str, Any]:
    """Settings of the recipe that the arguments choose, by their dotted option names."""
    import yaml

    from msqnet.model.registry import VIDEO_ENCODERS, recipe_defaults

    for old, new in _RENAMED.items():
        for argument in argv:
            found = re.match(rf"--{old}(?:=|$)", argument)
            if found:
                raise ConfigError(f"{argument.partition('=')[0]} is now --{found.expand(new)}")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--arch", default="")
    parser.add_argument("--arch.video_encoder", dest="encoder")
    known, _ = parser.parse_known_args(list(argv))
    config = known.config
    written = config.read_text(encoding="utf-8") if config and config.is_file() else ""
    try:
        in_file = _mapping(_mapping(yaml.safe_load(written)).get("arch"))
        in_argument = _mapping(yaml.safe_load(known.arch))
    except yaml.YAMLError as error:
        raise ConfigError(f"--config or --arch is not YAML: {error}") from error
    encoder = known.encoder or {**in_file, **in_argument}.get("video_encoder")
    # A name that no recipe has is left to the parser, whose message lists the choices.
    return recipe_defaults(encoder if encoder in VIDEO_ENCODERS else ArchConfig.video_encoder)


def _mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one: the parser says what is wrong with it."""
    return value if isinstance(value, dict) else {}


def prepare(
    console: Console,
    data: Path | Sequence[str],
    arch: ArchConfig,
    train: TrainConfig,
    augmentation: AugmentationConfig,
    *,
    reading: TableOptions = _AS_IS,
    split: str | None,
    skip_errors: bool,
    task: str,
    folder: Path,
    features: Path | None = None,
    init_from: str | None = None,
) -> Run:
    """Read and check the rows, resolve every setting, and print both; as `train`.

    Rows that cannot be used are a `DatasetError`, settings that do not fit a `ConfigError`.
    """
    import numpy as np

    from msqnet.labels import LabelSet
    from msqnet.model.builder import clip_settings, licences_of
    from msqnet.model.losses import ActionLoss, LabelCounts
    from msqnet.model.registry import check_encoder_settings, encoder_spec
    from msqnet.models import model_folder
    from msqnet.training.training_run import (
        Run,
        check_single_label,
        cut_into_windows,
        trainable_labels,
        typical_window,
        without_flip_where_sides_matter,
    )

    check_encoder_settings(arch)
    recipe = encoder_spec(arch.video_encoder).recipe()
    # Wrong options of a loss are refused before thousands of videos are opened.
    no_rows = LabelCounts.of(np.zeros((1, 1)))
    ActionLoss("multi_label" if task == "auto" else task, train.loss, no_rows)
    table = readable_rows(console, data, split, skip_errors, reading)
    labels = LabelSet(trainable_labels(table))
    window_seconds, _ = typical_window(table)
    num_rows, table = len(table), cut_into_windows(table, window_seconds)
    if len(table) > num_rows:
        say(
            console,
            f"rows whose labels hold throughout are cut into windows of {window_seconds:g} s, as "
            f"the model will predict: {num_rows} rows, {len(table)} windows",
        )
    init_from = None if init_from is None else str(model_folder(init_from))
    if task == "auto":
        task = _said_task(console, _fitting_task(table, arch, train, folder, init_from))
    if task == "single_label":
        check_single_label(table)
    ActionLoss(task, train.loss, no_rows)
    console.print(f"recipe {recipe.name}; {len(table)} rows, {len(labels)} labels")
    for line in licences_of(arch):
        say(console, f"weights this starts from: {line}")
    for part, given, usual in (("arch", arch, recipe.arch), ("train", train, recipe.train)):
        for name, value in asdict(given).items():
            if value != getattr(usual, name) and not is_dataclass(getattr(usual, name)):
                say(console, f"  --{part}.{name} {value} (the recipe has {getattr(usual, name)})")
    if train.loss != recipe.train.loss:
        say(console, f"  loss: {train.loss}")
    return Run(
        table=table,
        labels=labels,
        arch=arch,
        clip=clip_settings(arch, recipe.clip),
        augmentation=without_flip_where_sides_matter(augmentation, labels),
        train=train,
        task=task,
        folder=folder,
        features=features,
        init_from=init_from,
        provenance=_provenance(table, recipe, arch, train, init_from),
    )


def _remembered(reading: TableOptions, folder: Path) -> TableOptions:
    """How a run that goes on read its table, where that is not said anew."""
    import yaml

    path = folder / "run.yaml"
    if not path.is_file():
        return reading
    settings = _mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    told = _mapping(_mapping(settings.get("provenance")).get("reading"))
    columns = told.get("columns")
    if isinstance(columns, dict):
        texts = [f"{role}={name}" for role, name in columns.items() if isinstance(name, str)]
        told = {**told, "columns": ",".join(texts) or None}
    names = [name for name, value in asdict(reading).items() if value is None]
    return replace(reading, **{name: told[name] for name in names if name in told})


def _said_task(console: Console, task: Task) -> str:
    follows = _SINGLE_LABEL if task.name == "single_label" else ""
    say(console, f"task: {task.name}, as {task.reason}{follows}")
    return task.name


def _fitting_task(
    table: ClipTable, arch: ArchConfig, train: TrainConfig, folder: Path, init_from: str | None
) -> Task:
    """The task that the rows show, unless other settings decide it."""
    import yaml

    from msqnet.data.overview import MULTI_LABEL, SINGLE_LABEL, Task, seen_task
    from msqnet.model.losses import LOSSES

    begun = folder / "run.yaml"
    if begun.is_file():
        settings = _mapping(yaml.safe_load(begun.read_text(encoding="utf-8")))
        return Task(str(settings.get("task", MULTI_LABEL)), f"this run began so in {folder}")
    seen = seen_task(table)
    if seen.name != SINGLE_LABEL:
        return seen
    if arch.head != "group_wise":
        return Task(MULTI_LABEL, f"the head {arch.head} scores each label without the others")
    if (SINGLE_LABEL, train.loss.name) not in LOSSES:
        return Task(MULTI_LABEL, f"the loss {train.loss.name} is for that task only")
    if init_from is not None:
        config = json.loads((Path(init_from) / "config.json").read_text(encoding="utf-8"))
        if config.get("task") != SINGLE_LABEL:
            return Task(MULTI_LABEL, f"{init_from}, from which it starts, is a model of that task")
    return seen


def _provenance(
    table: ClipTable, recipe: Recipe, arch: ArchConfig, train: TrainConfig, init_from: str | None
) -> dict[str, Any]:
    import torch
    import transformers

    from msqnet import __version__
    from msqnet.model.builder import licences_of

    base = None
    if init_from is not None:
        # Data, licences and settings behind the first model hold for the new one too.
        config = json.loads((Path(init_from) / "config.json").read_text(encoding="utf-8"))
        base = {"model": init_from, **(config.get("provenance") or {})}
    return {
        "data": table.path.name,
        "num_rows": len(table),
        **({"reading": dict(table.origin)} if table.origin else {}),
        "sources": sorted({record.source for record in table.records if record.source}),
        "recipe": recipe.name,
        "init_from": base,
        "seed": train.seed,
        "pretrained_licences": licences_of(arch),
        "msqnet": __version__,
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }


def readable_rows(
    console: Console,
    data: Path | Sequence[str],
    split: str | None,
    skip_errors: bool,
    reading: TableOptions = _AS_IS,
) -> ClipTable:
    """The rows of a split; stops, or leaves rows out, where `msqnet check` finds errors.

    Without a split the rows are those of `train` where the table has splits, else all. Rows with
    errors are a `DatasetError`, unless they may be left out.
    """
    from msqnet.data.table import scan_table
    from msqnet.data.table_check import check_table
    from msqnet.errors import DatasetError

    table, found = scan_table(data, reading)
    say_notes(console, table.notes)
    if split is None and table.split_names():
        split = "train"
        others = [record for record in table.records if not record.split]
        if others:
            note = f"{len(others)} row(s) have no split and are left out, first {others[0].place}"
            say_notes(console, [note])
    table = table.select(split)
    with progress_bar("checking videos", console) as progress:
        problems = (*found, *check_table(table, progress=progress).problems)
    errors = [item for item in problems if item.severity == "error"]
    advice = f"`msqnet check {' '.join(map(str, table.files or [table.path]))}` lists them"
    say_notes(console, [item.message for item in found if item.severity == "warning"])
    kinds = Counter(i.kind for i in problems[len(found) :] if i.severity == "warning")
    if kinds:
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        say_notes(console, [f"{kinds.total()} warning(s) ({counts}); {advice}"])
    if not errors:
        return table
    shown = "; ".join(f"{item.place or '-'}: {item.message}" for item in errors[:3])
    if not skip_errors:
        raise DatasetError(
            f"{table.path}: {len(errors)} errors ({shown} ...); {advice}, "
            "--skip-errors leaves these rows out"
        )
    rows = {(item.table, item.row) for item in errors if item.row is not None}
    console.print(f"left out for {len(errors)} errors: {len(rows)} rows ({shown} ...)")
    return table.without(errors)
