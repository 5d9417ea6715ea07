"""Reads projects of VIA 3; `msqnet.formats.via` has the rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from msqnet.documents import JsonValue, read_json
from msqnet.errors import ConfigError
from msqnet.formats.annotations import (
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    split_comment,
)
from msqnet.formats.frame_times import duration_seconds
from msqnet.formats.options import choose, count_note
from msqnet.formats.via.via_writer import (
    CHECKBOX,
    COMMENT,
    GROUP,
    LOOKED_FOR,
    MODIFIERS,
    OBSERVED,
    SEGMENT_ANCHOR,
    SPLIT,
    SUBJECT,
    VIDEO,
)
from msqnet.labels import LabelSet, split_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from msqnet.formats import Reading

OPTIONS = {
    "attribute": "when reading: name of the attribute that is the label; the first of segments",
    "empty": "when reading: left_out or looked_at, what videos without any segment are",
}
_ADVICE = "save the project from VIA again"
_LOCAL, _HTTP, _INLINE = 1, 2, 4
_OWN_OPTION = "default"


@dataclass(frozen=True)
class _Attribute:
    """What an entry of ``attribute`` says.

    Attributes:
        name: shown to observers.
        anchor: what it belongs to.
        is_many: whether a value lists several options.
        options: their texts by identifier.
    """

    name: str
    anchor: str
    is_many: bool
    options: Mapping[str, str]

    def texts(self, value: JsonValue) -> list[str]:
        """What a value says: texts of options, or the value itself where it names none."""
        written = value.text() if isinstance(value.value, str) else f"{value.number():g}"
        parts = written.split(",") if self.is_many else [written]
        return [text for part in parts if (text := self.options.get(part, part))]


@dataclass
class _Notes:
    """What entries say about one video.

    Attributes:
        events: segments with a label.
        observed: intervals that were looked at; None where none is named.
        of_file: values of attributes of the file, by name.
    """

    events: list[Event] = field(default_factory=list)
    observed: list[tuple[float, float]] | None = None
    of_file: dict[str, str] = field(default_factory=dict)


def read_project(path: Path, reading: Reading) -> Annotations:
    """Read a project.

    Args:
        path: the project file.
        reading: folder of the videos, and some of `OPTIONS`.

    Raises:
        ConfigError: an option that does not fit.
        DatasetError: no project, or values in it that are not as they should be.
    """
    project = read_json(path, _ADVICE)
    attributes = {key: _attribute(value) for key, value in project.require("attribute").items()}
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
    if names and all(item.name != LOOKED_FOR for item in attributes.values()):
        names += seen
    empty = choose(reading.options, "empty", ("left_out", "looked_at"))
    videos = []
    for view, place in paths.items():
        notes = found[view]
        looked_for = notes.of_file.get(LOOKED_FOR)
        if not (notes.events or looked_for or notes.observed is not None or empty == "looked_at"):
            counts["videos without a segment, which are left out"] += 1
            continue
        videos.append(
            AnnotatedVideo(
                place,
                tuple(notes.events),
                duration_seconds(place),
                checked=None
                if looked_for in (None, "*")
                else frozenset(split_labels(looked_for or "")),
                observed=None if notes.observed is None else tuple(notes.observed),
                split=notes.of_file.get(SPLIT, ""),
                group=notes.of_file.get(GROUP, ""),
            )
        )
    lines = [note for text, number in counts.items() for note in count_note(number, text)]
    if not names:
        lines.append(
            "the attribute has no options, so that nothing says which labels were looked for: "
            "taken are those that occur"
        )
    labels = LabelSet(tuple(dict.fromkeys(names or seen)))
    return Annotations(tuple(videos), labels, notes=tuple(lines))


def _attribute(value: JsonValue) -> _Attribute:
    options = value.get("options")
    kind, anchor = value.get("type"), value.get("anchor_id")
    return _Attribute(
        value.require("aname").text(),
        "" if anchor is None else anchor.text(),
        kind is not None and kind.value == CHECKBOX,
        {} if options is None else {key: text.text() for key, text in options.items()},
    )


def _label_attribute(
    attributes: Mapping[str, _Attribute], path: Path, options: Mapping[str, str]
) -> str:
    """The identifier of the attribute that is the label; empty in a project without any."""
    of_segments = {
        key: item.name for key, item in attributes.items() if item.anchor == SEGMENT_ANCHOR
    }
    wanted = options.get("attribute")
    if wanted is not None:
        if wanted not in of_segments.values():
            names = ", ".join(of_segments.values()) or "none"
            raise ConfigError(
                f"option attribute={wanted}: {path} has no such attribute of segments; it has: "
                f"{names}"
            )
        return next(key for key, name in of_segments.items() if name == wanted)
    known = (SUBJECT, MODIFIERS, COMMENT, OBSERVED)
    return next((key for key, name in of_segments.items() if name not in known), "")


def _video_paths(project: JsonValue, reading: Reading, counts: Counter[str]) -> dict[str, Path]:
    """Where the video of each view belongs."""
    files = project.require("file")
    config = project.get("config")
    place = None if config is None else config.get("file")
    prefixes = None if place is None else place.get("loc_prefix")
    paths = {}
    for view, entry in project.require("view").items():
        listed = list(entry.require("fid_list").elements())
        if len(listed) != 1:
            counts["views of several files, which are left out"] += 1
            continue
        file = files.get(_name(listed[0]))
        if file is None:
            raise listed[0].error("a file of the project")
        if file.require("type").whole() != VIDEO:
            counts["files that are no videos, which are left out"] += 1
            continue
        paths[view] = _path(file, prefixes, reading)
    return paths


def _name(value: JsonValue) -> str:
    """An identifier, which some versions write as a number."""
    return value.text() if isinstance(value.value, str) else str(value.whole())


def _path(file: JsonValue, prefixes: JsonValue | None, reading: Reading) -> Path:
    where = file.require("loc").whole()
    prefix = None if prefixes is None else prefixes.get(str(where))
    is_named = where in (_LOCAL, _INLINE)
    written = file.require("fname" if is_named else "src").text()
    if not is_named and prefix is not None:
        written = prefix.text() + written
    if where == _HTTP or "://" in written:
        address = written.split("?")[0].split("#")[0]
        written = unquote(address)
        written = written if written.startswith("file://") else written.rsplit("/", 1)[-1]
    written = written.removeprefix("file://")
    if not written.strip():
        raise file.error("a name of a video in it")
    return reading.video_path(written)


def _note(
    entry: JsonValue,
    notes: _Notes,
    attributes: Mapping[str, _Attribute],
    label: str,
    counts: Counter[str],
) -> None:
    """Add what an entry of ``metadata`` says to the notes about its video."""
    times = [time.number() for time in entry.require("z").elements()]
    shape = entry.get("xy")
    if shape is not None and list(shape.elements()):
        counts["regions in pictures, which are left out"] += 1
        return
    by_name: dict[str, list[str]] = {}
    names: list[str] = []
    for key, value in entry.require("av").items():
        if key not in attributes:
            raise value.error("a value of an attribute of the project")
        if value.value is None:
            continue
        texts = attributes[key].texts(value)
        if key == label:
            names = [clean_label(text) for text in texts]
        # The label is an attribute of segments: what a whole file has under its name is not one.
        if key != label or not times:
            by_name[attributes[key].name] = texts
    if not times:
        named = {name: " ".join(texts) for name, texts in by_name.items()}
        notes.of_file.update({name: text for name, text in named.items() if text})
        return
    if len(times) > 2 or min(times) < 0:
        raise entry.require("z").error("one or two times of at least 0")
    if times[-1] < times[0]:
        counts["segments that end before they start, which are left out"] += 1
        return
    _note_segment((times[0], times[-1]), names, by_name, notes, counts)


def _note_segment(
    times: tuple[float, float],
    names: Sequence[str],
    by_name: dict[str, list[str]],
    notes: _Notes,
    counts: Counter[str],
) -> None:
    """Add a segment: its labels, and texts by the names of the other attributes."""
    if by_name.pop(OBSERVED, []):
        interval = [times] if times[1] > times[0] else []
        notes.observed = [*(notes.observed or []), *interval]
        return
    if not any(names):
        counts["segments without a label, which are left out"] += 1
    subject = ", ".join(by_name.pop(SUBJECT, []))
    score, comment = split_comment(", ".join(by_name.pop(COMMENT, [])))
    modifiers = tuple(
        text
        for name, texts in by_name.items()
        for value in texts
        for text in (split_labels(value) if name == MODIFIERS else [f"{name}:{value}"])
    )
    notes.events += [
        Event(name, *times, subject, modifiers, score, comment) for name in names if name
    ]
