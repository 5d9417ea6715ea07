"""Hockey (ETS, as used by Sozykin et al., 2018): 12 activities in broadcast games, several at once.

``<period>-<k>-gray/`` holds the frames of part k of a period as images, and
``<period>-<k>-gray-label.txt`` beside it one line a frame: twelve comma-separated 0 or 1.

A clip is a window of 30 frames. Parts other than the held-out one (6) give training windows every
10 frames, the held-out part test windows every 45; frames after the last whole window are left out.
A clip has a label that any of its frames has (``labels=any``), or that the frame after its middle
has (``labels=centre``).

The files carry no names. Names and their order are those of the MSQNet paper's released code, the
only source found. Tested on small files made after the description of the format, as real ones were
not at hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.adapters.adapter import Adapter, Converted
from msqnet.data.adapters.annotation_files import (
    as_rows,
    choose,
    count_note,
    label_set,
    malformed,
    numbered_lines,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CLIP_FRAMES = 30
"""Frames in a clip."""

_LABEL_FILE = re.compile(r"(?P<folder>(?P<period>period.*)-(?P<part>\d+)-gray)-label\.txt")
_DEFAULTS = {"test_part": 6, "train_stride": 10, "test_stride": 45}


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    labels = label_set("hockey")
    is_any = choose(options, "labels", ("any", "centre")) == "any"
    numbers = {name: _whole_number(options, name) for name in _DEFAULTS}
    records: list[Record] = []
    num_short = 0
    for found in _label_files(root):
        split = "test" if int(found["part"]) == numbers["test_part"] else "train"
        folder = video_folder(root, {}, (found["folder"],))
        stride = numbers[f"{split}_stride"]
        frames = _read_frames(root / found[0], len(labels))
        num_short += len(frames) < CLIP_FRAMES
        for start in range(0, len(frames) - CLIP_FRAMES + 1, stride):
            clip = frames[start : start + CLIP_FRAMES]
            seen = np.flatnonzero(clip.any(axis=0) if is_any else clip[CLIP_FRAMES // 2])
            names = tuple(labels.names[column] for column in seen)
            records.append(_record(folder, found["period"], start, names, split))
    periods = [{r.group for r in records if r.split == split} for split in ("train", "test")]
    shared = periods[0] & periods[1]
    notes = (
        "times count frames at 25 a second, as folders of images are read, not at the true rate",
        "label names are those of the MSQNet paper's released code: the files carry none",
        *count_note(
            len(shared), "period(s) in both train and test, as the held-out part is one of each"
        ),
        *count_note(num_short, f"part(s) left out, with fewer than {CLIP_FRAMES} frames"),
    )
    return Converted(as_rows(records, root), labels, notes)


def _label_files(root: Path) -> list[re.Match[str]]:
    matches = [_LABEL_FILE.fullmatch(path.name) for path in sorted(root.iterdir())]
    found = [match for match in matches if match]
    if not found:
        raise DatasetError(
            f"{root}: found no label files; looked for period*-<part>-gray-label.txt. Give the "
            "folder that holds them and the folders of frames beside them as --root"
        )
    return found


def _record(folder: Path, period: str, start: int, names: tuple[str, ...], split: str) -> Record:
    from msqnet.video.decoding import FALLBACK_FPS  # imports PyAV

    return Record(
        row=0,
        path=folder,
        relative_path=folder.name,
        labels=names,
        start_seconds=float(start / FALLBACK_FPS),
        end_seconds=float((start + CLIP_FRAMES) / FALLBACK_FPS),
        split=split,
        group=period,
        actor="human",
        source="hockey",
    )


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


def _whole_number(options: Mapping[str, str], name: str) -> int:
    text = options.get(name, str(_DEFAULTS[name]))
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"option {name}={text}: expected a whole number of at least 1")
    return int(text)


ADAPTER = Adapter(
    name="hockey",
    title="Hockey",
    task="multi_label",
    licence="not stated",
    read=_read,
    options={
        "labels": "any (default): of any frame of the clip; centre: of its middle frame",
        "test_part": f"number of the held-out part of each period, {_DEFAULTS['test_part']}",
        "train_stride": f"frames from one training clip to the next, {_DEFAULTS['train_stride']}",
        "test_stride": f"frames from one test clip to the next, {_DEFAULTS['test_stride']}",
    },
)
"""Activities in hockey games."""
