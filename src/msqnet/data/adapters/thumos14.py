"""THUMOS14: 20 sports with times in 413 untrimmed videos.

Files: ``annotation/<Class>_val.txt`` and ``<Class>_test.txt``, or the same in ``annotations_val/``
and ``annotations_test/``, with lines ``<video> <start> <end>`` in seconds, as the readme beside
them says; http://crcv.ucf.edu/THUMOS14/. Parts are `val` and `test`; the challenge's own training
part is the UCF101 clips of the same classes (option ``ucf101``).

Three levels:

- ``instances``: a row an annotated span, with one label, for single-label training and top-1. The
  lists name each cliff dive twice, as `CliffDiving` and as `Diving`: such a row is `CliffDiving`,
  and nothing is said about `Diving`. Nor is anything said about a class whose span overlaps.
- ``pieces``: for figures over time. Videos are cut wherever a span begins or ends, so that each
  row's labels, background included, are exactly known; the last piece is open, because the lists do
  not tell how long a video is.
- ``videos``: a row a video, with every label that is seen anywhere in it.

What ``Ambiguous_*.txt`` lists is "taken out of the evaluations" (readme): spans that lie inside of
it are left out, and no piece covers it. Some spans lie beyond the end of their video; only the
videos tell which, so `msqnet check` names them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from msqnet.data.adapters import ucf101
from msqnet.data.adapters.adapter import Adapter, Converted, find_file
from msqnet.data.adapters.annotation_files import (
    MIN_SECONDS_HELP,
    PIECES,
    VIDEOS_HELP,
    VIDEOS_OPTION,
    as_rows,
    choose_level,
    count_note,
    label_set,
    malformed,
    numbered_lines,
    parse_seconds,
    video_folder,
)
from msqnet.data.records import Record
from msqnet.errors import DatasetError
from msqnet.intervals import Span, covers, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from msqnet.labels import LabelSet

_AMBIGUOUS = "Ambiguous"
_GENERAL, _SPECIAL = "Diving", "CliffDiving"
_LIST_FOLDERS = ("annotation/", "annotations_{split}/", "original/annotations_{split}/", "")
_VIDEO_FOLDERS = {
    "val": ("validation", "videos"),
    "test": ("TH14_test_set_mp4", "videos"),
}
_NUM_NAMED = 5

_REPEATED = "lines that repeat another one and count once"
_EMPTY = "spans that do not end after they start, which are left out"
_INSIDE_AMBIGUOUS = "spans inside of an ambiguous one, which are left out"
_NOTHING_LEFT = "videos with nothing but ambiguous spans, which are left out"
_CLIFF_DIVES = f"cliff dives that are listed as {_GENERAL} too, rows of {_SPECIAL} alone"
_AT_ONCE = "spans listed for two classes that exclude each other, which are left out"
_OVERLAPPING = "rows that overlap a span of another class, which is unknown in them"
_TRAINING_CLIPS = "train rows, UCF101's clips of the same classes"
_NO_TRAINING_CLIPS = (
    "there is no split 'train': the data set's own training part is UCF101's clips of the same "
    "classes; add them with the option ucf101=FOLDER, or train on val"
)


@dataclass
class _Video:
    """What the lists say about one video.

    Attributes:
        name: without suffix.
        split: val or test.
        spans: of the 20 classes, each once.
        ambiguous: stretches that count nowhere.
    """

    name: str
    split: str
    spans: list[Span] = field(default_factory=list)
    ambiguous: list[Span] = field(default_factory=list)

    @property
    def clear_spans(self) -> list[Span]:
        """Spans that do not lie inside of an ambiguous stretch."""
        return [
            span
            for span in self.spans
            if not covers((other.interval for other in self.ambiguous), span.interval)
        ]


def _read(root: Path, options: Mapping[str, str]) -> Converted:
    level, min_seconds = choose_level(options, ("instances", PIECES, "videos"))
    labels = label_set("thumos14")
    counts: Counter[str] = Counter()
    records = _training_clips(root / options["ucf101"], labels) if "ucf101" in options else []
    counts[_TRAINING_CLIPS] = len(records)
    for split, candidates in _VIDEO_FOLDERS.items():
        folder = video_folder(root, options, candidates)
        for video in _usable_videos(root, split, labels, counts):
            blank = _blank_row(video, folder)
            if level == "instances":
                records += _instance_rows(video, blank, labels, counts)
            elif level == PIECES:
                records += _piece_rows(video, blank, labels, min_seconds)
            else:
                records.append(_video_row(video, blank, labels))
    notes = [note for text, number in counts.items() for note in count_note(number, text)]
    if "ucf101" not in options:
        notes.append(_NO_TRAINING_CLIPS)
    return Converted(as_rows(records, root), labels, tuple(notes))


def _usable_videos(
    root: Path, split: str, labels: LabelSet, counts: Counter[str]
) -> Iterator[_Video]:
    """Videos with at least one span that counts, by name."""
    for _, video in sorted(_read_split(root, split, labels, counts).items()):
        counts[_INSIDE_AMBIGUOUS] += len(video.spans) - len(video.clear_spans)
        counts[_NOTHING_LEFT] += not video.clear_spans
        if video.clear_spans:
            yield video


def _read_split(
    root: Path, split: str, labels: LabelSet, counts: Counter[str]
) -> dict[str, _Video]:
    first = find_file(
        root,
        (f"{place.format(split=split)}{labels.names[0]}_{split}.txt" for place in _LIST_FOLDERS),
        f"lists of the {split} videos",
    )
    lists = {name: first.with_name(f"{name}_{split}.txt") for name in (*labels, _AMBIGUOUS)}
    missing = [path.name for path in lists.values() if not path.exists()]
    if missing:
        raise DatasetError(
            f"{first.parent}: {len(missing)} of {len(lists)} lists are not there: "
            f"{', '.join(missing[:_NUM_NAMED])}; unpack the annotations again"
        )
    videos: dict[str, _Video] = {}
    for label, path in lists.items():
        listed: set[tuple[str, Span]] = set()
        for name, span in _read_list(path, label):
            counts[_REPEATED] += (name, span) in listed
            counts[_EMPTY] += span.end_seconds <= span.start_seconds
            if (name, span) in listed or span.end_seconds <= span.start_seconds:
                continue
            listed.add((name, span))
            video = videos.setdefault(name, _Video(name, split))
            (video.ambiguous if label == _AMBIGUOUS else video.spans).append(span)
    return videos


def _read_list(path: Path, label: str) -> Iterator[tuple[str, Span]]:
    for number, line in numbered_lines(path):
        try:
            name, start_text, end_text = line.split()
            yield name, Span(label, parse_seconds(start_text), parse_seconds(end_text))
        except ValueError as error:
            expected = "a video's name, start and end in seconds"
            raise malformed(path, number, line, expected) from error


def _blank_row(video: _Video, folder: Path) -> Record:
    path = folder / f"{video.name}.mp4"
    return Record(
        row=0,
        path=path,
        relative_path=str(path),
        labels=(),
        split=video.split,
        group=video.name,
        actor="human",
        source=ADAPTER.name,
    )


def _in_order(names: Iterable[str], labels: LabelSet) -> tuple[str, ...]:
    return tuple(sorted(names, key=labels.index))


def _instance_rows(
    video: _Video, blank: Record, labels: LabelSet, counts: Counter[str]
) -> Iterator[Record]:
    names_of: dict[tuple[float, float], set[str]] = defaultdict(set)
    for span in video.clear_spans:
        names_of[span.start_seconds, span.end_seconds].add(span.label)
    for (start, end), names in sorted(names_of.items()):
        if names == {_GENERAL, _SPECIAL}:
            counts[_CLIFF_DIVES] += 1
            names = {_SPECIAL}
        if len(names) > 1:
            counts[_AT_ONCE] += len(names)
            continue
        others = {
            span.label
            for span in video.spans
            if span.start_seconds < end and start < span.end_seconds
        } - names
        counts[_OVERLAPPING] += bool(others - _unsaid(names))
        yield replace(
            blank,
            labels=tuple(names),
            annotated=_without(labels, others | _unsaid(names)),
            start_seconds=start,
            end_seconds=end,
        )


def _unsaid(names: set[str]) -> set[str]:
    """What a row of these labels says nothing about: a cliff dive is a kind of dive."""
    return {_GENERAL} - names if _SPECIAL in names else set()


def _without(labels: LabelSet, unknown: set[str]) -> frozenset[str] | None:
    return frozenset(labels) - unknown if unknown else None


def _piece_rows(
    video: _Video, blank: Record, labels: LabelSet, min_seconds: float
) -> Iterator[Record]:
    for piece in cut(
        video.spans,
        None,
        unknown=[span.interval for span in video.ambiguous],
        min_seconds=min_seconds,
    ):
        yield replace(
            blank,
            labels=_in_order(piece.labels, labels),
            start_seconds=piece.start_seconds,
            end_seconds=piece.end_seconds,
        )


def _video_row(video: _Video, blank: Record, labels: LabelSet) -> Record:
    seen = {span.label for span in video.clear_spans}
    unclear = {span.label for span in video.spans} - seen
    return replace(blank, labels=_in_order(seen, labels), annotated=_without(labels, unclear))


def _training_clips(folder: Path, labels: LabelSet) -> list[Record]:
    """UCF101's clips of these classes: by its lists where they are there, else by its folders."""
    videos = video_folder(folder, {}, ucf101.VIDEO_FOLDERS, inside=labels.names[0])
    if any((folder / f"{place}classInd.txt").exists() for place in ucf101.LIST_FOLDERS):
        clips = ucf101.read_clips(folder, "1", ucf101.read_classes(folder), videos)
        clips = [clip for clip in clips if clip.labels[0] in labels]
    else:
        clips = [
            ucf101.clip_record(path, label, "train")
            for label in labels
            for path in sorted((videos / label).glob("*.avi"))
        ]
    missing = [name for name in labels if name not in {clip.labels[0] for clip in clips}]
    if missing:
        raise DatasetError(
            f"{folder}: found no UCF101 clip of {', '.join(missing[:_NUM_NAMED])}; give the folder "
            "that holds classInd.txt and the lists, or a folder a class with its .avi files"
        )
    return [
        replace(clip, split="train", annotated=_without(labels, _unsaid(set(clip.labels))))
        for clip in sorted(clips, key=lambda clip: (labels.index(clip.labels[0]), clip.path))
    ]


ADAPTER = Adapter(
    name="thumos14",
    title="THUMOS14",
    task="single_label",
    licence="not stated (videos come from YouTube; the test archive asks for registration)",
    read=_read,
    options={
        "level": "instances (a row an annotated span), pieces (a row wherever the set of labels "
        "changes, background included) or videos (a row a video); the last two have several labels",
        "min_seconds": MIN_SECONDS_HELP,
        "ucf101": "folder of UCF101's lists or videos, absolute or relative to the data set's "
        "folder; its clips of the same classes become the split train",
        VIDEOS_OPTION: f"{VIDEOS_HELP}, for both parts; validation, TH14_test_set_mp4 or videos by "
        "default",
    },
)
