from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from tests.fixtures.data_sets import HMDB51, KINETICS

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import Record

OFFICIAL = (
    "label,youtube_id,time_start,time_end,split,is_cc\n"
    "waving,abc-_efghij,3,13,{split},0\n"
    '"arranging, flowers",0123456789a,100,110,{split},0\n'
)


def rows_of(records: tuple[Record, ...]) -> list[tuple[object, ...]]:
    return [(r.relative_path, r.labels, r.split, r.group) for r in records]


def test_official_lists(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(OFFICIAL.format(split="train"))
    (tmp_path / "validate.csv").write_text(OFFICIAL.format(split="validate"))

    converted = KINETICS.read(tmp_path)

    assert converted.labels.names == ("arranging, flowers", "waving")
    assert rows_of(converted.records) == [
        (f"{split}/waving/abc-_efghij_000003_000013.mp4", ("waving",), split, "abc-_efghij")
        if label == "waving"
        else (
            f"{split}/arranging, flowers/0123456789a_000100_000110.mp4",
            ("arranging, flowers",),
            split,
            "0123456789a",
        )
        for split in ("train", "validate")
        for label in ("waving", "other")
    ]
    assert converted.records[0].start_seconds is None


def test_folder_of_a_split_may_have_another_usual_name_and_no_folders(tmp_path: Path) -> None:
    (tmp_path / "kinetics_validate.csv").write_text(OFFICIAL.format(split="validate"))
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "abc-_efghij_000003_000013.mp4").touch()

    first = KINETICS.read(tmp_path).records[0]

    assert first.relative_path == "val/abc-_efghij_000003_000013.mp4"


def test_clips_without_label_and_repeated_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\nabcdefghijk,1,11,test\n"
    )
    (tmp_path / "train.csv").write_text(
        OFFICIAL.format(split="train") + "waving,abc-_efghij,3,13,train,0\n"
    )

    converted = KINETICS.read(tmp_path)

    assert len(converted.records) == 2
    assert converted.notes == (
        "lines that repeat another one and count once: 1",
        "clips without a label, which are left out: 1",
    )


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_numbered_lists(tmp_path: Path, separator: str) -> None:
    (tmp_path / "classes.txt").write_text("arranging flowers\nwaving\n")
    (tmp_path / "k400_train_list_videos.txt").write_text(
        f"train/a b/abcdefghijk_000003_000013.mp4{separator}1\ntrain/other.mp4{separator}0\n"
    )
    (tmp_path / "val.csv").write_text(f"/disk/frames/clip_7{separator}250{separator}0\n")

    converted = KINETICS.read(tmp_path)

    assert converted.labels.names == ("arranging flowers", "waving")
    assert rows_of(converted.records) == [
        ("train/a b/abcdefghijk_000003_000013.mp4", ("waving",), "train", "abcdefghijk"),
        ("train/other.mp4", ("arranging flowers",), "train", ""),
        ("/disk/frames/clip_7", ("arranging flowers",), "val", ""),
    ]


def test_lists_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a_train.txt").write_text("a.mp4 0\n")
    (tmp_path / "b_train.txt").write_text("b.mp4 1\n")
    (tmp_path / "names.csv").write_text("id,name\n0,eating\n1,waving\n")
    with pytest.raises(ConfigError, match=r"several train lists \(a_train.txt, b_train.txt\)"):
        KINETICS.read(tmp_path)

    converted = KINETICS.read(
        tmp_path, {"train": "b_train.txt", "classes": "names.csv", "videos": "clips"}
    )

    assert rows_of(converted.records) == [("clips/b.mp4", ("waving",), "train", "")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.mp4", "expected a path and a class number from 0 to 0"),
        ("a.mp4 1", "expected a path and a class number from 0 to 0"),
        ("a.mp4 x", "expected a path and a class number from 0 to 0"),
    ],
)
def test_malformed_line_of_a_numbered_list_is_named(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "classes.txt").write_text("waving\n")
    (tmp_path / "train.txt").write_text(f"a.mp4 0\n{line}\n")

    with pytest.raises(DatasetError, match=r"train\.txt, line 2: found") as caught:
        KINETICS.read(tmp_path)
    assert words in str(caught.value)


def test_other_malformed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found no list; looked for \.csv and"):
        KINETICS.read(tmp_path)
    (tmp_path / "train.csv").write_text("label,youtube_id,time_start,time_end\nw,abc,x,13\n")
    with pytest.raises(DatasetError, match=r"train\.csv, line 2: found 'x, 13'"):
        KINETICS.read(tmp_path)
    (tmp_path / "train.csv").write_text("label,youtube_id\nw,abc\n")
    with pytest.raises(DatasetError, match="no column time_start, time_end; found label, youtube"):
        KINETICS.read(tmp_path)
    (tmp_path / "train.csv").write_text(OFFICIAL)
    (tmp_path / "classes.txt").write_text("waving\n")
    with pytest.raises(DatasetError, match="does not name arranging, flowers"):
        KINETICS.read(tmp_path)
    (tmp_path / "val.csv").write_text("a.mp4 0\n")
    with pytest.raises(DatasetError, match="official and numbered lists side by side"):
        KINETICS.read(tmp_path)
    (tmp_path / "classes.txt").write_text("waving\nwaving\n")
    with pytest.raises(DatasetError, match=r"classes\.txt, line 2: found 'waving', expected"):
        KINETICS.read(tmp_path)


def test_numbered_lists_need_names(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a.mp4 0\n")

    with pytest.raises(DatasetError, match=r"need a file of class names; looked for classes\.txt"):
        KINETICS.read(tmp_path)


def test_real_numbered_lists_name_the_clips_of_the_official_split(real_data: Path) -> None:
    """Lists of HMDB51's split 1 in this style say the same as the data set's own files."""
    folder = real_data / "annotations"
    converted = KINETICS.read(folder / "bike_lists" / "hmdb51", {"classes": "hmdb51_labels.csv"})
    official = HMDB51.read(folder / "hmdb51")

    assert Counter(record.split for record in converted.records) == {"train": 3570, "val": 1530}
    named = {"train": "train", "val": "test"}
    listed = {
        (r.relative_path, r.labels[0].replace(" ", "_"), named[r.split]) for r in converted.records
    }
    expected = {
        (r.relative_path.removesuffix(".avi"), r.labels[0], r.split) for r in official.records
    }
    assert listed == expected
    assert [name.replace(" ", "_") for name in converted.labels] == list(official.labels)
