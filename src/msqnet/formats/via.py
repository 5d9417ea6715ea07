"""VIA 3, the video annotator of the VGG: its project files, which are JSON.

A segment is an entry of ``metadata`` with its view ``vid``, its times ``z`` in seconds (one for a
moment, two for an interval) and the values ``av`` of attributes. Attributes of segments have the
anchor ``FILE1_Z2_XY0``; their options are the ethogram. Source: https://gitlab.com/vgg/via, data
format 3.1.1, and ``_via_attribute.js``, ``_via_file.js``, ``_via_metadata.js`` there.

Of several attributes of segments, one is the label. ``subject``, ``comment``, ``observed`` (an
interval that was looked at) and ``modifiers`` (joined by ``|``) have their own meaning; others are
modifiers as ``name:value``. Of a whole file, ``looked for`` says which labels were looked for in it
(``*`` is all), ``split`` and ``group`` where it belongs.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from msqnet.documents import JsonValue, read_json
from msqnet.errors import ConfigError
from msqnet.files import replacing
from msqnet.formats import Format
from msqnet.formats.annotations import (
    ANY_LABEL,
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    comment_with_score,
    count_notes,
    split_comment,
    without_open_states,
)
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import choose, video_address
from msqnet.labels import SEPARATOR, LabelSet, join_labels, split_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from msqnet.formats import Reading

_ADVICE = "save the project from VIA again"
# Types of attributes, of files, and places of files.
_TEXT, _CHECKBOX, _SELECT = 1, 2, 4
_VIDEO = 4
_LOCAL, _HTTP, _FILE, _INLINE = 1, 2, 3, 4
_OWN_OPTION = "default"

_FILE_ANCHOR, _SEGMENT_ANCHOR = "FILE1_Z0_XY0", "FILE1_Z2_XY0"
_SUBJECT, _MODIFIERS, _COMMENT, _OBSERVED = "subject", "modifiers", "comment", "observed"
_LOOKED_FOR, _SPLIT, _GROUP = "looked for", "split", "group"
_TEXTS = {
    _SUBJECT: (_SEGMENT_ANCHOR, "Who did it"),
    _MODIFIERS: (_SEGMENT_ANCHOR, "More about it, joined by |"),
    _COMMENT: (_SEGMENT_ANCHOR, "Free text; score=... is what a model gave"),
    _OBSERVED: (_SEGMENT_ANCHOR, "Any text: an interval that was looked at, where not all was"),
    _LOOKED_FOR: (_FILE_ANCHOR, "Behaviors that were looked for, joined by |; * is all"),
    _SPLIT: (_FILE_ANCHOR, "Part of the data, such as train or test"),
    _GROUP: (_FILE_ANCHOR, "What must not stand on both sides of a split"),
}
"""Attributes that are text, with their anchors and descriptions."""

_LABEL_KEY = "1"
_TEXT_KEYS = {name: str(key) for key, name in enumerate(_TEXTS, start=2)}


class _Attribute(NamedTuple):
    """An entry of ``attribute``: whether a value lists several options, and their texts by key."""

    name: str
    anchor: str
    is_many: bool
    options: Mapping[str, str]

    @classmethod
    def of(cls, value: JsonValue) -> _Attribute:
        name, anchor = value.require("aname").text(), value.get("anchor_id")
        kind, found = value.get("type"), value.get("options")
        options = {} if found is None else {key: text.text() for key, text in found.items()}
        is_many = kind is not None and kind.value == _CHECKBOX
        return cls(name, "" if anchor is None else anchor.text(), is_many, options)

    def texts(self, value: JsonValue) -> list[str]:
        """Texts of the options in a value, or the value itself where it names none."""
        written = value.text() if isinstance(value.value, str) else f"{value.number():g}"
        parts = written.split(",") if self.is_many else [written]
        return [text for part in parts if (text := self.options.get(part, part))]


@dataclass
class _Notes:
    """Segments with a label, observed intervals (None: none is named), and texts of the file.

    `left_out` are labels of what cannot be kept.
    """

    events: list[Event] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    observed: list[tuple[float, float]] | None = None
    of_file: dict[str, str] = field(default_factory=dict)


def _read(path: Path, reading: Reading) -> Annotations:
    project = read_json(path, _ADVICE)
    attributes = {key: _Attribute.of(value) for key, value in project.require("attribute").items()}
    label = _label_attribute(attributes, path, reading.options)
    counts: Counter[str] = Counter()
    paths = _video_paths(project, reading, counts)
    found = {view: _Notes() for view in paths}
    for _, entry in project.require("metadata").items():
        view = _name(entry.require("vid"))
        if view in found:
            _note(entry, found[view], attributes, label, counts)
        elif project.require("view").get(view) is None:
            raise entry.require("vid").error("a view of the project")
    seen = sorted({event.label for notes in found.values() for event in notes.events})
    options = attributes[label].options if label else {}
    names = [clean_label(text) for key, text in options.items() if key != _OWN_OPTION]
    names = [name for name in names if name]
    # VIA takes typed values beside the options, and gives its own first attribute the option
    # Default. What was typed counts as an option, unless files say what was looked for in them.
    if names and _LOOKED_FOR not in {item.name for item in attributes.values()}:
        names += seen
    empty = choose(reading.options, "empty", ("left_out", "looked_at"))
    videos = []
    for view, place in paths.items():
        notes = found[view]
        looked_for = notes.of_file.get(_LOOKED_FOR)
        if not (notes.events or looked_for or notes.observed is not None or empty == "looked_at"):
            counts["videos without a segment, which are left out"] += 1
            continue
        is_all = looked_for in (None, "*")
        checked = None if is_all else frozenset(split_labels(looked_for or ""))
        observed = None if notes.observed is None else tuple(notes.observed)
        events, length = tuple(notes.events), duration_seconds(place)
        known, lost = (checked, observed), frozenset(notes.left_out)
        where = notes.of_file.get(_SPLIT, ""), notes.of_file.get(_GROUP, "")
        videos.append(AnnotatedVideo(place, events, length, *known, *where, left_out=lost))
    lines = count_notes(counts)
    if not names:
        lines += (
            "the attribute has no options, so that nothing says which labels were looked for: "
            "taken are those that occur",
        )
    return Annotations(tuple(videos), LabelSet(tuple(dict.fromkeys(names or seen))), notes=lines)


def _label_attribute(
    attributes: Mapping[str, _Attribute], path: Path, options: Mapping[str, str]
) -> str:
    """The identifier of the attribute that is the label; empty in a project without any."""
    of_segments = {
        key: item.name for key, item in attributes.items() if item.anchor == _SEGMENT_ANCHOR
    }
    wanted = options.get("attribute")
    known = (_SUBJECT, _MODIFIERS, _COMMENT, _OBSERVED)
    for key, name in of_segments.items():
        if name == wanted or (wanted is None and name not in known):
            return key
    if wanted is None:
        return ""
    names = ", ".join(of_segments.values()) or "none"
    raise ConfigError(
        f"option attribute={wanted}: {path} has no such attribute of segments; it has: {names}"
    )


def _video_paths(project: JsonValue, reading: Reading, counts: Counter[str]) -> dict[str, Path]:
    files, paths = project.require("file"), {}
    for view, entry in project.require("view").items():
        listed = list(entry.require("fid_list").elements())
        if len(listed) != 1:
            counts["views of several files, which are left out"] += 1
            continue
        file = files.get(_name(listed[0]))
        if file is None:
            raise listed[0].error("a file of the project")
        if file.require("type").whole() != _VIDEO:
            counts["files that are no videos, which are left out"] += 1
            continue
        where = file.require("loc").whole()
        if where in (_LOCAL, _INLINE):
            written = file.require("fname").text()
        else:
            written = file.require("src").text()
            prefix = project.get("config", "file", "loc_prefix", str(where))
            written = written if prefix is None else prefix.text() + written
        if where == _HTTP or "://" in written:
            written = unquote(written.split("?")[0].split("#")[0])
            written = written if written.startswith("file://") else written.rsplit("/", 1)[-1]
        written = written.removeprefix("file://")
        if not written.strip():
            raise file.error("a name of a video in it")
        paths[view] = reading.video_path(written)
    return paths


def _name(value: JsonValue) -> str:
    """An identifier, which some versions write as a number."""
    return value.text() if isinstance(value.value, str) else str(value.whole())


def _note(
    entry: JsonValue,
    notes: _Notes,
    attributes: Mapping[str, _Attribute],
    label: str,
    counts: Counter[str],
) -> None:
    """Add what an entry of ``metadata`` says to the notes about its video."""
    times = [time.number() for time in entry.require("z").elements()]
    values = _values(entry, attributes)
    names = list(filter(None, map(clean_label, values.get(label, []))))
    if list(entry.elements_of("xy")):
        counts["regions in pictures, which are left out"] += 1
        notes.left_out.update(names)
        return
    # The label is an attribute of segments: a text of a whole file under its name is not one.
    if times:
        values.pop(label, None)
    by_name = {attributes[key].name: texts for key, texts in values.items()}
    if not times:
        named = {name: " ".join(texts) for name, texts in by_name.items()}
        notes.of_file.update({name: text for name, text in named.items() if text})
    elif len(times) > 2 or min(times) < 0:
        raise entry.require("z").error("one or two times of at least 0")
    elif times[-1] < times[0]:
        counts["segments that end before they start, which are left out"] += 1
        notes.left_out.update(names or [ANY_LABEL])
    elif by_name.pop(_OBSERVED, []):
        interval = [(times[0], times[-1])] if times[-1] > times[0] else []
        notes.observed = [*(notes.observed or []), *interval]
    elif names:
        is_told = _LOOKED_FOR in {item.name for item in attributes.values()}
        if times[1:] == times[:1] and not is_told:
            # VIA shows a mark there. Whoever made it may have meant the file as a whole.
            text = "segments without a length, which are moments here, as VIA shows them"
            counts[f"{text}; their labels are unknown elsewhere"] += 1
            notes.left_out.update(names)
        notes.events += _segment_events((times[0], times[-1]), names, by_name)
    else:
        counts["segments without a label, which are left out"] += 1
        notes.left_out.add(ANY_LABEL)


def _values(entry: JsonValue, attributes: Mapping[str, _Attribute]) -> dict[str, list[str]]:
    """Texts of an entry by the key of their attribute."""
    found = {}
    for key, value in entry.require("av").items():
        if key not in attributes:
            raise value.error("a value of an attribute of the project")
        if value.value is not None:
            found[key] = attributes[key].texts(value)
    return found


def _segment_events(
    times: tuple[float, float], labels: Iterable[str], by_name: dict[str, list[str]]
) -> list[Event]:
    """The events of a segment, by texts of its other attributes by their names."""
    subject = ", ".join(by_name.pop(_SUBJECT, []))
    score, comment = split_comment(", ".join(by_name.pop(_COMMENT, [])))
    modifiers = tuple(
        text
        for name, texts in by_name.items()
        for value in texts
        for text in (split_labels(value) if name == _MODIFIERS else [f"{name}:{value}"])
    )
    return [Event(label, *times, subject, modifiers, score, comment) for label in labels]


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    labels = annotations.labels
    taken = {event.label for event in annotations.events()} - set(labels)
    # A label without an option stands as text, which must not be taken for an option.
    mark = "" if taken.isdisjoint(map(str, range(len(labels)))) else "option"
    option_keys = {name: f"{mark}{number}" for number, name in enumerate(labels)}
    videos = {
        str(number): without_open_states(video, labels)
        for number, video in enumerate(annotations.videos, start=1)
    }
    is_served = "base_url" in options
    store = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": path.stem,
            "creator": "msqnet",
            "created": int(time.time() * 1000),
            "data_format_version": "3.1.1",
            "vid_list": list(videos),
        },
        "config": {
            "file": {"loc_prefix": {str(place): "" for place in range(1, 5)}},
            "ui": {"file_content_align": "center", "file_metadata_editor_visible": True},
        },
        "attribute": _attributes({key: name for name, key in option_keys.items()}),
        "file": {
            key: {
                "fid": key,
                "fname": video.path.name,
                "type": _VIDEO,
                "loc": _HTTP if is_served else _FILE,
                "src": video_address(video.path, path, options),
            }
            for key, video in videos.items()
        },
        "metadata": {
            f"{key}_{number:06d}": {"vid": key, "flg": 0, "z": times, "xy": [], "av": values}
            for key, video in videos.items()
            for number, (times, values) in enumerate(_entries(video, option_keys), start=1)
        },
        "view": {key: {"fid_list": [key]} for key in videos},
    }
    with replacing(path) as part:
        text = json.dumps(store, indent=1, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
    note = (
        "videos are named by their paths, which VIA can open if it is in the folder of the "
        "project; --option base_url=... names them by an address"
    )
    return () if is_served else (note,)


def _attributes(options: Mapping[str, str]) -> dict[str, Any]:
    """The label, whose options are the ethogram by key, and attributes that are text."""
    kind = _SELECT if options else _TEXT
    rows = [(_LABEL_KEY, "behavior", _SEGMENT_ANCHOR, kind, "What is seen", options)]
    rows += [
        (_TEXT_KEYS[name], name, place, _TEXT, about, {}) for name, (place, about) in _TEXTS.items()
    ]
    keys = ("aname", "anchor_id", "type", "desc", "options")
    return {
        key: dict(zip(keys, values, strict=True)) | {"default_option_id": ""}
        for key, *values in rows
    }


def _entries(
    video: AnnotatedVideo, option_keys: Mapping[str, str]
) -> Iterator[tuple[list[float], dict[str, str]]]:
    """Times and values of everything that is noted about a video."""

    def values(texts: Mapping[str, str]) -> dict[str, str]:
        return {_TEXT_KEYS[name]: text for name, text in texts.items() if text}

    # Bars alone stand for no label at all: an empty text would be none.
    checked = "*" if video.checked is None else join_labels(sorted(video.checked)) or SEPARATOR
    yield [], values({_LOOKED_FOR: checked, _SPLIT: video.split, _GROUP: video.group})
    if video.observed is not None:
        for start, end in video.observed or [(0.0, 0.0)]:
            yield [start, end], values({_OBSERVED: "yes"})
    for event in video.events:
        # VIA shows a segment without a length as a mark, but nothing where there is one time only.
        end = event.start_seconds if event.end_seconds is None else event.end_seconds
        texts = {
            _SUBJECT: event.subject,
            _MODIFIERS: join_labels(text.replace(SEPARATOR, "/") for text in event.modifiers),
            _COMMENT: comment_with_score(event),
        }
        yield (
            [event.start_seconds, end],
            {_LABEL_KEY: option_keys.get(event.label, event.label)} | values(texts),
        )


FORMAT = Format(
    "via",
    "VIA 3 (VGG video annotator)",
    read=_read,
    write=_write,
    suffixes=(".json",),
    drops=frozenset({"open ends"}),
    options={
        "attribute": "when reading: name of the attribute that is the label; the first of segments",
        "empty": "when reading: left_out or looked_at, what videos without any segment are",
        "base_url": "when writing: address of the folder of the videos; otherwise their paths",
    },
)
