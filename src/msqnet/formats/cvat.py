"""CVAT: its XML, version 1.1, of videos (tracks) and of images (tags of frames).

Form: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and ``cvat/apps/dataset_manager/formats/
cvat.py`` of CVAT. Numbers of frames are those of the video, from 0; with ``frame_filter`` step=n,
every n-th frame from ``start_frame`` on is there, and stands for those up to the next.

- Tags are in *CVAT for images* only; CVAT neither writes nor reads them in *CVAT for video*. Tags
  of frames that follow each other are one event, as long as label and attributes are the same.
- A track is an event from where its object comes into view to where it leaves it, cut where
  attributes change.
- Attributes are modifiers as ``name:value``; ``subject``, ``comment`` and ``event`` (a number that
  keeps events of the same label apart) have their own meaning. With ``--option attribute=NAME`` the
  values of one attribute are the labels, and the object is the subject.
- Labels of the task are the ethogram, its ``subset`` is the split, its ``segments`` are what was
  looked at.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    split_comment,
)
from msqnet.formats.cvat_writing import COMMENT, EVENT, SUBJECT, files_of, write_tags
from msqnet.formats.cvat_writing import OPTIONS as WRITING_OPTIONS
from msqnet.formats.frame_times import MAX_FRAMES, FrameTimes, parse_rate, read_frame_times
from msqnet.formats.options import count_note
from msqnet.formats.xml_files import XmlElement, read_xml
from msqnet.intervals import covers, union
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from msqnet.formats import Reading

_ADVICE = "export it from CVAT again, as CVAT for images 1.1 or CVAT for video 1.1"
_MEMBER = "annotations.xml"
_MAX_DIGITS = 18
_STEP = re.compile(r"step=(\d{1,5})")
_MODIFIER = re.compile(r"modifier \d+")
_SHAPES = (*("box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton"),)
_NO_VALUES = ("", "__undefined__")
_OPTIONS = {
    "attribute": "when reading: the attribute whose values are the labels",
    "video": "when reading: name of the one video, where the file does not say it",
    **WRITING_OPTIONS,
}


@dataclass(frozen=True)
class _State:
    """What is seen; events are runs of frames with the same."""

    label: str
    subject: str
    modifiers: tuple[str, ...]
    comment: str
    number: str


@dataclass
class _Task:
    """One video of a file.

    Attributes:
        element: what the file says of it.
        labels: of the task or its project, in order.
        start_frame: first frame of the video that is there.
        step: frames of the video from one to the next that is there.
        spans: frames of events, ``[first, end)``, by what is seen.
    """

    element: XmlElement
    labels: tuple[str, ...]
    start_frame: int
    step: int
    spans: dict[_State, list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, state: _State, first: int, end: int) -> None:
        """Note frames; those that follow the last ones of the same state go on with it."""
        spans = self.spans.setdefault(state, [])
        if spans and spans[-1][0] <= first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((first, end))


def _read(path: Path, reading: Reading) -> Annotations:
    counts: Counter[str] = Counter()
    found: list[tuple[AnnotatedVideo, tuple[str, ...]]] = []
    for file in _files(path):
        root = read_xml(file, _ADVICE, _MEMBER if zipfile.is_zipfile(file) else "")
        tasks = _tasks(root, reading.options)
        _note_tags(root, tasks, reading.options.get("attribute"), counts)
        _note_tracks(root, tasks, reading.options.get("attribute"))
        found += [
            (_video(task, reading, counts, len(tasks)), task.labels) for task in tasks.values()
        ]
    names = dict.fromkeys(name for _, labels in found for name in labels)
    videos = tuple(_checked(video, labels, names) for video, labels in found)
    notes = [note for text, number in counts.items() for note in count_note(number, text)]
    return Annotations(videos, LabelSet(tuple(names)), notes=tuple(notes))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".xml", ".zip"))
    if not files:
        raise DatasetError(f"{path}: no .xml or .zip file in it; expected exports of CVAT")
    return files


def _checked(
    video: AnnotatedVideo, labels: Iterable[str], names: Mapping[str, None]
) -> AnnotatedVideo:
    """A video of which all labels of its task were looked for, out of those of all tasks."""
    own = frozenset(labels)
    if own == frozenset(names):
        return video
    return AnnotatedVideo(
        video.path, video.events, video.duration_seconds, own, video.observed, video.split
    )


def _tasks(root: XmlElement, options: Mapping[str, str]) -> dict[str, _Task]:
    """Tasks by their identifiers; the one of a file of a single task is under ``""``."""
    if root.tag != "annotations":
        raise root.error(root.tag, "<annotations>")
    single = root.find("meta/task") or root.find("meta/job")
    if single is not None:
        return {"": _task(single, single, options)}
    project = root.find("meta/project")
    if project is None:
        raise root.error("no meta/task, meta/job or meta/project", "one that says what this is of")
    tasks = {}
    for element in project.iter("task"):
        identifier = element.find("id")
        if identifier is None:
            raise element.error("no <id>", "the task's own")
        tasks[identifier.text] = _task(element, project, options)
    return tasks


def _task(element: XmlElement, owner: XmlElement, options: Mapping[str, str]) -> _Task:
    step = 1
    chosen = element.find("frame_filter")
    if chosen is not None and chosen.text:
        found = _STEP.fullmatch(chosen.text)
        if found is None or int(found[1]) == 0:
            raise chosen.error(chosen.text, "a filter such as step=5")
        step = int(found[1])
    labels = dict.fromkeys(_labels(owner, options.get("attribute")))
    return _Task(element, tuple(labels), _number(element, "start_frame") or 0, step)


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


def _number(element: XmlElement, tag: str) -> int | None:
    """A whole number in an element below; None where there is none."""
    found = element.find(tag)
    if found is None or not found.text:
        return None
    is_number = found.text.isascii() and found.text.isdigit() and len(found.text) <= _MAX_DIGITS
    if not is_number or int(found.text) > MAX_FRAMES:
        raise found.error(found.text, f"a whole number up to {MAX_FRAMES}")
    return int(found.text)


def _of_task(element: XmlElement, tasks: Mapping[str, _Task]) -> _Task:
    """The task that an image or a track belongs to."""
    identifier = "" if "" in tasks else element.require("task_id")
    if identifier not in tasks:
        raise element.error(identifier, "the task_id of a task of the project")
    return tasks[identifier]


def _frame(element: XmlElement, name: str) -> int:
    frame = element.whole(name)
    if frame > MAX_FRAMES:
        raise element.error(str(frame), f"frames up to {MAX_FRAMES}")
    return frame


def _note_tags(
    root: XmlElement, tasks: Mapping[str, _Task], attribute: str | None, counts: Counter[str]
) -> None:
    images = [(_frame(image, "id"), image) for image in root.children("image")]
    for frame, image in sorted(images, key=lambda item: item[0]):
        task = _of_task(image, tasks)
        for tag in image.children("tag"):
            state = _state(tag, tag.require("label"), "", attribute)
            if state is not None:
                task.add(state, frame, frame + task.step)
        shapes = sum(1 for _ in image.children(*_SHAPES))
        counts["shapes in single frames, which are left out"] += shapes


def _note_tracks(root: XmlElement, tasks: Mapping[str, _Task], attribute: str | None) -> None:
    for number, track in enumerate(root.children("track")):
        task = _of_task(track, tasks)
        label = track.require("label")
        identity = track.get("id") or str(number)
        shapes = [(_frame(shape, "frame"), shape) for shape in track.children(*_SHAPES)]
        shapes.sort(key=lambda item: item[0])
        ends = [frame for frame, _ in shapes[1:]] + [frame + task.step for frame, _ in shapes[-1:]]
        for (frame, shape), end in zip(shapes, ends, strict=True):
            if not _is_outside(shape):
                state = _state(shape, label, identity, attribute)
                if state is not None:
                    task.add(state, frame, end)


def _is_outside(shape: XmlElement) -> bool:
    """Whether an object is out of view; a skeleton is if all of its points are."""
    if shape.tag != "skeleton":
        return shape.get("outside") == "1"
    points = list(shape.children("points"))
    return bool(points) and all(point.get("outside") == "1" for point in points)


def _state(element: XmlElement, label: str, identity: str, attribute: str | None) -> _State | None:
    """What a tag or a shape says; None if it has no value of the attribute that is the label."""
    values: dict[str, str] = {}
    for item in element.children("attribute"):
        if item.text not in _NO_VALUES:
            values[item.require("name")] = item.text
    subject, comment = values.pop(SUBJECT, ""), values.pop(COMMENT, "")
    number = values.pop(EVENT, "")
    # Tracks stay apart, even where they are of the same label.
    number = number if not identity else f"track {identity} {number}"
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


def _video(task: _Task, reading: Reading, counts: Counter[str], num_tasks: int) -> AnnotatedVideo:
    path = _path(task.element, reading, num_tasks)
    times = _times(task, path, reading, counts)
    count = len(times.starts_seconds)
    events = []
    for state, spans in task.spans.items():
        score, comment = split_comment(state.comment)
        for first, end in spans:
            if first >= count:
                counts["stretches after the end of their video, which are left out"] += 1
                continue
            start, stop = times.seconds_of(first), times.seconds_of(min(end, count))
            events.append(
                Event(state.label, start, stop, state.subject, state.modifiers, score, comment)
            )
    subset = task.element.find("subset")
    return AnnotatedVideo(
        path,
        tuple(events),
        times.duration_seconds,
        observed=_observed(task, times),
        split="" if subset is None else subset.text,
    )


def _path(element: XmlElement, reading: Reading, num_tasks: int) -> Path:
    named = reading.options.get("video")
    if named is not None and num_tasks > 1:
        raise ConfigError(f"option video={named}: {element.path} has {num_tasks} videos")
    source = element.find("source")
    written = named or ("" if source is None else source.text)
    if not written:
        raise element.error("no <source>", "the name of the video; --option video=NAME gives it")
    return reading.video_path(written)


def _times(task: _Task, path: Path, reading: Reading, counts: Counter[str]) -> FrameTimes:
    times = read_frame_times(path)
    if times is not None:
        return times
    if "fps" not in reading.options:
        raise DatasetError(
            f"{task.element.path}: frames of {path}, which is not there; put the video there, or "
            "take --option fps=... with its frames a second"
        )
    counts["videos that are not there, whose times are by the rate alone"] += 1
    last = max((end for spans in task.spans.values() for _, end in spans), default=1)
    stop = _number(task.element, "stop_frame")
    return FrameTimes.at_rate(
        parse_rate(reading.options["fps"]), max(1, last, 0 if stop is None else stop + 1)
    )


def _observed(task: _Task, times: FrameTimes) -> tuple[tuple[float, float], ...] | None:
    """Stretches that were looked at; None for the whole video."""
    count = len(times.starts_seconds)
    stop = _number(task.element, "stop_frame")
    end = count if stop is None else min(count, stop + 1)
    spans = [(task.start_frame, end)]
    segments = task.element.find("segments")
    if segments is not None:
        pairs = [(_number(s, "start"), _number(s, "stop")) for s in segments.children("segment")]
        spans = [
            (task.start_frame + first * task.step, task.start_frame + (last + 1) * task.step)
            for first, last in pairs
            if first is not None and last is not None
        ]
    observed = union(
        (times.seconds_of(first), times.seconds_of(min(last, end)))
        for first, last in spans
        if first < min(last, end)
    )
    return None if covers(observed, (0.0, times.duration_seconds)) else tuple(observed)


FORMAT = Format(
    "cvat",
    "CVAT 1.1 (XML of images or of videos)",
    read=_read,
    write=write_tags,
    suffixes=(".xml", ".zip"),
    drops=frozenset({"points", "open ends", "groups"}),
    options=_OPTIONS,
    files=files_of,
)
