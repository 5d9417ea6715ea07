"""`msqnet review`: correct predictions and annotate videos in a page on this machine."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import say
from msqnet.errors import MissingExtra, check
from msqnet.labels import LabelSet, split_labels

if TYPE_CHECKING:
    from msqnet.review.project import Label

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "PIL")


def review(
    source: str,
    out: str,
    from_: str | None = None,
    root: str | None = None,
    option: list[str] | None = None,
    labels: str | None = None,
    model: str | None = None,
    port: int = 8010,
    show: bool = True,
    overwrite: bool = False,
) -> int:
    """Correct predictions, or annotate videos, in a page with a player and the ethogram.

    Segments of a model are proposals until you accept, reject or edit them. Every change is stored
    at once in the folder NAME.review beside the table, where the next start goes on. The table is
    written when you ask for it in the page, and when the program is stopped; train on it by
    `msqnet train --data`. The page is on 127.0.0.1 only, for whoever has the address that is
    printed.

    Args:
        source: A folder of results of `msqnet predict`, a table of labelled clips, a video or a
            folder of videos, or a file of an annotation tool.
        out: The table to write, such as labels.csv; .tsv and .parquet are known too.
        from_: Format of `source`, where its name does not tell it, such as boris; `msqnet convert
            --from list` shows all.
        root: Folder of the videos, where they are not where `source` says.
        option: Options of reading the format, as KEY=VALUE.
        labels: More labels to annotate: `walking|resting`, or a CSV with the column name.
        model: Model for proposals and to start trainings from, a folder or a name that `msqnet
            models` lists; by default the one that comes with msqnet. A model that was trained in
            this project takes its place for proposals once you use it.
        port: Port to listen on; 0 takes a free one.
        show: Open the page in the browser.
        overwrite: Replace a table that something else wrote.

    Returns:
        0 when it was stopped.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("the page", extra="serve")
    from rich.console import Console

    from msqnet.cli.console import say_notes
    from msqnet.cli.convert import parse_options
    from msqnet.data.table import check_table_suffix
    from msqnet.models import resolve_model
    from msqnet.review.app import serve_review, table_state
    from msqnet.review.export import Contents, write_project_table
    from msqnet.review.project import Project
    from msqnet.review.sources import open_source
    from msqnet.review.tasks import use_model

    table = Path(out).absolute()
    check_table_suffix(table)
    check(not table.is_dir(), f"{table}: a folder; expected the name of the table to write")
    folder = table.with_name(f"{table.stem}.review")
    is_new = overwrite or not table.exists()
    taken = (
        f"{table}: it is there already, and this review did not write it; choose another --out, or "
        "replace it: --overwrite true"
    )
    check(is_new or folder.is_dir(), taken)
    more = _labels(labels)
    found = open_source(Path(source), from_, root, parse_options(option))
    with Project(folder) as project:
        check(is_new or project.fact("table_state") == table_state(table), taken)
        notes = (*found.notes, *project.add(found.videos, (*found.labels, *more)))
        if model is not None:
            place = resolve_model(model)
            use_model(project, str(place.absolute() if isinstance(place, Path) else place))
        say_notes(notes)
        say(Console(), f"{len(project.videos())} video(s); the work is kept in {folder}")
        serve_review(project, table, notes, port, lambda url: _announce(url, show))
        print(f"msqnet: writing {table}", flush=True)
        num_rows = write_project_table(Contents.of(project), table)
        project.set_fact("table_state", table_state(table))
    written = f"written: {table} ({num_rows} rows)" if num_rows else "nothing is annotated yet"
    print(f"msqnet: stopped; {written}")
    return 0


def _labels(told: str | None) -> list[Label]:
    from msqnet.prompts import read_label_table
    from msqnet.review.project import Label

    if told is None:
        return []
    names = (
        read_label_table(told) if told.lower().endswith((".csv", ".tsv")) else split_labels(told)
    )
    return [Label(name) for name in LabelSet(tuple(names))]


def _announce(url: str, show: bool) -> None:
    import webbrowser

    print(f"msqnet: {url} (stop with Ctrl-C)", flush=True)
    if show and sys.stdout.isatty():
        webbrowser.open(url)
