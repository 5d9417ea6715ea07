"""Show a table of the paper beside the results of runs.

    python paper/table.py 1 --runs runs/

Each metric of a finished run has a line that names preset, protocol and metric: results of
different ones are never comparable.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import TABLES, experiments, table_title
from msqnet.cli.main import exit_code_of
from msqnet.errors import CheckpointError, MsqnetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from experiments import Experiment

RESULT_FILE = "result.json"
RESULT_KIND = "msqnet experiment"
_PAPER_METRIC = "paper's metric"
COLUMNS = (
    *("experiment", "data set", "method", "backbone", "pretraining", "MMQ", "paper"),
    *(_PAPER_METRIC, "which is", "preset", "protocol", "metric", "ours", "sd", "notes"),
)
NOT_COMPARABLE = "Results of different presets, protocols or metrics are not comparable."


def remarks(measured: dict[str, Any]) -> list[str]:
    """What must stand beside a metric wherever it is shown."""
    found = ["the paper's metric"] if measured["of_paper"] else []
    if measured["is_reference"]:
        found.append("protocol of the paper's released code, not comparable with any other")
    return found


def find_results(folder: Path) -> list[dict[str, Any]]:
    """Every finished experiment below a folder in the order of their paths, with its ``run``.

    Raises:
        CheckpointError: a damaged result.
    """
    results = []
    for path in sorted(folder.rglob(RESULT_FILE)):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict) or values.get("kind") != RESULT_KIND:
                continue  # another program's file of that name
            for name in ("experiment", "preset", "measured", "modified"):
                values[name]  # a KeyError where it is damaged
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path}: cannot be read as the result of an experiment ({error}); run it again, "
                "or remove the file"
            ) from error
        results.append({**values, "run": str(path.parent.relative_to(folder))})
    return results


def table_lines(number: int, results: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """The lines of a table of the paper with what was run, by `COLUMNS`.

    Args:
        number: of the table.
        results: finished experiments; those of other tables are passed over, except for rows that
            repeat one of them.
    """
    known = experiments()
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["experiment"] in known:
            by_name.setdefault(known[result["experiment"]].canonical, []).append(result)
    lines = []
    for experiment in known.values():
        if experiment.table == number:
            lines += _lines_of(experiment, by_name.get(experiment.canonical, ()))
    return lines


def _lines_of(experiment: Experiment, results: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    row = {
        "experiment": experiment.name,
        "data set": experiment.data_set.title,
        "method": experiment.method,
        "backbone": experiment.backbone,
        "pretraining": experiment.pretraining,
        "MMQ": experiment.mmq,
        "paper": f"{experiment.paper:.2f}",
        _PAPER_METRIC: experiment.paper_metric,
        "which is": experiment.means,
        "ours": "not run",
        "notes": experiment.note,
    }
    if experiment.reported:
        setting = "reported, cross-dataset" if experiment.cross_dataset else "reported"
        row["ours"] = f"{setting}, not run"
    lines = [
        {**row, **_cells(experiment, result, item)}
        for result in results
        for item in result["measured"]
    ]
    return [{column: line.get(column) or "-" for column in COLUMNS} for line in lines or [row]]


def _cells(
    experiment: Experiment, result: dict[str, Any], measured: dict[str, Any]
) -> dict[str, str]:
    value, deviation = measured["value"], measured["deviation"]
    notes = [
        *remarks(measured),
        f"mean of {len(measured['parts'])} splits" if len(measured["parts"]) > 1 else "",
        f"modified: {', '.join(result['modified'])}" if result["modified"] else "",
        f"run {result['run']}",
        measured["note"],
        experiment.note,
    ]
    return {
        "preset": result["preset"],
        "protocol": measured["protocol"],
        "metric": measured["metric"],
        "ours": "not measured" if value is None else f"{100 * value:.2f}",
        "sd": "" if deviation is None else f"{100 * deviation:.2f}",
        "notes": "; ".join(filter(None, notes)),
    }


def format_table(lines: Sequence[dict[str, str]], style: str) -> str:
    """Lines as text, for the screen or for a file.

    Args:
        lines: of `table_lines`.
        style: "text" has a block for each row of the paper; "markdown" and "csv" have all columns.
    """
    if style == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()
    if style == "markdown":
        rows = [COLUMNS, ("---",) * len(COLUMNS)]
        rows += [tuple(line[column].replace("|", "\\|") for column in COLUMNS) for line in lines]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    shown: list[str] = []
    for name, block in groupby(lines, key=itemgetter("experiment")):
        items = list(block)
        first = items[0]
        shown += [
            f"{name}: {experiments()[name].description}",
            f"  the paper: {first['paper']} ({first[_PAPER_METRIC]}: {first['which is']})",
        ]
        for line in items:
            what = " ".join(line[key] for key in ("preset", "protocol", "metric", "ours"))
            deviation = "" if line["sd"] == "-" else f" +- {line['sd']}"
            notes = "" if line["notes"] == "-" else f" ({line['notes']})"
            shown.append(f"  {what.removeprefix('- - - ')}{deviation}{notes}")
    return "".join(f"{line}\n" for line in (*shown, NOT_COMPARABLE))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("number", type=int, choices=TABLES, help="of the table")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of finished runs")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text")
    asked = parser.parse_args(argv)
    try:
        lines = table_lines(asked.number, find_results(asked.runs))
    except MsqnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if asked.format == "text":
        print(f"Table {asked.number}: {table_title(asked.number)}")
    print(format_table(lines, asked.format), end="")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
