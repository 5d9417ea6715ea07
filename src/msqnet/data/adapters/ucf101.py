"""UCF101: 13,320 clips, one of 101 actions each, in three official splits.

Files: ``classInd.txt`` (``1 ApplyEyeMakeup``), ``trainlist0<1-3>.txt`` (path and class number) and
``testlist0<1-3>.txt`` (path), https://www.crcv.ucf.edu/data/UCF101.php. Clips of one group were cut
from one video: ``v_<class>_g<group>_c<clip>.avi``; groups stay on one side of each split.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    choose,
    malformed,
    numbered_lines,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.errors import DatasetError
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LIST_FOLDERS = ("ucfTrainTestlist/", "annotations/", "")
"""Where the lists lie in the data set's folder."""

VIDEO_FOLDERS = ("UCF-101", "videos", "")
"""Where the folders of the classes lie in it."""

_SPLITS = ("1", "2", "3")


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    split = choose(options, "split", _SPLITS)
    labels = read_classes(root)
    folder = video_folder(root, options, VIDEO_FOLDERS, inside=labels.names[0])
    records = read_clips(root, split, labels, folder)
    return Converted(as_rows(records, root), labels)


def read_classes(root: Path) -> LabelSet:
    """The classes in the order of ``classInd.txt``.

    Raises:
        DatasetError: no such file, or its numbers do not go from 1 in steps of 1.
    """
    path = find_file(root, (f"{folder}classInd.txt" for folder in LIST_FOLDERS), "list of classes")
    names: list[str] = []
    for number, line in numbered_lines(path):
        words = line.split()
        if len(words) != 2 or words[0] != str(len(names) + 1) or words[1] in names:
            raise malformed(path, number, line, f"{len(names) + 1} and a new class name")
        names.append(words[1])
    if not names:
        raise DatasetError(f"{path}: the file is empty; expected one class a line")
    return LabelSet(tuple(names))


def read_clips(root: Path, split: str, labels: LabelSet, folder: Path) -> list[Record]:
    """The clips of one official split, train before test.

    Args:
        root: the data set's folder.
        split: 1, 2 or 3.
        labels: as `read_classes` gives them.
        folder: of the videos.

    Raises:
        DatasetError: a list is not there, or has a malformed line.
    """
    lists = {
        part: find_file(
            root,
            (f"{place}{part}list0{split}.txt" for place in LIST_FOLDERS),
            f"{part} list of split {split}",
        )
        for part in ("train", "test")
    }
    return [clip for part, path in lists.items() for clip in _read_list(path, part, labels, folder)]


def clip_record(path: Path, label: str, split: str) -> Record:
    """The row of one clip.

    Args:
        path: of its video, named ``v_<class>_g<group>_c<clip>.avi``.
        label: its class.
        split: the part that it belongs to.
    """
    return Record(
        row=0,
        path=path,
        relative_path=str(path),
        labels=(label,),
        split=split,
        group=path.stem.rpartition("_c")[0] or path.stem,
        actor="human",
        source=ADAPTER.name,
    )


def _read_list(path: Path, split: str, labels: LabelSet, folder: Path) -> Iterator[Record]:
    for number, line in numbered_lines(path):
        written, _, class_number = line.partition(" ")
        parts = PurePosixPath(written).parts
        if len(parts) != 2 or parts[0] not in labels:
            raise malformed(path, number, line, "<class>/<clip>.avi with a class of classInd.txt")
        if class_number and class_number.strip() != str(labels.index(parts[0]) + 1):
            number_expected = f"class number {labels.index(parts[0]) + 1} as in classInd.txt"
            raise malformed(path, number, line, number_expected)
        yield clip_record(folder / written, parts[0], split)


ADAPTER = Adapter(
    name="ucf101",
    title="UCF101",
    task="single_label",
    licence="not stated (clips come from YouTube)",
    read=_read,
    options={
        "split": "1, 2 or 3: which of the official splits; 1 by default",
        VIDEOS_OPTION: f"{VIDEOS_HELP}, with a folder a class; UCF-101, videos or the data set's "
        "own by default",
    },
)
