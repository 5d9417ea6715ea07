"""Results of `msqnet predict` as annotations: segments with their scores; read only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, Format, Reading
from msqnet.labels import LabelSet
from msqnet.predictions import RESULT_SUFFIXES, VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Iterable

_JSON_SUFFIX = RESULT_SUFFIXES[0]


def annotations_of(results: Iterable[VideoPredictions], videos: Path | None = None) -> Annotations:
    """Segments of videos as events with scores; the labels of all models are the ethogram.

    Args:
        results: of any number of videos.
        videos: folder in which videos are looked for that are not where they were predicted.
    """
    found = list(results)
    names = dict.fromkeys(name for result in found for name in result.labels)
    labels = LabelSet(tuple(names))
    notes = [f"{Path(item.path).name}: {note}" for item in found for note in item.notes]
    return Annotations(
        tuple(_video(result, labels, videos) for result in found),
        labels,
        notes=tuple(notes),
        model=", ".join(dict.fromkeys(map(_model_name, found))),
    )


def _model_name(result: VideoPredictions) -> str:
    """The model of a result, as far as the result says it."""
    model = result.provenance.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    return f"msqnet {name}" if isinstance(name, str) and name else "msqnet"


def _video(result: VideoPredictions, labels: LabelSet, videos: Path | None) -> AnnotatedVideo:
    path = Path(result.path).absolute()
    if videos is not None:
        path = Reading(videos).video_path(result.path)
    events = tuple(
        Event(item.label, item.start_seconds, item.end_seconds, score=item.score)
        for item in result.segments
    )
    is_all = set(result.labels) == set(labels)
    return AnnotatedVideo(
        path,
        events,
        result.duration_seconds,
        checked=None if is_all else frozenset(result.labels),
    )


def _read(path: Path, reading: Reading) -> Annotations:
    files = [path] if path.is_file() else sorted(path.rglob(f"*{_JSON_SUFFIX}"))
    results = []
    for file in files:
        # A folder may hold other JSON files, but not one of ours that is broken.
        text = file.read_bytes().decode("utf-8", errors="replace")
        if path.is_dir() and "schema_version" not in text:
            continue
        try:
            results.append(VideoPredictions.from_json(text))
        except DatasetError as error:
            raise DatasetError(f"{file}: {error}") from error
    if not results:
        raise DatasetError(
            f"{path}: no result of a video in it; expected what `msqnet predict --out` wrote"
        )
    return annotations_of(results, reading.videos)


FORMAT = Format(
    "predictions", "results of msqnet predict", _JSON_SUFFIX, frozenset({"scores"}), _read, None
)
