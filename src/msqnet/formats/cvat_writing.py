"""Writes tags of frames for CVAT: *CVAT for images 1.1*, which its importer takes for videos too.

Form: https://docs.cvat.ai/docs/manual/advanced/xml_format/. A file is of one video, as a task is.
Beside it stand the labels in the form that the constructor of tasks takes under *Raw*.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from msqnet.errors import DatasetError
from msqnet.formats.annotations import comment_with_score, without_open_states
from msqnet.formats.frame_times import (
    FrameTimes,
    check_num_frames,
    parse_rate,
    read_frame_times,
)
from msqnet.formats.xml_files import xml_text
from msqnet.predictions import replacing
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

SUBJECT, COMMENT, EVENT = "subject", "comment", "event"
OPTIONS = {"fps": "frames a second of videos that are not there"}

_SUFFIX = ".xml"
_LABELS_SUFFIX = ".labels.json"


def files_of(path: Path) -> tuple[Path, ...]:
    """What is written for a path: a file and its labels; a folder that is not there."""
    if path.suffix.lower() != _SUFFIX:
        return (path,)
    return path, path.with_suffix(_LABELS_SUFFIX)


def write_tags(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    """Write tags of one video to a file, or of several to files in a folder.

    Args:
        annotations: what was noted.
        path: a file that ends in ``.xml``, or a folder.
        options: some of `OPTIONS`.

    Returns:
        Notes on what was assumed.

    Raises:
        DatasetError: several videos for one file, or a video that is not there and no rate.
    """
    files = _files(annotations.videos, path)
    documents = []
    moved_seconds = 0.0
    for video in annotations.videos:
        document = _Document(without_open_states(video, annotations.labels), annotations, options)
        documents.append(document)
        moved_seconds = max(moved_seconds, document.moved_seconds)
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() != _SUFFIX:
            path.mkdir(parents=True, exist_ok=True)
        for document, file in zip(documents, files, strict=True):
            part = stack.enter_context(replacing(file))
            labels = stack.enter_context(replacing(file.with_suffix(_LABELS_SUFFIX)))
            document.write(part, labels, file.absolute().parent)
    notes = [
        "a task in CVAT needs its labels before tags are imported (as CVAT 1.1): they stand in "
        f"NAME{_LABELS_SUFFIX} beside each file, for the Raw tab of its constructor"
    ]
    if moved_seconds > 1e-6:
        notes.append(f"times are whole frames there: moved by up to {moved_seconds:.3g} s")
    return tuple(notes)


def _files(videos: tuple[AnnotatedVideo, ...], path: Path) -> list[Path]:
    if path.suffix.lower() == _SUFFIX:
        if len(videos) != 1:
            raise DatasetError(
                f"{path}: a file of CVAT is of one video, but there are {len(videos)}; name a "
                "folder, in which each gets its own"
            )
        return [path]
    if not videos:
        raise DatasetError(f"{path}: there is no video to write")
    names: dict[str, int] = {}
    files = []
    for video in videos:
        names[video.path.name] = names.get(video.path.name, 0) + 1
        number = names[video.path.name]
        mark = "" if number == 1 else f".{number}"
        files.append(path / f"{video.path.name}{mark}{_SUFFIX}")
    return files


class _Document:
    """The file of one video.

    Attributes:
        moved_seconds: how far times were moved at most to be those of frames.
    """

    def __init__(
        self, video: AnnotatedVideo, annotations: Annotations, options: Mapping[str, str]
    ) -> None:
        self._video = video
        self._checked = [
            name for name in annotations.labels if video.checked is None or name in video.checked
        ]
        others = {event.label for event in video.events} - set(self._checked)
        self._labels = [*self._checked, *sorted(others)]
        self._times, self._size_pixels = _times(video, options)
        self.moved_seconds = 0.0
        self._tags: dict[int, list[tuple[int, Event]]] = {}
        for number, event in enumerate(video.events, start=1):
            first, end = self._frames(event)
            for frame in range(first, end):
                self._tags.setdefault(frame, []).append((number, event))

    def _frames(self, event: Event) -> tuple[int, int]:
        """Frames ``[first, end)`` of an event, at least one."""
        times, end_seconds = self._times, event.end_seconds
        if end_seconds is None:
            end_seconds = event.start_seconds
        first = times.frame_at(event.start_seconds)
        end = max(first + 1, times.end_frame(end_seconds))
        if end_seconds > event.start_seconds:
            moved = abs(times.seconds_of(first) - event.start_seconds)
            moved = max(moved, abs(times.seconds_of(end) - end_seconds))
            self.moved_seconds = max(self.moved_seconds, moved)
        return first, end

    def write(self, part: Path, labels: Path, home: Path) -> None:
        """Write tags and labels.

        Args:
            part: file of tags.
            labels: file of labels.
            home: folder of the tags; a video in it is named relative to it.
        """
        root = Element("annotations")
        SubElement(root, "version").text = "1.1"
        self._add_meta(SubElement(root, "meta"), home)
        for frame in sorted(self._tags):
            place = {"id": str(frame), "name": f"frame_{frame:06d}"}
            image = SubElement(root, "image", place | self._size_pixels)
            for number, event in self._tags[frame]:
                tag = SubElement(image, "tag", {"label": xml_text(event.label), "source": "file"})
                for name, value in _values(number, event):
                    SubElement(tag, "attribute", {"name": xml_text(name)}).text = xml_text(value)
        indent(root)
        ElementTree(root).write(part, encoding="utf-8", xml_declaration=True)
        attributes = [_text_attribute(name) for name in self._attribute_names()]
        document = [
            {"name": name, "type": "tag", "attributes": attributes} for name in self._labels
        ]
        text = json.dumps(document, indent=1, ensure_ascii=False)
        labels.write_text(text + "\n", encoding="utf-8")

    def _add_meta(self, meta: Element, home: Path) -> None:
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
        for name, text in texts.items():
            SubElement(task, name).text = xml_text(text)
        labels = SubElement(task, "labels")
        for name in self._checked:
            label = SubElement(labels, "label")
            SubElement(label, "name").text = xml_text(name)
            SubElement(label, "type").text = "tag"
            attributes = SubElement(label, "attributes")
            for attribute in self._attribute_names():
                item = SubElement(attributes, "attribute")
                SubElement(item, "name").text = xml_text(attribute)
                SubElement(item, "mutable").text = "True"
                SubElement(item, "input_type").text = "text"
        segments = SubElement(task, "segments")
        observed = [(0.0, times.duration_seconds)] if video.observed is None else video.observed
        for start, end in observed:
            segment = SubElement(segments, "segment")
            SubElement(segment, "start").text = str(times.frame_at(start))
            SubElement(segment, "stop").text = str(times.end_frame(end) - 1)
        is_inside = video.path.is_relative_to(home)
        source = video.path.relative_to(home).as_posix() if is_inside else str(video.path)
        SubElement(task, "source").text = xml_text(source)

    def _attribute_names(self) -> list[str]:
        names = dict.fromkeys(name for event in self._video.events for name, _ in _values(1, event))
        return list(names)


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
    check_num_frames(video.path, length, rate)
    return FrameTimes.at_rate(rate, max(1, round(length * rate + 0.499))), {}


def _values(number: int, event: Event) -> Iterable[tuple[str, str]]:
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


def _text_attribute(name: str) -> dict[str, Any]:
    return {"name": name, "mutable": True, "input_type": "text", "values": [""]}
