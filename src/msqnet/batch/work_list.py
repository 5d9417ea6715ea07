"""Which videos there are to work on: of folders, patterns, single files and manifests, or by URL.

Results are named after the videos: a file by its own name, and below a folder by its path in that
folder.
"""

from __future__ import annotations

import glob
import logging
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote

from msqnet.batch.data_set import FOLDER, TABLES
from msqnet.batch.locations import STATE_FOLDER, as_os_errors, file_system, join, local_path
from msqnet.batch.run import ERRORS_FILE
from msqnet.data.columns import path_column
from msqnet.data.table_files import read_sheet
from msqnet.errors import ConfigError, DatasetError, check
from msqnet.inference.results import (
    DRAWN_SUFFIXES,
    INDEX_FILE,
    TIME_BUDGET_FILE,
    VideoJob,
    add_job,
    find_videos,
)
from msqnet.predictions import result_names
from msqnet.video.reader import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_logger = logging.getLogger(__name__)
MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".parquet", ".xlsx", ".ods"})
_PATTERN = frozenset("*?[")


def find_jobs(
    inputs: Sequence[str], *, with_data_set: bool = True, skipped: list[str] | None = None
) -> list[VideoJob]:
    """The work list behind command line arguments.

    A local folder is walked, see `find_videos`. A remote folder is listed for files with a video
    suffix, hidden ones left out. A pattern (``*``, ``?``, ``[]``, ``**``) stands for the files it
    matches. A manifest (CSV, TSV, spreadsheet, Parquet) has a column ``path`` of paths or URLs,
    relative to the manifest, and maybe a column ``name`` for the results.

    Args:
        with_data_set: whether names are refused that the data set of all results takes.
        skipped: gets the files of local folders that are no videos.

    Returns:
        One job a video, in the order of the inputs; with ``/`` in names.

    Raises:
        ConfigError: nothing is named or found, or two videos would have the same results.
        DatasetError: a manifest that cannot be used.
        OSError: a folder or manifest cannot be read.
    """
    check(bool(inputs), "no input; name videos, folders or manifests")
    jobs: dict[str, VideoJob] = {}
    for job in _found(inputs, skipped):
        path = PurePosixPath(job.name)
        is_outside = path.is_absolute() or ".." in path.parts or not path.parts
        first, second = (*path.parts, "", "")[:2]
        is_of_run = first == STATE_FOLDER or (
            with_data_set and first == FOLDER and second in TABLES
        )
        taken = {INDEX_FILE, ERRORS_FILE, TIME_BUDGET_FILE}
        if is_outside or is_of_run or taken & set(result_names(job.name)):
            raise ConfigError(
                f"{job.source}: its results cannot be named {job.name!r}, which is outside of the "
                "results folder or a file of the run itself; rename it, or give it another name in "
                "a manifest"
            )
        add_job(jobs, job)
    return list(jobs.values())


def _found(inputs: Sequence[str], skipped: list[str] | None) -> Iterator[VideoJob]:
    local: list[Path] = []
    for location in inputs:
        path = local_path(location)
        suffix = PurePosixPath(location.partition("?")[0]).suffix.lower()
        if suffix in MANIFEST_SUFFIXES and not (path is not None and Path(path).is_dir()):
            yield from _manifest_jobs(location)
        elif path is None:
            yield from _remote_jobs(location)
        elif not _PATTERN & set(path) or Path(path).exists():
            local.append(Path(path))
        else:
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute ones too
            check(bool(matches), f"{path}: no file matches this pattern")
            local += [Path(match) for match in matches]
    if local:
        yield from find_videos(local, skipped)


def _remote_jobs(url: str) -> Iterator[VideoJob]:
    if url.startswith(("http://", "https://")):  # which cannot be listed
        yield VideoJob(_remote_name(url), url)
        return
    system, root = file_system(url)
    with as_os_errors(url):
        if _PATTERN & set(root):
            found = {path: _remote_name(path) for path in _videos(system.glob(root))}
        elif system.isdir(root):
            above = root.rstrip("/")
            paths = _videos(system.find(root))
            found = {path: path.removeprefix(above).lstrip("/") for path in paths}
        else:
            yield VideoJob(_remote_name(root), url)
            return
    check(bool(found), f"{url}: no file with a video suffix")
    for path, name in found.items():
        if not any(part.startswith(".") for part in PurePosixPath(name).parts):
            yield VideoJob(name, str(system.unstrip_protocol(path)))


def _remote_name(url: str) -> str:
    return unquote(PurePosixPath(url.partition("?")[0]).name)


def _videos(paths: Iterable[str]) -> list[str]:
    return [
        path
        for path in sorted(paths)
        if PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES
        and not path.endswith(DRAWN_SUFFIXES)
    ]


def _manifest_jobs(location: str) -> Iterator[VideoJob]:
    rows = _manifest_rows(location)
    folder = location.rpartition("/")[0]
    for number, given, name in rows:
        if not given:
            raise DatasetError(f"{location}: row {number} has no path")
        path = local_path(given)
        is_below = path is not None and not Path(path).is_absolute()
        source = given if path is None else path
        if is_below and folder:
            source = join(folder, given) if local_path(location) is None else f"{folder}/{given}"
        if not name:
            parts = PurePosixPath(given)
            name = _remote_name(given) if path is None else parts.name
            name = parts.as_posix() if is_below and ".." not in parts.parts else name
        yield VideoJob(name, source if local_path(source) is None else str(Path(source)))


def _manifest_rows(location: str) -> Iterator[tuple[int, str, str]]:
    """Numbers, paths and names of rows; an empty name where none is given."""
    path = local_path(location)
    if path is not None:
        yield from _rows_of(Path(path))
        return
    system, remote_path = file_system(location)
    with as_os_errors(location):
        content = bytes(system.cat_file(remote_path))
    with TemporaryDirectory() as folder:
        copy = Path(folder) / _remote_name(location)
        copy.write_bytes(content)
        try:
            yield from _rows_of(copy)
        except DatasetError as error:
            raise DatasetError(str(error).replace(str(copy), location)) from error


def _rows_of(path: Path) -> Iterator[tuple[int, str, str]]:
    sheet = read_sheet(path, {})
    place, note = path_column(path, sheet.header)
    for line in filter(None, (*sheet.notes, note)):
        _logger.warning(line)
    if not sheet.rows:
        raise DatasetError(f"{path}: a manifest without rows")
    lower = [name.lower() for name in sheet.header]
    named = lower.index("name") if "name" in lower else None
    for number, cells in sheet.rows:
        padded = [cell.strip() for cell in (*cells, *[""] * len(lower))]
        yield number, padded[place], "" if named is None else padded[named]
