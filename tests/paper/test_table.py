"""Results of experiments on disk, and the paper's tables with them."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.errors import CheckpointError
from table import COLUMNS, RESULT_KIND, find_results, format_table, table_lines

if TYPE_CHECKING:
    from pathlib import Path

SOUND = {
    "protocol": "standard",
    "metric": "macro_map",
    "definition": "Every row.",
    "of_paper": False,
    "is_reference": False,
    "value": 0.2345,
    "parts": [0.2345],
    "deviation": None,
    "num_rows": [6],
    "note": "",
}
PAPER = {
    **SOUND,
    "protocol": "reference_micro_ap",
    "metric": "reference_micro_ap",
    "definition": "Batches.",
    "of_paper": True,
    "is_reference": True,
    "value": 0.70012,
}
NAME = "table1/animal_kingdom_timesformer_mmq"


def result(experiment: str = NAME, **changes: Any) -> dict[str, Any]:
    return {
        "kind": RESULT_KIND,
        "experiment": experiment,
        "preset": "default",
        "measured": [SOUND, PAPER],
        "modified": [],
        "run": "run",
        **changes,
    }


def write(values: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "result.json"
    path.write_text(json.dumps({k: v for k, v in values.items() if k != "run"}))
    return path


def lines_by_name(number: int, *results: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for line in table_lines(number, results):
        found.setdefault(line["experiment"], []).append(line)
    return found


def test_result_is_read_back_with_the_folder_that_it_was_found_in(tmp_path: Path) -> None:
    write(result(), tmp_path / "a" / "b")
    assert find_results(tmp_path) == [result(run="a/b")]
    assert find_results(tmp_path / "nowhere") == []


def test_other_files_of_that_name_are_passed_over_and_damaged_results_are_named(
    tmp_path: Path,
) -> None:
    write({"score": 1}, tmp_path / "other")
    assert find_results(tmp_path) == []
    values = result()
    del values["preset"]
    write(values, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"run/result\.json: .*preset"):
        find_results(tmp_path)


def test_each_metric_has_a_line_with_its_preset_protocol_and_metric() -> None:
    found = lines_by_name(1, result(run="ak"), result(preset="reference", run="ak-r"))
    lines = found[NAME]
    assert [(x["preset"], x["protocol"], x["metric"], x["ours"]) for x in lines] == [
        ("default", "standard", "macro_map", "23.45"),
        ("default", "reference_micro_ap", "reference_micro_ap", "70.01"),
        ("reference", "standard", "macro_map", "23.45"),
        ("reference", "reference_micro_ap", "reference_micro_ap", "70.01"),
    ]
    assert {line["paper"] for line in lines} == {"73.10"}
    assert ["the paper's metric" in line["notes"] for line in lines] == [False, True] * 2
    assert ["released code, not comparable" in line["notes"] for line in lines] == [False, True] * 2
    assert [line["notes"].endswith("run ak-r") for line in lines] == [False, False, True, True]


def test_rows_that_were_not_run_say_so_and_other_methods_that_nothing_is_to_run() -> None:
    found = lines_by_name(1, result())
    assert found["table1/charades_timesformer_mmq"][0]["ours"] == "not run"
    assert found["table1/charades_mvit"][0]["ours"] == "reported, not run"
    assert found["table1/charades_mvit"][0]["paper"] == "43.90"
    crossed = lines_by_name(3)["table3/hmdb51_bike"][0]
    assert crossed["ours"] == "reported, cross-dataset, not run"
    assert len(found) == 22


def test_a_run_counts_for_every_row_that_repeats_it() -> None:
    for other in (result(), result("table5/animal_kingdom_16_frames")):
        assert lines_by_name(5, other)["table5/animal_kingdom_16_frames"][0]["ours"] == "23.45"
        assert lines_by_name(1, other)[NAME][0]["ours"] == "23.45"
        assert lines_by_name(5, other)["table5/animal_kingdom_8_frames"][0]["ours"] == "not run"


def test_modified_runs_missing_figures_and_means_over_splits_are_marked() -> None:
    changed = result(modified=["train.epochs=1", "2 of 24004 train rows"])
    first = lines_by_name(1, changed)[NAME][0]
    assert "modified: train.epochs=1, 2 of 24004 train rows" in first["notes"]
    missing = result(measured=[{**SOUND, "value": None, "note": "needs --times"}])
    line = lines_by_name(1, missing)[NAME][0]
    assert (line["ours"], "needs --times" in line["notes"]) == ("not measured", True)
    splits = {**SOUND, "value": 0.9, "parts": [0.88, 0.9, 0.92], "deviation": 0.02}
    mean = result("table2/hmdb51_timesformer_mmq", measured=[splits])
    line = lines_by_name(2, mean)["table2/hmdb51_timesformer_mmq"][0]
    assert (line["ours"], line["sd"]) == ("90.00", "2.00")
    assert "mean of 3 splits" in line["notes"]


def test_csv_and_markdown_hold_every_column_and_text_every_figure() -> None:
    lines = table_lines(4, [result(run="ak")])
    assert list(csv.DictReader(io.StringIO(format_table(lines, "csv")))) == lines
    markdown = format_table(lines, "markdown").splitlines()
    assert markdown[0] == f"| {' | '.join(COLUMNS)} |"
    assert len(markdown) == 2 + len(lines)
    assert all(row.count(" | ") == len(COLUMNS) - 1 for row in markdown)
    text = format_table(lines, "text")
    assert "  default standard macro_map 23.45 (run ak)\n" in text
    assert (
        "  default reference_micro_ap reference_micro_ap 70.01 (the paper's metric; "
        "protocol of the paper's released code, not comparable with any other; run ak)\n"
    ) in text
    assert "  not run\n" in text
    assert text.endswith("metrics are not comparable.\n")
