"""Ratios that must not be lost: compares a run with the floors that are kept beside this file.

    python -m benchmarks.speed.floors build/bench/quick.json            # exit code 1 below a floor
    python -m benchmarks.speed.floors one.json other.json --write       # new floors from these runs

A floor lies below the measured median of CPU time ratios by twice the distance from the median to
the lowest round, and by three hundredths at least, by which medians of runs on one machine were
seen to differ; of several runs the lowest floor counts. Ratios of whole predictions and of single
changes have floors; those beside another model have none. A run of other settings is not compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed.harness import Summary
from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = Path(__file__).with_name("floors.json")
_MIN_MARGIN_SHARE = 0.03
_GROUPS = ("headline", "ablation")
_SPREADS = 2.0


def floor_of(summary: Summary) -> float:
    """The floor that a measured ratio sets."""
    noise = _SPREADS * (summary.median - summary.minimum)
    return summary.median - max(noise, _MIN_MARGIN_SHARE * summary.median)


def compared(floors: dict[str, float], ratios: dict[str, Summary]) -> list[str]:
    """A sentence for each ratio whose median lies below its floor, or that was not measured."""
    found = []
    for name, floor in floors.items():
        if name not in ratios:
            found.append(f"{name}: not measured; floors and run are of different settings")
        elif not ratios[name].median >= floor:
            found.append(f"{name}: {ratios[name]}, below the floor of {floor:.2f}")
    return found


def cpu_ratios(results: dict[str, Any]) -> dict[str, Summary]:
    """Ratios of CPU time in a result file that have floors."""
    return {
        name: Summary(**ratio["cpu"])
        for name, ratio in results["ratios"].items()
        if ratio["group"] in _GROUPS
    }


def check(results: dict[str, Any], path: Path = PATH) -> list[str]:
    """What a run loses against the floors in a file; empty where nothing is lost.

    Raises:
        FileNotFoundError: there are no floors yet.
    """
    kept = json.loads(path.read_text(encoding="utf-8"))
    if not kept["floors"]:  # nothing to fall below would read like nothing lost
        return [f"{path.name} holds no floors: set them from a run on an idle machine, --write"]
    if differing := _differing(kept["settings"], results["settings"]):
        return [f"{path.name} is for other settings: {differing}; run --preset {kept['preset']}"]
    lost = compared(kept["floors"], cpu_ratios(results))
    cpu = results["machine"]["cpu"]
    if lost and cpu != kept["cpu"]:
        lost.append(f"the floors were set on {kept['cpu']}, this is {cpu}: --write sets its own")
    return lost


def _differing(kept: dict[str, Any], found: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {kept.get(name)} there, {found.get(name)} here"
        for name in sorted(kept.keys() | found.keys())
        if kept.get(name) != found.get(name)
    )


def written(runs: Sequence[dict[str, Any]], path: Path = PATH) -> dict[str, float]:
    """Set the floors from runs of the same settings.

    Raises:
        ValueError: their settings differ.
    """
    first = runs[0]
    for run in runs[1:]:
        if differing := _differing(first["settings"], run["settings"]):
            raise ValueError(f"runs of different settings: {differing}")
    ratios = [cpu_ratios(run) for run in runs]
    floors = {name: round(min(floor_of(found[name]) for found in ratios), 2) for name in ratios[0]}
    kept = {
        "preset": first["preset"],
        "settings": first["settings"],
        "cpu": first["machine"]["cpu"],
        "floors": floors,
    }
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return floors


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+", help="files of runs; one to compare")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.results]
    if arguments.write:
        for name, floor in written(runs).items():
            print(f"{name}: {floor:.2f}")
        return
    if len(runs) > 1:
        parser.error(f"{len(runs)} files: expected one to compare, or --write")
    lost = check(runs[0])
    print("\n".join(lost) or "no ratio lies below its floor")
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
