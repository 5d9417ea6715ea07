"""Reads files of ELAN.

What a tier says depends on who made it. Unless ``tiers`` says otherwise:

- a tier whose annotations are empty, or all have the tier's name for their value, is a label;
- of any other tier the values are labels, and the tier is a subject: its participant, or its name.

Tiers that depend on others, aligned or not, say more about annotations of these: comments, scores
or modifiers, as their linguistic type is called; of any other type, modifiers ``TIER: VALUE``. If
``tiers`` names tiers, only those that depend on one of them do; others are left out.

Nothing says that somebody looked for what a tier without annotations is about. The linguistic
types `POINT`, `NO_END` and `OBSERVED` have the meaning that `elan_writer` gives them.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from msqnet.documents import Value
from msqnet.errors import DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label, count_notes
from msqnet.formats.elan.elan_writer import (
    COMMENT,
    DETAILS,
    KINDS,
    MODIFIERS,
    NO_END,
    NO_SUBJECT,
    OBSERVED,
    POINT,
    SCORE,
)
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import is_absent_if_unlisted
from msqnet.formats.xml_files import XmlElement, read_xml
from msqnet.labels import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from msqnet.formats import Reading
    from msqnet.intervals import Interval

_ADVICE = "open the file in ELAN and save it again"
_BY_VALUES = "by their values"
_SUFFIX = re.compile(r"(?: \(no end\))?(?: #\d+)?$")
"""What `elan_writer` puts behind the name of a tier to keep events from overlapping."""
_ORIGIN = re.compile(r"-?\d{1,15}", re.ASCII)


def read_elan(path: Path, reading: Reading) -> Annotations:
    """The video of a file."""
    file = _File(path, reading.options)
    video = file.read(reading)
    return Annotations.of_files([video], list(file.labels), tuple(file.notes()), file.points)


class _Annotation(NamedTuple):
    """An annotation with times, in seconds on the clock of the file."""

    name: str
    value: str
    start_seconds: float
    end_seconds: float


class _Reference(NamedTuple):
    """An annotation with the time of another one, `up`, or with one of `parts` even parts of it."""

    name: str
    up: str
    value: str
    place: int = 0
    parts: int = 1


class _Tier(NamedTuple):
    """A tier of a linguistic type, `kind`, with annotations of its own times.

    Or with `references` to annotations of the tier `parent`.
    """

    name: str
    participant: str
    kind: str
    vocabulary: tuple[str, ...]
    parent: str
    annotations: list[_Annotation]
    references: list[_Reference]

    @property
    def own_label(self) -> str:
        """What its name says, without what `elan_writer` puts behind a label."""
        names = [self.name, *([_SUFFIX.sub("", self.name)] if self.kind in KINDS else [])]
        if self.participant:
            names = [name.removesuffix(f"@{self.participant}") for name in names]
        values = {item.value for item in self.annotations} - {""}
        fitting = [name for name in names if values == {name} or name in self.vocabulary]
        return (fitting or names[::-1])[0]

    def values(self) -> list[tuple[str, str]]:
        """Identifiers and values of all annotations."""
        own = [(item.name, item.value) for item in self.annotations]
        return own + [(item.name, item.value) for item in self.references]


@dataclass
class _About:
    """Notes of other tiers on an annotation."""

    modifiers: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    score: float | None = None


class _File:
    """Reads one file: `labels` that were looked for, and `points`, those without length."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self.labels: dict[str, None] = {}
        self.points: set[str] = set()
        self._path, self._options = path, options
        written = options.get("tiers", _BY_VALUES)
        self._layout = written if written in ("labels", "subjects") else _BY_VALUES
        # Names of tiers whose annotations are events; none for those that depend on no other.
        is_layout = written in (_BY_VALUES, self._layout)
        self._chosen = [] if is_layout else [name.strip() for name in written.split(",")]
        self._events: list[Event] = []
        self._named: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._left_out: set[str] = set()
        self._about: defaultdict[str, _About] = defaultdict(_About)
        self._origin_seconds = 0.0

    def notes(self) -> Iterator[str]:
        """Assumptions, and what was left out."""
        for text, names in self._named.items():
            yield f"{text}: {', '.join(names)}"
        yield from count_notes(self._counts)

    def read(self, reading: Reading) -> AnnotatedVideo:
        """Its video, of which `labels` were looked for."""
        root = read_xml(self._path, _ADVICE)
        if root.tag != "ANNOTATION_DOCUMENT":
            raise root.error(root.tag, "ANNOTATION_DOCUMENT")
        header = root.find("HEADER")
        if header is None:
            raise root.error(", ".join(child.tag for child in root.children()), "a HEADER")
        units = header.get("TIME_UNITS") or "milliseconds"
        if units != "milliseconds":
            raise header.error(units, "milliseconds for TIME_UNITS")
        tiers = {tier.name: tier for tier in _tiers(root)}
        video = self._video(header, reading)
        coded = self._options.get("observed")
        for name in (*self._chosen, *([coded] if coded else [])):
            if name not in tiers:
                raise DatasetError(
                    f"{self._path}: no tier {name!r}, which an option names; it has: "
                    f"{', '.join(tiers)}"
                )
        observed: tuple[Interval, ...] | None = None
        for tier in list(tiers.values()):
            if tier.name == coded or tier.kind == OBSERVED:
                times = map(self._times, tiers.pop(tier.name).annotations)
                seen = ((max(0.0, start), max(0.0, end)) for start, end in times)
                observed = tuple(sorted((*(observed or ()), *seen)))
        for tier in self._with_notes(tiers):
            self._read_tier(tier)
        properties = {item.get("NAME"): item.text for item in header.iter("PROPERTY")}
        split, group = properties.get("split", ""), properties.get("group", "")
        events, length = tuple(self._events), duration_seconds(video)
        known, lost = (frozenset(self.labels), observed), frozenset(self._left_out)
        return AnnotatedVideo(video, events, length, *known, split, group, left_out=lost)

    def _with_notes(self, tiers: Mapping[str, _Tier]) -> list[_Tier]:
        """Tiers of events, with times; the annotations of others become notes on theirs."""
        chosen = self._chosen or [
            tier.name
            for tier in tiers.values()
            if tier.parent not in tiers and (tier.annotations or not tier.references)
        ]
        above = {
            name: up
            for tier in tiers.values()
            for name, up in _parents(tier, tiers.get(tier.parent))
        }
        events = {name for tier in chosen for name, _ in tiers[tier].values()}
        for tier in tiers.values():
            if tier.name not in chosen:
                self._note_tier(tier, above, events)
        timed = {item.name: item for tier in tiers.values() for item in tier.annotations}
        referring = {item.name: item for tier in tiers.values() for item in tier.references}
        found = []
        for tier in (tiers[name] for name in chosen):
            # What has no time of its own has that of the annotation above it, or a part of that.
            items = [_timed(item, timed, referring) for item in tier.references]
            found.append(tier._replace(annotations=[*tier.annotations, *filter(None, items)]))
        return found

    def _note_tier(self, tier: _Tier, above: Mapping[str, str], events: Container[str]) -> None:
        """Note the annotations of a tier with those of `events` that they are about."""
        is_noted = False
        for name, value in tier.values():
            target = _ancestor(name, above, events)
            if target is None:
                self._counts["annotations of tiers that are left out"] += 1
                self._left_out |= {clean_label(value), clean_label(tier.own_label)}
            else:
                self._note(self._about[target], tier, value)
                is_noted = True
        if is_noted and tier.kind not in DETAILS:
            text = "tiers of modifiers of others (--option tiers=NAME,NAME names those of labels)"
            self._named.setdefault(text, []).append(tier.name)

    def _video(self, header: XmlElement, reading: Reading) -> Path:
        """Where the linked video belongs; its time at the start of the file's clock is kept."""
        media = list(_media(header))
        if "video" in reading.options:
            return reading.video_path(reading.options["video"])
        if not media:
            raise DatasetError(
                f"{self._path}: it links no media file; link it in ELAN (Edit, Linked Files) or "
                "take --option video=NAME"
            )
        self._counts["further linked files, which are left out"] += len(media) - 1
        urls, _, self._origin_seconds = next((item for item in media if item[1]), media[0])
        # A relative link starts at the file that has it, wherever the videos are.
        folder = self._path.parent.absolute().as_posix()
        links = [f"{folder}/{url}" if url.startswith(".") else url for url in urls]
        names = [name for link in links for name in _names(link)]
        # Links of ELAN go up by `..`, which a path in a table should not.
        places = [Path(os.path.normpath(reading.video_path(name))) for name in names]
        return next((place for place in places if place.is_file()), places[0])

    def _note(self, about: _About, tier: _Tier, value: str) -> None:
        if not value:
            return
        if tier.kind == COMMENT:
            about.comments.append(value)
        elif tier.kind == MODIFIERS:
            about.modifiers += [part.strip() for part in value.split(SEPARATOR)]
        elif tier.kind == SCORE:
            about.score = Value(value, f"{self._path}: tier {tier.name!r}", _ADVICE).score()
        else:
            about.modifiers.append(f"{tier.name}: {value}")

    def _read_tier(self, tier: _Tier) -> None:
        own = tier.own_label
        is_ours = tier.kind in KINDS
        # On a tier with a vocabulary, an annotation without a value is one that nobody finished.
        is_label = self._layout == "labels" or (
            self._layout == _BY_VALUES
            and (not tier.vocabulary or own in tier.vocabulary or is_ours)
            and {item.value for item in tier.annotations} <= {own, ""}
        )
        is_coded = tier.annotations or (is_ours and tier.vocabulary)
        if not (is_coded or is_absent_if_unlisted(self._options)):
            text = "tiers without annotations, of which nobody is known to have looked for anything"
            self._named.setdefault(text, []).append(tier.name)
            return
        subject = tier.participant
        names: Sequence[str] = [own]
        if is_label:
            # What a vocabulary of ours does not have was seen, but not looked for.
            if tier.vocabulary and (own in tier.vocabulary or is_ours):
                names = tier.vocabulary
            self.points |= {clean_label(own)} if tier.kind == POINT else set()
        else:
            if not is_ours and self._layout == _BY_VALUES:
                text = "values are labels on these tiers (names are with --option tiers=labels)"
                self._named.setdefault(text, []).append(tier.name)
            subject = subject or ("" if own == NO_SUBJECT else tier.name)
            names = tier.vocabulary or [item.value for item in tier.annotations]
        labels = dict.fromkeys(filter(None, map(clean_label, names)))
        self.labels |= labels
        for item in tier.annotations:
            if not self._add(own if is_label else item.value, subject, tier.kind, item):
                # Without a value, it may be of any label of the tier.
                label = clean_label(own if is_label else item.value)
                self._left_out |= {label} if label else labels.keys()

    def _add(self, name: str, subject: str, kind: str, item: _Annotation) -> bool:
        """Note an event, unless it cannot be kept; a value that is not its label is a comment."""
        label = clean_label(name)
        if not label:
            self._counts["annotations without a value, which are left out"] += 1
            return False
        start, end = self._times(item)
        if end <= 0 and start < 0:
            self._counts["annotations before the start of the video, which are left out"] += 1
            return False
        start = max(0.0, start)
        about = self._about[item.name]
        own = [item.value] if item.value not in ("", name) else []
        comment = "; ".join((*own, *about.comments))
        stop = start if kind == POINT else None if kind == NO_END else end
        modifiers = tuple(about.modifiers)
        self._events.append(Event(label, start, stop, subject, modifiers, about.score, comment))
        return True

    def _times(self, item: _Annotation) -> tuple[float, float]:
        """Start and end on the clock of the video."""
        origin = self._origin_seconds
        return round(item.start_seconds + origin, 6), round(item.end_seconds + origin, 6)


def _media(header: XmlElement) -> Iterator[tuple[tuple[str, ...], bool, float]]:
    """Linked files: ways to each, the relative one first; whether it is a video; its origin."""
    for item in header.iter("MEDIA_DESCRIPTOR"):
        urls = (item.get("RELATIVE_MEDIA_URL") or "").strip(), item.require("MEDIA_URL").strip()
        origin = item.get("TIME_ORIGIN") or "0"
        if not _ORIGIN.fullmatch(origin):
            raise item.error(origin, "whole milliseconds for TIME_ORIGIN")
        if any(urls):
            is_video = (item.get("MIME_TYPE") or "").startswith("video")
            yield tuple(filter(None, urls)), is_video, int(origin) / 1000
    old = (header.get("MEDIA_FILE") or "").strip()
    if old:
        yield (old,), True, 0.0


def _names(url: str) -> list[str]:
    """Paths that a link can stand for: ELAN writes spaces and other letters as they are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    path = url
    if parts.scheme == "file":
        path = url.removeprefix("file:")
        host = re.match(r"//[^/]", path)
        # file://server/share has a host, file:///C:/ a drive behind the third stroke.
        path = path if host else "/" + path.lstrip("/")
        path = path[1:] if re.match(r"/[A-Za-z]:", path) else path
    elif len(parts.scheme) > 1:
        path = parts.path.rpartition("/")[2] or url
    plain = unquote(path, errors="replace")
    # A percent sign may be one of the name's own.
    return [path, plain] if "%" not in path else [plain, path]


def _tiers(root: XmlElement) -> Iterator[_Tier]:
    slots = {
        slot.require("TIME_SLOT_ID"): slot.value("TIME_VALUE").whole() / 1000
        if slot.get("TIME_VALUE") is not None
        else None
        for slot in root.iter("TIME_SLOT")
    }
    # Values of vocabularies by the linguistic type, in the first language that each has.
    values_of = {}
    for item in root.iter("CONTROLLED_VOCABULARY"):
        values = [entry.text for entry in item.iter("CV_ENTRY")]
        values += [entry.text_at("CVE_VALUE") for entry in item.iter("CV_ENTRY_ML")]
        values_of[item.get("CV_ID") or ""] = tuple(dict.fromkeys(filter(None, values)))
    vocabularies = {
        item.get("LINGUISTIC_TYPE_ID"): item.get("CONTROLLED_VOCABULARY_REF") or ""
        for item in root.iter("LINGUISTIC_TYPE")
    }
    subdivisions = {
        item.get("LINGUISTIC_TYPE_ID")
        for item in root.iter("LINGUISTIC_TYPE")
        if item.get("CONSTRAINTS") == "Symbolic_Subdivision"
    }
    names: set[str] = set()
    for tier in root.iter("TIER"):
        name = tier.require("TIER_ID").strip()
        if not name or name in names:
            raise tier.error(name, "a name for TIER_ID that no other tier has")
        names.add(name)
        kind, participant = tier.get("LINGUISTIC_TYPE_REF"), tier.get("PARTICIPANT") or ""
        references = _references(tier, name, kind in subdivisions)
        vocabulary = values_of.get(vocabularies.get(kind, ""), ())
        parent = (tier.get("PARENT_REF") or "").strip()
        about = name, participant.strip(), (kind or "").strip(), vocabulary, parent
        yield _Tier(*about, _annotations(tier, slots), references)


def _parents(tier: _Tier, parent: _Tier | None) -> Iterator[tuple[str, str]]:
    """Annotations of a tier with those above them: that they name, or that lie around them."""
    yield from ((item.name, item.up) for item in tier.references)
    above = sorted(parent.annotations, key=lambda item: item.start_seconds) if parent else []
    starts = [item.start_seconds for item in above]
    for item in tier.annotations:
        middle = (item.start_seconds + item.end_seconds) / 2
        found = bisect_right(starts, middle) - 1
        if found >= 0 and middle <= above[found].end_seconds:
            yield item.name, above[found].name


def _ancestor(name: str, above: Mapping[str, str], places: Container[str]) -> str | None:
    """The annotation itself or the first one above it that is in `places`."""
    seen: set[str] = set()
    while name not in places and name in above and name not in seen:
        seen.add(name)
        name = above[name]
    return name if name in places else None


def _timed(
    item: _Reference, timed: Mapping[str, _Annotation], referring: Mapping[str, _Reference]
) -> _Annotation | None:
    """What refers to another annotation, with its time; None if there is none."""
    path = [item]
    while path[-1].up not in timed:
        above = referring.get(path[-1].up)
        if above is None or above in path:
            return None
        path.append(above)
    start, end = timed[path[-1].up][2:]
    for step in reversed(path):
        part = (end - start) / step.parts
        start, end = start + step.place * part, start + (step.place + 1) * part
    return _Annotation(item.name, item.value, start, end)


def _references(tier: XmlElement, tier_name: str, is_subdivision: bool) -> list[_Reference]:
    """Annotations that refer to others.

    Those that subdivide another one have even parts of it, in the order of PREVIOUS_ANNOTATION.
    """
    found: list[_Reference] = []
    before = {}
    for number, element in enumerate(tier.iter("REF_ANNOTATION")):
        name = element.get("ANNOTATION_ID") or f"{tier_name} {number}"
        up, value = element.require("ANNOTATION_REF"), element.text_at("ANNOTATION_VALUE")
        found.append(_Reference(name, up, value))
        before[name] = element.get("PREVIOUS_ANNOTATION")
    if not is_subdivision:
        return found
    after = {previous: name for name, previous in before.items()}
    above = {item.name: item.up for item in found}
    parts: defaultdict[str, dict[str, None]] = defaultdict(dict)
    # Those without a previous one first, each with what follows it.
    for item in sorted(found, key=lambda item: before[item.name] in above):
        name = item.name
        while name in above and name not in parts[above[name]]:
            parts[above[name]][name] = None
            name = after.get(name, "")
    places = {name: place for group in parts.values() for place, name in enumerate(group)}
    return [
        item._replace(place=places[item.name], parts=len(parts[above[item.name]])) for item in found
    ]


def _annotations(tier: XmlElement, slots: Mapping[str, float | None]) -> list[_Annotation]:
    """Annotations of a tier that have times.

    A slot without a time is evenly between the aligned slots before and after it, as in ELAN.
    """
    aligned = list(tier.iter("ALIGNABLE_ANNOTATION"))
    ends = [(item.require("TIME_SLOT_REF1"), item.require("TIME_SLOT_REF2")) for item in aligned]
    times = {slot: time for pair in ends for slot in pair if (time := slots.get(slot)) is not None}
    after = {first: last for first, last in ends if first != last}
    for first, start in list(times.items()):
        between: dict[str, None] = {}
        slot = after.get(first)
        while slot is not None and slot not in times and slot not in between:
            between[slot] = None
            slot = after.get(slot)
        end = None if slot is None else times.get(slot)
        if end is not None:
            for number, name in enumerate(between, start=1):
                times[name] = start + (end - start) * number / (len(between) + 1)
    found = []
    for item, pair in zip(aligned, ends, strict=True):
        for slot in pair:
            if slot not in slots:
                raise item.error(slot, "a time slot of TIME_ORDER")
            if slot not in times:
                raise item.error(
                    f"{slot} without a TIME_VALUE", "annotations with times before and after it"
                )
        start, stop = (times[slot] for slot in pair)
        if stop < start:
            raise item.error(f"{start} to {stop} s", "an end that is not before the start")
        name, value = item.get("ANNOTATION_ID") or "", item.text_at("ANNOTATION_VALUE")
        found.append(_Annotation(name, value, start, stop))
    return found
