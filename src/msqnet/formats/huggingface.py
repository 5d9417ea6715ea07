"""A folder of videos and their rows as Hugging Face `datasets` reads it (VideoFolder).

``FOLDER/SPLIT/metadata.parquet`` has a line a row of the table, the videos lie beside it, and
``FOLDER/README.md`` names the splits. The rows are Parquet because their types must not depend on
what they hold: of JSON Lines, `datasets` takes the types from the rows of each split, and refuses
to load if no row of one split has a label.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError, needs_extra
from msqnet.files import replacing
from msqnet.formats import Format
from msqnet.formats.annotations import count_notes, free_name
from msqnet.formats.clip_table import FORMAT as TABLE
from msqnet.formats.clip_table import ClipRows, rows_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msqnet.data.records import Record
    from msqnet.formats.annotations import Annotations

CARD_FILE = "README.md"
METADATA_FILE = "metadata.parquet"
_MARK = "Written by `msqnet convert --to huggingface`."
_SPLITS = {"": "train", "val": "validation"}
"""Other names for splits; `datasets` finds train, validation and test by the names of folders."""
_VIDEO_SUFFIXES = frozenset({".mkv", ".mp4", ".avi", ".mpeg", ".mov"})


def write_folder(rows: ClipRows, folder: Path) -> tuple[str, ...]:
    """Write rows and their videos, which become hard links where that can be, else copies.

    Returns:
        Notes on rows that are left out, and on what `datasets` may not do.

    Raises:
        DatasetError: videos are missing, there is no row, a split has no fit name, or the folder
            holds something else.
        MissingExtra: pyarrow is not installed.
    """
    with needs_extra("a folder for Hugging Face datasets", extra="pandas"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    records = [record for record in rows.records if not record.path.is_dir()]
    _check(records, folder)
    splits: dict[str, list[Record]] = {}
    for record in records:
        splits.setdefault(_SPLITS.get(record.split, record.split), []).append(record)
    text, texts = pa.string(), pa.list_(pa.string())
    schema = pa.schema(
        [("file_name", text), ("start_seconds", pa.float64()), ("end_seconds", pa.float64())]
        + [("labels", texts), ("annotated", texts)]
        + [("holds_throughout", pa.bool_())]
        + [(name, text) for name in ("group", "actor", "source")]
    )
    folder.mkdir(parents=True, exist_ok=True)
    stale = _earlier_files(folder)
    with replacing(folder / CARD_FILE) as part:  # first: it says whose folder this is
        part.write_text(_card(rows, list(splits)), encoding="utf-8")
    num_copied = 0
    for split, chosen in splits.items():
        (folder / split).mkdir(exist_ok=True)
        names = _file_names(chosen)
        num_copied += sum(_place(path, folder / split / name) for path, name in names.items())
        lines = [_line(record, names[record.path], rows) for record in chosen]
        with replacing(folder / split / METADATA_FILE) as part:
            pq.write_table(pa.Table.from_pylist(lines, schema), part)
        stale -= {folder / split / name for name in (*names.values(), METADATA_FILE)}
    _remove(stale)
    others = sorted({record.path.suffix.lower() for record in records} - _VIDEO_SUFFIXES)
    notes = {
        "rows of folders of images, which are no videos there, left out": (
            len(rows.records) - len(records)
        ),
        "videos that were copied, because they cannot be linked there": num_copied,
        f"kinds of files that `datasets` does not take for videos ({', '.join(others)}), so load "
        f"the folder by load_dataset('videofolder', data_dir='{folder}')": len(others),
    }
    return count_notes(notes)


def _check(records: list[Record], folder: Path) -> None:
    if not records:
        raise DatasetError(f"{folder}: there is no row of a video to write")
    missing = sorted({str(record.path) for record in records if not record.path.is_file()})
    if missing:
        raise DatasetError(
            f"{len(missing)} video(s) of the rows are not there, the first is {missing[0]}; a "
            "folder for `datasets` holds the videos, so name their folder with --root"
        )
    for record in records:
        if record.split and not re.fullmatch(r"(?!all$)\w+", record.split, re.ASCII):
            raise DatasetError(
                f"{record.place}: found split {record.split!r}, expected letters, digits and _, "
                "and not 'all', as `datasets` takes no other name; rename it"
            )
        if record.path.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f"{folder}: holds a video of the table, {record.path}; name another")
        if not record.path.name.isprintable():
            raise DatasetError(f"{record.path!a}: a name that is no text; rename the video")
    splits = {record.split for record in records}
    if len({split.lower() for split in splits}) < len(splits):
        raise DatasetError(
            f"found splits {', '.join(sorted(splits))}, of which some differ in case alone, so "
            "that their folders can be one; rename them"
        )
    if folder.is_file():
        raise DatasetError(f"{folder}: a file; name a folder to write")
    card = folder / CARD_FILE
    is_own = card.is_file() and _MARK in card.read_text(encoding="utf-8", errors="replace")
    if folder.is_dir() and not is_own and any(folder.iterdir()):
        raise DatasetError(f"{folder}: holds something else; name a new folder")


def _earlier_files(folder: Path) -> set[Path]:
    """What an earlier export wrote into the folders of its splits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = set()
    for path in folder.glob(f"*/{METADATA_FILE}"):
        try:
            names = pq.read_table(path, columns=["file_name"])["file_name"].to_pylist()
        except (pa.ArrowException, KeyError, OSError) as error:
            raise DatasetError(f"{path}: not as msqnet wrote it; name a new folder") from error
        found |= {path, *(path.parent / name for name in names if Path(name).name == name)}
    return found


def _remove(files: Iterable[Path]) -> None:
    """Remove files, and folders that hold nothing else."""
    for path in files:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # something else lies there
            path.parent.rmdir()


def _file_names(records: list[Record]) -> dict[Path, str]:
    """Names of the videos of a split in one folder, by their paths.

    There is no folder in between: `datasets` would take one with the name ``test`` for a split.
    It does not see names that begin with a point.
    """
    taken: set[str] = set()
    return {
        path: free_name(path.stem.lstrip(".") or "video", taken, "_", str.casefold) + path.suffix
        for path in dict.fromkeys(record.path for record in records)
    }


def _place(video: Path, place: Path) -> bool:
    """Link a video to a place, or else copy it there; returns whether it was copied."""
    if place.exists() and place.samefile(video):
        return False
    with replacing(place) as part:
        try:
            os.link(video.resolve(), part)
        except OSError:
            shutil.copyfile(video, part)
            return True
    return False


def _line(record: Record, file_name: str, rows: ClipRows) -> dict[str, object]:
    known = rows.labels if record.annotated is None else sorted(record.annotated)
    return {
        "file_name": file_name,
        "start_seconds": record.start_seconds,
        "end_seconds": record.end_seconds,
        "labels": list(record.labels),
        "annotated": list(known),
        **{name: getattr(record, name) for name in ("group", "actor", "source")},
        "holds_throughout": record.holds_throughout,
    }


def _card(rows: ClipRows, splits: list[str]) -> str:
    files = "".join(f"  - split: {name}\n    path: {name}/**\n" for name in splits)
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        f"{_MARK}\n\n"
        "A row is a part of a video: `start_seconds` to `end_seconds`, empty for the start and the "
        "end of the video. `labels` were seen in it. `annotated` were looked for: what is in "
        "neither list is unknown, not absent. Rows of one `group` belong into one split.\n\n"
        f"Labels: {', '.join(rows.labels)}\n"
    )


def _write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    rows = rows_from(annotations, options)
    return *rows.notes, *write_folder(rows, path)


FORMAT = Format(
    "huggingface",
    "a folder of videos for Hugging Face `datasets`",
    write=_write,
    write_rows=write_folder,
    drops=TABLE.drops,
    files=lambda path: (path / CARD_FILE,),
)
