"""Animal Kingdom (Ng et al., CVPR 2022): clips of many species, 140 actions, several at once.

Three sources hold the same clips; the first that is there is read, or the one that is asked for:

- ``csv``: ``action_recognition/annotation/{train,val}.csv`` as distributed, one line a frame, space
  separated. Tested on small files only: the real ones are 272 MB.
- ``metadata``: the workbook ``AR_metadata.xlsx``, one row a clip, with the animals. Tested on the
  real one: 24,004 training and 6,096 test clips.
- ``lists``: ``test_animal.txt`` and ``train_all*.txt`` of Animal-CLIP, in which a clip is a list of
  (animal, action). Tested on real ones, of which the training list holds the first 3,000 clips.

The authors' ``val`` is named ``test``, as in the papers.

**Names of the columns.** Column k is the authors' label id k. For eight ids a workbook names
another action than the clips do, each of which has its ids and a list of its actions by name:
``df_action.xlsx`` at 49, 50 and 81 to 84, and both it and the sheet "Action" of
``AR_metadata.xlsx`` at 70 and 74 (of 97 clips with id 74, 86 list "Lying down" and none "Lying on
its side"). `animal_kingdom.labels.txt` holds the names that fit the clips; ``names=df_action``
takes those of ``df_action.xlsx`` as they are.

**Groups.** The last three letters of a clip's id are taken as the recording that it was cut from.
The authors do not document this. Of the 336 codes most show one scene: two clips of one code share
an animal in 71 % of cases, two clips at random in 1 %. The official split divides recordings.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from msqnet.documents import read_delimited
from msqnet.errors import DatasetError
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
    video_folder,
)
from msqnet.formats.options import choose
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.documents import TableRow
    from msqnet.formats import Reading
    from msqnet.formats.clip_table import ClipRows

NUM_CLIPS = {"train": 24_004, "test": 6_096}
"""Clips of the official split."""

_CSV_HEADER = ["original_vido_id", "video_id", "frame_id", "path", "labels"]
_WORKBOOK = "AR_metadata.xlsx"
_SOURCE_OF = {"train.csv": "csv", _WORKBOOK: "metadata", "test_animal.txt": "lists"}

_PAIR = re.compile(r"""\(\\?['"]?(.+?)\\?['"], \\?['"]([^'"\\]+)\\?['"]\)""")
"""``('Lion', 'Eating')`` in any quoting met: apostrophes unescaped, one first quote not there."""


class _Clip(NamedTuple):
    """One clip as a source has it."""

    name: str
    split: str
    labels: tuple[str, ...]
    animals: tuple[str, ...] = ()
    frame_folder: str = ""


def _read(root: Path, reading: Reading) -> ClipRows:
    options = reading.options
    labels = _label_names(root, options)
    if "source" in options:
        source = choose(options, "source", tuple(_SOURCE_OF.values()))
    else:
        source = _SOURCE_OF[_find(root, _SOURCE_OF, "annotation files").name]
    clips, notes = _READERS[source](root, labels)
    if choose(options, "actor", ("species", "class")) == "class":
        clips, unknown = _with_classes(root, clips)
        notes += unknown
    is_image = choose(options, "frames", ("false", "true")) == "true"
    kind = "image" if is_image else "video"
    candidates = (f"action_recognition/dataset/{kind}", f"dataset/{kind}", kind)
    folder = video_folder(root, options, candidates)
    records = []
    for clip in clips:
        name, group = clip.name, clip.name[-3:]
        place = folder / (clip.frame_folder or name if is_image else f"{name}.mp4")
        actor = "|".join(clip.animals)
        records.append(clip_record(place, clip.labels, clip.split, group, actor))
    others = _differences(labels.names, official_labels("animal_kingdom"))
    if others:
        notes += (f"names that do not fit the clips, which show other actions: {others}",)
    notes += tuple(_split_notes(records, labels))
    return clip_rows("animal_kingdom", records, labels, notes, root)


def _find(root: Path, names: Iterable[str], what: str) -> Path:
    folders = ("action_recognition/annotation/", "action_recognition/", "annotation/", "")
    return find_file(root, names, what, folders)


def _label_names(root: Path, options: Mapping[str, str]) -> LabelSet:
    ours = official_labels("animal_kingdom")
    if choose(options, "names", ("clips", "df_action")) == "clips":
        return ours
    path = _find(root, ["df_action.xlsx"], "list of actions")
    rows = _sheet(path, "AR_count", "index", "action")
    name_of = {row.value("index").whole(): row["action"].strip() for row in rows}
    if set(name_of) != set(range(len(ours))) or len(rows) != len(ours):
        raise DatasetError(f"{path}: found {len(rows)} actions, expected ids 0 to {len(ours) - 1}")
    return LabelSet(tuple(name_of[number] for number in range(len(ours))))


def _sheet(path: Path, name: str, *columns: str) -> tuple[TableRow, ...]:
    return read_delimited(path, GET_AGAIN, columns, sheet=name, is_strict=False).rows


def _differences(names: Sequence[str], labels: LabelSet) -> str:
    """Ids and names that differ from the labels, such as ``49 'Flapping tail'``."""
    return ", ".join(
        f"{number} {name!r}"
        for number, (name, label) in enumerate(zip(names, labels, strict=True))
        if name.casefold() != label.casefold()
    )


def _labels_of_ids(text: str, labels: LabelSet) -> tuple[str, ...] | None:
    """Names of ids such as ``2,40``; None where it is no list of ids."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < len(labels) for part in parts):
        return None
    return tuple(labels.names[number] for number in sorted({int(part) for part in parts}))


def _read_csv(root: Path, labels: LabelSet) -> tuple[list[_Clip], tuple[str, ...]]:
    clips = [
        clip
        for split, name in (("train", "train.csv"), ("test", "val.csv"))
        for clip in _read_frame_list(
            _find(root, [name], f"frame list of the {split} clips"), split, labels
        )
    ]
    note = "no actors: these files do not name the animals; source=metadata has them"
    return clips, (note,)


def _read_frame_list(path: Path, split: str, labels: LabelSet) -> Iterator[_Clip]:
    seen: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=" ")
        header = next(lines, [])
        if header != _CSV_HEADER:
            raise malformed(path, 1, " ".join(header), f"the header {' '.join(_CSV_HEADER)!r}")
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(_CSV_HEADER):
                raise malformed(path, number, " ".join(cells), "5 cells separated by spaces")
            name, _, _, image, ids = cells
            if name not in seen:
                clip_labels = _labels_of_ids(ids, labels)
                if clip_labels is None:
                    raise malformed(path, number, ids, f"label ids from 0 to {len(labels) - 1}")
                folder = image.rpartition("/")[0]
                yield _Clip(name, split, clip_labels, frame_folder=folder)
            if seen.setdefault(name, ids) != ids:
                raise malformed(path, number, ids, f"{seen[name]} as in the clip's first frame")


def _read_metadata(root: Path, labels: LabelSet) -> tuple[list[_Clip], tuple[str, ...]]:
    path = _find(root, [_WORKBOOK], "metadata workbook")
    columns = ("video_id", "type", "labels", "list_animal_action")
    clips: list[_Clip] = []
    num_contradictions = 0
    for row in _sheet(path, "AR", *columns):
        name, split, ids, pairs = (row[column] for column in columns)
        clip_labels = _labels_of_ids(ids, labels)
        if not name or name.isdecimal() or split not in NUM_CLIPS or clip_labels is None:
            expected = f"a clip, train or test, and label ids from 0 to {len(labels) - 1}"
            raise malformed(path, row.line, f"{name} {split} {ids}", expected)
        found = _PAIR.findall(pairs)
        listed = {action.casefold() for _, action in found}
        num_contradictions += listed != {label.casefold() for label in clip_labels}
        clips.append(_Clip(name, split, clip_labels, _animals(found)))
    contradictions = {
        "clip(s) whose list of (animal, action) differs from the label ids, which are used here "
        "and in published results": num_contradictions
    }
    return clips, (*_sheet_notes(path, labels), *count_notes(contradictions))


def _animals(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(animal.replace("\\", "") for animal, _ in pairs))


def _sheet_notes(path: Path, labels: LabelSet) -> tuple[str, ...]:
    """How the workbook's own list of actions differs from the names in use."""
    rows = [
        (row["Label"], row["Action"].strip()) for row in _sheet(path, "Action", "Label", "Action")
    ]
    name_of = {int(number): name for number, name in rows if number.isdecimal()}
    without_id = [name for number, name in rows if not number.isdecimal()]
    free = [number for number in range(len(labels)) if number not in name_of]
    if len(rows) != len(labels) or len(without_id) != len(free) or len(free) > 1:
        raise DatasetError(
            f"{path}, sheet 'Action': found {len(rows)} actions, {len(without_id)} of them without "
            f"an id; expected ids 0 to {len(labels) - 1} and at most one '#N/A'"
        )
    # The id of "Yawning" reads #N/A: it is the one that no other action has.
    name_of.update(zip(free, without_id, strict=True))
    others = _differences([name_of[number] for number in range(len(labels))], labels)
    return (f"other names in the sheet 'Action' than in use: {others}",) if others else ()


def _read_lists(root: Path, labels: LabelSet) -> tuple[list[_Clip], tuple[str, ...]]:
    number_of = {name.casefold(): number for number, name in enumerate(labels)}
    lists = {"train": ("train_all.txt", "train_all_first3000.txt"), "test": ("test_animal.txt",)}
    clips: list[_Clip] = []
    for split, names in lists.items():
        path = _find(root, names, f"list of the {split} clips")
        for number, line in numbered_lines(path):
            file_name, _, text = line.partition("\t")
            pairs = _PAIR.findall(text)
            # Every pair begins with a bracket, so that none is passed over.
            if not pairs or len(pairs) != text.count("("):
                raise malformed(path, number, line, "a file, a tab and [('animal', 'action'), ...]")
            unknown = [action for _, action in pairs if action.casefold() not in number_of]
            if unknown:
                raise malformed(path, number, unknown[0], f"one of the {len(labels)} actions")
            ids = sorted({number_of[action.casefold()] for _, action in pairs})
            clip_labels = tuple(labels.names[number] for number in ids)
            name = file_name.strip().removesuffix(".mp4")
            clips.append(_Clip(name, split, clip_labels, _animals(pairs)))
    note = "labels are the actions of the lists, which differ from the label ids in places"
    return clips, (note,)


_READERS = {"csv": _read_csv, "metadata": _read_metadata, "lists": _read_lists}


def _with_classes(root: Path, clips: Sequence[_Clip]) -> tuple[list[_Clip], tuple[str, ...]]:
    """Put the class, such as Bird, in the place of the species."""
    path = _find(root, [_WORKBOOK], "metadata workbook, which has the animals' classes")
    rows = _sheet(path, "Animal", "Animal", "Parent Class")
    class_of = {row["Animal"].casefold(): row["Parent Class"] for row in rows}
    unknown = Counter(a for clip in clips for a in clip.animals if a.casefold() not in class_of)
    changed = []
    for clip in clips:
        classes = {class_of[a.casefold()] for a in clip.animals if a.casefold() in class_of}
        changed.append(clip._replace(animals=tuple(sorted(classes))))
    named = ", ".join(f"{animal} in {number}" for animal, number in unknown.most_common())
    notes = (f"animals without a class in the workbook: {named} clip(s)",) if unknown else ()
    return changed, notes


def _split_notes(records: Sequence[Record], labels: LabelSet) -> Iterator[str]:
    counts = Counter(record.split for record in records)
    for split, expected in NUM_CLIPS.items():
        if counts[split] != expected:
            yield f"{counts[split]} {split} clips; the official split has {expected}"
    tests = [record for record in records if record.split == "test"]
    seen = {name for record in tests for name in record.labels}
    yield from count_notes({"label(s) that no test clip shows": len(labels) - len(seen)})
    splits_of = defaultdict(set)
    for record in records:
        splits_of[record.group].add(record.split)
    shared = {group for group, splits in splits_of.items() if len(splits) > 1}
    if shared:
        num_seen = sum(record.group in shared for record in tests)
        yield (
            f"{num_seen} of {len(tests)} test clips come from a recording that training clips come "
            f"from too ({len(shared)} of {len(splits_of)} recordings are in both), if the last "
            "three letters of a clip's id name the recording, as it seems: scores on the official "
            "split say little about new recordings; 'group' holds the letters"
        )


ANIMAL_KINGDOM = Format(
    "animal_kingdom",
    "Animal Kingdom",
    read_rows=_read,
    task="multi_label",
    licence="research use only",
    options={
        "source": "csv, metadata or lists; the first that is there",
        "frames": "true: folders of frame images instead of video files",
        "actor": "species (default) or class, such as Bird",
        "names": "clips (default): names that fit the clips; df_action: as in df_action.xlsx",
        "videos": VIDEOS_HELP,
    },
)
