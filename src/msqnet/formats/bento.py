"""Annotations of Bento, ``.annot``: https://github.com/neuroethology/bentoMAT (`saveAnnot.m`).

A file lists its channels and the labels that an annotator had. By channel and label follow the
first and the last frame of each bout, counted from 1, or in seconds: their numbers divided by the
frame rate. From the start to the stop of the annotation, a label is absent where it has no bout.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from msqnet.documents import Value, exists, read_text
from msqnet.errors import DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.formats.columns import OPTIONS, video_note
from msqnet.formats.frame_times import VideoClock
from msqnet.intervals import Interval, covers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ADVICE = "save the annotations in Bento again"
_HEADER = "Bento annotation file"
_BACKGROUND = "other"
_USUAL_RATE = 30.0
_SETTING = re.compile(r"Annotation (start|stop|framerate)( time)?[^:]*:\s*(\S+)", re.IGNORECASE)
_MOVIE = re.compile(r"[^\\/]+?(?=\.\w{2,4}(?:\s|$))")
"""The name of a movie without its folder and ending; names stand one behind the other."""


def _read(path: Path, reading: Reading) -> Annotations:
    lines = [line.strip() for line in read_text(path, _ADVICE).splitlines()]
    if not lines or not lines[0].startswith(_HEADER):
        raise DatasetError(f"{path}: found no {_HEADER!r} on its first line; {_ADVICE}")
    said = {m[1].lower(): m for m in map(_SETTING.match, lines) if m}
    numbers = {name: Value(m[3], f"{path}: {m[0]!r}", _ADVICE).number() for name, m in said.items()}
    rate = numbers.get("framerate") or _USUAL_RATE
    notes = video_note(reading, path)
    if not numbers.get("framerate"):
        notes.append(f"no frame rate in the file; {_USUAL_RATE:g}, as Bento takes it then")
    bouts = _bouts(path, lines)
    video = _video(path, reading, next((line for line in lines if line.startswith("Movie")), ""))
    clock = VideoClock(video, str(path))
    # Annotations may be at another rate than the video.
    is_own = clock.fps is not None and abs(clock.fps - rate) <= 0.01 * rate

    def seconds(frame: float) -> float:
        return clock.seconds_of(round(frame)) if is_own else frame / rate

    # Bento takes them for seconds if any of them has a decimal point.
    unit = rate if any("." in str(time.value) for bout in bouts for time in bout[2:]) else 1.0
    channels = _listed(lines, "List of channels:")
    events = []
    try:
        for channel, label, start, stop in bouts:
            first, last = (round(time.number() * unit) for time in (start, stop))
            span = seconds(first - 1), seconds(last)
            events.append(Event(label, *span, channel if len(channels) > 1 else ""))
    except DatasetError as error:
        raise DatasetError(
            f"{path}: {error}; expected bouts of {video.name}; name the video that was annotated: "
            "--option video=NAME"
        ) from error
    observed: tuple[Interval, ...] = ()
    length = clock.duration_seconds
    if {"start", "stop"} <= numbers.keys():
        ends = [numbers[name] * (rate if said[name][2] else 1) for name in ("start", "stop")]
        observed = (((round(ends[0]) - 1) / rate, round(ends[1]) / rate),)
        length = length or observed[0][1]
    is_whole = length is not None and covers(observed or [(0.0, length)], (0.0, length))
    labels = dict.fromkeys(map(clean_label, _listed(lines, "List of annotations:")))
    labels |= dict.fromkeys(event.label for event in events)
    labels.pop(_BACKGROUND, None)
    found = AnnotatedVideo(video, tuple(events), length, None, None if is_whole else observed)
    return Annotations.of_files([found], tuple(labels), notes)


def _video(path: Path, reading: Reading, line: str) -> Path:
    """The first movie that is there, or the video of the file's name."""
    names = [] if "video" in reading.options else _MOVIE.findall(line.partition(":")[2])
    found = (reading.find_video(name.strip(), path) for name in names)
    return next((v for v in found if exists(v)), reading.find_video("", path))


def _listed(lines: Sequence[str], title: str) -> list[str]:
    place = next(
        (n for n, line in enumerate(lines, 1) if line.lower() == title.lower()), len(lines)
    )
    return list(itertools.takewhile(bool, lines[place:]))


def _bouts(path: Path, lines: Sequence[str]) -> list[tuple[str, str, Value, Value]]:
    """Channel, label, start and stop as written."""
    found = []
    channel = label = ""
    for number, line in enumerate(lines, start=1):
        if line.endswith("----------"):
            channel = line.rstrip("-")
        elif line.startswith(">"):
            label = clean_label(line[1:])
        elif channel and line and not line.startswith("Start") and label != _BACKGROUND:
            cells = [Value(text, f"{path}, line {number}", _ADVICE) for text in line.split()]
            if len(cells) < 2:
                raise cells[0].error("a start and a stop")
            found.append((channel, label, cells[0], cells[1]))
    return found


FORMAT = Format("bento", "annotations of Bento", read=_read, suffixes=(".annot",), options=OPTIONS)
