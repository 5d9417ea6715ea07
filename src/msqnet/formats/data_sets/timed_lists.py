"""Data sets whose lists name actions with their times: Charades, THUMOS14.

**Charades**: 9,848 videos of people at home, several of 157 actions each. Files:
``Charades_v1_train.csv`` and ``Charades_v1_test.csv`` (fields `id`, `subject`, `actions` as
``c092 11.90 21.20;...`` in seconds, `length`) and ``Charades_v1_classes.txt``, as described in the
README of http://allenai.org/plato/charades/ (Sigurdsson et al. 2016, arXiv:1604.01753). Subjects
are the groups; none is in both parts. Two levels:

- ``videos``: the standard protocol. A row is a whole video with all its labels; every class was
  checked. Videos without an action stay in ``test`` (`Charades_v1_classify.m` ranks them last).
- ``pieces``: for metrics over time. Videos are cut wherever an action begins or ends, so each row's
  labels, background included, are exactly known. An action whose times are impossible (it ends
  before it starts, or starts after the video) is unknown in all rows of its video.

**THUMOS14**: 20 sports in 413 untrimmed videos. Files: ``annotation/<Class>_val.txt`` and
``<Class>_test.txt``, or the same in ``annotations_val/`` and ``annotations_test/``, with lines
``<video> <start> <end>`` in seconds, as the readme beside them says;
http://crcv.ucf.edu/THUMOS14/. Parts are `val` and `test`; the challenge's own training part is the
UCF101 clips of the same classes (option ``ucf101``). Three levels:

- ``instances``: a row an annotated span, with one label, for single-label training and top-1. The
  lists name each cliff dive twice, as `CliffDiving` and as `Diving`: such a row is `CliffDiving`,
  and nothing is said about `Diving`. Nor is anything said about a class whose span overlaps.
- ``pieces``: as above; the last piece is open, because the lists do not tell how long a video is.
- ``videos``: a row a video, with every label that is seen anywhere in it.

What ``Ambiguous_*.txt`` lists is "taken out of the evaluations" (readme): spans inside it are left
out, and no piece covers it. Some spans lie beyond the end of their video; only the videos tell
which, so `msqnet check` names them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from msqnet.documents import read_delimited
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format
from msqnet.formats.annotations import count_notes
from msqnet.formats.data_sets.clip_lists import ucf101_clips
from msqnet.formats.data_sets.list_files import (
    GET_AGAIN,
    VIDEOS_HELP,
    clip_record,
    clip_rows,
    find_file,
    malformed,
    numbered_lines,
    official_labels,
    require_files,
    video_folder,
)
from msqnet.formats.options import choose, choose_seconds, parse_seconds
from msqnet.intervals import Span, covers, cut
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.documents import TableRow
    from msqnet.formats import Reading
    from msqnet.formats.clip_table import ClipRows

PIECES = "pieces"
_MIN_SECONDS_HELP = f"with level={PIECES}: leave out shorter pieces; their time is unknown then"
_CHARADES_FOLDERS = ("", "Charades/")
_CHARADES_VIDEOS = ("Charades_v1_480", "Charades_v1")


def choose_level(options: Mapping[str, str], levels: Sequence[str]) -> tuple[str, float]:
    """The level of rows (one of `levels`, the default first), and the shortest piece in seconds.

    `ConfigError` for another level, or for ``min_seconds`` that is not at least 0 or has no use.
    """
    level = choose(options, "level", levels)
    if "min_seconds" in options and level != PIECES:
        written = options["min_seconds"]
        raise ConfigError(f"option min_seconds={written} holds for level={PIECES} only")
    return level, choose_seconds(options, "min_seconds", 0.0)


def _with_labels(
    blank: Record,
    names: Iterable[str],
    labels: LabelSet,
    unknown: set[str] | None = None,
    times: tuple[float | None, float | None] = (None, None),
) -> Record:
    """A row with names in the order of the labels; all others are known but the unknown ones."""
    present = tuple(sorted(names, key=labels.index))
    known = frozenset(labels) - unknown | {*present} if unknown else None
    start, end = times
    return replace(blank, labels=present, annotated=known, start_seconds=start, end_seconds=end)


def _timed(text: str) -> tuple[str, float, float]:
    """A word, start and end in seconds; `ValueError` if it is anything else."""
    word, start_text, end_text = text.split()
    return word, parse_seconds(start_text), parse_seconds(end_text)


def _read_charades(root: Path, reading: Reading) -> ClipRows:
    level, min_seconds = choose_level(reading.options, ("videos", PIECES))
    name_of = _charades_classes(root)
    labels = LabelSet(tuple(name_of.values()))
    folder = video_folder(root, reading.options, _CHARADES_VIDEOS)
    records: list[Record] = []
    num_without: Counter[str] = Counter()
    num_beyond = num_untimed = 0
    for split in ("train", "test"):
        name = f"Charades_v1_{split}.csv"
        path = find_file(root, [name], name, _CHARADES_FOLDERS)
        for row in read_delimited(path, GET_AGAIN, ("id", "subject", "actions", "length")).rows:
            length, spans, untimed = _charades_actions(row, name_of)
            names = untimed.union(span.label for span in spans)
            num_without[split] += not names
            if not names and split == "train":
                continue
            place = folder / f"{row.require('id')}.mp4"
            blank = clip_record(place, (), split, row["subject"])
            if level == "videos":
                records.append(_with_labels(blank, names, labels))
                continue
            num_beyond += sum(span.end_seconds > length for span in spans)
            num_untimed += bool(untimed)
            pieces = cut(spans, length, min_seconds=min_seconds)
            records += [_with_labels(blank, p.labels, labels, untimed, p[:2]) for p in pieces]
    notes = {
        "train videos without an action, which are left out (such test videos are kept: "
        f"{num_without['test']})": num_without["train"],
        "actions that reach beyond their video's length and are cut off there": num_beyond,
        "videos with actions at impossible times, which are unknown all through the video": (
            num_untimed
        ),
    }
    return clip_rows("charades", records, labels, count_notes(notes), root)


def _charades_classes(root: Path) -> dict[str, str]:
    """Names by code, in the order of the file."""
    name_of: dict[str, str] = {}
    file_name = "Charades_v1_classes.txt"
    path = find_file(root, [file_name], file_name, _CHARADES_FOLDERS)
    for number, line in numbered_lines(path):
        code, _, name = line.partition(" ")
        if not name or not code.startswith("c") or code in name_of:
            raise malformed(path, number, line, "a new code and a name such as c008 Opening a door")
        name_of[code] = name
    if not name_of:
        raise DatasetError(f"{path}: the file is empty; expected one class a line")
    return name_of


def _charades_actions(
    row: TableRow, name_of: Mapping[str, str]
) -> tuple[float, list[Span], set[str]]:
    """Length in seconds, actions with usable times, and labels of those with impossible ones."""
    try:
        length = parse_seconds(row["length"])
    except ValueError as error:
        raise row.value("length").error("a length in seconds") from error
    spans, untimed = [], set()
    for text in filter(None, row["actions"].split(";")):
        try:
            code, start, end = _timed(text)
            label = name_of[code]
        except (ValueError, KeyError) as error:
            expected = "a code of the classes file, start and end such as c092 11.90 21.20"
            raise malformed(row.path, row.line, text, expected) from error
        if start < min(end, length):
            spans.append(Span(label, start, end))
        else:
            untimed.add(label)
    return length, spans, untimed


CHARADES = Format(
    "charades",
    "Charades",
    read_rows=_read_charades,
    task="multi_label",
    licence="non-commercial research use only; no redistribution (Allen Institute for AI)",
    options={
        "level": "videos (a row a video) or pieces (a row wherever the set of actions changes, "
        "with start and end)",
        "min_seconds": _MIN_SECONDS_HELP,
        "videos": f"{VIDEOS_HELP}; {' or '.join(_CHARADES_VIDEOS)} by default",
    },
)

_AMBIGUOUS = "Ambiguous"
_GENERAL, _SPECIAL = "Diving", "CliffDiving"
_THUMOS14_FOLDERS = ("annotation/", "annotations_{split}/", "original/annotations_{split}/", "")
_THUMOS14_VIDEOS = {"val": ("validation", "videos"), "test": ("TH14_test_set_mp4", "videos")}

_REPEATED = "lines that repeat another one and count once"
_EMPTY = "spans that do not end after they start, unknown all through their video"
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


def _read_thumos14(root: Path, reading: Reading) -> ClipRows:
    options = reading.options
    level, min_seconds = choose_level(options, ("instances", PIECES, "videos"))
    labels = official_labels("thumos14")
    counts: Counter[str] = Counter()
    records: list[Record] = []
    if "ucf101" in options:
        for clip in ucf101_clips(root / options["ucf101"], labels):
            row = _with_labels(clip, clip.labels, labels, _unsaid(set(clip.labels)))
            records.append(replace(row, split="train", source="ucf101"))
    counts[_TRAINING_CLIPS] = len(records)
    for split, candidates in _THUMOS14_VIDEOS.items():
        folder = video_folder(root, options, candidates)
        for name, listed in sorted(_thumos14_spans(root, split, labels, counts).items()):
            ambiguous = [span.interval for span in listed if span.label == _AMBIGUOUS]
            spans = [span for span in listed if span.label != _AMBIGUOUS]
            timed = [span for span in spans if span.start_seconds < span.end_seconds]
            clear = [span for span in timed if not covers(ambiguous, span.interval)]
            counts[_INSIDE_AMBIGUOUS] += len(timed) - len(clear)
            counts[_NOTHING_LEFT] += not clear
            if not clear:
                continue
            blank = clip_record(folder / f"{name}.mp4", (), split, name)
            if level == "instances":
                records += _instance_rows(spans, clear, blank, labels, counts)
            elif level == PIECES:
                untimed = {span.label for span in set(spans) - set(timed)}
                pieces = cut(timed, None, unknown=ambiguous, min_seconds=min_seconds)
                records += [_with_labels(blank, p.labels, labels, untimed, p[:2]) for p in pieces]
            else:
                seen = {span.label for span in clear}
                unclear = {span.label for span in spans} - seen
                records.append(_with_labels(blank, seen, labels, unclear))
    notes = [*count_notes(counts), *([] if "ucf101" in options else [_NO_TRAINING_CLIPS])]
    return clip_rows("thumos14", records, labels, notes, root)


def _thumos14_spans(
    root: Path, split: str, labels: LabelSet, counts: Counter[str]
) -> dict[str, list[Span]]:
    """Spans by video, each once; ambiguous and empty ones, which count nowhere, too."""
    folders = [folder.format(split=split) for folder in _THUMOS14_FOLDERS]
    first_name = f"{labels.names[0]}_{split}.txt"
    first = find_file(root, [first_name], f"lists of the {split} videos", folders)
    lists = {name: first.with_name(f"{name}_{split}.txt") for name in (*labels, _AMBIGUOUS)}
    require_files(list(lists.values()))
    spans_of: dict[str, list[Span]] = defaultdict(list)
    for label, path in lists.items():
        for number, line in numbered_lines(path):
            try:
                name, start, end = _timed(line)
            except ValueError as error:
                expected = "a video's name, start and end in seconds"
                raise malformed(path, number, line, expected) from error
            span, is_empty = Span(label, start, end), end <= start
            is_repeated = span in spans_of.get(name, ())
            counts[_REPEATED] += is_repeated
            counts[_EMPTY] += is_empty
            if not is_repeated:
                spans_of[name].append(span)
    return spans_of


def _instance_rows(
    spans: list[Span], clear: list[Span], blank: Record, labels: LabelSet, counts: Counter[str]
) -> Iterator[Record]:
    names_of: dict[tuple[float, float], set[str]] = defaultdict(set)
    for span in clear:
        names_of[span.interval].add(span.label)
    for (start, end), names in sorted(names_of.items()):
        if names == {_GENERAL, _SPECIAL}:
            counts[_CLIFF_DIVES] += 1
            names = {_SPECIAL}
        if len(names) > 1:
            counts[_AT_ONCE] += len(names)
            continue
        # What an empty span is about may be anywhere.
        others = {s.label for s in spans if s.end_seconds <= s.start_seconds}
        others |= {s.label for s in spans if s.start_seconds < end and start < s.end_seconds}
        others -= names
        counts[_OVERLAPPING] += bool(others - _unsaid(names))
        yield _with_labels(blank, names, labels, others | _unsaid(names), (start, end))


def _unsaid(names: set[str]) -> set[str]:
    """Labels that a row of these says nothing about: a cliff dive is a kind of dive."""
    return {_GENERAL} - names if _SPECIAL in names else set()


THUMOS14 = Format(
    "thumos14",
    "THUMOS14",
    read_rows=_read_thumos14,
    task="single_label",
    licence="not stated (videos come from YouTube; the test archive asks for registration)",
    options={
        "level": "instances (a row an annotated span), pieces (a row wherever the set of labels "
        "changes, background included) or videos (a row a video); the last two have several labels",
        "min_seconds": _MIN_SECONDS_HELP,
        "ucf101": "folder of UCF101's lists or videos, absolute or relative to the data set's "
        "folder; its clips of the same classes become the split train",
        "videos": f"{VIDEOS_HELP}, for both parts; validation, TH14_test_set_mp4 or videos by "
        "default",
    },
)
