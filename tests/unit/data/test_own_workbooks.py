"""Tables of clips as people have them in spreadsheets: sheets, merged cells, times as cells."""

from __future__ import annotations

import datetime
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.data.table import read_table, scan_table
from msqnet.errors import DatasetError
from tests.unit.data.test_own_tables import rows_of
from tests.unit.formats.test_columns import write_ods

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_book(path: Path, *rows: Sequence[Any], title: str = "Clips", formats: str = "") -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine", reason="needs the extra 'train'")
    book = openpyxl.Workbook()
    book.active.title = "About"
    book.active.append(["Recorded in May"])
    sheet = book.create_sheet(title)
    for row in rows:
        sheet.append(row)
    if formats:
        for cells in sheet.iter_rows(min_row=2, min_col=3):
            for cell in cells:
                cell.number_format = formats
    book.save(path)
    return path


def test_workbooks_are_tables(tmp_path: Path) -> None:
    path = write_book(
        tmp_path / "clips.xlsx",
        ["Video", "Behaviour", "Start", "Stop", None],
        ["a.mp4", "walking", datetime.time(0, 1, 5, 500000), datetime.timedelta(seconds=70)],
        [None, None, None, None],
        ["b.mp4", 7, "0:05", "12,5"],
        ["c.mp4", "", 1, 2.5],
    )
    table = read_table(path)

    assert rows_of(table) == [
        ("a.mp4", ("walking",), 65.5, 70.0),
        ("b.mp4", ("7",), 5.0, 12.5),
        ("c.mp4", (), 1.0, 2.5),
    ]
    assert [row.row for row in table.records] == [2, 4, 5]


@pytest.mark.parametrize(
    "shown", ["h:mm", "hh:mm", "[h]:mm", "h:mm AM/PM", "hh\\:mm", '[Red]h"s":mm']
)
def test_minutes_that_a_workbook_takes_for_hours_cost_their_row(shown: str, tmp_path: Path) -> None:
    rows = (
        ["path", "labels", "start", "end"],
        ["a.mp4", "walking", None, datetime.time(0, 5)],
        ["b.mp4", "eating", "0:01", None],
    )
    table, [problem] = scan_table(write_book(tmp_path / "clips.xlsx", *rows, formats=shown))
    assert [row.start_seconds for row in table.records] == [1.0]
    assert problem.row == 2
    assert "end 0:05 (h:mm) is hours and minutes to the spreadsheet" in problem.message


@pytest.mark.parametrize("shown", ["h:mm:ss", "[mm]:ss", "mm:ss.0", "[hh]:mm:ss"])
def test_times_that_are_shown_with_seconds_are_whole(shown: str, tmp_path: Path) -> None:
    rows = (["path", "labels", "start"], ["a.mp4", "walking", datetime.time(0, 5)])
    [row] = read_table(write_book(tmp_path / "clips.xlsx", *rows, formats=shown)).records
    assert row.start_seconds == 300.0


def test_times_of_whole_minutes_alone_are_refused_without_formats(tmp_path: Path) -> None:
    write_ods(tmp_path / "clips.ods", [("path", "labels", "end"), ("a.mp4", "x", "PT00H05M00S")])
    with pytest.raises(DatasetError, match=r"row 2: 00:05:00 is hours.*was 0:05 typed for minutes"):
        read_table(tmp_path / "clips.ods")
    write_ods(
        tmp_path / "clips.ods",
        [("path", "labels", "end"), ("a.mp4", "x", "PT00H05M00S"), ("b", "y", "PT00H01M02.5S")],
    )
    ends = [row.end_seconds for row in read_table(tmp_path / "clips.ods").records]
    assert ends == [300.0, 62.5]


def test_parts_of_a_day_are_no_seconds(tmp_path: Path) -> None:
    path = write_book(
        tmp_path / "clips.xlsx",
        ["path", "labels", "start", "end"],
        ["a.mp4", "walking", 5 / 86400, 9 / 86400],
        ["a.mp4", "walking", 0, 0.5],
    )
    table, [problem] = scan_table(path)
    assert len(table) == 1
    assert "parts of a day" in problem.message


def test_formulas_without_values_and_errors_cost_their_rows(tmp_path: Path) -> None:
    path = write_book(
        tmp_path / "clips.xlsx",
        ["path", "labels", "start", "note"],
        ["a.mp4", "walking", "=C3+1", None],
        ["b.mp4", "walking", 2, "=A1"],
        ["c.mp4", "#N/A", 2, None],
    )
    table, problems = scan_table(path)

    assert [row.relative_path for row in table.records] == ["b.mp4"]
    assert [(p.row, p.message.partition(",")[0]) for p in problems] == [
        (2, "start holds #FORMULA!"),
        (4, "labels holds #N/A"),
    ]


def test_second_sheet_with_clips_is_said(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path = write_book(tmp_path / "clips.xlsx", ["path", "labels"], ["a.mp4", "x"], title="rat 1")
    book = openpyxl.load_workbook(path)
    sheet = book.create_sheet("rat 2")
    sheet.append(["path", "labels"])
    book.save(path)

    assert "sheet 'rat 1' is read, and 'rat 2' not" in read_table(path).notes[0]


@pytest.mark.parametrize("column", ["Video", "Behaviour", "Subject"])
def test_merged_cells_are_refused(column: str, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    rows = [("Rats of May", "", ""), ("Video", "Behaviour", "Subject")]
    rows += [("a.mp4", "rearing", "r1"), ("b.mp4", "grooming", "r2"), ("c.mp4", "grooming", "r1")]
    for cells in rows:
        book.active.append(cells)
    book.active.merge_cells("A1:C1")
    book.save(tmp_path / "clips.xlsx")
    assert len(read_table(tmp_path / "clips.xlsx")) == 3
    letter = "ABC"[rows[1].index(column)]
    book.active.merge_cells(f"{letter}4:{letter}5")
    book.save(tmp_path / "clips.xlsx")

    table, [problem] = scan_table(tmp_path / "clips.xlsx")
    assert len(table) == 2
    assert problem.row == 5
    assert "is part of merged cells, of which only the first holds the value" in problem.message


def test_merged_cells_of_ods_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clips.ods"
    write_ods(path, [("path", "labels"), ("a.mp4", "x"), ("b.mp4", "y")])
    with zipfile.ZipFile(path) as packed:
        files = {name: packed.read(name).decode() for name in packed.namelist()}
    assert len(read_table(path)) == 2
    spans = '<table:table-cell table:number-rows-spanned="%d" table:number-columns-spanned="2"'
    for rows, is_refused in ((1, False), (2, True)):
        with zipfile.ZipFile(path, "w") as packed:
            for name, text in files.items():
                packed.writestr(name, text.replace("<table:table-cell", spans % rows, 1))
        if is_refused:
            with pytest.raises(DatasetError, match=r"clips.ods: cells in it are merged over rows"):
                read_table(path)
        else:
            assert len(read_table(path)) == 2
