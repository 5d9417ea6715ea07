from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from msqnet.data.table import read_table
from msqnet.data.table_check import CheckReport, check_path, check_table
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_table(folder: Path, text: str) -> Path:
    path = folder / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return path


def check_without_videos(folder: Path, text: str) -> list[tuple[int | None, str, str]]:
    """Problems of a table whose videos all exist, as (row, kind, severity)."""
    table = read_table(write_table(folder, text))
    for record in table.records:
        record.path.write_bytes(b"video")
    return found_in(check_table(table, decode=False))


def found_in(report: CheckReport) -> list[tuple[int | None, str, str]]:
    return [(item.row, item.kind, item.severity) for item in report.problems]


def test_sound_table_has_no_problem(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    write_video("a.mp4", 12)
    path = write_table(
        tmp_path, "path,labels,start,end\na.mp4,x,0,0.5\na.mp4,y,0.5,1.2\na.mp4,x|y,,\n"
    )

    assert check_path(path) == CheckReport((), num_rows=3, num_files=1)


def test_all_problems_are_listed_in_one_go(
    tmp_path: Path,
    write_video: Callable[..., Path],
    write_audio: Callable[[str], Path],
) -> None:
    write_video("a.mp4", 12)
    write_audio("sound.mp4")
    (tmp_path / "text.mp4").write_text("not a video " * 100)
    (tmp_path / "zero.mp4").touch()
    path = write_table(
        tmp_path,
        "path,labels,start,end\n"
        "a.mp4,x,0,1\n"
        "gone.mp4,x,0,1\n"
        "text.mp4,x,0,1\n"
        "zero.mp4,x,0,1\n"
        "sound.mp4,x,0,1\n"
        "a.mp4,x,1.2,1.4\n"
        "a.mp4,x,0.5,1.6\n"
        "a.mp4,x,0.5,1.9\n"
        "a.mp4,x,5,4\n"
        "gone.mp4,x,1,2\n",
    )
    steps: list[tuple[int, int]] = []
    report = check_path(path, progress=lambda done, total: steps.append((done, total)))

    assert found_in(report) == [
        (3, "missing", "error"),
        (4, "unreadable", "error"),
        (5, "empty", "error"),
        (6, "empty", "error"),
        (7, "outside", "error"),
        (9, "outside", "warning"),
        (10, "malformed", "error"),
        (11, "missing", "error"),
    ]
    assert (len(report.errors), len(report.warnings)) == (7, 1)
    assert (report.num_rows, report.num_files) == (10, 5)
    assert steps == [(number, 5) for number in range(1, 6)]
    assert [item.path for item in report.problems][:2] == ["gone.mp4", "text.mp4"]
    assert "starts at 1.2 s, the video ends at 1.200 s" in report.problems[4].message


def test_rows_within_the_sound_part_of_a_damaged_file_can_be_used(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    # The index stands in front, so that the file promises frames which are cut off.
    whole = write_video(
        "whole.mp4", 100, gop=5, container_options={"movflags": "faststart"}
    ).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    path = write_table(
        tmp_path, "path,labels,start,end\ncut.mp4,x,0,2\ncut.mp4,x,3,9.9\ncut.mp4,x,,\n"
    )
    report = check_path(path)

    assert found_in(report) == [(3, "unreadable", "error"), (4, "unreadable", "error")]
    assert "frames decode up to" in report.problems[0].message


def test_without_decoding_only_existence_counts(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    write_video("a.mp4", 12)
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "zero.mp4").touch()
    path = write_table(
        tmp_path, "path,labels,start\na.mp4,x,99\ntext.mp4,x,\nzero.mp4,x,\ngone.mp4,x,\n"
    )

    assert found_in(check_path(path, decode=False)) == [
        (4, "empty", "error"),
        (5, "missing", "error"),
    ]


def test_folder_of_images_is_a_video(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    write_video("a.mp4", 12)
    (tmp_path / "frames").mkdir()
    path = write_table(tmp_path, "path,labels\na.mp4,x\nframes,y\n")

    assert found_in(check_path(path)) == [(3, "empty", "error")]


def test_same_video_and_time_twice_is_an_error(tmp_path: Path) -> None:
    text = (
        "path,labels,start,end\n"
        "a.mp4,x,,1\n"
        "a.mp4,x,0.0,1.00\n"
        "a.mp4,y,0,1\n"
        "b.mp4,y,0,2\n"
        "./b.mp4,y|x,0,2\n"
    )
    assert check_without_videos(tmp_path, text) == [
        (3, "duplicate", "error"),
        (4, "duplicate", "error"),
        (6, "duplicate", "error"),
    ]
    report = check_table(read_table(tmp_path / "clips.csv"), decode=False)
    assert report.problems[0].message == "repeats row 2: drop one of the two"
    assert report.problems[1].message.startswith("same video and time as row 2: join the labels")


def test_rows_that_contradict_rows_around_them_are_warnings(tmp_path: Path) -> None:
    text = (
        "path,labels,start,end,annotated\n"
        "a.mp4,groom,1,2,groom|rest\n"
        "a.mp4,,0,3,groom\n"
        # Another label, a time that only overlaps, and a label that nobody looked for there.
        "a.mp4,rest,0,3.5,rest\n"
        "a.mp4,rest,2.5,4,\n"
        "a.mp4,groom,3.5,4,\n"
    )
    assert check_without_videos(tmp_path, text) == [(2, "contradiction", "warning")]
    report = check_table(read_table(tmp_path / "clips.csv"), decode=False)
    assert report.problems[0].message.startswith("label 'groom' is absent in row 3, whose time is")


def test_labels_that_no_row_knows_are_warnings(tmp_path: Path) -> None:
    labels = tmp_path / "clips.labels.csv"
    labels.write_text("name\ngroom\njump\n")
    assert check_without_videos(tmp_path, "path,labels,annotated\na.mp4,,groom\n") == [
        (None, "unknown", "warning")
    ]
    assert check_without_videos(tmp_path, "path,labels,annotated\na.mp4,,*\n") == []
    labels.write_text("word\n")
    assert check_without_videos(tmp_path, "path,labels,annotated\na.mp4,,groom\n") == [
        (None, "malformed", "warning")
    ]


def test_spellings_of_one_label_are_warnings(tmp_path: Path) -> None:
    text = (
        "path,labels,annotated\n"
        "a.mp4,jumping_jack,*\n"
        "b.mp4,Jumping Jack,*\n"
        "c.mp4,jumping_jack,*\n"
        "d.mp4,,jumping-jack|walking\n"
        'e.mp4,"walking, eating",*\n'
        "f.mp4,walking;eating,*\n"
        # Full-width letters: both spellings look the same.
        "g.mp4,\uff4aumping_jack,*\n"
    )
    assert check_without_videos(tmp_path, text) == [
        (3, "mislabelled", "warning"),
        (5, "mislabelled", "warning"),
        (8, "mislabelled", "warning"),
    ]
    table = read_table(tmp_path / "clips.csv")
    assert "'jumping_jack' (2 row(s)), 'Jumping Jack' (1 row(s))" in table.notes[-1]
    assert "count as 3 labels" in table.notes[-1]
    report = check_table(table, decode=False)
    assert report.problems[-1].message == (
        r"label '\uff4aumping_jack' is written 'jumping_jack' in 2 row(s)"
    )
    assert report.problems[0].message == (
        "label 'Jumping Jack' is written 'jumping_jack' in 2 row(s)"
    )


def test_row_of_which_nothing_is_known_is_a_warning(tmp_path: Path) -> None:
    text = "path,labels,annotated\na.mp4,,*\nb.mp4,,\nc.mp4,,x\nd.mp4,x,\ne.mp4,,y\n"

    expected = [(3, "unknown", "warning"), (6, "unknown", "warning")]
    assert check_without_videos(tmp_path, text) == expected


def test_group_on_both_sides_of_a_split_is_a_warning(tmp_path: Path) -> None:
    text = (
        "path,labels,split,group\n"
        "a.mp4,x,train,one\n"
        "b.mp4,x,test,two\n"
        "c.mp4,x,test,one\n"
        "d.mp4,x,test,one\n"
        "e.mp4,x,,two\n"
        "f.mp4,x,val,one\n"
    )
    assert check_without_videos(tmp_path, text) == [
        (4, "split_leak", "warning"),
        (7, "split_leak", "warning"),
    ]


def test_windows_of_one_file_on_both_sides_are_a_warning(tmp_path: Path) -> None:
    text = "path,labels,end,split\na.mp4,x,1,train\na.mp4,x,2,test\n"

    assert check_without_videos(tmp_path, text) == [(3, "split_leak", "warning")]


def test_label_that_training_never_sees_is_a_warning(tmp_path: Path) -> None:
    text = "path,labels,split\na.mp4,x|z,train\nb.mp4,x|y,test\nc.mp4,y,test\n"

    assert check_without_videos(tmp_path, text) == [(None, "untrained", "warning")]
    report = check_table(read_table(tmp_path / "clips.csv"), decode=False)
    assert "label 'y' is seen in 2 row(s) of split 'test'" in report.problems[0].message
    # Without a split of that name, nothing can be said.
    assert check_without_videos(tmp_path, text.replace("train", "fold1")) == []


@pytest.mark.skipif(os.name == "nt", reason="there the drive may be one of its own")
def test_path_with_a_drive_of_windows_says_what_to_do(tmp_path: Path) -> None:
    path = write_table(tmp_path, "path,labels\nC:\\Rats\\a.mp4,x\nb.mp4,x\n")

    report = check_path(path)
    assert found_in(report) == [(2, "missing", "error"), (3, "missing", "error")]
    assert "begins with a drive of Windows, which is not here" in report.problems[0].message
    assert report.problems[0].message.endswith("with --root")
    assert "Windows" not in report.problems[1].message


def test_table_without_rows_is_an_error(tmp_path: Path) -> None:
    path = write_table(tmp_path, "path,labels\n")

    assert found_in(check_path(path)) == [(None, "empty", "error")]
    with pytest.raises(DatasetError, match="no clip in it"):
        read_table(path)


def test_real_benchmark_has_no_error(real_data: Path) -> None:
    table = read_table(real_data / "mixed_actors.csv")
    report = check_table(table.take(range(0, len(table), 25)))

    assert report.errors == ()
    assert (report.num_rows, report.num_files) == (31, 30)
    assert found_in(check_table(table, decode=False)) == [(None, "untrained", "warning")]
