"""What people, or a model, noted about videos: the one form between all annotation formats.

Every reader gives `Annotations`, every writer takes them. `Format.drops` says what a format has no
place for.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats.frame_times import shown_intervals
from msqnet.intervals import END_TOLERANCE_SECONDS, SAME_TIME_SECONDS, Interval, intersect
from msqnet.labels import SEPARATOR, LabelSet, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

ANY_LABEL = SEPARATOR
"""Stands for every label where nothing says which one was left out; no label has this name."""

_NUM_NAMED = 5
_SCORED = re.compile(r"score=(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?:; (.*))?", re.DOTALL)
"""Where a tool has no place for a score, it stands in the comment as ``score=0.87; text``."""


@dataclass(frozen=True)
class Event:
    """One note: something was seen from one time to another.

    Attributes:
        start_seconds: on the clock of the file, as players show it.
        end_seconds: not part of the event; the start for a point event, which has no length; None
            for a state without an end.
        subject: who did it; may be empty.
        modifiers: details beside the label, in order.
        score: in [0, 1], of a model; None for what a person noted.

    Raises:
        DatasetError: negative, infinite or swapped times, or a score outside [0, 1].
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
        """Whether it is a state without an end."""
        return self.end_seconds is None

    def begins_before(self, end_seconds: float) -> bool:
        """Whether a video that ends then shows any of it; a moment may be its very end."""
        margin = SAME_TIME_SECONDS if self.is_point else -SAME_TIME_SECONDS
        return self.start_seconds <= end_seconds + margin


@dataclass(frozen=True)
class AnnotatedVideo:
    """All that was noted about one video.

    Attributes:
        path: absolute; the video may be missing.
        events: in order of start, then end, label and subject.
        duration_seconds: None if unknown.
        checked: labels that somebody looked for in this video; None for all of the ethogram.
        observed: intervals that somebody looked at, (start, end) in seconds; None for all.
        split: part of the data; may be empty.
        group: videos of one group stay together when videos are split; may be empty.
        left_out: labels of what the reader left out or the file could not hold, `ANY_LABEL` where
            nothing says which; `settled` makes them unknown wherever they are not seen.
    """

    path: Path
    events: tuple[Event, ...]
    duration_seconds: float | None = None
    checked: frozenset[str] | None = None
    observed: tuple[tuple[float, float], ...] | None = None
    split: str = ""
    group: str = ""
    left_out: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        def order(event: Event) -> tuple[float, float, str, str]:
            end = math.inf if event.end_seconds is None else event.end_seconds
            return event.start_seconds, end, event.label, event.subject

        object.__setattr__(self, "events", tuple(sorted(self.events, key=order)))

    def is_checked(self, label: str) -> bool:
        """Whether somebody looked for a label of the ethogram in this video."""
        return label in self.known_of((label,))

    def known_of(self, ethogram: Iterable[str]) -> frozenset[str]:
        """Labels that somebody looked for, and of which nothing was left out."""
        checked = frozenset(ethogram) if self.checked is None else self.checked
        return frozenset() if ANY_LABEL in self.left_out else checked - self.left_out


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

    @classmethod
    def of_files(
        cls,
        videos: Iterable[AnnotatedVideo],
        labels: Collection[str],
        notes: Iterable[str],
        point_labels: Iterable[str] = (),
    ) -> Annotations:
        """Videos of files that each name the labels that were looked for; `labels` may repeat."""
        every = frozenset(labels)
        found = tuple(replace(v, checked=None) if v.checked == every else v for v in videos)
        ethogram = LabelSet(tuple(dict.fromkeys(labels)))
        return cls(found, ethogram, frozenset(point_labels), tuple(notes))

    def events(self) -> Iterator[Event]:
        """Those of all videos."""
        for video in self.videos:
            yield from video.events

    def all_labels(self) -> LabelSet:
        """The ethogram, then labels that only events have, in order of their names."""
        others = {event.label for event in self.events()} - set(self.labels)
        return LabelSet((*self.labels, *sorted(others)))


def joined(parts: Mapping[str, Annotations], notes: Iterable[str] = ()) -> Annotations:
    """Annotations of several files, by their names: each file is the group of its videos.

    What was looked for in a file says nothing about the videos of another one.
    """
    by_note: dict[str, list[str]] = {}
    for name, part in parts.items():
        for note in part.notes:
            by_note.setdefault(note, []).append(name)
    for note, names in by_note.items():
        notes = *notes, note if len(names) == len(parts) else f"{_first(names)}: {note}"
    videos = [
        replace(
            video,
            checked=frozenset(part.labels) if video.checked is None else video.checked,
            group=video.group or name,
        )
        for name, part in parts.items()
        for video in part.videos
    ]
    labels = [label for part in parts.values() for label in part.labels]
    points = {label for part in parts.values() for label in part.point_labels}
    models = dict.fromkeys(part.model for part in parts.values() if part.model)
    found = Annotations.of_files(videos, labels, notes, points)
    return replace(found, model=", ".join(models))


def settled(annotations: Annotations) -> Annotations:
    """The same by the rule of all formats: absent is what was looked for and not there.

    In a video, labels are known only where they are seen if the reader left out something of theirs
    (`AnnotatedVideo.left_out`), if an event of theirs begins after the end of the video, which is
    left out here, or if another observation of the same time has them for a subject for which this
    one never has them. Notes name them, and events that lie where there is no picture.
    """
    by_path: dict[Path, list[Event]] = {}
    for video in annotations.videos:
        by_path.setdefault(video.path, []).extend(video.events)
    videos, late, long, unseen, known_where_seen = [], [], [], [], []
    for video in annotations.videos:
        name, length = video.path.name, video.duration_seconds
        length = math.inf if length is None else length
        events = tuple(event for event in video.events if event.begins_before(length))
        late += [f"{e.label} in {name}" for e in video.events if not e.begins_before(length)]
        limit = length + END_TOLERANCE_SECONDS
        long += [f"{e.label} in {name}" for e in events if (e.end_seconds or 0.0) > limit]
        shown = shown_intervals(video.path) or [(0.0, math.inf)]
        unseen += [f"{e.label} in {name}" for e in events if not intersect(shown, [_time(e)])]
        left_out = video.left_out | {event.label for event in set(video.events) - set(events)}
        left_out |= _unseen_by(video, by_path[video.path])
        known = replace(video, left_out=left_out).known_of(annotations.labels)
        lost = replace(video, left_out=frozenset()).known_of(annotations.labels) - known
        if lost:
            known_where_seen.append(f"{', '.join(sorted(lost))} in {name}")
        checked = known if lost else video.checked
        videos.append(replace(video, events=events, checked=checked, left_out=frozenset()))
    named = {
        "events that begin after the end of their video, which are left out": late,
        "events that go on after the end of their video, which end there in a table": long,
        "events while there is no picture, which no row of a table covers": unseen,
        "videos with labels that are known only where they were seen": known_where_seen,
    }
    notes = count_notes({f"{text} ({_first(names)})": len(names) for text, names in named.items()})
    return replace(annotations, videos=tuple(videos), notes=(*annotations.notes, *notes))


def _unseen_by(video: AnnotatedVideo, events: Iterable[Event]) -> set[str]:
    """Labels that others saw in the time of an observation, of a subject that it has none for."""
    own = {(event.subject, event.label) for event in video.events}
    observed = [(0.0, math.inf)] if video.observed is None else video.observed
    others = (event for event in events if (event.subject, event.label) not in own)
    return {event.label for event in others if intersect(observed, [_time(event)])}


def _time(event: Event) -> Interval:
    """When it is seen, in seconds: never empty, and without an end where it has none."""
    end = math.inf if event.end_seconds is None else event.end_seconds
    return event.start_seconds, max(end, event.start_seconds + 2 * SAME_TIME_SECONDS)


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return "; ".join(names[:_NUM_NAMED]) + more


def clean_label(written: str) -> str:
    """A label as a table can hold it: `plain_text`, with ``/`` in place of ``|``."""
    return plain_text(written).replace(SEPARATOR, "/")


def comment_with_score(event: Event) -> str:
    """What an event's comment is in a tool that has no place for its score."""
    if event.score is None:
        return event.comment
    return f"score={float(event.score)!r}" + (f"; {event.comment}" if event.comment else "")


def split_comment(written: str) -> tuple[float | None, str]:
    """Score and comment of what `comment_with_score` wrote; no score for any other comment."""
    found = _SCORED.fullmatch(written)
    if found is None or float(found[1]) > 1:
        return None, written
    return float(found[1]), found[2] or ""


def last_seconds(video: AnnotatedVideo) -> float:
    """The end of a video, or of its last event if that is later or its length is not known."""
    ends = [event.end_seconds or event.start_seconds for event in video.events]
    return max([video.duration_seconds or 0.0, *ends])


def without_open_states(video: AnnotatedVideo, labels: Iterable[str]) -> AnnotatedVideo:
    """The same with states without an end as points, for a tool that knows which labels count.

    Whether such a state still held is unknown, so its label counts as one that was not looked for
    in this video: it is known where it is seen and nowhere else. `labels` are the ethogram.
    """
    opened = {event.label for event in video.events if event.is_open}
    if not opened:
        return video
    events = tuple(
        replace(event, end_seconds=event.start_seconds) if event.is_open else event
        for event in video.events
    )
    checked = frozenset(labels) if video.checked is None else video.checked
    return replace(video, events=events, checked=checked - opened)


def free_name(
    wanted: str, taken: set[str], mark: str = " #", key: Callable[[str], str] = str
) -> str:
    """The name that is wanted, or with a number after `mark` if it is taken; joins those taken.

    ``key`` is what two names must not share: of files `str.casefold`, as some disks ignore case.
    """
    name, number = wanted, 1
    while key(name) in taken:
        number += 1
        name = f"{wanted}{mark}{number}"
    taken.add(key(name))
    return name


def count_notes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """One note for each count above 0, by what is counted."""
    return tuple(f"{text}: {number}" for text, number in counts.items() if number)


def one_file_each(
    videos: Sequence[AnnotatedVideo],
    path: Path,
    suffix: str,
    title: str,
    name_of: Callable[[AnnotatedVideo], str],
    mark: str = " #",
) -> dict[Path, AnnotatedVideo]:
    """Files for a tool whose files are about one video: `path`, or a file each in that folder.

    `DatasetError` for several videos and one file, or no video at all.
    """
    if not videos:
        raise DatasetError(f"{path}: there is no video to write")
    if path.suffix.lower() != suffix or path.is_dir():
        taken: set[str] = set()
        return {
            path / f"{free_name(name_of(v), taken, mark, str.casefold)}{suffix}": v for v in videos
        }
    if len(videos) > 1:
        raise DatasetError(
            f"{path}: found {len(videos)} videos, but a file of {title} holds one; name a folder "
            f"instead, such as {path.with_suffix('')}"
        )
    return {path: videos[0]}
