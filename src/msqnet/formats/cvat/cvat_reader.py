"""Reads files of CVAT: XML, or archives and folders of it; `msqnet.formats.cvat` has the rules."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    count_notes,
    split_comment,
)
from msqnet.formats.cvat.cvat_writer import COMMENT, EVENT, SUBJECT
from msqnet.formats.frame_times import MAX_FRAMES, FrameTimes, parse_rate, read_frame_times
from msqnet.formats.xml_files import read_xml
from msqnet.intervals import covers, union
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.documents import Value
    from msqnet.formats import Reading
    from msqnet.formats.xml_files import XmlElement
    from msqnet.intervals import Interval

_ADVICE = "export it from CVAT again, as CVAT for images 1.1 or CVAT for video 1.1"
_MEMBER = "annotations.xml"
_STEP = re.compile(r"step=(\d{1,5})")
_MODIFIER = re.compile(r"modifier \d+")
_SHAPES = (*("box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton"),)
_NO_VALUES = ("", "__undefined__")


def read_cvat(path: Path, reading: Reading) -> Annotations:
    """The videos of all tasks.

    Args:
        path: a file, an archive, or a folder of them.
        reading: the folder of the videos, and options.

    Raises:
        DatasetError: not a file of CVAT, a part of it that is not as it should be, or a video that
            is not there without a rate.
        ConfigError: an option that does not fit.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".xml", ".zip"))
    if not files:
        raise DatasetError(f"{path}: no .xml or .zip file in it; expected exports of CVAT")
    counts: Counter[str] = Counter()
    videos: list[AnnotatedVideo] = []
    names: dict[str, None] = {}
    for file in files:
        root = read_xml(file, _ADVICE, _MEMBER if zipfile.is_zipfile(file) else "")
        attribute = reading.options.get("attribute")
        tasks = _tasks(root, attribute)
        _add_tags(root, tasks, attribute, counts)
        _add_tracks(root, tasks, attribute)
        if "video" in reading.options and len(tasks) > 1:
            name = reading.options["video"]
            raise ConfigError(f"option video={name}: {file} has {len(tasks)} videos")
        for task in tasks.values():
            videos.append(task.video(reading, counts))
            names |= dict.fromkeys(task.labels)
    everything = frozenset(names)
    return Annotations(
        tuple(replace(v, checked=None) if v.checked == everything else v for v in videos),
        LabelSet(tuple(names)),
        notes=count_notes(counts),
    )


class _State(NamedTuple):
    """What is seen; events are runs of frames with the same."""

    label: str
    subject: str
    modifiers: tuple[str, ...]
    comment: str
    number: str


class _Task:
    """One video of a file.

    Attributes:
        labels: of the task or its project, in order.
        step: frames of the video from one to the next that is there.
    """

    def __init__(self, element: XmlElement, owner: XmlElement, attribute: str | None) -> None:
        self.labels = tuple(dict.fromkeys(_labels(owner, attribute)))
        self.step = 1
        self._element = element
        self._start_frame = _frame_in(element, "start_frame") or 0
        # Frames of events, [first, end), by what is seen.
        self._spans: dict[_State, list[tuple[int, int]]] = {}
        chosen = element.find("frame_filter")
        if chosen is not None and chosen.text:
            found = _STEP.fullmatch(chosen.text)
            if found is None or int(found[1]) == 0:
                raise chosen.error(chosen.text, "a filter such as step=5")
            self.step = int(found[1])

    def add(self, state: _State, first: int, end: int) -> None:
        """Note frames; those that follow the last ones of the same state go on with it."""
        spans = self._spans.setdefault(state, [])
        if spans and spans[-1][0] <= first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((first, end))

    def video(self, reading: Reading, counts: Counter[str]) -> AnnotatedVideo:
        """The video, of which `labels` were looked for."""
        element = self._element
        source = element.find("source")
        written = reading.options.get("video") or ("" if source is None else source.text)
        if not written:
            raise element.error(
                "no <source>", "the name of the video; --option video=NAME gives it"
            )
        path = reading.video_path(written)
        times = self._times(path, reading, counts)
        count = len(times.starts_seconds)
        events = []
        for state, spans in self._spans.items():
            score, comment = split_comment(state.comment)
            for first, end in spans:
                if first >= count:
                    counts["events after the end of their video, which are left out"] += 1
                    continue
                start, stop = times.seconds_of(first), times.seconds_of(min(end, count))
                events.append(Event(state.label, start, stop, *state[1:3], score, comment))
        subset = element.find("subset")
        return AnnotatedVideo(
            path,
            tuple(events),
            times.duration_seconds,
            frozenset(self.labels),
            self._observed(times),
            "" if subset is None else subset.text,
        )

    def _times(self, path: Path, reading: Reading, counts: Counter[str]) -> FrameTimes:
        times = read_frame_times(path)
        if times is not None:
            return times
        if "fps" not in reading.options:
            raise DatasetError(
                f"{self._element.path}: frames of {path}, which is not there; put the video there, "
                "or take --option fps=... with its frames a second"
            )
        counts["missing videos, whose times follow from the frame rate alone"] += 1
        stop = _frame_in(self._element, "stop_frame")
        ends = [end for spans in self._spans.values() for _, end in spans]
        num_frames = max(1, 0 if stop is None else stop + 1, *ends)
        return FrameTimes.at_rate(parse_rate(reading.options["fps"]), num_frames)

    def _observed(self, times: FrameTimes) -> tuple[Interval, ...] | None:
        """What was looked at; None for the whole video."""
        count, start = len(times.starts_seconds), self._start_frame
        stop = _frame_in(self._element, "stop_frame")
        spans = [(start, count if stop is None else min(count, stop + 1))]
        segments = self._element.find("segments")
        if segments is not None:
            pairs = [
                (_frame_in(item, "start"), _frame_in(item, "stop"))
                for item in segments.children("segment")
            ]
            spans = [
                (start + first * self.step, start + (last + 1) * self.step)
                for first, last in pairs
                if first is not None and last is not None
            ]
        observed = union(
            (times.seconds_of(first), times.seconds_of(min(last, count)))
            for first, last in spans
            if first < min(last, count)
        )
        return None if covers(observed, (0.0, times.duration_seconds)) else tuple(observed)


def _tasks(root: XmlElement, attribute: str | None) -> dict[str, _Task]:
    """Tasks by their identifiers; the one of a file of a single task is under ``""``."""
    if root.tag != "annotations":
        raise root.error(root.tag, "<annotations>")
    single = root.find("meta/task") or root.find("meta/job")
    if single is not None:
        return {"": _Task(single, single, attribute)}
    project = root.find("meta/project")
    if project is None:
        raise root.error("no meta/task, meta/job or meta/project", "one that says what this is of")
    tasks = {}
    for element in project.iter("task"):
        identifier = element.find("id")
        if identifier is None:
            raise element.error("no <id>", "the task's own")
        tasks[identifier.text] = _Task(element, project, attribute)
    return tasks


def _labels(owner: XmlElement, attribute: str | None) -> Iterator[str]:
    """Labels of a task, or the values of an attribute of any of them."""
    place = owner.find("labels")
    for label in () if place is None else place.children("label"):
        name = label.find("name")
        if name is None or not clean_label(name.text):
            raise label.error("no <name>", "the name of a label")
        if attribute is None and label.find("parent") is None:
            yield clean_label(name.text)
        for item in label.iter("attribute"):
            own, values = item.find("name"), item.find("values")
            if own is not None and own.text == attribute and values is not None:
                texts = map(clean_label, values.text.splitlines())
                yield from (text for text in texts if text not in _NO_VALUES)


def _frame(value: Value) -> int:
    """The number of a frame, or of frames."""
    frame = value.whole()
    if frame > MAX_FRAMES:
        raise value.error(f"frames up to {MAX_FRAMES}")
    return frame


def _frame_in(element: XmlElement, tag: str) -> int | None:
    """The number of a frame in an element below; None where there is none."""
    found = element.find(tag)
    return None if found is None or not found.text else _frame(found.content)


def _task_of(element: XmlElement, tasks: Mapping[str, _Task]) -> _Task:
    """The task that an image or a track belongs to."""
    identifier = "" if "" in tasks else element.require("task_id")
    if identifier not in tasks:
        raise element.error(identifier, "the task_id of a task of the project")
    return tasks[identifier]


def _add_tags(
    root: XmlElement, tasks: Mapping[str, _Task], attribute: str | None, counts: Counter[str]
) -> None:
    images = [(_frame(image.value("id")), image) for image in root.children("image")]
    for frame, image in sorted(images, key=lambda item: item[0]):
        task = _task_of(image, tasks)
        for tag in image.children("tag"):
            state = _state(tag, tag.require("label"), "", attribute)
            if state is not None:
                task.add(state, frame, frame + task.step)
        shapes = sum(1 for _ in image.children(*_SHAPES))
        counts["shapes in single frames, which are left out"] += shapes


def _add_tracks(root: XmlElement, tasks: Mapping[str, _Task], attribute: str | None) -> None:
    for number, track in enumerate(root.children("track")):
        task = _task_of(track, tasks)
        label, identity = track.require("label"), track.get("id") or str(number)
        shapes = [(_frame(shape.value("frame")), shape) for shape in track.children(*_SHAPES)]
        shapes.sort(key=lambda item: item[0])
        ends = [frame for frame, _ in shapes[1:]] + [frame + task.step for frame, _ in shapes[-1:]]
        for (frame, shape), end in zip(shapes, ends, strict=True):
            # A skeleton is out of view if all of its points are.
            parts = list(shape.children("points")) if shape.tag == "skeleton" else [shape]
            if parts and all(part.get("outside") == "1" for part in parts):
                continue
            state = _state(shape, label, identity, attribute)
            if state is not None:
                task.add(state, frame, end)


def _state(element: XmlElement, label: str, identity: str, attribute: str | None) -> _State | None:
    """What a tag or a shape says; None if it has no value of the attribute that is the label."""
    values: dict[str, str] = {}
    for item in element.children("attribute"):
        if item.text not in _NO_VALUES:
            values[item.require("name")] = item.text
    subject, comment = values.pop(SUBJECT, ""), values.pop(COMMENT, "")
    number = values.pop(EVENT, "")
    # Tracks stay apart, even where they are of the same label.
    number = f"track {identity} {number}" if identity else number
    if attribute is not None:
        if attribute not in values:
            return None
        subject = subject or f"{label} {identity}".strip()
        label = values.pop(attribute)
    name = clean_label(label)
    if not name:
        raise element.error(label, "a label")
    modifiers = tuple(
        value if _MODIFIER.fullmatch(key) else f"{key}:{value}" for key, value in values.items()
    )
    return _State(name, subject, modifiers, comment, number)
