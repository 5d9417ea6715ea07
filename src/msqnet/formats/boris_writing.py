"""Project files of BORIS, written: an observation a video.

Format version 7.0, which BORIS 7 to 10 open. A score stands in the comment of an event's start, as
``score=0.87``; split, group and the labels that were looked for are independent variables.

BORIS takes the events of one subject, code and modifiers in turns as start and end. So what
overlaps of them is joined, and a state without an end can only be the last of its kind.
"""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av

from msqnet.data.adapters.annotation_files import count_note
from msqnet.errors import DatasetError, VideoError
from msqnet.formats.annotations import comment_with_score
from msqnet.formats.boris_media import ALL_CHECKED, VARIABLES, notes_of
from msqnet.labels import SEPARATOR
from msqnet.predictions import replacing
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

_VERSION = "7.0"
_NUM_PLAYERS = 8
_ALLOWED = str.maketrans({"|": "/", "(": "[", ")": "]", "`": "'", "~": "-"})
"""What BORIS does not allow in modifiers, and what stands for it."""

_NO_MODIFIER = "None"
_SEVERAL = ","


@dataclass(frozen=True)
class MediumInfo:
    """What BORIS notes about a media file.

    Attributes:
        length_seconds: None where nothing is known.
        fps: frames a second; None where the video is not there.
        has_audio: whether it has sound.
    """

    length_seconds: float | None
    fps: float | None
    has_audio: bool


def medium_info(video: AnnotatedVideo) -> MediumInfo:
    """What is known about a video, from the file where it is there."""
    if not video.path.exists():
        return MediumInfo(video.duration_seconds, None, has_audio=False)
    try:
        with open_video(video.path) as opened:
            length = float(opened.duration_seconds)
            fps = float(opened.average_fps or opened.num_frames / length)
    except VideoError:
        return MediumInfo(video.duration_seconds, None, has_audio=False)
    if video.path.is_dir():
        return MediumInfo(length, fps, has_audio=False)
    with av.open(str(video.path)) as container:
        return MediumInfo(length, fps, has_audio=bool(container.streams.audio))


def observation_names(videos: Sequence[AnnotatedVideo]) -> list[str]:
    """A name of its own for each video: that of its file, with a number if it is not the first."""
    taken: dict[str, None] = {}
    for video in videos:
        name = full = video.path.name.strip() or "video"
        number = 1
        while full in taken:
            number += 1
            full = f"{name} #{number}"
        taken[full] = None
    return list(taken)


def media_path(video: AnnotatedVideo, folder: Path) -> str:
    """How a project in a folder names a video: relative to it where the video is inside."""
    try:
        return video.path.relative_to(os.path.abspath(folder)).as_posix()  # noqa: PTH100
    except ValueError:
        return str(video.path)


def variables_of(annotations: Annotations) -> dict[str, list[str]]:
    """Values of independent variables, one a video, of those that say anything."""
    # BORIS's ethogram has to have every label; one of no ethogram was not looked for elsewhere.
    is_all = set(annotations.all_labels()) == set(annotations.labels)
    every = ALL_CHECKED if is_all else _names(annotations.labels)
    everything = [
        [video.split for video in annotations.videos],
        [video.group for video in annotations.videos],
        [
            every if video.checked is None else _names(sorted(video.checked))
            for video in annotations.videos
        ],
    ]
    defaults = ("", "", ALL_CHECKED)
    return {
        name: values
        for name, values, default in zip(VARIABLES, everything, defaults, strict=True)
        if any(value != default for value in values)
    }


def _names(labels: Iterable[str]) -> str:
    """Labels in a cell; none at all are a separator alone, as an empty cell says nothing."""
    return SEPARATOR.join(labels) or SEPARATOR


def code_of_modifiers(event: Event, num_sets: int) -> str:
    """Modifiers of an event as BORIS writes them: one a set, joined by ``|``."""
    parts = [part.translate(_ALLOWED).strip() or _NO_MODIFIER for part in event.modifiers]
    return "|".join([*parts, *[_NO_MODIFIER] * (num_sets - len(parts))])


def write_project(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write a project; one that is there is replaced at once.

    Args:
        annotations: what was noted.
        path: a file that ends in ``.boris``.
        options: none are known.

    Returns:
        What was assumed.

    Raises:
        DatasetError: another suffix, which BORIS would not open.
    """
    del options
    if path.suffix.lower() != ".boris":
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected .boris")
    counts: Counter[str] = Counter()
    sets = _modifier_sets(annotations)
    states = _states(annotations)
    variables = variables_of(annotations)
    observations = {}
    for number, (name, video) in enumerate(
        zip(observation_names(annotations.videos), annotations.videos, strict=True)
    ):
        own = {key: values[number] for key, values in variables.items()}
        observations[name] = _observation(video, own, path.parent, sets, states, counts)
    document = {
        "time_format": "hh:mm:ss",
        "project_date": _now(),
        "project_name": path.stem,
        "project_description": "",
        "project_format_version": _VERSION,
        "subjects_conf": _subjects(annotations),
        "behaviors_conf": _behaviours(annotations, sets, states),
        "observations": observations,
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "independent_variables": _variables(variables),
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    with replacing(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="ascii")
    return tuple([*notes_of(counts), *_notes(annotations)])


def _now() -> str:
    return datetime.datetime.now().isoformat(timespec="seconds")


def _states(annotations: Annotations) -> frozenset[str]:
    """Labels of which an event has a length, or all, unless they are points by definition."""
    lengths = {event.label for event in annotations.events() if not event.is_point}
    seen = {event.label for event in annotations.events()}
    named = set(annotations.labels) - seen - annotations.point_labels
    points = seen - lengths
    return frozenset((lengths | named) - points)


def _subjects(annotations: Annotations) -> dict[str, object]:
    names = sorted({event.subject for event in annotations.events()} - {""})
    return {
        str(number): {"key": "", "name": name, "description": ""}
        for number, name in enumerate(names)
    }


def _behaviours(
    annotations: Annotations, sets: Mapping[str, Sequence[object]], states: frozenset[str]
) -> dict[str, object]:
    keys = _keys(annotations.all_labels())
    return {
        str(number): {
            "type": "State event" if label in states else "Point event",
            "key": keys[label],
            "code": label,
            "description": "",
            "color": "",
            "category": "",
            "modifiers": {str(n): values for n, values in enumerate(sets.get(label, ()))},
            "excluded": "",
            "coding map": "",
        }
        for number, label in enumerate(annotations.all_labels())
    }


def _keys(labels: Iterable[str]) -> dict[str, str]:
    """A key on the keyboard for each label: a letter of its name, or any that is free."""
    free = dict.fromkeys("abcdefghijklmnopqrstuvwxyz0123456789")
    keys = {}
    for label in labels:
        wanted = [letter for letter in label.lower() if letter in free]
        key = (wanted or [*free, ""])[0]
        free.pop(key, None)
        keys[label] = key
    return keys


def _modifier_sets(annotations: Annotations) -> dict[str, list[dict[str, object]]]:
    """The sets of modifiers of labels that have some, each with the values that events have."""
    values: dict[str, list[dict[str, None]]] = {}
    for event in annotations.events():
        sets = values.setdefault(event.label, [])
        sets.extend({} for _ in range(len(event.modifiers) - len(sets)))
        for found, part in zip(sets, event.modifiers, strict=False):
            found[part.translate(_ALLOWED).strip()] = None
    return {label: [_modifier_set(found) for found in sets] for label, sets in values.items()}


def _modifier_set(found: Iterable[str]) -> dict[str, object]:
    names = [name for part in found for name in part.split(_SEVERAL)]
    is_several = any(_SEVERAL in part for part in found)
    return {
        "name": "",
        "description": "",
        "type": int(is_several),
        "ask at stop": False,
        "values": sorted(set(names) - {"", _NO_MODIFIER}),
    }


def _variables(variables: Mapping[str, Sequence[str]]) -> dict[str, object]:
    return {
        str(number): {
            "label": name,
            "description": "",
            "type": "text",
            "default value": ALL_CHECKED if name == VARIABLES[2] else "",
            "possible values": "",
        }
        for number, name in enumerate(variables)
    }


def _observation(
    video: AnnotatedVideo,
    variables: Mapping[str, str],
    folder: Path,
    sets: Mapping[str, Sequence[object]],
    states: frozenset[str],
    counts: Counter[str],
) -> dict[str, object]:
    name = media_path(video, folder)
    info = medium_info(video)
    counts[
        "videos that are not there: BORIS asks for them, and learns their frame rate, when their "
        "observation is opened"
    ] += info.fps is None
    return {
        "file": {str(n): [name] if n == 1 else [] for n in range(1, _NUM_PLAYERS + 1)},
        "type": "MEDIA",
        "date": _now(),
        "description": "",
        "time offset": 0.0,
        "events": _rows(video, sets, states, counts),
        "observation time interval": _interval(video, counts),
        "independent_variables": dict(variables),
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "media_creation_date_as_offset": False,
        "media_scan_sampling_duration": 0,
        "image_display_duration": 1,
        "close_behaviors_between_videos": False,
        "media_info": {
            "length": {} if info.length_seconds is None else {name: info.length_seconds},
            "fps": {} if info.fps is None else {name: info.fps},
            "hasVideo": {name: True},
            "hasAudio": {name: info.has_audio},
            "offset": {"1": 0.0},
            "display": {name: "Nothing"},
        },
    }


def _interval(video: AnnotatedVideo, counts: Counter[str]) -> list[float]:
    stretches = sorted(video.observed or ())
    if video.observed is not None and len(stretches) != 1:
        counts[
            "videos of which several stretches were looked at, or none, which BORIS cannot hold"
        ] += 1
        return [0, 0]
    return list(stretches[0]) if stretches else [0, 0]


def _rows(
    video: AnnotatedVideo,
    sets: Mapping[str, Sequence[object]],
    states: frozenset[str],
    counts: Counter[str],
) -> list[list[object]]:
    rows: list[list[object]] = []
    by_kind: dict[tuple[str, str, str], list[Event]] = {}
    for event in video.events:
        modifiers = code_of_modifiers(event, len(sets.get(event.label, ())))
        by_kind.setdefault((event.subject, event.label, modifiers), []).append(event)
    for kind, events in by_kind.items():
        is_state = kind[1] in states
        for event in in_turns(events, counts) if is_state else events:
            rows.append(_row(event.start_seconds, kind, comment_with_score(event)))
            if is_state and event.end_seconds is not None:
                rows.append(_row(event.end_seconds, kind, ""))
    # Rows of the same time and kind stay in the order of start and end.
    return sorted(rows, key=lambda row: row[:3])


def _row(seconds: float, kind: tuple[str, str, str], comment: str) -> list[object]:
    subject, label, modifiers = kind
    return [round(seconds, 6), subject, label, modifiers, comment, "NA"]


def in_turns(events: Sequence[Event], counts: Counter[str]) -> list[Event]:
    """Events of one kind of which each ends before the next begins, the last of them maybe open.

    Args:
        events: in order of start.
        counts: gets what was joined or left out.
    """
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if last is not None and last.end_seconds is None:
            counts[
                "states without an end that another of the same kind follows, which are left out"
            ] += 1
            found[-1] = event
        elif last is not None and event.start_seconds < (last.end_seconds or 0.0):
            counts["events joined with one of the same kind that they overlap"] += 1
            ends = last.end_seconds, event.end_seconds
            end = None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])
            found[-1] = replace(last, end_seconds=end)
        else:
            found.append(event)
    return found


def _notes(annotations: Annotations) -> list[str]:
    times = [
        time
        for event in annotations.events()
        for time in (event.start_seconds, event.end_seconds)
        if time is not None
    ]
    num_fine = sum(abs(time * 1000 - round(time * 1000)) > 1e-3 for time in times)
    return [
        *(
            [f"BORIS rounds times to 1 ms as it opens the project; finer times: {num_fine}"]
            if num_fine
            else []
        ),
        *modifiers_note(annotations),
    ]


def modifiers_note(annotations: Annotations) -> tuple[str, ...]:
    """A note on modifiers that BORIS takes with other characters only."""
    parts = (part for event in annotations.events() for part in event.modifiers)
    changed = sum(part.translate(_ALLOWED) != part for part in parts)
    return count_note(
        changed, "modifiers with a character that BORIS does not allow, which is replaced"
    )
