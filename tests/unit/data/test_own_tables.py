"""Tables as people have them: their own columns, times, encodings and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.config import TableOptions
from msqnet.data.table import read_table, scan_table
from msqnet.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def read(folder: Path, text: str, **options: str) -> ClipTable:
    return read_table(write(folder / "clips.csv", text), TableOptions(**options))


def rows_of(table: ClipTable) -> list[tuple[object, ...]]:
    return [
        (row.relative_path, row.labels, row.start_seconds, row.end_seconds) for row in table.records
    ]


@pytest.mark.parametrize(
    "header",
    [
        "Video;Behaviour;Start;Stop",
        "filename;label;from;to",
        "Clip Path;Actions;start_time;end_time",
        "video_path;class;onset;offset",
        "file;tag;Start (s);End [mm:ss]",
        "FileName;Activity;begin;until",
        "Media file;Behavior;startTime;endTime",
    ],
)
def test_columns_of_other_names_are_guessed_and_said(header: str, tmp_path: Path) -> None:
    table = read(tmp_path, f"{header}\na.mp4;walking;1,5;0:03\n")

    assert rows_of(table) == [("a.mp4", ("walking",), 1.5, 3.0)]
    [note] = table.notes
    names = header.split(";")
    roles = ("path", "labels", "start", "end")
    renamed = [pair for pair in zip(roles, names, strict=True) if pair[0] != pair[1].lower()]
    for role, name in renamed:
        assert f"{role} from {name!r}" in note
    assert table.origin == {"columns": dict(renamed)}


def test_title_above_the_header_is_passed_over(tmp_path: Path) -> None:
    table = read(tmp_path, "Rats 2024,,\n\nVideo,Behaviour,Start (m:ss)\na.mp4,walking,1:05\n")
    assert rows_of(table) == [("a.mp4", ("walking",), 65.0, None)]
    assert table.records[0].row == 4


def test_told_columns_are_taken_and_others_left(tmp_path: Path) -> None:
    text = "Name,What,path,from\na.mp4,walking,elsewhere,studio\n"
    told = "path=name,labels=What,start="

    table = read(tmp_path, text, columns=told)
    assert rows_of(table) == [("a.mp4", ("walking",), None, None)]
    assert table.notes == ("columns: path from 'Name', labels from 'What'; not read: 'from'",)
    assert table.origin["columns"] == {"path": "Name", "labels": "What", "start": ""}


@pytest.mark.parametrize(
    ("header", "told", "error", "words"),
    [
        (
            "path,label,action",
            None,
            ConfigError,
            "'label' and 'action' may both be 'labels'.*--col",
        ),
        ("Video,File,labels", None, ConfigError, "'Video' and 'File' may both be 'path'"),
        ("path,labels,animal,session", None, ConfigError, "both be 'group'.*or group= for none"),
        ("path,labels", "path=Film", ConfigError, "no column 'Film'.*found path, labels"),
        ("path,labels", "video=path", ConfigError, "found 'video', expected some of path, labels"),
        ("path,labels", "label=path", ConfigError, "did you mean 'labels'"),
        ("path,labels", "path", ConfigError, "expected parts such as path=Video"),
        ("path,labels", "path=", ConfigError, "expected parts such as path=Video"),
        ("path,labels,start_frame", None, DatasetError, "'start_frame' holds frames.*start= to do"),
        ("path,labels,End (ms)", None, DatasetError, r"'End \(ms\)' holds milliseconds"),
        ("path,label,label", None, DatasetError, "column 'label' is there twice"),
        ("path,Path,labels", None, DatasetError, "column 'path' is there twice"),
        (
            "path,what",
            None,
            DatasetError,
            "no column 'labels'; found path, what.*--columns labels=",
        ),
    ],
)
def test_no_column_is_taken_by_chance(
    header: str, told: str | None, error: type[Exception], words: str, tmp_path: Path
) -> None:
    rows = "a.mp4,x,1,2\nb.mp4,y,3,4\n"
    with pytest.raises(error, match=words):
        read(tmp_path, f"{header}\n{rows}", **({"columns": told} if told else {}))


def test_time_in_seconds_is_taken_where_frames_stand_beside_it(tmp_path: Path) -> None:
    table = read(tmp_path, "path,labels,Start (frame),Start (s)\na.mp4,x,30,1.5\n")
    assert table.records[0].start_seconds == 1.5


def test_individuals_are_groups_where_there_are_several(tmp_path: Path) -> None:
    several = read(tmp_path, "path,labels,Animal ID\na.mp4,x,r1\nb.mp4,x,r2\n")
    assert [row.group for row in several.records] == ["r1", "r2"]
    one = read(tmp_path, "path,labels,Animal ID\na.mp4,x,r1\nb.mp4,x,r1\n")
    assert [row.group for row in one.records] == ["", ""]


def test_column_of_sets_is_the_split(tmp_path: Path) -> None:
    table = read(tmp_path, "path,labels,set\na.mp4,x,Train\nb.mp4,x,test\n")
    assert table.split_names() == ("Train", "test")
    table = read(tmp_path, "path,labels,set\na.mp4,x,7\nb.mp4,x,8\n")
    assert table.split_names() == ()


def test_lengths_without_ends_are_said(tmp_path: Path) -> None:
    table = read(tmp_path, "path,labels,start,duration\na.mp4,x,1,2\n")
    assert "'duration' is ignored, and rows go to the end of their video" in table.notes[0]
    table = read(tmp_path, "path,labels,Time (s)\na.mp4,x,1\n")
    assert "'Time (s)' is ignored, and rows begin where their video does" in table.notes[0]


@pytest.mark.parametrize(
    ("header", "row", "absent", "shown"),
    [
        ("Video;Label;von;bis", "a.mp4;x;1,5;3", "'start' or 'end'", "'von', 'bis'"),
        ("Video;Label;Start;Fin", "a.mp4;x;1,5;0:03,2", "'end'", "'Fin'"),
        ("path;labels;start;hasta", "a.mp4;x;1;2", "'end'", "'hasta'"),
    ],
)
def test_columns_that_may_be_times_are_not_passed_over_in_silence(
    header: str, row: str, absent: str, shown: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "clips.csv", f"{header}\n{row}\n")

    [problem] = scan_table(path)[1]
    assert problem.message.startswith(f"no column is {absent}, so that rows")
    assert f"{shown} with numbers or times are ignored" in problem.message
    assert scan_table(path, TableOptions(columns="end=,start="))[1] == ()


@pytest.mark.parametrize("cells", ["1,0", "cage,male", ","])
def test_marks_and_words_are_no_times(cells: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clips.csv", f"path,labels,first,second\na.mp4,x,{cells}\n")
    assert scan_table(path)[1] == ()


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    table = read(tmp_path, "Video,Category,rearing,grooming\na.mp4,rat,Yes,No\nb.mp4,rat,No,No\n")
    assert table.notes[0].endswith("; not read: 'rearing', 'grooming'")


def test_column_for_each_label_is_refused_with_what_to_do(tmp_path: Path) -> None:
    words = "'rearing', 'grooming' look like a column for each label: write the names.*joined"
    with pytest.raises(DatasetError, match=words):
        read(tmp_path, "Video,Rat,rearing,grooming\na.mp4,r1,Yes,No\nb.mp4,r2,No,1\n")


def test_line_breaks_between_labels_are_not_taken_for_spaces(tmp_path: Path) -> None:
    words = r"row 2: labels 'eating\\nsitting' has a line break; write '\|' for it"
    with pytest.raises(DatasetError, match=words):
        read(tmp_path, 'path,labels\na.mp4,"eating\nsitting"\n')


def test_labels_that_mean_no_value_are_said(tmp_path: Path) -> None:
    table = read(tmp_path, "path,labels\na.mp4,NA\nb.mp4,walking\nc.mp4,NA\nd.mp4,nap\n")
    [note] = table.notes
    assert note.startswith("2 row(s) have the label 'NA' (row 2), and it counts as a label; leave")


@pytest.mark.parametrize("mark", ["+", "&", "/"])
def test_signs_between_labels_are_said_where_names_hold_them_too(mark: str, tmp_path: Path) -> None:
    text = f"path,labels\na.mp4,reading {mark} sitting\nb.mp4,sitting\n"
    [note] = read(tmp_path, text).notes
    assert note.startswith(f"1 row(s) have a label that holds {mark!r} (row 2: ")
    assert note.endswith(f"--label-separator {mark!r}")
    assert read(tmp_path, text.replace("b.mp4,sitting", "b.mp4,lying")).notes == ()


def test_paths_are_relative_to_a_root(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    text = "path,labels\nday/a.mp4,x\n"
    [row] = read(tmp_path, text, root=str(tmp_path / "videos")).records
    assert row.path == tmp_path.resolve() / "videos" / "day" / "a.mp4"
    assert row.relative_path == "day/a.mp4"
    with pytest.raises(ConfigError, match=r"root .*none: no such folder"):
        read(tmp_path, text, root=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("0:05", 5.0),
        ("0:05,5", 5.5),
        ("1:02:03", 3723.0),
        ("00:01:05.25", 65.25),
        ("90:00", 5400.0),
        ("100:00:00", 360000.0),
    ],
)
def test_times_of_the_clock_are_seconds(text: str, seconds: float, tmp_path: Path) -> None:
    assert read(tmp_path, f'path,labels,start\na,x,"{text}"\n').records[0].start_seconds == seconds


@pytest.mark.parametrize(
    "text", ["1:75", "1:60:00", "0:5", "1:2:03", "1:02:03:04", "-0:05", "12:00 PM", "1:", ":05"]
)
def test_impossible_times_cost_their_row(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clips.csv", f"path,labels,end\na.mp4,x,1:05\nb.mp4,x,{text}\n")
    table, [problem] = scan_table(path)
    assert [row.end_seconds for row in table.records] == [65.0]
    assert problem.row == 3
    assert f"end '{text}'" in problem.message


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "Windows-1252"), ("mac_roman", "Mac Roman")]
)
def test_encodings_of_spreadsheets_are_read_with_a_note(
    encoding: str, name: str, tmp_path: Path
) -> None:
    text = "path;labels\na.mp4;gehen\nKäfig é.mp4;füttern\n"
    table = read_table(write(tmp_path / "clips.csv", text, encoding))

    assert table.records[1].relative_path == "Käfig é.mp4"
    [note] = table.notes
    assert f"read as {name}; line 3 reads 'Käfig é.mp4;füttern'" in note


@pytest.mark.parametrize("text", ["“walk”", "rat\u2019s \u2013 nest", "œil", "žirafa", "mäh"])
def test_text_of_windows_is_not_taken_for_that_of_a_mac(text: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "clips.csv", f"path,labels\na.mp4,{text}\n", "cp1252"))
    assert table.label_names() == (text,)


@pytest.mark.parametrize("text", ["Löwe", "grün", "café", "forêt"])
def test_text_of_a_mac_is_known_by_its_letters(text: str, tmp_path: Path) -> None:
    table = read_table(write(tmp_path / "clips.csv", f"path,labels\na.mp4,{text}\n", "mac_roman"))
    assert table.label_names() == (text,)


def test_text_that_is_of_neither_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "clips.csv", "path,labels\na.mp4,食べる\n", "shift_jis")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        read_table(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_unicode_text_of_spreadsheets_needs_no_note(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clips.txt", "path\tlabels\tstart\nä.mp4\tx\t1,5\n", encoding)
    table = read_table(path)
    assert rows_of(table) == [("ä.mp4", ("x",), 1.5, None)]
    assert table.notes == ()


def test_note_on_an_encoding_shows_where_it_matters(tmp_path: Path) -> None:
    text = f"path,labels,note\n{'a' * 90}.mp4,x,Käfig\n"
    [note] = read_table(write(tmp_path / "clips.csv", text, "cp1252")).notes
    assert "Käfig'" in note


def test_text_that_is_mostly_utf_8_is_not_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes("path,labels\nä.mp4,x\n".encode() + b"\xe4.mp4,y\n")
    with pytest.raises(DatasetError, match="is not UTF-8 text"):
        read_table(path)


def test_line_that_tells_excel_the_delimiter_is_no_row(tmp_path: Path) -> None:
    table = read(tmp_path, "sep=;\npath;labels\na.mp4;x\n")
    assert [row.row for row in table.records] == [2]


def test_label_that_one_table_never_names_is_unknown_in_it(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "path,labels\na.mp4,walking\nb.mp4,\n")
    (tmp_path / "more").mkdir()
    two = write(
        tmp_path / "more" / "two.csv", "path,labels,annotated\na.mp4,eating,*\nb.mp4,,walking\n"
    )
    table = read_table([one, two])

    assert [row.place for row in table.records] == [
        f"{path}, row {row}" for path in (one, two) for row in (2, 3)
    ]
    assert [row.annotated for row in table.records] == [
        {"walking"},
        {"walking"},
        None,
        {"walking"},
    ]
    assert table.notes == (
        f"tables: {one} (2 rows), {two} (2 rows)",
        f"{one} never names 'eating': unknown in its 2 row(s), not absent; if they were looked "
        "for, write '*' in a column 'annotated'",
    )
    # Videos of one name in two folders are two videos.
    assert table.clip_ids() == ["a.mp4", "b.mp4", "more/a.mp4", "more/b.mp4"]
    assert table.path == tmp_path / "one.csv + two.csv"


def test_tables_of_the_same_labels_stay_complete(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "path,labels\na.mp4,x\nb.mp4,y\n")
    two = write(tmp_path / "two.csv", "file,class\nc.mp4,y\nd.mp4,x\n")
    table = read_table([one, two])
    assert {row.annotated for row in table.records} == {None}
    assert table.origin["columns"] == {str(two): {"path": "file", "labels": "class"}}
    with pytest.raises(ConfigError, match=r"one\.csv twice"):
        read_table([one, tmp_path / "." / "one.csv"])


def test_malformed_row_of_several_tables_names_its_table(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "path,labels\na.mp4,x\n")
    two = write(tmp_path / "two.csv", "path,labels,end\nb.mp4,x,?\n")
    with pytest.raises(DatasetError, match=r"two\.csv, row 2: end '\?' is not"):
        read_table([one, two])


def test_signs_between_labels_are_noticed_and_split_when_told(tmp_path: Path) -> None:
    text = "path,labels\na.mp4,walking;eating\nb.mp4,eating; sleeping\nc.mp4,eating|sleeping\n"
    table = read(tmp_path, text)
    [note] = table.notes
    assert note.startswith("2 row(s) have a label that holds ';' (row 2: 'walking;eating')")
    assert "--label-separator ';'" in note

    table = read(tmp_path, text, label_separator=";")
    assert [row.labels for row in table.records] == [
        ("walking", "eating"),
        ("eating", "sleeping"),
        ("eating", "sleeping"),
    ]
    assert table.notes == ()


def test_slash_is_noticed_where_its_parts_are_labels(tmp_path: Path) -> None:
    assert read(tmp_path, "path,labels\na,carry/hold\nb,eat\n").notes == ()
    assert "'/'" in read(tmp_path, "path,labels\na,carry/hold\nb,hold\n").notes[0]


def test_separator_is_for_folders_too(tmp_path: Path) -> None:
    (tmp_path / "walking;eating").mkdir()
    (tmp_path / "walking;eating" / "a.mp4").touch()
    [row] = read_table(tmp_path, TableOptions(label_separator=";")).records
    assert row.labels == ("walking", "eating")
    with pytest.raises(ConfigError, match="a folder per label has no columns"):
        read_table(tmp_path, TableOptions(columns="path=x"))
