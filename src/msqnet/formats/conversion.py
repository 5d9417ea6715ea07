"""Converts annotations from one format into another, and says what was lost on the way.

A data set is a format that is only read. It gives rows of the standard table, which are written as
they are into a table, and become events for every other format.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.formats import FORMATS, Reading, dropped_fields, load_format
from msqnet.formats.annotations import joined, settled
from msqnet.formats.clip_table import read_clip_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msqnet.formats import Format
    from msqnet.formats.annotations import Annotations
    from msqnet.formats.clip_table import ClipRows
    from msqnet.labels import LabelSet

_TABLE = "table"
_MORE = "'msqnet convert --from list' says more"
_NUM_LABELS_SHOWN = 5


def convert_annotations(
    source_name: str | None,
    target_name: str,
    *,
    path: str | None,
    root: str | None,
    out: str | None,
    options: Mapping[str, str],
    overwrite: bool,
) -> list[str]:
    """Read annotations in one format and write them in another; formats are keys of `FORMATS`.

    Args:
        source_name: the format that is read.
        target_name: the format that is written.
        path: file or folder of annotations; a data set is named by `root` instead.
        root: folder of a data set, or of the videos of annotations (that of `path` by default).
        out: file or folder that is written.
        options: of both formats; one that both know goes to both.
        overwrite: whether files are replaced.

    Returns:
        Lines for the user: the files, assumptions and dropped fields.

    Raises:
        ConfigError: an unknown format or option, one that is missing, or a file that exists.
        DatasetError: annotations that cannot be read or written.
    """
    source, target = _source(source_name), _target(target_name)
    is_data_set = source.read_rows is not None
    if is_data_set and (root or path) is None:
        raise ConfigError(f"--root: name the folder that {source.title} was unpacked in")
    if not is_data_set and path is None:
        raise ConfigError(f"--input: name the file or folder of {source.title}")
    # Rows of a data set, and those of a table that become no other table, stay as they are.
    write_rows = target.write_rows if is_data_set or source.name == _TABLE != target.name else None
    of_target = {} if write_rows else target.options
    unknown = sorted(set(options) - set(source.options) - set(of_target))
    if unknown:
        known = ", ".join((*source.options, *of_target)) or "none"
        both = f"{source.name} and {target.name}" if of_target else source.name
        raise ConfigError(f"{both}: no option {unknown[0]!r}; known are: {known}")
    if out is None:
        example = source.name if is_data_set else "annotations"
        raise ConfigError(f"--out: name what to write, such as {example}{target.suffix}")
    place = Path(out)
    for file in (place,) if target.files is None else target.files(place):
        if file.exists() and not overwrite:
            raise ConfigError(f"{file} exists; --overwrite replaces it")
    reading = {name: value for name, value in options.items() if name in source.options}
    writing = {name: value for name, value in options.items() if name in of_target}
    rows = _rows(source, path, root, reading) if is_data_set or write_rows else None
    if rows is not None and write_rows is not None:
        return _rows_summary(source, rows, target, place, write_rows(rows, place))
    if rows is not None:
        annotations = settled(rows.annotations())
    else:
        annotations = read_annotations(source, Path(path or ""), root, reading)
    return write_annotations(annotations, source, target, place, writing)


def _rows(
    source: Format, path: str | None, root: str | None, options: Mapping[str, str]
) -> ClipRows:
    """The rows of a data set or a table."""
    if source.read_rows is None:
        table = Path(path or "")
        return read_clip_rows(table, Reading(Path(root or table.parent), options))
    folder = Path(root or path or "").resolve()
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give the one that holds {source.title}")
    return source.read_rows(folder, Reading(folder, options))


def describe_formats() -> str:
    """Every data set and format, with licences and options."""
    data_sets, tools = ["data sets (--from NAME --root FOLDER)"], ["formats"]
    for found in map(load_format, FORMATS):
        ways = [f"--from {found.name} --input PATH"] if found.read else []
        ways += [f"--to {found.name}"] if found.write else []
        lines = [
            f"{found.name}: {found.title} ({found.task.replace('_', ' ') or ' and '.join(ways)})",
            *([f"  licence: {found.licence}"] if found.licence else []),
            *(f"  --option {name}=...: {text}" for name, text in found.options.items()),
        ]
        (tools if found.read_rows is None else data_sets).append("\n".join(lines))
    return "\n\n".join([*data_sets, *tools])


def _source(name: str | None) -> Format:
    if name is None:
        known = ", ".join(FORMATS)
        raise ConfigError(f"--from: name the data set or the format, one of {known} ({_MORE})")
    found = _named("--from", name, "data set or format")
    if found.read is None and found.read_rows is None:
        raise ConfigError(f"--from {name}: {found.title} can only be written")
    return found


def _target(name: str) -> Format:
    found = _named("--to", name, "format")
    if found.write is None:
        raise ConfigError(f"--to {name}: {found.title} can only be read")
    return found


def _named(option: str, name: str, what: str) -> Format:
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise ConfigError(f"{option} {name}: no such {what}; known are {known} ({_MORE})")
    return load_format(name)


def read_annotations(
    source: Format, path: Path, root: str | None, options: Mapping[str, str]
) -> Annotations:
    """What a file says, or all files of the format in a folder together, by the rule of `settled`.

    `root` is the folder of the videos, by default that of the file. A file of a folder that cannot
    be read is left out with a note; `DatasetError` if none can.
    """
    assert source.read is not None
    if not path.exists():
        raise DatasetError(f"{path}: no such file; --input names {source.title}")
    if root is not None and not Path(root).is_dir():
        raise DatasetError(f"{root}: no such folder; --root names the one that holds the videos")
    files = source.files_in(path) if path.is_dir() else [path]
    if len(files) == 1:
        folder = files[0] if files[0].is_dir() else files[0].parent
        return settled(source.read(files[0], Reading(Path(root or folder), options)))
    parts, failed = {}, []
    for file in files:
        name = file.relative_to(path).as_posix()
        try:
            parts[name] = source.read(file, Reading(Path(root or file.parent), options))
        except DatasetError as error:
            failed.append(error)
    if not parts:
        raise failed[0]
    return settled(joined(parts, [f"left out: {error}" for error in failed]))


def write_annotations(
    annotations: Annotations,
    source: Format | None,
    target: Format,
    path: Path,
    options: Mapping[str, str],
) -> list[str]:
    """Write annotations that came from `source`, and say what was assumed and dropped, by line.

    Folders are made, files replaced. `DatasetError` for what the target cannot hold.
    """
    assert target.write is not None
    _check_text(annotations, options, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        notes = target.write(annotations, path, options)
    except MsqnetError as error:
        for note in annotations.notes:
            error.add_note(f"note: {note}")
        raise
    labels = annotations.all_labels()
    others = sorted(set(labels) - set(annotations.labels))
    num_events = sum(1 for _ in annotations.events())
    return [
        f"{path}: {len(annotations.videos)} videos with {num_events} events"
        + (f", from {source.title}" if source else ""),
        _label_line(labels),
        *([f"labels that the ethogram does not have: {', '.join(others)}"] if others else []),
        *([f"licence: {source.licence}"] if source and source.licence else []),
        *(f"note: {note}" for note in (*annotations.notes, *notes)),
        *(f"note: {note}" for note in dropped_fields(annotations, target.drops, target.title)),
        *([f"next: msqnet check {shlex.quote(str(path))}"] if target.name == _TABLE else []),
    ]


def _rows_summary(
    source: Format, rows: ClipRows, target: Format, path: Path, notes: tuple[str, ...]
) -> list[str]:
    records = rows.records
    num_rows = Counter(record.split for record in records)
    videos = Counter(split for split, _ in {(record.split, record.path) for record in records})
    num_unseen = len(rows.labels) - len({name for record in records for name in record.labels})
    return [
        f"{path}: {len(records)} rows of {source.title}",
        *(
            f"  {split or '(no split)'}: {number} rows, {videos[split]} videos"
            for split, number in num_rows.items()
        ),
        _label_line(rows.labels),
        *([f"labels that no row shows: {num_unseen}"] if num_unseen else []),
        *([f"licence: {source.licence}"] if source.licence else []),
        *(f"note: {note}" for note in (*rows.notes, *notes)),
        *([f"next: msqnet check {shlex.quote(str(path))}"] if target.name == _TABLE else []),
    ]


def _label_line(labels: LabelSet) -> str:
    listing = ", ".join(labels.names[:_NUM_LABELS_SHOWN])
    num_more = len(labels) - _NUM_LABELS_SHOWN
    return f"labels: {len(labels)}: {listing}" + (f" and {num_more} more" if num_more > 0 else "")


def _check_text(annotations: Annotations, options: Mapping[str, str], out: Path) -> None:
    """Raise `DatasetError` for text that is not Unicode, which names of results and folders may be.

    Files of annotations cannot hold it.
    """

    def check(what: str, *texts: str) -> None:
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise DatasetError(
                    f"{what}: found {text!a}, expected Unicode text, as files of annotations can "
                    "hold nothing else; rename it and try again"
                ) from error

    check("--out", str(out))
    for name, value in options.items():
        check(f"option {name}", value)
    check("model", annotations.model)
    check("label", *annotations.labels)
    for video in annotations.videos:
        name = video.path.name
        check("path of a video", str(video.path))
        check(f"split of {name}", video.split)
        check(f"group of {name}", video.group)
        check(f"label of {name}", *(video.checked or ()))
        for event in video.events:
            check(f"label of {name}", event.label)
            about = f"of {event.label} of {name}"
            check(f"subject {about}", event.subject)
            check(f"comment {about}", event.comment)
            check(f"modifier {about}", *event.modifiers)
