"""FERAL: labels of every frame, in JSON (https://getferal.ai, https://github.com/Skovorp/feral).

A document has ``class_names`` by number from 0, ``is_multilabel``, ``labels`` by the name of the
video (a class for each frame, or a list of 0 and 1 for each frame, one a class) and ``splits``.
Facts are those that FERAL 1.0 checks. The class ``other`` stands for none of the others.

Frames are those of the video, by its own time stamps; where the video is not there, by a rate that
is given as ``fps``. FERAL has no unknown frames: what is not labelled is absent.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from msqnet.documents import JsonValue, read_json
from msqnet.errors import DatasetError
from msqnet.files import replacing
from msqnet.formats import ALL_FIELDS, Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label, count_notes
from msqnet.formats.frame_times import FrameTimes, check_frame_count, rate_option, read_frame_times
from msqnet.formats.options import choose
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ADVICE = "see 'Label Preparation' at getferal.ai"
_BACKGROUND = "other"
_SPLITS = ("train", "val", "test", "inference")
_ABSENT = "videos that are not there, whose frames are taken by the rate given as fps"


def _read(path: Path, reading: Reading) -> Annotations:
    document = read_json(path, _ADVICE)
    names = _class_names(document.require("class_names"))
    is_multilabel = document.require("is_multilabel").truth()
    splits: dict[str, str] = {}
    for split, listed in document.require("splits").items():
        for video in listed.elements():
            # What is labelled belongs to the part that it was labelled for.
            if splits.get(video.text(), "inference") == "inference":
                splits[video.text()] = split
    counts: Counter[str] = Counter()
    videos = []
    for name, frames in document.require("labels").items():
        if not name.strip():
            raise frames.error("labels of a video with a name")
        place = reading.video_path(name)
        present = _present(frames, len(names), is_multilabel=is_multilabel)
        times = read_frame_times(place)
        if times is None:
            rate = rate_option(reading.options, frames.place, "FERAL")
            times = FrameTimes.at_rate(rate, len(present))
            counts[_ABSENT] += 1
        elif len(times.starts_seconds) != len(present):
            raise DatasetError(
                f"{frames.place}: found labels of {len(present)} frames, but {place.name} has "
                f"{len(times.starts_seconds)}; use the video that was labelled"
            )
        events = _events(present, names, times)
        split = splits.pop(name, "")
        videos.append(AnnotatedVideo(place, events, times.duration_seconds, split=split))
    counts["videos in a split that have no labels, which are left out"] += len(splits)
    labels = LabelSet(tuple(name for name in names if name is not None))
    return Annotations(tuple(videos), labels, notes=count_notes(counts))


def _class_names(value: JsonValue) -> list[str | None]:
    """Names by number; None for the class that stands for none of the others."""
    found = dict(value.items())
    if not found or set(found) != {str(number) for number in range(len(found))}:
        raise value.error("names of classes by number, '0', '1' and so on")
    names: list[str | None] = []
    for number in range(len(found)):
        item = found[str(number)]
        name = clean_label(item.text())
        if not name or name in names:
            raise item.error("the name of a class, each another one")
        names.append(None if name == _BACKGROUND else name)
    return names


def _present(frames: JsonValue, num_classes: int, *, is_multilabel: bool) -> NDArray[np.bool_]:
    """(frames, classes): whether a class holds in a frame."""
    rows = frames.value
    if not isinstance(rows, list) or not rows:
        raise frames.error("a list with the labels of each frame")
    present = np.zeros((len(rows), num_classes), dtype=bool)
    for number, row in enumerate(rows):
        value = JsonValue(row, f"{frames.place}: frame {number}", frames.advice)
        if is_multilabel:
            if (
                not isinstance(row, list)
                or len(row) != num_classes
                or not all(type(item) in (int, float) and item in (0, 1) for item in row)
            ):
                raise value.error(f"{num_classes} times 0 or 1")
            present[number] = row
        elif type(row) is int and 0 <= row < num_classes:
            present[number, row] = True
        else:
            raise value.error(f"a class from 0 to {num_classes - 1}")
    return present


def _events(
    present: NDArray[np.bool_], names: Sequence[str | None], times: FrameTimes
) -> tuple[Event, ...]:
    events = []
    for number, name in enumerate(names):
        if name is not None:
            edges = np.flatnonzero(np.diff(np.r_[False, present[:, number], False]))
            for first, last in edges.reshape(-1, 2).tolist():
                events.append(Event(name, times.seconds_of(first), times.seconds_of(last)))
    return tuple(events)


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    labels = annotations.all_labels()
    if _BACKGROUND in labels:
        raise DatasetError(
            f"{path}: FERAL takes a class {_BACKGROUND!r} for none of the others, so the label of "
            "that name cannot be written; rename it"
        )
    is_multilabel = choose(options, "classes", ("multilabel", "single")) == "multilabel"
    classes = labels.names if is_multilabel else (_BACKGROUND, *labels)
    folder, names = _video_names(annotations.videos, path)
    counts: Counter[str] = Counter()
    frames = {}
    splits: dict[str, list[str]] = {split: [] for split in _SPLITS}
    for name, video in zip(names, annotations.videos, strict=True):
        present = _frames(video, labels, options, counts)
        several = np.flatnonzero(present.sum(axis=1) > 1)
        if is_multilabel:
            frames[name] = present.astype(int).tolist()
        elif len(several):
            raise DatasetError(
                f"{video.path}: several labels hold in frame {several[0]}; write them with "
                "--option classes=multilabel"
            )
        else:
            # The class of each frame, 0 where no label holds.
            classes_of = np.where(present.any(axis=1), present.argmax(axis=1) + 1, 0)
            frames[name] = classes_of.tolist()
        if video.split in splits:
            splits[video.split].append(name)
        else:
            counts["videos in none of FERAL's splits train, val and test, which FERAL passes"] += 1
    notes = [
        f"the folder of the videos, for FERAL: {folder}",
        "starts and ends are those of frames",
    ]
    if new := ", ".join(labels.names[len(annotations.labels) :]):
        notes.append(
            f"{FORMAT.title} takes labels that the ethogram does not have as absent wherever they "
            f"were not seen, though nobody looked for them: {new}"
        )
    document = {
        "class_names": {str(number): name for number, name in enumerate(classes)},
        "is_multilabel": is_multilabel,
        "labels": frames,
        "splits": splits,
    }
    with replacing(path) as part:
        part.write_text(json.dumps(document, separators=(",", ":")), encoding="ascii")
    return (*notes, *count_notes(counts))


def _video_names(videos: Sequence[AnnotatedVideo], path: Path) -> tuple[str, list[str]]:
    """The folder of all videos, and their names in it."""
    if not videos:
        return str(path.parent), []
    folder = os.path.commonpath([video.path.parent for video in videos])
    names = [video.path.relative_to(folder).as_posix() for video in videos]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise DatasetError(
            f"{path}: {twice[0]} is there more than once, but FERAL has one list of frames for "
            "each video; take one observation of it"
        )
    return folder, names


def _frames(
    video: AnnotatedVideo, labels: LabelSet, options: Mapping[str, str], counts: Counter[str]
) -> NDArray[np.bool_]:
    """(frames, labels): whether a label holds in a frame."""
    times = read_frame_times(video.path)
    if times is None:
        rate = rate_option(options, video.path, "FERAL")
        if video.duration_seconds is None:
            raise DatasetError(f"{video.path}: its length is not known; put the video there")
        check_frame_count(video.path, video.duration_seconds, rate)
        counts[_ABSENT] += 1
        times = FrameTimes.at_rate(rate, max(1, round(video.duration_seconds * rate)))
    present = np.zeros((len(times.starts_seconds), len(labels)), dtype=bool)
    for event in video.events:
        start, end = event.start_seconds, event.end_seconds
        is_beyond = start >= times.end_seconds or (end or start) < times.seconds_of(0)
        counts["events without a frame of their video, which are left out"] += is_beyond
        if end is None or is_beyond:
            continue
        first, last = times.end_frame(start), times.end_frame(end)
        if first >= last:
            # The event is shorter than a frame: the frame that is shown then has it.
            first, last = times.frames_of(start, start)
        present[first:last, labels.index(event.label)] = True
    return present


FORMAT = Format(
    "feral",
    "labels of frames of FERAL",
    read=_read,
    write=_write,
    suffixes=(".json",),
    drops=ALL_FIELDS - {"ethogram", "splits"},
    options={
        "fps": "frame rate of videos that are not there, such as 25 or 30000/1001",
        "classes": "when writing: multilabel (default), or single: one class a frame, or 'other'",
    },
)
