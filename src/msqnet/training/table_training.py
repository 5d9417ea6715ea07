"""From a table of labelled clips to a finished model folder: all that `msqnet train` does."""

from __future__ import annotations

import json
import logging
import shlex
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import transformers

from msqnet import __version__
from msqnet.config import ArchConfig, AugmentationConfig, TableOptions, TrainConfig
from msqnet.data.overview import MULTI_LABEL, SINGLE_LABEL, Task, seen_task, ungrouped_note
from msqnet.data.records import ClipTable
from msqnet.data.table import scan_table
from msqnet.data.table_check import check_table
from msqnet.errors import DatasetError
from msqnet.labels import LabelSet
from msqnet.model.builder import clip_settings, licences_of
from msqnet.model.losses import LOSSES, ActionLoss, LabelCounts
from msqnet.model.registry import check_encoder_settings, encoder_spec
from msqnet.models import BEST_FOLDER, model_folder
from msqnet.training.fit import fit
from msqnet.training.processes import Processes
from msqnet.training.trackers import tracker_name
from msqnet.training.training_run import (
    Run,
    check_single_label,
    cut_into_windows,
    refuse_begun,
    remove_leftovers,
    settings_in,
    trainable_labels,
    typical_window,
    without_flip_where_sides_matter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from msqnet.model.registry import Recipe
    from msqnet.training.fit import Progress

    Data = str | Path | Sequence[str | Path] | ClipTable
    Report = Callable[[str], None]

_AS_IS = TableOptions()
_SINGLE_LABEL = (
    ": videos will have at most one label at a time. Where several can be seen at "
    "once, or rows without a label are to be added, say --task multi_label"
)
"""What follows from that task, where nobody asked for it."""
_logger = logging.getLogger("msqnet")


@dataclass(frozen=True)
class TrainedModel:
    """What `train` made.

    Attributes:
        folder: of the run; it stands for its model wherever a model is named.
        table: the rows that it was trained on.
        window: length in seconds of the windows that the model predicts on, and why.
    """

    folder: Path
    table: ClipTable
    window: tuple[float, str]

    @property
    def model_folder(self) -> Path:
        """Folder of the finished model."""
        return self.folder / BEST_FOLDER

    @property
    def validation(self) -> dict[str, Any]:
        """Macro mAP and label APs on rows kept aside, as in `validation.json`; empty without."""
        path = self.folder / "validation.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
        return found


def train(
    data: Data,
    out: str | Path,
    *,
    arch: ArchConfig = ArchConfig(),  # noqa: B008 - frozen
    train: TrainConfig | None = None,
    augmentation: AugmentationConfig = AugmentationConfig(),  # noqa: B008 - frozen
    task: Literal["auto", "multi_label", "single_label"] = "auto",
    reading: TableOptions = _AS_IS,
    split: str | None = None,
    init_from: str | Path | None = None,
    features: str | Path | None = None,
    resume: bool = False,
    keep: Literal["result", "all"] = "result",
    skip_errors: bool = False,
    report: Report = _logger.info,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a model on a table of labelled clips, as the command `msqnet train` does.

    Args:
        data: table, or several; a folder per label; or rows in memory.
        out: run folder.
        arch: of a new model. `ArchConfig()` is the recipe of ``lite``; for another encoder take
            `encoder_spec(name).recipe().arch`.
        train: how it is trained; by default as the recipe of the encoder says.
        augmentation: random changes to training clips.
        task: ``auto`` takes what the rows show.
        reading: how tables are read.
        split: rows to train on; by default those of ``train`` where the table has splits.
        init_from: finished model to start from.
        features: folder that keeps features of frozen encoders for other runs.
        resume: go on with a run that was stopped.
        keep: what stays in the run folder; ``all`` keeps checkpoints and folds.
        skip_errors: leave out rows whose video cannot be read.
        report: takes what is said on the way, line by line; by default it is logged. The lines of
            the training itself also go to ``train.log`` in the run folder.
        progress: takes what takes time, how much of it is done, and how much there is.

    Raises:
        ConfigError: settings that do not fit each other, or a folder that holds a run.
        DatasetError: rows that cannot be used.
        VideoError: a video cannot be read.

    Examples:
        >>> from msqnet import train  # doctest: +SKIP
        >>> train("clips.csv", "runs/mine").validation["macro_map"]  # doctest: +SKIP
    """
    folder, is_first = Path(out), Processes.current().is_first
    if not is_first:
        report, progress = (lambda _line: None), None
    elif not resume:
        refuse_begun(folder)  # before any video is opened
    run = prepare(
        data,
        arch,
        train or encoder_spec(arch.video_encoder).recipe().train,
        augmentation,
        reading=_remembered(reading, folder) if resume else reading,
        split=split,
        skip_errors=skip_errors,
        task=task,
        folder=folder,
        init_from=None if init_from is None else str(init_from),
        features=None if features is None else Path(features),
        report=report,
        progress=progress,
    )
    with _run_log(folder) as log:

        def told(line: str) -> None:
            report(line)
            log.line(line)

        fit(run, report=told, progress=progress, resume=resume)
    if is_first and keep == "result":
        remove_leftovers(folder)
    return TrainedModel(folder, run.table, run.window)


def prepare(
    data: Data,
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
    report: Report,
    progress: Progress | None = None,
) -> Run:
    """Read and check the rows, resolve every setting, and report both; as `train`.

    Rows that cannot be used are a `DatasetError`, settings that do not fit a `ConfigError`.
    """
    check_encoder_settings(arch)
    tracker_name(train)  # one that is not installed is refused before videos are opened
    recipe = encoder_spec(arch.video_encoder).recipe()
    # Wrong options of a loss are refused before thousands of videos are opened.
    no_rows = LabelCounts.of(np.zeros((1, 1)))
    ActionLoss("multi_label" if task == "auto" else task, train.loss, no_rows)
    table = readable_rows(data, split, skip_errors, reading, report=report, progress=progress)
    labels = LabelSet(trainable_labels(table))
    window = typical_window(table)
    num_rows, table = len(table), cut_into_windows(table, window[0])
    if len(table) > num_rows:
        over_borders = sum(bool(record.parts) for record in table.records)
        report(
            f"rows whose labels hold throughout are cut into windows of {window[0]:g} s, as "
            f"the model will predict: {num_rows} rows, {len(table)} windows ({over_borders} over "
            "borders between rows)"
        )
    init_from = None if init_from is None else str(model_folder(init_from))
    if task == "auto":
        task = _said_task(report, _fitting_task(table, arch, train, folder, init_from))
    if task == "single_label":
        check_single_label(table)
    ActionLoss(task, train.loss, no_rows)
    report(f"recipe {recipe.name}; {len(table)} row(s), {len(labels)} label(s)")
    in_every_row = [name for name in labels if all(name in row.labels for row in table.records)]
    ungrouped = ungrouped_note(table)
    _report_notes(
        report,
        [
            *(
                f"every row shows {n!r}: add rows that lack it, of empty labels"
                for n in in_every_row
            ),
            *([ungrouped] if ungrouped else []),
        ],
    )
    for line in licences_of(arch):
        report(f"weights this starts from: {line}")
    for part, given, usual in (("arch", arch, recipe.arch), ("train", train, recipe.train)):
        for name, value in asdict(given).items():
            if value != getattr(usual, name) and not is_dataclass(getattr(usual, name)):
                report(f"  --{part}.{name} {value} (the recipe has {getattr(usual, name)})")
    if train.loss != recipe.train.loss:
        report(f"  loss: {train.loss}")
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
        given_window=window,
    )


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


def _remembered(reading: TableOptions, folder: Path) -> TableOptions:
    """How a run that goes on read its table, where that is not said anew."""
    told = (settings_in(folder).get("provenance") or {}).get("reading") or {}
    return reading.completed(told)


def _said_task(report: Report, task: Task) -> str:
    follows = _SINGLE_LABEL if task.name == "single_label" else ""
    report(f"task: {task.name}, as {task.reason}{follows}")
    return task.name


def _fitting_task(
    table: ClipTable, arch: ArchConfig, train: TrainConfig, folder: Path, init_from: str | None
) -> Task:
    """The task that the rows show, unless other settings decide it."""
    if begun := settings_in(folder):
        return Task(str(begun.get("task", MULTI_LABEL)), f"this run began so in {folder}")
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
    data: Data,
    split: str | None,
    skip_errors: bool,
    reading: TableOptions = _AS_IS,
    *,
    report: Report,
    progress: Progress | None = None,
) -> ClipTable:
    """The rows of a split; stops, or leaves rows out, where `msqnet check` finds errors.

    Without a split the rows are those of `train` where the table has splits, else all. Rows with
    errors are a `DatasetError`, unless they may be left out.
    """
    table, found = (data, ()) if isinstance(data, ClipTable) else scan_table(data, reading)
    _report_notes(report, table.notes)
    if split is None and table.split_names():
        split = "train"
        others = [record for record in table.records if not record.split]
        if others:
            note = f"{len(others)} row(s) have no split and are left out, first {others[0].place}"
            _report_notes(report, [note])
    table = table.select(split)
    told = None if progress is None else partial(progress, "checking videos")
    problems = (*found, *check_table(table, progress=told).problems)
    errors = [item for item in problems if item.severity == "error"]
    words = [str(path) for path in table.files or [table.path]]
    for name, value in reading.changes.items():
        words += [f"--{name.replace('_', '-')}", value]
    advice = f"`{shlex.join(['msqnet', 'check', *words])}` lists them"
    _report_notes(report, [item.message for item in found if item.severity == "warning"])
    kinds = Counter(i.kind for i in problems[len(found) :] if i.severity == "warning")
    if kinds:
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        first = next(i for i in problems[len(found) :] if i.severity == "warning")
        shown = f"first {first.place or '-'}: {first.message}"
        _report_notes(report, [f"{kinds.total()} warning(s) ({counts}; {shown}); {advice}"])
    if not errors:
        return table
    shown = "; ".join(f"{item.place or '-'}: {item.message}" for item in errors[:3])
    if not skip_errors:
        raise DatasetError(
            f"{table.path}: {len(errors)} errors ({shown} ...); {advice}, "
            "--skip-errors leaves these rows out"
        )
    rows = {(item.table, item.row) for item in errors if item.row is not None}
    report(f"left out for {len(errors)} errors: {len(rows)} rows ({shown} ...)")
    return table.without(errors)


def _report_notes(report: Report, notes: Iterable[str]) -> None:
    for note in notes:
        report(f"msqnet: note: {note}")
