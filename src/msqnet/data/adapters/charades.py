"""Charades: 9,848 videos of people at home, several of 157 actions each, with times.

Files: ``Charades_v1_train.csv`` and ``Charades_v1_test.csv`` (fields `id`, `subject`, `actions` as
``c092 11.90 21.20;...`` in seconds, `length`) and ``Charades_v1_classes.txt``, as described in the
README of http://allenai.org/plato/charades/ (Sigurdsson et al. 2016, arXiv:1604.01753).

Two levels:

- ``videos``: the standard protocol. A row is a whole video with all its labels; every class was
  checked. Videos without an action stay in ``test``. The authors' `Charades_v1_classify.m` ranks
  such videos below all others; as negatives like any other they can only cost.
- ``pieces``: for figures over time. Videos are cut wherever an action begins or ends, so each row's
  labels, background included, are exactly known. An action whose times are impossible (it ends
  before it starts, or starts after the video) is unknown in all rows of its video.

Subjects are the groups; none is in both parts.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    MIN_SECONDS_HELP,
    PIECES,
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    choose_level,
    count_note,
    malformed,
    numbered_lines,
    parse_seconds,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.errors import DatasetError
from msqnet.intervals import Span, cut
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FOLDERS = ("", "Charades/")
_VIDEO_FOLDERS = ("Charades_v1_480", "Charades_v1")
_COLUMNS = ("id", "subject", "actions", "length")


@dataclass(frozen=True)
class _Video:
    """One line of a list.

    Attributes:
        name: the video's id.
        subject: who is seen.
        split: train or test.
        length_seconds: of the video.
        spans: actions with usable times, some of them beyond the end of the video.
        untimed: labels of actions whose times are impossible.
    """

    name: str
    subject: str
    split: str
    length_seconds: float
    spans: tuple[Span, ...]
    untimed: frozenset[str]

    @property
    def label_names(self) -> frozenset[str]:
        return self.untimed.union(span.label for span in self.spans)


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    level, min_seconds = choose_level(options, ("videos", PIECES))
    name_of = _read_classes(_annotation(root, "Charades_v1_classes.txt"))
    videos = [
        video
        for split in ("train", "test")
        for video in _read_list(_annotation(root, f"Charades_v1_{split}.csv"), split, name_of)
    ]
    labels = LabelSet(tuple(name_of.values()))
    folder = video_folder(root, options, _VIDEO_FOLDERS)
    without_actions = Counter(video.split for video in videos if not video.label_names)
    used = [video for video in videos if video.label_names or video.split != "train"]
    notes = count_note(
        without_actions["train"],
        "train videos without an action, which are left out (such test videos are kept: "
        f"{without_actions['test']})",
    )
    if level == "videos":
        records = [_video_row(video, folder, labels) for video in used]
    else:
        records = [row for video in used for row in _piece_rows(video, folder, labels, min_seconds)]
        notes += _notes_on_times(used)
    return Converted(as_rows(records, root), labels, notes)


def _annotation(root: Path, name: str) -> Path:
    return find_file(root, (folder + name for folder in _FOLDERS), name)


def _read_classes(path: Path) -> dict[str, str]:
    """Names by code, in the order of the file."""
    name_of: dict[str, str] = {}
    for number, line in numbered_lines(path):
        code, _, name = line.partition(" ")
        if not name or not code.startswith("c") or code in name_of:
            raise malformed(path, number, line, "a new code and a name such as c008 Opening a door")
        name_of[code] = name
    if not name_of:
        raise DatasetError(f"{path}: the file is empty; expected one class a line")
    return name_of


def _read_list(path: Path, split: str, name_of: Mapping[str, str]) -> Iterator[_Video]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DatasetError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(reader.fieldnames or ())}"
        )
    for cells in reader:
        yield _parse_video(path, reader.line_num, cells, split, name_of)


def _parse_video(
    path: Path, line: int, cells: Mapping[str, str], split: str, name_of: Mapping[str, str]
) -> _Video:
    if not cells["id"] or any(cells[name] is None for name in _COLUMNS):
        raise malformed(path, line, str(cells["id"]), "an id and as many cells as the header has")
    try:
        length = parse_seconds(cells["length"])
    except ValueError as error:
        raise malformed(path, line, cells["length"], "a length in seconds") from error
    spans, untimed = [], set()
    for text in filter(None, cells["actions"].split(";")):
        try:
            code, start_text, end_text = text.split()
            span = Span(name_of[code], parse_seconds(start_text), parse_seconds(end_text))
        except (ValueError, KeyError) as error:
            expected = "a code of the classes file, start and end such as c092 11.90 21.20"
            raise malformed(path, line, text, expected) from error
        if span.start_seconds < min(span.end_seconds, length):
            spans.append(span)
        else:
            untimed.add(span.label)
    return _Video(cells["id"], cells["subject"], split, length, tuple(spans), frozenset(untimed))


def _video_row(video: _Video, folder: Path, labels: LabelSet) -> Record:
    path = folder / f"{video.name}.mp4"
    return Record(
        row=0,
        path=path,
        relative_path=str(path),
        labels=tuple(sorted(video.label_names, key=labels.index)),
        split=video.split,
        group=video.subject,
        actor="human",
        source=ADAPTER.name,
    )


def _piece_rows(
    video: _Video, folder: Path, labels: LabelSet, min_seconds: float
) -> Iterator[Record]:
    whole = _video_row(video, folder, labels)
    known = frozenset(labels) - video.untimed if video.untimed else None
    for piece in cut(video.spans, video.length_seconds, min_seconds=min_seconds):
        yield replace(
            whole,
            labels=tuple(name for name in whole.labels if name in piece.labels),
            annotated=None if known is None else known | piece.labels,
            start_seconds=piece.start_seconds,
            end_seconds=piece.end_seconds,
        )


def _notes_on_times(videos: list[_Video]) -> tuple[str, ...]:
    num_beyond = sum(
        span.end_seconds > video.length_seconds for video in videos for span in video.spans
    )
    num_untimed = sum(bool(video.untimed) for video in videos)
    return (
        *count_note(
            num_beyond, "actions that reach beyond their video's length and are cut off there"
        ),
        *count_note(
            num_untimed,
            "videos with actions at impossible times, which are unknown all through the video",
        ),
    )


ADAPTER = Adapter(
    name="charades",
    title="Charades",
    task="multi_label",
    licence="non-commercial research use only; no redistribution (Allen Institute for AI)",
    read=_read,
    options={
        "level": "videos (a row a video) or pieces (a row wherever the set of actions changes, "
        "with start and end)",
        "min_seconds": MIN_SECONDS_HELP,
        VIDEOS_OPTION: f"{VIDEOS_HELP}; {' or '.join(_VIDEO_FOLDERS)} by default",
    },
)
