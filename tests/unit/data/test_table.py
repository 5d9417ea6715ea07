from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.data.records import Record
from msqnet.data.table import COLUMNS, read_table, scan_table, write_table
from msqnet.errors import DatasetError
from msqnet.labels import UNKNOWN, LabelSet, join_labels, plain_text
from msqnet.workbooks import CELL_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS_FOLDER = Path(__file__).parent

words = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="|*\\/\x7f"),
    min_size=1,
    max_size=8,
).filter(lambda text: text == text.strip() and text not in (".", "..", *CELL_ERRORS))
seconds = st.floats(0, 1e6, allow_nan=False)


@st.composite
def records(draw: st.DrawFn) -> Record:
    name = draw(words)
    start, end = draw(st.none() | seconds), draw(st.none() | seconds)
    if end is not None and end <= (start or 0.0):
        end = None
    names = words.map(plain_text).filter(bool)
    labels = tuple(draw(st.lists(names, max_size=3, unique=True)))
    checked = draw(st.none() | st.frozensets(names, max_size=3))
    texts = [draw(st.just("") | words) for _ in range(4)]
    annotated = None if checked is None else checked | set(labels)
    return Record(0, Path(name), name, labels, annotated, start, end, *texts)


def cells_of(record: Record) -> dict[str, str]:
    def number(value: float | None) -> str:
        return "" if value is None else repr(value)

    return {
        "path": record.relative_path,
        "labels": join_labels(record.labels),
        "start": number(record.start_seconds),
        "end": number(record.end_seconds),
        "annotated": "*" if record.annotated is None else join_labels(sorted(record.annotated)),
        "split": record.split,
        "group": record.group,
        "actor": record.actor,
        "source": record.source,
    }


def write_csv(path: Path, rows: list[dict[str, str]], delimiter: str, encoding: str) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@settings(max_examples=60)
@given(
    rows=st.lists(records(), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Record], delimiter: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("tables") / "clips.csv"
    cells = [cells_of(record) for record in rows]
    if delimiter != ",":
        for row in cells:
            row["start"], row["end"] = row["start"].replace(".", ","), row["end"].replace(".", ",")
    write_csv(path, cells, delimiter, encoding)

    assert_same(read_table(path).records, rows, path.parent)


@settings(max_examples=20)
@given(rows=st.lists(records(), min_size=1, max_size=5))
def test_parquet_holds_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Record]
) -> None:
    path = tmp_path_factory.mktemp("tables") / "clips.parquet"
    frame = pd.DataFrame([cells_of(record) for record in rows])
    for column in ("start", "end"):
        frame[column] = frame[column].map(lambda cell: float(cell) if cell else None)
    frame.replace({"split": {"": None}}).to_parquet(path)

    assert_same(read_table(path).records, rows, path.parent)


def assert_same(found: tuple[Record, ...], expected: list[Record], folder: Path) -> None:
    assert [record.row for record in found] == list(range(2, len(expected) + 2))
    for new, old in zip(found, expected, strict=True):
        assert new.path == folder.resolve() / old.relative_path
        assert cells_of(new) == cells_of(old)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "clips.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_two_columns_are_enough(write: Callable[[str], Path], tmp_path: Path) -> None:
    table = read_table(write("path,labels\na.mp4,walking|eating\nb/c.mp4,\n"))

    first, second = table.records
    assert first == Record(2, tmp_path.resolve() / "a.mp4", "a.mp4", ("walking", "eating"))
    assert (second.labels, second.annotated, second.row) == ((), None, 3)
    labels = LabelSet(("eating", "sitting", "walking"))
    assert table.targets(labels).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_annotated_says_what_is_known(write: Callable[[str], Path]) -> None:
    table = read_table(
        write(
            "path,labels,annotated\na.mp4,x,*\nb.mp4,x,x|y\nc.mp4,x,\nd.mp4,x,y\ne.mp4,,y\nf.mp4,,\n"
        )
    )

    known = [record.annotated for record in table.records]
    assert known == [None, {"x", "y"}, {"x"}, {"x", "y"}, {"y"}, frozenset()]
    u = UNKNOWN
    assert table.targets(LabelSet(("x", "y", "z"))).tolist() == [
        [1, 0, 0],
        [1, 0, u],
        [1, u, u],
        [1, 0, u],
        [u, 0, u],
        [u, u, u],
    ]
    assert [record.has_known_labels for record in table.records] == [True] * 5 + [False]


def test_rows_are_numbered_as_a_spreadsheet_shows_them(write: Callable[[str], Path]) -> None:
    table = read_table(write('path,labels,note\na.mp4,x,"two\nlines"\n\n,,\nb.mp4,y,\n'))

    assert [record.row for record in table.records] == [2, 5]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rate_of_frames_is_a_column_where_a_row_has_one(
    write: Callable[[str], Path], tmp_path: Path, suffix: str
) -> None:
    table = read_table(write("path,labels,fps\nframes,x,12.5\nb.mp4,x,\n"))
    assert [record.fps for record in table.records] == [12.5, None]
    again = tmp_path / f"again{suffix}"
    write_table(table.records, again)
    assert [record.fps for record in read_table(again).records] == [12.5, None]
    write_table(table.records[1:], again)
    assert again.suffix == ".parquet" or "fps" not in again.read_text(encoding="utf-8")
    with pytest.raises(DatasetError, match=r"fps 'x' is not a number of frames(.|\n)*fps 0 is not"):
        read_table(write("path,labels,fps\na,x,x\nb,x,0\n"))


def test_malformed_rows_are_named_together(write: Callable[[str], Path]) -> None:
    path = write(
        "path,labels,start,end\n"
        "a.mp4,x,0,1\n"
        ",x,0,1\n"
        "b.mp4,x,abc,1\n"
        "c.mp4,x,2,2\n"
        "d.mp4,x,-1,2\n"
        "e.mp4,x|,0,1\n"
        "f.mp4,x||y,0,1\n"
        "g.mp4,*,0,1\n"
        "h.mp4,x,0,nan\n"
        "i.mp4,x,0,1,surplus\n"
        "j.mp4,,x,-1\n"
        "k.mp4,x,,0\n"
    )
    with pytest.raises(DatasetError) as caught:
        read_table(path)

    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 11 malformed row(s):"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        f"row {n}" for n in range(3, 14)
    ]
    for number, words in {
        3: "path is empty",
        4: "start 'abc' is not a number",
        5: "end 2 is not after start 2",
        6: "start '-1' lies before",
        7: "'x|' has an empty name",
        8: "'x||y' has an empty name",
        9: "'*' stands for all",
        10: "end 'nan' is not a number",
        11: "has 5 cells, the header 4",
        12: "start 'x' is not a number of seconds such as 12.5, or a time such as",
        13: "end 0 is not after start 0",
    }.items():
        assert words in lines[number - 2]


def test_good_rows_can_be_had_beside_malformed_ones(write: Callable[[str], Path]) -> None:
    table, problems = scan_table(write("path,labels,end\na.mp4,x,1\nb.mp4,x,?\nc.mp4,x,1\n"))

    assert [record.row for record in table.records] == [2, 4]
    assert [(item.row, item.kind, item.severity, item.path) for item in problems] == [
        (3, "malformed", "error", "b.mp4")
    ]


def test_long_lists_of_malformed_rows_are_cut(write: Callable[[str], Path]) -> None:
    path = write("path,labels,end\n" + "a.mp4,x,?\n" * 50)

    with pytest.raises(
        DatasetError, match=r"50 malformed row\(s\)(.|\n)*row 21:(.|\n)*30 more"
    ) as caught:
        read_table(path)
    assert "row 22:" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("path,labels\n", "no clip in it"),
        ("path,labls\na,b\n", "no column 'labels'; found path, labls"),
        ("a.mp4,x\nb.mp4,y\n", "no column 'path' and no column 'labels'; found a.mp4, x"),
        ("path,labels,start,start\na,b,1,2\n", "column 'start' is there twice"),
        ('path,labels\n"a.mp4,x\n', "not a well-formed CSV table"),
    ],
)
def test_what_is_no_table_is_an_error_that_names_file_and_cause(
    write: Callable[[str], Path], text: str, words: str
) -> None:
    path = write(text)
    with pytest.raises(DatasetError) as caught:
        read_table(path)

    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_other_files_are_errors_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "clips.doc").write_bytes(b"PK")
    (tmp_path / "clips.parquet").write_bytes(b"not parquet")
    (tmp_path / "cut.csv").write_bytes("path,labels\nä.mp4,ä".encode()[:-1])

    with pytest.raises(DatasetError, match=r"found \.doc, expected \.csv.*\.xlsx"):
        read_table(tmp_path / "clips.doc")
    with pytest.raises(DatasetError, match="not a readable Parquet table"):
        read_table(tmp_path / "clips.parquet")
    with pytest.raises(
        DatasetError, match=r"byte 19 is not UTF-8.* text; save the table as 'CSV UTF"
    ):
        read_table(tmp_path / "cut.csv")
    with pytest.raises(DatasetError, match=r"none\.csv: no such file or folder"):
        read_table(tmp_path / "none.csv")


def test_headers_may_be_capitalised_and_columns_unknown(write: Callable[[str], Path]) -> None:
    table, problems = scan_table(
        write(" Path ,licence,LABELS,group_of,begin_at\na.mp4,MIT,x,cage,3\n")
    )

    assert table.records[0].labels == ("x",)
    assert [item.message for item in problems] == [
        "column 'group_of' is ignored; if it means 'group', say --columns group=group_of",
        "no column is 'start' or 'end', so that rows begin where their video does and go to the "
        "end of their video, and 'begin_at' with numbers or times are ignored; if they are meant, "
        "say --columns start=NAME,end=NAME, and if not, --columns start=,end=",
    ]
    assert {item.severity for item in problems} == {"warning"}


def test_spreadsheet_that_drops_empty_cells_at_the_end_is_read(
    write: Callable[[str], Path],
) -> None:
    table = read_table(write("path;labels;start;group\na.mp4;x;1,5;g\nb.mp4;y\n"))

    assert [(r.start_seconds, r.group) for r in table.records] == [(1.5, "g"), (None, "")]


def test_decimal_comma_between_commas_is_an_error(write: Callable[[str], Path]) -> None:
    with pytest.raises(DatasetError, match="row 2: start '1,5' is not a number"):
        read_table(write('path,labels,start\na.mp4,x,"1,5"\n'))


def test_one_file_has_one_path_however_it_is_spelled(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path.resolve()
    table = read_table(
        write(
            "path,labels\nsub/a.mp4,x\nsub\\a.mp4,x\n./sub/../sub/a.mp4,x\n"
            f"{folder.as_posix()}/sub/a.mp4,x\n"
        )
    )

    assert {record.path for record in table.records} == {folder / "sub" / "a.mp4"}
    assert table.records[1].relative_path == "sub\\a.mp4"
    assert set(table.clip_ids()) == {"sub/a.mp4"}


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash separates folders there")
def test_backslash_in_the_name_of_a_file_is_kept(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "a\\b.mp4").touch()

    assert read_table(write("path,labels\na\\b.mp4,x\n")).records[0].path.exists()


def test_reading_a_table_needs_no_torch(write: Callable[[str], Path]) -> None:
    code = (
        "import sys; from msqnet.data import records, splits, table, table_check;"
        f"table.read_table({str(write('path,labels' + chr(10) + 'a.mp4,x'))!r});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mixed_benchmark_has_the_counts_of_its_description(real_data: Path) -> None:
    table = read_table(real_data / "mixed_actors.csv")
    train, test = table.select("train"), table.select("test")
    labels = LabelSet(table.label_names())
    targets = train.targets(labels)

    assert (len(table), len(train), len(test)) == (757, 541, 216)
    assert len(set(table.clip_ids())) == 576
    assert len(labels) == 19
    assert set(labels) - set(train.label_names()) == {"drinking"}
    assert Counter(record.actor for record in table.records).keys() == {"human", "mouse", "rat"}
    for name, num_windows, num_clips, num_known, num_test_windows, num_test_known in [
        ("drinking", 0, 0, 86, 3, 42),
        ("falling", 35, 8, 376, 22, 145),
        ("grooming", 135, 103, 541, 48, 216),
        ("head_raising", 10, 10, 430, 14, 159),
        ("walking", 27, 15, 197, 11, 99),
        ("wall_supported_rearing", 33, 33, 531, 9, 212),
    ]:
        column = targets[:, labels.index(name)]
        test_column = test.targets(labels)[:, labels.index(name)]
        clips = np.array(train.clip_ids())[column == 1]
        assert ((column == 1).sum(), len(set(clips))) == (num_windows, num_clips)
        assert (column != UNKNOWN).sum() == num_known
        assert (test_column == 1).sum() == num_test_windows
        assert (test_column != UNKNOWN).sum() == num_test_known


def test_larger_benchmark_is_read(real_data: Path) -> None:
    table = read_table(real_data / "many_actors.csv")

    assert len(table) == 1094
    assert table.split_names() == ("test", "train")
    assert not set(table.select("train").group_ids()) & set(table.select("test").group_ids())
    assert all(record.path.is_file() for record in table.records)


def test_extent_says_whether_labels_hold_throughout(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("path,labels,extent\na.mp4,x,whole\nb.mp4,x,somewhere\nc.mp4,x,\n")
    rows = read_table(path).records
    assert [row.holds_throughout for row in rows] == [True, False, False]
    write_table(rows, tmp_path / "again.csv")
    assert [row.holds_throughout for row in read_table(tmp_path / "again.csv").records] == [
        *(True, False, False)
    ]
    write_table(rows[1:], tmp_path / "without.csv")
    assert "extent" not in (tmp_path / "without.csv").read_text()
    path.write_text("path,labels,extent\na.mp4,x,all\n")
    with pytest.raises(DatasetError, match="extent 'all': expected whole or somewhere"):
        read_table(path)
