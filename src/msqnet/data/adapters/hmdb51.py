"""HMDB51: 6,766 clips of films and web videos, one of 51 actions each, in three official splits.

Files: ``testTrainMulti_7030_splits/<class>_test_split<1-3>.txt`` with lines ``<clip>.avi <part>``,
where 1 is train, 2 test and 0 unused. Names are ``<film>_<class>_<body>_<camera motion>_np<people>
_<view>_<quality>_<number>.avi``, as https://serre-lab.clps.brown.edu describes them.

The lists number no classes; labels are in alphabetical order. The figure to report is the mean
top-1 accuracy over the three splits. Films are the groups. Within a class the official parts share
no film, across classes some do: a film may show one class in train and another in test.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    choose,
    count_note,
    label_set,
    malformed,
    numbered_lines,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LIST_FOLDERS = ("testTrainMulti_7030_splits/", "annotations/", "")
_VIDEO_FOLDERS = ("", "hmdb51_org", "videos")
_SPLITS = ("1", "2", "3")
_PARTS = {"0": "", "1": "train", "2": "test"}
_NUM_NAMED = 5
_PROPERTIES = re.compile(r"_[a-z]+_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+$")


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    split = choose(options, "split", _SPLITS)
    labels = label_set("hmdb51")
    first = labels.names[0]
    lists = find_file(
        root,
        (f"{folder}{first}_test_split{split}.txt" for folder in _LIST_FOLDERS),
        "lists of split " + split,
    ).parent
    missing = [name for name in labels if not (lists / f"{name}_test_split{split}.txt").exists()]
    if missing:
        raise DatasetError(
            f"{lists}: lists of {len(missing)} of {len(labels)} classes are not there: "
            f"{', '.join(f'{name}_test_split{split}.txt' for name in missing[:_NUM_NAMED])}; "
            "unpack the archive of the splits again"
        )
    folder = video_folder(root, options, _VIDEO_FOLDERS, inside=first)
    clips = [
        record
        for name in labels
        for record in _read_list(lists / f"{name}_test_split{split}.txt", name, folder)
    ]
    used = [record for record in clips if record.split]
    notes = (
        *count_note(
            len(clips) - len(used), f"clips that split {split} does not use, which are left out"
        ),
        *_note_on_films(used),
    )
    return Converted(as_rows(used, root), labels, notes)


def _read_list(path: Path, label: str, folder: Path) -> Iterator[Record]:
    for number, line in numbered_lines(path):
        name, _, part = line.rpartition(" ")
        if part not in _PARTS or not name.strip().endswith(".avi"):
            raise malformed(path, number, line, "a clip's name and 0, 1 or 2, such as clip.avi 1")
        place = folder / label / name.strip()
        yield Record(
            row=0,
            path=place,
            relative_path=str(place),
            labels=(label,),
            split=_PARTS[part],
            group=film_of(name.strip(), label),
            actor="human",
            source=ADAPTER.name,
        )


def film_of(clip: str, label: str) -> str:
    """The film that a clip was cut from, by the clip's name; the name itself if it says none.

    Args:
        clip: such as ``Glory_smile_h_nm_np1_fr_med_5.avi``.
        label: its class.
    """
    stem = clip.removesuffix(".avi")
    film, num_found = _PROPERTIES.subn("", stem)
    return film.removesuffix(f"_{label}") if num_found else stem


def _note_on_films(records: list[Record]) -> tuple[str, ...]:
    parts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        parts[record.group][record.split] += 1
    num_shared = sum(len(counts) > 1 for counts in parts.values())
    return count_note(
        num_shared,
        "films with clips of one class in train and of another in test, as the official split has "
        "it ('msqnet check' names them as split_leak)",
    )


ADAPTER = Adapter(
    name="hmdb51",
    title="HMDB51",
    task="single_label",
    licence="CC BY 4.0 (clips come from films and web videos)",
    read=_read,
    options={
        "split": "1, 2 or 3: which of the official splits; 1 by default",
        VIDEOS_OPTION: f"{VIDEOS_HELP}, with a folder a class; the data set's own, hmdb51_org or "
        "videos by default",
    },
)
