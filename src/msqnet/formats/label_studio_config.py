"""The labelling configuration of a Label Studio project: XML that names labels and frame rate.

Tags: https://labelstud.io/tags/video and https://labelstud.io/tags/timelinelabels; their names are
read in any case, as Label Studio reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from msqnet.formats.annotations import clean_label
from msqnet.formats.frame_times import is_rate
from msqnet.formats.xml_files import XmlElement, read_xml, xml_text
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

VIDEO_NAME = "video"
TIMELINE_NAME = "timeline"
RATE_KEY = "fps"

_ADVICE = "copy the labelling configuration from the settings of the project again"
_DEFAULT_RATE = 24.0
_LABEL_TAGS = ("timelinelabels", "labels")


@dataclass(frozen=True)
class LabellingConfig:
    """What a configuration says.

    Attributes:
        labels: the ethogram, in its own order.
        video_key: key of the video's address in the data of a task; empty where it is not said.
        rate: frames a second that Label Studio counts by; None where the data say it.
        rate_key: key of that rate in the data of a task; empty where it stands here.
    """

    labels: LabelSet
    video_key: str
    rate: float | None
    rate_key: str


def config_path(tasks: Path) -> Path:
    """Where the configuration of a file of tasks stands."""
    return tasks.with_suffix(".xml")


def read_config(path: Path) -> LabellingConfig:
    """Read a configuration.

    Raises:
        DatasetError: it is none.
    """
    root = read_xml(path, _ADVICE)
    names: dict[str, None] = {}
    video: XmlElement | None = None
    for element in root.iter():
        tag = element.tag.lower()
        if tag in _LABEL_TAGS:
            labels = [child for child in element.iter() if child.tag.lower() == "label"]
            written = [clean_label(_get(label, "alias", "value")) for label in labels]
            names.update(dict.fromkeys(name for name in written if name))
        if tag == "video" and video is None:
            video = element
    if video is None:
        raise root.error(root.tag, "a labelling configuration with a <Video>")
    rate, rate_key = _rate(video)
    return LabellingConfig(LabelSet(tuple(names)), _key(_get(video, "value")), rate, rate_key)


def _get(element: XmlElement, *attributes: str) -> str:
    """The first of some attributes that has a value, its name in any case."""
    found = {name.lower(): value for name, value in element.element.items() if value}
    return next((found[name] for name in attributes if name in found), "")


def _key(written: str) -> str:
    return written.removeprefix("$") if written.startswith("$") else ""


def _rate(video: XmlElement) -> tuple[float | None, str]:
    """Frames a second, or the key of them."""
    written = _get(video, "framerate")
    if not written:
        return _DEFAULT_RATE, ""
    if _key(written):
        return None, _key(written)
    try:
        rate = float(written)
    except ValueError:
        rate = 0.0
    # Below 1, Label Studio takes it as the length of a frame.
    rate = 1 / rate if 0 < rate < 1 else rate
    if not is_rate(rate):
        raise video.error(written, "a number of frames a second as frameRate")
    return rate, ""


def config_text(labels: Iterable[str]) -> str:
    """A configuration for stretches of time in videos, at the rate that each task names.

    Args:
        labels: the ethogram, in order.
    """
    view = Element("View")
    video = {"name": VIDEO_NAME, "value": f"${VIDEO_NAME}", "frameRate": f"${RATE_KEY}"}
    SubElement(view, "Video", video | {"timelineHeight": "120"})
    timeline = SubElement(view, "TimelineLabels", {"name": TIMELINE_NAME, "toName": VIDEO_NAME})
    for label in labels:
        SubElement(timeline, "Label", {"value": xml_text(label)})
    indent(view)
    return tostring(view, encoding="unicode") + "\n"
