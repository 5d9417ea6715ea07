"""Lists of frames as Animal Kingdom has them, written: a folder that `--from animal_kingdom` reads.

``train.csv`` and ``val.csv`` (the ``test`` of the papers) have a line a frame: the clip, its
number, the number of the frame, the place of its image and the ids of the clip's actions, separated
by spaces. A clip has its actions as a whole, so starts and ends are lost. Ids are those of the 140
actions of the data set.
"""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

from msqnet.data.adapters.annotation_files import label_set
from msqnet.errors import DatasetError
from msqnet.formats.annotations import Format, Keeps
from msqnet.formats.frame_times import read_frame_times
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.formats.annotations import AnnotatedVideo, Annotations
    from msqnet.labels import LabelSet

_HEADER = ("original_vido_id", "video_id", "frame_id", "path", "labels")
_FILES = {"train": "train.csv", "test": "val.csv"}
_NUM_NAMED = 5
_KEEPS: frozenset[Keeps] = frozenset(("ethogram", "splits"))


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    del options
    if path.suffix:
        raise DatasetError(f"{path}: found suffix {path.suffix!r}, expected the name of a folder")
    labels = label_set("animal_kingdom")
    unknown = sorted(set(annotations.all_labels()) - set(labels))
    if unknown:
        raise DatasetError(
            f"{path}: {len(unknown)} labels are none of the 140 actions of Animal Kingdom, such as "
            f"{', '.join(unknown[:_NUM_NAMED])}; rename them, or write another format"
        )
    counts: Counter[str] = Counter()
    counts["actions of the data set that nobody looked for, which are absent in its lists"] = len(
        labels
    ) - len(annotations.labels)
    clips = _clips(annotations.videos, counts)
    path.mkdir(parents=True, exist_ok=True)
    for split, name in _FILES.items():
        with (
            replacing(path / name) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, delimiter=" ", lineterminator="\n")
            writer.writerow(_HEADER)
            for number, (video, num_frames) in enumerate(clips[split]):
                writer.writerows(_rows(video, number, num_frames, labels))
    num_events = sum(len(video.events) for video in annotations.videos)
    return (
        f"a clip has its labels as a whole; events whose start and end are lost: {num_events}",
        *(f"{text}: {number}" for text, number in counts.items() if number),
    )


def _clips(
    videos: Sequence[AnnotatedVideo], counts: Counter[str]
) -> dict[str, list[tuple[AnnotatedVideo, int]]]:
    """Videos with their number of frames, by split."""
    names = Counter(video.path.stem for video in videos)
    twice = [name for name, number in names.items() if number > 1]
    if twice:
        raise DatasetError(
            f"{len(twice)} names of videos, such as {twice[0]!r}, are there more than once, but "
            "Animal Kingdom names clips by them; rename the files"
        )
    clips: dict[str, list[tuple[AnnotatedVideo, int]]] = {split: [] for split in _FILES}
    for video in videos:
        if not video.events:
            counts["videos without an event, which have no line"] += 1
            continue
        times = read_frame_times(video.path)
        if times is None:
            raise DatasetError(
                f"{video.path}: it is not there, so its frames cannot be counted; put it there"
            )
        split = video.split if video.split in _FILES else "train"
        counts["videos in neither train nor test, which stand in train"] += video.split != split
        clips[split].append((video, len(times.starts_seconds)))
    return clips


def _rows(
    video: AnnotatedVideo, number: int, num_frames: int, labels: LabelSet
) -> Iterator[tuple[str, ...]]:
    name = video.path.stem
    ids = sorted(set(labels.indices(event.label for event in video.events)))
    text = ",".join(map(str, ids))
    for frame in range(num_frames):
        yield name, str(number), str(frame), f"{name}/{frame + 1:06}.jpg", text


FORMAT = Format(
    "animal_kingdom",
    "lists of frames of Animal Kingdom",
    "",
    _KEEPS,
    None,
    _write,
    files=lambda path: tuple(path / name for name in _FILES.values()),
)
