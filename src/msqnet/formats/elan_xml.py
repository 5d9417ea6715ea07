"""Files of ELAN (``.eaf``) as plain values: media, tiers, annotations with their times.

The format is described by the schema http://www.mpi.nl/tools/elan/EAFv3.0.xsd and in *ELAN
Annotation Format* (Max Planck Institute for Psycholinguistics). Files of versions 2.x are read too.

A slot without a time lies evenly between the aligned slots before and after it, as ELAN shows it.
Files with a document type declaration are refused: ELAN writes none, and entities can hold
anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree

from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from xml.etree.ElementTree import Element

ADVICE = "open the file in ELAN and save it again"
MAX_BYTES = 128 * 1024 * 1024
"""Larger files are refused."""


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
    root = _root(path)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise _error(path, f"found <{root.tag}>", "<ANNOTATION_DOCUMENT>")
    header = root.find("HEADER")
    if header is None:
        raise _error(path, "no <HEADER>", "one")
    units = header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise _error(path, f"<HEADER>: TIME_UNITS {units!r}", "'milliseconds'")
    slots = dict(_slots(root, path))
    vocabularies = _vocabularies(root)
    kinds = {kind.get("LINGUISTIC_TYPE_ID", ""): kind for kind in root.iter("LINGUISTIC_TYPE")}
    tiers = []
    for tier in root.iter("TIER"):
        kind = kinds.get(tier.get("LINGUISTIC_TYPE_REF", ""))
        listed = None if kind is None else kind.get("CONTROLLED_VOCABULARY_REF")
        tiers.append(_tier(tier, vocabularies.get(listed or ""), slots, path))
    properties = {
        item.get("NAME", ""): (item.text or "").strip() for item in header.iter("PROPERTY")
    }
    return Document(tuple(_media(header, path)), tuple(tiers), properties)


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree of a document that declares no type of its own."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Refuse the declaration."""
        raise ValueError(f"it declares a document type ({name})")


def _root(path: Path) -> Element:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise _error(path, f"more than {MAX_BYTES // 1024**2} MiB", "a file of ELAN")
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(content)
        return parser.close()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DatasetError(
            f"{path}, line {line}, column {column + 1}: not XML: {error}; {ADVICE}"
        ) from error
    except (ValueError, LookupError) as error:
        raise DatasetError(f"{path}: not XML that can be used: {error}; {ADVICE}") from error


def _error(path: Path, found: str, expected: str) -> DatasetError:
    return DatasetError(f"{path}: found {found}, expected {expected}; {ADVICE}")


def _need(element: Element, name: str, path: Path) -> str:
    value = element.get(name)
    if value is None:
        raise _error(path, f"<{element.tag}> without {name}", "one")
    return value


def _media(header: Element, path: Path) -> Iterator[Medium]:
    for item in header.iter("MEDIA_DESCRIPTOR"):
        urls = item.get("RELATIVE_MEDIA_URL", "").strip(), _need(item, "MEDIA_URL", path).strip()
        origin = item.get("TIME_ORIGIN", "0")
        try:
            seconds = int(origin) / 1000
        except (ValueError, OverflowError) as error:
            raise _error(path, f"TIME_ORIGIN {origin[:40]!r}", "milliseconds") from error
        is_video = item.get("MIME_TYPE", "").startswith("video")
        if any(urls):
            yield Medium(tuple(filter(None, urls)), is_video, seconds)
    old = header.get("MEDIA_FILE", "").strip()
    if old:
        yield Medium((old,), is_video=True, origin_seconds=0.0)


def _slots(root: Element, path: Path) -> Iterator[tuple[str, float | None]]:
    for slot in root.iter("TIME_SLOT"):
        name = _need(slot, "TIME_SLOT_ID", path)
        value = slot.get("TIME_VALUE")
        if value is None:
            yield name, None
            continue
        # At most 15 digits: more are no time, and are slow to read.
        if not (value.isascii() and value.isdecimal() and len(value) <= 15):
            raise _error(
                path, f"time slot {name!r}: TIME_VALUE {value[:40]!r}", "whole milliseconds"
            )
        yield name, int(value) / 1000


def _vocabularies(root: Element) -> dict[str, tuple[str, ...]]:
    """Values by the name of their controlled vocabulary, in the first language that each has."""
    found = {}
    for item in root.iter("CONTROLLED_VOCABULARY"):
        values = [(entry.text or "").strip() for entry in item.iter("CV_ENTRY")]
        for entry in item.iter("CV_ENTRY_ML"):
            first = entry.find("CVE_VALUE")
            values.append("" if first is None else (first.text or "").strip())
        found[item.get("CV_ID", "")] = tuple(dict.fromkeys(filter(None, values)))
    return found


def _tier(
    tier: Element,
    vocabulary: tuple[str, ...] | None,
    slots: Mapping[str, float | None],
    path: Path,
) -> Tier:
    name = _need(tier, "TIER_ID", path).strip()
    if not name:
        raise _error(path, "a <TIER> with an empty TIER_ID", "a name")
    aligned = list(tier.iter("ALIGNABLE_ANNOTATION"))
    ends = [
        (_need(item, "TIME_SLOT_REF1", path), _need(item, "TIME_SLOT_REF2", path))
        for item in aligned
    ]
    chain = _Chain(ends, slots)
    annotations = []
    for item, (first, last) in zip(aligned, ends, strict=True):
        place = f"tier {name!r}, annotation {item.get('ANNOTATION_ID', '')!r}"
        start, end = chain.time(first, place, path), chain.time(last, place, path)
        if end < start:
            raise _error(path, f"{place}: from {start} to {end} s", "an end that is not before")
        annotations.append(Annotation(item.get("ANNOTATION_ID", ""), _value(item), start, end))
    references = [
        (_need(item, "ANNOTATION_REF", path), _value(item)) for item in tier.iter("REF_ANNOTATION")
    ]
    return Tier(
        name,
        tier.get("PARTICIPANT", "").strip(),
        tier.get("LINGUISTIC_TYPE_REF", "").strip(),
        vocabulary,
        tuple(annotations),
        tuple(references),
    )


def _value(annotation: Element) -> str:
    return (annotation.findtext("ANNOTATION_VALUE") or "").strip()


class _Chain:
    """Times of the slots of a tier, where annotations follow each other from slot to slot."""

    def __init__(self, ends: list[tuple[str, str]], slots: Mapping[str, float | None]) -> None:
        self._slots = slots
        self._after = {first: last for first, last in ends if first != last}
        self._before = {last: first for first, last in ends if first != last}
        self._found: dict[str, float] = {}

    def time(self, slot: str, place: str, path: Path) -> float:
        """Seconds of a slot; between aligned ones if it has no time of its own."""
        if slot not in self._slots:
            raise _error(path, f"{place}: time slot {slot!r}", "one of <TIME_ORDER>")
        own = self._slots[slot]
        if own is not None:
            return own
        if slot not in self._found:
            self._interpolate(slot, place, path)
        return self._found[slot]

    def _interpolate(self, slot: str, place: str, path: Path) -> None:
        earlier, later = self._walk(slot, self._before), self._walk(slot, self._after)
        first = self._slots.get(earlier[-1]) if earlier else None
        last = self._slots.get(later[-1]) if later else None
        if first is None or last is None:
            raise _error(
                path,
                f"{place}: time slot {slot!r} without a TIME_VALUE",
                "aligned annotations before and after it",
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
