"""Measures msqnet beside what a competent user would assemble, and beside the machine's limits.

    python -m benchmarks.speed --preset bench
    python -m benchmarks.speed --preset quick --floors
    python -m benchmarks.speed --preset bench --exported exported/onnx exported/int8

See `docs/explanation/speed.md`. Set OMP_NUM_THREADS to choose torch's threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.speed import floors, limits, machine, memory, tables
from benchmarks.speed.bench import Bench
from benchmarks.speed.contenders import BOTH, Field, build
from benchmarks.speed.harness import Cost, Costs, Summary, cost_summaries, ratios, run_rounds
from benchmarks.speed.settings import PRESETS
from benchmarks.speed.videos import FOLDER, source_clip
from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from benchmarks.speed.settings import Settings


_RATE = "sgemm_flops_per_second"


def measure(bench: Bench) -> dict[str, Any]:
    """Everything, in one process and one order: limits, rounds, memory, limits again.

    Returns:
        JSON values only.
    """
    settings = bench.settings
    started = time.perf_counter()
    loads = [machine.load_average()]
    _say(machine.load_warning(loads[0], own=0))
    _say("making videos, measuring the machine's limits")
    first_limits = limits.measured(settings, bench.lite_video)
    agreement = bench.check_agreement()
    _say(f"scores of baseline and msqnet differ by {agreement['largest_difference']:.1e} at most")
    found = build(bench)
    costs = run_rounds(
        found.contenders, found.parts, num_rounds=settings.num_rounds, on_run=_report_run
    )
    peaks = {}
    if settings.with_memory:
        works = [work for work in memory.WORKS if work != "lite" or settings.with_lite]
        peaks = {work: memory.measured(work, settings.preset, bench.source) for work in works}
    loads.append(machine.load_average())
    _say(machine.load_warning(loads[1], own=torch.get_num_threads()))
    best = limits.best_of(first_limits, limits.measured(settings, bench.lite_video))
    return {
        "kind": "speed",
        "preset": settings.preset,
        "date": datetime.now(UTC).date().isoformat(),
        "settings": asdict(settings),
        "source": bench.source.name,
        "machine": {**machine.facts(), "load_average": loads},
        "attention": bench.parts.attention,
        "agreement": agreement,
        "limits": best,
        "contenders": _contenders(found, costs, best),
        "ratios": _ratios(found, costs),
        "peak_memory_bytes": peaks,
        "notes": found.notes,
        "seconds": time.perf_counter() - started,
    }


def _contenders(found: Field, costs: Costs, best: dict[str, Any]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name, rounds in costs.items():
        if name == BOTH:  # reads every window twice: no user would
            continue
        wall_seconds = Summary.of([cost.wall_seconds for cost in rounds]).median
        results[name] = cost_summaries(rounds)
        if name in found.flops:
            flops = found.flops[name]
            rate = best["bf16_flops_per_second" if name in found.in_bf16 else _RATE]
            results[name]["flops"] = flops
            results[name]["share_of_matrix_rate"] = flops / (wall_seconds * rate)
        if name in found.video_seconds:
            results[name]["realtime_factor"] = found.video_seconds[name] / wall_seconds
    return results


def _ratios(found: Field, costs: Costs) -> dict[str, Any]:
    return {
        pair.name: {
            "group": pair.group,
            "slow": pair.slow,
            "fast": pair.fast,
            **{
                kind: summary.to_dict()
                for kind, summary in ratios(costs[pair.slow], costs[pair.fast]).items()
            },
        }
        for pair in found.pairs
    }


def _say(text: str | None) -> None:
    if text:
        print(text, flush=True)


def _report_run(number: int, name: str, cost: Cost) -> None:
    _say(f"round {number + 1}: {name}: {cost.cpu_seconds:.2f} CPU s, {cost.wall_seconds:.2f} s")


def printed(results: dict[str, Any]) -> str:
    """The end of a run: tables of seconds, limits, shares, ratios."""
    parts = [
        tables.seconds_table(results),
        tables.limit_table(results),
        tables.limits_line(results),
        tables.share_table(results),
        tables.memory_table(results) if results["peak_memory_bytes"] else "",
        tables.ratio_table(results, "ablation"),
        tables.ratio_table(results, "another model"),
        tables.ratio_table(results, "bf16"),
        tables.ratio_table(results, "headline"),
        *results["notes"],
    ]
    return "\n\n".join(part for part in parts if part)


def _settings(arguments: argparse.Namespace) -> Settings:
    """The preset, with what was asked for otherwise."""
    changes = {
        "num_rounds": arguments.rounds,
        "paper_seconds": arguments.paper_seconds,
        "with_compiled": arguments.compiled or None,
    }
    asked = {name: value for name, value in changes.items() if value is not None}
    return replace(PRESETS[arguments.preset], **asked)


def main() -> None:
    """Measure, write, print; exit code 1 where a ratio lies below its floor."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="bench")
    parser.add_argument("--rounds", type=int, help="other than the preset's")
    parser.add_argument("--paper_seconds", type=float, help="likewise: video of the paper's model")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile (minutes)")
    parser.add_argument("--video", type=Path, help="clip that videos are made from")
    parser.add_argument("--exported", type=Path, nargs="*", default=[], help="folders, of lite")
    parser.add_argument("--floors", action="store_true", help="compare with floors.json")
    parser.add_argument("--out", type=Path, help="JSON file; build/bench/PRESET.json by default")
    arguments = parser.parse_args()
    bench = Bench(_settings(arguments), arguments.video or source_clip(), arguments.exported)
    results = measure(bench)
    path = arguments.out or FOLDER / f"{arguments.preset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\n{printed(results)}\n\nwritten to {path} after {results['seconds']:.0f} s")
    if arguments.floors:
        lost = floors.check(results)
        print("\n".join(lost) or "no ratio lies below its floor")
        raise SystemExit(1 if lost else 0)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
