"""CVAT: its XML, version 1.1, of videos (tracks) and of images (tags of frames).

Form: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and ``cvat/apps/dataset_manager/formats/
cvat.py`` of CVAT. Written are tags of frames, *CVAT for images 1.1*, which the importer of CVAT
takes for videos too, a file a video. Beside each file stand its labels, in the form that the
constructor of tasks takes under *Raw*.

Numbers of frames are those of the video, from 0; with ``frame_filter`` step=n, every n-th frame
from ``start_frame`` on is there, and stands for those up to the next.

- Tags are in *CVAT for images* only; CVAT neither writes nor reads them in *CVAT for video*. Tags
  of frames that follow each other are one event, as long as label and attributes are the same.
  In *CVAT for video*, labels for tags are unknown, and labels of any type that no track has.
- A track is an event from where its object comes into view to where it leaves it, cut where
  attributes change.
- A shape in a single frame says what is seen there. In *CVAT for images*, labels for shapes are
  known only where they are seen.
- Attributes are modifiers as ``name:value``; ``subject``, ``comment`` and ``event`` (a number that
  keeps events of the same label apart) have their own meaning. With ``--option attribute=NAME`` the
  values of one attribute are the labels, and the object is the subject.
- Labels of the task are the ethogram, its ``subset`` is the split, its ``segments`` are what was
  looked at.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from msqnet.documents import opened_archive
from msqnet.errors import ConfigError
from msqnet.files import replacing
from msqnet.formats import Format
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    comment_with_score,
    count_notes,
    last_seconds,
    one_file_each,
    split_comment,
    without_open_states,
)
from msqnet.formats.frame_times import (
    MAX_FRAMES,
    FrameTimes,
    check_frame_count,
    moved_note,
    moved_seconds,
    rate_option,
    read_frame_times,
)
from msqnet.formats.options import UNLISTED, is_absent_if_unlisted, video_address
from msqnet.formats.xml_files import read_xml, xml_text
from msqnet.intervals import covers, union
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from msqnet.documents import Value
    from msqnet.formats import Reading
    from msqnet.formats.xml_files import XmlElement
    from msqnet.intervals import Interval

_ADVICE = "export it from CVAT again, as CVAT for images 1.1 or CVAT for video 1.1"
_STEP = re.compile(r"step=(\d{1,5})")
_MODIFIER = re.compile(r"modifier \d+")
_SHAPES = ("box", "polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton")
_NO_VALUES = ("", "__undefined__")
_SUBJECT, _COMMENT, _EVENT = "subject", "comment", "event"
_LABELS_SUFFIX = ".labels.json"


def _read(path: Path, reading: Reading) -> Annotations:
    counts: Counter[str] = Counter()
    name = reading.options.get("video")
    if zipfile.is_zipfile(path):
        with opened_archive(path, _ADVICE, "annotations.xml".__eq__) as member:
            root = read_xml(member, _ADVICE)
    else:
        root = read_xml(path, _ADVICE)
    tasks = _tasks(root, reading.options.get("attribute"))
    _add_images(root, tasks, counts)
    _add_tracks(root, tasks)
    if name is not None and len(tasks) > 1:
        raise ConfigError(f"option video={name}: {path} has {len(tasks)} videos")
    source = name or root.text_at("meta/source")
    videos = [task.video(reading, source, counts) for task in tasks.values()]
    names = [label for task in tasks.values() for label in task.labels]
    return Annotations.of_files(videos, names, count_notes(counts))


class _State(NamedTuple):
    """What is seen; events are runs of frames with the same."""

    label: str
    subject: str
    modifiers: tuple[str, ...]
    comment: str
    number: str


class _Task:
    """One video of a file: labels of the task or its project, and the step between its frames."""

    def __init__(self, element: XmlElement, owner: XmlElement, attribute: str | None) -> None:
        # Labels of the file by their names, each with its type and what it gives labels here.
        self.written = dict(_labels(owner, attribute))
        self.labels = tuple(dict.fromkeys(n for _, names in self.written.values() for n in names))
        self.attribute = attribute
        self.step = 1
        # Names of what was drawn, and whether there are frames that can have tags.
        self.drawn: set[str] = set()
        self.has_images = False
        self._element = element
        self._start_frame = _frame_at(element, "start_frame") or 0
        self._stop_frame = _frame_at(element, "stop_frame")
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

    def _left_out(self, options: Mapping[str, str]) -> Iterator[str]:
        """Labels that the file could not hold, or may not hold wherever they are to be seen."""
        is_absent = is_absent_if_unlisted(options)
        for name, (kind, labels) in self.written.items():
            can_be_tag = kind in ("", "any", "tag")
            if self.has_images:
                is_unsure = name in self.drawn or not can_be_tag
            else:
                is_unsure = can_be_tag and name not in self.drawn
            if is_unsure and not (is_absent and kind != "tag"):
                yield from labels

    def video(self, reading: Reading, source: str, counts: Counter[str]) -> AnnotatedVideo:
        """The video, of which `labels` were looked for; `source` is what the file calls it."""
        written = reading.options.get("video") or self._element.text_at("source") or source
        if not written:
            raise self._element.error(
                "no <source>", "the name of the video; --option video=NAME gives it"
            )
        path = reading.video_path(written)
        times = read_frame_times(path)
        if times is None:
            rate = rate_option(reading.options, f"{self._element.path}: {path}", "CVAT")
            counts["missing videos, whose times follow from the frame rate alone"] += 1
            ends = [end for spans in self._spans.values() for _, end in spans]
            stop = 0 if self._stop_frame is None else self._stop_frame + 1
            times = FrameTimes.at_rate(rate, max(1, stop, *ends))
        count = len(times.starts_seconds)
        events = []
        left_out = set(self._left_out(reading.options))
        for state, spans in self._spans.items():
            score, comment = split_comment(state.comment)
            for first, end in spans:
                if first >= count:
                    counts["events after the end of their video, which are left out"] += 1
                    left_out.add(state.label)
                    continue
                start, stop_seconds = times.seconds_of(first), times.seconds_of(min(end, count))
                events.append(Event(state.label, start, stop_seconds, *state[1:3], score, comment))
        return AnnotatedVideo(
            path,
            tuple(events),
            times.duration_seconds,
            frozenset(self.labels),
            self._observed(times),
            self._element.text_at("subset"),
            left_out=frozenset(left_out),
        )

    def _observed(self, times: FrameTimes) -> tuple[Interval, ...] | None:
        """What was looked at; None for the whole video."""
        count, stop = len(times.starts_seconds), self._stop_frame
        spans = [(self._start_frame, count if stop is None else min(count, stop + 1))]
        segments = self._element.find("segments")
        if segments is not None:
            spans = []
            for item in segments.children("segment"):
                first, last = _frame_at(item, "start"), _frame_at(item, "stop")
                if first is not None and last is not None:
                    ends = first * self.step, (last + 1) * self.step
                    spans.append((self._start_frame + ends[0], self._start_frame + ends[1]))
        observed = union(
            (times.seconds_of(first), times.seconds_of(min(last, count)))
            for first, last in spans
            if first < min(last, count)
        )
        whole = times.seconds_of(0), times.end_seconds
        return None if covers(observed, whole) else tuple(observed)


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
        if element.find("id") is None:
            raise element.error("no <id>", "the task's own")
        tasks[element.text_at("id")] = _Task(element, project, attribute)
    return tasks


def _labels(
    owner: XmlElement, attribute: str | None
) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    """Labels of a task: name, type, and its label here, or the values of its attribute."""
    place = owner.find("labels")
    for label in () if place is None else place.children("label"):
        name = clean_label(label.text_at("name"))
        if not name:
            raise label.error("no <name>", "the name of a label")
        names = [name] if attribute is None and label.find("parent") is None else []
        for item in label.iter("attribute"):
            if attribute is not None and item.text_at("name") == attribute:
                texts = map(clean_label, item.text_at("values").splitlines())
                names += [text for text in texts if text not in _NO_VALUES]
        yield name, (label.text_at("type"), names)


def _frame(value: Value) -> int:
    frame = value.whole()
    if frame > MAX_FRAMES:
        raise value.error(f"frames up to {MAX_FRAMES}")
    return frame


def _frame_at(element: XmlElement, tag: str) -> int | None:
    found = element.find(tag)
    return None if found is None or not found.text else _frame(found.content)


def _task_of(element: XmlElement, tasks: Mapping[str, _Task]) -> _Task:
    identifier = "" if "" in tasks else element.require("task_id")
    if identifier not in tasks:
        raise element.error(identifier, "the task_id of a task of the project")
    return tasks[identifier]


def _by_frame(elements: Iterable[XmlElement], name: str) -> list[tuple[int, XmlElement]]:
    """Elements in order of the frame that an attribute gives."""
    found = [(_frame(element.value(name)), element) for element in elements]
    return sorted(found, key=lambda item: item[0])


def _add_images(root: XmlElement, tasks: Mapping[str, _Task], counts: Counter[str]) -> None:
    for frame, image in _by_frame(root.children("image"), "id"):
        task = _task_of(image, tasks)
        task.has_images = True
        for item in image.children("tag", *_SHAPES):
            label = item.require("label")
            state = _state(item, label, "", task.attribute)
            if state is not None:
                task.add(state, frame, frame + task.step)
            if item.tag != "tag":
                task.drawn.add(clean_label(label))
                counts["shapes in single frames, whose labels are known only there"] += 1


def _add_tracks(root: XmlElement, tasks: Mapping[str, _Task]) -> None:
    for number, track in enumerate(root.children("track")):
        task = _task_of(track, tasks)
        label, identity = track.require("label"), track.get("id") or str(number)
        task.drawn.add(clean_label(label))
        shapes = _by_frame(track.children(*_SHAPES), "frame")
        ends = [frame for frame, _ in shapes[1:]] + [frame + task.step for frame, _ in shapes[-1:]]
        for (frame, shape), end in zip(shapes, ends, strict=True):
            # A skeleton is out of view if all of its points are.
            parts = list(shape.children("points")) if shape.tag == "skeleton" else [shape]
            if parts and all(part.get("outside") == "1" for part in parts):
                continue
            state = _state(shape, label, identity, task.attribute)
            if state is not None:
                task.add(state, frame, end)


def _state(element: XmlElement, label: str, identity: str, attribute: str | None) -> _State | None:
    """What a tag or a shape says; None if it has no value of the attribute that is the label."""
    values: dict[str, str] = {}
    for item in element.children("attribute"):
        if item.text not in _NO_VALUES:
            values[item.require("name")] = item.text
    subject, comment = values.pop(_SUBJECT, ""), values.pop(_COMMENT, "")
    number = values.pop(_EVENT, "")
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


def _files(path: Path) -> tuple[Path, ...]:
    """What is written for a path: a file and its labels; a folder that is not there."""
    return (path, path.with_suffix(_LABELS_SUFFIX)) if path.suffix.lower() == ".xml" else (path,)


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    places = one_file_each(annotations.videos, path, ".xml", "CVAT", lambda v: v.path.name, ".")
    documents = {file: _Document(video, annotations, options) for file, video in places.items()}
    with contextlib.ExitStack() as stack:
        for file, document in documents.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = stack.enter_context(replacing(file))
            labels = stack.enter_context(replacing(file.with_suffix(_LABELS_SUFFIX)))
            document.write_tags(part, file)
            document.write_labels(labels)
    notes = [
        "a task in CVAT needs its labels before tags are imported (as CVAT 1.1): they stand in "
        f"NAME{_LABELS_SUFFIX} beside each file, for the Raw tab of its constructor"
    ]
    moved = max(document.moved_seconds for document in documents.values())
    return (*notes, *moved_note("CVAT", moved))


class _Document:
    """The file of one video; `moved_seconds` is how far a time was moved at most, to a frame's."""

    def __init__(
        self, video: AnnotatedVideo, annotations: Annotations, options: Mapping[str, str]
    ) -> None:
        self._video = video = without_open_states(video, annotations.labels)
        self._checked = [name for name in annotations.labels if video.is_checked(name)]
        names = (name for event in video.events for name, _ in _values(1, event))
        self._attributes = list(dict.fromkeys(names))
        self._times, self._size_pixels = _times(video, options)
        self.moved_seconds = 0.0
        self._tags: dict[int, list[tuple[int, Event]]] = {}
        for number, event in enumerate(video.events, start=1):
            start = event.start_seconds
            stop = start if event.end_seconds is None else event.end_seconds
            first, end = self._times.frames_of(start, stop)
            if stop > start:
                written = self._times.seconds_of(first), self._times.seconds_of(end)
                self.moved_seconds = max(self.moved_seconds, moved_seconds((start, stop), written))
            for frame in range(first, end):
                self._tags.setdefault(frame, []).append((number, event))

    def write_tags(self, part: Path, file: Path) -> None:
        """Write the tags into a part of the file, which names a video below it relative to it."""
        root = Element("annotations")
        _add_texts(root, version="1.1")
        self._add_meta(SubElement(root, "meta"), file)
        # Without any frame, it would look like a file that cannot have tags.
        for frame in sorted(self._tags) or [0]:
            place = {"id": str(frame), "name": f"frame_{frame:06d}"}
            image = SubElement(root, "image", place | self._size_pixels)
            for number, event in self._tags.get(frame, ()):
                tag = SubElement(image, "tag", {"label": xml_text(event.label), "source": "file"})
                for name, value in _values(number, event):
                    SubElement(tag, "attribute", {"name": xml_text(name)}).text = xml_text(value)
        indent(root)
        ElementTree(root).write(part, encoding="utf-8", xml_declaration=True)

    def write_labels(self, part: Path) -> None:
        """Write the labels for the constructor of tasks."""
        others = {event.label for event in self._video.events} - set(self._checked)
        form = {"mutable": True, "input_type": "text", "values": [""]}
        about = {"type": "tag", "attributes": [{"name": n} | form for n in self._attributes]}
        document = [{"name": name} | about for name in [*self._checked, *sorted(others)]]
        text = json.dumps(document, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")

    def _add_meta(self, meta: Element, file: Path) -> None:
        video, times = self._video, self._times
        task = SubElement(meta, "task")
        count = len(times.starts_seconds)
        _add_texts(
            task,
            name=video.path.name,
            size=str(count),
            mode="interpolation",
            overlap="0",
            subset=video.split,
            start_frame="0",
            stop_frame=str(count - 1),
            frame_filter="",
        )
        labels = SubElement(task, "labels")
        for name in self._checked:
            label = SubElement(labels, "label")
            _add_texts(label, name=name, type="tag")
            attributes = SubElement(label, "attributes")
            for attribute in self._attributes:
                item = SubElement(attributes, "attribute")
                _add_texts(item, name=attribute, mutable="True", input_type="text")
        segments = SubElement(task, "segments")
        observed = [(0.0, times.duration_seconds)] if video.observed is None else video.observed
        for start, end in observed:
            first, last = times.frame_at(start), times.end_frame(end) - 1
            _add_texts(SubElement(segments, "segment"), start=str(first), stop=str(last))
        _add_texts(task, source=video_address(video.path, file, {}))


def _add_texts(parent: Element, **texts: str) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = xml_text(text)


def _times(video: AnnotatedVideo, options: Mapping[str, str]) -> tuple[FrameTimes, dict[str, str]]:
    """When frames are shown, and the size of the picture where it is known."""
    times = read_frame_times(video.path)
    if times is not None:
        with open_video(video.path) as opened:
            return times, {"width": str(opened.width), "height": str(opened.height)}
    rate = rate_option(options, video.path, "CVAT")
    length = max([last_seconds(video), *(end for _, end in video.observed or ())])
    check_frame_count(video.path, length, rate)
    return FrameTimes.at_rate(rate, max(1, round(length * rate + 0.499))), {}


def _values(number: int, event: Event) -> Iterator[tuple[str, str]]:
    """Attributes of a tag: what has a name of its own, and modifiers as ``name:value``."""
    yield _EVENT, str(number)
    taken = {_EVENT, _SUBJECT, _COMMENT}
    if event.subject:
        yield _SUBJECT, event.subject
    comment = comment_with_score(event)
    if comment:
        yield _COMMENT, comment
    for place, modifier in enumerate(event.modifiers, start=1):
        name, _, value = modifier.partition(":")
        # CVAT takes spaces off both ends of names and values.
        is_plain = all(text and text == text.strip() for text in (name, value))
        if not is_plain or name in taken:
            name, value = f"modifier {place}", modifier
        taken.add(name)
        yield name, value


FORMAT = Format(
    "cvat",
    "CVAT 1.1 (XML of images or of videos)",
    read=_read,
    write=_write,
    suffixes=(".xml", ".zip"),
    drops=frozenset({"points", "open ends", "groups"}),
    options={
        "attribute": "when reading: the attribute whose values are the labels",
        "video": "when reading: name of the one video, where the file does not say it",
        **UNLISTED,
        "fps": "frames a second of videos that are not there",
    },
    files=_files,
)
