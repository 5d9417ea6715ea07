"""`msqnet convert`: annotations from one format to another."""

from __future__ import annotations

from msqnet.errors import check


def convert(
    from_: str | None = None,
    to: str = "table",
    input: str | None = None,
    root: str | None = None,
    out: str | None = None,
    option: list[str] | None = None,
    overwrite: bool = False,
) -> int:
    """Convert annotations between data sets, annotation tools, results and tables.

    The videos need not exist: rows contain the paths where they belong, and `msqnet check` lists
    missing ones. With a table, the labels are written in the official order. Fields that the target
    format cannot hold are reported.

    Args:
        from_: Data set or format to read. `list` shows all with their licences and options.
        to: Format to write; `--from list` shows all.
        input: File or folder of annotations; required for formats, not for data sets.
        root: Folder of the unpacked data set; for a format, the folder of the videos, by default
            that of the annotations.
        out: File to write: for a table .csv, .tsv or .parquet; the labels are written beside it as
            NAME.labels.csv.
        option: Options of reading and writing, as KEY=VALUE; `--from list` shows all.
        overwrite: Replace existing files.
    """
    from msqnet.formats.conversion import convert_annotations, describe_formats

    if from_ == "list":
        print(describe_formats())
        return 0
    lines = convert_annotations(
        from_,
        to,
        path=input,
        root=root,
        out=out,
        options=parse_options(option),
        overwrite=overwrite,
    )
    print("\n".join(lines))
    return 0


def parse_options(pairs: list[str] | None) -> dict[str, str]:
    """Values by names of pairs such as ``split=1``; `ConfigError` for other text or a repeat."""
    given: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        is_pair = bool(name and equals and value)
        check(is_pair, f"--option {pair}: expected KEY=VALUE, such as split=1")
        check(name not in given, f"--option {pair}: {name} is given twice")
        given[name] = value
    return given
