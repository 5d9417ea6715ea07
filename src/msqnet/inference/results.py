"""Many videos: which ones there are, what became of each, and the index of their results."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from msqnet.errors import ConfigError, DatasetError, VideoError, check
from msqnet.files import csv_writer, replacing
from msqnet.predictions import result_names
from msqnet.video.reader import IMAGE_SUFFIXES, is_video_file, open_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msqnet.predictions import VideoPredictions

INDEX_FILE = "index.csv"
TIME_BUDGET_FILE = "time_budget.csv"
OUTPUT_SEPARATOR = "|"
FIGURE_SUFFIX = ".timeline.png"
OVERLAY_SUFFIXES = (".overlay.mp4", ".overlay.gif")
DRAWN_SUFFIXES = (FIGURE_SUFFIX, *OVERLAY_SUFFIXES)
"""Of what `msqnet predict` draws beside the results of a video, for ``--figure`` and ``--overlay``.
"""

# File systems allow 255; suffixes, and what a file is called while it is written, need the rest.
_MAX_NAME_BYTES = 215
_DIGEST_DIGITS = 8

Status = Literal["ok", "partial", "error", "timeout"]
Cause = Literal[
    "",
    "bad_file",
    "reading",
    "writing",
    "other_results",
    "time_limit",
    "process_died",
    "damaged",
    "unexpected",
]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one video.

    Attributes:
        name: of its results below the results folder.
        source: the video as it was given: a path or a URL.
        status: ``partial`` if only a part of the video could be decoded.
        cause: why not ``ok``: ``damaged`` (where ``partial``), ``bad_file`` (no video, or none that
            decodes), ``reading`` or ``writing`` (of files, after all retries), ``other_results``
            (of another video, model or settings are there), ``time_limit``, ``process_died``,
            ``unexpected`` (a log file has the traceback).
        message: in words.
        seconds: that it took, retries included.
        digest: SHA-256 of the content; empty where it could not be read.
        num_bytes: of the content; of a folder of frame images 0.
        duration_seconds: of the video, as far as it decodes.
        source_state: tells whether the source was changed since; empty where that is unknown.
        output_state: tells whether the result files were changed since; empty where there are none.
        provenance_digest: identifies the model and the settings.
        existed: the results were there, from this video, model and settings.
    """

    name: str
    source: str
    status: Status
    cause: Cause = ""
    message: str = ""
    seconds: float = 0.0
    num_attempts: int = 1
    digest: str = ""
    num_bytes: int = 0
    duration_seconds: float = 0.0
    source_state: str = ""
    output_state: str = ""
    provenance_digest: str = ""
    existed: bool = False

    @classmethod
    def from_dict(cls, document: Any) -> Outcome:
        """Rebuild from `asdict`, else a `DatasetError`; fields of a newer msqnet are left out."""
        names = {item.name for item in fields(cls)}
        try:
            return cls(**{name: value for name, value in document.items() if name in names})
        except (AttributeError, TypeError) as error:
            raise DatasetError(f"not a line of a journal: {error}") from error


@dataclass(frozen=True)
class VideoJob:
    """One video to work on, by its local path or URL.

    The name is that of its results below the results folder, with ``/`` and the extension of the
    input; ``known`` is the outcome of an earlier run, if any.
    """

    name: str
    source: str
    known: Outcome | None = None


@dataclass(frozen=True)
class IndexRow:
    """One line of `index.csv`.

    Attributes:
        input: the video as it was given.
        outputs: result files relative to the results folder, joined by ``|``; empty after an error.
        status: ``ok``; ``partial`` (only a part of the video could be decoded); ``exists`` (done by
            an earlier run with the same model and settings); ``error``; ``skipped`` (no video).
        error: what went wrong; ``not drawn: ...`` where the results are complete and only drawing
            them failed.
        note: what a reader of the results must know.
    """

    input: str
    outputs: str
    status: Literal["ok", "partial", "exists", "error", "skipped"]
    error: str
    note: str = ""


def on_file_clock(predictions: VideoPredictions, video: Path) -> VideoPredictions:
    """The same, of an earlier version too, whose times counted from the first frame of ``video``.

    Where that cannot be read, a note says so.
    """
    if predictions.clock == "file":
        return predictions
    try:
        with open_video(video) as source:
            return predictions.moved(source.start_seconds, source.duration_seconds)
    except (VideoError, OSError):
        note = "times count from the first frame, and the video is not there to tell when that is"
        return replace(predictions, notes=(*predictions.notes, note))


def find_videos(arguments: Sequence[Path], skipped: list[str] | None = None) -> list[VideoJob]:
    """The videos behind command line arguments.

    A file stands for itself, whatever its suffix, and its results are named after it. A folder is
    walked, in sorted order, for videos (see `is_video_file`) and for folders that hold images and
    fewer other files (each is one video of frames); results mirror the path below that folder.
    Other files are added to `skipped`; hidden entries and drawings by msqnet are left out. Links
    are followed except back into a folder they lie in. A path that does not exist and a folder
    without videos stay in the list, so that reading them reports the reason. A name that leaves no
    room for the suffixes of results is cut, and ends with ``~`` and a digest of it. No argument,
    and two videos whose results would have the same name, are a `ConfigError`.
    """
    check(bool(arguments), "no video given; name video files or folders")
    found: dict[str, VideoJob] = {}
    skipped = [] if skipped is None else skipped
    for argument in arguments:
        paths = [argument]
        names = [Path(argument.resolve().name if argument.is_dir() else argument.name)]
        if argument.is_dir() and not _is_image_folder(argument, skipped):
            walked = list(_walk(argument, (), skipped))
            paths = walked or paths
            names = [path.relative_to(argument) for path in walked] or names
        for path, name in zip(paths, names, strict=True):
            add_job(found, VideoJob(name.as_posix(), str(path)))
    return list(found.values())


def add_job(jobs: dict[str, VideoJob], job: VideoJob) -> None:
    """Add a video by the name of its results, which is cut where it is too long.

    `ConfigError` if the results of another video would have the same name.
    """
    path = Path(job.name)
    raw = os.fsencode(path.name)
    if len(raw) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_DIGITS]
        kept = raw[: _MAX_NAME_BYTES - _DIGEST_DIGITS - 1].decode("utf-8", "ignore")
        path = path.with_name(f"{kept}~{digest}")
    name = path.as_posix()
    other = jobs.setdefault(name, VideoJob(name, job.source))
    if other.source != job.source and Path(other.source).resolve() != Path(job.source).resolve():
        raise ConfigError(
            f"{other.source} and {job.source} would both be written as {name}; give a folder that "
            "holds both, name them in a manifest, or predict them one by one"
        )


def _walk(folder: Path, above: tuple[Path, ...], skipped: list[str]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in _visible(folder):
        if not entry.is_dir():
            if is_video_file(entry):
                yield entry
            else:
                skipped.append(str(entry))
        elif _is_image_folder(entry, skipped):
            yield entry
        else:
            yield from _walk(entry, (*above, real), skipped)


def _visible(folder: Path) -> list[Path]:
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and not entry.name.endswith(DRAWN_SUFFIXES)
    ]


def _is_image_folder(folder: Path, skipped: list[str]) -> bool:
    """Whether it holds images and fewer other files, such as Thumbs.db, which are skipped."""
    entries = _visible(folder)
    others = [entry for entry in entries if entry.suffix.lower() not in IMAGE_SUFFIXES]
    is_one = 2 * len(others) < len(entries) and not any(
        entry.is_dir() or is_video_file(entry) for entry in entries
    )
    skipped += map(str, others) if is_one else ()
    return is_one


def skipped_row(path: str) -> IndexRow:
    """The line in `index.csv` of a file that is no video."""
    return IndexRow(path, "", "skipped", "", "no video")


def skipped_note(paths: Sequence[str]) -> str:
    """How many files of which suffix are no videos; empty if there are none."""
    if not paths:
        return ""
    counts = Counter(Path(path).suffix.lower() or "without a suffix" for path in paths)
    listed = ", ".join(f"{number} {suffix}" for suffix, number in counts.most_common())
    return (
        f"{len(paths)} files are no videos and were skipped: {listed}; --list-skipped lists them "
        f"in {INDEX_FILE}"
    )


def index_row(outcome: Outcome, drawn: Sequence[str] = ()) -> IndexRow:
    """The line of a video in `index.csv`, from its outcome and the names of its drawings."""
    has_results = outcome.status in ("ok", "partial")
    outputs = OUTPUT_SEPARATOR.join((*result_names(outcome.name), *drawn) if has_results else ())
    status: Any = "exists" if outcome.existed else outcome.status if has_results else "error"
    texts = ("", outcome.message) if status in ("ok", "exists") else (outcome.message, "")
    return IndexRow(outcome.source, outputs, status, *texts)


_INDEX_COLUMNS = [item.name for item in fields(IndexRow)]


def read_index(path: Path) -> list[IndexRow]:
    """The rows of an index, none where the file does not exist; `DatasetError` for another file."""
    if not path.exists():
        return []
    with open_index(path, "r") as file:
        text = file.read()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(reader)
    if rows and (not text.endswith("\n") or text.count('"') % 2):
        rows.pop()  # a run was killed while it appended this row
    is_whole = all(None not in row and None not in row.values() for row in rows)
    # Indexes of earlier versions have no notes.
    if reader.fieldnames not in (_INDEX_COLUMNS, _INDEX_COLUMNS[:-1]) or not is_whole:
        raise DatasetError(
            f"{path}: found columns {reader.fieldnames}, expected {_INDEX_COLUMNS}; "
            "it is not an index of predictions, so choose another folder"
        )
    return [IndexRow(**cast("Any", row)) for row in rows]


def write_index(path: Path, rows: Iterable[IndexRow]) -> None:
    """Write an index, replacing what is there at once."""
    with replacing(path) as part, open_index(part, "w") as file:
        csv_writer(file).writerow(_INDEX_COLUMNS)
        for row in rows:
            csv_writer(file, row.input + row.error + row.note).writerow(astuple(row))


def open_index(path: Path, mode: str) -> TextIO:
    """An index as text; names of files that are not Unicode pass through."""
    return cast("TextIO", path.open(mode, encoding="utf-8", errors="surrogateescape", newline=""))
