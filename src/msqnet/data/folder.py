"""A folder per label as a table: ``<label>/clip.mp4`` or ``<split>/<label>/clip.mp4`` in it.

Every label was checked for every clip, so a clip of one label is a negative of all others. A clip
of several labels lies in a folder named with all of them, ``walking|eating``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.records import ClipTable, Problem, Record
from msqnet.labels import split_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

SPLIT_FOLDERS = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
)


def scan_folder(folder: Path) -> tuple[ClipTable, tuple[Problem, ...]]:
    """List the clips of a folder per label, in the order of their paths.

    Files that are no videos are left out; a folder of frame images is one clip.

    Args:
        folder: its folders are labels, or splits (`train`, `val`, `test` ...) that hold labels.

    Returns:
        The clips, and what does not fit: clips outside of the label folders are errors, label
        folders without a clip warnings.
    """
    root = folder.resolve()
    records: list[Record] = []
    problems: list[Problem] = []
    for place in _find_clips(root, problems):
        parts = place.relative_to(root).parts
        split, names = _split_and_label(parts[:-1])
        written = "/".join(parts)
        if not names:
            message = f"{written} lies outside of the label folders; expected <label>/{parts[-1]}"
            problems.append(Problem(None, "outside", message, "error", written))
            continue
        labels = split_labels(names)
        records.append(Record(len(records) + 2, place, written, labels, split=split))
    problems.extend(_find_mixed_layout(records))
    return ClipTable(folder, tuple(records)), tuple(problems)


def _split_and_label(folders: tuple[str, ...]) -> tuple[str, str]:
    if folders and folders[0].lower() in SPLIT_FOLDERS:
        return folders[0], folders[1] if len(folders) > 1 else ""
    return "", folders[0] if folders else ""


def _find_clips(root: Path, problems: list[Problem]) -> Iterator[Path]:
    from msqnet.video.reader import IMAGE_SUFFIXES, VIDEO_SUFFIXES  # imports torch

    for name, folders, files in os.walk(root, followlinks=True):
        place = Path(name)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        visible = [place / file for file in sorted(files) if not file.startswith(".")]
        videos = [file for file in visible if file.suffix.lower() in VIDEO_SUFFIXES]
        if videos:
            yield from videos
        elif any(file.suffix.lower() in IMAGE_SUFFIXES for file in visible):
            yield place
        elif not folders and place != root:
            written = place.relative_to(root).as_posix()
            message = f"folder {written} holds no clip"
            problems.append(Problem(None, "empty_folder", message, "warning", written))


def _find_mixed_layout(records: list[Record]) -> Iterator[Problem]:
    outside = next((record for record in records if not record.split), None)
    splits = {record.split for record in records if record.split}
    if splits and outside is not None:
        message = (
            f"{outside.relative_path} belongs to no split, though there is a folder "
            f"{sorted(splits)[0]}; expected <split>/<label>/<clip> for all clips or for none"
        )
        yield Problem(None, "mixed_layout", message, "error", outside.relative_path)
