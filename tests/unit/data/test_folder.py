from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.data.table import read_table, scan_table
from msqnet.errors import DatasetError
from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from pathlib import Path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_labels(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "walking/b.mp4",
        "walking/a.AVI",
        "walking/monday/c.mov",
        "walking/notes.txt",
        "walking/.hidden.mp4",
        ".cache/d.mp4",
        "eating|sitting/e.mp4",
        "readme.md",
    )
    table = read_table(tmp_path)

    assert [(r.row, r.relative_path, r.labels) for r in table.records] == [
        (2, "eating|sitting/e.mp4", ("eating", "sitting")),
        (3, "walking/a.AVI", ("walking",)),
        (4, "walking/b.mp4", ("walking",)),
        (5, "walking/monday/c.mov", ("walking",)),
    ]
    assert table.records[0].path == tmp_path.resolve() / "eating|sitting" / "e.mp4"
    assert table.split_names() == ()
    # One folder a clip means that all other labels are absent.
    assert table.targets(LabelSet(("eating", "walking"))).tolist() == [[1, 0]] + [[0, 1]] * 3


def test_folders_above_the_labels_are_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/walking/a.mp4", "test/walking/b.mp4", "test/eating/c.mp4")
    table = read_table(tmp_path)

    assert table.split_names() == ("test", "train")
    assert table.select("test").label_names() == ("eating", "walking")
    assert table.select("train").clip_ids() == ["train/walking/a.mp4"]


def test_folder_of_frame_images_is_one_clip(tmp_path: Path) -> None:
    touch(tmp_path, "walking/clip1/1.jpg", "walking/clip1/2.jpg", "walking/clip2/1.png")

    assert read_table(tmp_path).clip_ids() == ["walking/clip1", "walking/clip2"]


def test_clips_outside_of_label_folders_are_errors(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "walking/b.mp4")

    with pytest.raises(DatasetError, match=r"wrong place:\s+a\.mp4 lies outside of the label"):
        read_table(tmp_path)


def test_clips_of_no_split_beside_splits_are_errors(tmp_path: Path) -> None:
    touch(tmp_path, "train/walking/a.mp4", "walking/b.mp4")

    with pytest.raises(DatasetError, match=r"walking/b\.mp4 belongs to no split"):
        read_table(tmp_path)


def test_label_folder_without_a_clip_is_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, "walking/a.mp4", "eating/notes.txt")
    table, problems = scan_table(tmp_path)

    assert len(table) == 1
    assert [(item.kind, item.severity, item.path) for item in problems] == [
        ("empty_folder", "warning", "eating"),
        ("skipped_files", "warning", ""),
    ]
    assert "1 files are no videos, such as eating/notes.txt" in problems[1].message


def test_folder_without_any_clip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no clip in it"):
        read_table(tmp_path)
