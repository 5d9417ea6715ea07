"""What a review starts from: results, a table of clips, videos, or a file of an annotation tool."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.config import TableOptions
from msqnet.data.table_files import READABLE_SUFFIXES
from msqnet.documents import exists
from msqnet.errors import ConfigError, DatasetError, EmptyVideo
from msqnet.formats import FORMATS, Reading, load_format
from msqnet.formats.clip_table import read_clip_rows
from msqnet.formats.conversion import read_annotations
from msqnet.formats.frame_times import duration_seconds
from msqnet.inference.results import find_videos
from msqnet.intervals import union
from msqnet.report.results_reader import read_videos
from msqnet.review.items import Mark, Segment, State
from msqnet.review.project import Label, SourceVideo
from msqnet.video.frame_sources import frame_image_paths
from msqnet.video.reader import is_video_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from msqnet.data.records import Record
    from msqnet.formats.annotations import AnnotatedVideo
    from msqnet.intervals import Interval

_TABLE, _PREDICTIONS = "table", "predictions"
_FIELDS = ("split", "group", "actor", "source", "fps")


@dataclass(frozen=True)
class Source:
    """Videos and labels to begin with; notes say what was assumed or left out."""

    videos: tuple[SourceVideo, ...]
    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()


def open_source(
    path: Path, format_name: str | None, root: str | None, options: Mapping[str, str]
) -> Source:
    """Read what a path names; `root` is the folder of videos that are not where it says.

    Without the name of a format, a folder holds results or else videos, and a file is a video, a
    table of clips, or of the one format that has its suffix.

    Raises:
        ConfigError: an unknown format or option, or nothing tells the format.
        DatasetError: there is nothing to review, or it cannot be read.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder; expected results, a table or videos")
    name = format_name or _format_of(path)
    if name is None:
        return _of_videos(path)
    if name not in FORMATS:
        raise ConfigError(f"--from {name}: no such format; known are {', '.join(FORMATS)}")
    found = load_format(name)
    unknown = sorted(set(options) - set(found.options))
    if unknown:
        known = ", ".join(found.options) or "none"
        raise ConfigError(f"{name}: no option {unknown[0]!r}; known are: {known}")
    if name == _PREDICTIONS and path.is_dir():
        return of_results(path, root)
    if name == _TABLE:
        return _of_table(path, Reading(Path(root or path.parent), options))
    if found.read_rows is not None:
        rows = found.read_rows(path.resolve(), Reading(path.resolve(), options))
        return _of_records(rows.records, rows.labels, rows.notes)
    if found.read is None:
        raise ConfigError(f"--from {name}: {found.title} can only be written")
    annotations = read_annotations(found, path, root, options)
    labels = annotations.all_labels()
    ethogram = tuple(annotations.labels)
    return _sorted(
        (_annotated(video, ethogram) for video in annotations.videos),
        [Label(label, is_point=label in annotations.point_labels) for label in labels],
        annotations.notes,
    )


def _format_of(path: Path) -> str | None:
    """The name of the format of a path; None for videos."""
    if path.is_dir():
        return _PREDICTIONS if any(read_videos(path)) else None
    suffix = path.suffix.lower()
    if suffix in READABLE_SUFFIXES:
        return _TABLE
    if is_video_file(path):
        return None
    formats = [found for found in map(load_format, FORMATS) if suffix in found.suffixes]
    if len(formats) != 1:
        names = ", ".join(found.name for found in formats) or ", ".join(FORMATS)
        raise ConfigError(f"{path}: name its format with --from: {names}")
    return formats[0].name


def _of_videos(path: Path) -> Source:
    jobs = find_videos([path])
    if path.is_dir() and [job.source for job in jobs] == [str(path)]:
        try:
            frame_image_paths(path)
        except EmptyVideo as error:
            raise DatasetError(
                f"{path}: no video and no result in it; expected videos, or what 'msqnet predict "
                "--out' wrote"
            ) from error
    videos = [SourceVideo(Path(job.source).absolute(), job.name) for job in jobs]
    return Source(tuple(videos), ())


def of_results(folder: Path, root: str | None) -> Source:
    """Segments of a folder of results as proposals."""
    results, failures = read_videos(folder)
    notes = [f"{item.name}: no result: {item.cause}" for item in failures]
    videos, labels = [], dict[str, Label]()
    for item in results:
        found = item.predictions
        path = Path(found.path).absolute()
        if root is not None and not exists(path):
            path = Reading(Path(root)).video_path(found.path)
        notes += [f"{item.name}: {note}" for note in found.notes]
        labels |= {name: Label(name) for name in found.labels}
        proposals = tuple(
            Segment(
                label=segment.label,
                start=segment.start_seconds,
                end=segment.end_seconds,
                state=State.PROPOSED,
                score=segment.score,
            )
            for segment in found.segments
        )
        result = str((folder / f"{item.name}.json").absolute())
        videos.append(SourceVideo(path, item.name, proposals, found.duration_seconds, result))
    if not videos:
        raise DatasetError(
            "\n".join([f"{folder}: no result of a video in it; predict again", *notes[:5]])
        )
    return _sorted(videos, labels.values(), notes)


def _of_table(path: Path, reading: Reading) -> Source:
    if unused := set(reading.options) - set(vars(TableOptions())):
        raise ConfigError(f"table: option {min(unused)!r} is of no use when a table is read")
    rows = read_clip_rows(path, reading)
    return _of_records(rows.records, rows.labels, rows.notes)


def _of_records(records: Sequence[Record], labels: Iterable[str], notes: Sequence[str]) -> Source:
    by_video: dict[Path, list[Record]] = {}
    for record in records:
        by_video.setdefault(record.path, []).append(record)
    everything, found, more = tuple(labels), [], list(notes)
    for path, rows in by_video.items():
        # Reading it takes a while, and there may be thousands of videos.
        length = (
            duration_seconds(path) if any(math.isinf(row.interval[1]) for row in rows) else None
        )
        timed = []
        for row in rows:
            start, end = row.interval
            if math.isinf(end) and length is None:
                more.append(
                    f"{row.place} is left out: it goes to the end of {row.relative_path}, which is "
                    "not there or cannot be read; put it there and start again"
                )
            else:
                timed.append((row, (start, length if length and math.isinf(end) else end)))
        fields = {name: getattr(rows[0], name) for name in _FIELDS if getattr(rows[0], name)}
        if any(getattr(row, name) != getattr(rows[0], name) for row in rows for name in _FIELDS):
            more.append(
                f"{path.name}: its rows differ in split, group or the like: that of the "
                "first is taken for all"
            )
        items = _row_items(timed, everything)
        found.append(SourceVideo(path, rows[0].relative_path, items, length, "", fields))
    return _sorted(found, map(Label, everything), more)


def _row_items(
    rows: Sequence[tuple[Record, Interval]], labels: Sequence[str]
) -> tuple[Segment | Mark, ...]:
    """Segments of rows, those of labels that are somewhere in their row as `UNTIMED`, and marks."""
    held: dict[str, list[Interval]] = {}
    looked: dict[str, list[Interval]] = {}
    items: list[Segment | Mark] = []
    for row, interval in rows:
        known = labels if row.annotated is None else sorted(row.annotated)
        for label in row.labels:
            if row.holds_throughout:
                held.setdefault(label, []).append(interval)
            else:
                start, end = interval
                items.append(Segment(label=label, start=start, end=end, state=State.UNTIMED))
        for label in known:
            if row.holds_throughout or label not in row.labels:
                looked.setdefault(label, []).append(interval)
    for label, intervals in held.items():
        items += [Segment(label=label, start=start, end=end) for start, end in union(intervals)]
    return *items, *_marks(looked, labels)


def _marks(looked: Mapping[str, Sequence[Interval]], labels: Sequence[str]) -> list[Mark]:
    """Marks of the time that each label was looked for; labels with the same time share them."""
    groups: dict[tuple[Interval, ...], list[str]] = {}
    for label in sorted(looked, key=labels.index):
        groups.setdefault(tuple(union(looked[label])), []).append(label)
    return [
        Mark(labels=tuple(names), start=start, end=None if math.isinf(end) else end)
        for intervals, names in groups.items()
        for start, end in intervals
    ]


def _annotated(video: AnnotatedVideo, ethogram: Sequence[str]) -> SourceVideo:
    """Events as accepted segments, or as proposals where they have a score; what was looked at."""
    length = video.duration_seconds
    items: list[Segment | Mark] = [
        Segment(
            label=event.label,
            start=event.start_seconds,
            end=event.end_seconds,
            state=State.ACCEPTED if event.score is None else State.PROPOSED,
            subject=event.subject,
            modifiers=event.modifiers,
            comment=event.comment,
            score=event.score,
        )
        for event in video.events
    ]
    # That a model found nothing is not that a person looked.
    if all(event.score is None for event in video.events):
        intervals = [(0.0, length or math.inf)] if video.observed is None else video.observed
        known = video.known_of(ethogram)
        looked = {name: list(intervals) for name in ethogram if name in known}
        items += _marks(looked, ethogram)
    fields: dict[str, Any] = {"split": video.split, "group": video.group}
    fields = {name: value for name, value in fields.items() if value}
    return SourceVideo(video.path, video.path.name, tuple(items), length, "", fields)


def _sorted(videos: Iterable[SourceVideo], labels: Iterable[Label], notes: Sequence[str]) -> Source:
    """With one entry for a video that is named several times: the items of all."""
    found: dict[Path, SourceVideo] = {}
    for video in videos:
        old = found.get(video.path)
        items = video.items if old is None else (*old.items, *video.items)
        found[video.path] = replace(video, items=items)
    if not found:
        raise DatasetError("there is no video in it; expected at least one")
    return Source(tuple(found.values()), tuple(labels), tuple(notes))
