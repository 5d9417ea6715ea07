from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.speed import report
from benchmarks.speed.floors import PATH, check, compared, floor_of, written
from benchmarks.speed.harness import Cost, Summary, cost_summaries, ratios
from benchmarks.speed.settings import PRESETS

if TYPE_CHECKING:
    from pathlib import Path


def summary(*values: float) -> Summary:
    return Summary.of(values)


def result_file(slow_seconds: float = 3.0) -> dict[str, Any]:
    """As `python -m benchmarks.speed` writes it, of two contenders."""
    costs = {
        "a": [Cost(slow_seconds + 0.1 * number, slow_seconds) for number in range(5)],
        "b": [Cost(1.0, 0.5)] * 5,
    }
    pair = {kind: found.to_dict() for kind, found in ratios(costs["a"], costs["b"]).items()}
    machine = {
        "cpu": "Some CPU",
        "num_usable_cpus": 2,
        "flags": {"avx2": True, "avx512f": False},
        "memory_gib": 23.4,
        "versions": {"torch": "2.0"},
        "torch_threads": 2,
        "blas": "mkl",
        "load_average": [0.1, 2.0],
    }
    contenders: dict[str, Any] = {name: cost_summaries(found) for name, found in costs.items()}
    contenders["a"]["share_of_matrix_rate"] = 0.42
    return {
        "kind": "speed",
        "preset": "quick",
        "date": "2030-01-02",
        "settings": {"num_rounds": 5},
        "machine": machine,
        "limits": {
            "sgemm_flops_per_second": 100e9,
            "sgemm_by_shape": {"large": 100e9, "small": 25e9},
            "copy_bytes_per_second": 2e9,
            "decode_realtime_factor": 20.0,
        },
        "contenders": contenders,
        "ratios": {
            "model only": {"group": "headline", "slow": "a", "fast": "b", **pair},
            "folded": {"group": "ablation", "slow": "a", "fast": "b", **pair},
        },
        "peak_memory_bytes": {"imports": 100 * 2**20, "a": 250 * 2**20},
    }


def test_floor_lies_below_the_noise_and_three_hundredths_at_least() -> None:
    assert floor_of(summary(2.0, 2.0, 2.0)) == pytest.approx(1.94)
    assert floor_of(summary(1.6, 2.0, 2.1)) == pytest.approx(1.2)


def test_a_ratio_below_its_floor_and_one_that_is_missing_are_named() -> None:
    floors = {"kept": 1.5, "lost": 1.5, "absent": 1.1}
    found = compared(floors, {"kept": summary(1.5), "lost": summary(1.4), "new": summary(0.1)})
    assert len(found) == 2
    assert found[0].startswith("lost: 1.40")
    assert "1.50" in found[0]
    assert found[1].startswith("absent: not measured")


def test_floors_written_from_a_run_hold_for_it_and_not_for_a_slower_one(tmp_path: Path) -> None:
    path = tmp_path / "floors.json"
    assert written([result_file()], path) == {"model only": 2.8, "folded": 2.8}
    assert check(result_file(), path) == []
    whole, single = check(result_file(slow_seconds=2.0), path)
    assert whole.startswith("model only: 2.20")
    assert single.startswith("folded: 2.20")


def test_of_several_runs_the_lowest_floor_counts(tmp_path: Path) -> None:
    path = tmp_path / "floors.json"
    runs = [result_file(3.0), result_file(2.9)]
    assert written(runs, path) == written(runs[1:], path)
    with pytest.raises(ValueError, match="runs of different settings: num_rounds 5 there, 3 here"):
        written([*runs, {**result_file(), "settings": {"num_rounds": 3}}], path)


def test_floors_of_some_settings_are_not_those_of_others(tmp_path: Path) -> None:
    path = tmp_path / "floors.json"
    written([result_file()], path)
    other = {**result_file(), "settings": {"num_rounds": 3}}
    assert check(other, path) == [
        "floors.json is for other settings: num_rounds 5 there, 3 here; run --preset quick"
    ]


def test_slower_run_on_another_machine_says_so(tmp_path: Path) -> None:
    path = tmp_path / "floors.json"
    written([result_file()], path)
    slower = result_file(slow_seconds=2.0)
    slower["machine"]["cpu"] = "Other CPU"
    assert "set on Some CPU, this is Other CPU" in check(slower, path)[-1]


def test_no_floors_are_not_taken_for_nothing_lost(tmp_path: Path) -> None:
    path = tmp_path / "floors.json"
    path.write_text('{"preset": "quick", "cpu": "", "floors": {}}')
    (found,) = check(result_file(), path)
    assert "holds no floors" in found


def test_kept_floors_are_of_the_quick_preset() -> None:
    kept = json.loads(PATH.read_text(encoding="utf-8"))
    assert kept["preset"] == "quick"
    assert kept["preset"] in PRESETS


def test_tables_go_between_their_markers_and_nothing_else_changes() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    filled = report.filled(page, [result_file()])
    assert "| model only | 3.20 | 3.00 to 3.40 (3.10 to 3.30) | 6.00 |" in filled
    assert "| a | 42 % |  |  |" in filled
    assert "Decoding alone goes at 20 seconds of video a second." in filled
    assert "read or written, 50 operations of matrix products" in filled
    assert "The slowest product that occurs (small) reaches 25 %" in filled
    assert "| a | 250 | 2.5 |" in filled
    assert "Some CPU, 2 CPUs (avx2), 23.4 GiB" in filled
    again = report.filled(filled, [result_file()])
    assert again == filled
    outside = report._PLACE.sub("", page)
    assert report._PLACE.sub("", filled) == outside


def test_results_without_a_place_or_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="no place in the page"):
        report.filled("nothing here", [result_file()])
    with pytest.raises(ValueError, match="expected speed, growth or gpu"):
        report.rendered({"kind": "other"})
