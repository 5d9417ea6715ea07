"""Lists of videos as Charades has them, written: a folder that `--from charades` reads.

``Charades_v1_train.csv`` and ``Charades_v1_test.csv`` have a line a video, with the columns of
Charades (https://prior.allenai.org/projects/charades) and actions as ``c000 1.50 3.25;...`` in
seconds; ``Charades_v1_classes.txt`` names the codes. The group of a video is its ``subject``.

An event of which not both ends are known, or that has no length, gets its start for both: reading
takes such an action as one that is in the video at unknown times.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError
from msqnet.formats.annotations import Format, Keeps
from msqnet.formats.frame_times import duration_seconds
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations

_COLUMNS = (
    *("id", "subject", "scene", "quality", "relevance", "verified", "script"),
    *("objects", "descriptions", "actions", "length"),
)
_SPLITS = ("train", "test")
_CLASSES = "Charades_v1_classes.txt"
_SUFFIX = ".mp4"
_KEEPS: frozenset[Keeps] = frozenset(("ethogram", "splits", "groups"))


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    del options
    if path.suffix:
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected the name of a folder")
    code_of = {name: f"c{number:03}" for number, name in enumerate(annotations.all_labels())}
    counts: Counter[str] = Counter()
    rows: dict[str, list[dict[str, str]]] = {split: [] for split in _SPLITS}
    for video, name in zip(annotations.videos, _ids(annotations.videos), strict=True):
        split = video.split if video.split in _SPLITS else "train"
        counts["videos in neither train nor test, which stand in train"] += video.split != split
        counts[f"videos whose name does not end in {_SUFFIX}, as reading takes them to"] += (
            video.path.suffix != _SUFFIX
        )
        counts["train videos without an event, which reading leaves out"] += (
            split == "train" and not video.events
        )
        rows[split].append(_row(video, name, code_of, counts))
    texts = {_list_name(split): _table(rows[split]) for split in _SPLITS}
    texts[_CLASSES] = "".join(f"{code} {name}\n" for name, code in code_of.items())
    path.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with replacing(path / name) as part:
            part.write_text(text, encoding="utf-8", newline="")
    return (
        "videos are named by their file's name: --option videos=FOLDER says where they are when "
        "the lists are read",
        *annotations.other_labels_note(FORMAT.title),
        *(f"{text}: {number}" for text, number in counts.items() if number),
    )


def _ids(videos: Sequence[AnnotatedVideo]) -> list[str]:
    names = [video.path.stem for video in videos]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} names of videos, such as {twice[0]!r}, are there more than once, but "
            "Charades names videos by them; rename the files, or take one observation of a video"
        )
    return names


def _row(
    video: AnnotatedVideo, name: str, code_of: Mapping[str, str], counts: Counter[str]
) -> dict[str, str]:
    length = duration_seconds(video.path, video.duration_seconds)
    if length is None:
        raise DatasetError(f"{video.path}: its length is not known; put the video there")
    actions = []
    for event in video.events:
        end = event.start_seconds if event.end_seconds is None else event.end_seconds
        counts["events beyond the end of their video, whose times reading takes as unknown"] += (
            event.start_seconds >= length
        )
        times = f"{_decimals(event.start_seconds)} {_decimals(end)}"
        actions.append(f"{code_of[event.label]} {times}")
    return dict.fromkeys(_COLUMNS, "") | {
        "id": name,
        "subject": video.group,
        "actions": ";".join(actions),
        "length": _decimals(length),
    }


def _decimals(seconds: float) -> str:
    """Two decimals as in Charades, or up to six where there are that many."""
    text = f"{seconds:.6f}"
    return text[:-4] + text[-4:].rstrip("0")


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _files(path: Path) -> tuple[Path, ...]:
    return tuple(path / name for name in (*map(_list_name, _SPLITS), _CLASSES))


def _list_name(split: str) -> str:
    return f"Charades_v1_{split}.csv"


FORMAT = Format("charades", "lists of Charades", "", _KEEPS, None, _write, files=_files)
