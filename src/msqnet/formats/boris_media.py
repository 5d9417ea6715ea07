"""Observations of BORIS: files watched one behind the other, and events on the time of all of them.

Times of BORIS run through the files of an observation's first player. Here they are cut into
videos, each with times of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Event, clean_label, split_comment
from msqnet.formats.frame_times import duration_seconds
from msqnet.intervals import covers
from msqnet.labels import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

VARIABLES = ("split", "group", "checked labels")
"""Independent variables that hold what BORIS has no place for."""

ALL_CHECKED = "*"
NO_FOCAL_SUBJECT = "No focal subject"

_NO_MODIFIER = ("", "None")


@dataclass(frozen=True)
class Coded:
    """An event on the time of an observation.

    Attributes:
        start_seconds: as written, so it may be before the first file.
        end_seconds: None for a state that nobody ended, the start for a point event.
        code: of the behaviour.
        subject: empty if nobody in particular.
        modifiers: one a set, joined by ``|``.
        comment: of its start.
        end_comment: of its end.
    """

    start_seconds: float
    end_seconds: float | None
    code: str
    subject: str = ""
    modifiers: str = ""
    comment: str = ""
    end_comment: str = ""

    def at(self, start_seconds: float, end_seconds: float | None) -> Event:
        """The event with times of a video."""
        score, comment = split_comment(self.comment)
        parts = [comment, *([self.end_comment] if self.end_comment != self.comment else [])]
        return Event(
            clean_label(self.code),
            round(start_seconds, 6),
            None if end_seconds is None else round(end_seconds, 6),
            "" if self.subject == NO_FOCAL_SUBJECT else self.subject,
            _modifiers(self.modifiers),
            score,
            "; ".join(filter(None, parts)),
        )


@dataclass(frozen=True)
class Medium:
    """A file, and when it was watched on the time of an observation.

    Attributes:
        path: where it belongs.
        start_seconds: when its first frame was shown.
        end_seconds: when it was over; infinite for the last one.
        length_seconds: as the observation has it; None where it does not say.
    """

    path: Path
    start_seconds: float
    end_seconds: float
    length_seconds: float | None


def queue(
    paths: Sequence[Path], lengths: Sequence[float | None], start_seconds: float, place: str
) -> list[Medium]:
    """Files that were watched one behind the other, without a gap.

    Args:
        paths: where they belong.
        lengths: seconds, None where nothing is said; then those of the video, if it is there.
        start_seconds: when the first began.
        place: of the list, for errors.

    Raises:
        DatasetError: another file follows one whose length is not known.
    """
    media: list[Medium] = []
    for number, (path, written) in enumerate(zip(paths, lengths, strict=True), start=1):
        is_last = number == len(paths)
        length = written
        if length is None and not is_last:
            length = duration_seconds(path)
        if length is None and not is_last:
            raise DatasetError(
                f"{place}: found no length of {path.name}, which the next file follows; put the "
                "video there, or open the observation in BORIS and save the project again"
            )
        # BORIS counts whole milliseconds.
        rounded = math.floor((length or 0.0) * 1000 + 1e-6) / 1000
        end = math.inf if is_last else round(start_seconds + rounded, 3)
        media.append(Medium(path, start_seconds, end, length))
        start_seconds = end
    return media


def cut_to_videos(
    coded: Iterable[Coded],
    media: Sequence[Medium],
    interval: tuple[float, float | None] | None,
    variables: dict[str, str],
    counts: Counter[str],
) -> list[AnnotatedVideo]:
    """The videos of an observation, each with its part of the events.

    Args:
        coded: events on the time of the observation.
        media: in order of their start.
        interval: what was looked at, on the time of the observation, an end of None for all to the
            end; None for everything.
        variables: independent variables by name.
        counts: gets what could not be kept, by its description.

    Raises:
        DatasetError: the end of what was looked at is not known.
    """
    events: list[list[Event]] = [[] for _ in media]
    for item in coded:
        pieces = [(n, piece) for n, medium in enumerate(media) if (piece := _piece(item, medium))]
        for number, piece in pieces:
            events[number].append(piece)
        counts["events at times of no video, which are left out"] += not pieces
        counts["states that go on in the next video, where they are an event of their own"] += (
            len(pieces) > 1
        )
    return [
        _video(medium, found, interval, variables)
        for medium, found in zip(media, events, strict=True)
    ]


def _piece(coded: Coded, medium: Medium) -> Event | None:
    begin, end = coded.start_seconds, coded.end_seconds
    if end == begin:
        is_inside = medium.start_seconds <= begin < medium.end_seconds
        at = begin - medium.start_seconds
        return coded.at(at, at) if is_inside else None
    first = max(begin, medium.start_seconds)
    last = medium.end_seconds if end is None else min(end, medium.end_seconds)
    if first >= last:
        return None
    start = first - medium.start_seconds
    piece = coded.at(start, None if end is None else last - medium.start_seconds)
    # What rounding makes a point was none.
    return None if piece.is_point else piece


def _video(
    medium: Medium,
    events: Sequence[Event],
    interval: tuple[float, float | None] | None,
    variables: dict[str, str],
) -> AnnotatedVideo:
    length = duration_seconds(medium.path, medium.length_seconds)
    video = AnnotatedVideo(
        medium.path,
        tuple(events),
        length,
        split=variables.get("split", ""),
        group=variables.get("group", ""),
    )
    checked = variables.get("checked labels", ALL_CHECKED)
    if checked != ALL_CHECKED:
        names = (clean_label(name) for name in checked.split(SEPARATOR))
        video = replace(video, checked=frozenset(filter(None, names)))
    if interval is None:
        return video
    first, last = interval[0] - medium.start_seconds, interval[1]
    if last is None and first <= 0:
        return video
    end = length if last is None else last - medium.start_seconds
    if end is None:
        raise DatasetError(
            f"{medium.path}: what was looked at goes to the end of the video, whose length is not "
            "known; put the video there"
        )
    if length is not None and covers([(first, end)], (0.0, length)):
        return video
    stretch = max(0.0, first), end if length is None else min(end, length)
    seen = (stretch,) if stretch[0] < stretch[1] else ()
    return replace(video, observed=seen)


def _modifiers(written: str) -> tuple[str, ...]:
    """One a set; sets at the end of which none was chosen do not count."""
    parts = [part.strip() for part in written.split("|")]
    while parts and parts[-1] in _NO_MODIFIER:
        parts.pop()
    return tuple(parts)


def notes_of(counts: Counter[str]) -> list[str]:
    """One note for each count above 0."""
    return [f"{text}: {number}" for text, number in counts.items() if number]


def repeated_note(videos: Iterable[AnnotatedVideo]) -> list[str]:
    """A note on videos that several observations are about."""
    names = [path.name for path, n in Counter(item.path for item in videos).items() if n > 1]
    if not names:
        return []
    return [
        f"videos that several observations are about, each with its own rows: {', '.join(names)}; "
        "--option observation=NAME takes one observation"
    ]
