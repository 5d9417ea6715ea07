"""Puts results into the tables of `docs/explanation/speed.md`, between its markers.

    python -m benchmarks.speed.report build/bench/full.json build/bench/growth.json

A table stands between `<!-- bench: NAME -->` and `<!-- bench end -->`; what the given files do not
tell stays as it is. Only ratios and shares are written: seconds belong to one machine.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import tables
from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "speed.md"
_PLACE = re.compile(r"(<!-- bench: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- bench end -->)", re.DOTALL)


def machine_line(results: dict[str, Any]) -> str:
    """Where and how a result was measured."""
    facts = results["machine"]
    flags = ", ".join(name for name, has in facts["flags"].items() if has) or "no wide vectors"
    loads = " and ".join(f"{load:.1f}" for load in facts["load_average"])
    rounds = results.get("settings", {}).get("num_rounds")
    counted = "" if rounds is None else f" {rounds} rounds."
    clip = f" Videos are cut from {results['source']}." if "source" in results else ""
    return (
        f"{facts['cpu']}, {facts['num_usable_cpus']} CPUs ({flags}), {facts['memory_gib']} GiB; "
        f"torch {facts['versions']['torch']}, {facts['torch_threads']} threads, "
        f"{facts['blas']}; {results['date']}.{counted} Load average {loads}.{clip}"
    )


def rendered(results: dict[str, Any]) -> dict[str, str]:
    """The tables that a result file fills, by the name of their place.

    Raises:
        ValueError: it is not a result of these benchmarks.
    """
    kind = results.get("kind")
    if kind == "speed":
        places = {
            "machine": machine_line(results),
            "ratios": tables.ratio_table(results, "headline"),
            "ablations": tables.ratio_table(results, "ablation"),
            "shares": tables.share_table(results),
            "limits": tables.limits_line(results),
        }
        if beside := tables.ratio_table(results, "another model"):
            places["lite"] = beside
        if in_bf16 := tables.ratio_table(results, "bf16"):
            places["bf16"] = in_bf16
        if results["peak_memory_bytes"]:
            places["memory"] = tables.memory_table(results)
        return places
    if kind == "growth":
        return {"growth": tables.growth_tables(results)}
    if kind == "gpu":
        return {"gpu": tables.gpu_table(results)}
    raise ValueError(f"results of kind {kind!r}: expected speed, growth or gpu")


def filled(page: str, results: Iterable[dict[str, Any]]) -> str:
    """A page with its tables.

    Raises:
        ValueError: a table that has no place in the page.
    """
    made: dict[str, str] = {}
    for result in results:
        made |= rendered(result)
    found = {match["name"] for match in _PLACE.finditer(page)}
    if lost := sorted(made.keys() - found):
        raise ValueError(f"tables {lost}: no place in the page; it has {sorted(found)}")

    def fill(match: re.Match[str]) -> str:
        text = made.get(match["name"])
        return match[0] if text is None else f"{match[1]}{text}\n{match[3]}"

    return _PLACE.sub(fill, page)


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    results = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.results]
    page = filled(arguments.page.read_text(encoding="utf-8"), results)
    arguments.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
