"""Numbers about predictions of one and of many videos: time budgets, apart from how they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.predictions import VideoPredictions


@dataclass(frozen=True)
class LabelTime:
    """How much of a video, or of several, one label takes.

    Attributes:
        label: name of the action.
        total_seconds: length of its segments together.
        share: that in the length of the videos, from 0 to 1.
        num_bouts: number of its segments.
        mean_bout_seconds: mean length of a segment.
        mean_score: mean score over the time of its segments.
        num_videos: videos with a segment of it.
    """

    label: str
    total_seconds: float
    share: float
    num_bouts: int
    mean_bout_seconds: float
    mean_score: float
    num_videos: int


def time_budget(videos: Iterable[VideoPredictions]) -> tuple[LabelTime, ...]:
    """The time of every label that has a segment, over all given videos, the longest first.

    Segments of one label never overlap, those of different labels may: shares need not add up to 1.

    Args:
        videos: one or more; their length is what shares refer to.
    """
    lengths: dict[str, list[float]] = {}
    scored: dict[str, float] = {}
    seen_in: dict[str, int] = {}
    duration = 0.0
    for video in videos:
        duration += video.duration_seconds
        for segment in video.segments:
            seconds = segment.end_seconds - segment.start_seconds
            lengths.setdefault(segment.label, []).append(seconds)
            scored[segment.label] = scored.get(segment.label, 0.0) + segment.score * seconds
        for label in {segment.label for segment in video.segments}:
            seen_in[label] = seen_in.get(label, 0) + 1
    budget = [
        LabelTime(
            label=label,
            total_seconds=sum(own),
            share=sum(own) / duration,
            num_bouts=len(own),
            mean_bout_seconds=sum(own) / len(own),
            mean_score=scored[label] / sum(own),
            num_videos=seen_in[label],
        )
        for label, own in lengths.items()
    ]
    return tuple(sorted(budget, key=lambda item: (-item.total_seconds, item.label)))
