"""Rows of ``observations.csv`` as events of videos; `msqnet.formats.camtrap_dp` has the rules."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from msqnet.formats.annotations import Event, clean_label
from msqnet.formats.camtrap_tables import split_tags
from msqnet.labels import split_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from msqnet.formats.camtrap_tables import TableRow

START_TAG = "startSeconds:"
END_TAG = "endSeconds:"
UNKNOWN_END = "unknown"
LABEL_COLUMNS = ("behavior", "scientificName")

_MODIFIER_COLUMNS = ("scientificName", "lifeStage", "sex", "count")
_NOT_ANIMALS = ("human", "vehicle", "unknown")
_ROUNDING_SECONDS = 1.0
"""Exact seconds are those of a date-time beside them if they differ by less than its rounding."""


@dataclass(frozen=True)
class MediaFile:
    """A video of the package.

    Attributes:
        path: where it belongs.
        start: when its recording began.
        deployment: identifier of its deployment.
        duration_seconds: of the file; None where it is not there.
    """

    path: Path
    start: datetime
    deployment: str
    duration_seconds: float | None

    def touches(self, start: datetime, end: datetime) -> bool:
        """Whether a stretch of time, ends included, has some of its recording."""
        last = self.start + timedelta(seconds=self.duration_seconds or 0)
        return self.start <= end and start <= last


@dataclass
class VideoNotes:
    """What the rows about one video say.

    Attributes:
        events: each once, in the order of the rows.
        is_blank: whether all rows say that nothing is to be seen.
    """

    events: dict[Event, None] = field(default_factory=dict)
    is_blank: bool = True


@dataclass
class ObservationReader:
    """Collects what rows say about videos.

    Attributes:
        media: videos by identifier; None for other media files.
        label_column: where labels stand, one of `LABEL_COLUMNS`.
        found: what was said of each video, by its identifier.
        counts: how often something could not be taken as it stands, by what it was.
    """

    media: Mapping[str, MediaFile | None]
    label_column: str
    found: dict[str, VideoNotes] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row: TableRow) -> None:
        """Take a row.

        Raises:
            DatasetError: a cell that the standard does not allow.
        """
        kind = row.require("observationType")
        start, end = row.time("eventStart"), row.time("eventEnd")
        if end < start:
            raise row.error("eventEnd", f"a time not before eventStart, {row['eventStart']}")
        name = self._media_of(row, start, end)
        file = None if name is None else self.media[name]
        if name is None or file is None:
            return
        if kind == "unclassified":
            self.counts["unclassified observations, which are left out"] += 1
            return
        notes = self.found.setdefault(name, VideoNotes())
        if kind == "blank":
            return
        notes.is_blank = False
        labels = self._labels(row, kind)
        if not labels:
            self.counts[f"observations without a {self.label_column}, which say nothing here"] += 1
        for label in labels:
            event = self._event(row, label, file, start, end)
            if event is not None:
                notes.events[event] = None

    def _media_of(self, row: TableRow, start: datetime, end: datetime) -> str | None:
        """The video that an observation is about, if it is about one."""
        if row["mediaID"]:
            if row["mediaID"] not in self.media:
                raise row.error("mediaID", "an identifier of the table of media")
            return row["mediaID"]
        touched = self._touched(row["deploymentID"], start, end)
        if len(touched) != 1:
            what = "several videos" if touched else "no video"
            self.counts[f"observations of events with {what}, which are left out"] += 1
            return None
        return touched[0]

    def _touched(self, deployment: str, start: datetime, end: datetime) -> list[str]:
        """Videos of a deployment that have some of a stretch of time."""
        videos, longest = self._by_deployment.get(deployment, ([], timedelta()))
        first = bisect_left(videos, start - longest, key=lambda item: item[0])
        last = bisect_right(videos, end, key=lambda item: item[0])
        return [
            name
            for _, name in videos[first:last]
            if (file := self.media[name]) is not None and file.touches(start, end)
        ]

    @cached_property
    def _by_deployment(self) -> dict[str, tuple[list[tuple[datetime, str]], timedelta]]:
        """Starts and identifiers of the videos of each deployment in order, and the longest."""
        found: dict[str, tuple[list[tuple[datetime, str]], timedelta]] = {}
        for name, file in self.media.items():
            if file is not None:
                videos, longest = found.get(file.deployment, ([], timedelta()))
                length = timedelta(seconds=file.duration_seconds or 0)
                videos.append((file.start, name))
                found[file.deployment] = videos, max(longest, length)
        for videos, _ in found.values():
            videos.sort()
        return found

    def _labels(self, row: TableRow, kind: str) -> tuple[str, ...]:
        if self.label_column == "behavior":
            return split_labels(row["behavior"])
        label = clean_label(row["scientificName"]) or (kind if kind in _NOT_ANIMALS else "")
        return (label,) if label else ()

    def _event(
        self, row: TableRow, label: str, file: MediaFile, start: datetime, end: datetime
    ) -> Event | None:
        tags = split_tags(row["observationTags"])
        begins, ends = ((time - file.start).total_seconds() for time in (start, end))
        times = _exact_seconds(tags, begins, ends)
        if times is None:
            times = self._seconds(begins, ends, file.duration_seconds)
        if times is None:
            return None
        values = {name: row[name] for name in _MODIFIER_COLUMNS if name != self.label_column}
        if row["observationType"] in _NOT_ANIMALS:
            values["observationType"] = row["observationType"]
        modifiers = [f"{name}:{value}" for name, value in values.items() if value]
        modifiers += [tag for tag in tags if not tag.startswith((START_TAG, END_TAG))]
        return Event(
            label,
            *times,
            subject=row["individualID"],
            modifiers=tuple(modifiers),
            score=self._score(row),
            comment=row["observationComments"],
        )

    def _seconds(
        self, begins: float, ends: float, length: float | None
    ) -> tuple[float, float | None] | None:
        """Start and end in a video by date-times; None where they are not in it."""
        if begins == ends == 0:
            self.counts["observations that say what is in a video, not when"] += 1
            return 0.0, None
        if ends < 0 or (length is not None and begins > length):
            self.counts["observations at times outside of their video, which are left out"] += 1
            return None
        self.counts["observations whose times are whole seconds"] += 1
        begins = max(0.0, begins)
        return begins, ends if length is None else max(begins, min(ends, length))

    def _score(self, row: TableRow) -> float | None:
        if not row["classificationProbability"]:
            return None
        probability = row.number("classificationProbability")
        if not 0 <= probability <= 1:
            raise row.error("classificationProbability", "a number from 0 to 1")
        if row["classificationMethod"] != "machine":
            self.counts["probabilities that no model gave, which are left out"] += 1
            return None
        return probability


def _exact_seconds(
    tags: list[str], begins: float, ends: float
) -> tuple[float, float | None] | None:
    """Start and end by tags, where they fit to the date-times beside them."""
    values = {
        prefix: tag.removeprefix(prefix).strip()
        for tag in tags
        for prefix in (START_TAG, END_TAG)
        if tag.startswith(prefix)
    }
    is_open = values.get(END_TAG) == UNKNOWN_END
    try:
        start = float(values[START_TAG])
        end = start if is_open else float(values[END_TAG])
    except (KeyError, ValueError):
        return None
    fits = abs(start - begins) < _ROUNDING_SECONDS
    fits = fits and (is_open or abs(end - ends) < _ROUNDING_SECONDS)
    if not (fits and 0 <= start <= end < math.inf):
        return None
    return start, None if is_open else end
