"""From videos to the windows of them that are worth labelling, and a table to label them in."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.table import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from msqnet.errors import DatasetError
from msqnet.inference.suggestion import choose, label_uncertainty
from msqnet.labels import SEPARATOR
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.labels import LabelSet
    from msqnet.predictions import FloatArray, VideoPredictions

SUGGESTION_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, "rank", "uncertainty", "likely")

_NUM_LIKELY = 3
# Of a window that must be labelled already for it to count as known.
_KNOWN_SHARE = 0.5


@dataclass(frozen=True)
class SuggestedWindow:
    """A window whose labels would teach much.

    Attributes:
        path: the video.
        start_seconds: start.
        end_seconds: end, exclusive.
        uncertainty: see `msqnet.inference.suggestion.label_uncertainty`, in bits.
        likely: the labels with the highest scores, with these.
    """

    path: Path
    start_seconds: float
    end_seconds: float
    uncertainty: float
    likely: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class LookedAt:
    """One video, window by window.

    Attributes:
        path: the video.
        predictions: of it.
        embeddings: (N, D) float32 of its N windows.
    """

    path: Path
    predictions: VideoPredictions
    embeddings: FloatArray


def suggest_windows(
    videos: Sequence[LookedAt], num: int, known: Iterable[Record] = ()
) -> list[SuggestedWindow]:
    """Choose windows of any number of videos.

    Args:
        videos: at least one, all by one model.
        num: how many windows to choose at most.
        known: rows that are labelled already. Windows of which a row covers half are not chosen,
            and nor is what looks like them.

    Returns:
        The most instructive first; fewer than asked for where there are no more.

    Raises:
        DatasetError: every window is labelled already.
    """
    windows = [(video, window) for video in videos for window in video.predictions.windows]
    known_rows = defaultdict(list)
    for record in known:
        known_rows[record.path.resolve()].append(record)
    is_known = np.concatenate(
        [_is_known(video, known_rows[video.path.resolve()]) for video in videos]
    )
    embeddings = np.concatenate([video.embeddings for video in videos])
    if is_known.all():
        raise DatasetError(
            f"all {len(windows)} windows of {len(videos)} videos are labelled already; give other "
            "videos"
        )
    scores = np.stack([window.scores for _, window in windows])
    single_label = videos[0].predictions.single_label
    uncertainty = label_uncertainty(scores, single_label=single_label)
    free = np.flatnonzero(~is_known)
    chosen = choose(uncertainty[free], embeddings[free], num, known=embeddings[is_known])
    labels = videos[0].predictions.labels
    return [
        SuggestedWindow(
            video.path,
            window.start_seconds,
            window.end_seconds,
            float(uncertainty[place]),
            _likely(window.scores, labels),
        )
        for place in free[chosen]
        for video, window in [windows[place]]
    ]


def _is_known(
    video: LookedAt, rows: Sequence[Record]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,): whether one of the video's rows covers a window, half of it or more."""
    found = [
        any(
            min(window.end_seconds, np.inf if row.end_seconds is None else row.end_seconds)
            - max(window.start_seconds, row.start_seconds or 0.0)
            >= _KNOWN_SHARE * (window.end_seconds - window.start_seconds)
            for row in rows
        )
        for window in video.predictions.windows
    ]
    return np.array(found, dtype=np.bool_)


def _likely(scores: FloatArray, labels: LabelSet) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-scores, kind="stable")[:_NUM_LIKELY]
    return tuple((labels.names[place], float(scores[place])) for place in order)


def write_suggestions(windows: Sequence[SuggestedWindow], path: Path) -> None:
    """Write a table of clips that waits for its labels.

    Its columns are those of every table of clips, with ``labels`` and ``annotated`` empty, and
    three more: rank, uncertainty, and the likely labels with their scores.

    Args:
        windows: the most instructive first.
        path: a ``.csv`` file, replaced at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.DictWriter(file, SUGGESTION_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(windows, path.parent.resolve()))


def _cells(windows: Sequence[SuggestedWindow], folder: Path) -> Iterator[dict[str, str]]:
    for rank, window in enumerate(windows, start=1):
        place = window.path.resolve()
        likely = (f"{name} {score:.2f}" for name, score in window.likely)
        yield {
            "path": place.relative_to(folder).as_posix()
            if place.is_relative_to(folder)
            else str(place),
            "start": repr(window.start_seconds),
            "end": repr(window.end_seconds),
            "rank": str(rank),
            "uncertainty": f"{window.uncertainty:.3f}",
            "likely": SEPARATOR.join(likely),
        }
