"""Writes project files of BORIS: an observation a video.

Format version 7.0, which BORIS 7 to 10 open. A score stands in the comment of an event's start, as
``score=0.87``; split, group and the labels that were looked for are independent variables.

BORIS takes the events of one subject, code and modifiers in turns as start and end. So those that
overlap are joined, and a state without an end can only be the last of its kind.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats.annotations import comment_with_score, count_notes
from msqnet.formats.boris.boris_observations import (
    ALL_CHECKED,
    CHECKED,
    NO_MODIFIER,
    allowed_modifier,
    observation_names,
    replaced_modifiers,
    written_medium,
    written_modifiers,
    written_variables,
)
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

_VERSION = "7.0"
_NUM_PLAYERS = 8
_SEVERAL = ","
"""Between values of a set of modifiers from which several can be chosen."""


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
    project = _Project(annotations, path.parent)
    document = project.document(path.stem)
    with replacing(path) as part:
        part.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="ascii")
    times = [
        time
        for event in annotations.events()
        for time in (event.start_seconds, event.end_seconds)
        if time is not None
    ]
    project.counts["BORIS rounds times to 1 ms as it opens the project; finer times"] += sum(
        abs(time * 1000 - round(time * 1000)) > 1e-3 for time in times
    )
    return count_notes({**project.counts, **replaced_modifiers(annotations)})


class _Project:
    """A project that is written.

    Attributes:
        counts: of what is assumed or cannot be kept.
    """

    def __init__(self, annotations: Annotations, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._annotations = annotations
        self._folder = folder
        self._sets = _modifier_sets(annotations)
        # Labels of which an event has a length, or that are no points by definition.
        seen = {event.label for event in annotations.events()}
        lengths = {event.label for event in annotations.events() if not event.is_point}
        self._states = lengths | (set(annotations.labels) - seen - annotations.point_labels)

    def document(self, name: str) -> dict[str, object]:
        """What stands in the file."""
        annotations = self._annotations
        variables = written_variables(annotations)
        observations = {}
        names = observation_names(annotations.videos)
        for number, (title, video) in enumerate(zip(names, annotations.videos, strict=True)):
            own = {key: values[number] for key, values in variables.items()}
            observations[title] = self._observation(video, own)
        subjects = sorted({event.subject for event in annotations.events()} - {""})
        return {
            "time_format": "hh:mm:ss",
            "project_date": _now(),
            "project_name": name,
            "project_description": "",
            "project_format_version": _VERSION,
            "subjects_conf": _numbered(
                {"key": "", "name": subject, "description": ""} for subject in subjects
            ),
            "behaviors_conf": self._behaviours(),
            "observations": observations,
            "behavioral_categories": [],
            "behavioral_categories_config": {},
            "independent_variables": _numbered(
                {
                    "label": variable,
                    "description": "",
                    "type": "text",
                    "default value": ALL_CHECKED if variable == CHECKED else "",
                    "possible values": "",
                }
                for variable in variables
            ),
            "coding_map": {},
            "behaviors_coding_map": [],
            "converters": {},
        }

    def _behaviours(self) -> dict[str, object]:
        labels = self._annotations.all_labels()
        # A key on the keyboard for each label: a letter of its name, or any that is free.
        free = dict.fromkeys("abcdefghijklmnopqrstuvwxyz0123456789")
        keys = {}
        for label in labels:
            wanted = [letter for letter in label.lower() if letter in free]
            keys[label] = (wanted or [*free, ""])[0]
            free.pop(keys[label], None)
        return _numbered(
            {
                "type": "State event" if label in self._states else "Point event",
                "key": keys[label],
                "code": label,
                "description": "",
                "color": "",
                "category": "",
                "modifiers": _numbered(self._sets.get(label, ())),
                "excluded": "",
                "coding map": "",
            }
            for label in labels
        )

    def _observation(self, video: AnnotatedVideo, variables: dict[str, str]) -> dict[str, object]:
        name, length, fps, has_audio = written_medium(video, self._folder)
        self.counts[
            "videos that are not there: BORIS asks for them, and learns their frame rate, when "
            "their observation is opened"
        ] += fps is None
        events = self._rows(video)
        observed = sorted(video.observed or ())
        if video.observed is not None and len(observed) != 1:
            self.counts[
                "videos of which several intervals were looked at, or none, which BORIS cannot hold"
            ] += 1
            observed = []
        return {
            "file": {str(n): [name] if n == 1 else [] for n in range(1, _NUM_PLAYERS + 1)},
            "type": "MEDIA",
            "date": _now(),
            "description": "",
            "time offset": 0.0,
            "events": events,
            "observation time interval": list(observed[0]) if observed else [0, 0],
            "independent_variables": variables,
            "visualize_spectrogram": False,
            "visualize_waveform": False,
            "media_creation_date_as_offset": False,
            "media_scan_sampling_duration": 0,
            "image_display_duration": 1,
            "close_behaviors_between_videos": False,
            "media_info": {
                "length": {} if length is None else {name: length},
                "fps": {} if fps is None else {name: fps},
                "hasVideo": {name: True},
                "hasAudio": {name: has_audio},
                "offset": {"1": 0.0},
                "display": {name: "Nothing"},
            },
        }

    def _rows(self, video: AnnotatedVideo) -> list[list[object]]:
        """Events as BORIS has them: a row for each start, end or point."""
        by_kind: dict[tuple[str, str, str], list[Event]] = {}
        for event in video.events:
            modifiers = written_modifiers(event, len(self._sets.get(event.label, ())))
            kind = event.subject, event.label, "|".join(modifiers)
            by_kind.setdefault(kind, []).append(event)
        rows: list[list[object]] = []
        for kind, events in by_kind.items():
            is_state = kind[1] in self._states
            for event in self._in_turns(events) if is_state else events:
                comment = comment_with_score(event)
                rows.append([round(event.start_seconds, 6), *kind, comment, "NA"])
                if is_state and event.end_seconds is not None:
                    rows.append([round(event.end_seconds, 6), *kind, "", "NA"])
        # Rows of the same time and kind stay in the order of start and end.
        return sorted(rows, key=lambda row: row[:3])

    def _in_turns(self, events: Sequence[Event]) -> list[Event]:
        """Events of one kind, each of which ends before the next begins; the last may be open.

        Args:
            events: in order of start.
        """
        found: list[Event] = []
        for event in events:
            last = found[-1] if found else None
            if last is not None and last.end_seconds is None:
                self.counts[
                    "states without an end that another of the same kind follows, which are left "
                    "out"
                ] += 1
                found[-1] = event
            elif last is not None and event.start_seconds < (last.end_seconds or 0.0):
                self.counts["events joined with one of the same kind that they overlap"] += 1
                ends = last.end_seconds, event.end_seconds
                end = None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])
                found[-1] = replace(last, end_seconds=end)
            else:
                found.append(event)
        return found


def _now() -> str:
    return datetime.datetime.now().isoformat(timespec="seconds")


def _numbered(entries: Iterable[object]) -> dict[str, object]:
    """Entries as BORIS keeps them, by their number from 0."""
    return {str(number): entry for number, entry in enumerate(entries)}


def _modifier_sets(annotations: Annotations) -> dict[str, list[dict[str, object]]]:
    """The sets of modifiers of labels that have some, each with the values that events have."""
    values: dict[str, list[dict[str, None]]] = {}
    for event in annotations.events():
        sets = values.setdefault(event.label, [])
        sets.extend({} for _ in range(len(event.modifiers) - len(sets)))
        for found, part in zip(sets, event.modifiers, strict=False):
            found[allowed_modifier(part)] = None
    return {
        label: [
            {
                "name": "",
                "description": "",
                "type": int(any(_SEVERAL in part for part in found)),
                "ask at stop": False,
                "values": sorted(
                    {name for part in found for name in part.split(_SEVERAL)} - {"", NO_MODIFIER}
                ),
            }
            for found in sets
        ]
        for label, sets in values.items()
    }
