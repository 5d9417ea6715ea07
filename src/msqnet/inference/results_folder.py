"""Many videos: which ones there are, where the results of each go, and an index of all."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from msqnet.errors import ConfigError, DatasetError, VideoError
from msqnet.predictions import VideoPredictions, csv_writer, replacing, result_paths
from msqnet.video.reader import IMAGE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from msqnet.inference.predictor import Predictor

INDEX_FILE = "index.csv"
OUTPUT_SEPARATOR = "|"
DRAWN_SUFFIXES = (".timeline.png", ".overlay.mp4", ".overlay.gif")
"""Of what `msqnet predict --overlay` draws beside the results of a video."""

_NOT_DRAWN = "not drawn: "
# File systems allow 255; suffixes, and what a file is called while it is written, need the rest.
_MAX_NAME_BYTES = 215
_DIGEST_DIGITS = 8

Status = Literal["ok", "partial", "exists", "error"]


@dataclass(frozen=True)
class VideoInput:
    """One video to predict.

    Attributes:
        path: the file, or the folder of frame images.
        name: path of its results below the results folder, with the extension of the input.
    """

    path: Path
    name: Path


@dataclass(frozen=True)
class IndexRow:
    """One line of `index.csv`.

    Attributes:
        input: the video as it was given.
        outputs: result files relative to the results folder, joined by ``|``; empty after an error.
        status: ``ok``; ``partial`` (only a part of the video could be decoded); ``exists`` (done by
            an earlier run with the same model and settings); ``error``.
        error: what went wrong, or what a reader must know; ``not drawn: ...`` where the results are
            complete and only drawing them failed.
    """

    input: str
    outputs: str
    status: Status
    error: str


def find_videos(arguments: Sequence[Path]) -> list[VideoInput]:
    """The videos behind command line arguments.

    A file stands for itself, whatever its suffix, and its results are named after it. A folder is
    walked, in sorted order, for files with a video suffix and for folders that hold images only
    (each is one video of frames); results mirror the path below that folder. Hidden entries and
    what msqnet drew itself are left out, links are followed except back into a folder they lie in.
    What does not exist, and a folder without any video, stays in the list, so that reading it
    reports the reason. A name that leaves no room for the suffixes of results is cut, and ends with
    ``~`` and a digest of it.

    Args:
        arguments: files and folders.

    Raises:
        ConfigError: no argument, or results of two videos would have the same name.
    """
    if not arguments:
        raise ConfigError("no video given; name video files or folders")
    found: dict[Path, VideoInput] = {}
    for argument in arguments:
        for item in _videos_of(argument):
            other = found.setdefault(item.name, item)
            if other is not item and other.path.resolve() != item.path.resolve():
                raise ConfigError(
                    f"{other.path} and {item.path} would both be written as {item.name}; "
                    "give a folder that holds both, or predict them one by one"
                )
    return list(found.values())


def _videos_of(argument: Path) -> list[VideoInput]:
    if argument.is_dir():
        root_name = Path(argument.resolve().name)
        if _is_image_folder(argument):
            return [_input(argument, root_name)]
        walked = [_input(path, path.relative_to(argument)) for path in _walk(argument, ())]
        return walked or [_input(argument, root_name)]
    return [_input(argument, Path(argument.name))]


def _input(path: Path, name: Path) -> VideoInput:
    return VideoInput(path, short_name(name))


def short_name(name: Path) -> Path:
    """A name of results that is short enough for file systems, with the suffixes of results."""
    raw = os.fsencode(name.name)
    if len(raw) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:_DIGEST_DIGITS]
    kept = raw[: _MAX_NAME_BYTES - _DIGEST_DIGITS - 1].decode("utf-8", "ignore")
    return name.with_name(f"{kept}~{digest}")


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            if entry.suffix.lower() in VIDEO_SUFFIXES and not entry.name.endswith(DRAWN_SUFFIXES):
                yield entry
        elif _is_image_folder(entry):
            yield entry
        else:
            yield from _walk(entry, (*above, real))


def _is_image_folder(folder: Path) -> bool:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return bool(entries) and all(
        entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir() for entry in entries
    )


class ResultsFolder:
    """The folder that predictions are written to, and its index.

    The index gets a row after each video, so that whatever stops a run leaves the index of what was
    done; rows of earlier runs are kept.

    Args:
        folder: created if missing.
        overwrite: whether existing results are replaced.

    Raises:
        ConfigError: ``folder`` is a file.
        DatasetError: the folder's `index.csv` was not written by msqnet.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder = folder
        self._overwrite = overwrite
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file; expected the folder for the results")
        self._rows = {row.input: row for row in read_index(folder / INDEX_FILE)}
        self._is_appended = False
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def index_path(self) -> Path:
        """Where the index is."""
        return self.folder / INDEX_FILE

    def stem(self, video: VideoInput) -> Path:
        """Folder and name of the result files of a video, to which suffixes are appended."""
        return self.folder / video.name

    def check(self, videos: Sequence[VideoInput]) -> None:
        """Refuse, before any work, a video whose results would replace the index.

        Raises:
            ConfigError: names the video.
        """
        for video in videos:
            if self.index_path in result_paths(self.stem(video)):
                raise ConfigError(
                    f"{video.path}: its results would replace {self.index_path}; rename it"
                )

    def existing(self, video: VideoInput, provenance: dict[str, Any]) -> IndexRow | None:
        """The row of a video that must not be predicted because results exist.

        Args:
            video: what would be predicted.
            provenance: of the results that would be written.

        Returns:
            None if nothing exists or everything may be replaced; ``exists`` if the results are
            of the same model and settings; ``error`` if they are anything else.
        """
        paths = result_paths(self.stem(video))
        present = [path for path in paths if os.path.lexists(path)]
        if self._overwrite or not present:
            return None
        is_same = _is_of(paths[0], video.path, provenance)
        if len(present) == len(paths) and is_same:
            earlier = self._rows.get(str(video.path))
            drawn = [path for path in drawn_paths(self.stem(video)) if path.exists()]
            outputs = [path.relative_to(self.folder) for path in (*paths, *drawn)]
            return _row(
                video, outputs, "exists", _without_drawing(earlier.error if earlier else "")
            )
        return _row(
            video,
            (),
            "error",
            f"{present[0]} exists and is not of this video, model and settings; "
            "--overwrite replaces it",
        )

    def write(self, video: VideoInput, predictions: VideoPredictions) -> tuple[Path, ...]:
        """Write the result files of one video; their paths are relative to the folder.

        Drawings of earlier results of the same video are removed: they would show other scores.
        """
        for path in drawn_paths(self.stem(video)):
            path.unlink(missing_ok=True)
        paths = predictions.write(self.stem(video))
        return tuple(path.relative_to(self.folder) for path in paths)

    def read(self, video: VideoInput) -> VideoPredictions:
        """The results that exist of a video.

        Raises:
            DatasetError: they are not complete.
            OSError: they cannot be read.
        """
        return VideoPredictions.from_json(
            result_paths(self.stem(video))[0].read_text(encoding="utf-8")
        )

    def record_drawing(self, video: VideoInput, row: IndexRow, problem: str = "") -> IndexRow:
        """Add what is drawn of a video to its row, and why drawing it failed.

        Args:
            video: what was drawn.
            row: its row.
            problem: empty where everything was drawn.

        Returns:
            The new row.
        """
        drawn = [path for path in drawn_paths(self.stem(video)) if path.exists()]
        names = [path.relative_to(self.folder).as_posix() for path in drawn]
        outputs = [name for name in row.outputs.split(OUTPUT_SEPARATOR) if name not in names]
        notes = [note for note in (_without_drawing(row.error),) if note]
        if problem:
            notes.append(_NOT_DRAWN + problem)
        row = replace(
            row, outputs=OUTPUT_SEPARATOR.join([*outputs, *names]), error="; ".join(notes)
        )
        self.record(row)
        return row

    def record(self, row: IndexRow) -> None:
        """Put a row into the index, in place of an earlier one of the same input.

        A row of a new input is appended: of thousands, none costs more than the first.
        """
        is_new = row.input not in self._rows
        self._rows[row.input] = row
        if self._is_appended and is_new:
            with _opened(self.index_path, "a") as file:
                csv_writer(file, row.input + row.error).writerow(astuple(row))
            return
        self._is_appended = False  # should writing fail, what is there is not known
        write_index(self.index_path, self._rows.values())
        self._is_appended = True


def predict_into(
    results: ResultsFolder | None,
    video: VideoInput,
    predictor: Predictor,
    progress: Callable[[float], None] | None = None,
) -> tuple[IndexRow, VideoPredictions | None]:
    """Predict one of many videos: a broken one gives a row that says so, no exception.

    Args:
        results: where files and the row go; None keeps them nowhere.
        video: one of `find_videos`.
        predictor: what predicts.
        progress: called with the share that is done, from 0 to 1.

    Returns:
        The row, and the predictions unless there are none or they existed before.

    Raises:
        OSError: the index cannot be written.
    """
    row = results.existing(video, predictor.provenance) if results else None
    predictions = None
    if row is None:
        try:
            predictions = predictor(video.path, progress)
            outputs = results.write(video, predictions) if results else ()
            status: Status = "partial" if predictions.notes else "ok"
            row = _row(video, outputs, status, "; ".join(predictions.warnings))
        except (VideoError, OSError) as error:
            row = _row(video, (), "error", str(error) or type(error).__name__)
    if results:
        results.record(row)
    return row, predictions


def drawn_paths(stem: Path) -> tuple[Path, ...]:
    """The drawings of one video: ``stem`` with each of `DRAWN_SUFFIXES` appended."""
    return tuple(stem.with_name(stem.name + suffix) for suffix in DRAWN_SUFFIXES)


def _without_drawing(error: str) -> str:
    return error.partition(_NOT_DRAWN)[0].removesuffix("; ")


def _row(video: VideoInput, outputs: Sequence[Path], status: Status, error: str) -> IndexRow:
    joined = OUTPUT_SEPARATOR.join(path.as_posix() for path in outputs)
    return IndexRow(str(video.path), joined, status, error)


_INDEX_COLUMNS = [item.name for item in fields(IndexRow)]


def read_index(path: Path) -> list[IndexRow]:
    """The rows of an index; none where the file does not exist.

    Raises:
        DatasetError: it is not an index of predictions.
    """
    if not path.exists():
        return []
    with _opened(path, "r") as file:
        text = file.read()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(reader)
    if rows and (not text.endswith("\n") or text.count('"') % 2):
        rows.pop()  # a run was killed while it appended this row
    is_whole = all(None not in row and None not in row.values() for row in rows)
    if reader.fieldnames != _INDEX_COLUMNS or not is_whole:
        raise DatasetError(
            f"{path}: found columns {reader.fieldnames}, expected {_INDEX_COLUMNS}; "
            "it is not an index of predictions, so choose another folder"
        )
    return [
        IndexRow(row["input"], row["outputs"], cast("Status", row["status"]), row["error"])
        for row in rows
    ]


def write_index(path: Path, rows: Iterable[IndexRow]) -> None:
    """Write an index, replacing what is there at once."""
    with replacing(path) as part, _opened(part, "w") as file:
        csv_writer(file).writerow(_INDEX_COLUMNS)
        for row in rows:
            csv_writer(file, row.input + row.error).writerow(astuple(row))


def _opened(path: Path, mode: str) -> TextIO:
    """An index as text; names of files that are not Unicode pass through."""
    return cast("TextIO", path.open(mode, encoding="utf-8", errors="surrogateescape", newline=""))


def _is_of(path: Path, video: Path, provenance: dict[str, Any]) -> bool:
    """Whether a stored result is of this video, not older than it, by this model and settings."""
    try:
        stored = VideoPredictions.from_json(path.read_text(encoding="utf-8"))
        is_older = path.stat().st_mtime < video.stat().st_mtime
    except (DatasetError, ValueError, OSError):
        return False
    same_video = Path(stored.path).absolute() == video.absolute()
    return same_video and not is_older and stored.provenance == provenance
