from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import DatasetError
from tests.fixtures.data_sets import MAMMALNET

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "behavior_to_id.csv").write_text("\ufeffid,name\r\n0,drinks water\r\n1,sleeps")
    (tmp_path / "genus_to_id.csv").write_text("\ufefflabel,name\n0,panthera\n1,vulpes\n")
    (tmp_path / "train.txt").write_text("Di4eEBZjkA4.mp4 1 0\n75XX9onQAOI_1.mp4 0 1\n")
    (tmp_path / "test.txt").write_text("75XX9onQAOI_2.mp4 1 1\n")
    return tmp_path


def test_rows_of_the_lists(root: Path) -> None:
    converted = MAMMALNET.read(root, {"videos": "trimmed_video"})
    assert converted.labels.names == ("drinks water", "sleeps")
    assert [(r.relative_path, r.labels, r.actor, r.split, r.group) for r in converted.records] == [
        ("trimmed_video/Di4eEBZjkA4.mp4", ("sleeps",), "panthera", "train", "Di4eEBZjkA4"),
        ("trimmed_video/75XX9onQAOI_1.mp4", ("drinks water",), "vulpes", "train", "75XX9onQAOI"),
        ("trimmed_video/75XX9onQAOI_2.mp4", ("sleeps",), "vulpes", "test", "75XX9onQAOI"),
    ]
    assert converted.notes == ("video(s) with clips in both train and test: 1",)


@pytest.mark.parametrize("line", ["a.mp4 1", "a.mp4 2 0", "a.mp4 0 2", "a.mp4 x 0", "a b.mp4 0 0"])
def test_malformed_line_is_named(root: Path, line: str) -> None:
    (root / "test.txt").write_text(f"75XX9onQAOI_2.mp4 1 1\n\n{line}\n")
    with pytest.raises(DatasetError, match=r"test\.txt, line 3"):
        MAMMALNET.read(root)


def test_ids_out_of_order_are_refused(root: Path) -> None:
    (root / "genus_to_id.csv").write_text("label,name\n0,panthera\n2,vulpes\n")
    with pytest.raises(DatasetError, match=r"genus_to_id\.csv, line 3.*expected 1,name"):
        MAMMALNET.read(root)


def test_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"behavior_to_id\.csv, annotation/behavior_to_id\.csv"):
        MAMMALNET.read(tmp_path)


def test_real_lists(real_data: Path) -> None:
    folder = real_data / "annotations" / "animal_clip_lists" / "MammalNet"
    converted = MAMMALNET.read(folder)
    assert Counter(r.split for r in converted.records) == {"train": 14_553, "test": 3_840}
    assert len(converted.labels) == 12
    assert converted.labels.names[9] == "hunts other animals"
    assert converted.notes == ()  # no video on both sides

    # The authors of the lists also say which behaviours each genus shows.
    shown: dict[str, set[int]] = {}
    for record in converted.records:
        numbers = shown.setdefault(record.actor, set())
        numbers.update(converted.labels.indices(record.labels))
    for line in (folder / "relation.txt").read_text().splitlines():
        genus, numbers, _ = line.split("\t")
        assert shown[genus] == {int(part) for part in numbers.strip("[]").split(",")}
