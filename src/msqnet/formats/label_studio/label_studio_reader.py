"""Reads exports of Label Studio.

A region of ``TimelineLabels`` has ``ranges`` of frames; one of ``Labels`` on the sound of a video
has ``start`` and ``end`` in seconds. Sources: https://labelstud.io/tags/timelinelabels,
https://labelstud.io/guide/task_format and
https://labelstud.io/templates/video_timeline_segmentation.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from msqnet.documents import JsonValue, read_json
from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.formats.frame_times import is_rate, parse_rate, read_frame_times
from msqnet.formats.label_studio.label_studio_config import (
    FrameClock,
    LabellingConfig,
    config_path,
    read_config,
)
from msqnet.formats.options import choose, count_note
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.formats import Reading

OPTIONS = {
    "config": "when reading: file of the labelling configuration; otherwise NAME.xml beside it",
    "data": "when reading: key of the video's address in the data of a task",
    "take": "when reading: annotations, predictions or both; without it, predictions only where "
    "there are no annotations",
}
_ADVICE = "export the project from Label Studio again, as JSON (not JSON-MIN)"
_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that is uploaded."""

_SERVED = ("/data/upload/", "/data/local-files/")
"""Where Label Studio serves files from."""

_MAX_FRAME = 10**9
_USUAL_KEYS = ("video", "video_url", "url")


@dataclass
class _Project:
    """What is known of all tasks.

    Attributes:
        reading: folder of videos and options.
        config: the labelling configuration; None where it is not there.
        take: results that are read.
        counts: how often something was not taken, or taken in another way, by what it was.
    """

    reading: Reading
    config: LabellingConfig | None
    take: str
    counts: Counter[str] = field(default_factory=Counter)


def read_tasks(path: Path, reading: Reading) -> Annotations:
    """Read an export.

    Args:
        path: the file of tasks.
        reading: folder of the videos, and some of `OPTIONS`.

    Raises:
        DatasetError: no export as JSON, or values in it that are not as they should be.
    """
    document, options = read_json(path, _ADVICE), reading.options
    tasks = list(document.elements()) if isinstance(document.value, list) else [document]
    if "take" in options:
        take = choose(options, "take", ("annotations", "predictions", "both"))
    else:
        is_annotated = any(_results(task, "annotations") for task in tasks)
        take = "annotations" if is_annotated else "predictions"
    place = Path(options["config"]) if "config" in options else config_path(path)
    config = read_config(place) if "config" in options or place.is_file() else None
    project = _Project(reading, config, take)
    videos = [video for task in tasks if (video := _video(task, project)) is not None]
    seen = sorted({event.label for video in videos for event in video.events})
    labels = LabelSet(tuple(seen)) if config is None else config.labels
    notes = [note for text, number in project.counts.items() for note in count_note(number, text)]
    if config is None:
        notes.append(
            "an export does not say which labels were looked for: taken are those that occur; "
            "--option config=FILE names the labelling configuration"
        )
    return Annotations(tuple(videos), labels, notes=tuple(notes))


def _results(task: JsonValue, key: str) -> list[JsonValue]:
    """Annotations or predictions of a task that were not cancelled."""
    found = task.get(key)
    return [
        result
        for result in ([] if found is None else found.elements())
        if not _is_true(result, "was_cancelled")
    ]


def _is_true(value: JsonValue, key: str) -> bool:
    found = value.get(key)
    return found is not None and found.truth()


def _video(task: JsonValue, project: _Project) -> AnnotatedVideo | None:
    data = task.get("data")
    if data is None:
        raise DatasetError(f"{task.place}: no 'data', so this is no task; {_ADVICE}")
    path = _path(data, project)
    chosen = _chosen(task, project)
    if not chosen:
        project.counts[f"tasks without {project.take}, which are left out"] += 1
        return None
    times = read_frame_times(path)
    regions = [
        (region, is_model)
        for result, is_model in chosen
        if (listed := result.get("result")) is not None
        for region in listed.elements()
    ]
    clock = FrameClock(_rate(data, [region for region, _ in regions], project), times)
    events = [
        event
        for region, is_model in regions
        for event in _events(region, is_model, clock, path, project)
    ]
    checked, observed = _looked_for(data)
    return AnnotatedVideo(
        path,
        tuple(events),
        None if times is None else times.duration_seconds,
        checked=checked,
        observed=observed,
        split=_text(data, "split"),
        group=_text(data, "group"),
    )


def _chosen(task: JsonValue, project: _Project) -> list[tuple[JsonValue, bool]]:
    """Results that are taken: of several, the one that is called true, or the last."""
    chosen = []
    for key in ("annotations", "predictions"):
        results = _results(task, key) if project.take in (key, "both") else []
        if len(results) > 1:
            project.counts[f"tasks with several {key}, of which one is taken"] += 1
        if results:
            true = [item for item in results if _is_true(item, "ground_truth")]
            chosen.append(((true or results)[-1], key == "predictions"))
    return chosen


def _path(data: JsonValue, project: _Project) -> Path:
    """Where the video of a task belongs."""
    key = project.reading.options.get("data") or (project.config and project.config.video_key)
    if key:
        address = data.require(key)
    else:
        texts = {name: value for name, value in data.items() if isinstance(value.value, str)}
        known = [name for name in _USUAL_KEYS if name in texts] or [
            name for name in texts if name not in ("split", "group")
        ]
        if not known or (len(known) > 1 and known[0] not in _USUAL_KEYS):
            raise DatasetError(
                f"{data.place}: found {', '.join(texts) or 'no text'}, expected the address of one "
                "video; --option data=KEY names its key"
            )
        address = texts[known[0]]
    if not address.text().strip():
        raise address.error("the address of a video")
    return video_path(address.text(), project.reading)


def video_path(address: str, reading: Reading) -> Path:
    """Where a video belongs that a task names by its address.

    Args:
        address: of a web server, of a storage, of a file that was uploaded, or a path.
        reading: folder of the videos.
    """
    try:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d", [""])[0]
    except ValueError:
        return reading.video_path(address)
    if local:
        return reading.video_path(local)
    if "://" not in address and not address.startswith(_SERVED):
        return reading.video_path(address)
    name = unquote(parts.path).rstrip("/").rsplit("/", maxsplit=1)[-1]
    place = reading.video_path(name)
    if "/upload/" in parts.path and not place.is_file():
        return reading.video_path(_UPLOAD_MARK.sub("", name))
    return place


def _rate(data: JsonValue, regions: Iterable[JsonValue], project: _Project) -> float | None:
    """Frames a second that Label Studio counted by; None where nothing says it."""
    written = project.reading.options.get("fps")
    if written is not None:
        return parse_rate(written)
    config = project.config
    if config is not None and config.rate is not None:
        return config.rate
    found = data.get("fps" if config is None or not config.rate_key else config.rate_key)
    if found is not None:
        if not is_rate(found.number()):
            raise found.error("frames a second, more than 0")
        return found.number()
    for region in regions:
        value = region.get("value")
        frames = None if value is None else value.get("framesCount")
        seconds = None if value is None else value.get("duration")
        if frames is None or seconds is None or seconds.number() <= 0:
            continue
        if is_rate(frames.number() / seconds.number()):
            return frames.number() / seconds.number()
    return None


def _events(
    region: JsonValue, is_model: bool, clock: FrameClock, path: Path, project: _Project
) -> list[Event]:
    value, kind = region.get("value"), _text(region, "type") or "none"
    if value is not None and value.get("ranges") is not None:
        labels, intervals = value.get("timelinelabels"), _ranges(value, clock, path, project)
    elif value is not None and kind == "labels" and _has_times(value):
        labels, intervals = value.get("labels"), [_second_interval(value)]
    else:
        project.counts[f"results of type {kind}, which are left out"] += 1
        return []
    names = [] if labels is None else [clean_label(label.text()) for label in labels.elements()]
    if not any(names):
        project.counts["intervals without a label, which are left out"] += 1
    score = region.get("score") if is_model else None
    if score is not None and not 0 <= score.number() <= 1:
        raise score.error("a score from 0 to 1")
    confidence = None if score is None else score.number()
    return [
        Event(name, start, end, score=confidence, comment=_comment(region))
        for name in names
        if name
        for start, end in intervals
    ]


def _ranges(
    value: JsonValue, clock: FrameClock, path: Path, project: _Project
) -> list[tuple[float, float]]:
    """Ranges of frames in seconds."""
    if clock.rate is None and clock.times is None:
        raise DatasetError(
            f"{value.place}: frames of {path}, which is not there, at a rate that nothing says; "
            "put the video there, or take --option fps=... with the frameRate of the labelling "
            "configuration (24 if it has none)"
        )
    intervals = []
    for span in value.require("ranges").elements():
        first = max(1, span.require("start").whole())
        written_end = span.get("end")
        last = first if written_end is None else written_end.whole()
        if last < first:
            raise span.error(f"an end not before the start, {first}")
        if last > _MAX_FRAME:
            raise span.error(f"frames up to {_MAX_FRAME}")
        start, end = clock.seconds_of(first, last)
        if start < end:
            intervals.append((start, end))
        else:
            project.counts["intervals after the end of their video, which are left out"] += 1
    if clock.rate is None:
        project.counts[
            "intervals whose frames are taken as those of the file, as nothing says at which rate "
            "Label Studio counted (--option fps=... does)"
        ] += len(intervals)
    elif clock.times is None:
        project.counts[
            "intervals of missing videos, whose times follow from the frame rate alone"
        ] += len(intervals)
    return intervals


def _has_times(value: JsonValue) -> bool:
    return value.get("start") is not None and value.get("end") is not None


def _second_interval(value: JsonValue) -> tuple[float, float]:
    start, end = value.require("start"), value.require("end")
    if not 0 <= start.number() <= end.number():
        raise value.error(f"a start of at least 0, not after the end, {end.number()}")
    return start.number(), end.number()


def _comment(region: JsonValue) -> str:
    """What was written beside a region."""
    meta = region.get("meta")
    text = meta.get("text") if meta is not None and isinstance(meta.value, dict) else None
    if text is None:
        return ""
    if isinstance(text.value, list):
        return "\n".join(line.text() for line in text.elements())
    return text.text()


def _text(value: JsonValue, key: str) -> str:
    found = value.get(key)
    return found.text() if found is not None and isinstance(found.value, str) else ""


def _looked_for(
    data: JsonValue,
) -> tuple[frozenset[str] | None, tuple[tuple[float, float], ...] | None]:
    """Labels and intervals that were looked at, where a task says it."""
    checked, observed = data.get("checked"), data.get("observed")
    labels = None
    if checked is not None and isinstance(checked.value, list):
        labels = frozenset(clean_label(label.text()) for label in checked.elements())
    intervals = None
    if observed is not None and isinstance(observed.value, list):
        pairs = [list(pair.elements()) for pair in observed.elements()]
        if any(len(pair) != 2 or pair[0].number() > pair[1].number() for pair in pairs):
            raise observed.error("pairs of seconds, each a start and an end")
        intervals = tuple((pair[0].number(), pair[1].number()) for pair in pairs)
    return labels, intervals
