"""Ratios that must not be lost: compares a run with the floors that are kept beside this file.

    python -m benchmarks.speed.floors build/bench/quick.json            # exit code 1 below a floor
    python -m benchmarks.speed.floors build/bench/quick.json --write    # new floors from this run

A floor lies below the measured median of CPU time ratios by twice the distance from the median to
the lowest round, and by two hundredths at least. Ratios of whole predictions and of single changes
have floors; those beside another model have none. A run of other settings is not compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.speed.harness import Summary

PATH = Path(__file__).with_name("floors.json")
_MIN_MARGIN_SHARE = 0.02
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


def written(results: dict[str, Any], path: Path = PATH) -> dict[str, float]:
    """Set the floors from a run."""
    floors = {name: round(floor_of(ratio), 2) for name, ratio in cpu_ratios(results).items()}
    kept = {
        "preset": results["preset"],
        "settings": results["settings"],
        "cpu": results["machine"]["cpu"],
        "floors": floors,
    }
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return floors


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    if arguments.write:
        for name, floor in written(results).items():
            print(f"{name}: {floor:.2f}")
        return
    lost = check(results)
    print("\n".join(lost) or "no ratio lies below its floor")
    raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    main()
