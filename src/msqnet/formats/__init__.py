"""Files of annotation tools, read and written: a module or a folder each.

A format is one `Format` and one line in `FORMATS`; `msqnet convert` needs nothing else. Readers
return and writers take `Annotations` (see `annotations`), the one form between all formats.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from msqnet.documents import exists
from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
    from msqnet.formats.clip_table import ClipRows

_EVENT_FIELDS: dict[str, tuple[str, Callable[[Event], bool]]] = {
    "points": ("events without a length", lambda event: event.is_point),
    "open ends": ("states without an end", lambda event: event.is_open),
    "subjects": ("events with a subject", lambda event: bool(event.subject)),
    "modifiers": ("events with modifiers", lambda event: bool(event.modifiers)),
    "scores": ("events with a score", lambda event: event.score is not None),
    "comments": ("events with a comment", lambda event: bool(event.comment)),
}
_VIDEO_FIELDS: dict[str, tuple[str, Callable[[AnnotatedVideo], bool]]] = {
    "unchecked labels": (
        "videos in which not all labels were looked for",
        lambda video: video.checked is not None,
    ),
    "observed intervals": (
        "videos of which only parts were looked at",
        lambda video: video.observed is not None,
    ),
    "splits": ("videos with a split", lambda video: bool(video.split)),
    "groups": ("videos with a group", lambda video: bool(video.group)),
}
ALL_FIELDS = frozenset((*_EVENT_FIELDS, "ethogram", *_VIDEO_FIELDS))
"""Fields that some formats can hold and others cannot. All hold videos, labels, starts and ends."""


@dataclass(frozen=True)
class Reading:
    """How a file is read: the folder that paths of videos are relative to, and options."""

    videos: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def video_path(self, written: str) -> Path:
        """Where a video belongs that a file names: as written, or by its name in `videos`.

        Files carry paths of the machine that they were written on. A path that leads nowhere here,
        as one with a drive of Windows does, stands for a file of that name in `videos`.
        """
        # Paths written on Windows have other separators.
        name = written.replace("\\", "/")
        direct = (self.videos / name).absolute()
        by_name = (self.videos / name.rsplit("/", maxsplit=1)[-1]).absolute()
        has_drive = bool(PureWindowsPath(written).drive)
        if exists(direct) or not (has_drive or exists(by_name)):
            return direct
        return by_name

    def find_video(self, written: str, file: Path) -> Path:
        """The video that a file is about, which may be missing.

        It is the one that is written, without its ending or with that of no video, or else named by
        the option ``video``, or else the one in `videos` whose name the file's name begins with, as
        ``clip_labels.csv`` begins with that of ``clip.mp4``. `DatasetError` if there are several.
        """
        from msqnet.video.reader import VIDEO_SUFFIXES  # imports torch

        written = written or self.options.get("video", "")
        direct = self.video_path(written or file.stem)
        if exists(direct) and not direct.is_dir():
            return direct

        def is_meant(stem: str) -> bool:
            if written:
                is_video = direct.suffix.lower() in VIDEO_SUFFIXES
                return stem in (direct.name, direct.name if is_video else direct.stem)
            rest = file.stem.removeprefix(stem)
            return rest != file.stem and not rest[:1].isalnum()

        fitting = [
            path
            for path in sorted(self.videos.iterdir())
            if path.suffix.lower() in VIDEO_SUFFIXES and is_meant(path.stem)
        ]
        longest = [p for p in fitting if len(p.stem) == max(len(q.stem) for q in fitting)]
        if len(longest) > 1:
            raise DatasetError(
                f"{file}: found {' and '.join(p.name for p in longest)} for {direct.name}, "
                "expected one video; name it: --option video=NAME"
            )
        return longest[0].absolute() if longest else direct


@dataclass(frozen=True)
class Format:
    """A file format of annotations.

    Attributes:
        name: for ``--from`` and ``--to``.
        title: the tool or data set that it belongs to.
        read: file and settings -> annotations; None where the format is only written.
        write: annotations, file, options -> notes on what was assumed; replaces the file at once
            or not at all; None where the format is only read.
        suffixes: such as ``.eaf``, the usual one first; none for a folder.
        members: patterns for names of its files in a folder of many, by default any name with one
            of the suffixes; none if a folder is read as a whole.
        drops: fields that it has no place for.
        options: help by the name of the option.
        licence: of a data set.
        files: files that are written for a path, where that is not the one file of that name.
        read_rows: of a data set, in place of `read`: folder and settings -> rows of the table.
        write_rows: of a format that holds rows of the table as they are: rows, file -> notes.
        task: of a data set, ``multi_label`` or ``single_label``.
    """

    name: str
    title: str
    read: Callable[[Path, Reading], Annotations] | None = None
    write: Callable[[Annotations, Path, Mapping[str, str]], tuple[str, ...]] | None = None
    suffixes: tuple[str, ...] = ()
    members: tuple[str, ...] | None = None
    drops: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    files: Callable[[Path], tuple[Path, ...]] | None = None
    read_rows: Callable[[Path, Reading], ClipRows] | None = None
    write_rows: Callable[[ClipRows, Path], tuple[str, ...]] | None = None
    task: str = ""

    @property
    def suffix(self) -> str:
        """The usual ending of its files; empty where it is a folder."""
        return self.suffixes[0] if self.suffixes else ""

    def files_in(self, folder: Path) -> list[Path]:
        """Its files in a folder at any depth, in order; the folder where it may be one itself."""
        patterns = tuple(f"*{s}" for s in self.suffixes) if self.members is None else self.members
        found = []
        for place, folders, names in os.walk(folder):
            # Unfinished files may be in hidden folders.
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [
                Path(place, name)
                for name in names
                # Labels of a table stand beside it.
                if not (name.startswith(".") or name.endswith(".labels.csv"))
                and any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)
            ]
        if not found and self.members is None:
            raise DatasetError(
                f"{folder}: found no {' or '.join(patterns)} in it, expected {self.title}"
            )
        return sorted(found) or [folder]


FORMATS: dict[str, str | Format] = {
    "animal_kingdom": "msqnet.formats.data_sets.animal_kingdom:ANIMAL_KINGDOM",
    "bento": "msqnet.formats.bento",
    "boris": "msqnet.formats.boris",
    "boris_events": "msqnet.formats.boris.boris_events",
    "camtrap_dp": "msqnet.formats.camtrap_dp",
    "columns": "msqnet.formats.columns:COLUMNS",
    "charades": "msqnet.formats.data_sets.timed_lists:CHARADES",
    "cvat": "msqnet.formats.cvat",
    "elan": "msqnet.formats.elan",
    "elan_text": "msqnet.formats.columns:ELAN_TEXT",
    "deepethogram": "msqnet.formats.frame_table:DEEPETHOGRAM",
    "simba": "msqnet.formats.frame_table:SIMBA",
    "jaaba": "msqnet.formats.frame_table:JAABA",
    "solomon": "msqnet.formats.frame_table:SOLOMON",
    "frame_table": "msqnet.formats.frame_table:FRAME_TABLE",
    "feral": "msqnet.formats.feral",
    "hmdb51": "msqnet.formats.data_sets.clip_lists:HMDB51",
    "hockey": "msqnet.formats.data_sets.frame_folders:HOCKEY",
    "huggingface": "msqnet.formats.huggingface",
    "kinetics": "msqnet.formats.data_sets.clip_lists:KINETICS",
    "label_studio": "msqnet.formats.label_studio",
    "mammalnet": "msqnet.formats.data_sets.clip_lists:MAMMALNET",
    "noldus": "msqnet.formats.columns:NOLDUS",
    "praat": "msqnet.formats.praat",
    "predictions": "msqnet.formats.prediction_files",
    "table": "msqnet.formats.clip_table",
    "thumos14": "msqnet.formats.data_sets.timed_lists:THUMOS14",
    "ucf101": "msqnet.formats.data_sets.clip_lists:UCF101",
    "via": "msqnet.formats.via",
    "volleyball": "msqnet.formats.data_sets.frame_folders:VOLLEYBALL",
}
"""Formats by the name after ``--from`` and ``--to``: a `Format`, or where one is, imported when it
is needed: ``module:name``, or a module that calls it ``FORMAT``."""


def load_format(name: str) -> Format:
    """The format of a name; `ConfigError` if there is none."""
    if name not in FORMATS:
        raise ConfigError(f"no such format: {name}; known are {', '.join(FORMATS)}")
    found = FORMATS[name]
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        loaded: Format = getattr(importlib.import_module(module), attribute or "FORMAT")
        return loaded
    return found


def dropped_fields(annotations: Annotations, drops: frozenset[str], title: str) -> tuple[str, ...]:
    """Notes on the fields that the format `title`, which has no place for `drops`, drops."""
    events, videos = list(annotations.events()), annotations.videos
    unseen = set(annotations.labels) - {event.label for event in events}
    counts = {text: (name, sum(map(has, events))) for name, (text, has) in _EVENT_FIELDS.items()}
    counts["labels that no event has"] = "ethogram", len(unseen)
    for name, (text, is_set) in _VIDEO_FIELDS.items():
        counts[text] = name, sum(map(is_set, videos))
    return tuple(
        f"{title} has no place for {name}: {text}: {number}"
        for text, (name, number) in counts.items()
        if number and name in drops
    )
