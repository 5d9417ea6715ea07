"""A format that is registered here, as "Add an annotation format" in CONTRIBUTING.md says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import main
from msqnet.documents import read_delimited
from msqnet.errors import DatasetError
from msqnet.files import replacing
from msqnet.formats import ALL_FIELDS, FORMATS, Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS = ("video", "from", "to", "what")


def read(path: Path, reading: Reading) -> Annotations:
    table = read_delimited(path, "export it again", COLUMNS)
    events: dict[Path, list[Event]] = {}
    for row in table.rows:
        label = clean_label(row.require("what"))
        start, end = (row.value(name).number() for name in ("from", "to"))
        try:
            event = Event(label, start, end)
        except DatasetError as error:
            raise DatasetError(f"{path}, line {row.line}: {error}; export it again") from error
        events.setdefault(reading.video_path(row.require("video")), []).append(event)
    labels = LabelSet(tuple(sorted({event.label for found in events.values() for event in found})))
    videos = tuple(AnnotatedVideo(path, tuple(found), 10.0) for path, found in events.items())
    return Annotations(videos, labels)


def write(annotations: Annotations, path: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    rows = [
        f"{video.path.name},{event.start_seconds:g},{event.end_seconds:g},{event.label}"
        for video in annotations.videos
        for event in video.events
    ]
    with replacing(path) as part:
        part.write_text("\n".join([",".join(COLUMNS), *rows, ""]), encoding=options["encoding"])
    silent = sum(not video.events for video in annotations.videos)
    return (f"{silent} videos without events are not in the file",) if silent else ()


DIARY = Format(
    "diary",
    "a diary of the zoo",
    read=read,
    write=write,
    suffixes=(".diary",),
    drops=ALL_FIELDS,
    options={"encoding": "of the file that is written"},
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, DIARY.name, DIARY)


def test_a_registered_format_is_converted_in_both_directions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, table, again = (tmp_path / name for name in ("a.diary", "clips.csv", "b.diary"))
    source.write_text("video,from,to,what\na.mp4,1,2.5,yawn\na.mp4,4,6,sleep\nb.mp4,0,3,yawn\n")
    more = ["--option", "encoding=utf-8"]

    for words in (
        ["--from", "diary", "--to", "table", "--input", str(source), "--out", str(table)],
        ["--from", "table", "--to", "diary", "--input", str(table), "--out", str(again), *more],
    ):
        assert main(["convert", *words]) == 0

    assert again.read_text() == source.read_text()
    printed = capsys.readouterr().out
    assert "2 videos with 3 events, from a diary of the zoo" in printed


def test_a_registered_format_is_listed_and_takes_its_options_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "--from", "list"]) == 0
    printed = capsys.readouterr().out
    assert "diary: a diary of the zoo (--from diary --input PATH and --to diary)" in printed
    assert "  --option encoding=...: of the file that is written" in printed

    words = ["--from", "diary", "--input", str(tmp_path), "--out", str(tmp_path / "a.csv")]
    assert main(["convert", *words, "--option", "colour=red"]) == 2
    assert "no option 'colour'; known are: encoding" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "video,from,to,what\na.mp4,soon,2,yawn\n",
            "line 2, from: found 'soon', expected a number",
        ),
        ("video,from,to,what\na.mp4,1,2,\n", "line 2, what: found '', expected a value"),
        ("video,from,to,what\na.mp4,4,1,yawn\n", "line 2: .*'yawn' from 4.0 to 1.0 s"),
        ("video,from,to\na.mp4,1,2\n", "no column what; found video, from, to; export it again"),
        ("video,from,to,what\na.mp4,1,2\n", "line 2: found 3 cells, expected 4, one for each"),
        ("video,from,to,what,to\n", "column to is there twice"),
        ("video,from,to,what\na.mp4,1,2,ya\xffwn\n", "byte 31 is not UTF-8 text"),
    ],
)
def test_errors_of_tables_name_file_place_found_and_expected(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "a.diary"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(DatasetError, match=f"^{path}.*{words}"):
        read(path, Reading(tmp_path))


def test_cells_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "a.diary"
    path.write_text("video,from,to,what\na.mp4,1,2," + "x" * 200_000)

    [event] = read(path, Reading(tmp_path)).events()

    assert event.label == "x" * 200_000


def test_a_header_may_stand_below_other_rows_and_after_another_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("Name\tcage 1\n\nvideo\tto\tto\na\t1\t2\nb\n")

    table = read_delimited(
        path,
        "export it again",
        is_header=lambda names: "video" in names,
        delimiters=(",", "\t"),
        is_strict=False,
    )

    assert table.before == {"Name": ["cage 1"]}
    assert [(row.line, row["video"], row["to"]) for row in table.rows] == [
        (4, "a", "1"),
        (5, "b", ""),
    ]
    with pytest.raises(DatasetError, match="no table in it; expected a header in its first row"):
        read_delimited(path, "export it again", is_header=lambda names: "x" in names)
