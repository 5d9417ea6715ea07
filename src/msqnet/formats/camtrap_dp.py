"""Camtrap DP: the exchange format of camera trap data, a folder with three tables.

Format: https://camtrap-dp.tdwg.org/ (version 1.x, Biodiversity Information Standards). An
observation is one row of ``observations.csv``; its ``behavior`` holds labels, joined by ``|``.

- Times there are dates and whole seconds. An event starts at ``eventStart`` less the ``timestamp``
  of its media file. What is written here has the exact seconds of its video as the tags
  ``startSeconds:`` and ``endSeconds:`` beside them, which are read back.
- An observation that begins and ends with the timestamp of its file says that something is in the
  file, not when: it is a state from 0 s on without a known end.
- ``individualID`` is the subject; ``scientificName``, ``lifeStage``, ``sex``, ``count`` and tags
  are modifiers as ``name:value``. The deployment is the group: one camera sees one scene.
- A ``blank`` file was looked at, and nothing was seen. Where animals were seen, ``behavior`` names
  the dominant ones by definition, so that others are unknown, unless the package names an ethogram.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msqnet.data.adapters.annotation_files import choose, count_note
from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Format, clean_label
from msqnet.formats.camtrap_observations import (
    LABEL_COLUMNS,
    MediaFile,
    ObservationReader,
    VideoNotes,
)
from msqnet.formats.camtrap_tables import read_rows
from msqnet.formats.camtrap_writing import FILES, write_package
from msqnet.formats.camtrap_writing import OPTIONS as WRITING_OPTIONS
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.json_values import JsonValue, read_json
from msqnet.labels import LabelSet, split_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import Reading

_DESCRIPTOR = "datapackage.json"
_ADVICE = "get the package again"
_TABLES = ("media", "observations")
_REQUIRED = (
    *("observationID", "deploymentID", "mediaID", "eventStart", "eventEnd"),
    *("observationLevel", "observationType"),
)
_VERSION = re.compile(r"camtrap-dp/(\d+(?:\.\d+)*)")
_OPTIONS = {
    "label": "when reading: behavior, or scientificName where species are what you look for",
    "unlisted": "when reading: unknown (behaviors that observations do not name) or absent",
    **WRITING_OPTIONS,
}


def _read(path: Path, reading: Reading) -> Annotations:
    folder = path if path.is_dir() else path.parent
    descriptor = read_json(folder / _DESCRIPTOR if path.is_dir() else path, _ADVICE)
    tables = _table_paths(descriptor, folder)
    resources = {
        resource.require("name").text(): resource
        for resource in descriptor.require("resources").elements()
    }
    reader = ObservationReader(
        _media(tables["media"], reading), choose(reading.options, "label", LABEL_COLUMNS)
    )
    for row in read_rows(tables["observations"], _REQUIRED):
        reader.add(row)
    looked_for = _looked_for(resources.get("looked-for"))
    for name in looked_for:
        if reader.media.get(name) is not None:
            reader.found.setdefault(name, VideoNotes())
    return _annotations(reader, _ethogram(resources.get("ethogram")), looked_for, reading)


def _table_paths(descriptor: JsonValue, folder: Path) -> dict[str, Path]:
    """Where the tables are, of a package of version 1."""
    profile = descriptor.require("profile")
    version = _VERSION.search(profile.text())
    if version is not None and version[1].split(".")[0] != "1":
        raise DatasetError(
            f"{profile.place}: found Camtrap DP {version[1]}, expected 1.x; have the package "
            "written in version 1"
        )
    found = {}
    for resource in descriptor.require("resources").elements():
        name = resource.require("name").text()
        if name in _TABLES:
            written = resource.require("path")
            parts = written.text().replace("\\", "/").split("/")
            if not parts[0] or ".." in parts or ":" in parts[0] or "\0" in written.text():
                raise written.error("a path below the folder of the package")
            found[name] = folder.joinpath(*parts)
    missing = [name for name in _TABLES if name not in found]
    if missing:
        raise DatasetError(
            f"{descriptor.place}: resources: none is named {missing[0]!r}; this is no Camtrap DP; "
            f"{_ADVICE}"
        )
    return found


def _media(path: Path, reading: Reading) -> dict[str, MediaFile | None]:
    """Videos by identifier; None for what is no video."""
    media: dict[str, MediaFile | None] = {}
    required = ("mediaID", "deploymentID", "timestamp", "filePath", "fileMediatype")
    for row in read_rows(path, required):
        name = row.require("mediaID")
        if name in media:
            raise row.error("mediaID", "an identifier that no other row has")
        start, written = row.time("timestamp"), row.require("filePath")
        if not row["fileMediatype"].startswith("video/"):
            media[name] = None
            continue
        place = reading.video_path(written)
        media[name] = MediaFile(place, start, row.require("deploymentID"), duration_seconds(place))
    return media


def _ethogram(resource: JsonValue | None) -> tuple[LabelSet, frozenset[str]] | None:
    """Labels that were looked for, and those without length, if the package says so."""
    data = None if resource is None else resource.get("data")
    if data is None:
        return None
    is_point: dict[str, bool] = {}
    for entry in data.elements():
        label = clean_label(entry.require("label").text())
        point = entry.get("isPoint")
        if label:
            is_point[label] = point is not None and point.truth()
    points = frozenset(label for label, value in is_point.items() if value)
    return LabelSet(tuple(is_point)), points


def _looked_for(
    resource: JsonValue | None,
) -> dict[str, tuple[frozenset[str] | None, list[tuple[float, float]] | None]]:
    """Labels and stretches of time that were looked at, of videos in which not everything was."""
    data = None if resource is None else resource.get("data")
    if data is None:
        return {}
    found: dict[str, tuple[frozenset[str] | None, list[tuple[float, float]] | None]] = {}
    for entry in data.elements():
        written = entry.require("labels").text()
        labels = None if written == "*" else frozenset(split_labels(written))
        name = entry.require("mediaID").text()
        before, stretches = found.get(name, (None, []))
        # What was looked for in some stretches only is unknown in the others.
        if before is not None:
            labels = before if labels is None else labels & before
        start, end = entry.get("startSeconds"), entry.get("endSeconds")
        if start is None or end is None or stretches is None:
            stretches = None
        elif end.number() > start.number():
            stretches.append((start.number(), end.number()))
        found[name] = labels, stretches
    return found


def _annotations(
    reader: ObservationReader,
    ethogram: tuple[LabelSet, frozenset[str]] | None,
    looked_for: Mapping[str, tuple[frozenset[str] | None, list[tuple[float, float]] | None]],
    reading: Reading,
) -> Annotations:
    unlisted = choose(reading.options, "unlisted", ("unknown", "absent"))
    is_all = ethogram is not None or unlisted == "absent"
    seen = {event.label for notes in reader.found.values() for event in notes.events}
    labels, points = ethogram or (LabelSet(tuple(sorted(seen))), frozenset())
    videos = []
    for name, file in reader.media.items():
        notes = reader.found.get(name)
        if file is None or notes is None:
            continue
        listed = None if is_all or notes.is_blank else frozenset(e.label for e in notes.events)
        checked, observed = looked_for.get(name, (listed, None))
        videos.append(
            AnnotatedVideo(
                file.path,
                tuple(notes.events),
                file.duration_seconds,
                checked=checked,
                observed=None if observed is None else tuple(observed),
                group=file.deployment,
            )
        )
    return Annotations(tuple(videos), labels, points, tuple(_notes(reader)))


def _notes(reader: ObservationReader) -> Iterator[str]:
    no_videos = sum(file is None for file in reader.media.values())
    yield from count_note(no_videos, "media files that are no videos, which are left out")
    silent = sum(
        file is not None and name not in reader.found for name, file in reader.media.items()
    )
    yield from count_note(silent, "videos without an observation, which are left out")
    for text, number in reader.counts.items():
        yield from count_note(number, text)


FORMAT = Format(
    "camtrap_dp",
    "Camtrap DP, data packages of camera traps",
    "",
    frozenset(
        {
            "points",
            "open ends",
            "subjects",
            "modifiers",
            "scores",
            "comments",
            "ethogram",
            "unchecked labels",
            "observed stretches",
            "groups",
        }
    ),
    _read,
    write_package,
    _OPTIONS,
    files=lambda folder: tuple(folder / name for name in FILES),
)
