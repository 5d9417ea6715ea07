"""Results as Markdown tables: ratios and shares; seconds only where a run prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.speed.harness import Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; numbers stand right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(values: dict[str, float]) -> str:
    found = Summary(**values)  # type: ignore[arg-type]
    return (
        f"{found.minimum:.2f} to {found.maximum:.2f} "
        f"({found.first_quartile:.2f} to {found.third_quartile:.2f})"
    )


def ratio_table(results: dict[str, Any], group: str) -> str:
    """Ratios of one group: median, extremes, quartiles of CPU time, median of wall time; or ""."""
    rows = [
        [
            name,
            f"{ratio['cpu']['median']:.2f}",
            _spread(ratio["cpu"]),
            f"{ratio['wall']['median']:.2f}",
        ]
        for name, ratio in results["ratios"].items()
        if ratio["group"] == group
    ]
    header = ["ratio", "CPU time", "range (quartiles)", "wall time"]
    return table(header, rows) if rows else ""


def share_table(results: dict[str, Any]) -> str:
    """What each contender makes of the machine: shares of its rates, and video time."""
    decoding = results["limits"]["decode_realtime_factor"]
    rows = []
    for name, found in results["contenders"].items():
        share, factor = found.get("share_of_matrix_rate"), found.get("realtime_factor")
        if share is None and factor is None:
            continue
        rows.append(
            [
                name,
                "" if share is None else f"{100 * share:.0f} %",
                "" if factor is None else f"{100 * factor / decoding:.1f} %",
                "" if factor is None else f"{factor:.2f}",
            ]
        )
    header = [
        "",
        "share of the matrix rate",
        "share of the decoding rate",
        "video seconds a second",
    ]
    return table(header, rows)


def limits_line(results: dict[str, Any]) -> str:
    """What the machine does at most, as ratios."""
    limits = results["limits"]
    best = limits["sgemm_flops_per_second"]
    slowest = min(limits["sgemm_by_shape"], key=limits["sgemm_by_shape"].__getitem__)
    balance = best / limits["copy_bytes_per_second"]
    in_bf16 = limits.get("bf16_flops_per_second")
    beside = (
        "" if in_bf16 is None else f" In bf16 the best one's is {in_bf16 / best:.1f} times that."
    )
    return (
        f"Decoding alone goes at {limits['decode_realtime_factor']:.0f} seconds of video a second. "
        f"While one byte of memory is read or written, {balance:.0f} operations of matrix products "
        f"are done. The slowest product that occurs ({slowest}) reaches "
        f"{100 * limits['sgemm_by_shape'][slowest] / best:.0f} % of the best one's rate."
        f"{beside}"
    )


def memory_table(results: dict[str, Any]) -> str:
    """Peak memory as multiples of what the imports alone take, and in MiB."""
    peaks = results.get("peak_memory_bytes", {})
    imports = peaks.get("imports")
    rows = [[name, f"{peak / 2**20:.0f}", f"{peak / imports:.1f}"] for name, peak in peaks.items()]
    return table(["", "peak, MiB", "of the imports alone"], rows)


def seconds_table(results: dict[str, Any]) -> str:
    """Median seconds of every contender, for whoever watches the run."""
    rows = []
    for name, found in results["contenders"].items():
        cpu, wall = Summary(**found["cpu_seconds"]), Summary(**found["wall_seconds"])
        rows.append([name, str(cpu), str(wall)])
    return table(["", "CPU seconds (range)", "wall seconds (range)"], rows)


def limit_table(results: dict[str, Any]) -> str:
    """What the machine did at most, and each matrix shape as a share of the best one."""
    limits = results["limits"]
    best = limits["sgemm_flops_per_second"]
    rows = [[name, f"{100 * rate / best:.0f} %"] for name, rate in limits["sgemm_by_shape"].items()]
    return table(["matrix product, fp32", "share of the best"], rows)


def growth_tables(results: dict[str, Any]) -> str:
    """The fitted exponents of all sweeps, then a table of each: cost relative to its first size."""
    parts = [_exponent_table(results["sweeps"])]
    for name, sweep in results["sweeps"].items():
        parts += [f"**{name}**; expected: {sweep['expected']}", _point_table(sweep["points"])]
    return "\n\n".join(parts)


def _exponent_table(sweeps: dict[str, Any]) -> str:
    rows = []
    for name, sweep in sweeps.items():
        found = sweep["exponents"]
        exponents = [
            f"{found[kind][which]:.2f}" for kind in ("wall", "memory") for which in ("all", "last")
        ]
        rows.append([name, *exponents])
    header = ["exponent of", "time", "time, last two", "memory", "memory, last two"]
    return table(header, rows)


def _point_table(points: list[dict[str, Any]]) -> str:
    first = points[0]
    wall, cpu = (first[kind]["median"] for kind in ("wall_seconds", "cpu_seconds"))
    rows = [
        [
            str(point["size"]),
            f"{point['wall_seconds']['median'] / wall:.2f}",
            f"{point['cpu_seconds']['median'] / cpu:.2f}",
            f"{point['peak_memory_bytes'] / first['peak_memory_bytes']:.2f}",
            f"{point['peak_memory_bytes'] / 2**20:.0f}",
        ]
        for point in points
    ]
    return table(["size", "wall time", "CPU time", "peak memory", "peak, MiB"], rows)


def gpu_table(results: dict[str, Any]) -> str:
    """Share of the device's bf16 rate of both ways, and their ratio."""
    rows = []
    for kind in ("inference", "training"):
        found = results[kind]
        plain, best = found["plain"], found["best"]
        peaks = [way["peak_memory_bytes"] for way in (plain, best)]
        memory = "" if None in peaks else f"{peaks[0] / peaks[1]:.2f}"
        rows.append(
            [
                kind,
                f"{100 * plain['share_of_bf16_rate']:.0f} %",
                f"{100 * best['share_of_bf16_rate']:.0f} %",
                str(Summary(**found["ratio"])),
                memory,
            ]
        )
    header = ["", "plain, share of the bf16 rate", "best, likewise", "ratio (range)"]
    title = f"{results['device']}, {results['num_frames']} frames, {results['date']}:"
    return f"{title}\n\n{table([*header, 'ratio of peak memory'], rows)}"
