from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.data.records import Record
from msqnet.data.table import label_table_path, read_table, write_label_table, write_table
from msqnet.errors import DatasetError
from msqnet.labels import LabelSet, plain_text
from msqnet.workbooks import CELL_ERRORS

NAMES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="|*\\/\x7f"),
    min_size=1,
    max_size=8,
).filter(lambda text: text == text.strip() and text not in (".", "..", *CELL_ERRORS))
LABELS = NAMES.map(plain_text).filter(bool)
SECONDS = st.floats(0, 1e6, allow_nan=False)


@st.composite
def records(draw: st.DrawFn) -> Record:
    start, end = draw(st.none() | SECONDS), draw(st.none() | SECONDS)
    if end is not None and end <= (start or 0.0):
        end = None
    labels = tuple(draw(st.lists(LABELS, max_size=3, unique=True)))
    checked = draw(st.none() | st.frozensets(LABELS, max_size=3))
    return Record(
        row=0,
        path=Path(draw(NAMES)),
        relative_path="",
        labels=labels,
        annotated=None if checked is None else checked.union(labels),
        start_seconds=start,
        end_seconds=end,
        split=draw(st.just("") | NAMES),
        group=draw(st.just("") | NAMES),
        actor=draw(st.just("") | NAMES),
        source=draw(st.just("") | NAMES),
    )


@settings(max_examples=60)
@given(
    rows=st.lists(records(), min_size=1, max_size=5),
    is_below=st.booleans(),
    suffix=st.sampled_from([".csv", ".tsv", ".parquet"]),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Record], is_below: bool, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("data").resolve()
    table = (folder if is_below else folder / "tables") / f"clips{suffix}"
    rows = [replace(record, path=folder / "videos" / record.path) for record in rows]

    write_table(rows, table)

    expected = [
        replace(
            record,
            row=number,
            relative_path=f"videos/{record.path.name}" if is_below else str(record.path),
        )
        for number, record in enumerate(rows, start=2)
    ]
    assert read_table(table).records == tuple(expected)
    assert sorted(path.name for path in table.parent.iterdir()) == [table.name]


def test_all_labels_checked_and_none_are_told_apart(tmp_path: Path) -> None:
    place = tmp_path / "a.mp4"
    rows = [Record(0, place, "", (), None), Record(0, place, "", (), frozenset())]

    write_table(rows, tmp_path / "clips.csv")

    assert (tmp_path / "clips.csv").read_text().splitlines() == [
        "path,labels,start,end,annotated,split,group,actor,source",
        "a.mp4,,,,*,,,,",
        "a.mp4,,,,,,,,",
    ]
    assert [record.annotated for record in read_table(tmp_path / "clips.csv").records] == [
        None,
        frozenset(),
    ]


def test_table_in_a_linked_folder_names_its_videos_by_relative_paths(tmp_path: Path) -> None:
    real = (tmp_path / "real").resolve()
    real.mkdir()
    (tmp_path / "link").symlink_to(real)

    write_table([Record(0, real / "a.mp4", "", ())], tmp_path / "link" / "clips.csv")

    assert (real / "clips.csv").read_text().splitlines()[1].startswith("a.mp4,")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (Record(0, Path("/a.mp4 "), "", ()), "path '/a.mp4 ' begins or ends with white space"),
        (Record(0, Path("/a\udcff.mp4"), "", ()), "is not Unicode text"),
        (Record(0, Path("/a.mp4"), "", ("x|y",)), r"'x\|y' cannot be written as a label"),
        (Record(0, Path("/a.mp4"), "", ("*",)), "cannot be written as a label"),
        (Record(0, Path("/a.mp4"), "", ("",)), "cannot be written as a label"),
        (Record(0, Path("/a.mp4"), "", ("x", " y", "z")), "' y' cannot be written as a label"),
        (Record(0, Path("/a.mp4"), "", (), frozenset({"x|y"})), "cannot be written as a label"),
        (Record(0, Path("/a.mp4"), "", (), split="a "), "split 'a ' begins or ends"),
        (Record(0, Path("/a.mp4"), "", ("#N/A",)), "labels '#N/A' is what spreadsheets show"),
    ],
)
def test_what_a_table_cannot_hold_is_an_error_and_nothing_is_written(
    tmp_path: Path, record: Record, words: str
) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("as before")

    with pytest.raises(DatasetError, match=words):
        write_table([Record(0, Path("/b.mp4"), "", ("x",)), record], table)
    assert table.read_text() == "as before"
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]


def test_other_suffixes_and_empty_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found \.xlsx, expected \.csv, \.tsv"):
        write_table([Record(0, Path("/b.mp4"), "", ())], tmp_path / "clips.xlsx")
    with pytest.raises(DatasetError, match="no row to write"):
        write_table([], tmp_path / "clips.csv")


def test_labels_keep_their_order(tmp_path: Path) -> None:
    path = label_table_path(tmp_path / "new" / "clips.v2.parquet")

    write_label_table(LabelSet(("walking, fast", "eating")), path)

    assert path == tmp_path / "new" / "clips.v2.labels.csv"
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"name": "walking, fast", "description": "", "synonyms": ""},
            {"name": "eating", "description": "", "synonyms": ""},
        ]
