"""Volleyball (Ibrahim et al., CVPR 2016): what the players of a scene do, and the team's activity.

``<video>/annotations.txt`` has one line a scene: ``29885.jpg r_spike`` and for every player ``x y w
h action``. Beside it ``<video>/29885/`` holds 41 images, 20 before and 20 after the key frame. Note
that the authors' description puts the action before the box; their files do not.

A scene's labels are the set of its players' actions (9, several at once), or with ``target=group``
its team activity (8, one a scene). Names, their order and the split by video are those of the
authors' README; videos 0 to 54, 24 for training, 15 for validation, 16 for testing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted
from msqnet.data.adapters.annotation_files import (
    as_rows,
    choose,
    label_set,
    malformed,
    numbered_lines,
)
from msqnet.data.records import Record
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from msqnet.labels import LabelSet

SPLITS = {
    "train": (
        *(1, 3, 6, 7, 10, 13, 15, 16, 18, 22, 23, 31, 32, 36, 38, 39, 40, 41, 42, 48),
        *(50, 52, 53, 54),
    ),
    "val": (0, 2, 8, 12, 17, 19, 24, 26, 27, 28, 30, 33, 46, 49, 51),
    "test": (4, 5, 9, 11, 14, 20, 21, 25, 29, 34, 35, 37, 43, 44, 45, 47),
}
"""Official split: numbers of the videos."""

_FOLDERS = ("", "volleyball", "videos", "volleyball-simple")
_SIDES = {"l": "left", "r": "right"}
_PLAYER_CELLS = 5


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    is_group = choose(options, "target", ("person", "group")) == "group"
    skips = choose(options, "malformed", ("stop", "skip")) == "skip"
    labels = label_set("volleyball_group" if is_group else "volleyball")
    names_of = _team_activity if is_group else _player_actions
    split_of = {video: split for split, videos in SPLITS.items() for video in videos}
    files, notes = _annotation_files(root, split_of)
    records: list[Record] = []
    for video, path in files.items():
        seen: set[str] = set()
        for number, line in numbered_lines(path):
            try:
                frame, cells = _scene(path, number, line, seen)
                names = names_of(path, number, cells, labels)
            except DatasetError as error:
                if not skips:
                    raise
                notes.append(f"left out: {error}")
                continue
            seen.add(frame)
            records.append(_record(path.parent / frame, video, names, split_of[video]))
    return Converted(as_rows(records, root), labels, tuple(notes))


def _annotation_files(root: Path, split_of: Mapping[int, str]) -> tuple[dict[int, Path], list[str]]:
    """Annotation files by number of the video, and what is missing or does not belong there."""
    places = [Path(os.path.normpath((root / folder).absolute())) for folder in _FOLDERS]
    found = next((there for place in places if (there := [*place.glob("*/annotations.txt")])), [])
    if not found:
        raise DatasetError(
            f"{root}: found no annotation files of Volleyball; looked for "
            f"{', '.join(f'{folder}/<video>/annotations.txt'.lstrip('/') for folder in _FOLDERS)}. "
            "Give the folder that holds the numbered folders of the videos as --root"
        )
    number_of = {path: path.parent.name for path in found}
    files = {
        int(number): path
        for path, number in number_of.items()
        if number.isdecimal() and int(number) in split_of
    }
    notes = [
        f"{path} left out: {number!r} is no video of the official split"
        for path, number in sorted(number_of.items())
        if path not in files.values()
    ]
    if len(files) < len(split_of):
        notes.append(f"{len(split_of) - len(files)} of {len(split_of)} videos are not there")
    return dict(sorted(files.items())), notes


def _scene(path: Path, number: int, line: str, seen: set[str]) -> tuple[str, list[str]]:
    """Number of the key frame, and the cells after it."""
    name, *cells = line.split()
    frame = name.removesuffix(".jpg")
    if not frame.isdecimal() or frame == name or not cells:
        raise malformed(path, number, line, "<frame>.jpg, a team activity and the players")
    if frame in seen:
        raise malformed(path, number, name, "each key frame once")
    return frame, cells


def _team_activity(
    path: Path, number: int, cells: Sequence[str], labels: LabelSet
) -> tuple[str, ...]:
    # Written both with a hyphen and with an underscore: l-pass, r_spike.
    side, _, activity = cells[0].replace("-", "_").partition("_")
    name = f"{_SIDES.get(side, side)} {activity}"
    if name not in labels:
        raise malformed(path, number, cells[0], f"one of the {len(labels)} team activities")
    return (name,)


def _player_actions(
    path: Path, number: int, cells: Sequence[str], labels: LabelSet
) -> tuple[str, ...]:
    players = cells[1:]
    present: set[str] = set()
    for start in range(0, len(players), _PLAYER_CELLS):
        *box, action = players[start : start + _PLAYER_CELLS]
        is_box = len(box) == _PLAYER_CELLS - 1 and all(_is_whole(cell) for cell in box)
        if not is_box or action not in labels:
            found = " ".join((*box, action))
            raise malformed(path, number, found, "x y w h and one of the players' actions")
        present.add(action)
    if not present:
        raise malformed(path, number, " ".join(cells), "at least one player")
    return tuple(name for name in labels if name in present)


def _is_whole(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal()


def _record(folder: Path, video: int, names: tuple[str, ...], split: str) -> Record:
    return Record(
        row=0,
        path=folder,
        relative_path=folder.name,
        labels=names,
        split=split,
        group=str(video),
        actor="human",
        source="volleyball",
    )


ADAPTER = Adapter(
    name="volleyball",
    title="Volleyball",
    task="multi_label",
    licence="not stated for the data (the authors' code is BSD 2-Clause)",
    read=_read,
    options={
        "target": "person (default): actions of the players; group: activity of the team, one each",
        "malformed": "stop (default) at a malformed line; skip: leave it out and name it",
    },
)
"""Volleyball scenes."""
