"""`msqnet convert`: annotations from one form into another: data sets, annotation tools, tables."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from msqnet.data.adapters.adapter import Adapter, Converted
    from msqnet.formats import Format
    from msqnet.formats.annotations import Annotations

_LIST = "list"
_TABLE = "table"
_NUM_LABELS_SHOWN = 5


def convert(
    from_: str | None = None,
    to: str = _TABLE,
    input: str | None = None,
    root: str | None = None,
    out: str | None = None,
    option: list[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Turn annotations of a data set, of an annotation tool or of a model into another form.

    Videos need not be there: rows name the place where they belong, and `msqnet check` lists those
    that are missing. Beside a table, the labels are written in the official order. What the other
    form has no place for is said.

    Args:
        from_: What is read: a data set or the format of a tool. `list` shows all of them with their
            licences and options.
        to: The format that is written; `--from list` shows all.
        input: File or folder of annotations; needed for formats, not for data sets.
        root: Folder that a data set was unpacked in; of a format, the folder that holds the videos,
            by default that of the annotations.
        out: File to write; for a table .csv, .tsv or .parquet, and the labels go beside it, into
            NAME.labels.csv.
        option: How to read and write, as KEY=VALUE; `--from list` shows what there is.
        overwrite: Replace what is there.

    Returns:
        Exit code.
    """
    from msqnet.data.adapters import ADAPTERS

    if from_ == _LIST:
        print(_listing())
        return 0
    given = _parse_options(option or ())
    if from_ in ADAPTERS:
        return _convert_data_set(from_, to, root, out, given, overwrite)
    source, target = _source(from_), _target(to)
    of_source, of_target = _split_options(given, source.name, source.options, target)
    if input is None:
        raise ConfigError(f"--input: name the file or folder of {source.title}")
    place = _checked_out(out, target, overwrite=overwrite)
    annotations = _read(source, Path(input), root, of_source)
    _write(annotations, target, place, of_target, source.title)
    return 0


def _convert_data_set(
    name: str,
    target_format: str,
    root: str | None,
    out: str | None,
    given: Mapping[str, str],
    overwrite: bool,
) -> int:
    from msqnet.data.adapters import load_adapter
    from msqnet.data.table import label_table_path, write_label_table, write_table
    from msqnet.formats.table import from_records

    chosen = load_adapter(name)
    if root is None:
        raise ConfigError(f"--root: name the folder that {chosen.title} was unpacked in")
    target = None if target_format == _TABLE else _target(target_format)
    of_source, of_target = _split_options(given, name, chosen.options, target)
    table = _checked_out(out, target, overwrite=overwrite, example=chosen.name)
    converted = chosen.convert(Path(root).resolve(), of_source)
    if target is not None:
        annotations = from_records(converted.records, converted.labels, converted.notes)
        _write(annotations, target, table, of_target, chosen.title)
        return 0
    write_table(converted.records, table)
    write_label_table(converted.labels, label_table_path(table))
    print("\n".join(_summary(chosen, converted, table, label_table_path(table))))
    return 0


def _read(source: Format, path: Path, root: str | None, options: Mapping[str, str]) -> Annotations:
    from msqnet.formats import Reading

    if source.read is None:
        raise ConfigError(f"--from {source.name}: {source.title} can only be written")
    if not path.exists():
        raise DatasetError(f"{path}: no such file; --input names {source.title}")
    videos = Path(root) if root is not None else (path if path.is_dir() else path.parent)
    if not videos.is_dir():
        raise DatasetError(f"{videos}: no such folder; --root names the one that holds the videos")
    return source.read(path, Reading(videos, options))


def _write(
    annotations: Annotations, target: Format, path: Path, options: Mapping[str, str], origin: str
) -> None:
    from msqnet.formats import dropped_fields

    if target.write is None:
        raise ConfigError(f"--to {target.name}: {target.title} can only be read")
    _check_text(annotations, options, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = target.write(annotations, path, options)
    lost = dropped_fields(annotations, target.drops, target.title)
    num_events = sum(1 for _ in annotations.events())
    lines = [
        f"{path}: {len(annotations.videos)} videos with {num_events} events, from {origin}",
        *_label_lines(annotations),
        *(f"note: {note}" for note in (*annotations.notes, *notes, *lost)),
    ]
    if target.name == _TABLE:
        lines.append(f"next: msqnet check {shlex.quote(str(path))}")
    print("\n".join(lines))


def _check_text(annotations: Annotations, options: Mapping[str, str], out: Path) -> None:
    """Refuse text that no file can hold: results and folders may have names that are not Unicode.

    Raises:
        DatasetError: the first that is found.
    """
    for what, text in _texts(annotations, options, out):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{what}: found {text!a}, expected Unicode text, as files of annotations can hold "
                "nothing else; rename it and try again"
            ) from error


def _texts(
    annotations: Annotations, options: Mapping[str, str], out: Path
) -> Iterator[tuple[str, str]]:
    """All that is written: what it is, and its text."""
    yield "--out", str(out)
    yield from ((f"option {name}", value) for name, value in options.items())
    yield "model", annotations.model
    yield from (("label", name) for name in annotations.labels)
    for video in annotations.videos:
        yield "path of a video", str(video.path)
        yield f"split of {video.path.name}", video.split
        yield f"group of {video.path.name}", video.group
        yield from ((f"label of {video.path.name}", name) for name in video.checked or ())
        for event in video.events:
            yield f"label of {video.path.name}", event.label
            about = f"{event.label} of {video.path.name}"
            yield f"subject of {about}", event.subject
            yield f"comment of {about}", event.comment
            yield from ((f"modifier of {about}", name) for name in event.modifiers)


def _label_lines(annotations: Annotations) -> list[str]:
    labels = annotations.all_labels()
    listing = ", ".join(labels.names[:_NUM_LABELS_SHOWN])
    num_more = len(labels) - _NUM_LABELS_SHOWN
    others = sorted(set(labels) - set(annotations.labels))
    return [
        f"labels: {len(labels)}: {listing}" + (f" and {num_more} more" if num_more > 0 else ""),
        *([f"labels that the ethogram does not have: {', '.join(others)}"] if others else []),
    ]


def _checked_out(
    out: str | None, target: Format | None, *, overwrite: bool, example: str = "annotations"
) -> Path:
    """The file to write, if it can be written."""
    from msqnet.data.table import check_table_suffix, label_table_path

    is_table = target is None or target.name == _TABLE
    if out is None:
        what = "the table" if is_table or target is None else f"the file of {target.title}"
        suffix = ".csv" if target is None else target.suffix
        raise ConfigError(f"--out: name {what} to write, such as {example}{suffix}")
    places = [Path(out)]
    if target is not None and target.files is not None:
        places = list(target.files(Path(out)))
    if is_table:
        check_table_suffix(out)
        places.append(label_table_path(out))
    for path in places:
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists; --overwrite replaces it")
    return Path(out)


def _source(name: str | None) -> Format:
    from msqnet.data.adapters import ADAPTERS
    from msqnet.formats import FORMATS, load_format

    known = f"data sets {', '.join(ADAPTERS)}; formats {', '.join(FORMATS)}"
    more = "'msqnet convert --from list' says more"
    if name is None:
        raise ConfigError(f"--from: name the data set or the format: {known}; {more}")
    if name not in FORMATS:
        raise ConfigError(f"--from {name}: no such data set or format; known are {known} ({more})")
    return load_format(name)


def _target(name: str) -> Format:
    from msqnet.formats import FORMATS, load_format

    if name not in FORMATS:
        raise ConfigError(f"--to {name}: no such format; known are {', '.join(FORMATS)}")
    return load_format(name)


def _parse_options(pairs: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or not value:
            raise ConfigError(f"--option {pair}: expected KEY=VALUE, such as split=1")
        if name in options:
            raise ConfigError(f"--option {pair}: {name} is given twice")
        options[name] = value
    return options


def _split_options(
    given: Mapping[str, str], source: str, known: Mapping[str, str], target: Format | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Options of what is read and of what is written; one that both know goes to both."""
    written = target.options if target else {}
    unknown = sorted(set(given) - set(known) - set(written))
    if unknown:
        names = ", ".join((*known, *written)) or "none"
        to = f" and {target.name}" if target else ""
        raise ConfigError(f"{source}{to}: no option {unknown[0]!r}; known are: {names}")
    return (
        {name: value for name, value in given.items() if name in known},
        {name: value for name, value in given.items() if name in written},
    )


def _listing() -> str:
    """Everything that can be read and written."""
    from msqnet.data.adapters import ADAPTERS, load_adapter
    from msqnet.formats import FORMATS, load_format

    adapters = [_described(load_adapter(name)) for name in ADAPTERS]
    formats = [_described_format(load_format(name)) for name in FORMATS]
    return "\n\n".join(["data sets (--from NAME --root FOLDER)", *adapters, "formats", *formats])


def _described(chosen: Adapter) -> str:
    """The entry of one data set in the list of all."""
    task = chosen.task.replace("_", " ")
    return "\n".join(
        [
            f"{chosen.name}: {chosen.title} ({task})",
            f"  licence: {chosen.licence}",
            *(f"  --option {name}=...: {text}" for name, text in chosen.options.items()),
        ]
    )


def _described_format(chosen: Format) -> str:
    ways = [f"--from {chosen.name} --input PATH"] if chosen.read else []
    ways += [f"--to {chosen.name}"] if chosen.write else []
    return "\n".join(
        [
            f"{chosen.name}: {chosen.title} ({' and '.join(ways)})",
            *(f"  --option {name}=...: {text}" for name, text in chosen.options.items()),
        ]
    )


def _summary(chosen: Adapter, converted: Converted, table: Path, labels_table: Path) -> list[str]:
    records, labels = converted.records, converted.labels
    rows = Counter(record.split for record in records)
    videos = Counter(split for split, _ in {(record.split, record.path) for record in records})
    listing = ", ".join(labels.names[:_NUM_LABELS_SHOWN])
    more = f", ... (all in {labels_table})" if len(labels) > _NUM_LABELS_SHOWN else ""
    num_without = len(labels) - len({name for record in records for name in record.labels})
    return [
        f"{table}: {len(records)} rows of {chosen.title}",
        *(
            f"  {split or '(no split)'}: {rows[split]} rows, {videos[split]} videos"
            for split in rows
        ),
        f"labels: {len(labels)}: {listing}{more}",
        *([f"labels that no row shows: {num_without}"] if num_without else []),
        f"licence: {chosen.licence}",
        *(f"note: {note}" for note in converted.notes),
        f"next: msqnet check {shlex.quote(str(table))}",
    ]
