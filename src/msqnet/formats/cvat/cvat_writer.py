"""Writes tags of frames for CVAT, a file a video, as a task is of one.

Beside each file stand its labels, in the form that the constructor of tasks takes under *Raw*.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from msqnet.errors import DatasetError
from msqnet.formats.annotations import comment_with_score, free_name, without_open_states
from msqnet.formats.frame_times import (
    FrameTimes,
    check_frame_count,
    parse_rate,
    read_frame_times,
)
from msqnet.formats.options import video_address
from msqnet.formats.xml_files import xml_text
from msqnet.predictions import replacing
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

SUBJECT, COMMENT, EVENT = "subject", "comment", "event"

_SUFFIX = ".xml"
_LABELS_SUFFIX = ".labels.json"


def files_of(path: Path) -> tuple[Path, ...]:
    """What is written for a path: a file and its labels; a folder that is not there."""
    if path.suffix.lower() != _SUFFIX:
        return (path,)
    return path, path.with_suffix(_LABELS_SUFFIX)


def write_cvat(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    """Write tags of one video to a file, or of several to files in a folder.

    Args:
        annotations: what was noted.
        path: a file that ends in ``.xml``, or a folder.
        options: ``fps`` for videos that are not there.

    Returns:
        Notes on what was assumed.

    Raises:
        DatasetError: several videos for one file, or a video that is not there and no rate.
    """
    is_file = path.suffix.lower() == _SUFFIX
    if is_file and len(annotations.videos) != 1:
        raise DatasetError(
            f"{path}: a file of CVAT is of one video, but there are {len(annotations.videos)}; "
            "name a folder, in which each gets its own"
        )
    if not annotations.videos:
        raise DatasetError(f"{path}: there is no video to write")
    taken: set[str] = set()
    documents = {}
    for video in annotations.videos:
        file = path if is_file else path / f"{free_name(video.path.name, taken, '.')}{_SUFFIX}"
        documents[file] = _Document(video, annotations, options)
    with contextlib.ExitStack() as stack:
        if not is_file:
            path.mkdir(parents=True, exist_ok=True)
        for file, document in documents.items():
            part = stack.enter_context(replacing(file))
            labels = stack.enter_context(replacing(file.with_suffix(_LABELS_SUFFIX)))
            document.write_tags(part, file)
            document.write_labels(labels)
    notes = [
        "a task in CVAT needs its labels before tags are imported (as CVAT 1.1): they stand in "
        f"NAME{_LABELS_SUFFIX} beside each file, for the Raw tab of its constructor"
    ]
    moved_seconds = max(document.moved_seconds for document in documents.values())
    if moved_seconds > 1e-6:
        notes.append(f"CVAT stores whole frames: times moved by up to {moved_seconds:.3g} s")
    return tuple(notes)


class _Document:
    """The file of one video.

    Attributes:
        moved_seconds: how far times were moved at most to be those of frames.
    """

    def __init__(
        self, video: AnnotatedVideo, annotations: Annotations, options: Mapping[str, str]
    ) -> None:
        self._video = video = without_open_states(video, annotations.labels)
        self._checked = [name for name in annotations.labels if video.is_checked(name)]
        self._attributes = list(
            dict.fromkeys(name for event in video.events for name, _ in _values(1, event))
        )
        self._times, self._size_pixels = _times(video, options)
        self.moved_seconds = 0.0
        self._tags: dict[int, list[tuple[int, Event]]] = {}
        for number, event in enumerate(video.events, start=1):
            for frame in self._frames(event):
                self._tags.setdefault(frame, []).append((number, event))

    def _frames(self, event: Event) -> range:
        """Frames of an event, at least one."""
        times, start = self._times, event.start_seconds
        stop = start if event.end_seconds is None else event.end_seconds
        first = times.frame_at(start)
        end = max(first + 1, times.end_frame(stop))
        if stop > start:
            moved = abs(times.seconds_of(first) - start), abs(times.seconds_of(end) - stop)
            self.moved_seconds = max(self.moved_seconds, *moved)
        return range(first, end)

    def write_tags(self, part: Path, file: Path) -> None:
        """Write the tags into a part of the file, which names a video below it relative to it."""
        root = Element("annotations")
        _add_texts(root, {"version": "1.1"})
        self._add_meta(SubElement(root, "meta"), file)
        for frame in sorted(self._tags):
            place = {"id": str(frame), "name": f"frame_{frame:06d}"}
            image = SubElement(root, "image", place | self._size_pixels)
            for number, event in self._tags[frame]:
                tag = SubElement(image, "tag", {"label": xml_text(event.label), "source": "file"})
                for name, value in _values(number, event):
                    SubElement(tag, "attribute", {"name": xml_text(name)}).text = xml_text(value)
        indent(root)
        ElementTree(root).write(part, encoding="utf-8", xml_declaration=True)

    def write_labels(self, part: Path) -> None:
        """Write the labels for the constructor of tasks."""
        others = {event.label for event in self._video.events} - set(self._checked)
        attributes = [
            {"name": name, "mutable": True, "input_type": "text", "values": [""]}
            for name in self._attributes
        ]
        document = [
            {"name": name, "type": "tag", "attributes": attributes}
            for name in [*self._checked, *sorted(others)]
        ]
        text = json.dumps(document, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")

    def _add_meta(self, meta: Element, file: Path) -> None:
        video, times = self._video, self._times
        task = SubElement(meta, "task")
        count = len(times.starts_seconds)
        texts = {
            "name": video.path.name,
            "size": str(count),
            "mode": "interpolation",
            "overlap": "0",
            "subset": video.split,
            "start_frame": "0",
            "stop_frame": str(count - 1),
            "frame_filter": "",
        }
        _add_texts(task, texts)
        labels = SubElement(task, "labels")
        for name in self._checked:
            label = SubElement(labels, "label")
            _add_texts(label, {"name": name, "type": "tag"})
            attributes = SubElement(label, "attributes")
            for attribute in self._attributes:
                item = SubElement(attributes, "attribute")
                _add_texts(item, {"name": attribute, "mutable": "True", "input_type": "text"})
        segments = SubElement(task, "segments")
        observed = [(0.0, times.duration_seconds)] if video.observed is None else video.observed
        for start, end in observed:
            first, last = times.frame_at(start), times.end_frame(end) - 1
            _add_texts(SubElement(segments, "segment"), {"start": str(first), "stop": str(last)})
        _add_texts(task, {"source": video_address(video.path, file, {})})


def _add_texts(parent: Element, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = xml_text(text)


def _times(video: AnnotatedVideo, options: Mapping[str, str]) -> tuple[FrameTimes, dict[str, str]]:
    """When frames are shown, and the size of the picture where it is known."""
    times = read_frame_times(video.path)
    if times is not None:
        with open_video(video.path) as opened:
            return times, {"width": str(opened.width), "height": str(opened.height)}
    if "fps" not in options:
        raise DatasetError(
            f"{video.path}: not there, and CVAT counts frames; put the video there, or take "
            "--option fps=... with its frames a second"
        )
    rate = parse_rate(options["fps"])
    ends = [event.end_seconds or event.start_seconds for event in video.events]
    ends += [end for _, end in video.observed or ()]
    length = max([video.duration_seconds or 0.0, *ends])
    check_frame_count(video.path, length, rate)
    return FrameTimes.at_rate(rate, max(1, round(length * rate + 0.499))), {}


def _values(number: int, event: Event) -> Iterator[tuple[str, str]]:
    """Attributes of a tag: what has a name of its own, and modifiers as ``name:value``."""
    yield EVENT, str(number)
    taken = {EVENT, SUBJECT, COMMENT}
    if event.subject:
        yield SUBJECT, event.subject
    comment = comment_with_score(event)
    if comment:
        yield COMMENT, comment
    for place, modifier in enumerate(event.modifiers, start=1):
        name, colon, value = modifier.partition(":")
        if not colon or not name.strip() or not value.strip() or name in taken:
            name, value = f"modifier {place}", modifier
        taken.add(name)
        yield name, value
