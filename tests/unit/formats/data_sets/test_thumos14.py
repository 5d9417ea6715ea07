from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.data.table_check import check_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.data_sets.list_files import official_labels
from tests.fixtures.data_sets import THUMOS14

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = official_labels("thumos14")
LAYOUTS = ("annotation", "annotations_{split}", "original/annotations_{split}", "")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write empty lists, but for the ones of the val videos given by class."""

    def write(layout: str = "annotation", **texts: str) -> Path:
        for split in ("val", "test"):
            place = tmp_path / layout.format(split=split)
            place.mkdir(parents=True, exist_ok=True)
            for name in (*LABELS, "Ambiguous"):
                text = texts.get(name, "") if split == "val" else ""
                (place / f"{name}_{split}.txt").write_text(text)
        return tmp_path

    return write


def rows_of(records: tuple[Record, ...]) -> list[tuple[object, ...]]:
    return [(r.path.stem, r.labels, r.start_seconds, r.end_seconds) for r in records]


def unknown_of(record: Record) -> set[str]:
    return set() if record.annotated is None else set(LABELS) - record.annotated


@pytest.mark.parametrize("layout", LAYOUTS)
def test_row_is_an_annotated_span(write: Callable[..., Path], layout: str) -> None:
    root = write(layout, Shotput="v2  3.0 4.5\nv1  1.0 2.0\n", HighJump="v1  5.0 6.0\n")

    converted = THUMOS14.read(root)

    assert converted.labels == LABELS
    assert rows_of(converted.records) == [
        ("v1", ("Shotput",), 1.0, 2.0),
        ("v1", ("HighJump",), 5.0, 6.0),
        ("v2", ("Shotput",), 3.0, 4.5),
    ]
    first = converted.records[0]
    assert (first.split, first.group, first.annotated) == ("val", "v1", None)
    assert first.relative_path == "validation/v1.mp4"
    assert "there is no split 'train'" in converted.notes[-1]


def test_cliff_dive_has_one_label_and_leaves_dives_open(write: Callable[..., Path]) -> None:
    root = write(CliffDiving="v1 1.0 2.0\n", Diving="v1 1.0 2.0\nv1 7.0 8.0\n")

    cliff, dive = THUMOS14.read(root).records

    assert (cliff.labels, unknown_of(cliff)) == (("CliffDiving",), {"Diving"})
    assert (dive.labels, dive.annotated) == (("Diving",), None)
    pieces = THUMOS14.read(root, {"level": "pieces"}).records
    assert [row.labels for row in pieces] == [(), ("CliffDiving", "Diving"), (), ("Diving",), ()]
    [video] = THUMOS14.read(root, {"level": "videos"}).records
    assert (video.labels, video.start_seconds) == (("CliffDiving", "Diving"), None)


def test_overlapping_class_is_unknown_in_a_row(write: Callable[..., Path]) -> None:
    root = write(CricketBowling="v1 1.0 3.0\n", CricketShot="v1 2.0 4.0\nv1 8.0 9.0\n")

    bowling, shot, other = THUMOS14.read(root).records

    assert unknown_of(bowling) == {"CricketShot"}
    assert unknown_of(shot) == {"CricketBowling"}
    assert other.annotated is None


def test_two_classes_at_once_are_left_out(write: Callable[..., Path]) -> None:
    root = write(Shotput="v1 1.0 3.0\nv1 5.0 6.0\n", ThrowDiscus="v1 1.0 3.0\n")

    converted = THUMOS14.read(root)

    assert rows_of(converted.records) == [("v1", ("Shotput",), 5.0, 6.0)]
    assert any(note.endswith("which are left out: 2") for note in converted.notes)


def test_ambiguous_time_counts_nowhere(write: Callable[..., Path]) -> None:
    root = write(
        Shotput="v1 1.0 2.0\nv1 5.0 7.0\nv3 1.0 2.0\n",
        HighJump="v1 1.5 2.0\n",
        Ambiguous="v1 1.0 3.0\nv1 6.5 8.0\nv2 0.0 9.0\nv3 0.0 4.0\n",
    )

    converted = THUMOS14.read(root)

    assert rows_of(converted.records) == [("v1", ("Shotput",), 5.0, 7.0)]
    assert "spans inside of an ambiguous one, which are left out: 3" in converted.notes
    assert "videos with nothing but ambiguous spans, which are left out: 2" in converted.notes
    pieces = THUMOS14.read(root, {"level": "pieces"}).records
    assert rows_of(pieces) == [
        ("v1", (), 0.0, 1.0),
        ("v1", (), 3.0, 5.0),
        ("v1", ("Shotput",), 5.0, 6.5),
        ("v1", (), 8.0, None),
    ]
    [video] = THUMOS14.read(root, {"level": "videos"}).records
    assert (video.labels, unknown_of(video)) == (("Shotput",), {"HighJump"})


def test_repeated_and_empty_spans_count_once_and_never(write: Callable[..., Path]) -> None:
    root = write(Shotput="v1 1.0 2.0\nv1  1.0 2.0\nv1 3.0 3.0\nv1 5.0 4.0\n")

    converted = THUMOS14.read(root)

    assert rows_of(converted.records) == [("v1", ("Shotput",), 1.0, 2.0)]
    assert "lines that repeat another one and count once: 1" in converted.notes
    assert converted.notes[1].startswith("spans that do not end after they start, unknown all")


def test_training_part_comes_from_ucf101(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write(Shotput="v1 1.0 2.0\n")
    for name in (*LABELS, "Bowling"):
        folder = tmp_path / "clips" / "UCF-101" / name
        folder.mkdir(parents=True)
        (folder / f"v_{name}_g02_c01.avi").touch()

    converted = THUMOS14.read(root, {"ucf101": "clips"})

    train = [record for record in converted.records if record.split == "train"]
    assert [record.labels for record in train] == [(name,) for name in LABELS]
    assert train[0].path == tmp_path / "clips/UCF-101/BaseballPitch/v_BaseballPitch_g02_c01.avi"
    assert (train[0].group, train[0].source) == ("v_BaseballPitch_g02", "ucf101")
    assert [unknown_of(record) for record in train if record.annotated] == [{"Diving"}]
    assert not any("no split 'train'" in note for note in converted.notes)
    (tmp_path / "clips/UCF-101/Shotput/v_Shotput_g02_c01.avi").unlink()
    with pytest.raises(DatasetError, match="found no UCF101 clip of Shotput"):
        THUMOS14.read(root, {"ucf101": "clips"})


@pytest.mark.parametrize("line", ["v1 1.0", "v1 1.0 2.0 3.0", "v1 x 2.0", "v1 -1 2.0"])
def test_malformed_line_is_named(write: Callable[..., Path], line: str) -> None:
    root = write(Shotput=f"v1 1.0 2.0\n{line}\n")

    with pytest.raises(DatasetError, match=r"Shotput_val\.txt, line 2: found .*name, start and"):
        THUMOS14.read(root)


def test_wrong_folder_says_what_was_looked_for(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"annotation/BaseballPitch_val.txt, annotations_val/BaseballPitch_val.txt",
    ):
        THUMOS14.read(tmp_path)
    root = write()
    (root / "annotation" / "Ambiguous_test.txt").unlink()
    with pytest.raises(DatasetError, match=r"1 of 21 lists are not there: Ambiguous_test.txt"):
        THUMOS14.read(root)
    with pytest.raises(ConfigError, match="level=frames"):
        THUMOS14.read(root, {"level": "frames"})


def test_real_lists_have_the_documented_sizes(real_data: Path) -> None:
    """3,007 and 3,358 spans in 200 and 212 videos, less what each level cannot use."""
    root = real_data / "annotations" / "thumos14"

    rows = THUMOS14.read(root)
    videos = THUMOS14.read(root, {"level": "videos"})

    counts = Counter(record.split for record in rows.records)
    num_cliff_dives = {"val": 143, "test": 217}
    assert counts["val"] == 3007 - num_cliff_dives["val"]
    assert counts["test"] == 3358 - num_cliff_dives["test"] - 2 - 2
    assert {len(record.labels) for record in rows.records} == {1}
    dives = Counter(r.split for r in rows.records if r.labels == ("CliffDiving",))
    assert dives == num_cliff_dives
    assert Counter(record.split for record in videos.records) == {"val": 200, "test": 212}
    assert "videos with nothing but ambiguous spans, which are left out: 1" in rows.notes
    for converted in (rows, videos, THUMOS14.read(root, {"level": "pieces"})):
        report = check_table(ClipTable(root, converted.records), decode=False)
        assert {problem.kind for problem in report.problems} == {"missing"}


def test_real_pieces_agree_with_another_reading_of_the_lists(real_data: Path) -> None:
    """The spans as published for the MMAction library, label by label, at random moments."""
    root = real_data / "annotations" / "thumos14"
    rows = defaultdict(list)
    for record in THUMOS14.read(root, {"level": "pieces"}).records:
        rows[record.path.stem].append(record)
    rng = np.random.default_rng(0)
    num_compared = num_with_labels = 0
    for split in ("val", "test"):
        published = json.loads((root / "mmtad" / f"thumos14_{split}.json").read_text())
        for name, video in published.items():
            spans = list(zip(video["segments"], video["labels"], strict=True))
            for moment in rng.uniform(0, video["duration"], 20):
                seen = {label for (start, end), label in spans if start <= moment < end}
                covering = [
                    row
                    for row in rows[name]
                    if row.start_seconds <= moment
                    and (row.end_seconds is None or moment < row.end_seconds)
                ]
                if "Ambiguous" in seen:
                    assert covering == []
                    continue
                assert [set(row.labels) for row in covering] == [seen], (name, moment)
                num_compared += 1
                num_with_labels += bool(seen)
    assert num_compared > 8000
    assert num_with_labels > 1000


def test_real_training_part(real_data: Path) -> None:
    root = real_data / "annotations" / "thumos14"

    converted = THUMOS14.read(root, {"ucf101": "../ucf101"})

    train = [record for record in converted.records if record.split == "train"]
    assert len(train) == 2765
    assert {record.labels[0] for record in train} == set(LABELS)
    assert train[0].path == real_data.joinpath(
        "annotations/ucf101/UCF-101/BaseballPitch/v_BaseballPitch_g01_c01.avi"
    )
