"""MammalNet (Chen et al., CVPR 2023): 12 behaviours of 173 genera of mammals, one a clip.

Read from the lists that Animal-CLIP publishes: ``train.txt`` and ``test.txt`` with lines ``clip
behaviour-id genus-id``, ``behavior_to_id.csv`` and ``genus_to_id.csv``. The authors' own annotation
archive is not read: its layout is not documented where it could be verified.

A clip is ``<video id>.mp4``, or ``<video id>_<n>.mp4`` where one video holds several; clips of one
video share a group, and no video is in both parts of these lists.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    count_note,
    malformed,
    numbered_lines,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FOLDERS = ("", "annotation/", "annotations/", "MammalNet/")
_SPLITS = ("train", "test")
_VIDEO_ID_LETTERS = 11
_NUM_CELLS = 3


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    behaviours = _read_names(_find(root, "behavior_to_id.csv", "list of behaviours"))
    genera = _read_names(_find(root, "genus_to_id.csv", "list of genera"))
    folder = video_folder(root, options, ("trimmed_video", "videos", "."))
    records: list[Record] = []
    for split in _SPLITS:
        path = _find(root, f"{split}.txt", f"list of the {split} clips")
        records.extend(_read_list(path, split, folder, (behaviours, genera)))
    videos = [{record.group for record in records if record.split == split} for split in _SPLITS]
    notes = count_note(len(videos[0] & videos[1]), "video(s) with clips in both train and test")
    return Converted(as_rows(records, root), LabelSet(behaviours), notes)


def _find(root: Path, name: str, what: str) -> Path:
    return find_file(root, [f"{folder}{name}" for folder in _FOLDERS], what)


def _read_names(path: Path) -> tuple[str, ...]:
    """Names by id, from rows ``id,name`` below a header."""
    names: list[str] = []
    lines = csv.reader(io.StringIO(read_text(path), newline=""))
    next(lines, None)
    for number, cells in enumerate(lines, start=2):
        if not cells:
            continue
        if len(cells) != 2 or cells[0].strip() != str(len(names)) or not cells[1].strip():
            raise malformed(path, number, ",".join(cells), f"{len(names)},name")
        names.append(cells[1].strip())
    return tuple(names)


def _read_list(
    path: Path, split: str, folder: Path, names: tuple[tuple[str, ...], tuple[str, ...]]
) -> Iterator[Record]:
    behaviours, genera = names
    for number, line in numbered_lines(path):
        cells = line.split()
        ids = [int(cell) for cell in cells[1:] if cell.isdecimal()]
        is_complete = len(cells) == _NUM_CELLS and len(ids) == _NUM_CELLS - 1
        if not is_complete or ids[0] >= len(behaviours) or ids[1] >= len(genera):
            expected = (
                f"a file, a behaviour from 0 to {len(behaviours) - 1} and a genus from 0 to "
                f"{len(genera) - 1}"
            )
            raise malformed(path, number, line, expected)
        yield Record(
            row=0,
            path=folder / cells[0],
            relative_path=cells[0],
            labels=(behaviours[ids[0]],),
            split=split,
            group=cells[0][:_VIDEO_ID_LETTERS],
            actor=genera[ids[1]],
            source="mammalnet",
        )


ADAPTER = Adapter(
    name="mammalnet",
    title="MammalNet",
    task="single_label",
    licence="not stated for the data (the authors' code is MIT)",
    read=_read,
    options={VIDEOS_OPTION: VIDEOS_HELP},
)
"""MammalNet's behaviour recognition."""
