"""How long every label lasts in one or more videos, for the report and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msqnet.files import csv_writer, replacing
from msqnet.inference.results import open_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

TIME_BUDGET_COLUMNS = (
    *("path", "kind", "label", "seconds", "share"),
    *("num_segments", "mean_segment_seconds", "mean_score"),
)
_DECIMALS = 6


def time_budget(videos: Iterable[VideoPredictions]) -> list[dict[str, Any]]:
    """The time of every label that has a segment, over one or more videos, the longest first.

    `share` is that of its segments in the length of the videos, and `mean_score` the mean over
    their time. Segments of one label never overlap, those of different labels may: shares need not
    add up to 1.
    """
    bouts: dict[str, list[tuple[int, float, float]]] = {}
    duration = 0.0
    for number, video in enumerate(videos):
        duration += video.duration_seconds
        for segment in video.segments:
            seconds = segment.end_seconds - segment.start_seconds
            bouts.setdefault(segment.label, []).append((number, seconds, segment.score))
    budget = []
    for label, own in bouts.items():
        total = sum(seconds for _, seconds, _ in own)
        budget.append(
            {
                "label": label,
                "total_seconds": total,
                "share": total / duration,
                "num_bouts": len(own),
                "mean_bout_seconds": total / len(own),
                "mean_score": sum(score * seconds for _, seconds, score in own) / total,
                "num_videos": len({number for number, _, _ in own}),
            }
        )
    return sorted(budget, key=lambda row: (-row["total_seconds"], row["label"]))


def unknown_seconds(video: VideoPredictions) -> float:
    """How long a video is unlike the training videos."""
    return float(sum(end - start for start, end in video.timeline.unknown_intervals))


def write_time_budget(videos: Iterable[VideoPredictions], path: Path) -> None:
    """Write the time budget of every video as a table, replaced at once.

    A line for each label that the results report on, 0 s included, unless all of the video is
    unknown: none for labels that the model was not shown to recognise. Then one for the time that
    is unknown, where that was looked for.
    """
    with replacing(path) as part, open_index(part, "w") as file:
        csv_writer(file).writerow(TIME_BUDGET_COLUMNS)
        for video in videos:
            odd = video.path + "".join(video.labels)
            csv_writer(file, odd).writerows(_rows_of(video))


def _rows_of(video: VideoPredictions) -> Iterator[tuple[Any, ...]]:
    budget = {row["label"]: row for row in time_budget([video])}
    # 0 s says nothing of a label where all of the video is unknown.
    silent = set(video.labels if video.timeline.unknown_share < 1 else ()) - set(video.withheld)
    names = ("total_seconds", "share", "num_bouts", "mean_bout_seconds", "mean_score")
    for label in video.labels:
        if label in budget:
            numbers = (round(budget[label][name], _DECIMALS) for name in names)
            yield video.path, "label", label, *numbers
        elif label in silent:
            yield video.path, "label", label, 0.0, 0.0, 0, "", ""
    if video.timeline.is_unknown is not None:
        total, num = unknown_seconds(video), len(video.timeline.unknown_intervals)
        seconds, share = round(total, _DECIMALS), round(total / video.duration_seconds, _DECIMALS)
        mean = round(total / num, _DECIMALS) if num else ""
        yield video.path, "unknown", "", seconds, share, num, mean, ""
