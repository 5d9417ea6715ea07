"""Tasks of Label Studio: exports that are read, and tasks to import.

A region of ``TimelineLabels`` has ``ranges`` of frames; one of ``Labels`` on the sound of a video
has ``start`` and ``end`` in seconds; ``Choices`` hold for the whole video. Written events with a
score are predictions, which people can correct there; others are annotations. Sources:
https://labelstud.io/tags/timelinelabels, https://labelstud.io/tags/choices,
https://labelstud.io/guide/task_format, https://labelstud.io/guide/predictions and
https://labelstud.io/templates/video_timeline_segmentation.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from msqnet.documents import JsonValue, read_json
from msqnet.errors import ConfigError, DatasetError
from msqnet.files import replacing
from msqnet.formats.annotations import (
    ANY_LABEL,
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    count_notes,
    without_open_states,
)
from msqnet.formats.frame_times import (
    is_rate,
    moved_note,
    moved_seconds,
    parse_rate,
    rate_option,
    read_frame_times,
)
from msqnet.formats.label_studio.label_studio_config import (
    RATE_KEY,
    TIMELINE_NAME,
    VIDEO_NAME,
    FrameClock,
    LabellingConfig,
    config_path,
    config_text,
    rate_of,
    read_config,
)
from msqnet.formats.options import choose, video_address
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msqnet.formats import Reading

_ADVICE = "export the project from Label Studio again, as JSON (not JSON-MIN)"
_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that is uploaded."""

_SERVED = ("/data/upload/", "/data/local-files/")
"""Where Label Studio serves files from."""

_MAX_FRAME = 10**9
_USUAL_KEYS = ("video", "video_url", "url")


class _Project(NamedTuple):
    """How tasks are read: annotations, predictions or both; `counts` of what was not taken.

    `lost` gets the labels of what was not taken of one task.
    """

    reading: Reading
    config: LabellingConfig
    take: str
    counts: Counter[str]
    lost: set[str]


def read_tasks(path: Path, reading: Reading) -> Annotations:
    """Read an export; `DatasetError` if it is none, or a value is not as it should be."""
    document, options = read_json(path, _ADVICE), reading.options
    tasks = list(document.elements()) if isinstance(document.value, list) else [document]
    if "take" in options:
        take = choose(options, "take", ("annotations", "predictions", "both"))
    else:
        is_annotated = any(_results(task, "annotations") for task in tasks)
        take = "annotations" if is_annotated else "predictions"
    place = Path(options["config"]) if "config" in options else config_path(path)
    has_config = "config" in options or place.is_file()
    config = read_config(place) if has_config else LabellingConfig(LabelSet(()), "", None, "")
    project = _Project(reading, config, take, Counter(), set())
    found = (_video(task, project._replace(lost=set())) for task in tasks)
    videos = tuple(video for video in found if video is not None)
    notes = count_notes(project.counts)
    if has_config:
        return Annotations(videos, config.labels, notes=notes)
    seen = sorted({event.label for video in videos for event in video.events})
    notes += (
        "an export does not say which labels were looked for: taken are those that occur; "
        "--option config=FILE names the labelling configuration",
    )
    return Annotations(videos, LabelSet(tuple(seen)), notes=notes)


def _results(task: JsonValue, key: str) -> list[JsonValue]:
    """Annotations or predictions of a task that were not cancelled; not those of mere numbers."""
    found = [item for item in task.elements_of(key) if not isinstance(item.value, int)]
    return [item for item in found if not item.is_true("was_cancelled")]


def _text(value: JsonValue, key: str) -> str:
    found = value.get(key)
    return found.text() if found is not None and isinstance(found.value, str) else ""


def _video(task: JsonValue, project: _Project) -> AnnotatedVideo | None:
    data = task.get("data")
    if data is None:
        raise DatasetError(f"{task.place}: no 'data', so this is no task; {_ADVICE}")
    path = _path(data, project)
    regions: list[tuple[JsonValue, bool]] = []
    is_taken = False
    for key in ("annotations", "predictions"):
        num_ids = sum(isinstance(item.value, int) for item in task.elements_of(key))
        text = f"{key} that the export only numbers, which are left out (export with them)"
        project.counts[text] += num_ids
        results = _results(task, key) if project.take in (key, "both") else []
        if len(results) > 1:
            project.counts[f"tasks with several {key}, of which one is taken"] += 1
        if results:
            # Of several, the one that is called true, or the last.
            true = [item for item in results if item.is_true("ground_truth")]
            taken = (true or results)[-1]
            is_taken = True
            regions += [(region, key == "predictions") for region in taken.elements_of("result")]
            others = (other for other in results if other is not taken)
            project.lost.update(
                n for o in others for r in o.elements_of("result") for n in _named(r)
            )
    if not is_taken:
        project.counts[f"tasks without {project.take}, which are left out"] += 1
        return None
    times = read_frame_times(path)
    clock = FrameClock(_rate(data, [region for region, _ in regions], project), times)
    events = [
        event
        for region, is_model in regions
        for event in _events(region, is_model, clock, path, project)
    ]
    chosen_with = {_text(region, "from_name") for region, _ in regions}
    for name, labels in project.config.choices.items():
        # Where nothing was chosen, nobody may have answered.
        project.lost.update(labels if name not in chosen_with else ())
    length = None if times is None else times.duration_seconds
    where = _text(data, "split"), _text(data, "group")
    known, lost = _looked_for(data), frozenset(project.lost)
    return AnnotatedVideo(path, tuple(events), length, *known, *where, left_out=lost)


def _named(region: JsonValue) -> set[str]:
    """Labels that a region of whatever kind has."""
    value, kind = region.get("value"), _text(region, "type")
    lists = [] if value is None else [value.get(kind), value.get("labels")]
    found = [item for item in lists if item is not None and isinstance(item.value, list)]
    texts = [item.value for listed in found for item in listed.elements()]
    return {clean_label(text) for text in texts if isinstance(text, str)}


def _path(data: JsonValue, project: _Project) -> Path:
    key = project.reading.options.get("data") or project.config.video_key
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
    """Where a video belongs that a task names by an address of a server, a storage or a path."""
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
    if project.config.rate is not None:
        return project.config.rate
    found = data.get(project.config.rate_key or RATE_KEY)
    if found is not None:
        if not is_rate(found.number()):
            raise found.error("frames a second, more than 0")
        return found.number()
    for region in regions:
        seconds = region.number_of("value", "duration")
        rate = region.number_of("value", "framesCount") / seconds if seconds > 0 else 0.0
        if is_rate(rate):
            return rate
    return None


def _events(
    region: JsonValue, is_model: bool, clock: FrameClock, path: Path, project: _Project
) -> list[Event]:
    value, kind = region.get("value"), _text(region, "type") or "none"
    intervals: Sequence[tuple[float, float | None]]
    if value is not None and value.get("ranges") is not None:
        labels = value.elements_of("timelinelabels")
        intervals = _ranges(value, clock, path, project)
    elif (
        value is not None
        and kind == "labels"
        and (start := value.get("start")) is not None
        and (end := value.get("end")) is not None
    ):
        if not 0 <= start.number() <= end.number():
            raise value.error(f"a start of at least 0, not after the end, {end.number()}")
        labels, intervals = value.elements_of("labels"), [(start.number(), end.number())]
    elif (
        value is not None
        and kind == "choices"
        and set(value.members()) == {"choices"}
        and (not project.config.labels or _text(region, "from_name") in project.config.choices)
    ):
        labels = value.elements_of("choices")
        # Nothing says when, so that they hold for the video as a whole.
        intervals = [(0.0, None if clock.times is None else clock.times.duration_seconds)]
    else:
        project.counts[f"results of type {kind}, which are left out"] += 1
        project.lost.update(_named(region))
        return []
    names = [clean_label(label.text()) for label in labels]
    if not any(names):
        project.counts["intervals without a label, which are left out"] += 1
        project.lost.add(ANY_LABEL)
    if value.get("ranges") is not None and len(intervals) < len(list(value.elements_of("ranges"))):
        project.lost.update(names)
    found = region.get("score") if is_model else None
    score = None if found is None else found.score()
    return [
        Event(name, first, last, score=score, comment=_comment(region))
        for name in names
        if name
        for first, last in intervals
    ]


def _ranges(
    value: JsonValue, clock: FrameClock, path: Path, project: _Project
) -> list[tuple[float, float]]:
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


def _comment(region: JsonValue) -> str:
    meta = region.get("meta")
    text = meta.get("text") if meta is not None and isinstance(meta.value, dict) else None
    if text is None:
        return ""
    lines = text.elements() if isinstance(text.value, list) else [text]
    return "\n".join(line.text() for line in lines)


def _looked_for(
    data: JsonValue,
) -> tuple[frozenset[str] | None, tuple[tuple[float, float], ...] | None]:
    """Labels and intervals that were looked at, where a task says it."""
    checked, observed = data.get("checked"), data.get("observed")
    labels = intervals = None
    if checked is not None and isinstance(checked.value, list):
        labels = frozenset(clean_label(label.text()) for label in checked.elements())
    if observed is not None and isinstance(observed.value, list):
        pairs = [list(pair.elements()) for pair in observed.elements()]
        if any(len(pair) != 2 or pair[0].number() > pair[1].number() for pair in pairs):
            raise observed.error("pairs of seconds, each a start and an end")
        intervals = tuple((pair[0].number(), pair[1].number()) for pair in pairs)
    return labels, intervals


@dataclass
class _Changes:
    """How far a time was moved at most, rates of uneven videos, and the number of absent ones."""

    moved_seconds: float = 0.0
    varying_rates: list[float] = field(default_factory=list)
    num_absent: int = 0


def write_tasks(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write one task a video, and the labelling configuration beside them; returns notes.

    `ConfigError` for another suffix, or an option that does not fit; `DatasetError` for a missing
    video whose frame rate is not given.
    """
    config = config_path(path)
    if config == path:
        raise ConfigError(f"--out {path}: the tasks are JSON, and {path} is their configuration")
    changes = _Changes()
    videos = [without_open_states(video, annotations.labels) for video in annotations.videos]
    labels = annotations.all_labels()
    if len(labels) > len(annotations.labels):
        # The configuration has to name labels that nobody looked for, too; tasks tell them apart.
        everything = frozenset(annotations.labels)
        videos = [replace(v, checked=everything) if v.checked is None else v for v in videos]
    tasks = [_task(video, annotations, path, options, changes) for video in videos]
    with replacing(path) as part, replacing(config) as config_part:
        text = json.dumps(tasks, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
        config_part.write_text(config_text(labels), encoding="utf-8")
    notes = [f"the labelling configuration of these tasks is {config}"]
    if "base_url" not in options:
        notes.append(
            "videos are named by their paths; Label Studio needs addresses that it can reach: "
            "--option base_url=... puts one before their names"
        )
    notes += moved_note("Label Studio", changes.moved_seconds)
    varying = (
        "videos whose frames do not come at an even rate, which Label Studio counts at "
        f"{max(changes.varying_rates, default=0):.4g} a second at most, so that each has one"
    )
    absent = "videos that are not there, whose frames are by fps"
    counts = {varying: len(changes.varying_rates), absent: changes.num_absent}
    return (*notes, *count_notes(counts))


def _task(
    video: AnnotatedVideo,
    annotations: Annotations,
    path: Path,
    options: Mapping[str, str],
    changes: _Changes,
) -> dict[str, Any]:
    clock = _clock(video, options, changes)
    scored = [event for event in video.events if event.score is not None]
    unscored = [event for event in video.events if event.score is None]
    is_predicted = bool(scored) or (bool(annotations.model) and not unscored)
    if "as" in options:
        is_predicted = choose(options, "as", ("annotations", "predictions")) == "predictions"
        both = list(video.events), list[Event]()
        scored, unscored = both if is_predicted else both[::-1]
    data = {
        VIDEO_NAME: video_address(video.path, path, options),
        RATE_KEY: clock.rate,
        "checked": None if video.checked is None else sorted(video.checked),
        "observed": None if video.observed is None else [list(pair) for pair in video.observed],
        "split": video.split or None,
        "group": video.group or None,
    }
    task: dict[str, Any] = {"data": {key: item for key, item in data.items() if item is not None}}
    if unscored or not is_predicted:
        task["annotations"] = [{"result": _regions(unscored, clock, changes, "manual")}]
    if is_predicted:
        scores = [event.score for event in scored if event.score is not None]
        prediction: dict[str, Any] = {"model_version": annotations.model or "msqnet"}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        prediction["result"] = _regions(scored, clock, changes, "prediction")
        task["predictions"] = [prediction]
    return task


def _clock(video: AnnotatedVideo, options: Mapping[str, str], changes: _Changes) -> FrameClock:
    times = read_frame_times(video.path)
    if times is None:
        changes.num_absent += 1
        return FrameClock(rate_option(options, video.path, "Label Studio"), None)
    own_rate, is_even = rate_of(times)
    if "fps" in options:
        return FrameClock(parse_rate(options["fps"]), times)
    if not is_even:
        changes.varying_rates.append(own_rate)
    return FrameClock(own_rate, times)


def _regions(
    events: Sequence[Event], clock: FrameClock, changes: _Changes, origin: str
) -> list[dict[str, Any]]:
    regions = []
    for number, event in enumerate(events, start=1):
        start = event.start_seconds
        end = start if event.end_seconds is None else event.end_seconds
        first, last = clock.frames_of(start, end)
        if end > start:
            moved = moved_seconds((start, end), clock.seconds_of(first, last))
            changes.moved_seconds = max(changes.moved_seconds, moved)
        region: dict[str, Any] = {
            "id": f"event{number}",
            "from_name": TIMELINE_NAME,
            "to_name": VIDEO_NAME,
            "type": "timelinelabels",
            "origin": origin,
            "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [event.label]},
        }
        if event.score is not None:
            region["score"] = event.score
        if event.comment:
            region["meta"] = {"text": [event.comment]}
        regions.append(region)
    return regions
