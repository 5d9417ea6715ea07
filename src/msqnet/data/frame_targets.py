"""Labels of the frames of windows, and windows over the borders between labels.

Only rows whose labels hold throughout say what their frames show.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from msqnet.intervals import union
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from msqnet.data.records import Record

# Where in its window a border lies goes through the middle half in this step, so that its place
# cannot be learnt instead of what is seen.
_GOLDEN = 0.618034


def border_windows(records: Iterable[Record], seconds: float) -> list[Record]:
    """Windows over the borders between rows of one file whose labels hold throughout.

    One for each border at which a label comes or goes, within time that rows cover. A label that
    changes in the window is unknown for the window as a whole; ``parts`` tell it of its frames.
    """
    of_file: dict[Path, list[Record]] = defaultdict(list)
    records = list(records)
    names = sorted({name for record in records for name in record.labels})
    for record in records:
        if record.holds_throughout and record.end_seconds is not None:
            of_file[record.path].append(record)
    return [window for rows in of_file.values() for window in _over_borders(rows, names, seconds)]


def _over_borders(rows: list[Record], names: list[str], seconds: float) -> list[Record]:
    found = []
    for first, last in union([row.interval for row in rows]):
        inside = [row for row in rows if first <= row.interval[0] < last]
        times = sorted({time for row in inside for time in row.interval})
        if last - first < seconds:
            continue
        states = [_states(inside, names, (a + b) / 2) for a, b in pairwise(times)]
        borders = [
            time
            for time, before, after in zip(times[1:-1], states[:-1], states[1:], strict=True)
            if any({a, b} == {0.0, 1.0} for a, b in zip(before, after, strict=True))
        ]
        for number, border in enumerate(borders):
            place = 0.25 + 0.5 * ((_GOLDEN * number) % 1)
            start = min(max(border - place * seconds, first), last - seconds)
            found.append(_joined(inside, names, round(start, 6), round(start + seconds, 6)))
    return found


def _joined(rows: Sequence[Record], names: Sequence[str], start: float, end: float) -> Record:
    """The window as a record."""
    parts = tuple(row for row in rows if row.interval[0] < end and row.interval[1] > start)
    times = sorted({start, end, *(t for row in parts for t in row.interval if start < t < end)})
    states = [_states(parts, names, (a + b) / 2) for a, b in pairwise(times)]
    constant = {
        name: column[0]
        for name, column in zip(names, zip(*states, strict=True), strict=True)
        if len(set(column)) == 1
    }
    return replace(
        parts[0],
        labels=tuple(name for name, state in constant.items() if state == 1),
        annotated=frozenset(n for n, state in constant.items() if state != UNKNOWN),
        start_seconds=start,
        end_seconds=end,
        holds_throughout=False,
        parts=parts,
    )


def _states(rows: Iterable[Record], names: Sequence[str], time: float) -> list[float]:
    """Of each label at a time: 1 where a row that covers it has it, 0 where one looked for it."""
    covering = [row for row in rows if row.interval[0] <= time < row.interval[1]]
    states = [{row.state(name) for row in covering} for name in names]
    return [1.0 if 1.0 in each else 0.0 if 0.0 in each else UNKNOWN for each in states]


def frame_targets(
    records: Sequence[Record], names: Sequence[str], num_frames: int
) -> NDArray[np.float32]:
    """(V, T, K) float32 of the frames of V windows: 1, 0 and `UNKNOWN`.

    Of a row whose labels are somewhere in it, only those that are absent are known.
    """
    found = np.full((len(records), num_frames, len(names)), UNKNOWN, np.float32)
    for place, record in enumerate(records):
        if record.parts:
            start, end = record.interval
            times = start + (np.arange(num_frames) + 0.5) * (end - start) / num_frames
            found[place] = [_states(record.parts, names, time) for time in times.tolist()]
            continue
        states = np.array([record.state(name) for name in names], np.float32)
        if not record.holds_throughout:
            states[states == 1] = UNKNOWN
        found[place] = states
    return found
