"""Writes Camtrap DP: observations of events, beside the deployments and media that they are of.

The tables ask for what a video does not say: where the camera stood, when it recorded. That comes
from options, from the file's own ``creation_time``, or from a package that is there already; it is
never made up. Fields: https://camtrap-dp.tdwg.org/data/ and https://camtrap-dp.tdwg.org/metadata/.
"""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msqnet.data.adapters.annotation_files import choose
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.camtrap_descriptor import (
    PROJECT_OPTIONS,
    descriptor_of,
    missing_of_project,
    updated_descriptor,
)
from msqnet.formats.camtrap_media import MEDIA_OPTIONS, Media, media_of, media_of_package
from msqnet.formats.camtrap_observations import END_TAG, START_TAG, UNKNOWN_END
from msqnet.formats.camtrap_schema import allowed, columns
from msqnet.formats.camtrap_tables import (
    TIME_HELP,
    format_time,
    join_tags,
    parse_time,
    write_rows,
)
from msqnet.formats.camtrap_validation import validate_package
from msqnet.labels import join_labels
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

OPTIONS = {
    **MEDIA_OPTIONS,
    **PROJECT_OPTIONS,
    "species": "scientific name of what was observed, where events do not say it",
    "observation_type": "animal (default) or human, where events do not say it",
    "classified_by": "who noted the events: a person or a model",
    "classified_at": f"when they were noted: {TIME_HELP}",
}
FILES = ("datapackage.json", "observations.csv", "media.csv", "deployments.csv")
"""In the reverse of the order in which they appear: the descriptor makes a package of them."""

_MAX_SECONDS = 1e9
_ENUM_COLUMNS = ("lifeStage", "sex", "observationType")


@dataclass(frozen=True)
class _Classified:
    """Values that all observations share.

    Attributes:
        species: scientific name, or empty.
        kind: type of observation.
        by: who noted them, or empty.
        at: when, or empty.
        model: name of the model, empty where people noted them.
    """

    species: str
    kind: str
    by: str
    at: str
    model: str


def write_package(
    annotations: Annotations, folder: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write the four files of a package; they replace what is there when all are complete.

    Args:
        annotations: what was noted.
        folder: of the package; made if it is not there.
        options: some of `OPTIONS`.

    Returns:
        Notes on what was assumed, and whether the package is valid where that could be checked.

    Raises:
        ConfigError: an option that does not fit, or one that is needed and not given.
        DatasetError: a package that cannot be used, rows that the standard does not allow, or
            two observations of one video.
    """
    classified = _classified(annotations, options)
    if not annotations.videos:
        raise DatasetError(
            f"{folder}: there is no video to write; Camtrap DP has no place for an empty project"
        )
    for video in annotations.videos:
        _refuse_late(video)
    if "package" in options:
        media, notes = media_of_package(annotations, folder, options["package"])
        _refuse_repeated(annotations, media, folder)
        descriptor, more = updated_descriptor(annotations, media, options["package"])
        notes += more
    else:
        media, notes = media_of(annotations, folder, options, missing_of_project(options))
        _refuse_repeated(annotations, media, folder)
        descriptor = descriptor_of(annotations, media, folder, options)
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(_observations(annotations, media, classified))
    with contextlib.ExitStack() as stack:
        parts = {name: stack.enter_context(replacing(folder / name)) for name in FILES}
        parts["datapackage.json"].write_text(
            json.dumps(descriptor, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        write_rows(parts["deployments.csv"], columns("deployments"), media.deployments)
        write_rows(parts["media.csv"], columns("media"), media.rows)
        write_rows(parts["observations.csv"], columns("observations"), rows)
        given = ("deployments", "media") if "package" in options else ()
        checked = validate_package(descriptor, parts, given)
    return (*notes, *checked)


def _refuse_repeated(annotations: Annotations, media: Media, folder: Path) -> None:
    """Refuse two sets of notes on one file, which would become one set of both."""
    first: dict[str, Path] = {}
    for video in annotations.videos:
        name = media.row_of(video.path)["mediaID"]
        if name in first:
            raise DatasetError(
                f"{folder}: {first[name]} and {video.path} are both the media file {name!r}, but a "
                "package says once for each which labels and times were looked at; take one "
                "observation of each video"
            )
        first[name] = video.path


def _refuse_late(video: AnnotatedVideo) -> None:
    """Refuse times with which sums of dates would leave the calendar."""
    ends = [event.end_seconds or event.start_seconds for event in video.events]
    last = max([video.duration_seconds or 0.0, *ends])
    if last > _MAX_SECONDS:
        raise DatasetError(
            f"{video.path}: found a time of {last:g} s, which is later than any video lasts; "
            "correct its events"
        )


def _classified(annotations: Annotations, options: Mapping[str, str]) -> _Classified:
    at = options.get("classified_at", "")
    if at:
        try:
            at = format_time(parse_time(at))
        except ValueError as error:
            raise ConfigError(f"option classified_at={at}: expected {TIME_HELP}") from error
    return _Classified(
        options.get("species", ""),
        choose(options, "observation_type", ("animal", "human")),
        options.get("classified_by", annotations.model),
        at,
        annotations.model,
    )


def _observations(
    annotations: Annotations, media: Media, classified: _Classified
) -> Iterator[dict[str, str]]:
    number = 0
    for video in annotations.videos:
        for row in _rows_of(video, media, classified):
            number += 1
            yield {"observationID": f"obs{number}", **row}


def _rows_of(
    video: AnnotatedVideo, media: Media, classified: _Classified
) -> Iterator[dict[str, str]]:
    row = media.row_of(video.path)
    start = media.start_of(video.path)
    common = {
        "deploymentID": row["deploymentID"],
        "mediaID": row["mediaID"],
        "observationLevel": "media",
        "classificationTimestamp": classified.at,
    }
    for event in video.events:
        yield common | _times(event, start, video.duration_seconds) | _cells(event, classified)
    if not video.events and video.checked is None and video.observed is None:
        end = start + timedelta(seconds=math.ceil(video.duration_seconds or 0))
        yield common | {
            "eventStart": format_time(start),
            "eventEnd": format_time(end),
            "observationType": "blank",
            "classificationMethod": "machine" if classified.model else "",
            "classifiedBy": classified.by,
        }


def _times(event: Event, start: datetime, duration_seconds: float | None) -> dict[str, str]:
    """Date-times that hold the event in whole seconds; the tags beside them are exact."""
    end_seconds = event.end_seconds
    if end_seconds is None:
        end_seconds = max(event.start_seconds, duration_seconds or 0)
    return {
        "eventStart": format_time(start + timedelta(seconds=math.floor(event.start_seconds))),
        "eventEnd": format_time(start + timedelta(seconds=math.ceil(end_seconds))),
    }


def _cells(event: Event, classified: _Classified) -> dict[str, str]:
    own: dict[str, str] = {}
    end = UNKNOWN_END if event.end_seconds is None else repr(event.end_seconds)
    tags = [f"{START_TAG}{event.start_seconds!r}", f"{END_TAG}{end}"]
    for modifier in event.modifiers:
        name, _, value = modifier.partition(":")
        if _fits(name, value) and name not in own:
            own[name] = value
        else:
            tags.append(modifier)
    is_model = event.score is not None
    return {
        "observationType": classified.kind,
        "scientificName": classified.species,
        **own,
        "behavior": join_labels((event.label,)),
        "individualID": event.subject,
        "classificationMethod": "machine" if is_model else "human",
        "classifiedBy": classified.by if is_model or not classified.model else "",
        "classificationProbability": "" if event.score is None else repr(event.score),
        "observationTags": join_tags(tags),
        "observationComments": event.comment,
    }


def _fits(name: str, value: str) -> bool:
    """Whether a modifier has a column of its own that takes its value."""
    if name == "count":
        return value.isascii() and value.isdigit() and int(value) > 0
    if name in _ENUM_COLUMNS:
        return value in allowed("observations", name)
    return name == "scientificName" and bool(value)
