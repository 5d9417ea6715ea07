"""The labelling configuration of a Label Studio project, and frames as Label Studio counts them.

The configuration is XML that names labels and frame rate. Its tags are read in any case, as Label
Studio reads them: https://labelstud.io/tags/video and https://labelstud.io/tags/timelinelabels.

Label Studio counts frames from 1 at the rate that the configuration gives (``frameRate``, 24
without it), whatever rate the file has: frame f is shown from (f - 1) / rate to f / rate seconds. A
range of frames has both its ends. Sources: https://labelstud.io/tags/video and the editor's
``VideoCanvas`` and ``Video`` components. Where the video is there, a frame of Label Studio is the
frame of the file that is shown in the middle of that interval, with its own time stamps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from msqnet.formats.annotations import clean_label
from msqnet.formats.frame_times import is_rate
from msqnet.formats.xml_files import XmlElement, read_xml, xml_text
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.frame_times import FrameTimes

VIDEO_NAME = "video"
TIMELINE_NAME = "timeline"
RATE_KEY = "fps"

_ADVICE = "copy the labelling configuration from the settings of the project again"
_LABEL_TAGS = {"timelinelabels": "label", "labels": "label", "choices": "choice"}
"""Tags of labels of intervals, and of choices for the whole video, with the tags in them."""
_DEFAULT_RATE = 24.0
_MAX_RATE = 240.0
_EPSILON_SECONDS = 1e-6


@dataclass(frozen=True)
class LabellingConfig:
    """A labelling configuration.

    Attributes:
        video_key: key of the video's address in the data of a task; may be empty.
        rate: frames a second that Label Studio counts by; None where the data have it.
        rate_key: key of that rate in the data of a task; empty where the configuration has it.
        choices: labels of the whole video, by the name of what they are chosen with.
    """

    labels: LabelSet
    video_key: str
    rate: float | None
    rate_key: str
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


def config_path(tasks: Path) -> Path:
    """Where the configuration of a file of tasks stands."""
    return tasks.with_suffix(".xml")


def read_config(path: Path) -> LabellingConfig:
    """Read a configuration; `DatasetError` if it is none."""
    root = read_xml(path, _ADVICE)
    video = next((element for element in root.iter() if element.tag.lower() == "video"), None)
    if video is None:
        raise root.error(root.tag, "a labelling configuration with a <Video>")
    names: dict[str, None] = {}
    choices: dict[str, list[str]] = {}
    for group in root.iter():
        part = _LABEL_TAGS.get(group.tag.lower(), "")
        is_region = _get(group, "perregion") == "true" or _get(group, "toname") != _get(
            video, "name"
        )
        # Choices may say more about a region, or about something else than the video.
        if part and not (part == "choice" and is_region):
            labels = [child for child in group.iter() if child.tag.lower() == part]
            written = [clean_label(_get(label, "alias", "value")) for label in labels]
            names.update(dict.fromkeys(name for name in written if name))
            choices |= {_get(group, "name"): written} if part == "choice" else {}
    fps = _get(video, "framerate")
    rate = None if _key(fps) else _rate(video, fps) if fps else _DEFAULT_RATE
    key = _key(_get(video, "value"))
    return LabellingConfig(LabelSet(tuple(names)), key, rate, _key(fps), choices)


def _get(element: XmlElement, *attributes: str) -> str:
    """The first of some attributes that has a value, its name in any case."""
    found = {name.lower(): value for name, value in element.element.items() if value}
    return next((found[name] for name in attributes if name in found), "")


def _key(written: str) -> str:
    return written.removeprefix("$") if written.startswith("$") else ""


def _rate(video: XmlElement, written: str) -> float:
    try:
        rate = float(written)
    except ValueError:
        rate = 0.0
    # Below 1, Label Studio takes it as the length of a frame.
    rate = 1 / rate if 0 < rate < 1 else rate
    if not is_rate(rate):
        raise video.error(written, "a number of frames a second as frameRate")
    return rate


def config_text(labels: Iterable[str]) -> str:
    """A configuration for intervals of time in videos, at the rate that each task names."""
    view = Element("View")
    video = {"name": VIDEO_NAME, "value": f"${VIDEO_NAME}", "frameRate": f"${RATE_KEY}"}
    SubElement(view, "Video", video | {"timelineHeight": "120"})
    timeline = SubElement(view, "TimelineLabels", {"name": TIMELINE_NAME, "toName": VIDEO_NAME})
    for label in labels:
        SubElement(timeline, "Label", {"value": xml_text(label)})
    indent(view)
    return tostring(view, encoding="unicode") + "\n"


@dataclass(frozen=True)
class FrameClock:
    """When frames of Label Studio begin and end.

    The rate is that which Label Studio counts by, None for the file's own; ``times`` are those of
    the file, None where it is missing. One of them is known.
    """

    rate: float | None
    times: FrameTimes | None

    def seconds_of(self, first: int, last: int) -> tuple[float, float]:
        """When a range of frames begins and ends; the end of the video for frames after it."""
        begin, end = self._index(first), self._index(last) + 1
        if self.times is not None:
            count = len(self.times.starts_seconds)
            return self.times.seconds_of(min(begin, count)), self.times.seconds_of(min(end, count))
        assert self.rate is not None
        return begin / self.rate, end / self.rate

    def _index(self, frame: int) -> int:
        """The frame of the file, or of an even rate, counted from 0."""
        if self.rate is None or self.times is None:
            return frame - 1
        middle_seconds = (frame - 0.5) / self.rate
        if middle_seconds >= self.times.end_seconds:
            return len(self.times.starts_seconds)
        return self.times.frame_at(middle_seconds)

    def frames_of(self, start_seconds: float, end_seconds: float) -> tuple[int, int]:
        """The first and the last frame of an interval, by a known rate; at least one frame."""
        assert self.rate is not None
        if self.times is None:
            first = math.floor(start_seconds * self.rate + _EPSILON_SECONDS) + 1
            last = math.ceil(end_seconds * self.rate - _EPSILON_SECONDS)
            return first, max(first, last)
        # The first frames whose middle is not before the times of these.
        first, after = (
            max(1, math.ceil((self.times.seconds_of(index) - _EPSILON_SECONDS) * self.rate + 0.5))
            for index in self.times.frames_of(start_seconds, end_seconds)
        )
        return first, max(first, after - 1)


def rate_of(times: FrameTimes) -> tuple[float, bool]:
    """The rate at which Label Studio should count, and whether the frames come at an even rate.

    It is the file's own if that is even, else so high, up to 240, that each frame has one.
    """
    count = len(times.starts_seconds)
    even = float(f"{times.average_fps:.9g}")
    middles = times.seconds_of(0) + (np.arange(count) + 0.5) / even
    shown = np.searchsorted(times.starts_seconds, middles + _EPSILON_SECONDS, side="right") - 1
    if bool((shown == np.arange(count)).all()):
        return even, True
    gaps = np.diff([*times.starts_seconds, times.end_seconds])
    return min(_MAX_RATE, float(f"{1 / gaps[gaps > 0].min():.9g}")), False
