"""Aggregated events as BORIS exports them, written: a row an event, a file for all observations.

The columns are those of BORIS 8 to 10. Seconds have three decimals, as there, and more where an
event has more.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from typing import TYPE_CHECKING

from msqnet.data.adapters.annotation_files import count_note
from msqnet.errors import DatasetError
from msqnet.formats.annotations import comment_with_score
from msqnet.formats.boris_media import NO_FOCAL_SUBJECT
from msqnet.formats.boris_writing import (
    code_of_modifiers,
    media_path,
    medium_info,
    modifiers_note,
    observation_names,
    variables_of,
)
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

DELIMITERS = {".tsv": "\t", ".csv": ","}

_NA = "NA"
_OBSERVATION_COLUMNS = (
    *("Observation id", "Observation date", "Description", "Observation type", "Source"),
    *("Time offset (s)", "Coding duration", "Media duration (s)", "FPS (frame/s)"),
)
_SUBJECT_COLUMNS = (
    *("Subject", "Observation duration by subject by observation"),
    *("Behavior", "Behavioral category"),
)
_EVENT_COLUMNS = (
    *("Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name"),
    *("Image index start", "Image index stop", "Image file path start", "Image file path stop"),
    *("Comment start", "Comment stop"),
)


def write_events(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write aggregated events; a file that is there is replaced at once.

    Args:
        annotations: what was noted.
        path: a file that ends in ``.tsv`` or ``.csv``.
        options: none are known.

    Returns:
        What was left out.

    Raises:
        DatasetError: another suffix.
    """
    del options
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected .tsv or .csv")
    num_modifiers = max((len(event.modifiers) for event in annotations.events()), default=0)
    variables = variables_of(annotations)
    header = [
        *_OBSERVATION_COLUMNS,
        *variables,
        *_SUBJECT_COLUMNS,
        *(f"Modifier #{number}" for number in range(1, num_modifiers + 1)),
        *_EVENT_COLUMNS,
    ]
    names = observation_names(annotations.videos)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        # BORIS ends lines so, in both kinds of file.
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
        writer.writerow(header)
        for number, (name, video) in enumerate(zip(names, annotations.videos, strict=True)):
            about = [
                *_about(name, video, path.parent),
                *(values[number] for values in variables.values()),
            ]
            totals = _totals(video)
            place = media_path(video, path.parent)
            for event in video.events:
                writer.writerow([*about, *_cells(event, totals, num_modifiers, place)])
    return _notes(annotations)


def _notes(annotations: Annotations) -> tuple[str, ...]:
    num_empty = sum(not video.events for video in annotations.videos)
    broken = sum(_one_line(event.comment) != event.comment for event in annotations.events())
    return (
        *count_note(num_empty, "videos without an event, which have no row"),
        *modifiers_note(annotations),
        *count_note(broken, "comments with line breaks, which become spaces"),
    )


def _about(name: str, video: AnnotatedVideo, folder: Path) -> list[str]:
    info = medium_info(video)
    length = _NA if info.length_seconds is None else _decimals(info.length_seconds)
    fps = _NA if info.fps is None else f"{info.fps:.3f}"
    return [
        *(name, "", "", "Media file", f"player #1:{media_path(video, folder)}"),
        *("0.0", length, length, fps),
    ]


def _totals(video: AnnotatedVideo) -> dict[str, float]:
    """Seconds of all events of each subject."""
    totals: dict[str, float] = defaultdict(float)
    for event in video.events:
        end = event.start_seconds if event.end_seconds is None else event.end_seconds
        totals[event.subject] += end - event.start_seconds
    return totals


def _cells(event: Event, totals: dict[str, float], num_modifiers: int, place: str) -> list[str]:
    end = event.end_seconds
    modifiers = code_of_modifiers(event, 0).split("|") if event.modifiers else []
    has_length = end is not None and not event.is_point
    return [
        event.subject or NO_FOCAL_SUBJECT,
        f"{totals[event.subject]:.3f}",
        event.label,
        "Not defined",
        *modifiers,
        *[""] * (num_modifiers - len(modifiers)),
        "POINT" if event.is_point else "STATE",
        _decimals(event.start_seconds),
        _NA if end is None else _decimals(end),
        _decimals(end - event.start_seconds) if end is not None and has_length else _NA,
        place,
        *(_NA, _NA, "", ""),
        _one_line(comment_with_score(event)),
        "",
    ]


def _decimals(seconds: float) -> str:
    """Three decimals, or up to six where there are that many."""
    text = f"{seconds:.6f}"
    return text[:-3] + text[-3:].rstrip("0")


def _one_line(comment: str) -> str:
    return " ".join(comment.splitlines())
