from __future__ import annotations

from pathlib import Path

import pytest

from msqnet.data.records import Record
from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.data_sets.list_files import (
    clip_rows,
    numbered_lines,
    official_labels,
    video_folder,
)
from msqnet.formats.data_sets.timed_lists import choose_level
from msqnet.formats.options import choose, parse_seconds
from msqnet.labels import LabelSet


def test_lines_keep_their_numbers_whatever_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa 1 \r\n\r\n  b 2\r\nc 3")

    assert list(numbered_lines(path)) == [(1, "a 1"), (3, "b 2"), (4, "c 3")]


def test_text_that_is_not_utf8_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("Bodenkür".encode("latin-1"))

    with pytest.raises(DatasetError, match=r"list\.txt: byte 6 is not UTF-8"):
        read_text(path)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x", ""])
def test_times_are_finite_numbers_from_0(text: str) -> None:
    assert parse_seconds(" 1.50") == 1.5
    with pytest.raises(ValueError, match=r"could not convert|^(-1|nan|inf)$"):
        parse_seconds(text)


def test_option_with_fixed_values() -> None:
    assert choose({}, "split", ("1", "2")) == "1"
    assert choose({"split": "2"}, "split", ("1", "2")) == "2"
    with pytest.raises(ConfigError, match="split=3: expected 1 or 2"):
        choose({"split": "3"}, "split", ("1", "2"))


def test_shortest_piece_is_a_setting_of_pieces_only() -> None:
    levels = ("videos", "pieces")

    assert choose_level({}, levels) == ("videos", 0.0)
    assert choose_level({"level": "pieces", "min_seconds": "0.5"}, levels) == ("pieces", 0.5)
    with pytest.raises(ConfigError, match="min_seconds=1 holds for level=pieces only"):
        choose_level({"min_seconds": "1"}, levels)
    with pytest.raises(ConfigError, match="min_seconds=-1: expected a number of seconds"):
        choose_level({"level": "pieces", "min_seconds": "-1"}, levels)


def test_folder_of_videos_is_the_first_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "b" / "walk").mkdir(parents=True)
    (tmp_path / "a").mkdir()

    assert video_folder(tmp_path, {}, ("a", "b")) == tmp_path / "a"
    assert video_folder(tmp_path, {}, ("a", "b"), inside="walk") == tmp_path / "b"
    assert video_folder(tmp_path, {}, ("x", "y")) == tmp_path / "x"
    assert video_folder(tmp_path, {"videos": "c"}, ("a", "b")) == tmp_path / "c"
    assert video_folder(tmp_path, {"videos": "/disk"}, ("a",)) == Path("/disk")
    assert video_folder(tmp_path, {"videos": "../c"}, ("a",)) == tmp_path.parent / "c"


def test_rows_are_numbered_and_named_from_the_folder(tmp_path: Path) -> None:
    places = [tmp_path / "v" / "a.mp4", tmp_path.parent / "b.mp4"]

    records = (Record(0, place, "", ()) for place in places)

    rows = clip_rows("a set", records, LabelSet(("a",)), (), tmp_path).records

    assert [(row.row, row.path, row.relative_path) for row in rows] == [
        (2, places[0], "v/a.mp4"),
        (3, places[1], places[1].as_posix()),
    ]


@pytest.mark.parametrize(("name", "number"), [("hmdb51", 51), ("thumos14", 20)])
def test_label_lists_are_complete(name: str, number: int) -> None:
    labels = official_labels(name)

    assert len(labels) == number
    assert all(label == label.strip() for label in labels)
