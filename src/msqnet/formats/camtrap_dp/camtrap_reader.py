"""Reads Camtrap DP: rows of ``observations.csv`` as events; `msqnet.formats.camtrap_dp` has rules.

Two resources of what `msqnet` writes stand beside the tables: ``ethogram``, the labels that were
looked for, and ``looked-for``, the videos in which not all of them were.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msqnet.documents import JsonValue, exists, opened_archive, read_json
from msqnet.errors import DatasetError
from msqnet.formats.annotations import (
    ANY_LABEL,
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    count_notes,
)
from msqnet.formats.camtrap_dp.camtrap_tables import read_rows, time_of
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import UNLISTED, choose, is_absent_if_unlisted
from msqnet.intervals import Interval
from msqnet.labels import SEPARATOR, LabelSet, split_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from msqnet.documents import TableRow
    from msqnet.formats import Reading

OPTIONS = {
    "label": "when reading: behavior, or scientificName where species are what you look for",
    **UNLISTED,
}
DESCRIPTOR = "datapackage.json"
START_TAG = "startSeconds:"
END_TAG = "endSeconds:"
UNKNOWN_END = "unknown"

_ADVICE = "get the package again"
_MEDIA_COLUMNS = ("mediaID", "deploymentID", "timestamp", "filePath", "fileMediatype")
_OBSERVATION_COLUMNS = (
    *("observationID", "deploymentID", "mediaID", "eventStart", "eventEnd"),
    *("observationLevel", "observationType"),
)
_VERSION = re.compile(r"camtrap-dp/(\d+(?:\.\d+)*)")
_MODIFIER_COLUMNS = ("scientificName", "lifeStage", "sex", "count")
_NOT_ANIMALS = ("human", "vehicle", "unknown")
_LookedFor = tuple[frozenset[str] | None, tuple[Interval, ...] | None]
"""Labels that were looked for, None for all, and when in seconds, None for the whole video."""
_ROUNDING_SECONDS = 1.0
"""Exact seconds belong to a date and time that differs by less than its rounding."""


@dataclass
class _Video:
    """A video of the package: events of its rows, each once, and whether any row is about it.

    It is blank where all its rows say that nothing is to be seen.
    """

    path: Path
    start: datetime
    deployment: str
    duration_seconds: float | None
    events: dict[Event, None] = field(default_factory=dict)
    is_observed: bool = False
    is_blank: bool = True
    left_out: set[str] = field(default_factory=set)

    @property
    def end(self) -> datetime:
        """The end of the recording; its start where its length is not known."""
        return self.start + timedelta(seconds=self.duration_seconds or 0)


def read_package(path: Path, reading: Reading) -> Annotations:
    """Read the package in a folder or a zip file, or that of a descriptor.

    No package of version 1, or cells that the standard does not allow, are a `DatasetError`.
    """
    if path.suffix.lower() == ".zip":
        with opened_archive(path, _ADVICE, _is_descriptor) as member:
            return _read_package(member, reading)
    return _read_package(path / DESCRIPTOR if path.is_dir() else path, reading)


def _is_descriptor(name: str) -> bool:
    return name.rsplit("/", maxsplit=1)[-1] == DESCRIPTOR


def _read_package(path: Path, reading: Reading) -> Annotations:
    folder, descriptor = path.parent, read_json(path, _ADVICE)
    profile = descriptor.require("profile")
    version = _VERSION.search(profile.text())
    if version is not None and version[1].split(".")[0] != "1":
        raise DatasetError(
            f"{profile.place}: found Camtrap DP {version[1]}, expected 1.x; have the package "
            "written in version 1"
        )
    resources = {
        resource.require("name").text(): resource
        for resource in descriptor.require("resources").elements()
    }
    media = _table_path(resources, "media", descriptor, folder)
    observations = _table_path(resources, "observations", descriptor, folder)
    label_column = choose(reading.options, "label", ("behavior", "scientificName"))
    counts: Counter[str] = Counter()
    reader = _ObservationReader(_read_media(media, reading, counts), label_column, counts)
    for row in read_rows(observations, _OBSERVATION_COLUMNS):
        reader.add(row)
    is_absent = is_absent_if_unlisted(reading.options)
    looked_for = _read_looked_for(resources.get("looked-for"))
    ethogram = _read_ethogram(resources.get("ethogram"))
    seen = {e.label for video in reader.media.values() if video for e in video.events}
    labels = LabelSet(tuple(sorted(seen) if ethogram is None else ethogram))
    videos = []
    num_silent = 0
    for name, video in reader.media.items():
        if video is None:
            continue
        if not video.is_observed and name not in looked_for:
            num_silent += 1
            continue
        is_complete = ethogram is not None or is_absent or video.is_blank
        listed = None if is_complete else frozenset(event.label for event in video.events)
        notes = looked_for.get(name, (listed, None))
        events, length = tuple(video.events), video.duration_seconds
        where = "", video.deployment
        lost = frozenset(video.left_out)
        videos.append(AnnotatedVideo(video.path, events, length, *notes, *where, left_out=lost))
    counts["videos without an observation, which are left out"] = num_silent
    points = frozenset(label for label, is_point in (ethogram or {}).items() if is_point)
    return Annotations(tuple(videos), labels, points, count_notes(counts))


def _table_path(
    resources: Mapping[str, JsonValue], name: str, descriptor: JsonValue, folder: Path
) -> Path:
    if name not in resources:
        raise DatasetError(
            f"{descriptor.place}: resources: none is named {name!r}; this is no Camtrap DP; "
            f"{_ADVICE}"
        )
    written = resources[name].require("path")
    parts = written.text().replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or ":" in parts[0] or "\0" in written.text():
        raise written.error("a path below the folder of the package")
    return folder.joinpath(*parts)


def _read_media(path: Path, reading: Reading, counts: Counter[str]) -> dict[str, _Video | None]:
    """Videos by identifier; None for other media files, and for those that share a file."""
    media: dict[str, _Video | None] = {}
    by_place: dict[Path, list[str]] = {}
    for row in read_rows(path, _MEDIA_COLUMNS):
        name = row.require("mediaID")
        if name in media:
            raise row.value("mediaID").error("an identifier that no other row has")
        start = time_of(row, "timestamp")
        media[name] = None
        if row["fileMediatype"].startswith("video/"):
            place, deployment = _place(row, reading), row.require("deploymentID")
            media[name] = _Video(place, start, deployment, duration_seconds(place))
            by_place.setdefault(place, []).append(name)
        else:
            counts["media files that are no videos, which are left out"] += 1
    for place, names in by_place.items():
        if len(names) > 1:
            media |= dict.fromkeys(names)
            text = f"media files that are all called {place.name}, so that nothing says which of "
            text += "them the video is (a folder for each deploymentID does), which are left out"
            counts[text] = len(names)
    return media


def _place(row: TableRow, reading: Reading) -> Path:
    """Where a video belongs: at its path, or by its name in the folder of its deployment, or alone.

    Platforms give the address of a server as the path, which may not have the name in it.
    """
    written = row.require("filePath")
    is_address = "://" in written
    if is_address:
        written = row["fileName"] or unquote(urlsplit(written).path).rsplit("/", maxsplit=1)[-1]
        if not written:
            raise row.value("filePath").error("the name of a file as fileName")
    name = row["fileName"] or written
    ways = (f"{row['deploymentID']}/{name}", name) if is_address else (written, name)
    places = [reading.video_path(way) for way in ways]
    missing = reading.videos.absolute() / name if is_address else places[0]
    return next((place for place in places if exists(place)), missing)


def _read_ethogram(resource: JsonValue | None) -> dict[str, bool] | None:
    """Labels that were looked for, in order, and whether their events have no length."""
    if resource is None or resource.get("data") is None:
        return None
    entries = [
        (clean_label(entry.require("label").text()), entry.is_true("isPoint"))
        for entry in resource.elements_of("data")
    ]
    return {label: is_point for label, is_point in entries if label}


def _read_looked_for(resource: JsonValue | None) -> dict[str, _LookedFor]:
    """What was looked for where that was not everything, by the identifier of the media file."""
    found: dict[str, _LookedFor] = {}
    for entry in () if resource is None else resource.elements_of("data"):
        written, name = entry.require("labels").text(), entry.require("mediaID").text()
        labels = None if written == "*" else frozenset(split_labels(written))
        known, observed = found.get(name, (labels, ()))
        # A label that was looked for in some intervals only is unknown in the others.
        if known is not None and labels is not None:
            labels &= known
        start, end = entry.get("startSeconds"), entry.get("endSeconds")
        if start is None or end is None:
            observed = None
        elif observed is not None and end.number() > start.number():
            observed += ((start.number(), end.number()),)
        found[name] = known if labels is None else labels, observed
    return found


@dataclass
class _ObservationReader:
    """Adds events of rows to videos, which are by identifier; None for other media files.

    Labels are in the column behavior or scientificName. Counts are of what was left out or changed.
    """

    media: Mapping[str, _Video | None]
    label_column: str
    counts: Counter[str]

    def add(self, row: TableRow) -> None:
        """Take a row; raises `DatasetError` for a cell that the standard does not allow."""
        kind = row.require("observationType")
        start, end = time_of(row, "eventStart"), time_of(row, "eventEnd")
        if end < start:
            raise row.value("eventEnd").error(f"a time not before eventStart, {row['eventStart']}")
        videos = self._videos_of(row, start, end)
        if len(videos) != 1:
            for video in videos:
                video.left_out |= {ANY_LABEL} if kind == "unclassified" else {*self._labels(row)}
            return
        [video] = videos
        if kind == "unclassified":
            self.counts["unclassified observations, which are left out"] += 1
            video.left_out.add(ANY_LABEL)
            return
        video.is_observed = True
        if kind == "blank":
            return
        video.is_blank = False
        labels = self._labels(row)
        if not labels:
            self.counts[f"observations without a {self.label_column}, which say nothing here"] += 1
        for label in labels:
            event = self._event(row, label, video, start, end)
            if event is None:
                video.left_out.add(label)
            else:
                video.events[event] = None

    def _labels(self, row: TableRow) -> tuple[str, ...]:
        if self.label_column == "behavior":
            return split_labels(row["behavior"])
        kind = row["observationType"]
        label = clean_label(row["scientificName"]) or (kind if kind in _NOT_ANIMALS else "")
        return (label,) if label else ()

    def _videos_of(self, row: TableRow, start: datetime, end: datetime) -> list[_Video]:
        """Videos that a row may be about; it is about one only if there is no other."""
        if row["mediaID"]:
            if row["mediaID"] not in self.media:
                raise row.value("mediaID").error("an identifier of the table of media")
            found = self.media[row["mediaID"]]
            return [] if found is None else [found]
        # Bisected, as a deployment may have thousands of videos and as many observations.
        videos, longest = self._by_deployment.get(row["deploymentID"], ([], timedelta()))
        first = bisect_left(videos, start - longest, key=lambda video: video.start)
        last = bisect_right(videos, end, key=lambda video: video.start)
        touched = [video for video in videos[first:last] if start <= video.end]
        if len(touched) != 1:
            what = "several videos" if touched else "no video"
            self.counts[f"observations of events with {what}, which are left out"] += 1
        return touched

    @cached_property
    def _by_deployment(self) -> dict[str, tuple[list[_Video], timedelta]]:
        """Videos of each deployment in order of their starts, and the length of the longest."""
        found: dict[str, list[_Video]] = {}
        for video in self.media.values():
            if video is not None:
                found.setdefault(video.deployment, []).append(video)
        return {
            name: (sorted(videos, key=lambda v: v.start), max(v.end - v.start for v in videos))
            for name, videos in found.items()
        }

    def _event(
        self, row: TableRow, label: str, video: _Video, start: datetime, end: datetime
    ) -> Event | None:
        tags = [tag.strip() for tag in row["observationTags"].split(SEPARATOR) if tag.strip()]
        begins, ends = ((time - video.start).total_seconds() for time in (start, end))
        times = _exact_seconds(tags, begins, ends)
        if times is None:
            times = self._rounded_seconds(begins, ends, video.duration_seconds)
        if times is None:
            return None
        values = {name: row[name] for name in _MODIFIER_COLUMNS if name != self.label_column}
        if row["observationType"] in _NOT_ANIMALS:
            values["observationType"] = row["observationType"]
        modifiers = [f"{name}:{value}" for name, value in values.items() if value]
        modifiers += [tag for tag in tags if not tag.startswith((START_TAG, END_TAG))]
        score = None
        if row["classificationProbability"]:
            score = row.value("classificationProbability").score()
            if row["classificationMethod"] != "machine":
                self.counts["probabilities that no model gave, which are left out"] += 1
                score = None
        comment = row["observationComments"]
        return Event(label, *times, row["individualID"], tuple(modifiers), score, comment)

    def _rounded_seconds(
        self, begins: float, ends: float, length: float | None
    ) -> tuple[float, float | None] | None:
        """Start and end in a video by its date and time; None where they are not in it."""
        if begins == ends == 0:
            self.counts["observations that say what is in a video, not when"] += 1
            return 0.0, None
        if ends < 0 or (length is not None and begins > length):
            self.counts["observations at times outside of their video, which are left out"] += 1
            return None
        self.counts["observations whose times are whole seconds"] += 1
        begins = max(0.0, begins)
        return begins, ends if length is None else max(begins, min(ends, length))


def _exact_seconds(
    tags: list[str], begins: float, ends: float
) -> tuple[float, float | None] | None:
    """Start and end by tags, where they fit the date and time beside them."""
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
