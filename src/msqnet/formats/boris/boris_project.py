"""Project files of BORIS (``.boris``; ``.boris.gz`` is read too).

A project is JSON: an ethogram (`behaviors_conf`), subjects, and observations with their media files
and events ``[time, subject, code, modifiers, comment, ...]``. A state is two events with the same
subject, code and modifiers: start and end take turns.

- Times are on the clock of the first player, plus the observation's ``time offset``, and plus each
  file's creation time where the observation says so.
- Codes that the ethogram does not have are point events, as in BORIS.
- Observations that are live or of pictures have no video and are left out.

Written is format version 7.0, which BORIS 7 to 10 open, an observation a video. A score stands in
the comment of an event's start, as ``score=0.87``; split, group and the labels that were looked for
are independent variables. As starts and ends take turns, events of a kind that overlap are joined,
and a state without an end can only be the last of its kind.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from msqnet.documents import JsonValue, read_json
from msqnet.errors import DatasetError
from msqnet.files import replacing
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    clean_label,
    comment_with_score,
    count_notes,
)
from msqnet.formats.boris.boris_observations import (
    ALL_CHECKED,
    CHECKED,
    NO_MODIFIER,
    VARIABLES,
    Coded,
    Medium,
    chosen,
    cut_to_videos,
    observation_names,
    queue,
    repeated_note,
    replaced_modifiers,
    written_medium,
    written_modifiers,
    written_variables,
)
from msqnet.formats.options import choose
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats import Reading
    from msqnet.formats.annotations import Event
    from msqnet.intervals import Interval

OPTIONS = {
    "observation": "take this observation only",
    "players": "1: videos of the first player (default); all: those of the others too",
}

_ADVICE = "open the project in BORIS and save it again"
_NO_TIME = ("NA", "", "NaN", "nan")
_MEDIA_TYPES = ("MEDIA", "VIDEO", "AUDIO")
_NUM_PLAYERS = 8
_SEVERAL = ","
"""Between values of a set of modifiers from which several can be chosen."""
_NO_VIDEO = {"LIVE": "live observations", "IMAGES": "observations of pictures"}


def read_project(path: Path, reading: Reading) -> Annotations:
    """The videos of all observations of a project."""
    document = read_json(path, _ADVICE)
    project = _ProjectReader(_ethogram(document.require("behaviors_conf")), reading)
    observations = chosen(dict(document.require("observations").items()), reading.options)
    videos = [video for value in observations.values() for video in project.videos(value)]
    is_state = project.is_state
    labels = dict.fromkeys(clean_label(code) for code in is_state)
    points = {clean_label(code) for code in (*is_state, *project.unknown) if not is_state.get(code)}
    unknown = [
        f"code {code!r} is not in the ethogram; its {number} events are taken as points"
        for code, number in project.unknown.items()
    ]
    notes = (*count_notes(project.counts), *unknown, *repeated_note(videos))
    return Annotations(tuple(videos), LabelSet(tuple(labels)), frozenset(points), notes)


def _ethogram(value: JsonValue) -> dict[str, bool]:
    """Whether a code is one of a state, by code, in the order that BORIS shows them."""
    found: dict[str, bool] = {}
    for _, entry in sorted(value.items(), key=lambda item: _number_first(item[0])):
        kind = entry.require("type")
        is_state = kind.text().lower().startswith("state")
        if not is_state and not kind.text().lower().startswith("point"):
            raise kind.error("'State event' or 'Point event'")
        code = entry.require("code")
        if not clean_label(code.text()):
            raise code.error("the code of a behaviour")
        found.setdefault(code.text(), is_state)
    return found


def _number_first(name: str) -> tuple[bool, int, str]:
    """Sorts names that are numbers by these."""
    is_number = name.isascii() and name.isdecimal() and len(name) < 10
    return not is_number, int(name) if is_number else 0, name


class _ProjectReader:
    """Reads observations; `is_state` says which codes of the ethogram are states.

    `counts` are of what could not be kept, `unknown` of events by code not in the ethogram.
    """

    def __init__(self, is_state: Mapping[str, bool], reading: Reading) -> None:
        self.is_state = is_state
        self.counts: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self._reading = reading
        self._is_all_players = choose(reading.options, "players", ("1", "all")) == "all"

    def videos(self, value: JsonValue) -> list[AnnotatedVideo]:
        """The videos of an observation."""
        kind = value.require("type")
        if kind.text() in _NO_VIDEO:
            what = _NO_VIDEO[kind.text()]
            self.counts[f"{what}, which have no video and are left out"] += 1
            return []
        if kind.text() not in _MEDIA_TYPES:
            raise kind.error("MEDIA, LIVE or IMAGES")
        players = _players(value)
        if not players:
            self.counts["observations without a media file, which are left out"] += 1
            return []
        lost: set[str] = set()
        coded = list(self._coded(value, lost))
        written = {name: value.get("independent_variables", name) for name in VARIABLES}
        variables = {key: item.text().strip() for key, item in written.items() if item is not None}
        interval = _interval(value)
        videos: list[AnnotatedVideo] = []
        for number, (player, files) in enumerate(players.items()):
            if number and not self._is_all_players:
                self.counts[
                    "videos of further players, which are left out (--option players=all takes "
                    "them)"
                ] += len(files)
                continue
            media = self._media(value, player, files)
            videos += cut_to_videos(coded, media, interval, variables, self.counts, lost)
        return videos

    def _coded(self, value: JsonValue, lost: set[str]) -> Iterator[Coded]:
        """Events of which starts and ends are paired; `lost` gets labels of those left out."""
        rows = []
        for event in value.require("events").elements():
            cells = list(event.elements())
            if len(cells) < 3:
                raise event.error("time, subject, code, modifiers and comment")
            if not clean_label(cells[2].text()):
                raise cells[2].error("the code of a behaviour")
            if _is_missing(cells[0]):
                self.counts["events without a time, which are left out"] += 1
                lost.add(clean_label(cells[2].text()))
                continue
            texts = ["" if cell.value is None else cell.text() for cell in cells[1:5]]
            subject, code, modifiers, comment = [*texts, "", ""][:4]
            time = cells[0].number()
            rows.append(Coded(time, time, code, subject, modifiers, comment))
        begun: dict[tuple[str, str, str], Coded] = {}
        # BORIS sorts so, too.
        for row in sorted(rows, key=lambda row: (row.start_seconds, row.subject, row.code)):
            if not self.is_state.get(row.code):
                self.unknown.update([row.code] if row.code not in self.is_state else ())
                yield row
            elif row.kind in begun:
                start = begun.pop(row.kind)
                yield start._replace(end_seconds=row.start_seconds, end_comment=row.comment)
            else:
                begun[row.kind] = row._replace(end_seconds=None)
        self.counts["states without an end"] += len(begun)
        yield from begun.values()

    def _media(self, value: JsonValue, player: str, files: list[JsonValue]) -> list[Medium]:
        paths: list[Path] = []
        lengths: list[float | None] = []
        for file in files:
            if not file.text().strip():
                raise file.error("the path of a media file")
            paths.append(self._reading.video_path(file.text()))
            written = value.get("media_info", "length", file.text())
            # BORIS writes no length, or 0, where it did not find it out.
            length = 0.0 if written is None or _is_missing(written) else written.number()
            lengths.append(length if length > 0 else None)
        offset = value.number_of("time offset")
        if value.is_true("media_creation_date_as_offset"):
            dates = value.require("media_info").require("media_creation_time")
            starts = [dates.require(file.text()).number() + offset for file in files]
            return _dated(paths, lengths, starts)
        if value.get("media_info", "offset") is not None:
            offset += value.number_of("media_info", "offset", player)
        elif player == "2":
            # Up to version 6 only the second player had an offset, under another name.
            offset += value.number_of("time offset second player")
        return queue(paths, lengths, round(offset, 6), f"{value.place}: file")


def _dated(paths: list[Path], lengths: list[float | None], starts: list[float]) -> list[Medium]:
    """Files whose time begins at the date of their creation."""
    media: list[Medium] = []
    following = math.inf
    for start, file in sorted(zip(starts, range(len(paths)), strict=True), reverse=True):
        length = lengths[file]
        # The last file has no end.
        end = following if length is None or not media else min(following, start + length)
        media.insert(0, Medium(paths[file], start, end, length))
        following = start
    return media


def _players(value: JsonValue) -> dict[str, list[JsonValue]]:
    """Files by player, for players that have some; the first format had a list, a file each."""
    written = value.get("file")
    if written is None:
        return {}
    if isinstance(written.value, list):
        return {str(n): [item] for n, item in enumerate(written.elements(), start=1)}
    found = {name: list(files.elements()) for name, files in written.items()}
    return {name: found[name] for name in sorted(found, key=_number_first) if found[name]}


def _is_missing(value: JsonValue) -> bool:
    found = value.value
    return found in _NO_TIME or (isinstance(found, float) and math.isnan(found))


def _interval(value: JsonValue) -> Interval | None:
    """What was looked at, on the clock of the events; BORIS writes it without the offset."""
    written = value.get("observation time interval")
    if written is None:
        return None
    bounds = [bound.number() for bound in written.elements()]
    if len(bounds) != 2 or min(bounds) < 0:
        raise written.error("a start and an end in seconds")
    if not any(bounds):
        return None
    offset = value.number_of("time offset")
    # An end of 0 is that of the last video.
    return bounds[0] + offset, (bounds[1] + offset) if bounds[1] else math.inf


def write_project(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write a project; one that is there is replaced at once. Returns notes on what was assumed."""
    del options
    if path.suffix.lower() != ".boris":
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected .boris")
    project = _ProjectWriter(annotations, path)
    text = json.dumps(project.document(), indent=1, allow_nan=False)
    with replacing(path) as part:
        part.write_text(text, encoding="ascii")
    events = annotations.events()
    times = [item for event in events for item in (event.start_seconds, event.end_seconds) if item]
    project.counts["BORIS rounds times to 1 ms as it opens the project; finer times"] += sum(
        abs(time * 1000 - round(time * 1000)) > 1e-3 for time in times
    )
    return count_notes({**project.counts, **replaced_modifiers(annotations)})


class _ProjectWriter:
    """A project that is written to `path`, with counts of what is assumed or cannot be kept."""

    def __init__(self, annotations: Annotations, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._annotations, self._path = annotations, path
        self._now = datetime.datetime.now().isoformat(timespec="seconds")
        self._sets = _modifier_sets(annotations)
        # Labels of which an event has a length, or that are no points by definition.
        seen = {event.label for event in annotations.events()}
        lengths = {event.label for event in annotations.events() if not event.is_point}
        self._states = lengths | (set(annotations.labels) - seen - annotations.point_labels)

    def document(self) -> dict[str, object]:
        """What stands in the file."""
        annotations = self._annotations
        names, variables = observation_names(annotations.videos), written_variables(annotations)
        observations = {
            name: self._observation(video, {key: values[n] for key, values in variables.items()})
            for n, (name, video) in enumerate(zip(names, annotations.videos, strict=True))
        }
        subjects = sorted({event.subject for event in annotations.events()} - {""})
        return {
            "time_format": "hh:mm:ss",
            "project_date": self._now,
            "project_name": self._path.stem,
            "project_description": "",
            "project_format_version": "7.0",
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
        name, length, fps, has_audio = written_medium(video, self._path)
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
            "date": self._now,
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
        """Events of one kind in turns: each ends before the next begins; the last may be open."""
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


def _numbered(entries: Iterable[object]) -> dict[str, object]:
    """Entries as BORIS keeps them, by their number from 0."""
    return {str(number): entry for number, entry in enumerate(entries)}


def _modifier_sets(annotations: Annotations) -> dict[str, list[dict[str, object]]]:
    """The sets of modifiers of labels that have some, each with the values that events have."""
    values: dict[str, list[set[str]]] = {}
    for event in annotations.events():
        sets = values.setdefault(event.label, [])
        sets.extend(set() for _ in range(len(event.modifiers) - len(sets)))
        for found, part in zip(sets, written_modifiers(event, 0), strict=False):
            found.add(part)
    return {
        label: [
            {
                "name": "",
                "description": "",
                "type": int(any(_SEVERAL in part for part in found)),
                "ask at stop": False,
                "values": sorted(
                    {name.strip() for part in found for name in part.split(_SEVERAL)}
                    - {"", NO_MODIFIER}
                ),
            }
            for found in sets
        ]
        for label, sets in values.items()
    }
