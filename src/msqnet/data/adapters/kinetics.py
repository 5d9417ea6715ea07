"""Kinetics-400, -600 and -700, and lists in the same style; 10-second clips, one action each.

Two kinds of list, told apart by their first line:

- official: ``label,youtube_id,time_start,time_end,split[,is_cc]``. The clip is
  ``<split>/<label>/<youtube_id>_<start>_<end>.mp4``, times in six digits; where a split's folder
  holds no folders of classes, ``<split>/<youtube_id>_<start>_<end>.mp4``. Labels are in
  alphabetical order unless there is a classes file: the lists number no classes.
- numbered: ``<path> <class number from 0>``, separated by a space, a comma or a tab, optionally
  with the number of frames between the two (a folder of frames). They need a classes file: one name
  a line in the order of the numbers, or a table with the columns ``id,name``.

Lists are the .csv and .txt files that have train, val or test as a word in their names. Tests cover
invented lists of both kinds, and real numbered lists of another data set; no official list was at
hand.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    count_note,
    malformed,
    numbered_lines,
    parse_seconds,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_SPLITS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
_LIST_FOLDERS = ("", "annotations")
_LIST_SUFFIXES = (".csv", ".txt")
_CLASS_FILES = ("classes.txt", "labels.txt", "label_map.txt", "classes.csv", "labels.csv")
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_CLIP_TIMES = re.compile(r"_\d{6}_\d{6}$")
_NUMBERED = re.compile(r"^(?P<path>.+?)(?:[ ,\t]+(?P<frames>\d+))?[ ,\t]+(?P<number>\d+)$")
_NUM_NAMED = 5


@dataclass(frozen=True)
class _Clip:
    """One line of a list.

    Attributes:
        label: its class; empty where the list does not tell.
        split: as the list writes it.
        name: of the file, without its folder, in an official list; its path in a numbered one.
        video: what it was cut from, empty if not known.
    """

    label: str
    split: str
    name: str
    video: str


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    lists = _find_lists(root, options)
    names = _read_classes(root, options)
    official = {path: _is_official(path) for path in lists.values()}
    if len(set(official.values())) > 1:
        raise DatasetError(
            f"{root}: official and numbered lists side by side "
            f"({', '.join(path.name for path in official)}); name the ones to use as options, "
            "such as train=FILE"
        )
    if all(official.values()):
        return _convert_official(root, options, lists, names)
    if names is None:
        raise DatasetError(
            f"{root}: lists that number their classes need a file of class names; looked for "
            f"{', '.join(_CLASS_FILES)}, there and in annotations/. Name it as classes=FILE"
        )
    return _convert_numbered(root, options, lists, LabelSet(tuple(names)))


def _find_lists(root: Path, options: Mapping[str, str]) -> dict[str, Path]:
    named = {
        split: find_file(root, [options[split]], f"{split} list")
        for split in _SPLITS
        if split in options
    }
    if named:
        return named
    found: dict[str, Path] = {}
    for split in _SPLITS:
        usual = [path for place in _LIST_FOLDERS for path in _lists_in(root / place, split)]
        if len(usual) > 1:
            names = ", ".join(path.name for path in usual)
            raise ConfigError(
                f"{root}: several {split} lists ({names}); name the one to use as {split}=FILE"
            )
        if usual:
            found[split] = usual[0]
    if not found:
        raise DatasetError(
            f"{root}: found no list; looked for .csv and .txt files with the word "
            f"{' or '.join(_SPLITS)} in their names, there and in annotations/. Give the folder "
            "that holds them as --root, or name them as options, such as train=FILE"
        )
    return found


def _lists_in(folder: Path, split: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix in _LIST_SUFFIXES and _split_of(path) == split and path.is_file()
    ]


def _split_of(path: Path) -> str | None:
    """The split whose name is a word of the file's name; None if none is, or several are."""
    words = set(re.split("[^a-z]+", path.stem.lower()))
    splits = [split for split, spellings in _SPLITS.items() if words & set(spellings)]
    return splits[0] if len(splits) == 1 else None


def _read_classes(root: Path, options: Mapping[str, str]) -> list[str] | None:
    """Names in the order of their numbers; None if there is no classes file."""
    if "classes" in options:
        path = find_file(root, [options["classes"]], "classes file")
    else:
        places = [root / folder / name for folder in _LIST_FOLDERS for name in _CLASS_FILES]
        usual = next((place for place in places if place.exists()), None)
        if usual is None:
            return None
        path = usual
    names: list[str] = []
    lines = list(numbered_lines(path))
    is_table = bool(lines) and lines[0][1].replace(" ", "").lower() == "id,name"
    for number, line in lines[is_table:]:
        written, _, name = line.partition(",") if is_table else (str(len(names)), "", line)
        if written.strip() != str(len(names)) or not name.strip() or name.strip() in names:
            raise malformed(path, number, line, f"the name of class {len(names)}, not used before")
        names.append(name.strip())
    return names


def _is_official(path: Path) -> bool:
    header = read_text(path).partition("\n")[0].lower()
    return "youtube_id" in {cell.strip(' "\r') for cell in header.split(",")}


def _convert_official(
    root: Path,
    options: Mapping[str, str],
    lists: Mapping[str, Path],
    names: Sequence[str] | None,
) -> Converted:
    clips = [clip for split, path in lists.items() for clip in _read_official(path, split)]
    labelled = [clip for clip in dict.fromkeys(clips) if clip.label]
    labels = LabelSet(tuple(names or sorted({clip.label for clip in labelled})))
    unknown = sorted({clip.label for clip in labelled} - set(labels))
    if unknown:
        raise DatasetError(
            f"{root}: the classes file does not name {', '.join(unknown[:_NUM_NAMED])}"
        )
    folder = video_folder(root, options, ("", "videos"), inside="train")
    place_of = {split: _split_folder(folder, split) for split in {clip.split for clip in labelled}}
    is_flat = {split: _holds_clips(place) for split, place in place_of.items()}
    records = [
        _record(
            place_of[clip.split] / ("" if is_flat[clip.split] else clip.label) / clip.name, clip
        )
        for clip in labelled
    ]
    notes = (
        *count_note(
            len(clips) - len(dict.fromkeys(clips)), "lines that repeat another one and count once"
        ),
        *count_note(
            sum(not clip.label for clip in clips), "clips without a label, which are left out"
        ),
    )
    return Converted(as_rows(records, root), labels, notes)


def _read_official(path: Path, split: str) -> Iterator[_Clip]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in _COLUMNS[1:] if name not in reader.fieldnames]
    if missing:
        raise DatasetError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(reader.fieldnames)}"
        )
    for cells in reader:
        video = cells["youtube_id"]
        try:
            start, end = (int(parse_seconds(cells[name])) for name in ("time_start", "time_end"))
        except (ValueError, TypeError) as error:
            found = f"{cells['time_start']}, {cells['time_end']}"
            raise malformed(path, reader.line_num, found, "two times in seconds") from error
        name = f"{video}_{start:06d}_{end:06d}.mp4"
        label = (cells.get("label") or "").strip()
        yield _Clip(label, (cells.get("split") or split).strip(), name, video)


def _split_folder(folder: Path, split: str) -> Path:
    """The split's folder by its own name, or by another usual name if only that one is there."""
    spellings = next((names for names in _SPLITS.values() if split in names), ())
    return video_folder(folder, {}, dict.fromkeys((split, *spellings)))


def _holds_clips(folder: Path) -> bool:
    return next(folder.glob("*.mp4"), None) is not None


def _convert_numbered(
    root: Path, options: Mapping[str, str], lists: Mapping[str, Path], labels: LabelSet
) -> Converted:
    clips = [clip for split, path in lists.items() for clip in _read_numbered(path, split, labels)]
    folder = video_folder(root, options, ("",))
    distinct = list(dict.fromkeys(clips))
    records = (_record(folder / clip.name, clip) for clip in distinct)
    notes = count_note(len(clips) - len(distinct), "lines that repeat another one and count once")
    return Converted(as_rows(records, root), labels, notes)


def _read_numbered(path: Path, split: str, labels: LabelSet) -> Iterator[_Clip]:
    for number, line in numbered_lines(path):
        found = _NUMBERED.match(line)
        if found is None or int(found["number"]) >= len(labels):
            expected = f"a path and a class number from 0 to {len(labels) - 1}"
            raise malformed(path, number, line, expected)
        written = found["path"].strip('"')
        video, num_times = _CLIP_TIMES.subn("", PurePosixPath(written).stem)
        yield _Clip(labels.names[int(found["number"])], split, written, video if num_times else "")


def _record(path: Path, clip: _Clip) -> Record:
    return Record(
        row=0,
        path=path,
        relative_path=str(path),
        labels=(clip.label,),
        split=clip.split,
        group=clip.video,
        actor="human",
        source=ADAPTER.name,
    )


def _list_help(splits: Iterable[str]) -> dict[str, str]:
    return {split: f"the {split} list; only the lists named so are read then" for split in splits}


ADAPTER = Adapter(
    name="kinetics",
    title="Kinetics (or lists in its style)",
    task="single_label",
    licence="annotations CC BY 4.0 (Google); clips come from YouTube",
    read=_read,
    options={
        **_list_help(_SPLITS),
        "classes": "file of class names; needed by numbered lists",
        VIDEOS_OPTION: f"{VIDEOS_HELP}; the data set's own by default, or videos",
    },
)
