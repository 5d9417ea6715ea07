"""Writes projects of VIA 3: the label as an attribute with options, and others beside it.

Form: data format 3.1.1 as `msqnet.formats.via` describes it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from msqnet.formats.annotations import comment_with_score, without_open_states
from msqnet.formats.options import video_address
from msqnet.labels import SEPARATOR, join_labels
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations

TEXT, CHECKBOX, SELECT = 1, 2, 4
VIDEO = 4
FILE_ANCHOR, SEGMENT_ANCHOR = "FILE1_Z0_XY0", "FILE1_Z2_XY0"

LABEL = "behavior"
SUBJECT, MODIFIERS, COMMENT, OBSERVED = "subject", "modifiers", "comment", "observed"
LOOKED_FOR, SPLIT, GROUP = "looked for", "split", "group"

OPTIONS = {"base_url": "when writing: address of the folder of the videos; otherwise their paths"}

_HTTP, _FILE = 2, 3
_LABEL_KEY = "1"
_TEXTS = {
    SUBJECT: (SEGMENT_ANCHOR, "Who did it"),
    MODIFIERS: (SEGMENT_ANCHOR, "More about it, joined by |"),
    COMMENT: (SEGMENT_ANCHOR, "Free text; score=... is what a model gave"),
    OBSERVED: (SEGMENT_ANCHOR, "Any text: a stretch that was looked at, where not all was"),
    LOOKED_FOR: (FILE_ANCHOR, "Behaviors that were looked for, joined by |; * is all"),
    SPLIT: (FILE_ANCHOR, "Part of the data, such as train or test"),
    GROUP: (FILE_ANCHOR, "What must not stand on both sides of a split"),
}
"""Attributes that are text, with their anchors and descriptions."""

_TEXT_KEYS = {name: str(key) for key, name in enumerate(_TEXTS, start=2)}


def write_project(
    annotations: Annotations, path: Path, options: Mapping[str, str]
) -> tuple[str, ...]:
    """Write a project.

    Args:
        annotations: what was noted.
        path: the project file.
        options: some of `OPTIONS`.

    Returns:
        Notes on what was assumed.
    """
    labels = annotations.labels
    taken = {event.label for event in annotations.events()} - set(labels)
    # A label without an option stands as text, which must not be taken for an option.
    mark = "" if taken.isdisjoint(map(str, range(len(labels)))) else "option"
    option_keys = {name: f"{mark}{number}" for number, name in enumerate(labels)}
    videos = [without_open_states(video, labels) for video in annotations.videos]
    keys = [str(number) for number in range(1, len(videos) + 1)]
    store = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": path.stem,
            "creator": "msqnet",
            "created": int(time.time() * 1000),
            "data_format_version": "3.1.1",
            "vid_list": keys,
        },
        "config": {
            "file": {"loc_prefix": {str(place): "" for place in range(1, 5)}},
            "ui": {"file_content_align": "center", "file_metadata_editor_visible": True},
        },
        "attribute": _attributes(option_keys),
        "file": {
            key: {
                "fid": key,
                "fname": video.path.name,
                "type": VIDEO,
                "loc": _HTTP if "base_url" in options else _FILE,
                "src": video_address(video.path, path, options),
            }
            for key, video in zip(keys, videos, strict=True)
        },
        "metadata": {
            f"{key}_{number:06d}": {"vid": key, "flg": 0, "z": times, "xy": [], "av": values}
            for key, video in zip(keys, videos, strict=True)
            for number, (times, values) in enumerate(_entries(video, option_keys), start=1)
        },
        "view": {key: {"fid_list": [key]} for key in keys},
    }
    with replacing(path) as part:
        text = json.dumps(store, indent=1, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
    if "base_url" in options:
        return ()
    return (
        "videos are named by their paths, which VIA can open if it lies in the folder of the "
        "project; --option base_url=... names them by an address",
    )


def _attributes(option_keys: Mapping[str, str]) -> dict[str, Any]:
    options = {key: name for name, key in option_keys.items()}
    kind = SELECT if options else TEXT
    rows = [(_LABEL_KEY, LABEL, SEGMENT_ANCHOR, kind, "What is seen", options)]
    rows += [
        (_TEXT_KEYS[name], name, anchor, TEXT, description, {})
        for name, (anchor, description) in _TEXTS.items()
    ]
    return {
        key: {
            "aname": name,
            "anchor_id": anchor,
            "type": kind,
            "desc": description,
            "options": options,
            "default_option_id": "",
        }
        for key, name, anchor, kind, description, options in rows
    }


def _entries(
    video: AnnotatedVideo, option_keys: Mapping[str, str]
) -> Iterator[tuple[list[float], dict[str, str]]]:
    """Times and values of everything that is noted about a video."""
    # Bars alone stand for no label at all: an empty text would be none.
    checked = "*" if video.checked is None else join_labels(sorted(video.checked)) or SEPARATOR
    yield [], _values({LOOKED_FOR: checked, SPLIT: video.split, GROUP: video.group})
    if video.observed is not None:
        for start, end in video.observed or [(0.0, 0.0)]:
            yield [start, end], _values({OBSERVED: "yes"})
    for event in video.events:
        times = [event.start_seconds]
        if event.end_seconds is not None and not event.is_point:
            times.append(event.end_seconds)
        texts = {
            SUBJECT: event.subject,
            MODIFIERS: join_labels(text.replace(SEPARATOR, "/") for text in event.modifiers),
            COMMENT: comment_with_score(event),
        }
        label = option_keys.get(event.label, event.label)
        yield times, {_LABEL_KEY: label} | _values(texts)


def _values(texts: Mapping[str, str]) -> dict[str, str]:
    return {_TEXT_KEYS[name]: text for name, text in texts.items() if text}
