"""Paired, interleaved rounds: costs of contenders, their ratios, and the spread of both.

Every round runs each contender once, in an order that is rotated from round to round, so that a
machine that becomes slower or faster meets all alike. Ratios are taken within a round.

CPU time is that of the whole process (all threads) and of children that it waited for; wall time is
what a user waits. CPU time is the steadier of the two where others use the machine.
"""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from msqnet.process import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MIN_ROUNDS = 5
"""With fewer, a median and its spread say little; smoke runs alone take fewer."""


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Attributes:
        cpu_seconds: of all threads and of children that were waited for.
        wall_seconds: from start to end.
    """

    cpu_seconds: float
    wall_seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu_seconds + other.cpu_seconds, self.wall_seconds + other.wall_seconds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu_seconds - other.cpu_seconds, self.wall_seconds - other.wall_seconds)


def _now() -> Cost:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = time.process_time() + children.ru_utime + children.ru_stime
    return Cost(cpu_seconds, time.perf_counter())


class StageClock:
    """Costs of the stages of one run, by name; a stage that comes again adds to its cost."""

    def __init__(self) -> None:
        self.stages: dict[str, Cost] = defaultdict(lambda: Cost(0.0, 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes as ``name``; stages are not nested."""
        start = _now()
        yield
        self.stages[name] += _now() - start


@dataclass(frozen=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: by which it is found in results.
        run: does all of it once; may split itself into stages.
        warm_up: what is run once beforehand, uncounted; the run itself where it is None.
        set_up: settings of the process under which it runs, made before each run, uncounted.
    """

    name: str
    run: Callable[[StageClock], object]
    warm_up: Callable[[], object] | None = None
    set_up: Callable[[], object] = keep_freed_memory


@dataclass(frozen=True)
class Part:
    """A contender whose work is contained in another one's, which is serial: a sum of stages.

    Attributes:
        name: by which it is found in results.
        of: name of the other contender.
        has_stage: which of its stages belong to this one.
    """

    name: str
    of: str
    has_stage: Callable[[str], bool]


Costs = dict[str, list[Cost]]
"""By contender, one entry a round, in the order of the rounds."""


def rotated(items: Sequence[Contender], number: int) -> list[Contender]:
    """The order of round ``number``: each contender is first in turn."""
    first = number % len(items)
    return [*items[first:], *items[:first]]


def run_rounds(
    contenders: Sequence[Contender],
    parts: Sequence[Part] = (),
    *,
    num_rounds: int = MIN_ROUNDS,
    on_run: Callable[[int, str, Cost], object] = lambda number, name, cost: None,
) -> Costs:
    """Run all contenders in rounds.

    Args:
        contenders: at least one, of different names.
        parts: further ones that are contained in these.
        num_rounds: at least 1.
        on_run: told of every run: round, contender, cost.

    Returns:
        The costs of contenders and parts.

    Raises:
        ValueError: nothing to run, names that occur twice, or a part without its contender.
    """
    names = [item.name for item in contenders] + [item.name for item in parts]
    known = {contender.name for contender in contenders}
    if not contenders or num_rounds < 1 or len(set(names)) < len(names):
        raise ValueError(f"contenders {names} in {num_rounds} rounds: expected different names")
    if lost := [part.name for part in parts if part.of not in known]:
        raise ValueError(f"parts {lost}: their contenders do not run; known are {sorted(known)}")
    for contender in contenders:
        contender.set_up()
        if contender.warm_up is None:
            contender.run(StageClock())
        else:
            contender.warm_up()
    costs: Costs = {name: [] for name in names}
    for number in range(num_rounds):
        for contender in rotated(contenders, number):
            clock = StageClock()
            gc.collect()
            contender.set_up()
            start = _now()
            contender.run(clock)
            cost = _now() - start
            costs[contender.name].append(cost)
            for part in parts:
                if part.of == contender.name:
                    costs[part.name].append(_sum_of(part, clock.stages))
            on_run(number, contender.name, cost)
    return costs


def _sum_of(part: Part, stages: Mapping[str, Cost]) -> Cost:
    chosen = [cost for name, cost in stages.items() if part.has_stage(name)]
    if not chosen:
        raise ValueError(f"{part.name}: no stage of {part.of} is part of it, of {sorted(stages)}")
    return sum(chosen[1:], chosen[0])


@dataclass(frozen=True)
class Summary:
    """Median and spread of some values.

    Attributes:
        median: half of the values lie below.
        minimum: the smallest.
        maximum: the largest.
        first_quartile: a quarter of the values lies below, linearly interpolated.
        third_quartile: a quarter lies above.
        count: how many there are.
    """

    median: float
    minimum: float
    maximum: float
    first_quartile: float
    third_quartile: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Of one value or more.

        Raises:
            ValueError: no value, or one that is not finite.
        """
        if not values or not all(math.isfinite(value) for value in values):
            raise ValueError(f"values {list(values)}: expected one or more finite numbers")
        quartiles = [values[0]] * 3
        if len(values) > 1:
            quartiles = statistics.quantiles(values, n=4, method="inclusive")
        return cls(
            statistics.median(values),
            min(values),
            max(values),
            quartiles[0],
            quartiles[2],
            len(values),
        )

    def to_dict(self) -> dict[str, float]:
        """For a JSON file; ``Summary(**values)`` reads it back."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.minimum:.2f} to {self.maximum:.2f})"


def ratios(slow: Sequence[Cost], fast: Sequence[Cost]) -> dict[str, Summary]:
    """How many times as much one contender takes as another, round by round.

    Args:
        slow: one cost a round.
        fast: of the same rounds.

    Returns:
        Of "cpu" and "wall" the ratios' summary: above 1, ``fast`` is the faster one.

    Raises:
        ValueError: of other rounds.
    """
    pairs = list(zip(slow, fast, strict=True))
    return {
        "cpu": Summary.of([one.cpu_seconds / other.cpu_seconds for one, other in pairs]),
        "wall": Summary.of([one.wall_seconds / other.wall_seconds for one, other in pairs]),
    }


def cost_summaries(costs: Sequence[Cost]) -> dict[str, Any]:
    """Summaries of CPU and wall seconds as plain values, with all rounds."""
    return {
        "cpu_seconds": Summary.of([cost.cpu_seconds for cost in costs]).to_dict(),
        "wall_seconds": Summary.of([cost.wall_seconds for cost in costs]).to_dict(),
        "rounds": [asdict(cost) for cost in costs],
    }


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The e of value ~ size^e: slope of the straight line through the logarithms.

    Args:
        sizes: two different ones at least, above 0.
        values: of these sizes, above 0.

    Raises:
        ValueError: too few points, or one that is not above 0.
    """
    if len(set(sizes)) < 2 or min(*sizes, *values) <= 0:
        raise ValueError(f"sizes {list(sizes)}, values {list(values)}: two points above 0 needed")
    logs = [math.log(size) for size in sizes]
    return statistics.linear_regression(logs, [math.log(value) for value in values]).slope
