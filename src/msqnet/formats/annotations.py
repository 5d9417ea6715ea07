"""What people, or a model, noted about videos: the one form between all annotation formats.

Formats differ in what they can say. Every reader gives `Annotations`, every writer takes them, and
`losses` says what a format has no place for.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Literal

from msqnet.errors import DatasetError
from msqnet.labels import SEPARATOR, LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

Keeps = Literal[
    "points",
    "open ends",
    "subjects",
    "modifiers",
    "scores",
    "comments",
    "ethogram",
    "unchecked labels",
    "observed stretches",
    "splits",
    "groups",
]
"""What some formats have a place for and others do not. Videos, labels, starts and ends have one in
all of them."""


@dataclass(frozen=True)
class Event:
    """One note: something was seen from one time to another.

    Attributes:
        label: what is seen.
        start_seconds: start, counted from the video's first frame.
        end_seconds: end, itself not part of it; the start for a point event, which has no length;
            None for a state that nobody ended, of which only the start is known.
        subject: who did it; empty if nobody in particular.
        modifiers: what is said beside the label, in order.
        score: in [0, 1], of a model; None for what a person noted.
        comment: free text.

    Raises:
        DatasetError: times that are negative, not finite or in the wrong order, or a score outside
            [0, 1].
    """

    label: str
    start_seconds: float
    end_seconds: float | None
    subject: str = ""
    modifiers: tuple[str, ...] = ()
    score: float | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "modifiers", tuple(self.modifiers))
        end = self.start_seconds if self.end_seconds is None else self.end_seconds
        if not (math.isfinite(end) and 0 <= self.start_seconds <= end):
            raise DatasetError(
                f"{self.label!r} from {self.start_seconds} to {self.end_seconds} s: expected "
                "times of at least 0, the end not before the start"
            )
        if self.score is not None and not 0 <= self.score <= 1:
            raise DatasetError(f"{self.label!r}: found score {self.score}, expected 0 to 1")

    @property
    def is_point(self) -> bool:
        """Whether it is a moment without length."""
        return self.end_seconds == self.start_seconds

    @property
    def is_open(self) -> bool:
        """Whether it is a state that nobody ended."""
        return self.end_seconds is None


@dataclass(frozen=True)
class AnnotatedVideo:
    """All that was noted about one video.

    Attributes:
        path: where the video belongs, whether it is there or not; absolute.
        events: in order of start, then end, label and subject.
        duration_seconds: of the video; None if the file does not say.
        checked: labels that somebody looked for in this video; None for all of the ethogram.
        observed: stretches that somebody looked at, as (start, end) in seconds; None for the whole
            video.
        split: part of the data that it belongs to; empty where there is none.
        group: what must stay together when videos are split; empty where nothing is said.
    """

    path: Path
    events: tuple[Event, ...]
    duration_seconds: float | None = None
    checked: frozenset[str] | None = None
    observed: tuple[tuple[float, float], ...] | None = None
    split: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", tuple(sorted(self.events, key=_order)))


def _order(event: Event) -> tuple[float, float, str, str]:
    end = math.inf if event.end_seconds is None else event.end_seconds
    return event.start_seconds, end, event.label, event.subject


@dataclass(frozen=True)
class Annotations:
    """A project: videos, and the labels that its observers looked for.

    Attributes:
        videos: in the order of the file.
        labels: the ethogram, in its own order. An event may have a label that is not in it: it was
            seen there, and nobody looked for it elsewhere.
        point_labels: labels whose events have no length by definition.
        notes: what a user should know: what was left out and why, what was assumed.
        model: name of the model whose results these are; empty for what people noted.
    """

    videos: tuple[AnnotatedVideo, ...]
    labels: LabelSet
    point_labels: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    model: str = ""

    def events(self) -> Iterator[Event]:
        """Those of all videos."""
        for video in self.videos:
            yield from video.events

    def all_labels(self) -> LabelSet:
        """The ethogram, then labels that only events have, in order of their names."""
        others = {event.label for event in self.events()} - set(self.labels)
        return LabelSet((*self.labels, *sorted(others)))

    def other_labels_note(self, title: str) -> tuple[str, ...]:
        """What a format that knows no unknown labels makes of those beyond the ethogram.

        Args:
            title: of the format.
        """
        others = [label for label in self.all_labels() if label not in self.labels]
        if not others:
            return ()
        return (
            f"{title} takes labels that the ethogram does not have as absent wherever they were "
            f"not seen, though nobody looked for them: {', '.join(others)}",
        )

    def with_notes(self, notes: Iterable[str]) -> Annotations:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Format:
    """A file format of annotations.

    Attributes:
        name: what stands after ``--from`` and ``--to``.
        title: the tool or data set that it belongs to.
        suffix: usual ending of the file, such as ``.eaf``; empty where a folder is written.
        keeps: what it has a place for.
        read: file and settings -> annotations; None where the format is only written.
        write: annotations, file, settings -> notes on what was assumed; replaces the file at once
            or not at all; None where the format is only read.
        options: names of options that it understands, with one line of help each.
        files: what is written for a path, where that is not the one file of that name.
    """

    name: str
    title: str
    suffix: str
    keeps: frozenset[Keeps]
    read: Callable[[Path, Reading], Annotations] | None
    write: Callable[[Annotations, Path, Mapping[str, str]], tuple[str, ...]] | None
    options: Mapping[str, str] = field(default_factory=dict)
    files: Callable[[Path], tuple[Path, ...]] | None = None


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Attributes:
        videos: folder that paths of videos are relative to.
        options: some of the format's own.
    """

    videos: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def video_path(self, written: str) -> Path:
        """Where a video belongs that a file names: as written, or by its name in `videos`.

        Files carry the paths of the machine that they were written on: a path that leads nowhere
        here stands for a file of that name in the folder of the videos, if there is one. So does
        one with a drive of Windows, which leads nowhere on other systems.
        """
        # Paths written on Windows have other separators.
        name = written.replace("\\", "/")
        direct = (self.videos / name).absolute()
        by_name = (self.videos / name.rsplit("/", maxsplit=1)[-1]).absolute()
        has_drive = bool(PureWindowsPath(written).drive)
        # `os.path.exists` takes names of any length and character, from whatever a file holds.
        if os.path.exists(direct) or not (has_drive or os.path.exists(by_name)):  # noqa: PTH110
            return direct
        return by_name


def losses(annotations: Annotations, keeps: frozenset[Keeps], title: str) -> tuple[str, ...]:
    """What a format has no place for, one note each; none if nothing is lost.

    Args:
        annotations: what is written.
        keeps: what the format has a place for.
        title: of the format.
    """
    counts: dict[Keeps, int] = {
        "points": sum(event.is_point for event in annotations.events()),
        "open ends": sum(event.is_open for event in annotations.events()),
        "subjects": sum(bool(event.subject) for event in annotations.events()),
        "modifiers": sum(bool(event.modifiers) for event in annotations.events()),
        "scores": sum(event.score is not None for event in annotations.events()),
        "comments": sum(bool(event.comment) for event in annotations.events()),
        "ethogram": len(set(annotations.labels) - {event.label for event in annotations.events()}),
        "unchecked labels": sum(video.checked is not None for video in annotations.videos),
        "observed stretches": sum(video.observed is not None for video in annotations.videos),
        "splits": sum(bool(video.split) for video in annotations.videos),
        "groups": sum(bool(video.group) for video in annotations.videos),
    }
    what = {
        "points": "events without a length",
        "open ends": "states without an end",
        "subjects": "events with a subject",
        "modifiers": "events with modifiers",
        "scores": "events with a score",
        "comments": "events with a comment",
        "ethogram": "labels that no event has",
        "unchecked labels": "videos in which not all labels were looked for",
        "observed stretches": "videos of which only parts were looked at",
        "splits": "videos with a split",
        "groups": "videos with a group",
    }
    return tuple(
        f"{title} has no place for {name}: {what[name]}: {counts[name]}"
        for name in counts
        if counts[name] and name not in keeps
    )


def clean_label(written: str) -> str:
    """A label as a table can hold it: without spaces around it, ``/`` in place of ``|``."""
    return written.strip().replace(SEPARATOR, "/")
