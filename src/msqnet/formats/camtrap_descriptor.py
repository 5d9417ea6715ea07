"""``datapackage.json`` of a camera trap data package: what it is, of which project, where and when.

Terms: https://camtrap-dp.tdwg.org/metadata/. Two resources stand beside the standard's own, as it
allows: ``ethogram``, the labels that were looked for, and ``looked-for``, the videos in which not
all of them were, or of which only parts were looked at.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.data.adapters.annotation_files import count_note
from msqnet.errors import ConfigError
from msqnet.formats.camtrap_schema import TABLES, VERSION
from msqnet.formats.camtrap_tables import format_time, parse_time
from msqnet.formats.json_values import read_json
from msqnet.labels import join_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msqnet.formats.annotations import Annotations
    from msqnet.formats.camtrap_media import Media

_BASE_URL = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
_SAMPLING_DESIGNS = (
    *("simpleRandom", "systematicRandom", "clusteredRandom"),
    *("experimental", "targeted", "opportunistic"),
)
_CAPTURE_METHODS = ("activityDetection", "timeLapse")

PROJECT_OPTIONS = {
    "project": "title of the project that recorded the videos",
    "contributor": "name of the person or organisation that made the package",
    "sampling_design": f"how places were chosen: {', '.join(_SAMPLING_DESIGNS)}",
    "capture_method": f"what started the camera: {' or '.join(_CAPTURE_METHODS)}",
}


def missing_of_project(options: Mapping[str, str]) -> list[str]:
    """Options that the metadata need and that are not given, with examples.

    Raises:
        ConfigError: a value that the standard does not have.
    """
    for name, values in (
        ("sampling_design", _SAMPLING_DESIGNS),
        ("capture_method", _CAPTURE_METHODS),
    ):
        if options.get(name, values[0]) not in values:
            raise ConfigError(f"option {name}={options[name]}: expected {' or '.join(values)}")
    examples = {
        "project": "'project=TITLE'",
        "contributor": "'contributor=NAME'",
        "sampling_design": "sampling_design=opportunistic",
        "capture_method": "capture_method=activityDetection",
    }
    return [example for name, example in examples.items() if name not in options]


def descriptor_of(
    annotations: Annotations, media: Media, folder: Path, options: Mapping[str, str]
) -> dict[str, Any]:
    """The descriptor of a new package.

    Args:
        annotations: what was noted.
        media: the tables beside it.
        folder: of the package, which gives it its name.
        options: all that `missing_of_project` asks for.
    """
    times = [
        parse_time(row[column])
        for row in media.deployments
        for column in ("deploymentStart", "deploymentEnd")
    ]
    points = sorted(
        {(float(row["longitude"]), float(row["latitude"])) for row in media.deployments}
    )
    species = [options["species"]] if "species" in options else []
    species += [
        modifier.partition(":")[2]
        for event in annotations.events()
        for modifier in event.modifiers
        if modifier.startswith("scientificName:")
    ]
    return {
        "resources": [*map(_table, TABLES), *_resources(annotations, media)],
        "profile": f"{_BASE_URL}/camtrap-dp-profile.json",
        "name": _slug(folder.absolute().name),
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
        "spatial": {"type": "MultiPoint", "coordinates": [list(point) for point in points]},
        "temporal": {
            "start": min(times).date().isoformat() if times else "",
            "end": max(times).date().isoformat() if times else "",
        },
        "taxonomic": [{"scientificName": name} for name in dict.fromkeys(species) if name],
    }


def updated_descriptor(
    annotations: Annotations, media: Media, package: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The descriptor of a package that is there, with the observations that are written now.

    Its further resources stay if they stand in the descriptor itself; a note counts others.

    Raises:
        DatasetError: it cannot be used.
    """
    found = read_json(Path(package) / "datapackage.json", "get the package again")
    written = {name: value.value for name, value in found.items()}
    others = [
        resource
        for resource in found.require("resources").elements()
        if resource.require("name").text() not in (*TABLES, "ethogram", "looked-for")
    ]
    kept = [resource.value for resource in others if resource.get("data") is not None]
    project = found.require("project")
    levels = {"observationLevel": ["media"]}
    descriptor = {
        **written,
        "resources": [*map(_table, TABLES), *_resources(annotations, media), *kept],
        "profile": f"{_BASE_URL}/camtrap-dp-profile.json",
        "created": format_time(datetime.now(UTC)),
        "project": {name: value.value for name, value in project.items()} | levels,
    }
    dropped = "tables of the package beside those of the standard, which are left out"
    return descriptor, count_note(len(others) - len(kept), dropped)


def _table(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "path": f"{name}.csv",
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": f"{_BASE_URL}/{name}-table-schema.json",
    }


def _resources(annotations: Annotations, media: Media) -> list[dict[str, Any]]:
    """What the standard has no table for."""
    resources = []
    if annotations.labels.names:
        resources.append(
            {
                "name": "ethogram",
                "description": "Behaviors that were looked for, in order.",
                "data": [
                    {"label": name, "isPoint": name in annotations.point_labels}
                    for name in annotations.labels
                ],
            }
        )
    looked_for = list(_looked_for(annotations, media))
    if looked_for:
        resources.append(
            {
                "name": "looked-for",
                "description": "Media files in which not all behaviors were looked for (labels, "
                "joined by |; * is all), or of which only parts were looked at (seconds).",
                "data": looked_for,
            }
        )
    return resources


def _looked_for(annotations: Annotations, media: Media) -> Iterable[dict[str, Any]]:
    for video in annotations.videos:
        if video.checked is None and video.observed is None:
            continue
        labels = "*" if video.checked is None else join_labels(sorted(video.checked))
        stretches: Sequence[tuple[float | None, float | None]]
        stretches = [(None, None)] if video.observed is None else video.observed or [(0.0, 0.0)]
        for start, end in stretches:
            yield {
                "mediaID": media.row_of(video.path)["mediaID"],
                "labels": labels,
                "startSeconds": start,
                "endSeconds": end,
            }


def _slug(name: str) -> str:
    """A name of a data package: lower case letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "camtrap-dp"
