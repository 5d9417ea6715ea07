"""Videos and deployments of a package that is written: by options, by the files, or as they are.

A deployment is the group of its videos: what one camera recorded at one place.
"""

from __future__ import annotations

import math
import mimetypes
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.data.adapters.annotation_files import choose, count_note
from msqnet.errors import ConfigError, DatasetError, VideoError
from msqnet.formats.annotations import Reading
from msqnet.formats.camtrap_tables import TIME_HELP, TableRow, format_time, parse_time, read_rows
from msqnet.video.decoding import open_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msqnet.formats.annotations import AnnotatedVideo, Annotations

MEDIA_OPTIONS = {
    "package": "folder of a Camtrap DP that has the videos: its deployments and media are taken",
    "deployment": "identifier of the deployment of videos that have no group",
    "latitude": "of the camera, in decimal degrees",
    "longitude": "of the camera, in decimal degrees",
    "recorded": f"when the one video was recorded: {TIME_HELP}; otherwise its creation_time",
    "deployment_start": "when the camera began to stand there; otherwise the first video's start",
    "deployment_end": "when it ceased to stand there; otherwise the last video's end",
    "public": "true if everybody may see the videos; false",
    "base_url": "address of the folder of the videos, if they are not kept in the package",
}
_NUM_NAMED = 3


@dataclass(frozen=True)
class Media:
    """Rows of the tables of media and deployments.

    Attributes:
        rows: of the table of media.
        deployments: of the table of deployments.
        by_path: row of each video, by its absolute path.
    """

    rows: tuple[Mapping[str, str], ...]
    deployments: tuple[Mapping[str, str], ...]
    by_path: Mapping[Path, Mapping[str, str]]

    def row_of(self, path: Path) -> Mapping[str, str]:
        """The row of a video."""
        return self.by_path[path]

    def start_of(self, path: Path) -> datetime:
        """When a video was recorded."""
        return parse_time(self.by_path[path]["timestamp"])


def media_of_package(
    annotations: Annotations, folder: Path, package: str
) -> tuple[Media, tuple[str, ...]]:
    """Media and deployments as a package has them.

    Args:
        annotations: what is written.
        folder: of the package that is written.
        package: folder of the package that is there.

    Raises:
        ConfigError: both are the same folder.
        DatasetError: a table that cannot be used, or a video that it does not have.
    """
    source = Path(package)
    if source.absolute() == folder.absolute():
        raise ConfigError(
            f"option package={package}: its own observations would be lost; write into another "
            "folder"
        )
    media = read_rows(source / "media.csv", ("mediaID", "deploymentID", "timestamp", "filePath"))
    deployments = read_rows(source / "deployments.csv", ("deploymentID",))
    by_place: dict[Path, list[TableRow]] = {}
    by_name: dict[str, list[TableRow]] = {}
    reading = Reading(source)
    for row in media:
        row.time("timestamp")
        written = row["filePath"].replace("\\", "/").rsplit("/", maxsplit=1)[-1]
        for name in {written, row["fileName"]} - {""}:
            by_name.setdefault(name, []).append(row)
        by_place.setdefault(reading.video_path(row["filePath"]), []).append(row)
    by_path = {
        video.path: _row_in(video.path, by_place, by_name, source).cells
        for video in annotations.videos
    }
    near = sum("://" not in row["filePath"] for row in media)
    notes = count_note(
        near, f"media files that the package expects in {folder}, as they are in {source}"
    )
    rows = tuple(row.cells for row in media)
    return Media(rows, tuple(row.cells for row in deployments), by_path), notes


def _row_in(
    path: Path,
    by_place: Mapping[Path, list[TableRow]],
    by_name: Mapping[str, list[TableRow]],
    folder: Path,
) -> TableRow:
    """The row of a video, by its place or else by its name."""
    found = by_place.get(path) or by_name.get(path.name, [])
    if len(found) != 1:
        what = f"{len(found)} media files of that name" if found else "no such media file"
        raise DatasetError(
            f"{path}: {what} in {folder / 'media.csv'}; expected one by its filePath or fileName; "
            "convert only videos that the package has"
        )
    return found[0]


def media_of(
    annotations: Annotations, folder: Path, options: Mapping[str, str], missing: Iterable[str]
) -> tuple[Media, tuple[str, ...]]:
    """Media and deployments by options and by the files.

    Args:
        annotations: what is written.
        folder: of the package.
        options: some of `MEDIA_OPTIONS`.
        missing: other options that are needed and not given, to be named with those of here.

    Raises:
        ConfigError: an option that does not fit, or one that is needed and not given.
    """
    place = _place(options)
    starts, notes = _starts(annotations.videos, options)
    _refuse_missing(annotations.videos, starts, folder, options, missing)
    paths, more = _file_paths(annotations.videos, folder, options)
    is_public = choose(options, "public", ("false", "true"))
    rows = {
        video.path: {
            "mediaID": paths[video.path],
            "deploymentID": video.group or options["deployment"],
            "timestamp": format_time(starts[video.path]),
            "filePath": paths[video.path],
            "filePublic": is_public,
            "fileName": video.path.name,
            "fileMediatype": _media_type(video.path),
        }
        for video in annotations.videos
    }
    deployments, assumed = _deployments(annotations.videos, starts, rows, place, options)
    return Media(tuple(rows.values()), deployments, rows), (*notes, *more, *assumed)


def _refuse_missing(
    videos: tuple[AnnotatedVideo, ...],
    starts: Mapping[Path, datetime],
    folder: Path,
    options: Mapping[str, str],
    missing: Iterable[str],
) -> None:
    """Name all options at once that are needed and not given."""
    unknown = [video.path.name for video in videos if video.path not in starts]
    is_ungrouped = any(not video.group for video in videos)
    needed = [
        *(["deployment=ID"] if is_ungrouped and "deployment" not in options else []),
        *(["latitude=52.5"] if "latitude" not in options else []),
        *(["longitude=13.4"] if "longitude" not in options else []),
        *(["recorded=2026-05-01T10:00:00+02:00"] if unknown and len(videos) == 1 else []),
        *missing,
    ]
    if needed:
        raise ConfigError(
            f"{folder}: Camtrap DP asks for what videos do not say; add --option "
            f"{' '.join(needed)} (values are examples), or --option package=FOLDER with a package "
            "that has these videos"
        )
    if unknown:
        raise ConfigError(
            f"{folder}: {len(unknown)} videos do not say when they were recorded, such as "
            f"{', '.join(unknown[:_NUM_NAMED])}: their files have no creation_time; take --option "
            "package=FOLDER with a package that has these videos, or convert them one by one with "
            "--option recorded=..."
        )


def _place(options: Mapping[str, str]) -> dict[str, str]:
    for name, limit in (("latitude", 90), ("longitude", 180)):
        if name not in options:
            continue
        try:
            is_fine = abs(float(options[name])) <= limit
        except ValueError:
            is_fine = False
        if not is_fine:
            raise ConfigError(
                f"option {name}={options[name]}: expected decimal degrees from -{limit} to {limit}"
            )
    return {name: options.get(name, "") for name in ("latitude", "longitude")}


def _time_option(options: Mapping[str, str], name: str) -> datetime | None:
    if name not in options:
        return None
    try:
        return parse_time(options[name])
    except ValueError as error:
        raise ConfigError(f"option {name}={options[name]}: expected {TIME_HELP}") from error


def _starts(
    videos: tuple[AnnotatedVideo, ...], options: Mapping[str, str]
) -> tuple[dict[Path, datetime], tuple[str, ...]]:
    """When videos were recorded, of those of which it is known."""
    recorded = _time_option(options, "recorded")
    if recorded is not None and len(videos) != 1:
        raise ConfigError(
            f"option recorded={options['recorded']}: it holds for one video, but there are "
            f"{len(videos)}; take --option package=FOLDER with a package that has these videos"
        )
    if recorded is not None:
        return {videos[0].path: recorded}, ()
    found = {video.path: creation_time(video.path) for video in videos}
    starts = {path: time for path, time in found.items() if time is not None}
    if not starts:
        return {}, ()
    return starts, (
        "videos whose time of recording is the creation_time of their file, which some cameras "
        f"set in local time or at the end of the recording: {len(starts)}",
    )


def creation_time(path: Path) -> datetime | None:
    """When a video says that it was made; None where it does not say it or cannot be opened."""
    if not path.is_file():
        return None
    try:
        container, stream = open_stream(path)
    except VideoError:
        return None
    with container:
        written = container.metadata.get("creation_time") or stream.metadata.get("creation_time")
    try:
        return parse_time(written) if written else None
    except ValueError:
        return None


def _file_paths(
    videos: tuple[AnnotatedVideo, ...], folder: Path, options: Mapping[str, str]
) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Where files are, as the standard has it: below the package or at an address."""
    home = folder.absolute()
    inside = {v.path for v in videos if v.path.is_relative_to(home)}
    paths = {path: path.relative_to(home).as_posix() for path in inside}
    outside = [video.path for video in videos if video.path not in inside]
    names = Counter(path.name for path in outside)
    before = options.get("base_url", "media").rstrip("/")
    for number, path in enumerate(outside, start=1):
        unique = path.name if names[path.name] == 1 else f"{number}/{path.name}"
        paths[path] = f"{before}/{unique}"
    if outside and "base_url" not in options:
        return paths, (
            "videos that are not in the folder of the package; it expects them in its folder "
            f"media/, so copy or link them there, or take --option base_url=...: {len(outside)}",
        )
    return paths, ()


def _media_type(path: Path) -> str:
    found, _ = mimetypes.guess_type(path.name)
    if found is not None and found.startswith("video/"):
        return found
    return f"video/x-{path.suffix.lower().removeprefix('.') or 'unknown'}"


def _deployments(
    videos: tuple[AnnotatedVideo, ...],
    starts: Mapping[Path, datetime],
    rows: Mapping[Path, Mapping[str, str]],
    place: Mapping[str, str],
    options: Mapping[str, str],
) -> tuple[tuple[dict[str, str], ...], tuple[str, ...]]:
    """One row a deployment; it lasts as long as its videos unless options say more."""
    begin, end = _time_option(options, "deployment_start"), _time_option(options, "deployment_end")
    spans: dict[str, tuple[datetime, datetime]] = {}
    for video in videos:
        start = starts[video.path]
        last = start + timedelta(seconds=math.ceil(_last_seconds(video)))
        name = rows[video.path]["deploymentID"]
        first, latest = spans.get(name, (start, last))
        spans[name] = min(first, start), max(latest, last)
    deployments = tuple(
        {
            "deploymentID": name,
            **place,
            "deploymentStart": format_time(begin or start),
            "deploymentEnd": format_time(end or last),
        }
        for name, (start, last) in spans.items()
    )
    notes = []
    if begin is None or end is None:
        notes.append(
            "deployments that are said to last as long as their videos; --option "
            f"deployment_start=... and deployment_end=... change that: {len(spans)}"
        )
    if len(spans) > 1:
        notes.append(f"deployments that are said to be at the same place: {len(spans)}")
    return deployments, tuple(notes)


def _last_seconds(video: AnnotatedVideo) -> float:
    ends = [event.end_seconds or event.start_seconds for event in video.events]
    return max([video.duration_seconds or 0.0, *ends])
