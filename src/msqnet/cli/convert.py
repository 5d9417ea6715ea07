"""`msqnet convert`: a data set as its authors distribute it -> the standard table."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.data.adapters.adapter import Adapter, Converted

_LIST = "list"
_NUM_LABELS_SHOWN = 5


def convert(
    source_format: str | None = None,
    root: str | None = None,
    out: str | None = None,
    options: list[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Turn the annotation files of a data set into a table of labelled clips.

    Videos need not be there: rows name the place where they belong, and `msqnet check` lists those
    that are missing. Beside the table, the labels are written in the official order.

    Args:
        source_format: The data set.
        root: Folder that the data set was unpacked in; needed, but not by `--from list`.
        out: Table to write (.csv, .tsv or .parquet); needed as well. The labels go beside it, into
            NAME.labels.csv.
        options: What to read, as KEY=VALUE.
        overwrite: Replace a table that is there.

    Returns:
        Exit code.
    """
    from msqnet.data.adapters import ADAPTERS
    from msqnet.data.writer import label_table_path, write_label_table, write_table

    if source_format == _LIST:
        print("\n\n".join(_described(_load(name)) for name in ADAPTERS))
        return 0
    chosen = _load(source_format)
    folder, table = _checked_places(chosen, root, out, overwrite=overwrite)
    converted = chosen.convert(folder, _parse_options(options or ()))
    write_table(converted.records, table)
    write_label_table(converted.labels, label_table_path(table))
    print("\n".join(_summary(chosen, converted, table, label_table_path(table))))
    return 0


def _checked_places(
    chosen: Adapter, root: str | None, out: str | None, *, overwrite: bool
) -> tuple[Path, Path]:
    """The data set's folder and the table to write, if both can be meant."""
    from msqnet.data.writer import check_table_suffix, label_table_path

    if root is None:
        raise ConfigError(f"--root: name the folder that {chosen.title} was unpacked in")
    if out is None:
        raise ConfigError(f"--out: name the table to write, such as {chosen.name}.csv")
    check_table_suffix(out)
    for path in (Path(out), label_table_path(out)):
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists; --overwrite replaces it")
    return Path(root).resolve(), Path(out)


def _load(name: str | None) -> Adapter:
    from msqnet.data.adapters import ADAPTERS, load_adapter

    if name is None:
        raise ConfigError(
            f"--from: name the data set: {', '.join(ADAPTERS)}; "
            "'msqnet convert --from list' shows their licences and options"
        )
    return load_adapter(name)


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
