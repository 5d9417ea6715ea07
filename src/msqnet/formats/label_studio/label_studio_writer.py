"""Writes tasks for Label Studio, with events as annotations or predictions, and a configuration.

Form: https://labelstud.io/guide/predictions and https://labelstud.io/guide/task_format. Events with
a score are predictions, which people can correct there; others are annotations.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.annotations import without_open_states
from msqnet.formats.frame_times import parse_rate, read_frame_times
from msqnet.formats.label_studio.label_studio_config import (
    RATE_KEY,
    TIMELINE_NAME,
    VIDEO_NAME,
    FrameClock,
    config_path,
    config_text,
    rate_of,
)
from msqnet.formats.options import choose, count_note, video_address
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

OPTIONS = {
    "fps": "frames a second by which Label Studio counts (frameRate); otherwise that of the file",
    "as": "when writing: annotations or predictions; without it, predictions if they have scores",
    "base_url": "when writing: address of the folder of the videos, such as "
    "/data/local-files/?d=videos",
}
_MOVED_SECONDS = 1e-6


@dataclass
class _Changes:
    """What tasks change.

    Attributes:
        moved_seconds: how far a time was moved at most, to that of a frame.
        varying_rates: rates of videos whose frames do not come at an even one.
        num_absent: videos that are not there.
    """

    moved_seconds: float = 0.0
    varying_rates: list[float] = field(default_factory=list)
    num_absent: int = 0


def write_tasks(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write one task a video, and the labelling configuration beside them.

    Args:
        annotations: what was noted.
        path: the file of tasks, which ends in ``.json``.
        options: some of `OPTIONS`.

    Returns:
        Notes on what was assumed.

    Raises:
        ConfigError: an option that does not fit, or another ending of the file.
        DatasetError: a video that is not there, while the rate of its frames is not given.
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
        videos = [
            replace(video, checked=everything) if video.checked is None else video
            for video in videos
        ]
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
    if changes.moved_seconds > _MOVED_SECONDS:
        notes.append(
            f"CVAT stores whole frames: times moved by up to {changes.moved_seconds:.3g} s"
        )
    if changes.varying_rates:
        notes.append(
            "videos whose frames do not come at an even rate, which Label Studio counts at "
            f"{max(changes.varying_rates):.4g} a second at most, so that each has one: "
            f"{len(changes.varying_rates)}"
        )
    notes += count_note(changes.num_absent, "videos that are not there, whose frames are by fps")
    return tuple(notes)


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
    if "as" in options:
        kind = choose(options, "as", ("annotations", "predictions"))
        is_predicted = kind == "predictions"
        scored = list(video.events) if is_predicted else []
        unscored = [] if is_predicted else list(video.events)
    else:
        is_predicted = bool(scored) or (bool(annotations.model) and not unscored)
    task: dict[str, Any] = {"data": _data(video, clock, path, options)}
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
    rate = parse_rate(options["fps"]) if "fps" in options else None
    if times is None:
        if rate is None:
            raise DatasetError(
                f"{video.path}: not there, and Label Studio counts frames; put the video there, or "
                "take --option fps=... with its frames a second"
            )
        changes.num_absent += 1
        return FrameClock(rate, None)
    own_rate, is_even = rate_of(times)
    if rate is None and not is_even:
        changes.varying_rates.append(own_rate)
    return FrameClock(rate or own_rate, times)


def _data(
    video: AnnotatedVideo, clock: FrameClock, path: Path, options: Mapping[str, str]
) -> dict[str, Any]:
    address = video_address(video.path, path, options)
    data: dict[str, Any] = {VIDEO_NAME: address, RATE_KEY: clock.rate}
    if video.checked is not None:
        data["checked"] = sorted(video.checked)
    if video.observed is not None:
        data["observed"] = [list(interval) for interval in video.observed]
    return data | {
        name: value for name, value in (("split", video.split), ("group", video.group)) if value
    }


def _regions(
    events: Sequence[Event], clock: FrameClock, changes: _Changes, origin: str
) -> list[dict[str, Any]]:
    regions = []
    for number, event in enumerate(events, start=1):
        start = event.start_seconds
        end = start if event.end_seconds is None else event.end_seconds
        first, last = clock.frames_of(start, end)
        if end > start:
            new_start, new_end = clock.seconds_of(first, last)
            moved = max(abs(new_start - start), abs(new_end - end))
            changes.moved_seconds = max(changes.moved_seconds, moved)
        region: dict[str, Any] = {
            "id": f"event{number}",
            "from_name": TIMELINE_NAME,
            "to_name": VIDEO_NAME,
            "type": "timelinelabels",
            "origin": origin,
            "value": {
                "ranges": [{"start": first, "end": last}],
                "timelinelabels": [event.label],
            },
        }
        if event.score is not None:
            region["score"] = event.score
        if event.comment:
            region["meta"] = {"text": [event.comment]}
        regions.append(region)
    return regions
