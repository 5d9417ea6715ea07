"""`msqnet convert`: annotations of data sets, tools and tables from one form into another."""

from __future__ import annotations

from msqnet.errors import ConfigError


def convert(
    from_: str | None = None,
    to: str = "table",
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
    from msqnet.formats.conversion import convert_annotations, describe_formats

    if from_ == "list":
        print(describe_formats())
        return 0
    given: dict[str, str] = {}
    for pair in option or ():
        name, equals, value = pair.partition("=")
        if not name or not equals or not value:
            raise ConfigError(f"--option {pair}: expected KEY=VALUE, such as split=1")
        if name in given:
            raise ConfigError(f"--option {pair}: {name} is given twice")
        given[name] = value
    lines = convert_annotations(
        from_,
        to,
        path=input,
        root=root,
        out=out,
        options=given,
        overwrite=overwrite,
    )
    print("\n".join(lines))
    return 0
