"""Results of `msqnet predict` as annotations: segments with their scores; read only."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.documents import exists
from msqnet.errors import DatasetError, MsqnetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.inference.results import on_file_clock
from msqnet.intervals import covers, subtract
from msqnet.labels import LabelSet
from msqnet.predictions import RESULT_SUFFIXES, VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Iterable

_JSON_SUFFIX = RESULT_SUFFIXES[0]


def annotations_of(results: Iterable[VideoPredictions], videos: Path | None = None) -> Annotations:
    """Segments of videos as events with scores; the labels of all models are the ethogram.

    The folder `videos` is where videos are looked for that are not where they were predicted.
    """
    found = list(results)
    labels = LabelSet(tuple(dict.fromkeys(name for result in found for name in result.labels)))
    annotated, models, notes = [], [], list[str]()
    for result in found:
        path = Path(result.path).absolute()
        if videos is not None and not exists(path):
            path = Reading(videos).video_path(result.path)
        result = on_file_clock(result, path)
        notes += [f"{Path(result.path).name}: {note}" for note in result.notes]
        events = _events(result)
        # What is not reported may be there all the same, and so may anything in unknown time.
        known = frozenset(result.labels) - result.withheld.keys()
        checked = None if known == set(labels) else known
        length = result.duration_seconds
        seen = tuple(subtract(result.shown, result.timeline.unknown_intervals))
        observed = None if covers(seen, (0.0, length)) else seen
        annotated.append(AnnotatedVideo(path, events, length, checked, observed))
        model = result.provenance.get("model")
        name = model.get("name") if isinstance(model, dict) else None
        models.append(f"msqnet {name}" if isinstance(name, str) and name else "msqnet")
    return Annotations(
        tuple(annotated),
        labels,
        notes=tuple(notes),
        model=", ".join(dict.fromkeys(models)),
    )


def _events(result: VideoPredictions) -> tuple[Event, ...]:
    return tuple(
        Event(item.label, item.start_seconds, item.end_seconds, score=item.score)
        for item in result.segments
    )


def _read(path: Path, reading: Reading) -> Annotations:
    files = [path]
    if path.is_dir():
        files = []
        for place, folders, names in os.walk(path):
            # Unfinished results may be in hidden folders.
            folders[:] = [name for name in folders if not name.startswith(".")]
            files += [Path(place, name) for name in names if name.endswith(_JSON_SUFFIX)]
    results = []
    for file in sorted(files):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            # A prediction that still runs replaces its files.
            continue
        # A folder may hold other JSON files, but not one of ours that is broken.
        text = content.decode("utf-8", errors="replace")
        if path.is_dir() and "schema_version" not in text:
            continue
        results.append(_result(text, file))
    if not results:
        raise DatasetError(
            f"{path}: no result of a video in it; expected what `msqnet predict --out` wrote"
        )
    return annotations_of(results, reading.videos)


def _result(text: str, file: Path) -> VideoPredictions:
    """The result in a file; `DatasetError` if a value is not as it should be."""
    try:
        result = VideoPredictions.from_json(text)
        _check_types(result)
        _events(result)
    # JSON that is too deep, or has numbers that are too long, is no `MsqnetError`.
    except (MsqnetError, RecursionError, ValueError) as error:
        advice = "" if "predict the video again" in str(error) else "; predict the video again"
        raise DatasetError(f"{file}: {error}{advice}") from error
    return result


def _check_types(result: VideoPredictions) -> None:
    # A file may have anything where there should be these.
    values: list[tuple[str, object, type, str]] = [
        ("path", result.path, str, "text"),
        ("provenance", result.provenance, dict, "an object"),
    ]
    for what, value, kind, expected in values:
        if not isinstance(value, kind):
            raise DatasetError(f"{what}: found {value!r}, expected {expected}")
    numbers: list[tuple[str, Any]] = [("duration_seconds", result.duration_seconds)]
    for item in result.segments:
        for name in ("start_seconds", "end_seconds", "score"):
            numbers.append((f"segment of {item.label!r}: {name}", getattr(item, name)))
    for what, value in numbers:
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise DatasetError(f"{what}: found {value!r}, expected a number of at least 0")


FORMAT = Format(
    "predictions", "results of msqnet predict", read=_read, suffixes=(_JSON_SUFFIX,), members=()
)
