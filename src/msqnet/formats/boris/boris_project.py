"""Reads project files of BORIS (``.boris``, ``.boris.gz``).

A project is JSON: an ethogram (`behaviors_conf`), subjects, and observations with their media files
and events ``[time, subject, code, modifiers, comment, ...]``. A state is two events with the same
subject, code and modifiers: start and end take turns.

- Times are on the clock of the first player, plus the observation's ``time offset``, and plus each
  file's creation time where the observation says so.
- Codes that the ethogram does not have are point events, as in BORIS.
- Observations that are live or of pictures have no video and are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from msqnet.documents import JsonValue, read_json
from msqnet.formats.annotations import AnnotatedVideo, Annotations, clean_label, count_notes
from msqnet.formats.boris.boris_observations import (
    VARIABLES,
    Coded,
    Medium,
    chosen,
    cut_to_videos,
    queue,
    repeated_note,
)
from msqnet.formats.options import choose
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.formats import Reading
    from msqnet.intervals import Interval

OPTIONS = {
    "observation": "take this observation only",
    "players": "1: videos of the first player (default); all: those of the others too",
}

_ADVICE = "open the project in BORIS and save it again"
_NO_TIME = ("NA", "", "NaN", "nan")
_MEDIA_TYPES = ("MEDIA", "VIDEO", "AUDIO")
_NO_VIDEO = {"LIVE": "live observations", "IMAGES": "observations of pictures"}


def read_project(path: Path, reading: Reading) -> Annotations:
    """The videos of all observations of a project.

    Raises:
        DatasetError: not a project of BORIS, or a part of it that is not as it should be.
        ConfigError: an option that does not fit.
    """
    document = read_json(path, _ADVICE)
    project = _Project(_ethogram(document.require("behaviors_conf")), reading)
    observations = dict(document.require("observations").items())
    videos = [
        video
        for value in chosen(observations, reading.options).values()
        for video in project.videos(value)
    ]
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


class _Project:
    """Reads the observations of one project.

    Attributes:
        is_state: whether a code of the ethogram is one of a state.
        counts: of what could not be kept.
        unknown: events by code that the ethogram does not have.
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
        coded = list(self._coded(value))
        interval, variables = _interval(value), _variables(value)
        videos: list[AnnotatedVideo] = []
        for number, (player, files) in enumerate(players.items()):
            if number and not self._is_all_players:
                self.counts[
                    "videos of further players, which are left out (--option players=all takes "
                    "them)"
                ] += len(files)
                continue
            media = self._media(value, player, files)
            videos += cut_to_videos(coded, media, interval, variables, self.counts)
        return videos

    def _coded(self, value: JsonValue) -> Iterator[Coded]:
        """Events of which starts and ends are paired."""
        rows = []
        for event in value.require("events").elements():
            cells = list(event.elements())
            if len(cells) < 3:
                raise event.error("time, subject, code, modifiers and comment")
            if _is_missing(cells[0]):
                self.counts["events without a time, which are left out"] += 1
                continue
            if not clean_label(cells[2].text()):
                raise cells[2].error("the code of a behaviour")
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
        info = value.get("media_info")
        by_file = None if info is None else info.get("length")
        paths, lengths = [], []
        for file in files:
            if not file.text().strip():
                raise file.error("the path of a media file")
            paths.append(self._reading.video_path(file.text()))
            written = None if by_file is None else by_file.get(file.text())
            # BORIS writes no length, or 0, where it did not find it out.
            length = 0.0 if written is None or _is_missing(written) else written.number()
            lengths.append(length if length > 0 else None)
        offset = _number(value, "time offset") or 0.0
        has_dates = value.get("media_creation_date_as_offset")
        if has_dates is not None and has_dates.truth():
            dates = (info or value.require("media_info")).require("media_creation_time")
            starts = [dates.require(file.text()).number() + offset for file in files]
            return _dated(paths, lengths, starts)
        later = None if info is None else info.get("offset")
        # Up to version 6 only the second player had an offset, under another name.
        old = _number(value, "time offset second player") if player == "2" else None
        shift = old if later is None else _number(later, player)
        return queue(paths, lengths, round(offset + (shift or 0.0), 6), f"{value.place}: file")


def _dated(paths: list[Path], lengths: list[float | None], starts: list[float]) -> list[Medium]:
    """Files whose time begins at the date of their creation."""
    media = []
    files = sorted(zip(starts, range(len(paths)), strict=True))
    for number, (start, file) in enumerate(files, start=1):
        length = lengths[file]
        end = math.inf
        if number < len(files):
            end = min(files[number][0], math.inf if length is None else start + length)
        media.append(Medium(paths[file], start, end, length))
    return media


def _players(value: JsonValue) -> dict[str, list[JsonValue]]:
    """Files by player, for players that have some; the first format had a list, a file each."""
    written = value.get("file")
    if written is None:
        return {}
    if isinstance(written.value, list):
        found = {str(n): [item] for n, item in enumerate(written.elements(), start=1)}
    else:
        found = {name: list(files.elements()) for name, files in written.items()}
    return {name: found[name] for name in sorted(found, key=_number_first) if found[name]}


def _is_missing(value: JsonValue) -> bool:
    found = value.value
    return found in _NO_TIME or (isinstance(found, float) and math.isnan(found))


def _number(value: JsonValue, name: str) -> float | None:
    found = value.get(name)
    return None if found is None else found.number()


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
    offset = _number(value, "time offset") or 0.0
    # An end of 0 is that of the last video.
    return bounds[0] + offset, (bounds[1] + offset) if bounds[1] else math.inf


def _variables(value: JsonValue) -> dict[str, str]:
    written = value.get("independent_variables")
    if written is None:
        return {}
    found = {name: written.get(name) for name in VARIABLES}
    return {name: item.text().strip() for name, item in found.items() if item is not None}
