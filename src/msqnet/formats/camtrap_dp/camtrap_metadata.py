"""Metadata of a package that is written: its media, deployments and descriptor.

They say what videos do not: where the camera stood, when it recorded, for which project. That comes
from options, from the files' own ``creation_time``, or from a package that is there already; it is
never made up. A deployment is the group of its videos: what one camera recorded at one place.
Terms: https://camtrap-dp.tdwg.org/metadata/.
"""

from __future__ import annotations

import contextlib
import math
import mimetypes
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msqnet.documents import read_json
from msqnet.errors import ConfigError, DatasetError, VideoError
from msqnet.formats import Reading
from msqnet.formats.annotations import count_notes, last_seconds
from msqnet.formats.camtrap_dp.camtrap_reader import DESCRIPTOR
from msqnet.formats.camtrap_dp.camtrap_tables import (
    TABLES,
    TIME_HELP,
    VERSION,
    format_time,
    parse_time,
    read_rows,
    time_of,
)
from msqnet.formats.options import choose
from msqnet.labels import join_labels
from msqnet.video.decoding import open_stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msqnet.documents import TableRow
    from msqnet.formats.annotations import AnnotatedVideo, Annotations

    Videos = Sequence[AnnotatedVideo]
    Row = Mapping[str, str]

_BASE_URL = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_PROFILE = f"{_BASE_URL}/camtrap-dp-profile.json"
_CHOICES = {
    "sampling_design": (
        *("simpleRandom", "systematicRandom", "clusteredRandom"),
        *("experimental", "targeted", "opportunistic"),
    ),
    "capture_method": ("activityDetection", "timeLapse"),
}
_EXAMPLES = {
    "deployment": "deployment=ID",
    "latitude": "latitude=52.5",
    "longitude": "longitude=13.4",
    "recorded": "recorded=2026-05-01T10:00:00+02:00",
    "project": "'project=TITLE'",
    "contributor": "'contributor=NAME'",
    "sampling_design": "sampling_design=opportunistic",
    "capture_method": "capture_method=activityDetection",
}
"""Options that the standard needs, if no package is given."""
OPTIONS = {
    "package": "folder of a Camtrap DP that has the videos: its deployments and media are taken",
    "deployment": "identifier of the deployment of videos that have no group",
    "latitude": "of the camera, in decimal degrees",
    "longitude": "of the camera, in decimal degrees",
    "recorded": f"when the one video was recorded: {TIME_HELP}; otherwise its creation_time",
    "deployment_start": "when the camera was set up; otherwise the first video's start",
    "deployment_end": "when the camera was removed; otherwise the last video's end",
    "public": "true if everybody may see the videos; false",
    "base_url": "address of the folder of the videos, if they are not kept in the package",
    "project": "title of the project that recorded the videos",
    "contributor": "name of the person or organisation that made the package",
    "sampling_design": f"how places were chosen: {', '.join(_CHOICES['sampling_design'])}",
    "capture_method": f"what started the camera: {' or '.join(_CHOICES['capture_method'])}",
}
_NUM_NAMED = 3


class Metadata(NamedTuple):
    """All of a package but its observations.

    ``row_of`` is the row of each video in the table of media, by its absolute path, ``descriptor``
    the content of ``datapackage.json``; notes say what was assumed or left out.
    """

    media: Sequence[Row]
    deployments: Sequence[Row]
    row_of: Mapping[Path, Row]
    descriptor: dict[str, Any]
    notes: tuple[str, ...]


def metadata_of_package(annotations: Annotations, folder: Path, package: str) -> Metadata:
    """Metadata as the package in the folder `package` has them, for other observations.

    Further resources of the package stay if they stand in its descriptor; a note counts others.
    `ConfigError` if both are one folder, `DatasetError` for a file that cannot be used, or a video
    that is not one media file of the package.
    """
    source = Path(package)
    if source.absolute() == folder.absolute():
        raise ConfigError(
            f"option package={package}: its own observations would be lost; write into another "
            "folder"
        )
    columns = ("mediaID", "deploymentID", "timestamp", "filePath")
    media = read_rows(source / "media.csv", columns)
    deployments = read_rows(source / "deployments.csv", ("deploymentID",))
    row_of = _rows_by_path(annotations.videos, media, source)
    found = read_json(source / DESCRIPTOR, "get the package again")
    others = [
        resource
        for resource in found.require("resources").elements()
        if resource.require("name").text() not in (*TABLES, "ethogram", "looked-for")
    ]
    kept = [resource.value for resource in others if resource.get("data") is not None]
    project = {name: value.value for name, value in found.require("project").items()}
    descriptor = {name: value.value for name, value in found.items()} | {
        "resources": [*_resources(annotations, row_of), *kept],
        "profile": _PROFILE,
        "created": format_time(datetime.now(UTC)),
        "project": project | {"observationLevel": ["media"]},
    }
    num_left_out = len(others) - len(kept)
    notes = {
        f"media files that the package expects in {folder}, as they are in {source}": sum(
            "://" not in row["filePath"] for row in media
        ),
        "tables of the package beside those of the standard, which are left out": num_left_out,
    }
    media_rows, deployment_rows = ([r.cells for r in rows] for rows in (media, deployments))
    return Metadata(media_rows, deployment_rows, row_of, descriptor, count_notes(notes))


def _rows_by_path(videos: Videos, media: Sequence[TableRow], source: Path) -> dict[Path, Row]:
    """The row of each video, by its place or else by its name."""
    by_place: dict[Path, list[TableRow]] = {}
    by_name: dict[str, list[TableRow]] = {}
    for row in media:
        time_of(row, "timestamp")
        written = row["filePath"].replace("\\", "/").rsplit("/", maxsplit=1)[-1]
        for name in {written, row["fileName"]} - {""}:
            by_name.setdefault(name, []).append(row)
        by_place.setdefault(Reading(source).video_path(row["filePath"]), []).append(row)
    row_of: dict[Path, Row] = {}
    for path in (video.path for video in videos):
        found = by_place.get(path) or by_name.get(path.name, [])
        if len(found) != 1:
            what = f"{len(found)} media files of that name" if found else "no such media file"
            raise DatasetError(
                f"{path}: {what} in {source / 'media.csv'}; expected one by its filePath or "
                "fileName; convert only videos that the package has"
            )
        row_of[path] = found[0].cells
    return row_of


def metadata_of_videos(annotations: Annotations, folder: Path, options: Row) -> Metadata:
    """Metadata by options and by the files; the package is named by its folder.

    `ConfigError` for an option that does not fit, or one that is needed and not given.
    """
    videos = annotations.videos
    for name, values in _CHOICES.items():
        choose(options, name, values)
    for name, limit in (("latitude", 90), ("longitude", 180)):
        with contextlib.suppress(ValueError):
            if abs(float(options.get(name, "0"))) <= limit:
                continue
        raise ConfigError(
            f"option {name}={options[name]}: expected decimal degrees from -{limit} to {limit}"
        )
    starts = _starts(videos, folder, options)
    row_of = _media_rows(videos, starts, folder, options)
    deployments = _deployments(videos, starts, row_of, options)
    num_outside = sum(not path.is_relative_to(folder.absolute()) for path in row_of)
    is_assumed = not {"deployment_start", "deployment_end"} <= set(options)
    num_deployments = len(deployments)
    notes = {
        "videos whose time of recording is the creation_time of their file, which some cameras "
        "set in local time or at the end of the recording": len(starts)
        * ("recorded" not in options),
        "videos that are not in the folder of the package; it expects them in its folder media/, "
        "so copy or link them there, or take --option base_url=...": num_outside
        * ("base_url" not in options),
        "deployments that are said to last as long as their videos; --option "
        "deployment_start=... and deployment_end=... change that": num_deployments * is_assumed,
        "deployments that are said to be at the same place": num_deployments
        * (num_deployments > 1),
    }
    descriptor = _new_descriptor(annotations, row_of, deployments, folder, options)
    return Metadata(list(row_of.values()), deployments, row_of, descriptor, count_notes(notes))


def _media_rows(
    videos: Videos, starts: Mapping[Path, datetime], folder: Path, options: Row
) -> dict[Path, Row]:
    """The row of each video; its file is below the package or at an address."""
    is_public = choose(options, "public", ("false", "true"))
    home = folder.absolute()
    num_named = Counter(v.path.name for v in videos if not v.path.is_relative_to(home))
    num_outside = 0
    row_of: dict[Path, Row] = {}
    for video in videos:
        path = video.path
        if path.is_relative_to(home):
            written = path.relative_to(home).as_posix()
        else:
            num_outside += 1
            unique = path.name if num_named[path.name] == 1 else f"{num_outside}/{path.name}"
            written = f"{options.get('base_url', 'media').rstrip('/')}/{unique}"
        media_type, _ = mimetypes.guess_type(path.name)
        if media_type is None or not media_type.startswith("video/"):
            media_type = f"video/x-{path.suffix.lower().removeprefix('.') or 'unknown'}"
        row_of[path] = {
            "mediaID": written,
            "deploymentID": video.group or options["deployment"],
            "timestamp": format_time(starts[path]),
            "filePath": written,
            "filePublic": is_public,
            "fileName": path.name,
            "fileMediatype": media_type,
        }
    return row_of


def time_option(options: Mapping[str, str], name: str) -> datetime | None:
    """The time that an option gives, None where it is not given; raises `ConfigError`."""
    if name not in options:
        return None
    try:
        return parse_time(options[name])
    except ValueError as error:
        raise ConfigError(f"option {name}={options[name]}: expected {TIME_HELP}") from error


def _starts(videos: Videos, folder: Path, options: Row) -> Mapping[Path, datetime]:
    """When videos were recorded; all options that are needed and not given are named at once."""
    recorded = time_option(options, "recorded")
    if recorded is not None and len(videos) != 1:
        raise ConfigError(
            f"option recorded={options['recorded']}: it holds for one video, but there are "
            f"{len(videos)}; take --option package=FOLDER with a package that has these videos"
        )
    found = {video.path: recorded or creation_time(video.path) for video in videos}
    undated = [path.name for path, time in found.items() if time is None]
    given = set(options)
    given |= {"deployment"} if all(video.group for video in videos) else set()
    given |= set() if undated and len(videos) == 1 else {"recorded"}
    needed = [example for name, example in _EXAMPLES.items() if name not in given]
    if needed:
        raise ConfigError(
            f"{folder}: Camtrap DP asks for what videos do not say; add --option "
            f"{' '.join(needed)} (values are examples), or --option package=FOLDER with a package "
            "that has these videos"
        )
    if undated:
        raise ConfigError(
            f"{folder}: {len(undated)} videos do not say when they were recorded, such as "
            f"{', '.join(undated[:_NUM_NAMED])}: their files have no creation_time; take --option "
            "package=FOLDER with a package that has these videos, or convert them one by one with "
            "--option recorded=..."
        )
    return {path: time for path, time in found.items() if time is not None}


def creation_time(path: Path) -> datetime | None:
    """When a video says that it was made; None where it does not say it or cannot be opened."""
    if not path.is_file():
        return None
    try:
        container, stream = open_stream(path)
    except VideoError:
        return None
    with container:
        written = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
    try:
        return parse_time(written) if written else None
    except ValueError:
        return None


def _deployments(
    videos: Videos, starts: Mapping[Path, datetime], row_of: Mapping[Path, Row], options: Row
) -> list[Row]:
    """One row a deployment; it lasts as long as its videos unless options say more."""
    begin, end = time_option(options, "deployment_start"), time_option(options, "deployment_end")
    spans: dict[str, tuple[datetime, datetime]] = {}
    for video in videos:
        start = starts[video.path]
        last = start + timedelta(seconds=math.ceil(last_seconds(video)))
        name = row_of[video.path]["deploymentID"]
        first, latest = spans.get(name, (start, last))
        spans[name] = min(first, start), max(latest, last)
    return [
        {
            "deploymentID": name,
            "latitude": options["latitude"],
            "longitude": options["longitude"],
            "deploymentStart": format_time(begin or start),
            "deploymentEnd": format_time(end or last),
        }
        for name, (start, last) in spans.items()
    ]


def _new_descriptor(
    annotations: Annotations,
    row_of: Mapping[Path, Row],
    deployments: Sequence[Row],
    folder: Path,
    options: Row,
) -> dict[str, Any]:
    times = [
        parse_time(row[f"deployment{edge}"]) for row in deployments for edge in ("Start", "End")
    ]
    modifiers = [part for event in annotations.events() for part in event.modifiers]
    named = [part.partition(":") for part in modifiers]
    species = [options.get("species", ""), *(v for name, _, v in named if name == "scientificName")]
    return {
        "resources": _resources(annotations, row_of),
        "profile": _PROFILE,
        # Names of packages have lower case letters, digits, "-", "_" and "." only.
        "name": re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")
        or "camtrap-dp",
        "created": format_time(datetime.now(UTC)),
        "title": options["project"],
        "contributors": [{"title": options["contributor"]}],
        "project": {
            "title": options["project"],
            "samplingDesign": options["sampling_design"],
            "captureMethod": [options["capture_method"]],
            "individualAnimals": any(event.subject for event in annotations.events()),
            "observationLevel": ["media"],
        },
        "spatial": {
            "type": "MultiPoint",
            "coordinates": [[float(options["longitude"]), float(options["latitude"])]],
        },
        "temporal": {
            "start": min(times).date().isoformat(),
            "end": max(times).date().isoformat(),
        },
        "taxonomic": [{"scientificName": name} for name in dict.fromkeys(species) if name],
    }


def _resources(annotations: Annotations, row_of: Mapping[Path, Row]) -> list[dict[str, Any]]:
    """The tables, and beside them, as the standard allows, what it has no table for."""
    tables = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": f"{_BASE_URL}/{name}-table-schema.json",
        }
        for name in TABLES
    ]
    points = annotations.point_labels
    ethogram = {
        "name": "ethogram",
        "description": "Behaviors that were looked for, in order.",
        "data": [{"label": name, "isPoint": name in points} for name in annotations.labels],
    }
    rows: list[dict[str, Any]] = []
    for video in annotations.videos:
        if video.checked is not None or video.observed is not None:
            labels = "*" if video.checked is None else join_labels(sorted(video.checked))
            intervals: Sequence[tuple[float | None, float | None]]
            intervals = [(None, None)] if video.observed is None else video.observed or [(0.0, 0.0)]
            about = {"mediaID": row_of[video.path]["mediaID"], "labels": labels}
            rows += [about | {"startSeconds": a, "endSeconds": b} for a, b in intervals]
    looked_for = {
        "name": "looked-for",
        "description": "Media files in which not all behaviors were looked for (labels, "
        "joined by |; * is all), or of which only parts were looked at (seconds).",
        "data": rows,
    }
    return [*tables, *(resource for resource in (ethogram, looked_for) if resource["data"])]
