"""Writes Camtrap DP: events as observations, beside the metadata of their videos.

Fields: https://camtrap-dp.tdwg.org/data/. A package is checked against the schemas of the standard
before it appears, where frictionless is installed.
"""

from __future__ import annotations

import contextlib
import json
import math
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msqnet.errors import DatasetError
from msqnet.files import replacing
from msqnet.formats.annotations import last_seconds
from msqnet.formats.camtrap_dp.camtrap_metadata import OPTIONS as METADATA_OPTIONS
from msqnet.formats.camtrap_dp.camtrap_metadata import (
    metadata_of_package,
    metadata_of_videos,
    time_option,
)
from msqnet.formats.camtrap_dp.camtrap_reader import DESCRIPTOR, END_TAG, START_TAG, UNKNOWN_END
from msqnet.formats.camtrap_dp.camtrap_tables import (
    TABLES,
    TIME_HELP,
    VERSION,
    format_time,
    parse_time,
    table_schemas,
    write_rows,
)
from msqnet.formats.options import choose
from msqnet.labels import SEPARATOR, join_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import Annotations, Event
    from msqnet.formats.camtrap_dp.camtrap_metadata import Metadata

OPTIONS = {
    **METADATA_OPTIONS,
    "species": "scientific name of what was observed, where events do not say it",
    "observation_type": "animal (default) or human, where events do not say it",
    "classified_by": "who noted the events: a person or a model",
    "classified_at": f"when they were noted: {TIME_HELP}",
}
FILES = (DESCRIPTOR, "observations.csv", "media.csv", "deployments.csv")
"""In the reverse of the order in which they appear: the descriptor makes a package of them."""

_MAX_SECONDS = 1e9
_NUM_NAMED = 3
_SCHEMAS = f"the table schemas of Camtrap DP {VERSION}"


def write_package(
    annotations: Annotations, folder: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write the four files of a package; they replace those of a folder when all are complete.

    Notes say what was assumed, and whether the package is valid where that could be checked. An
    option that does not fit, or one that is needed and not given, is a `ConfigError`; a package
    that cannot be used, rows that the standard does not allow, or two observations of one video, a
    `DatasetError`.
    """
    if not annotations.videos:
        raise DatasetError(
            f"{folder}: there is no video to write; Camtrap DP has no place for an empty project"
        )
    for video in annotations.videos:
        # Sums of later times and dates would leave the calendar.
        if last_seconds(video) > _MAX_SECONDS:
            raise DatasetError(
                f"{video.path}: found a time of {last_seconds(video):g} s, which is later than any "
                "video lasts; correct its events"
            )
    if "package" in options:
        metadata = metadata_of_package(annotations, folder, options["package"])
    else:
        metadata = metadata_of_videos(annotations, folder, options)
    first: dict[str, Path] = {}
    for path in (video.path for video in annotations.videos):
        name = metadata.row_of[path]["mediaID"]
        if name in first:
            raise DatasetError(
                f"{folder}: {first[name]} and {path} are both the media file {name!r}, but a "
                "package says once for each which labels and times were looked at; take one "
                "observation of each video"
            )
        first[name] = path
    rows = list(_observations(annotations, metadata, options))
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        parts = {name: stack.enter_context(replacing(folder / name)) for name in FILES}
        text = json.dumps(metadata.descriptor, indent=2, ensure_ascii=False)
        parts[DESCRIPTOR].write_text(text + "\n", encoding="utf-8")
        for table, written in zip(
            TABLES, (metadata.deployments, metadata.media, rows), strict=True
        ):
            write_rows(parts[f"{table}.csv"], table, written)
        given = ("deployments", "media") if "package" in options else ()
        checked = _validation_note(metadata.descriptor, parts, given)
    return (*metadata.notes, checked)


def _observations(
    annotations: Annotations, metadata: Metadata, options: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """Rows of the table; a video without events that was looked at as a whole is blank."""
    classified_at = time_option(options, "classified_at")
    kind = choose(options, "observation_type", ("animal", "human"))
    model = annotations.model
    by = options.get("classified_by", model)
    number = 0
    for video in annotations.videos:
        row = metadata.row_of[video.path]
        start = parse_time(row["timestamp"])
        duration = video.duration_seconds or 0.0
        found: list[tuple[float, float, dict[str, str]]] = []
        for event in video.events:
            is_scored = event.score is not None
            own = {
                "observationType": kind,
                "scientificName": options.get("species", ""),
                **_event_cells(event),
                "classificationMethod": "machine" if is_scored else "human",
                "classifiedBy": by if is_scored or not model else "",
            }
            first, last = event.start_seconds, event.end_seconds
            found.append((first, max(first, duration) if last is None else last, own))
        if not video.events and video.checked is None and video.observed is None:
            own = {"observationType": "blank", "classifiedBy": by}
            own["classificationMethod"] = "machine" if model else ""
            found.append((0.0, duration, own))
        for first, last, own in found:
            number += 1
            # Whole seconds that hold the event; the tags beside them are exact.
            yield own | {
                "observationID": f"obs{number}",
                "deploymentID": row["deploymentID"],
                "mediaID": row["mediaID"],
                "observationLevel": "media",
                "eventStart": format_time(start + timedelta(seconds=math.floor(first))),
                "eventEnd": format_time(start + timedelta(seconds=math.ceil(last))),
                "classificationTimestamp": format_time(classified_at) if classified_at else "",
            }


def _event_cells(event: Event) -> dict[str, str]:
    own: dict[str, str] = {}
    end = UNKNOWN_END if event.end_seconds is None else repr(event.end_seconds)
    tags = [f"{START_TAG}{event.start_seconds!r}", f"{END_TAG}{end}"]
    for modifier in event.modifiers:
        name, _, value = modifier.partition(":")
        if name not in own and _fits(name, value):
            own[name] = value
        else:
            tags.append(modifier)
    return own | {
        "behavior": join_labels((event.label,)),
        "individualID": event.subject,
        "classificationProbability": "" if event.score is None else repr(event.score),
        "observationTags": " | ".join(" ".join(t.replace(SEPARATOR, "/").split()) for t in tags),
        "observationComments": event.comment,
    }


def _fits(name: str, value: str) -> bool:
    """Whether a modifier has a column of its own that takes its value."""
    if name == "count":
        return value.isascii() and value.isdigit() and int(value) > 0
    if name in ("lifeStage", "sex", "observationType"):
        fields = {field["name"]: field for field in table_schemas()["observations"]["fields"]}
        return value in fields[name]["constraints"]["enum"]
    return name == "scientificName" and bool(value)


def _validation_note(
    descriptor: Mapping[str, Any], parts: Mapping[str, Path], given: Collection[str]
) -> str:
    """Check tables and their relations; an error in a table that is not `given` is raised."""
    if find_spec("frictionless") is None:
        return f"not checked against {_SCHEMAS}: that needs pip install 'msqnet[formats]'"
    problems = _problems(descriptor, parts)
    own = [text for name, text in problems if name not in given]
    texts = own or [text for _, text in problems]
    more = f" and {len(texts) - _NUM_NAMED} more" if len(texts) > _NUM_NAMED else ""
    listed = "; ".join(texts[:_NUM_NAMED]) + more
    if own:
        raise DatasetError(
            f"not valid by {_SCHEMAS}: {listed}; nothing is written: correct the options or the "
            "annotations"
        )
    if problems:
        return f"the package's own tables are not valid by {_SCHEMAS}: {listed}"
    return f"valid by {_SCHEMAS}, as frictionless checks it"


def _problems(descriptor: Mapping[str, Any], parts: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Names of tables and what is wrong in them; no name where the package as a whole is meant."""
    from frictionless import FrictionlessException, Package, system

    resources = [dict(resource) for resource in descriptor["resources"]]
    for resource in resources:
        name = resource["name"]
        if name in TABLES:
            resource |= {"path": parts[f"{name}.csv"].name, "schema": table_schemas()[name]}
    folder = parts["media.csv"].parent
    try:
        # Names of unfinished files begin with a dot, which is refused in a package from elsewhere.
        with system.use_context(trusted=True):
            package = Package.from_descriptor({"resources": resources}, basepath=str(folder))
            report = package.validate()
    except FrictionlessException as error:
        return [("", text) for text in [reason.message for reason in error.reasons] or [str(error)]]
    found = [("", error.message) for error in report.errors]
    for task in report.tasks:
        found += [(task.name, f"{task.name}: {error.message}") for error in task.errors]
    return found
