"""Writes tasks for Label Studio, with events as annotations or predictions, and a configuration.

Form: https://labelstud.io/guide/predictions and https://labelstud.io/guide/task_format. Events with
a score are predictions, which people can correct there; others are annotations.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msqnet.data.adapters.annotation_files import choose, count_note
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.annotations import without_open_states
from msqnet.formats.frame_times import parse_rate, read_frame_times
from msqnet.formats.label_studio_config import (
    RATE_KEY,
    TIMELINE_NAME,
    VIDEO_NAME,
    config_path,
    config_text,
)
from msqnet.formats.label_studio_frames import FrameClock, rate_of
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
    if config_path(path) == path:
        raise ConfigError(f"--out {path}: the tasks are JSON, and {path} is their configuration")
    notes = _Notes()
    videos = [without_open_states(video, annotations.labels) for video in annotations.videos]
    labels = annotations.all_labels()
    if len(labels) > len(annotations.labels):
        # The configuration has to name labels that nobody looked for, too; tasks tell them apart.
        everything = frozenset(annotations.labels)
        videos = [
            replace(video, checked=everything) if video.checked is None else video
            for video in videos
        ]
    tasks = [_task(video, annotations, path, options, notes) for video in videos]
    with replacing(path) as part, replacing(config_path(path)) as config_part:
        text = json.dumps(tasks, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
        config_part.write_text(config_text(labels), encoding="utf-8")
    return notes.lines(config_path(path), is_addressed="base_url" in options)


class _Notes:
    """What a user should know about the tasks."""

    def __init__(self) -> None:
        self.moved_seconds = 0.0
        self.varying: list[float] = []
        self.num_absent = 0

    def lines(self, config: Path, *, is_addressed: bool) -> tuple[str, ...]:
        found = [f"the labelling configuration of these tasks is {config}"]
        if not is_addressed:
            found.append(
                "videos are named by their paths; Label Studio needs addresses that it can reach: "
                "--option base_url=... puts one before their names"
            )
        if self.moved_seconds > _MOVED_SECONDS:
            found.append(f"times are whole frames there: moved by up to {self.moved_seconds:.3g} s")
        if self.varying:
            found.append(
                "videos whose frames do not come at an even rate, which Label Studio counts at "
                f"{max(self.varying):.4g} a second at most, so that each has one: "
                f"{len(self.varying)}"
            )
        found += count_note(self.num_absent, "videos that are not there, whose frames are by fps")
        return tuple(found)


def _task(
    video: AnnotatedVideo,
    annotations: Annotations,
    path: Path,
    options: Mapping[str, str],
    notes: _Notes,
) -> dict[str, Any]:
    clock = _clock(video, options, notes)
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
        task["annotations"] = [{"result": _regions(unscored, clock, notes, "manual")}]
    if is_predicted:
        regions = _regions(scored, clock, notes, "prediction")
        scores = [event.score for event in scored if event.score is not None]
        prediction: dict[str, Any] = {"model_version": annotations.model or "msqnet"}
        if scores:
            prediction["score"] = sum(scores) / len(scores)
        task["predictions"] = [prediction | {"result": regions}]
    return task


def _clock(video: AnnotatedVideo, options: Mapping[str, str], notes: _Notes) -> FrameClock:
    times = read_frame_times(video.path)
    rate = parse_rate(options["fps"]) if "fps" in options else None
    if times is None:
        if rate is None:
            raise DatasetError(
                f"{video.path}: not there, and Label Studio counts frames; put the video there, or "
                "take --option fps=... with its frames a second"
            )
        notes.num_absent += 1
        return FrameClock(rate, None)
    own_rate, is_even = rate_of(times)
    if rate is None and not is_even:
        notes.varying.append(own_rate)
    return FrameClock(rate or own_rate, times)


def _data(
    video: AnnotatedVideo, clock: FrameClock, path: Path, options: Mapping[str, str]
) -> dict[str, Any]:
    data: dict[str, Any] = {
        VIDEO_NAME: _address(video.path, path, options.get("base_url")),
        RATE_KEY: clock.rate,
    }
    if video.checked is not None:
        data["checked"] = sorted(video.checked)
    if video.observed is not None:
        data["observed"] = [list(stretch) for stretch in video.observed]
    return data | {
        name: value for name, value in (("split", video.split), ("group", video.group)) if value
    }


def _address(video: Path, path: Path, base_url: str | None) -> str:
    if base_url is not None:
        return f"{base_url.rstrip('/')}/{quote(video.name)}"
    home = path.absolute().parent
    return video.relative_to(home).as_posix() if video.is_relative_to(home) else str(video)


def _regions(
    events: Sequence[Event], clock: FrameClock, notes: _Notes, origin: str
) -> list[dict[str, Any]]:
    regions = []
    for number, event in enumerate(events, start=1):
        end_seconds = event.start_seconds if event.end_seconds is None else event.end_seconds
        first, last = clock.frames_of(event.start_seconds, end_seconds)
        if end_seconds > event.start_seconds:
            moved = abs(clock.start_seconds(first) - event.start_seconds)
            moved = max(moved, abs(clock.end_seconds(last) - end_seconds))
            notes.moved_seconds = max(notes.moved_seconds, moved)
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
