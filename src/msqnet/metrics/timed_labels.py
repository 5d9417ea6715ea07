"""Labels over stretches of videos, and what segments and seconds need of them alike.

Intervals are [start_seconds, end_seconds). What was not annotated is masked by spans in which a
label is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ShapeError
from msqnet.intervals import covered_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.intervals import Interval
    from msqnet.metrics.average_precision import FloatArray

MASKED_SHARE = 0.5
"""What lies in unannotated spans by more than this share does not count."""
OVERLAP_TOLERANCE = 1e-9
"""Overlaps are quotients of differences of times: one that misses its bound by this meets it."""


@dataclass(frozen=True)
class TimedLabel:
    """One label over one stretch of one video: predicted, true, or not annotated.

    Attributes:
        video: name of the video.
        label_index: column of the label.
        start_seconds: start.
        end_seconds: end, exclusive.
        score: how sure a prediction is; without meaning for anything else.

    Raises:
        ShapeError: it ends before or where it starts, or a number is not finite.
    """

    video: str
    label_index: int
    start_seconds: float
    end_seconds: float
    score: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.start_seconds, self.end_seconds, self.score)
        if not (np.isfinite(numbers).all() and self.start_seconds < self.end_seconds):
            raise ShapeError(f"{self}: expected finite numbers and start_seconds < end_seconds")

    @property
    def interval(self) -> Interval:
        """Start and end."""
        return self.start_seconds, self.end_seconds

    @property
    def duration_seconds(self) -> float:
        """Length."""
        return self.end_seconds - self.start_seconds

    def overlap_seconds(self, other: TimedLabel) -> float:
        """Length of the common stretch."""
        start = max(self.start_seconds, other.start_seconds)
        return max(0.0, min(self.end_seconds, other.end_seconds) - start)

    def overlap_share(self, other: TimedLabel) -> float:
        """Temporal intersection over union, 0 to 1."""
        common = self.overlap_seconds(other)
        return common / (self.duration_seconds + other.duration_seconds - common)


Place = tuple[str, int]
"""A video and a label: what is matched only within itself."""


def by_place(items: Iterable[TimedLabel]) -> dict[Place, list[TimedLabel]]:
    """Stretches by video and label, each list sorted by start."""
    grouped: dict[Place, list[TimedLabel]] = defaultdict(list)
    for item in items:
        grouped[item.video, item.label_index].append(item)
    for group in grouped.values():
        group.sort(key=lambda item: (item.start_seconds, item.end_seconds))
    return dict(grouped)


def masked_seconds(item: TimedLabel, spans: Iterable[TimedLabel]) -> float:
    """Length of the part of `item` that spans cover, counted once where they overlap."""
    return covered_seconds((span.interval for span in spans), item.interval)


def without_masked(
    predictions: Iterable[TimedLabel], unknown: Iterable[TimedLabel]
) -> list[TimedLabel]:
    """Predictions of which at most half lies where their label was not annotated."""
    spans = by_place(unknown)
    return [
        item
        for item in predictions
        if masked_seconds(item, spans.get((item.video, item.label_index), ()))
        <= MASKED_SHARE * item.duration_seconds
    ]


def num_by_label(items: Iterable[TimedLabel], num_labels: int) -> FloatArray:
    """(K,) float64, stretches of each label.

    Raises:
        ShapeError: a label index outside 0 to K - 1.
    """
    indices = [item.label_index for item in items]
    if indices and not 0 <= min(indices) <= max(indices) < num_labels:
        raise ShapeError(
            f"label_index: found {min(indices)} to {max(indices)}, expected 0 to {num_labels - 1}"
        )
    return np.bincount(np.asarray(indices, dtype=np.intp), minlength=num_labels).astype(np.float64)
