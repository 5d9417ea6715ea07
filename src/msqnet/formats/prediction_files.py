"""Results of `msqnet predict` as annotations: segments with their scores; read only."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError, MsqnetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from msqnet.predictions import RESULT_SUFFIXES, VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_JSON_SUFFIX = RESULT_SUFFIXES[0]


def annotations_of(results: Iterable[VideoPredictions], videos: Path | None = None) -> Annotations:
    """Segments of videos as events with scores; the labels of all models are the ethogram.

    Args:
        results: of any number of videos.
        videos: folder in which videos are looked for that are not where they were predicted.
    """
    found = list(results)
    labels = LabelSet(tuple(dict.fromkeys(name for result in found for name in result.labels)))
    annotated = []
    for result in found:
        path = Path(result.path).absolute()
        # `os.path.exists` takes names of any length and character, from whatever a file holds.
        if videos is not None and not os.path.exists(path):  # noqa: PTH110
            path = Reading(videos).video_path(result.path)
        is_all = set(result.labels) == set(labels)
        checked = None if is_all else frozenset(result.labels)
        annotated.append(
            AnnotatedVideo(path, _events(result), result.duration_seconds, checked=checked)
        )
    return Annotations(
        tuple(annotated),
        labels,
        notes=tuple(f"{Path(item.path).name}: {note}" for item in found for note in item.notes),
        model=", ".join(dict.fromkeys(map(_model_name, found))),
    )


def _model_name(result: VideoPredictions) -> str:
    """The model of a result, as far as the result says it."""
    model = result.provenance.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    return f"msqnet {name}" if isinstance(name, str) and name else "msqnet"


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
    """The result in a file, with all that is read from it as it should be.

    Raises:
        DatasetError: it is not; the file is named.
    """
    try:
        result = VideoPredictions.from_json(text)
        for what, found, expected in _misplaced(result):
            raise DatasetError(f"{what}: found {found!r}, expected {expected}")
        _events(result)
    # JSON that is too deep, or has numbers that are too long, is no `MsqnetError`.
    except (MsqnetError, RecursionError, ValueError) as error:
        advice = "" if "predict the video again" in str(error) else "; predict the video again"
        raise DatasetError(f"{file}: {error}{advice}") from error
    return result


def _misplaced(result: VideoPredictions) -> Iterator[tuple[str, object, str]]:
    """Values of another type than they have: what they are, what was found and is expected."""
    # A file may have anything where there should be these.
    path: object = result.path
    provenance: object = result.provenance
    if not isinstance(path, str):
        yield "path", path, "text"
    if not isinstance(provenance, dict):
        yield "provenance", provenance, "an object"
    numbers: list[tuple[str, object]] = [("duration_seconds", result.duration_seconds)]
    for item in result.segments:
        numbers += [
            (f"segment of {item.label!r}: {name}", getattr(item, name))
            for name in ("start_seconds", "end_seconds", "score")
        ]
    for what, number in numbers:
        if (
            not isinstance(number, int | float)
            or isinstance(number, bool)
            or not 0 <= number < math.inf
        ):
            yield what, number, "a number of at least 0"


FORMAT = Format("predictions", "results of msqnet predict", read=_read, suffixes=(_JSON_SUFFIX,))
