"""Files of ELAN, written: format version 3.0, a file a video.

Annotations of a tier cannot overlap in ELAN, and have a length. So what overlaps goes to a further
tier, ``NAME #2``, and linguistic types say what an annotation stands for: `STATE` for what it
shows, `POINT` for a moment at its start, `NO_END` for a state that nobody ended, `OBSERVED` for a
stretch that was looked at. Modifiers, comments and scores stand on tiers that refer to those.

The labels that were looked for are a controlled vocabulary; split and group are properties of the
header. Times are whole milliseconds.
"""

from __future__ import annotations

import datetime
import mimetypes
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from msqnet.errors import DatasetError
from msqnet.formats.options import choose
from msqnet.formats.xml_files import xml_text
from msqnet.labels import SEPARATOR
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

STATE, POINT, NO_END = "state", "point", "no end"
KINDS = (STATE, POINT, NO_END)
OBSERVED = "observed"
MODIFIERS, COMMENT, SCORE = "modifiers", "comment", "score"
NO_SUBJECT = "no subject"

_SUFFIX = ".eaf"
_VOCABULARY = "labels"
_LANGUAGE = "und"
_FORMAT = "3.0"
_SCHEMA = f"http://www.mpi.nl/tools/elan/EAFv{_FORMAT}.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_ASSOCIATION = "Symbolic_Association"

_DETAILS: tuple[tuple[str, Callable[[Event], str]], ...] = (
    (MODIFIERS, lambda event: SEPARATOR.join(p.replace(SEPARATOR, "/") for p in event.modifiers)),
    (COMMENT, lambda event: event.comment),
    (SCORE, lambda event: "" if event.score is None else repr(float(event.score))),
)


@dataclass
class _Ids:
    """Numbers of time slots and annotations, and names of tiers that are taken."""

    slots: list[int] = field(default_factory=list)
    num_annotations: int = 0
    tiers: set[str] = field(default_factory=set)

    def slot(self, milliseconds: int) -> str:
        self.slots.append(milliseconds)
        return f"ts{len(self.slots)}"

    def annotation(self) -> str:
        self.num_annotations += 1
        return f"a{self.num_annotations}"

    def tier(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.tiers:
            number += 1
            name = f"{wanted} #{number}"
        self.tiers.add(name)
        return name


@dataclass(frozen=True)
class _Group:
    """What stands on the same tiers: their name, type and participant."""

    base: str
    kind: str
    subject: str


def write_elan(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    """Write files of ELAN, each replaced at once.

    Args:
        annotations: what was noted.
        path: a file that ends in ``.eaf`` for one video, or a folder for any number.
        options: ``tiers``: labels or subjects.

    Returns:
        What was changed.

    Raises:
        DatasetError: one file for several videos, or no video at all.
        ConfigError: an option that does not fit.
    """
    layout = choose(options, "tiers", ("labels", "subjects"))
    counts: Counter[str] = Counter()
    files = {
        place: _document(video, annotations, layout, place.parent, counts)
        for place, video in _places(annotations.videos, path)
    }
    for place, content in files.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part:
            part.write_bytes(content)
    return tuple(f"{text}: {number}" for text, number in counts.items() if number)


def _places(videos: Sequence[AnnotatedVideo], path: Path) -> Iterator[tuple[Path, AnnotatedVideo]]:
    if not videos:
        raise DatasetError(f"{path}: there is no video to write; a file of ELAN is about one")
    if path.suffix.lower() == _SUFFIX and not path.is_dir():
        if len(videos) > 1:
            raise DatasetError(
                f"{path}: found {len(videos)} videos, but a file of ELAN holds one; name a folder "
                f"instead, such as {path.with_suffix('')}"
            )
        yield path, videos[0]
        return
    names = _Ids()
    for video in videos:
        yield path / f"{names.tier(video.path.stem)}{_SUFFIX}", video


def _document(
    video: AnnotatedVideo,
    annotations: Annotations,
    layout: str,
    folder: Path,
    counts: Counter[str],
) -> bytes:
    ids = _Ids()
    labels = [
        label for label in annotations.labels if video.checked is None or label in video.checked
    ]
    groups = _groups(video, labels if layout == "labels" else [], annotations.point_labels, layout)
    tiers = [
        tier
        for group, events in groups.items()
        for lane in _lanes(events, counts)
        for tier in _tiers(group, lane, ids)
    ]
    tiers += _observed(video, ids)
    root = Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "",
            "DATE": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "FORMAT": _FORMAT,
            "VERSION": _FORMAT,
            f"{{{_INSTANCE}}}noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    root.append(_header(video, folder, ids.num_annotations))
    root.append(_time_order(ids.slots, tiers))
    root.extend(tiers)
    root.extend(_types({tier.get("LINGUISTIC_TYPE_REF", "") for tier in tiers} | {STATE}))
    root.append(_vocabulary(labels))
    ElementTree.register_namespace("xsi", _INSTANCE)
    ElementTree.indent(root, "    ")
    written: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written


def _time_order(slots: Sequence[int], tiers: Sequence[Element]) -> Element:
    """Slots in order of time, numbered so; annotations get the numbers."""
    order = sorted(range(len(slots)), key=lambda number: slots[number])
    names = {f"ts{number + 1}": f"ts{rank}" for rank, number in enumerate(order, start=1)}
    found = Element("TIME_ORDER")
    for rank, number in enumerate(order, start=1):
        values = {"TIME_SLOT_ID": f"ts{rank}", "TIME_VALUE": str(slots[number])}
        SubElement(found, "TIME_SLOT", values)
    for tier in tiers:
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            for end in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"):
                annotation.set(end, names[annotation.get(end, "")])
    return found


def _header(video: AnnotatedVideo, folder: Path, num_annotations: int) -> Element:
    header = Element("HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    relative = os.path.relpath(video.path, os.path.abspath(folder))  # noqa: PTH100 (links stay)
    relative = xml_text(relative.replace(os.sep, "/"))
    SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        {
            # ELAN writes paths as they are, without percent signs for spaces.
            "MEDIA_URL": "file:///" + video.path.as_posix().lstrip("/"),
            "MIME_TYPE": mimetypes.guess_type(video.path.name)[0] or "video/*",
            "RELATIVE_MEDIA_URL": relative if relative.startswith("../") else f"./{relative}",
        },
    )
    properties = {
        "split": video.split,
        "group": video.group,
        "lastUsedAnnotationId": str(num_annotations),
    }
    for name, value in properties.items():
        if value:
            SubElement(header, "PROPERTY", {"NAME": name}).text = xml_text(value)
    return header


def _groups(
    video: AnnotatedVideo, labels: Sequence[str], points: frozenset[str], layout: str
) -> dict[_Group, list[Event]]:
    """Events by the tiers that they belong on; labels that were looked for have one in any case."""
    groups: dict[_Group, list[Event]] = {}
    for event in video.events:
        kind = NO_END if event.is_open else POINT if event.is_point else STATE
        if layout == "labels":
            base = f"{event.label}@{event.subject}" if event.subject else event.label
        else:
            base = event.subject or NO_SUBJECT
        base += " (no end)" if event.is_open else ""
        groups.setdefault(_Group(base, kind, event.subject), []).append(event)
    seen = {event.label for event in video.events}
    for label in labels:
        if label not in seen:
            groups[_Group(label, POINT if label in points else STATE, "")] = []
    # The vocabulary belongs to a tier, so there has to be one.
    return groups or {_Group(NO_SUBJECT, STATE, ""): []}


def _lanes(events: Sequence[Event], counts: Counter[str]) -> list[list[tuple[int, int, Event]]]:
    """Events with their milliseconds, in as many lists as it takes that none overlap in any."""
    lanes: list[list[tuple[int, int, Event]]] = []
    for event in events:
        start, end = _milliseconds(event, counts)
        lane = next((lane for lane in lanes if lane[-1][1] <= start), None)
        if lane is None:
            lane = []
            lanes.append(lane)
        lane.append((start, end, event))
    return lanes or [[]]


def _milliseconds(event: Event, counts: Counter[str]) -> tuple[int, int]:
    start = round(event.start_seconds * 1000)
    # A point, and a state without an end, are as long as ELAN's shortest annotation.
    stop = event.start_seconds if event.end_seconds is None else event.end_seconds
    end = max(start + 1, round(stop * 1000))
    is_exact = abs(event.start_seconds * 1000 - start) < 1e-3
    has_end = not (event.is_point or event.is_open)
    if not is_exact or (has_end and abs(stop * 1000 - end) >= 1e-3):
        counts[
            "events with times that were rounded to milliseconds, by at most 0.5 ms (a shorter one "
            "lasts 1 ms)"
        ] += 1
    return start, end


def _tiers(
    group: _Group,
    lane: Sequence[tuple[int, int, Event]],
    ids: _Ids,
) -> list[Element]:
    """A tier, and those that say more about its annotations."""
    name = ids.tier(xml_text(group.base))
    tier = _tier(name, group.kind, xml_text(group.subject))
    parents = [_aligned(tier, start, end, xml_text(event.label), ids) for start, end, event in lane]
    tiers = [tier]
    for kind, detail in _DETAILS:
        values = [xml_text(detail(event)) for _, _, event in lane]
        if not any(values):
            continue
        child = _tier(ids.tier(f"{name} {kind}"), kind, tier.get("PARTICIPANT", ""))
        child.set("PARENT_REF", name)
        tiers.append(child)
        for parent, value in zip(parents, values, strict=True):
            if value:
                _annotation(
                    child,
                    "REF_ANNOTATION",
                    {"ANNOTATION_ID": ids.annotation(), "ANNOTATION_REF": parent},
                    value,
                )
    return tiers


def _observed(video: AnnotatedVideo, ids: _Ids) -> list[Element]:
    if video.observed is None:
        return []
    tier = _tier(ids.tier(f"({OBSERVED})"), OBSERVED, "")
    for first, last in sorted(video.observed):
        start = round(first * 1000)
        _aligned(tier, start, max(start + 1, round(last * 1000)), OBSERVED, ids)
    return [tier]


def _tier(name: str, kind: str, subject: str) -> Element:
    values = {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": name}
    return Element("TIER", values | ({"PARTICIPANT": subject} if subject else {}))


def _aligned(tier: Element, start: int, end: int, value: str, ids: _Ids) -> str:
    name = ids.annotation()
    values = {
        "ANNOTATION_ID": name,
        "TIME_SLOT_REF1": ids.slot(start),
        "TIME_SLOT_REF2": ids.slot(end),
    }
    _annotation(tier, "ALIGNABLE_ANNOTATION", values, value)
    return name


def _annotation(tier: Element, tag: str, values: Mapping[str, str], value: str) -> None:
    inner = SubElement(SubElement(tier, "ANNOTATION"), tag, dict(values))
    SubElement(inner, "ANNOTATION_VALUE").text = value


def _types(kinds: set[str]) -> Iterator[Element]:
    """Definitions of linguistic types, of languages and constraints, in the schema's order."""
    for kind in sorted(kinds):
        values = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": kind}
        if kind in KINDS:
            values |= {"CONTROLLED_VOCABULARY_REF": _VOCABULARY}
        if kind in (MODIFIERS, COMMENT, SCORE):
            values |= {"CONSTRAINTS": _ASSOCIATION, "TIME_ALIGNABLE": "false"}
        else:
            values |= {"TIME_ALIGNABLE": "true"}
        yield Element("LINGUISTIC_TYPE", values)
    yield Element(
        "LANGUAGE",
        {
            "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
            "LANG_ID": _LANGUAGE,
            "LANG_LABEL": "undetermined (und)",
        },
    )
    yield Element(
        "CONSTRAINT",
        {"DESCRIPTION": "1-1 association with a parent annotation", "STEREOTYPE": _ASSOCIATION},
    )


def _vocabulary(labels: Sequence[str]) -> Element:
    found = Element("CONTROLLED_VOCABULARY", {"CV_ID": _VOCABULARY})
    SubElement(found, "DESCRIPTION", {"LANG_REF": _LANGUAGE}).text = "what was looked for"
    for number, label in enumerate(labels):
        entry = SubElement(found, "CV_ENTRY_ML", {"CVE_ID": f"cveid{number}"})
        value = SubElement(entry, "CVE_VALUE", {"DESCRIPTION": "", "LANG_REF": _LANGUAGE})
        value.text = xml_text(label)
    return found
