"""Experiments that are run: train on ``train``, take every measure on ``test``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msqnet.config import WindowConfig
from msqnet.errors import DatasetError
from msqnet.evaluation.by_protocol import evaluate_protocol
from msqnet.evaluation.experiment_results import Measured
from msqnet.evaluation.experiments import measures_of
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.zero_shot import mean_and_deviation, write_splits
from msqnet.evaluation.zero_shot_runs import CLOSED_SET_NOTE, run_split
from msqnet.inference.predictor import Predictor
from msqnet.training.fit import fit
from msqnet.training.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.experiments import Experiment, Measure
    from msqnet.evaluation.protocols import Protocol
    from msqnet.evaluation.zero_shot import LabelSplit
    from msqnet.evaluation.zero_shot_runs import ZeroShotTask
    from msqnet.training.run import Run

NO_TIMES = "needs --times, a table of the test videos whose rows have start and end"
TEST_FOLDER = "test"
_SPLITS_FILE = "splits.json"
_ZERO_SHOT = (
    "Zero-shot: trained on the rows that show seen labels only, asked for the unseen ones; macro "
    "mAP over all test rows, top-1 over those of an unseen label."
)

Key = tuple[str, str]
"""Protocol and metric."""


@dataclass(frozen=True)
class SupervisedPart:
    """One official train/test split.

    Attributes:
        run: settings and training rows.
        test: rows to score.
        timed: rows with times of the same test videos, for protocols that need them; or None.
    """

    run: Run
    test: ClipTable
    timed: ClipTable | None = None


@dataclass(frozen=True)
class _Figure:
    value: float | None
    num_rows: int
    note: str = ""


def run_supervised(
    experiment: Experiment,
    parts: Sequence[SupervisedPart],
    *,
    report: Callable[[str], None],
    resume: bool = False,
    num_bootstrap: int = 1000,
    device: str = "auto",
) -> tuple[Measured, ...]:
    """Train on each part, and take every measure on its test rows.

    Args:
        experiment: with all labels seen.
        parts: official splits.
        report: called with lines for the user.
        resume: go on in folders that were started.
        num_bootstrap: resamples for the intervals in each `metrics.json`.
        device: where the finished models are scored.

    Raises:
        DatasetError: parts with different labels, rows that a protocol does not score, or that
            cannot be trained on.
        VideoError: a video cannot be read.
    """
    _check_same_labels(parts)
    found: list[Mapping[Key, _Figure]] = []
    for part in parts:
        is_started = (part.run.folder / "run.yaml").exists()
        folder = fit(part.run, report=report, resume=resume and is_started)
        window = WindowConfig(batch_size=part.run.train.batch_size)
        predictor = Predictor.from_pretrained(str(folder), device=device, window=window)
        found.append(_take(measures_of(experiment), part, predictor, report, num_bootstrap))
    return tuple(_over_parts(measure, found) for measure in measures_of(experiment))


def _check_same_labels(parts: Sequence[SupervisedPart]) -> None:
    """A mean over parts means something only where all of them ask for the same labels."""
    for part in parts[1:]:
        differing = sorted(set(part.run.labels) ^ set(parts[0].run.labels))
        if differing:
            raise DatasetError(
                f"{part.run.table.path}: {len(differing)} labels are not those of "
                f"{parts[0].run.table.path} ({', '.join(differing[:3])} ...); a mean over official "
                "splits needs the same labels in each, so give tables of one data set"
            )


def _take(
    measures: Sequence[Measure],
    part: SupervisedPart,
    predictor: Predictor,
    report: Callable[[str], None],
    num_bootstrap: int,
) -> dict[Key, _Figure]:
    """Every measure; protocols that look at the same clips in the same way share their scores."""
    done: dict[Any, dict[str, Any]] = {}
    figures: dict[Key, _Figure] = {}
    for measure in measures:
        key = measure.protocol, measure.metric
        table = part.timed if measure.needs_times else part.test
        if table is None:
            figures[key] = _Figure(None, 0, NO_TIMES)
            continue
        protocol = _protocol(measure.protocol)
        looks = (protocol.unit, protocol.views, protocol.has_top_k)
        if measure.metric not in done.get(looks, {}):
            report(f"scoring {len(table)} rows by protocol {protocol.name}")
            result, _ = evaluate_protocol(
                table,
                predictor,
                protocol,
                batch_size=part.run.train.batch_size,
                num_bootstrap=num_bootstrap,
            )
            result.write(part.run.folder / TEST_FOLDER / protocol.name)
            done[looks] = result.metrics
        metrics = done[looks]
        figures[key] = _Figure(metrics[measure.metric], metrics["num_windows"])
    return figures


def _protocol(name: str) -> Protocol:
    return next(protocol for protocol in PROTOCOLS.values() if protocol.name == name)


def _over_parts(measure: Measure, found: Sequence[Mapping[Key, _Figure]]) -> Measured:
    figures = [figures[measure.protocol, measure.metric] for figures in found]
    values = [figure.value for figure in figures if figure.value is not None]
    is_whole = len(values) == len(figures)
    mean, deviation = mean_and_deviation(values)
    protocol = _protocol(measure.protocol)
    return Measured(
        protocol=measure.protocol,
        metric=measure.metric,
        definition=protocol.definition,
        of_paper=measure.of_paper,
        is_reference=protocol.is_reference,
        value=mean if is_whole else None,
        parts=tuple(values),
        deviation=deviation if is_whole and len(values) > 1 else None,
        num_rows=tuple(figure.num_rows for figure in figures),
        note=figures[0].note,
    )


def run_zero_shot(
    experiment: Experiment,
    task: ZeroShotTask,
    splits: Sequence[LabelSplit],
    variant: str,
    report: Callable[[str], None],
) -> tuple[Measured, ...]:
    """Train on the seen labels of each split, and ask for the others; finished splits are kept.

    Args:
        experiment: with a share of the labels seen.
        task: the full model's run and the test rows.
        splits: of the labels, as the table writes them; see `check_labels`.
        variant: of `msqnet.training.variants`.
        report: called with lines for the user.

    Raises:
        DatasetError: training would tell of an unseen label.
    """
    write_splits(splits, task.run.folder / _SPLITS_FILE)
    found = []
    for split in splits:
        report(f"{split.name} ({split.origin}): {variant}")
        found.append(run_split(task, split, variant, lambda _line: None))
    is_closed = VARIANTS[variant]["head"] == "group_wise"
    return tuple(
        _over_splits(measure, [figures[measure.metric] for figures in found], task, is_closed)
        for measure in measures_of(experiment)
    )


def _over_splits(
    measure: Measure, values: Sequence[float], task: ZeroShotTask, is_closed: bool
) -> Measured:
    known = tuple(value for value in values if value == value)  # not NaN
    mean, deviation = mean_and_deviation(values)
    is_asked = measure.metric in ("unseen", "generalised_unseen", "harmonic")
    return Measured(
        protocol=measure.protocol,
        metric=measure.metric,
        definition=_ZERO_SHOT,
        of_paper=measure.of_paper,
        is_reference=False,
        value=mean if known else None,
        parts=known,
        deviation=deviation if len(known) > 1 else None,
        num_rows=(len(task.test),) * len(values),
        note=CLOSED_SET_NOTE if is_closed and is_asked else "",
    )
