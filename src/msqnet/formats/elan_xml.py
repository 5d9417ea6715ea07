"""Files of ELAN (``.eaf``) as plain values: media, tiers, annotations with their times.

The format is described by the schema http://www.mpi.nl/tools/elan/EAFv3.0.xsd and in *ELAN
Annotation Format* (Max Planck Institute for Psycholinguistics). Files of versions 2.x are read too.

A slot without a time lies evenly between the aligned slots before and after it, as ELAN shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msqnet.formats.xml_files import XmlElement, read_xml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ADVICE = "open the file in ELAN and save it again"

_MAX_DIGITS = 15


@dataclass(frozen=True)
class Annotation:
    """One annotation of a tier.

    Attributes:
        name: its id in the file.
        value: text, stripped.
        start_seconds: on the time line of the file.
        end_seconds: its end.
    """

    name: str
    value: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Tier:
    """A tier with annotations of its own times, or one that says more about another's.

    Attributes:
        name: its id.
        participant: who it is about; empty where nothing is said.
        kind: name of its linguistic type.
        vocabulary: values of its controlled vocabulary in order; None if it has none.
        annotations: with times.
        references: (id of another annotation, value) of those without times.
    """

    name: str
    participant: str
    kind: str
    vocabulary: tuple[str, ...] | None
    annotations: tuple[Annotation, ...]
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Medium:
    """A linked file.

    Attributes:
        urls: ways to it, the relative one first.
        is_video: whether its type says so.
        origin_seconds: its time at the start of the time line.
    """

    urls: tuple[str, ...]
    is_video: bool
    origin_seconds: float


@dataclass(frozen=True)
class Document:
    """What a file holds.

    Attributes:
        media: linked files in order.
        tiers: in order.
        properties: of the header, by name.
    """

    media: tuple[Medium, ...]
    tiers: tuple[Tier, ...]
    properties: Mapping[str, str] = field(default_factory=dict)


def read_document(path: Path) -> Document:
    """The document in a file.

    Raises:
        DatasetError: not a file of ELAN, or a part of it that is not as it should be.
    """
    root = read_xml(path, ADVICE)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise root.error(root.tag, "ANNOTATION_DOCUMENT")
    header = root.find("HEADER")
    if header is None:
        raise root.error(", ".join(child.tag for child in root.children()), "a HEADER")
    units = header.get("TIME_UNITS") or "milliseconds"
    if units != "milliseconds":
        raise header.error(units, "milliseconds for TIME_UNITS")
    slots = dict(_slots(root))
    vocabularies = _vocabularies(root)
    listed = {
        kind.get("LINGUISTIC_TYPE_ID"): kind.get("CONTROLLED_VOCABULARY_REF")
        for kind in root.iter("LINGUISTIC_TYPE")
    }
    tiers = []
    for tier in root.iter("TIER"):
        vocabulary = listed.get(tier.get("LINGUISTIC_TYPE_REF"))
        tiers.append(_tier(tier, vocabularies.get(vocabulary or ""), slots))
    properties = {item.get("NAME") or "": item.text for item in header.iter("PROPERTY")}
    return Document(tuple(_media(header)), tuple(tiers), properties)


def _media(header: XmlElement) -> Iterator[Medium]:
    for item in header.iter("MEDIA_DESCRIPTOR"):
        urls = (item.get("RELATIVE_MEDIA_URL") or "").strip(), item.require("MEDIA_URL").strip()
        origin = item.get("TIME_ORIGIN") or "0"
        digits = origin.removeprefix("-")
        # More digits are no time, and are slow to read.
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_DIGITS):
            raise item.error(origin, "whole milliseconds for TIME_ORIGIN")
        is_video = (item.get("MIME_TYPE") or "").startswith("video")
        if any(urls):
            yield Medium(tuple(filter(None, urls)), is_video, int(origin) / 1000)
    old = (header.get("MEDIA_FILE") or "").strip()
    if old:
        yield Medium((old,), is_video=True, origin_seconds=0.0)


def _slots(root: XmlElement) -> Iterator[tuple[str, float | None]]:
    for slot in root.iter("TIME_SLOT"):
        is_aligned = slot.get("TIME_VALUE") is not None
        yield slot.require("TIME_SLOT_ID"), slot.whole("TIME_VALUE") / 1000 if is_aligned else None


def _vocabularies(root: XmlElement) -> dict[str, tuple[str, ...]]:
    """Values by the name of their controlled vocabulary, in the first language that each has."""
    found = {}
    for item in root.iter("CONTROLLED_VOCABULARY"):
        values = [entry.text for entry in item.iter("CV_ENTRY")]
        for entry in item.iter("CV_ENTRY_ML"):
            first = entry.find("CVE_VALUE")
            values.append("" if first is None else first.text)
        found[item.get("CV_ID") or ""] = tuple(dict.fromkeys(filter(None, values)))
    return found


def _tier(
    tier: XmlElement, vocabulary: tuple[str, ...] | None, slots: Mapping[str, float | None]
) -> Tier:
    name = tier.require("TIER_ID").strip()
    if not name:
        raise tier.error(name, "a name for TIER_ID")
    aligned = list(tier.iter("ALIGNABLE_ANNOTATION"))
    ends = [(item.require("TIME_SLOT_REF1"), item.require("TIME_SLOT_REF2")) for item in aligned]
    chain = _Chain(ends, slots)
    annotations = []
    for item, (first, last) in zip(aligned, ends, strict=True):
        start, end = chain.time(first, item), chain.time(last, item)
        if end < start:
            raise item.error(f"{start} to {end} s", "an end that is not before the start")
        annotations.append(Annotation(item.get("ANNOTATION_ID") or "", _value(item), start, end))
    references = [
        (item.require("ANNOTATION_REF"), _value(item)) for item in tier.iter("REF_ANNOTATION")
    ]
    return Tier(
        name,
        (tier.get("PARTICIPANT") or "").strip(),
        (tier.get("LINGUISTIC_TYPE_REF") or "").strip(),
        vocabulary,
        tuple(annotations),
        tuple(references),
    )


def _value(annotation: XmlElement) -> str:
    found = annotation.find("ANNOTATION_VALUE")
    return "" if found is None else found.text


class _Chain:
    """Times of the slots of a tier, where annotations follow each other from slot to slot."""

    def __init__(self, ends: list[tuple[str, str]], slots: Mapping[str, float | None]) -> None:
        self._slots = slots
        self._after = {first: last for first, last in ends if first != last}
        self._before = {last: first for first, last in ends if first != last}
        self._found: dict[str, float] = {}

    def time(self, slot: str, annotation: XmlElement) -> float:
        """Seconds of a slot; between aligned ones if it has no time of its own."""
        if slot not in self._slots:
            raise annotation.error(slot, "a time slot of TIME_ORDER")
        own = self._slots[slot]
        if own is not None:
            return own
        if slot not in self._found:
            self._interpolate(slot, annotation)
        return self._found[slot]

    def _interpolate(self, slot: str, annotation: XmlElement) -> None:
        earlier, later = self._walk(slot, self._before), self._walk(slot, self._after)
        first = self._slots.get(earlier[-1]) if earlier else None
        last = self._slots.get(later[-1]) if later else None
        if first is None or last is None:
            raise annotation.error(
                f"{slot} without a TIME_VALUE", "annotations with times before and after it"
            )
        between = [*reversed(earlier[:-1]), slot, *later[:-1]]
        for number, name in enumerate(between, start=1):
            self._found[name] = first + (last - first) * number / (len(between) + 1)

    def _walk(self, slot: str, step: Mapping[str, str]) -> list[str]:
        """Slots from one to the next aligned one, that included."""
        found: list[str] = []
        seen = {slot}
        while slot in step and step[slot] not in seen:
            slot = step[slot]
            seen.add(slot)
            found.append(slot)
            if self._slots.get(slot) is not None:
                break
        return found
