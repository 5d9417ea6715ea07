"""Run a row of the paper's tables: train on split `train`, measure on split `test`.

    python paper/run.py --list
    python paper/run.py table1/charades_timesformer_mmq --data charades.parquet --out runs/x --dry-run
    python paper/run.py table1/charades_timesformer_mmq --data charades.parquet --out runs/x

The settings are those of the row; every one can be changed (`--train.epochs 1`), and what was
changed is written into the result. `python paper/table.py 1` shows results beside the paper's.
"""  # noqa: E501

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentError, ArgumentParser
from rich.console import Console

from experiments import (
    NUM_ZERO_SHOT_SPLITS,
    PRESETS,
    TABLES,
    ExperimentSettings,
    experiments,
    find_experiment,
    resolve,
    table_title,
)
from msqnet.cli.console import say
from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig, WindowConfig
from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.evaluation.by_protocol import evaluate_protocol
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.zero_shot_protocol import (
    CLOSED_SET_NOTE,
    check_labels,
    mean_and_deviation,
    random_splits,
    read_splits,
    run_split,
    write_splits,
)
from msqnet.files import replacing
from msqnet.inference.predictor import Predictor
from msqnet.model.builder import licences_of
from msqnet.training.fit import fit
from msqnet.training.table_training import prepare, readable_rows
from msqnet.training.training_run import VARIANTS, settings_of
from requirements import NO_TIMES, paper_line, plan
from table import RESULT_FILE, RESULT_KIND, remarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments import Experiment, Measure
    from msqnet.data.records import ClipTable
    from msqnet.evaluation.zero_shot_protocol import LabelSplit
    from msqnet.training.training_run import Run

_ZERO_SHOT = (
    "Zero-shot: trained on the rows that show seen labels only, asked for the unseen ones; macro "
    "mAP over all test rows, top-1 over those of an unseen label."
)

Measured = dict[str, Any]
"""One metric in `result.json`.

`protocol`, `metric`, `definition` of the protocol, `of_paper` (whether the paper's number is the
same metric), `is_reference` (whether the protocol is that of the paper's released code), `value`
(mean over the parts in [0, 1]; None where it was not measured), `parts`, `deviation` over the parts
(of a sample; None for one part), `num_rows` of each part, `note`.
"""


@dataclass(frozen=True)
class Job:
    """A row to run, and how.

    Attributes:
        experiment: one that can be run.
        preset: its name.
        settings: those that are used.
        data: tables of clips, one for each official split that is run.
        out: run folder.
        times: table of test rows with times, or None.
        num_splits: random splits of the labels, of a zero-shot row.
        split_lists: published ones instead; empty for random ones.
        num_bootstrap: resamples for the intervals in each `metrics.json`.
        device: where finished models are scored.
        resume: go on in a run folder that was started.
        skip_errors: leave out rows that cannot be read.
    """

    experiment: Experiment
    preset: str
    settings: ExperimentSettings
    data: tuple[Path, ...]
    out: Path
    times: Path | None = None
    num_splits: int = NUM_ZERO_SHOT_SPLITS
    split_lists: tuple[LabelSplit, ...] = ()
    num_bootstrap: int = 1000
    device: str = "auto"
    resume: bool = False
    skip_errors: bool = False

    @property
    def modified(self) -> list[str]:
        """What differs from the paper's row, apart from the clips themselves."""
        changes = self.settings.changes_from(resolve(self.experiment, self.preset))
        expected = self.experiment.data_set.num_parts
        if self.experiment.is_zero_shot:
            number = len(self.split_lists) or self.num_splits
            if number != NUM_ZERO_SHOT_SPLITS:
                changes.append(f"{number} of {NUM_ZERO_SHOT_SPLITS} splits of the labels")
            share = self.experiment.seen_share or 0.0
            sizes = [(len(item.seen), len(item.seen + item.unseen)) for item in self.split_lists]
            changes += [
                f"{seen} of {total} labels seen ({seen / total:.0%} instead of {share:.0%})"
                for seen, total in dict.fromkeys(sizes)
                if abs(seen - share * total) >= 1
            ]
        elif self.data and len(self.data) != expected:
            changes.append(f"{len(self.data)} of {expected} official splits")
        return changes

    def label_splits(self, labels: Sequence[str]) -> list[LabelSplit]:
        """The splits of the labels that a zero-shot row is run on.

        Raises:
            ConfigError: too few labels.
        """
        return list(self.split_lists) or random_splits(
            labels,
            seen_share=self.experiment.seen_share or 0.0,
            num_splits=self.num_splits,
            seed=self.settings.train.seed,
        )


def run_job(job: Job, console: Console) -> Path:
    """Train, measure, and write `result.json`.

    Returns:
        Its path.

    Raises:
        ConfigError: settings that do not fit each other.
        DatasetError: rows that cannot be used.
        VideoError: a video cannot be read.
    """
    for line in job.modified:
        console.print(f"modified: {line}", highlight=False)
    splits: list[LabelSplit] = []
    if job.experiment.is_zero_shot:
        run, test, splits, measured = _run_zero_shot(job, console)
        parts = [(run, test)]
    else:
        parts, measured = _run_supervised(job, console)
    result = _result(job, parts, splits, measured)
    job.out.mkdir(parents=True, exist_ok=True)
    with replacing(job.out / RESULT_FILE) as part:
        text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
    for item in measured:
        value = "not measured" if item["value"] is None else f"{100 * item['value']:.2f}"
        notes = "; ".join(remarks(item))
        line = f"{item['protocol']}, {item['metric']}: {value}" + (f" ({notes})" if notes else "")
        console.print(line, highlight=False, soft_wrap=True)
    console.print(paper_line(job.experiment), highlight=False, soft_wrap=True)
    return job.out / RESULT_FILE


def _prepared(job: Job, console: Console, data: Path, folder: Path) -> tuple[Run, ClipTable]:
    """The run on one table and its test rows; all videos are checked."""
    settings = job.settings
    run = prepare(
        data,
        settings.arch,
        settings.train,
        settings.augmentation,
        split="train",
        skip_errors=job.skip_errors,
        task=job.experiment.data_set.task,
        folder=folder,
        features=folder / "features" if job.experiment.is_zero_shot else None,
        report=partial(say, console),
    )
    named = {"experiment": job.experiment.name, "preset": job.preset, "modified": job.modified}
    run = replace(run, provenance={**run.provenance, **named})
    return run, readable_rows(data, "test", job.skip_errors, report=partial(say, console))


def _run_supervised(
    job: Job, console: Console
) -> tuple[list[tuple[Run, ClipTable]], list[Measured]]:
    """Train on each official split, and take every measure on its test rows."""
    timed = job.times and readable_rows(
        job.times, "test", job.skip_errors, report=partial(say, console)
    )
    parts = [
        _prepared(job, console, path, job.out / f"part-{number}")
        for number, path in enumerate(job.data, start=1)
    ]
    for run, _ in parts[1:]:
        differing = sorted(set(run.labels) ^ set(parts[0][0].labels))
        if differing:
            raise DatasetError(
                f"{run.table.path}: {len(differing)} labels are not those of "
                f"{parts[0][0].table.path} ({', '.join(differing[:3])} ...); a mean over official "
                "splits needs the same labels in each, so give tables of one data set"
            )
    found = []
    for run, test in parts:
        is_started = (run.folder / "run.yaml").exists()
        folder = fit(run, report=console.print, resume=job.resume and is_started)
        window = WindowConfig(batch_size=run.train.batch_size)
        predictor = Predictor.from_pretrained(str(folder), device=job.device, window=window)
        found.append(_measure(job, run, test, timed or None, predictor, console))
    measures = job.experiment.measures
    return parts, [
        _over_parts(measure, [one[index] for one in found])
        for index, measure in enumerate(measures)
    ]


def _measure(
    job: Job,
    run: Run,
    test: ClipTable,
    timed: ClipTable | None,
    predictor: Predictor,
    console: Console,
) -> list[tuple[float | None, int]]:
    """Value and number of rows of each measure; protocols that score the same clips share them."""
    done: dict[Any, dict[str, Any]] = {}
    found: list[tuple[float | None, int]] = []
    for measure in job.experiment.measures:
        table = timed if measure.needs_times else test
        if table is None:
            found.append((None, 0))
            continue
        protocol = PROTOCOLS[measure.protocol]  # type: ignore[index]
        scored = (protocol.unit, protocol.views, protocol.has_top_k)
        if measure.metric not in done.get(scored, {}):
            console.print(f"scoring {len(table)} rows by protocol {protocol.name}")
            result, _ = evaluate_protocol(
                table,
                predictor,
                protocol,
                batch_size=run.train.batch_size,
                num_bootstrap=job.num_bootstrap,
            )
            result.write(run.folder / "test" / protocol.name)
            done[scored] = result.metrics
        metrics = done[scored]
        found.append((metrics[measure.metric], metrics["num_windows"]))
    return found


def _over_parts(measure: Measure, found: Sequence[tuple[float | None, int]]) -> Measured:
    protocol = PROTOCOLS[measure.protocol]  # type: ignore[index]
    values = [value for value, _ in found if value is not None]
    is_whole = len(values) == len(found)
    mean, deviation = mean_and_deviation(values)
    return {
        "protocol": measure.protocol,
        "metric": measure.metric,
        "definition": protocol.definition,
        "of_paper": measure.of_paper,
        "is_reference": protocol.is_reference,
        "value": mean if is_whole else None,
        "parts": values,
        "deviation": deviation if is_whole and len(values) > 1 else None,
        "num_rows": [number for _, number in found],
        "note": NO_TIMES if measure.needs_times and not found[0][1] else "",
    }


def _run_zero_shot(
    job: Job, console: Console
) -> tuple[Run, ClipTable, list[LabelSplit], list[Measured]]:
    """Train on the seen labels of each split, and ask for the others; finished splits are kept."""
    run, test = _prepared(job, console, job.data[0], job.out)
    named = job.label_splits(run.table.label_names())
    splits = [check_labels(split, run.table) for split in named]
    write_splits(splits, job.out / "splits.json")
    name = job.settings.variant
    found = []
    for split in splits:
        console.print(f"{split.name} ({split.origin}): {name}")
        found.append(run_split(run, test, split, name))
    measured = []
    for measure in job.experiment.measures:
        values = [one[measure.metric] for one in found]
        known = [value for value in values if value == value]  # not NaN
        mean, deviation = mean_and_deviation(values)
        is_of_unseen = measure.metric in ("unseen", "generalised_unseen", "harmonic")
        is_closed = VARIANTS[name]["head"] == "group_wise"
        measured.append(
            {
                "protocol": measure.protocol,
                "metric": measure.metric,
                "definition": _ZERO_SHOT,
                "of_paper": measure.of_paper,
                "is_reference": False,
                "value": mean if known else None,
                "parts": known,
                "deviation": deviation if len(known) > 1 else None,
                "num_rows": [len(test)] * len(values),
                "note": CLOSED_SET_NOTE if is_closed and is_of_unseen else "",
            }
        )
    return run, test, splits, measured


def _result(
    job: Job,
    parts: Sequence[tuple[Run, ClipTable]],
    splits: Sequence[LabelSplit],
    measured: list[Measured],
) -> dict[str, Any]:
    experiment, data_set = job.experiment, job.experiment.data_set
    changes = list(job.modified)
    for run, test in parts:
        used = {"train": len(run.table), "test": len(test)}
        changes += [
            f"{used[split]} of {expected} {split} rows"
            for split, expected in data_set.rows.items()
            if used[split] != expected
        ]
        total = len(run.labels)
        if total != data_set.num_labels:
            changes.append(f"{total} of {data_set.num_labels} labels")
        sizes = {split.name: len(split.seen) + len(split.unseen) for split in splits}
        changes += [f"{n}: {size} of {total} labels" for n, size in sizes.items() if size != total]
    provenance = parts[0][0].provenance
    return {
        "kind": RESULT_KIND,
        "experiment": experiment.name,
        "preset": job.preset,
        "paper": {
            "percent": experiment.paper,
            "metric": experiment.paper_metric,
            "means": experiment.means,
        },
        "measured": measured,
        "modified": list(dict.fromkeys(changes)),
        "settings": job.settings.trained(),
        "settings_digest": job.settings.digest,
        "data": [_described(*pair) for pair in zip(job.data, parts, strict=True)],
        "licences": licences_of(job.settings.trained_arch),
        "versions": {name: provenance[name] for name in ("msqnet", "torch", "transformers")},
        "label_splits": [split.to_dict() for split in splits],
    }


def _described(path: Path, part: tuple[Run, ClipTable]) -> dict[str, Any]:
    run, test = part
    return {
        "table": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        "train_rows": len(run.table),
        "train_rows_digest": settings_of(run)["rows_digest"],
        "test_rows": len(test),
        "num_labels": len(run.labels),
        "labels_digest": run.labels.digest,
    }


def parser_for(argv: Sequence[str]) -> ArgumentParser:
    """The parser, with the settings of the row that the arguments name as defaults."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0], exit_on_error=False)
    add = parser.add_argument
    add("name", nargs="?", help="a row, such as table1/charades_timesformer_mmq")
    add("--list", action="store_true", help="name all rows")
    add("--data", nargs="+", type=Path, default=[], help="tables of clips; one per official split")
    add("--out", type=Path, help="run folder; by default runs/NAME")
    add("--times", type=Path, help="table of test rows with times, for protocols that need them")
    add("--preset", choices=PRESETS, default="default", help="the paper, or its released code")
    add("--num-splits", type=int, default=NUM_ZERO_SHOT_SPLITS, help="random splits of the labels")
    add("--split-lists", type=Path, help="published splits instead; see msqnet zero-shot")
    add("--num-bootstrap", type=int, default=1000, help="resamples for intervals; 0 for none")
    add("--device", default="auto", help="where finished models are scored")
    add("--resume", action="store_true", help="go on with a run that was stopped")
    add("--skip-errors", action="store_true", help="leave out rows that cannot be read")
    add("--dry-run", action="store_true", help="only say what the run would need")
    add("--config", action="config", help="a YAML file with these settings")
    for group, config in (
        ("arch", ArchConfig),
        ("train", TrainConfig),
        ("augmentation", AugmentationConfig),
    ):
        parser.add_class_arguments(config, group)
    named = next((experiments()[word] for word in argv if word in experiments()), None)
    preset = "reference" if "reference" in argv or "--preset=reference" in argv else "default"
    if named is not None and not named.reported:
        parser.set_defaults(resolve(named, preset).dotted())
    return parser


def read_job(argv: Sequence[str]) -> tuple[Job, bool] | None:
    """What the arguments ask for, and whether it is a dry run; None for the list of rows.

    Raises:
        ConfigError: the arguments do not fit.
    """
    parser = parser_for(argv)
    try:
        asked = parser.instantiate(parser.parse_args(list(argv)))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"{' '.join(str(error).split())} (see --help)") from error
    if asked.list:
        return None
    if asked.name is None:
        raise ConfigError("name a row; --list shows all of them")
    experiment = find_experiment(asked.name)
    variant = resolve(experiment, asked.preset).variant
    if not asked.data and not asked.dry_run:
        data_set = experiment.data_set
        raise ConfigError(f"--data: name the table of {data_set.title}: {data_set.convert}")
    limit = 1 if experiment.is_zero_shot else experiment.data_set.num_parts
    if len(asked.data) > limit:
        raise ConfigError(f"--data: {len(asked.data)} tables, {experiment.name} takes {limit}")
    if asked.split_lists and not experiment.is_zero_shot:
        raise ConfigError(
            f"--split-lists: {experiment.name} is trained on all labels; splits of the labels "
            "belong to the rows of table 3"
        )
    folder = experiment.name if asked.preset == "default" else f"{experiment.name}-{asked.preset}"
    job = Job(
        experiment=experiment,
        preset=asked.preset,
        settings=ExperimentSettings(asked.arch, asked.train, asked.augmentation, variant),
        data=tuple(asked.data),
        out=asked.out or Path("runs") / folder,
        times=asked.times,
        num_splits=asked.num_splits,
        split_lists=tuple(read_splits(asked.split_lists)) if asked.split_lists else (),
        num_bootstrap=asked.num_bootstrap,
        device=asked.device,
        resume=asked.resume,
        skip_errors=asked.skip_errors,
    )
    return job, asked.dry_run


def print_list() -> None:
    """Print every row of every table with the paper's result."""
    for number in TABLES:
        print(f"Table {number}: {table_title(number)}")
        for item in experiments().values():
            if item.table == number:
                repeats = f"; as {item.same_as}" if item.same_as else ""
                paper = f"{item.paper:.2f} {item.paper_metric}"
                title = item.data_set.title
                print(f"  {item.name:40}  {title:14}  {paper}  {item.description}{repeats}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code: 2 for wrong usage or a run that could not start."""
    try:
        asked = read_job(sys.argv[1:] if argv is None else argv)
        if asked is None:
            print_list()
            return 0
        job, is_dry_run = asked
        if not is_dry_run:
            console = Console(stderr=True)
            console.print(f"written: {run_job(job, console)}", soft_wrap=True)
            return 0
        is_ready = True
        for is_fine, line in plan(job):
            print(line)
            is_ready &= is_fine
        print("this run could start" if is_ready else "this run could NOT start, see above")
        return 0 if is_ready else 2
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MsqnetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
