"""Project files of BORIS (``.boris``, ``.boris.gz``), read.

A project is JSON: an ethogram (`behaviors_conf`), subjects, and observations with their media files
and events ``[time, subject, code, modifiers, comment, ...]``. A state is two events with the same
subject, code and modifiers: start and end take turns. Facts are those of BORIS 8 and 10
(https://www.boris.unito.it, https://github.com/olivierfriard/BORIS) and of project files of format
versions 1 to 8.6 that its repository holds.

- Times are on the clock of the first player, plus the observation's ``time offset``, and plus each
  file's creation time where the observation says so.
- Codes that the ethogram does not have are point events, as in BORIS.
- Observations that are live or of pictures have no video and are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msqnet.data.adapters.annotation_files import choose
from msqnet.documents import JsonValue, read_json
from msqnet.errors import ConfigError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, clean_label
from msqnet.formats.boris_media import (
    VARIABLES,
    Coded,
    Medium,
    cut_to_videos,
    notes_of,
    queue,
    repeated_note,
)
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msqnet.formats import Reading

ADVICE = "open the project in BORIS and save it again"
OPTIONS = {
    "observation": "take this observation only",
    "players": "1: videos of the first player (default); all: those of the others too",
}

_NUM_NAMED = 8
_NO_TIME = ("NA", "", "NaN", "nan")
_MEDIA_TYPES = ("MEDIA", "VIDEO", "AUDIO")


@dataclass
class _Project:
    """What holds for all observations.

    Attributes:
        reading: how the file is read.
        states: codes of states.
        known: all codes.
        is_all_players: whether videos of further players are taken.
        counts: of what could not be kept.
        unknown: events by code that the ethogram does not have.
    """

    reading: Reading
    states: frozenset[str]
    known: frozenset[str]
    is_all_players: bool
    counts: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


class _Row(NamedTuple):
    """One event as the project has it; rows sort as in BORIS."""

    seconds: float
    subject: str
    code: str
    modifiers: str
    comment: str


def read_project(path: Path, reading: Reading) -> Annotations:
    """The videos of all observations of a project.

    Raises:
        DatasetError: not a project of BORIS, or a part of it that is not as it should be.
        ConfigError: an option that does not fit.
    """
    document = read_json(path, ADVICE)
    ethogram = _ethogram(document.require("behaviors_conf"))
    states = frozenset(code for code, is_state in ethogram.items() if is_state)
    project = _Project(
        reading,
        states,
        frozenset(ethogram),
        choose(reading.options, "players", ("1", "all")) == "all",
    )
    videos = [
        video
        for value in _observations(document, reading.options)
        for video in _observation(value, project)
    ]
    labels = dict.fromkeys(clean_label(code) for code in ethogram)
    points = {clean_label(code) for code in {*ethogram, *project.unknown} - states}
    unknown = [
        f"code {code!r} is not in the ethogram; its {number} events are taken as points"
        for code, number in project.unknown.items()
    ]
    notes = (*notes_of(project.counts), *unknown, *repeated_note(videos))
    return Annotations(tuple(videos), LabelSet(tuple(labels)), frozenset(points), notes)


def _ethogram(value: JsonValue) -> dict[str, bool]:
    """Whether a code is one of a state, by code, in the order that BORIS shows them."""
    entries = sorted(value.items(), key=lambda entry: _number(entry[0]))
    found: dict[str, bool] = {}
    for _, entry in entries:
        kind = entry.require("type")
        is_state = kind.text().lower().startswith("state")
        if not is_state and not kind.text().lower().startswith("point"):
            raise kind.error("'State event' or 'Point event'")
        code = entry.require("code")
        if not clean_label(code.text()):
            raise code.error("the code of a behaviour")
        found.setdefault(code.text(), is_state)
    return found


def _number(name: str) -> tuple[bool, int, str]:
    is_number = name.isascii() and name.isdecimal() and len(name) < 10
    return not is_number, int(name) if is_number else 0, name


def _observations(document: JsonValue, options: Mapping[str, str]) -> list[JsonValue]:
    found = dict(document.require("observations").items())
    name = options.get("observation")
    if name is None:
        return list(found.values())
    if name not in found:
        names = ", ".join(sorted(found)[:_NUM_NAMED])
        raise ConfigError(f"option observation={name}: no such observation; found: {names}")
    return [found[name]]


def _observation(value: JsonValue, project: _Project) -> list[AnnotatedVideo]:
    counts = project.counts
    kind = value.require("type")
    if kind.text() not in _MEDIA_TYPES:
        if kind.text() not in ("LIVE", "IMAGES"):
            raise kind.error("MEDIA, LIVE or IMAGES")
        what = "live observations" if kind.text() == "LIVE" else "observations of pictures"
        counts[f"{what}, which have no video and are left out"] += 1
        return []
    players = _players(value)
    first = next(iter(players), None)
    if first is None:
        counts["observations without a media file, which are left out"] += 1
        return []
    coded = list(_paired(_rows(value, project), project))
    interval = _interval(value)
    variables = _variables(value)
    videos = []
    for player, files in players.items():
        if player != first and not project.is_all_players:
            counts[
                "videos of further players, which are left out (--option players=all takes them)"
            ] += len(files)
            continue
        media = _media(value, player, files, project.reading)
        videos += cut_to_videos(coded, media, interval, variables, counts)
    return videos


def _players(value: JsonValue) -> dict[str, list[JsonValue]]:
    """Files by player, for players that have some; the first format had a list, a file each."""
    written = value.get("file")
    if written is None:
        return {}
    if isinstance(written.value, list):
        found = {str(n): [item] for n, item in enumerate(written.elements(), start=1)}
    else:
        found = {name: list(files.elements()) for name, files in written.items()}
    return {name: found[name] for name in sorted(found, key=_number) if found[name]}


def _media(value: JsonValue, player: str, files: list[JsonValue], reading: Reading) -> list[Medium]:
    info = value.get("media_info")
    offset = _number_of(value, "time offset") or 0.0
    paths = [_path(file, reading) for file in files]
    lengths = [_positive(_of_file(info, "length", file)) for file in files]
    has_dates = value.get("media_creation_date_as_offset")
    if has_dates is not None and has_dates.truth():
        return _dated(info or value.require("media_info"), files, paths, lengths, offset)
    later = None if info is None else info.get("offset")
    # Up to version 6 only the second player had an offset, under another name.
    old = _number_of(value, "time offset second player") if player == "2" else None
    shift = old if later is None else _number_of(later, player)
    return queue(paths, lengths, round(offset + (shift or 0.0), 6), f"{value.place}: file")


def _dated(
    info: JsonValue,
    files: list[JsonValue],
    paths: list[Path],
    lengths: list[float | None],
    offset: float,
) -> list[Medium]:
    """Files whose time begins at the date of their creation."""
    times = info.require("media_creation_time")
    starts = [times.require(file.text()).number() + offset for file in files]
    order = sorted(range(len(files)), key=lambda number: starts[number])
    media = []
    for n, number in enumerate(order):
        start, length = starts[number], lengths[number]
        is_last = n == len(order) - 1
        following = math.inf if is_last else starts[order[n + 1]]
        end = following if is_last or length is None else min(following, start + length)
        media.append(Medium(paths[number], start, end, length))
    return media


def _path(file: JsonValue, reading: Reading) -> Path:
    if not file.text().strip():
        raise file.error("the path of a media file")
    return reading.video_path(file.text())


def _of_file(info: JsonValue | None, name: str, file: JsonValue) -> JsonValue | None:
    by_file = None if info is None else info.get(name)
    return None if by_file is None else by_file.get(file.text())


def _positive(value: JsonValue | None) -> float | None:
    """A length; None where BORIS did not find it out."""
    if value is None or _is_missing(value):
        return None
    number = value.number()
    return number if number > 0 else None


def _is_missing(value: JsonValue) -> bool:
    found = value.value
    return found in _NO_TIME or (isinstance(found, float) and math.isnan(found))


def _number_of(value: JsonValue, name: str) -> float | None:
    found = value.get(name)
    return None if found is None else found.number()


def _interval(value: JsonValue) -> tuple[float, float | None] | None:
    """What was looked at, on the time of the events; BORIS writes it without the offset."""
    written = value.get("observation time interval")
    if written is None:
        return None
    bounds = [bound.number() for bound in written.elements()]
    if len(bounds) != 2 or min(bounds) < 0:
        raise written.error("a start and an end in seconds")
    if not any(bounds):
        return None
    offset = _number_of(value, "time offset") or 0.0
    return bounds[0] + offset, bounds[1] + offset if bounds[1] else None


def _variables(value: JsonValue) -> dict[str, str]:
    written = value.get("independent_variables")
    if written is None:
        return {}
    found = {name: written.get(name) for name in VARIABLES}
    return {name: item.text().strip() for name, item in found.items() if item is not None}


def _rows(value: JsonValue, project: _Project) -> list[_Row]:
    rows = []
    for event in value.require("events").elements():
        cells = list(event.elements())
        if len(cells) < 3:
            raise event.error("time, subject, code, modifiers and comment")
        if _is_missing(cells[0]):
            project.counts["events without a time, which are left out"] += 1
            continue
        if not clean_label(cells[2].text()):
            raise cells[2].error("the code of a behaviour")
        texts = ["" if cell.value is None else cell.text() for cell in cells[1:5]]
        rows.append(_Row(cells[0].number(), *texts, *[""] * (4 - len(texts))))
    return sorted(rows, key=lambda row: row[:3])


def _paired(rows: Iterable[_Row], project: _Project) -> Iterable[Coded]:
    begun: dict[tuple[str, str, str], _Row] = {}
    for row in rows:
        if row.code not in project.states:
            if row.code not in project.known:
                project.unknown[row.code] += 1
            yield _coded(row, row)
            continue
        start = begun.pop(row[1:4], None)
        if start is None:
            begun[row[1:4]] = row
        else:
            yield _coded(start, row)
    project.counts["states that nobody ended"] += len(begun)
    for row in begun.values():
        yield _coded(row, None)


def _coded(start: _Row, end: _Row | None) -> Coded:
    return Coded(
        start.seconds,
        None if end is None else end.seconds,
        start.code,
        start.subject,
        start.modifiers,
        start.comment,
        "" if end is None else end.comment,
    )
