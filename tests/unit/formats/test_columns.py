from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from tests.fixtures.annotation_formats import read_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.formats.annotations import Annotations, Event

# Frames of a rate that varies, in tenths of a second.
PTS = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
OBSERVER = (
    "Observation;Subject;Behavior;Modifier_1;Event_Type;Time_Relative_hms;Time_Relative_f;"
    "Time_Relative_hmsf;Time_Relative_sf;Duration_sf\n"
    "clip;Ada;groom;face;State start;00:00:00;200;00:00:00,200;0,2;0,4\n"
    "clip;Ada;groom;tail;State start;00:00:00;300;00:00:00,300;0,3;0,6\n"
    "clip;Ada;jump;;Point;00:00:00;500;00:00:00,500;0,5;0\n"
    "clip;Ada;groom;face;State stop;00:00:00;600;00:00:00,600;0,6;0\n"
    "clip;Ada;groom;tail;State stop;00:00:00;900;00:00:00,900;0,9;0\n"
    "clip;Bob;rest;;State start;00:00:00;100;00:00:00,100;0,1;0\n"
    "clip;Bob;walk;;State stop;00:00:00;100;00:00:00,100;0,1;0\n"
    "clip;Bob;walk;;State start;00:00:00;700;00:00:00,700;0,7;0,2\n"
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(name: str, text: str, format_name: str = "columns", **options: str) -> Annotations:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return read_as(format_name, tmp_path / name, **options)

    return read


def write_ods(path: Path, rows: list[tuple[object, ...]]) -> None:
    """A spreadsheet of text, numbers and lengths of time, which begin with PT."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )

    def cell(value: object) -> str:
        kind = "string" if isinstance(value, str) else "float"
        about = "" if kind == "string" else f' office:value="{value}"'
        if str(value).startswith("PT"):
            kind, about = "time", f' office:time-value="{value}"'
        return (
            f'<table:table-cell office:value-type="{kind}"{about}><text:p>{value}</text:p>'
            "</table:table-cell>"
        )

    lines = ("".join(map(cell, row)) for row in rows)
    content = "".join(f"<table:table-row>{line}</table:table-row>" for line in lines)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        packed.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {spaces}><office:body>'
            f'<office:spreadsheet><table:table table:name="one">{content}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
        packed.writestr("META-INF/manifest.xml", "")


def said(event: Event) -> tuple[object, ...]:
    return event.label, event.start_seconds, event.end_seconds


def events(found: Annotations) -> list[tuple[object, ...]]:
    return [(video.path.name, *said(event)) for video in found.videos for event in video.events]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("Media,Event,From,To\na.mp4,groom,0.5,1\n", "", (0.5, 1.0)),
        ("Video;Verhalten;Start (s);Ende\na.mp4;groom;0,5;1,25\n", "stop:Ende", (0.5, 1.25)),
        ("file\tBehaviour\tOnset\tDuration (ms)\r\na.mp4\tgroom\t0.5\t250\r\n", "", (0.5, 0.75)),
        ("video,label,start (min),end (min)\na.mp4,groom,0.5,1\n", "", (30.0, 60.0)),
        ("clip,label,start_ms,end_ms\na.mp4,groom,500,750\n", "", (0.5, 0.75)),
        ("video,action,begin,end\na.mp4,groom,0:01:02.5,1:03\n", "", (62.5, 63.0)),
        ("video,action,time\na.mp4,groom,2\n", "", (2.0, 2.0)),
        ("video,action,start,end\na.mp4,groom,2,NA\n", "", (2.0, 2.0)),
        ("\ufeffvideo,action,start,end\ra.mp4,groom,2,3\r", "", (2.0, 3.0)),
        ("a.mp4,groom,0.5,1\nb.mp4,walk,2,3\n", "video:1,label:2,start:3,stop:4", (0.5, 1.0)),
        ("note: mine\n\nvideo,label,start,end\na.mp4,groom,0.5,1\n", "", (0.5, 1.0)),
        ("a b,c|d,x,y\na.mp4,groom,3,5\n", "video:a b,label:c,start:x,stop:y,unit:frames", None),
    ],
)
def test_tables_are_read_under_any_names(
    read: Callable[..., Annotations],
    text: str,
    columns: str,
    expected: tuple[float, float] | None,
) -> None:
    if columns == "stop:Ende":
        columns = "video:Video,label:Verhalten,start:Start (s),stop:Ende"
    options = {"columns": columns} if columns else {}
    if expected is None:
        with pytest.raises(DatasetError, match="a header with columns a b, c, x, y"):
            read("t.csv", text, **options)
        return

    found = read("t.csv", text, **options)

    assert events(found)[0] == ("a.mp4", "groom", *expected)
    assert ("as their names say" in found.notes[0]) == (not columns)


@pytest.mark.parametrize(
    ("columns", "start", "end"),
    [
        ("stop:to", 0.2, 0.6),
        ("last:to", 0.2, 0.7),
        ("stop:to,counted_from:1", 0.1, 0.5),
        ("duration:to,counted_from:1", 0.1, 0.7),
    ],
)
def test_numbers_of_frames_are_those_of_the_video(
    read: Callable[..., Annotations],
    write_video: Callable[..., Path],
    columns: str,
    start: float,
    end: float,
) -> None:
    write_video("clip.mkv", len(PTS), pts=PTS)
    text = "v,what,from,to\nclip.mkv,groom,2,4\n"

    found = read("t.csv", text, columns=f"video:v,label:what,start:from,{columns},unit:frames")

    assert events(found) == [("clip.mkv", "groom", pytest.approx(start), pytest.approx(end))]


def test_without_the_video_frames_need_a_rate(read: Callable[..., Annotations]) -> None:
    text = "v,what,from,to\ngone.mp4,groom,25,50\n"
    columns = "video:v,label:what,start:from,stop:to,unit:frames"

    assert events(read("t.csv", text, columns=f"{columns},fps:25")) == [
        ("gone.mp4", "groom", 1.0, 2.0)
    ]
    with pytest.raises(DatasetError, match=r"line 2, from: .*gone.mp4 is not there"):
        read("t.csv", text, columns=columns)


def test_what_a_row_says_about_its_video_is_checked(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4")
    table = "video,label,start,end,fps,media duration (s)\nclip.mp4,groom,0,1,{},{}\n"

    assert len(events(read("t.csv", table.format(10, 1.2)))) == 1
    with pytest.raises(DatasetError, match=r"found 25 frames a second, but clip.mp4 has 10"):
        read("t.csv", table.format(25, 1.2))
    with pytest.raises(DatasetError, match=r"found a video of 60 s, but clip.mp4 has 1.2 s"):
        read("t.csv", table.format(10, 60))
    with pytest.raises(DatasetError, match=r"line 2: found 'groom' at 25 s, but clip.mp4 has 1.2"):
        read("t.csv", "video,label,start,end\nclip.mp4,groom,25,50\n")


@pytest.mark.parametrize("unlisted", ["unknown", "absent"])
def test_nothing_is_absent_unless_somebody_says_so(
    read: Callable[..., Annotations], unlisted: str
) -> None:
    text = "video,label,start,end\na.mp4,groom,0,1\nb.mp4,walk,0,1\n"

    found = read("t.csv", text, unlisted=unlisted)

    is_complete = unlisted == "absent"
    assert found.labels.names == (("groom", "walk") if is_complete else ())
    assert found.videos[0].checked is None
    assert any("unlisted=absent" in note for note in found.notes) != is_complete


def test_starts_and_ends_in_rows_of_their_own_are_joined(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4")

    found = read("log.csv", OBSERVER, "noldus", unlisted="absent")

    [video] = found.videos
    assert video.path.name == "clip.mp4"
    assert [(*said(event), event.subject, event.modifiers) for event in video.events] == [
        ("rest", 0.1, None, "Bob", ()),
        ("groom", 0.2, 0.6, "Ada", ("face",)),
        ("groom", 0.3, 0.9, "Ada", ("tail",)),
        ("jump", 0.5, 0.5, "Ada", ()),
        ("walk", 0.7, pytest.approx(0.9), "Bob", ()),
    ]
    assert found.point_labels == {"jump"}
    # Somebody ended a walk, which may have begun at any time.
    assert not video.is_checked("walk")
    assert "states without an end: 1" in found.notes


def test_an_end_before_its_start_is_refused(read: Callable[..., Annotations]) -> None:
    table = "video,label,modifier,Event_Type,time\na.mp4,b,x,start,2\na.mp4,b,y,stop,1\n"

    with pytest.raises(DatasetError, match=r"line 3, Event_Type: .* not before its start at 2"):
        read("log.csv", table, "noldus")


ELAN_ROWS = (
    "gaze\tAda\t00:00:00.500\t0.5\t500\t00:00:01.000\t1.0\t1000\t00:00:00.500\t0.5\t500\t1\n"
    "walk\t\t00:00:01.000\t1.0\t1000\t00:00:02.500\t2.5\t2500\t00:00:01.500\t1.5\t1500\t\n"
)
ELAN_WIDE = (
    '"#clip.eaf"\nBegin Time - hh:mm:ss.ms\tBegin Time - msec\tEnd Time - hh:mm:ss.ms\t'
    "End Time - msec\tgaze\twalk\n00:00:00.500\t500\t00:00:01.000\t1000\t1\t\n"
    "00:00:01.000\t1000\t00:00:02.500\t2500\t\twalk\n\n"
)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (ELAN_ROWS, "Ada"),
        ("\n".join(line[:5] + line[9:] for line in ELAN_ROWS.split("\n")), "gaze"),
        ("gaze\t500\t1000\t1\nwalk\t1000\t2500\t\n", "gaze"),
        ("gaze\t00:00:00:12\t0.5\t00:00:01:00\t1.0\t1\nwalk\t00:00:01:00\t1.0\t0\t2.5\t\n", "gaze"),
        (ELAN_WIDE, "gaze"),
    ],
    ids=["all", "no participants", "msec", "smpte", "wide"],
)
def test_text_of_elan_has_columns_by_its_settings(
    read: Callable[..., Annotations], text: str, subject: str
) -> None:
    found = read("clip.txt", text, "elan_text", video="clip.mp4")

    gaze, walk = found.videos[0].events
    assert said(gaze) == ("1", 0.5, 1.0)
    assert said(walk) == ("walk", 1.0, 2.5)
    assert (gaze.subject, walk.subject) == (subject, "")


ELAN_FILES = "gaze\t0.5\t1.0\t{}\ta.eaf\t/x/a.eaf\ngaze\t2.0\t2.5\t{}\tb.eaf\t/x/b.eaf\n"
ELAN_WIDE_FILES = (
    "Begin Time - ss.msec\tEnd Time - ss.msec\tgaze\tFile Name\tFile Path\n"
    "0.5\t1.0\tup\ta.eaf\t/x/a.eaf\n2.0\t2.5\tup\tb.eaf\t/x/b.eaf\n"
)


@pytest.mark.parametrize("text", [ELAN_FILES.format("up", "up"), ELAN_WIDE_FILES])
def test_text_of_several_files_of_elan_is_about_several_videos(
    read: Callable[..., Annotations], write_video: Callable[..., Path], text: str
) -> None:
    write_video("a.mp4", 40)
    write_video("b.mkv", 40)

    found = read("all.txt", text, "elan_text")

    assert events(found) == [("a.mp4", "up", 0.5, 1.0), ("b.mkv", "up", 2.0, 2.5)]


def test_spreadsheets_are_tables_too(read: Callable[..., Annotations], tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine", reason="needs the extra 'formats'")
    book = openpyxl.Workbook()
    book.active.append(["about", "this"])
    sheet = book.create_sheet("data")
    for row in (["Video", "Behavior", "Start", "Stop"], ["a.mp4", "groom", 1, 2.5]):
        sheet.append(row)
    sheet.append(["a.mp4", "rest", 23.5 / 24, (24 + 1 / 6) / 24])
    for column in (3, 4):
        sheet.cell(3, column).number_format = "h:mm:ss"
    book.save(tmp_path / "t.xlsx")
    write_ods(
        tmp_path / "t.ods",
        [("Video", "Behavior", "Start", "Stop"), ("a.mp4", "groom", 1, "PT24H10M00S")],
    )

    assert events(read_as("columns", tmp_path / "t.xlsx")) == [
        ("a.mp4", "groom", 1.0, 2.5),
        ("a.mp4", "rest", 84600.0, 87000.0),
    ]
    assert events(read_as("columns", tmp_path / "t.ods")) == [("a.mp4", "groom", 1.0, 87000.0)]
    with pytest.raises(DatasetError, match="no sheet 'more'; found Sheet, data"):
        read_as("columns", tmp_path / "t.xlsx", sheet="more")
    (tmp_path / "bad.xlsx").write_text("no workbook")
    with pytest.raises(DatasetError, match="not a readable spreadsheet"):
        read_as("columns", tmp_path / "bad.xlsx")


def test_the_video_of_a_file_is_the_one_of_its_name(
    read: Callable[..., Annotations], write_video: Callable[..., Path]
) -> None:
    for name in ("clip.mp4", "clip_2.mp4", "clip_2_x.avi"):
        write_video(name, 2)
    text = "label,start,end\ngroom,0,0.1\n"

    for table, video in (
        ("clip_labels.csv", "clip.mp4"),
        ("clip_2_labels.csv", "clip_2.mp4"),
        ("clipper.csv", "clipper"),
    ):
        found = read(table, text)
        assert found.videos[0].path.name == video
        assert any(f"the video is {video}" in note for note in found.notes)
    write_video("clip.mkv", 2)
    with pytest.raises(DatasetError, match=r"found clip.mkv and clip.mp4 for clip_labels"):
        read("clip_labels.csv", text)
    assert read("clip_labels.csv", text, video="clip.mp4").videos[0].path.name == "clip.mp4"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("label:a", "expected parts ROLE:COLUMN, label and start or time"),
        ("what:a,start:b", "expected parts ROLE:COLUMN"),
        ("label:a,start:b,unit:days", "unit=days: expected seconds or"),
        ("label:a,start:b,counted_from:2", "counted_from=2: expected 0 or 1"),
    ],
)
def test_unfit_columns_are_refused(
    read: Callable[..., Annotations], columns: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read("t.csv", "a,b\nx,1\n", columns=columns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video,label,start,end\na.mp4,groom,soon,2\n", "line 2, start: found 'soon', expected a"),
        ("video,label,start,end\na.mp4,groom,3,2\n", r"line 2: 'groom' from 3.0 to 2.0 s"),
        ('video,label,start,end\na.mp4,groom,"1,5",2\n', "found '1,5', expected a time"),
        ("video,label,start,end\na.mp4,groom,1.5,2,5\n", "line 2: found 5 cells, expected 4"),
        ("name,when\na.mp4,2\n", "no table in it; expected a header with columns of labels"),
        ("video,label,status,time\na.mp4,groom,maybe,2\n", "found 'maybe', expected start, stop"),
    ],
)
def test_errors_name_line_and_column(
    read: Callable[..., Annotations], text: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        read("t.csv", text)
