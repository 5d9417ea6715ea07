"""Writes files of ELAN, a file a video.

Annotations of a tier cannot overlap in ELAN, and have a length. So what overlaps goes to a further
tier, ``NAME #2``, and linguistic types say what an annotation stands for: `STATE` for what it
shows, `POINT` for a moment at its start, `NO_END` for a state without an end, `OBSERVED` for an
interval that was looked at. Modifiers, comments and scores stand on tiers that refer to those.

The labels that were looked for are a controlled vocabulary; split and group are properties of the
header. Times are whole milliseconds.
"""

from __future__ import annotations

import datetime
import mimetypes
import os
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from msqnet.files import replacing
from msqnet.formats.annotations import count_notes, free_name, one_file_each
from msqnet.formats.options import choose
from msqnet.formats.xml_files import xml_text
from msqnet.labels import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

STATE, POINT, NO_END = "state", "point", "no end"
KINDS = (STATE, POINT, NO_END)
OBSERVED = "observed"
MODIFIERS, COMMENT, SCORE = "modifiers", "comment", "score"
NO_SUBJECT = "no subject"

_VOCABULARY = "labels"
_LANGUAGE = "und"
_FORMAT = "3.0"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_ASSOCIATION = "Symbolic_Association"

DETAILS: dict[str, Callable[[Event], str]] = {
    MODIFIERS: lambda event: SEPARATOR.join(p.replace(SEPARATOR, "/") for p in event.modifiers),
    COMMENT: lambda event: event.comment,
    SCORE: lambda event: "" if event.score is None else repr(float(event.score)),
}
"""Texts about events by the linguistic type of the tier that they stand on."""


def write_elan(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    """Write files of ELAN, each replaced at once; returns notes on what was changed."""
    layout = choose(options, "tiers", ("labels", "subjects"))
    counts: Counter[str] = Counter()
    contents = {}
    videos = one_file_each(annotations.videos, path, ".eaf", "ELAN", lambda v: v.path.stem)
    for place, video in videos.items():
        labels = [name for name in annotations.labels if video.is_checked(name)]
        tiers = _Tiers(counts)
        tiers.add_events(video, labels, annotations.point_labels, layout)
        tiers.add_observed(video)
        contents[place] = _document(video, tiers, labels, place.parent)
    for place, content in contents.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part:
            part.write_bytes(content)
    return count_notes(counts)


class _Tiers:
    """The tiers of a file in order, and the number of annotations on all of them."""

    def __init__(self, counts: Counter[str]) -> None:
        self.elements: list[Element] = []
        self.num_annotations = 0
        self._counts = counts
        self._slots: list[tuple[int, Element, str]] = []
        self._taken: set[str] = set()

    def add_events(
        self, video: AnnotatedVideo, labels: Sequence[str], points: frozenset[str], layout: str
    ) -> None:
        """Tiers of events, and in the layout ``labels`` of labels that have none."""
        groups: dict[tuple[str, str, str], list[Event]] = {}
        for event in video.events:
            kind = NO_END if event.is_open else POINT if event.is_point else STATE
            if layout == "labels":
                name = f"{event.label}@{event.subject}" if event.subject else event.label
            else:
                name = event.subject or NO_SUBJECT
            name += " (no end)" if event.is_open else ""
            groups.setdefault((name, kind, event.subject), []).append(event)
        seen = {event.label for event in video.events}
        for label in labels if layout == "labels" else ():
            if label not in seen:
                groups[label, POINT if label in points else STATE, ""] = []
        # The vocabulary belongs to a tier, so there has to be one.
        for (name, kind, subject), events in (groups or {(NO_SUBJECT, STATE, ""): []}).items():
            for lane in self._lanes(events):
                self._add_lane(name, kind, subject, lane)

    def add_observed(self, video: AnnotatedVideo) -> None:
        """A tier of what was looked at, unless it is the whole video."""
        if video.observed is None:
            return
        tier = self._add_tier(f"({OBSERVED})", OBSERVED, "")
        for first, last in sorted(video.observed):
            start = round(first * 1000)
            self._add_aligned(tier, start, max(start + 1, round(last * 1000)), OBSERVED)

    def time_order(self) -> Element:
        """Slots in order of time, to which annotations refer from here on."""
        found = Element("TIME_ORDER")
        slots = sorted(self._slots, key=lambda slot: slot[0])
        for rank, (milliseconds, annotation, end) in enumerate(slots, start=1):
            annotation.set(end, f"ts{rank}")
            values = {"TIME_SLOT_ID": f"ts{rank}", "TIME_VALUE": str(milliseconds)}
            SubElement(found, "TIME_SLOT", values)
        return found

    def _lanes(self, events: Sequence[Event]) -> list[list[tuple[int, int, Event]]]:
        """Events with their milliseconds, in as many lists as it takes that none overlap in any."""
        lanes: list[list[tuple[int, int, Event]]] = []
        for event in events:
            start = round(event.start_seconds * 1000)
            # A point, and a state without an end, are as long as ELAN's shortest annotation.
            stop = event.start_seconds if event.end_seconds is None else event.end_seconds
            end = max(start + 1, round(stop * 1000))
            is_exact = abs(event.start_seconds * 1000 - start) < 1e-3
            has_end = not (event.is_point or event.is_open)
            self._counts[
                "events with times that were rounded to milliseconds, by at most 0.5 ms (a shorter "
                "one lasts 1 ms)"
            ] += not is_exact or (has_end and abs(stop * 1000 - end) >= 1e-3)
            free = next((lane for lane in lanes if lane[-1][1] <= start), None)
            if free is None:
                lanes.append(free := [])
            free.append((start, end, event))
        return lanes or [[]]

    def _add_lane(
        self, name: str, kind: str, subject: str, lane: Sequence[tuple[int, int, Event]]
    ) -> None:
        """A tier, and those that say more about its annotations."""
        tier = self._add_tier(name, kind, subject)
        parents = [self._add_aligned(tier, start, end, event.label) for start, end, event in lane]
        for detail, text_of in DETAILS.items():
            texts = [text_of(event) for _, _, event in lane]
            if not any(texts):
                continue
            own = tier.get("TIER_ID", "")
            child = self._add_tier(f"{own} {detail}", detail, subject)
            child.set("PARENT_REF", own)
            for parent, text in zip(parents, texts, strict=True):
                if text:
                    self._add_annotation(child, "REF_ANNOTATION", {"ANNOTATION_REF": parent}, text)

    def _add_tier(self, name: str, kind: str, subject: str) -> Element:
        values = {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": free_name(xml_text(name), self._taken)}
        tier = Element("TIER", values | ({"PARTICIPANT": xml_text(subject)} if subject else {}))
        self.elements.append(tier)
        return tier

    def _add_aligned(self, tier: Element, start: int, end: int, value: str) -> str:
        inner = self._add_annotation(tier, "ALIGNABLE_ANNOTATION", {}, value)
        self._slots += [(start, inner, "TIME_SLOT_REF1"), (end, inner, "TIME_SLOT_REF2")]
        return inner.get("ANNOTATION_ID", "")

    def _add_annotation(
        self, tier: Element, tag: str, values: Mapping[str, str], value: str
    ) -> Element:
        self.num_annotations += 1
        values = {"ANNOTATION_ID": f"a{self.num_annotations}", **values}
        inner = SubElement(SubElement(tier, "ANNOTATION"), tag, values)
        SubElement(inner, "ANNOTATION_VALUE").text = xml_text(value)
        return inner


def _document(video: AnnotatedVideo, tiers: _Tiers, labels: Sequence[str], folder: Path) -> bytes:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    root = Element("ANNOTATION_DOCUMENT", AUTHOR="", DATE=now, FORMAT=_FORMAT, VERSION=_FORMAT)
    schema = f"http://www.mpi.nl/tools/elan/EAFv{_FORMAT}.xsd"
    root.set(f"{{{_INSTANCE}}}noNamespaceSchemaLocation", schema)
    root.append(_header(video, folder, tiers.num_annotations))
    root.append(tiers.time_order())
    root.extend(tiers.elements)
    _add_types(root, {STATE, *(tier.get("LINGUISTIC_TYPE_REF", "") for tier in tiers.elements)})
    vocabulary = SubElement(root, "CONTROLLED_VOCABULARY", {"CV_ID": _VOCABULARY})
    described = SubElement(vocabulary, "DESCRIPTION", {"LANG_REF": _LANGUAGE})
    described.text = "what was looked for"
    for number, label in enumerate(labels):
        entry = SubElement(vocabulary, "CV_ENTRY_ML", {"CVE_ID": f"cveid{number}"})
        value = SubElement(entry, "CVE_VALUE", {"DESCRIPTION": "", "LANG_REF": _LANGUAGE})
        value.text = xml_text(label)
    ElementTree.register_namespace("xsi", _INSTANCE)
    ElementTree.indent(root, "    ")
    written: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return written


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
    last = "lastUsedAnnotationId", str(num_annotations)
    for name, value in (("split", video.split), ("group", video.group), last):
        if value:
            SubElement(header, "PROPERTY", {"NAME": name}).text = xml_text(value)
    return header


def _add_types(root: Element, kinds: set[str]) -> None:
    """Add definitions of linguistic types, languages and constraints, in the schema's order."""
    for kind in sorted(kinds):
        is_detail = kind in DETAILS
        values = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": kind}
        values |= {"CONTROLLED_VOCABULARY_REF": _VOCABULARY} if kind in KINDS else {}
        values |= {"CONSTRAINTS": _ASSOCIATION} if is_detail else {}
        values["TIME_ALIGNABLE"] = "false" if is_detail else "true"
        SubElement(root, "LINGUISTIC_TYPE", values)
    language = {
        "LANG_DEF": "http://cdb.iso.org/lg/CDB-00130975-001",
        "LANG_ID": _LANGUAGE,
        "LANG_LABEL": "undetermined (und)",
    }
    SubElement(root, "LANGUAGE", language)
    description = "1-1 association with a parent annotation"
    SubElement(root, "CONSTRAINT", {"DESCRIPTION": description, "STEREOTYPE": _ASSOCIATION})
