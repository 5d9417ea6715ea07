"""Data sets whose videos are folders of images: Hockey, Volleyball.

**Hockey** (ETS, as used by Sozykin et al., 2018): 12 activities in broadcast games, several at
once. ``<period>-<k>-gray/`` holds the frames of part k of a period as images, and
``<period>-<k>-gray-label.txt`` beside it one line a frame: twelve comma-separated 0 or 1. A clip is
a window of 30 frames. Parts other than the held-out one (6) give training windows every 10 frames,
the held-out part test windows every 45; frames after the last whole window are left out. A clip has
a label that any of its frames has (``labels=any``), or that the frame after its middle has
(``labels=centre``). Names and their order are those of the MSQNet paper's released code. Tested on
small files made after the description of the format, as real ones were not at hand.

**Volleyball** (Ibrahim et al., CVPR 2016): actions of the players of a scene, and of the team.
``<video>/annotations.txt`` has one line a scene: ``29885.jpg r_spike`` and for every player ``x y w
h action``. Beside it ``<video>/29885/`` holds 41 images, 20 before and 20 after the key frame. Note
that the authors' description puts the action before the box; their files do not. A scene's labels
are the set of its players' actions (9, several at once), or with ``target=group`` its team activity
(8, one a scene). Names, their order and the split by video are those of the authors' README; videos
0 to 54, 24 for training, 15 for validation, 16 for testing.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format
from msqnet.formats.annotations import count_notes
from msqnet.formats.data_sets.list_files import (
    clip_record,
    clip_rows,
    malformed,
    numbered_lines,
    official_labels,
    video_folder,
)
from msqnet.formats.options import choose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from msqnet.data.records import Record
    from msqnet.formats import Reading
    from msqnet.formats.clip_table import ClipRows
    from msqnet.labels import LabelSet

HOCKEY_CLIP_FRAMES = 30
"""Frames in a clip of Hockey."""

_LABEL_FILE = re.compile(r"(?P<folder>(?P<period>period.*)-(?P<part>\d+)-gray)-label\.txt")
_HOCKEY_DEFAULTS = {"test_part": 6, "train_stride": 10, "test_stride": 45}


def _read_hockey(root: Path, reading: Reading) -> ClipRows:
    from msqnet.video.decoding import FALLBACK_FPS  # imports PyAV

    options, labels = reading.options, official_labels("hockey")
    is_any = choose(options, "labels", ("any", "centre")) == "any"
    numbers = dict(_HOCKEY_DEFAULTS)
    for name in set(options) & set(numbers):
        if not options[name].isdecimal() or int(options[name]) < 1:
            raise ConfigError(
                f"option {name}={options[name]}: expected a whole number of at least 1"
            )
        numbers[name] = int(options[name])
    files = [_LABEL_FILE.fullmatch(path.name) for path in sorted(root.iterdir())]
    if not any(files):
        raise DatasetError(
            f"{root}: found no label files; looked for period*-<part>-gray-label.txt. Give the "
            "folder that holds them and the folders of frames beside them as --root"
        )
    records: list[Record] = []
    periods: dict[str, set[str]] = {"train": set(), "test": set()}
    num_short = 0
    for found in filter(None, files):
        split = "test" if int(found["part"]) == numbers["test_part"] else "train"
        folder, period = video_folder(root, {}, (found["folder"],)), found["period"]
        frames = _read_frames(root / found[0], len(labels))
        num_short += len(frames) < HOCKEY_CLIP_FRAMES
        last = len(frames) - HOCKEY_CLIP_FRAMES
        for start in range(0, last + 1, numbers[f"{split}_stride"]):
            end = start + HOCKEY_CLIP_FRAMES
            shown = frames[start:end]
            seen = shown.any(axis=0) if is_any else shown[HOCKEY_CLIP_FRAMES // 2]
            periods[split].add(period)
            names = [labels.names[column] for column in np.flatnonzero(seen)]
            first, after = (float(frame / FALLBACK_FPS) for frame in (start, end))
            row = clip_record(folder, names, split, period)
            records.append(replace(row, start_seconds=first, end_seconds=after))
    counts = {
        "period(s) in both train and test, as the held-out part is one of each": len(
            periods["train"] & periods["test"]
        ),
        f"part(s) left out, with fewer than {HOCKEY_CLIP_FRAMES} frames": num_short,
    }
    notes = (
        "times count frames at 25 a second, as folders of images are read, not at the true rate",
        "label names are those of the MSQNet paper's released code: the files carry none",
        *count_notes(counts),
    )
    return clip_rows("hockey", records, labels, notes, root)


def _read_frames(path: Path, num_labels: int) -> NDArray[np.bool_]:
    """(F, K) of F frames."""
    rows: list[list[bool]] = []
    for number, line in numbered_lines(path):
        if number != len(rows) + 1:
            raise malformed(path, len(rows) + 1, "", "one line a frame, none of them empty")
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != num_labels or not set(cells) <= {"0", "1"}:
            raise malformed(path, number, line, f"{num_labels} values of 0 or 1, comma-separated")
        rows.append([cell == "1" for cell in cells])
    return np.array(rows, dtype=np.bool_).reshape(len(rows), num_labels)


HOCKEY = Format(
    "hockey",
    "Hockey",
    read_rows=_read_hockey,
    task="multi_label",
    licence="not stated",
    options={
        "labels": "any (default): of any frame of the clip; centre: of its middle frame",
        "test_part": f"number of the held-out part of each period, {_HOCKEY_DEFAULTS['test_part']}",
        "train_stride": "frames from one training clip to the next, "
        f"{_HOCKEY_DEFAULTS['train_stride']}",
        "test_stride": f"frames from one test clip to the next, {_HOCKEY_DEFAULTS['test_stride']}",
    },
)

VOLLEYBALL_SPLITS = {
    "train": (
        *(1, 3, 6, 7, 10, 13, 15, 16, 18, 22, 23, 31, 32, 36, 38, 39, 40, 41, 42, 48),
        *(50, 52, 53, 54),
    ),
    "val": (0, 2, 8, 12, 17, 19, 24, 26, 27, 28, 30, 33, 46, 49, 51),
    "test": (4, 5, 9, 11, 14, 20, 21, 25, 29, 34, 35, 37, 43, 44, 45, 47),
}
"""Official split of Volleyball: numbers of the videos."""

_PLAYER_CELLS = 5


def _read_volleyball(root: Path, reading: Reading) -> ClipRows:
    is_group = choose(reading.options, "target", ("person", "group")) == "group"
    skips = choose(reading.options, "malformed", ("stop", "skip")) == "skip"
    labels = official_labels("volleyball_group" if is_group else "volleyball")
    split_of = {video: split for split, videos in VOLLEYBALL_SPLITS.items() for video in videos}
    files, notes = _annotation_files(root, split_of)
    records: list[Record] = []
    for video, path in files.items():
        seen: set[str] = set()
        for number, line in numbered_lines(path):
            try:
                frame, names = _scene(path, number, line, labels, is_group=is_group)
                if frame in seen:
                    raise malformed(path, number, f"{frame}.jpg", "each key frame once")
            except DatasetError as error:
                if not skips:
                    raise
                notes.append(f"left out: {error}")
                continue
            seen.add(frame)
            place, split = path.parent / frame, split_of[video]
            records.append(clip_record(place, names, split, str(video)))
    return clip_rows("volleyball", records, labels, notes, root)


def _annotation_files(root: Path, split_of: Mapping[int, str]) -> tuple[dict[int, Path], list[str]]:
    """Annotation files by number of the video, and what is missing or does not belong there."""
    usual_folders = ("", "volleyball", "videos", "volleyball-simple")
    places = [Path(os.path.normpath((root / folder).absolute())) for folder in usual_folders]
    found = next((there for place in places if (there := [*place.glob("*/annotations.txt")])), [])
    if not found:
        usual = [f"{folder}/<video>/annotations.txt".lstrip("/") for folder in usual_folders]
        raise DatasetError(
            f"{root}: found no annotation files of Volleyball; looked for {', '.join(usual)}. "
            "Give the folder that holds the numbered folders of the videos as --root"
        )
    files: dict[int, Path] = {}
    notes = []
    for path in sorted(found):
        number = path.parent.name
        if number.isdecimal() and int(number) in split_of:
            files[int(number)] = path
        else:
            notes.append(f"{path} left out: {number!r} is no video of the official split")
    if len(files) < len(split_of):
        notes.append(f"{len(split_of) - len(files)} of {len(split_of)} videos are not there")
    return dict(sorted(files.items())), notes


def _scene(
    path: Path, number: int, line: str, labels: LabelSet, *, is_group: bool
) -> tuple[str, tuple[str, ...]]:
    """Number of the key frame, and the team's activity or the actions of the players."""
    name, *cells = line.split()
    frame = name.removesuffix(".jpg")
    if not frame.isdecimal() or frame == name or not cells:
        raise malformed(path, number, line, "<frame>.jpg, a team activity and the players")
    if is_group:
        # Written both with a hyphen and with an underscore: l-pass, r_spike.
        side, _, activity = cells[0].replace("-", "_").partition("_")
        side = {"l": "left", "r": "right"}.get(side, side)
        name = f"{side} {activity}"
        if name not in labels:
            raise malformed(path, number, cells[0], f"one of the {len(labels)} team activities")
        return frame, (name,)
    present: set[str] = set()
    for start in range(1, len(cells), _PLAYER_CELLS):
        *box, action = cells[start : start + _PLAYER_CELLS]
        is_box = len(box) == _PLAYER_CELLS - 1
        is_box = is_box and all(cell.removeprefix("-").isdecimal() for cell in box)
        if not is_box or action not in labels:
            found = " ".join((*box, action))
            raise malformed(path, number, found, "x y w h and one of the players' actions")
        present.add(action)
    if not present:
        raise malformed(path, number, " ".join(cells), "at least one player")
    return frame, tuple(name for name in labels if name in present)


VOLLEYBALL = Format(
    "volleyball",
    "Volleyball",
    read_rows=_read_volleyball,
    task="multi_label",
    licence="not stated for the data (the authors' code is BSD 2-Clause)",
    options={
        "target": "person (default): actions of the players; group: activity of the team, one each",
        "malformed": "stop (default) at a malformed line; skip: leave it out and name it",
    },
)
