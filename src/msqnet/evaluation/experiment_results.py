"""What came out of experiments, beside what the paper says.

A table has one line for each figure of a finished run, and names preset, protocol and metric in it:
figures of different ones are never comparable.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from msqnet.errors import CheckpointError
from msqnet.evaluation.experiments import experiments
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from msqnet.evaluation.experiments import Experiment

TableFormat = Literal["text", "markdown", "csv"]

RESULT_FILE = "result.json"
_PAPER_METRIC = "paper's metric"
COLUMNS = (
    *("experiment", "data set", "method", "backbone", "pretraining", "MMQ", "paper"),
    *(_PAPER_METRIC, "which is", "preset", "protocol", "metric", "ours", "sd", "notes"),
)
NOT_RUN = "not run"
REFERENCE_REMARK = "protocol of the paper's released code, not comparable with any other"
NOT_COMPARABLE = "Figures of different presets, protocols or metrics are not comparable."
_KIND = "msqnet experiment"


@dataclass(frozen=True)
class Measured:
    """One figure.

    Attributes:
        protocol: name of the evaluation protocol.
        metric: key of the figure in `metrics.json`.
        definition: what the protocol is.
        of_paper: whether the paper's figure is the same.
        is_reference: whether the protocol is that of the paper's released code (R) instead of a
            sound one.
        value: mean over the parts, in [0, 1]; None where it is not defined or was not measured.
        parts: the figure of each official split, or split of the labels, that was run.
        deviation: standard deviation over the parts (of a sample); None for one part.
        num_rows: test rows of each part.
        note: why there is no value.
    """

    protocol: str
    metric: str
    definition: str
    of_paper: bool
    is_reference: bool
    value: float | None
    parts: tuple[float, ...] = ()
    deviation: float | None = None
    num_rows: tuple[int, ...] = ()
    note: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What must stand beside the figure wherever it is shown."""
        remarks = (
            "the paper's figure" if self.of_paper else "",
            REFERENCE_REMARK if self.is_reference else "",
        )
        return tuple(filter(None, remarks))


@dataclass(frozen=True)
class ExperimentResult:
    """A finished experiment.

    Attributes:
        experiment: its name.
        preset: `default` or `reference`.
        paper: what the paper says: ``percent``, ``metric``, ``means``.
        measured: the figures.
        modified: what was not as the preset has it; empty for the experiment as it stands.
        settings: every setting of what was trained by its option name, and the ``variant``.
        settings_digest: of these.
        data: each table: ``table``, its digest, rows and labels.
        licences: of the weights that training started from.
        versions: of what it ran with.
        label_splits: each split of the labels of a zero-shot experiment: ``name``, ``origin``,
            ``seen``, ``unseen``; else empty.
        run: the folder that it was found in; empty before it is written.
    """

    experiment: str
    preset: str
    paper: dict[str, Any]
    measured: tuple[Measured, ...]
    modified: tuple[str, ...]
    settings: dict[str, Any]
    settings_digest: str
    data: tuple[dict[str, Any], ...]
    licences: tuple[str, ...]
    versions: dict[str, str]
    label_splits: tuple[dict[str, Any], ...] = ()
    run: str = ""

    def write(self, folder: Path) -> Path:
        """Write `result.json`, replaced at once.

        Args:
            folder: made if it does not exist.
        """
        folder.mkdir(parents=True, exist_ok=True)
        values = {"kind": _KIND, **asdict(self)}
        del values["run"]
        with replacing(folder / RESULT_FILE) as part:
            text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
            part.write_text(text + "\n", encoding="utf-8")
        return folder / RESULT_FILE


def find_results(folder: Path) -> list[ExperimentResult]:
    """Every finished experiment below a folder, in the order of their paths.

    Raises:
        CheckpointError: a damaged result.
    """
    results = []
    for path in sorted(folder.rglob(RESULT_FILE)):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict) or values.pop("kind", None) != _KIND:
                continue  # another program's file of that name
            values["measured"] = tuple(_measured(item) for item in values["measured"])
            for name in ("modified", "data", "licences", "label_splits"):
                values[name] = tuple(values[name])
            results.append(ExperimentResult(**values, run=str(path.parent.relative_to(folder))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path}: cannot be read as the result of an experiment ({error}); run it again, "
                "or remove the file"
            ) from error
    return results


def _measured(values: dict[str, Any]) -> Measured:
    return Measured(
        **{**values, "parts": tuple(values["parts"]), "num_rows": tuple(values["num_rows"])}
    )


def table_lines(number: int, results: Iterable[ExperimentResult]) -> list[dict[str, str]]:
    """The lines of a table of the paper with what was run, by `COLUMNS`.

    Args:
        number: of the table.
        results: finished experiments; those of other tables are passed over, but for rows that
            repeat one of them.
    """
    results = list(results)
    known = experiments()
    lines = []
    for experiment in known.values():
        if experiment.table != number:
            continue
        fitting = [
            result
            for result in results
            if result.experiment in known
            and known[result.experiment].canonical == experiment.canonical
        ]
        lines += _lines_of(experiment, fitting)
    return lines


def _lines_of(experiment: Experiment, results: Sequence[ExperimentResult]) -> list[dict[str, str]]:
    row = {
        "experiment": experiment.name,
        "data set": experiment.data_set.title,
        "method": experiment.method,
        "backbone": experiment.backbone or "-",
        "pretraining": experiment.pretraining or "-",
        "MMQ": experiment.mmq or "-",
        "paper": f"{experiment.paper:.2f}",
        _PAPER_METRIC: experiment.paper_metric,
        "which is": experiment.means,
    }
    if experiment.reported:
        how = (
            "reported, cross-dataset, not run" if experiment.cross_dataset else "reported, not run"
        )
        return [_filled(row, ours=how, notes=experiment.note)]
    if not results:
        return [_filled(row, ours=NOT_RUN, notes=experiment.note)]
    return [
        _measured_line(row, experiment, result, item)
        for result in results
        for item in result.measured
    ]


def _filled(row: dict[str, str], **cells: str) -> dict[str, str]:
    filled = {**row, **cells}
    return {column: filled.get(column) or "-" for column in COLUMNS}


def _measured_line(
    row: dict[str, str], experiment: Experiment, result: ExperimentResult, item: Measured
) -> dict[str, str]:
    notes = [
        *item.remarks,
        f"mean of {len(item.parts)} splits" if len(item.parts) > 1 else "",
        f"modified: {', '.join(result.modified)}" if result.modified else "",
        f"run {result.run}",
        item.note,
        experiment.note,
    ]
    return _filled(
        row,
        preset=result.preset,
        protocol=item.protocol,
        metric=item.metric,
        ours="not measured" if item.value is None else f"{100 * item.value:.2f}",
        sd="" if item.deviation is None else f"{100 * item.deviation:.2f}",
        notes="; ".join(filter(None, notes)),
    )


def format_table(lines: Sequence[dict[str, str]], style: TableFormat) -> str:
    """Lines as text, for the screen or for a file.

    Args:
        lines: of `table_lines`.
        style: "text" has a block for each row of the paper; "markdown" and "csv" have all columns.
    """
    if style == "text":
        return _as_text(lines)
    if style == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    rows += [tuple(line[column].replace("|", "\\|") for column in COLUMNS) for line in lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _as_text(lines: Sequence[dict[str, str]]) -> str:
    known = experiments()
    shown: list[str] = []
    for name, block in groupby(lines, key=itemgetter("experiment")):
        items = list(block)
        first = items[0]
        shown += [
            f"{name}: {known[name].what}",
            f"  the paper: {first['paper']} ({first[_PAPER_METRIC]}: {first['which is']})",
        ]
        for line in items:
            what = " ".join(line[key] for key in ("preset", "protocol", "metric", "ours"))
            deviation = "" if line["sd"] == "-" else f" +- {line['sd']}"
            notes = "" if line["notes"] == "-" else f" ({line['notes']})"
            shown.append(f"  {what.removeprefix('- - - ')}{deviation}{notes}")
    return "".join(f"{line}\n" for line in (*shown, NOT_COMPARABLE))
