"""ELAN: annotations on tiers, a file a video (``.eaf``); a folder of such files is read as well.

What a tier says depends on who made it. Unless ``tiers`` says otherwise:

- a tier whose annotations are empty, or all have the tier's name for their value, is a label;
- of any other tier the values are labels, and the tier is a subject: its participant, or its name.

Tiers that say more about annotations of others are their comments, scores or modifiers, as their
linguistic type is called; of any other type, they are modifiers ``TIER: VALUE``. The linguistic
types `POINT`, `NO_END` and `OBSERVED` have the meaning that `elan_writing` gives them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from msqnet.errors import DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.formats.elan_writing import (
    COMMENT,
    KINDS,
    MODIFIERS,
    NO_END,
    NO_SUBJECT,
    OBSERVED,
    POINT,
    SCORE,
    write_elan,
)
from msqnet.formats.elan_xml import ADVICE, Annotation, Document, Medium, Tier, read_document
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import choose
from msqnet.labels import SEPARATOR, LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAYOUTS = ("by their values", "labels", "subjects")
_SUFFIX = re.compile(r"(?: \(no end\))?(?: #\d+)?$")
"""What `elan_writing` puts behind the name of a tier to keep events from overlapping."""


@dataclass
class _File:
    """What was read of one file, on its way to a video."""

    path: Path
    events: list[Event] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    points: set[str] = field(default_factory=set)
    observed: list[tuple[float, float]] | None = None
    by_values: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class _About:
    """What other tiers say about an annotation."""

    modifiers: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    score: float | None = None


def _read(path: Path, reading: Reading) -> Annotations:
    paths = [path] if path.is_file() else sorted(path.rglob("*.eaf"))
    if not paths:
        raise DatasetError(f"{path}: no file that ends in .eaf in it; name the folder of them")
    layout = choose(reading.options, "tiers", _LAYOUTS)
    videos: list[tuple[AnnotatedVideo, frozenset[str]]] = []
    labels: dict[str, None] = {}
    points: set[str] = set()
    notes: list[str] = []
    for place in paths:
        document = read_document(place)
        found = _File(place)
        medium = _medium(document, found, reading)
        _read_tiers(document, found, layout, 0.0 if medium is None else medium.origin_seconds)
        videos.append((_video(document, found, medium, reading), frozenset(found.labels)))
        labels.update(found.labels)
        points |= found.points
        notes += [f"{place.name}: {text}" for text in _notes(found, layout)]
    everything = frozenset(labels)
    return Annotations(
        tuple(video if own == everything else replace(video, checked=own) for video, own in videos),
        LabelSet(tuple(labels)),
        frozenset(points),
        tuple(notes),
    )


def _medium(document: Document, found: _File, reading: Reading) -> Medium | None:
    """The linked video; None where an option names it."""
    media = document.media
    videos = [item for item in media if item.is_video] or list(media)
    if "video" in reading.options:
        return None
    if not videos:
        raise DatasetError(
            f"{found.path}: it links no media file; link it in ELAN (Edit, Linked Files) or take "
            "--option video=NAME"
        )
    found.counts["further linked files, which are left out"] += len(media) - 1
    return videos[0]


def _video(
    document: Document, found: _File, medium: Medium | None, reading: Reading
) -> AnnotatedVideo:
    place = _place(medium, found.path, reading)
    length = duration_seconds(place)
    return AnnotatedVideo(
        place,
        tuple(found.events),
        length,
        observed=None if found.observed is None else tuple(sorted(found.observed)),
        split=document.properties.get("split", ""),
        group=document.properties.get("group", ""),
    )


def _place(medium: Medium | None, file: Path, reading: Reading) -> Path:
    if medium is None:
        return reading.video_path(reading.options["video"])
    # A relative link starts at the file that has it, wherever the videos are.
    folder = file.parent.absolute().as_posix()
    links = [f"{folder}/{url}" if url.startswith(".") else url for url in medium.urls]
    names = [name for link in links for name in _names(link)]
    # Links of ELAN go up by `..`, which a path in a table should not.
    places = [Path(os.path.normpath(reading.video_path(name))) for name in names]
    return next((place for place in places if place.is_file()), places[0])


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


def _read_tiers(document: Document, found: _File, layout: str, origin_seconds: float) -> None:
    about: dict[str, _About] = {}
    for tier in document.tiers:
        for name, value in tier.references:
            _note(about.setdefault(name, _About()), tier, value, found)
    known = {item.name for tier in document.tiers for item in tier.annotations}
    found.counts["notes on annotations that are notes themselves, which are left out"] = len(
        set(about) - known
    )
    for tier in document.tiers:
        if tier.kind == OBSERVED:
            found.observed = [
                (
                    max(0.0, _shifted(item.start_seconds, origin_seconds)),
                    max(0.0, _shifted(item.end_seconds, origin_seconds)),
                )
                for item in tier.annotations
            ]
        elif tier.annotations or not tier.references:
            _read_tier(tier, found, layout, about, origin_seconds)


def _note(about: _About, tier: Tier, value: str, found: _File) -> None:
    if not value:
        return
    if tier.kind == COMMENT:
        about.comments.append(value)
    elif tier.kind == MODIFIERS:
        about.modifiers += [part.strip() for part in value.split(SEPARATOR)]
    elif tier.kind == SCORE:
        try:
            score = float(value)
        except ValueError:
            score = -1.0
        if not 0 <= score <= 1:
            raise DatasetError(
                f"{found.path}: tier {tier.name!r}: found score {value[:40]!r}, expected 0 to 1; "
                f"{ADVICE}"
            )
        about.score = score
    else:
        about.modifiers.append(f"{tier.name}: {value}")


def _read_tier(
    tier: Tier, found: _File, layout: str, about: dict[str, _About], origin_seconds: float
) -> None:
    own = _own_label(tier)
    is_label = layout == "labels" or (layout == _LAYOUTS[0] and _is_label(tier, own))
    subject = tier.participant
    if is_label:
        names = _labels_of_tier(tier, own)
    else:
        found.by_values += [tier.name] if tier.kind not in KINDS else []
        subject = subject or ("" if own == NO_SUBJECT else tier.name)
        seen = [item.value for item in tier.annotations]
        names = list(tier.vocabulary or seen)
    found.labels.update(dict.fromkeys(filter(None, map(clean_label, names))))
    if is_label and tier.kind == POINT:
        found.points.add(clean_label(own))
    for item in tier.annotations:
        label = clean_label(own if is_label else item.value)
        if not label:
            found.counts["annotations without a value, which are left out"] += 1
            continue
        more = about.get(item.name, _About())
        if is_label and item.value not in ("", own):
            more.comments.insert(0, item.value)
        event = _event(label, subject, tier.kind, item, more, origin_seconds)
        if event is None:
            found.counts["annotations before the start of the video, which are left out"] += 1
        else:
            found.events.append(event)


def _own_label(tier: Tier) -> str:
    """What a tier's name says, without what `elan_writing` puts behind a label."""
    names = [tier.name, *([_SUFFIX.sub("", tier.name)] if tier.kind in KINDS else [])]
    if tier.participant:
        names = [name.removesuffix(f"@{tier.participant}") for name in names]
    values = {item.value for item in tier.annotations} - {""}
    fitting = [name for name in names if values == {name} or name in (tier.vocabulary or ())]
    return (fitting or names[::-1])[0]


def _is_label(tier: Tier, own: str) -> bool:
    # On a tier with a vocabulary, an annotation without a value is one that nobody finished.
    is_possible = not tier.vocabulary or own in tier.vocabulary or tier.kind in KINDS
    return is_possible and {item.value for item in tier.annotations} <= {own, ""}


def _labels_of_tier(tier: Tier, own: str) -> list[str]:
    """What was looked for on a tier that is a label."""
    # What a vocabulary of ours does not have was seen, but not looked for.
    if tier.vocabulary and (own in tier.vocabulary or tier.kind in KINDS):
        return list(tier.vocabulary)
    return [own]


def _event(
    label: str,
    subject: str,
    kind: str,
    item: Annotation,
    about: _About,
    origin_seconds: float,
) -> Event | None:
    start = _shifted(item.start_seconds, origin_seconds)
    end: float | None = _shifted(item.end_seconds, origin_seconds)
    if end is not None and end <= 0 and start < 0:
        return None
    start = max(0.0, start)
    if kind == POINT:
        end = start
    elif kind == NO_END:
        end = None
    comment = "; ".join(about.comments)
    return Event(label, start, end, subject, tuple(about.modifiers), about.score, comment)


def _shifted(seconds: float, origin_seconds: float) -> float:
    return round(seconds + origin_seconds, 6)


def _notes(found: _File, layout: str) -> Iterable[str]:
    if found.by_values and layout == _LAYOUTS[0]:
        yield (
            f"values are labels on the tiers {', '.join(found.by_values)}; --option tiers=labels "
            "takes the names of tiers for labels"
        )
    yield from (f"{text}: {number}" for text, number in found.counts.items() if number)


FORMAT = Format(
    "elan",
    "files of ELAN",
    read=_read,
    write=write_elan,
    suffixes=(".eaf",),
    options={
        "tiers": "labels: a tier a label (default when writing); subjects: a tier a subject, whose "
        "values are labels; read by default as the values of each tier suggest",
        "video": "the video that is annotated, where a file links none",
    },
)
