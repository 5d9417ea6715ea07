"""Data sets whose lists name clips with one label each: HMDB51, UCF101, Kinetics, MammalNet.

**HMDB51**: 6,766 clips of films and web videos, 51 actions, three official splits. Files:
``testTrainMulti_7030_splits/<class>_test_split<1-3>.txt`` with lines ``<clip>.avi <part>``, where 1
is train, 2 test and 0 unused. Clips are named ``<film>_<class>_<body>_<camera motion>_np<people>_
<view>_<quality>_<number>.avi`` (https://serre-lab.clps.brown.edu). Labels are in alphabetical
order, as the lists number no classes; films are the groups, of which parts share some across
classes. The metric to report is the mean top-1 accuracy over the three splits.

**UCF101**: 13,320 clips, 101 actions, three official splits. Files: ``classInd.txt``
(``1 ApplyEyeMakeup``), ``trainlist0<1-3>.txt`` (path and class number) and ``testlist0<1-3>.txt``
(path), https://www.crcv.ucf.edu/data/UCF101.php. Clips of one group were cut from one video:
``v_<class>_g<group>_c<clip>.avi``; groups stay on one side of each split.

**Kinetics-400, -600, -700**, and lists in the same style: .csv and .txt files that have train, val
or test as a word in their names. The first line tells two kinds apart. Tests cover invented lists
of both, and real numbered lists of another data set; no official list was at hand.

- official: ``label,youtube_id,time_start,time_end,split[,is_cc]``. The clip is
  ``<split>/<label>/<youtube_id>_<start>_<end>.mp4``, times in six digits; where a split's folder
  holds no folders of classes, ``<split>/<youtube_id>_<start>_<end>.mp4``. Labels are in
  alphabetical order unless there is a classes file: the lists number no classes.
- numbered: ``<path> <class number from 0>``, separated by a space, a comma or a tab, optionally
  with the number of frames between the two (a folder of frames). They need a classes file: one name
  a line in the order of the numbers, or a table with the columns ``id,name``.

**MammalNet** (Chen et al., CVPR 2023): 12 behaviours of 173 genera of mammals. Read from the lists
that Animal-CLIP publishes: ``train.txt``, ``test.txt`` with lines ``clip behaviour-id genus-id``,
``behavior_to_id.csv`` and ``genus_to_id.csv``, not from the authors' own archive, whose layout is
not documented. A clip is ``<video id>.mp4``, or ``<video id>_<n>.mp4`` where one video holds
several; clips of one video share a group, and no video is in both parts of these lists.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msqnet.documents import read_delimited, read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format
from msqnet.formats.annotations import count_notes
from msqnet.formats.data_sets.list_files import (
    GET_AGAIN,
    VIDEOS_HELP,
    clip_record,
    clip_rows,
    find_file,
    malformed,
    numbered_lines,
    official_labels,
    read_class_names,
    require_files,
    video_folder,
)
from msqnet.formats.options import choose, parse_seconds
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.formats import Reading
    from msqnet.formats.clip_table import ClipRows

_SPLIT_NUMBERS = ("1", "2", "3")
_SPLIT_HELP = "1, 2 or 3: which of the official splits; 1 by default"
_NUM_NAMED = 5


_HMDB51_FOLDERS = ("testTrainMulti_7030_splits/", "annotations/", "")
_HMDB51_LINE = re.compile(r"(.*\.avi)\s* ([012])")
_CLIP_PROPERTIES = re.compile(r"_[a-z]+_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+$")


def _read_hmdb51(root: Path, reading: Reading) -> ClipRows:
    split = choose(reading.options, "split", _SPLIT_NUMBERS)
    labels = official_labels("hmdb51")
    first = f"{labels.names[0]}_test_split{split}.txt"
    lists = find_file(root, [first], f"lists of split {split}", _HMDB51_FOLDERS).parent
    path_of = {name: lists / f"{name}_test_split{split}.txt" for name in labels}
    require_files(list(path_of.values()))
    candidates = ("", "hmdb51_org", "videos")
    folder = video_folder(root, reading.options, candidates, inside=labels.names[0])
    records: list[Record] = []
    num_unused = 0
    splits_of: dict[str, set[str]] = defaultdict(set)
    for label, path in path_of.items():
        for number, line in numbered_lines(path):
            found = _HMDB51_LINE.fullmatch(line)
            if found is None:
                expected = "a clip's name and 0, 1 or 2, such as clip.avi 1"
                raise malformed(path, number, line, expected)
            name, part = found[1], ("", "train", "test")[int(found[2])]
            if part:
                film = film_of(name, label)
                splits_of[film].add(part)
                records.append(clip_record(folder / label / name, [label], part, film))
            num_unused += not part
    notes = {
        f"clips that split {split} does not use, which are left out": num_unused,
        "films with clips of one class in train and of another in test, as the official split "
        "has it ('msqnet check' names them as split_leak)": sum(
            len(parts) > 1 for parts in splits_of.values()
        ),
    }
    return clip_rows("hmdb51", records, labels, count_notes(notes), root)


def film_of(clip: str, label: str) -> str:
    """The film that a clip of a class was cut from, by its name; the name itself if it says none.

    A name is such as ``Glory_smile_h_nm_np1_fr_med_5.avi``.
    """
    stem = clip.removesuffix(".avi")
    film, num_found = _CLIP_PROPERTIES.subn("", stem)
    return film.removesuffix(f"_{label}") if num_found else stem


HMDB51 = Format(
    "hmdb51",
    "HMDB51",
    read_rows=_read_hmdb51,
    task="single_label",
    licence="CC BY 4.0 (clips come from films and web videos)",
    options={
        "split": _SPLIT_HELP,
        "videos": f"{VIDEOS_HELP}, with a folder a class; the data set's own, hmdb51_org or "
        "videos by default",
    },
)

_UCF101_FOLDERS = ("ucfTrainTestlist/", "annotations/", "")
_UCF101_VIDEOS = ("UCF-101", "videos", "")


def _read_ucf101(root: Path, reading: Reading) -> ClipRows:
    split = choose(reading.options, "split", _SPLIT_NUMBERS)
    labels = _ucf101_labels(root)
    folder = video_folder(root, reading.options, _UCF101_VIDEOS, inside=labels.names[0])
    return clip_rows("ucf101", _ucf101_records(root, split, labels, folder), labels, (), root)


def _ucf101_labels(root: Path) -> LabelSet:
    path = find_file(root, ["classInd.txt"], "list of classes", _UCF101_FOLDERS)
    return LabelSet(read_class_names(path, first=1, separator=" "))


def _ucf101_records(root: Path, split: str, labels: LabelSet, folder: Path) -> list[Record]:
    """The clips of one official split, train before test."""
    lists = {
        part: find_file(
            root, [f"{part}list0{split}.txt"], f"{part} list of split {split}", _UCF101_FOLDERS
        )
        for part in ("train", "test")
    }
    records = []
    for part, path in lists.items():
        for number, line in numbered_lines(path):
            written, _, class_number = line.partition(" ")
            names = PurePosixPath(written).parts
            if len(names) != 2 or names[0] not in labels:
                expected = "<class>/<clip>.avi with a class of classInd.txt"
                raise malformed(path, number, line, expected)
            right = str(labels.index(names[0]) + 1)
            if class_number.strip() not in ("", right):
                raise malformed(path, number, line, f"class number {right} as in classInd.txt")
            records.append(_ucf101_clip(folder / written, names[0], part))
    return records


def _ucf101_clip(path: Path, label: str, split: str) -> Record:
    return clip_record(path, [label], split, path.stem.rpartition("_c")[0] or path.stem)


def ucf101_clips(root: Path, labels: LabelSet) -> list[Record]:
    """UCF101's training clips of the classes in `labels`, in order of label and path.

    The root holds its lists, or a folder of videos for each class. `DatasetError` if a class has no
    clip.
    """
    folder = video_folder(root, {}, _UCF101_VIDEOS, inside=labels.names[0])
    if any((root / f"{place}classInd.txt").exists() for place in _UCF101_FOLDERS):
        clips = _ucf101_records(root, "1", _ucf101_labels(root), folder)
        clips = [clip for clip in clips if clip.labels[0] in labels]
    else:
        clips = [
            _ucf101_clip(path, label, "train")
            for label in labels
            for path in (folder / label).glob("*.avi")
        ]
    missing = [name for name in labels if name not in {clip.labels[0] for clip in clips}]
    if missing:
        raise DatasetError(
            f"{root}: found no UCF101 clip of {', '.join(missing[:_NUM_NAMED])}; give the folder "
            "that holds classInd.txt and the lists, or a folder a class with its .avi files"
        )
    return sorted(clips, key=lambda clip: (labels.index(clip.labels[0]), clip.path))


UCF101 = Format(
    "ucf101",
    "UCF101",
    read_rows=_read_ucf101,
    task="single_label",
    licence="not stated (clips come from YouTube)",
    options={
        "split": _SPLIT_HELP,
        "videos": f"{VIDEOS_HELP}, with a folder a class; UCF-101, videos or the data set's "
        "own by default",
    },
)

_KINETICS_SPLITS = {
    "train": ("train",),
    "val": ("val", "validate", "validation"),
    "test": ("test",),
}
_KINETICS_FOLDERS = ("", "annotations")
_CLASS_FILES = ("classes.txt", "labels.txt", "label_map.txt", "classes.csv", "labels.csv")
_CLIP_TIMES = re.compile(r"_\d{6}_\d{6}$")
_NUMBERED = re.compile(r"^(?P<path>.+?)(?:[ ,\t]+(?P<frames>\d+))?[ ,\t]+(?P<number>\d+)$")
_REPEATED = "lines that repeat another one and count once"


def _read_kinetics(root: Path, reading: Reading) -> ClipRows:
    options = reading.options
    lists = _find_lists(root, options)
    if "classes" in options:
        classes: Path | None = find_file(root, [options["classes"]], "classes file")
    else:
        places = [root / folder / name for folder in _KINETICS_FOLDERS for name in _CLASS_FILES]
        classes = next((place for place in places if place.exists()), None)
    names = None if classes is None else read_class_names(classes)
    headers = [read_text(path).partition("\n")[0].lower() for path in lists.values()]
    official = {
        "youtube_id" in {cell.strip(' "\r') for cell in header.split(",")} for header in headers
    }
    if len(official) > 1:
        raise DatasetError(
            f"{root}: official and numbered lists side by side "
            f"({', '.join(path.name for path in lists.values())}); name the ones to use as "
            "options, such as train=FILE"
        )
    if True in official:
        return _read_official_lists(root, options, lists, names)
    if names is None:
        raise DatasetError(
            f"{root}: lists that number their classes need a file of class names; looked for "
            f"{', '.join(_CLASS_FILES)}, there and in annotations/. Name it as classes=FILE"
        )
    labels, folder = LabelSet(names), video_folder(root, options, ("",))
    clips = [clip for split, path in lists.items() for clip in _numbered(path, split, labels)]
    records = [
        clip_record(folder / name, [label], split, video)
        for name, label, split, video in dict.fromkeys(clips)
    ]
    notes = count_notes({_REPEATED: len(clips) - len(records)})
    return clip_rows("kinetics", records, labels, notes, root)


def _find_lists(root: Path, options: Mapping[str, str]) -> dict[str, Path]:
    named = [split for split in _KINETICS_SPLITS if split in options]
    if named:
        return {split: find_file(root, [options[split]], f"{split} list") for split in named}
    found: dict[str, list[Path]] = defaultdict(list)
    folders = [root / name for name in _KINETICS_FOLDERS if (root / name).is_dir()]
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        words = set(re.split("[^a-z]+", path.stem.lower()))
        splits = [split for split, spellings in _KINETICS_SPLITS.items() if words & {*spellings}]
        if path.suffix in (".csv", ".txt") and len(splits) == 1 and path.is_file():
            found[splits[0]].append(path)
    for split, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise ConfigError(
                f"{root}: several {split} lists ({names}); name the one to use as {split}=FILE"
            )
    if not found:
        raise DatasetError(
            f"{root}: found no list; looked for .csv and .txt files with the word "
            f"{' or '.join(_KINETICS_SPLITS)} in their names, there and in annotations/. Give the "
            "folder that holds them as --root, or name them as options, such as train=FILE"
        )
    return {split: found[split][0] for split in _KINETICS_SPLITS if split in found}


def _read_official_lists(
    root: Path,
    options: Mapping[str, str],
    lists: Mapping[str, Path],
    names: tuple[str, ...] | None,
) -> ClipRows:
    clips = [clip for split, path in lists.items() for clip in _official(path, split)]
    distinct = list(dict.fromkeys(clips))
    labelled = [clip for clip in distinct if clip[1]]
    found = sorted({label for _, label, _, _ in labelled})
    labels = LabelSet(names or tuple(found))
    unknown = [label for label in found if label not in labels]
    if unknown:
        raise DatasetError(
            f"{root}: the classes file does not name {', '.join(unknown[:_NUM_NAMED])}"
        )
    folder = video_folder(root, options, ("", "videos"), inside="train")
    place_of = {}
    for split in {split for _, _, split, _ in labelled}:
        # By the split's own name, or by another usual name if only that one is there.
        spellings = next((names for names in _KINETICS_SPLITS.values() if split in names), ())
        place_of[split] = video_folder(folder, {}, dict.fromkeys((split, *spellings)))
    is_flat = {split: any(place.glob("*.mp4")) for split, place in place_of.items()}
    records = []
    for name, label, split, video in labelled:
        place = place_of[split] / ("" if is_flat[split] else label) / name
        records.append(clip_record(place, [label], split, video))
    num_without = sum(not label for _, label, _, _ in clips)
    notes = {
        _REPEATED: len(clips) - len(distinct),
        "clips without a label, which are left out": num_without,
    }
    return clip_rows("kinetics", records, labels, count_notes(notes), root)


def _official(path: Path, split: str) -> Iterator[tuple[str, str, str, str]]:
    """File, label (empty where the list does not tell), split and video of each clip."""
    columns = ("youtube_id", "time_start", "time_end")
    for row in read_delimited(path, GET_AGAIN, columns, is_strict=False, is_lower=True).rows:
        video, *times = (row[name] for name in columns)
        try:
            start, end = (int(parse_seconds(time)) for time in times)
        except ValueError as error:
            raise malformed(path, row.line, ", ".join(times), "two times in seconds") from error
        name = f"{video}_{start:06d}_{end:06d}.mp4"
        yield name, row["label"].strip(), (row["split"] or split).strip(), video


def _numbered(path: Path, split: str, labels: LabelSet) -> Iterator[tuple[str, str, str, str]]:
    """Path, label, split and video (empty where the name does not tell) of each clip."""
    for number, line in numbered_lines(path):
        found = _NUMBERED.match(line)
        if found is None or int(found["number"]) >= len(labels):
            expected = f"a path and a class number from 0 to {len(labels) - 1}"
            raise malformed(path, number, line, expected)
        written = found["path"].strip('"')
        video, num_times = _CLIP_TIMES.subn("", PurePosixPath(written).stem)
        yield written, labels.names[int(found["number"])], split, video if num_times else ""


KINETICS = Format(
    "kinetics",
    "Kinetics (or lists in its style)",
    read_rows=_read_kinetics,
    task="single_label",
    licence="annotations CC BY 4.0 (Google); clips come from YouTube",
    options={
        **{
            split: f"the {split} list; only the lists named so are read then"
            for split in _KINETICS_SPLITS
        },
        "classes": "file of class names; needed by numbered lists",
        "videos": f"{VIDEOS_HELP}; the data set's own by default, or videos",
    },
)

_MAMMALNET_FOLDERS = ("", "annotation/", "annotations/", "MammalNet/")
_MAMMALNET_LINE = re.compile(r"(\S+)\s+(\d+)\s+(\d+)")
_VIDEO_ID_LETTERS = 11


def _read_mammalnet(root: Path, reading: Reading) -> ClipRows:
    behaviours, genera = (
        read_class_names(
            find_file(root, [f"{name}_to_id.csv"], f"list of {what}", _MAMMALNET_FOLDERS)
        )
        for name, what in (("behavior", "behaviours"), ("genus", "genera"))
    )
    folder = video_folder(root, reading.options, ("trimmed_video", "videos", "."))
    records: list[Record] = []
    videos: dict[str, set[str]] = {"train": set(), "test": set()}
    expected = (
        f"a file, a behaviour from 0 to {len(behaviours) - 1} and a genus from 0 to "
        f"{len(genera) - 1}"
    )
    for split in videos:
        path = find_file(root, [f"{split}.txt"], f"list of the {split} clips", _MAMMALNET_FOLDERS)
        for number, line in numbered_lines(path):
            found = _MAMMALNET_LINE.fullmatch(line)
            behaviour, genus = map(int, found.groups()[1:]) if found else (0, 0)
            if found is None or behaviour >= len(behaviours) or genus >= len(genera):
                raise malformed(path, number, line, expected)
            video = found[1][:_VIDEO_ID_LETTERS]
            videos[split].add(video)
            place, labels = folder / found[1], [behaviours[behaviour]]
            records.append(clip_record(place, labels, split, video, genera[genus]))
    num_shared = len(videos["train"] & videos["test"])
    notes = count_notes({"video(s) with clips in both train and test": num_shared})
    return clip_rows("mammalnet", records, LabelSet(behaviours), notes, root)


MAMMALNET = Format(
    "mammalnet",
    "MammalNet",
    read_rows=_read_mammalnet,
    task="single_label",
    licence="not stated for the data (the authors' code is MIT)",
    options={"videos": VIDEOS_HELP},
)
