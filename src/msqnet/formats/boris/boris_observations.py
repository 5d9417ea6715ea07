"""Observations of BORIS, which projects and tables of events share.

An observation is about files that were watched one after another. Its events are on one clock that
runs through the files of its first player. Readers cut them into videos, each with its own times.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import av

from msqnet.errors import ConfigError, DatasetError, VideoError
from msqnet.formats.annotations import AnnotatedVideo, Event, clean_label, free_name, split_comment
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import video_address
from msqnet.intervals import END_TOLERANCE_SECONDS, covers, intersect
from msqnet.labels import SEPARATOR
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import Annotations
    from msqnet.intervals import Interval

SPLIT, GROUP, CHECKED = "split", "group", "checked labels"
VARIABLES = (SPLIT, GROUP, CHECKED)
"""Independent variables that hold what BORIS has no place for."""
ALL_CHECKED = "*"
"""Value of `CHECKED` where all labels were looked for."""

NO_FOCAL_SUBJECT = "No focal subject"
NO_MODIFIER = "None"

_ALLOWED = str.maketrans({"|": "/", "(": "[", ")": "]", "`": "'", "~": "-"})
"""What BORIS does not allow in modifiers, and what stands for it."""
_NUM_NAMES_SHOWN = 8
_MAX_SECONDS = 1e9
_T = TypeVar("_T")


class Medium(NamedTuple):
    """A file, and when it was watched on the clock of an observation; the last one has no end.

    `length_seconds` is as the observation has it; None where it does not say.
    """

    path: Path
    start_seconds: float
    end_seconds: float
    length_seconds: float | None


class Coded(NamedTuple):
    """An event on the clock of an observation.

    Attributes:
        start_seconds: as written, so it may be before the first file.
        end_seconds: None for a state without an end, the start for a point event.
        modifiers: one a set, joined by ``|``.
        comment: of its start.
    """

    start_seconds: float
    end_seconds: float | None
    code: str
    subject: str = ""
    modifiers: str = ""
    comment: str = ""
    end_comment: str = ""

    @property
    def kind(self) -> tuple[str, str, str]:
        """What has to be equal for a start and an end to belong together."""
        return self.subject, self.code, self.modifiers

    def part_in(self, medium: Medium) -> Event | None:
        """The part that a file shows, with times of the file; None if it shows nothing of it."""
        is_point = self.end_seconds == self.start_seconds
        end = math.inf if self.end_seconds is None else self.end_seconds
        first, last = max(self.start_seconds, medium.start_seconds), min(end, medium.end_seconds)
        if is_point and not medium.start_seconds <= self.start_seconds < medium.end_seconds:
            return None
        if not is_point and first >= last:
            return None
        start = round(first - medium.start_seconds, 6)
        stop = None if self.end_seconds is None else round(last - medium.start_seconds, 6)
        # What rounding makes a point was none.
        if stop == start and not is_point:
            return None
        score, comment = split_comment(self.comment)
        comments = (comment, "" if self.end_comment == self.comment else self.end_comment)
        modifiers = [part.strip() for part in self.modifiers.split("|")]
        # Sets at the end of which none was chosen do not count.
        while modifiers and modifiers[-1] in ("", NO_MODIFIER):
            modifiers.pop()
        return Event(
            clean_label(self.code),
            start,
            stop,
            "" if self.subject == NO_FOCAL_SUBJECT else self.subject,
            tuple(modifiers),
            score,
            "; ".join(filter(None, comments)),
        )


def chosen(observations: Mapping[str, _T], options: Mapping[str, str]) -> dict[str, _T]:
    """All observations, or the one that an option names; `ConfigError` if there is none such."""
    name = options.get("observation")
    if name is None:
        return dict(observations)
    if name not in observations:
        names = ", ".join(sorted(observations)[:_NUM_NAMES_SHOWN])
        raise ConfigError(f"option observation={name}: no such observation; found: {names}")
    return {name: observations[name]}


def queue(
    paths: Sequence[Path], lengths: Sequence[float | None], start_seconds: float, place: str
) -> list[Medium]:
    """Files that were watched one after another without a gap; `place` is that of their list.

    A length in seconds that is None is that of the video. `DatasetError` if another file follows
    one whose length is not known.
    """
    media: list[Medium] = []
    for number, (path, length) in enumerate(zip(paths, lengths, strict=True), start=1):
        end = math.inf
        if number < len(paths):
            length = duration_seconds(path) if length is None else length
            if length is None:
                raise DatasetError(
                    f"{place}: found no length of {path.name}, which the next file follows; put "
                    "the video there, or open the observation in BORIS and save the project again"
                )
            # BORIS counts whole milliseconds. Longer lengths are no videos, and overflow.
            milliseconds = math.floor(min(length, _MAX_SECONDS) * 1000 + 1e-6)
            end = round(start_seconds + milliseconds / 1000, 3)
        media.append(Medium(path, start_seconds, end, length))
        start_seconds = end
    return media


def cut_to_videos(
    coded: Iterable[Coded],
    media: Sequence[Medium],
    interval: Interval | None,
    variables: Mapping[str, str],
    counts: Counter[str],
    left_out: Iterable[str] = (),
) -> list[AnnotatedVideo]:
    """The videos of an observation, each with its part of the events.

    Events and `interval`, which was looked at (None: everything), are on the clock of the
    observation; `counts` gets what could not be kept, `left_out` are the labels of what a reader
    did not keep. `DatasetError` if the interval goes to the end of a video of unknown length.
    """
    events: list[list[Event]] = [[] for _ in media]
    lost = set(left_out)
    for item in coded:
        parts = [(n, part) for n, medium in enumerate(media) if (part := item.part_in(medium))]
        for number, part in parts:
            events[number].append(part)
        if not parts:
            counts["events outside of every video, which are left out"] += 1
            lost.add(clean_label(item.code))
        counts["states that continue in the next video, where they are separate events"] += (
            len(parts) > 1
        )
    checked = variables.get(CHECKED, ALL_CHECKED)
    names = frozenset(filter(None, map(clean_label, checked.split(SEPARATOR))))
    known = None if checked == ALL_CHECKED else names
    where = variables.get(SPLIT, ""), variables.get(GROUP, ""), frozenset(lost)
    videos = []
    for medium, found in zip(media, events, strict=True):
        written, length = (
            medium.length_seconds,
            duration_seconds(medium.path, medium.length_seconds),
        )
        if written and length and abs(written - length) > END_TOLERANCE_SECONDS:
            name = medium.path.name
            counts[f"{name} is not as long as BORIS noted ({length:g} s, noted {written:g} s)"] += 1
        observed = None if interval is None else _observed(medium, length, interval)
        videos.append(AnnotatedVideo(medium.path, tuple(found), length, known, observed, *where))
    return videos


def _observed(
    medium: Medium, length_seconds: float | None, interval: Interval
) -> tuple[Interval, ...] | None:
    """What was looked at of a file; None for all of it."""
    seen = interval[0] - medium.start_seconds, interval[1] - medium.start_seconds
    whole = 0.0, math.inf if length_seconds is None else length_seconds
    if covers([seen], whole):
        return None
    found = intersect([seen], [whole])
    if found and math.isinf(found[-1][1]):
        raise DatasetError(
            f"{medium.path}: what was looked at goes to the end of the video, whose length is not "
            "known; put the video there"
        )
    return tuple(found)


def repeated_note(videos: Iterable[AnnotatedVideo]) -> tuple[str, ...]:
    """A note on videos that several observations are about."""
    names = [path.name for path, n in Counter(item.path for item in videos).items() if n > 1]
    note = (
        f"videos that several observations are about, each with its own rows: {', '.join(names)}; "
        "--option observation=NAME takes one observation"
    )
    return (note,) if names else ()


class WrittenMedium(NamedTuple):
    """What BORIS notes about the video of an observation; None where nothing is known."""

    name: str
    length_seconds: float | None
    fps: float | None
    has_audio: bool


def written_medium(video: AnnotatedVideo, file: Path) -> WrittenMedium:
    """What is known about a video, from itself where it is there; `file` is the one written."""
    name, path, has_audio = video_address(video.path, file, {}), video.path, False
    try:
        with open_video(path) as opened:
            length = float(opened.duration_seconds)
            fps = float(opened.average_fps or opened.num_frames / length)
    except VideoError:
        return WrittenMedium(name, video.duration_seconds, None, has_audio)
    if path.is_file():
        with av.open(str(path)) as container:
            has_audio = bool(container.streams.audio)
    return WrittenMedium(name, length, fps, has_audio)


def observation_names(videos: Sequence[AnnotatedVideo]) -> list[str]:
    """A name of its own for each video: that of its file, with a number if it is not the first."""
    taken: set[str] = set()
    return [free_name(video.path.name.strip() or "video", taken) for video in videos]


def written_variables(annotations: Annotations) -> dict[str, list[str]]:
    """Values of independent variables, one a video, of those that say anything."""

    # No labels at all are a separator alone, as an empty cell says nothing.
    def joined(labels: Iterable[str]) -> str:
        return SEPARATOR.join(labels) or SEPARATOR

    # BORIS's ethogram has to have every label; one of no ethogram was not looked for elsewhere.
    is_all = set(annotations.all_labels()) == set(annotations.labels)
    every = ALL_CHECKED if is_all else joined(annotations.labels)
    videos = annotations.videos
    checked = [every if v.checked is None else joined(sorted(v.checked)) for v in videos]
    values = {SPLIT: [v.split for v in videos], GROUP: [v.group for v in videos], CHECKED: checked}
    usual = {SPLIT: "", GROUP: "", CHECKED: ALL_CHECKED}
    return {name: found for name, found in values.items() if {*found} - {usual[name]}}


def written_modifiers(event: Event, num_sets: int) -> list[str]:
    """Modifiers of an event as BORIS writes them: one a set, without characters not allowed."""
    parts = [part.translate(_ALLOWED).strip() or NO_MODIFIER for part in event.modifiers]
    return [*parts, *[NO_MODIFIER] * (num_sets - len(parts))]


def replaced_modifiers(annotations: Annotations) -> dict[str, int]:
    """How many modifiers BORIS takes with other characters only, for a note."""
    parts = (part for event in annotations.events() for part in event.modifiers)
    changed = sum(part.translate(_ALLOWED) != part for part in parts)
    return {"modifiers with a character that BORIS does not allow, which is replaced": changed}
