from __future__ import annotations

import csv
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.data.table_check import check_table
from msqnet.errors import ConfigError, DatasetError
from tests.fixtures.data_sets import CHARADES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "id,subject,scene,actions,length\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a small data set; the folder of the annotation files is an argument."""

    def write(train: str, test: str = "", folder: str = "") -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        (place / "Charades_v1_classes.txt").write_text("c000 Waving\nc001 Sitting down\n")
        (place / "Charades_v1_train.csv").write_text(HEADER + train)
        (place / "Charades_v1_test.csv").write_text(HEADER + test)
        return tmp_path

    return write


def rows_of(records: tuple[Record, ...]) -> list[tuple[object, ...]]:
    return [
        (r.path.name, r.labels, r.annotated, r.start_seconds, r.end_seconds, r.split, r.group)
        for r in records
    ]


def test_row_is_a_video_with_all_its_labels(write: Callable[..., Path]) -> None:
    root = write(
        'AA,S1,"Hall, big",c001 1.00 2.00;c000 0.00 3.00;c001 5.00 6.00,9.5\nBB,S1,Hall,,4\n',
        "CC,S2,Hall,,4\n",
    )

    converted = CHARADES.read(root)

    assert converted.labels.names == ("Waving", "Sitting down")
    assert rows_of(converted.records) == [
        ("AA.mp4", ("Waving", "Sitting down"), None, None, None, "train", "S1"),
        ("CC.mp4", (), None, None, None, "test", "S2"),
    ]
    assert converted.records[0].path == root / "Charades_v1_480" / "AA.mp4"
    assert [(r.row, r.actor, r.source) for r in converted.records] == [
        (2, "human", "charades"),
        (3, "human", "charades"),
    ]
    assert converted.notes == (
        "train videos without an action, which are left out (such test videos are kept: 1): 1",
    )


def test_pieces_are_cut_wherever_an_action_begins_or_ends(write: Callable[..., Path]) -> None:
    root = write("AA,S1,Hall,c001 1.00 2.00;c000 0.00 9.80,9.5\n", "CC,S2,Hall,,4\n")

    converted = CHARADES.read(root, {"level": "pieces"})

    both = ("Waving", "Sitting down")
    assert rows_of(converted.records) == [
        ("AA.mp4", ("Waving",), None, 0, 1, "train", "S1"),
        ("AA.mp4", both, None, 1, 2, "train", "S1"),
        ("AA.mp4", ("Waving",), None, 2, 9.5, "train", "S1"),
        ("CC.mp4", (), None, 0, 4, "test", "S2"),
    ]
    assert "actions that reach beyond" in converted.notes[-1]


def test_action_at_impossible_times_is_unknown_all_through_its_video(
    write: Callable[..., Path],
) -> None:
    root = write("AA,S1,Hall,c001 8.00 2.00;c000 0.00 3.00,9\nBB,S1,Hall,c000 0 1;c001 4 5,3\n")

    converted = CHARADES.read(root, {"level": "pieces"})

    assert {record.annotated for record in converted.records} == {frozenset({"Waving"})}
    assert converted.notes[-1].endswith("unknown all through the video: 2")
    videos = CHARADES.read(root).records
    assert [record.labels for record in videos] == [("Waving", "Sitting down")] * 2


def test_other_folders_are_found(write: Callable[..., Path]) -> None:
    root = write("AA,S1,Hall,c001 1.00 2.00,9.5\n", folder="Charades")
    (root / "Charades_v1").mkdir()

    assert CHARADES.read(root).records[0].relative_path == "Charades_v1/AA.mp4"
    moved = CHARADES.read(root, {"videos": "other"}).records[0]
    assert moved.path == root / "other" / "AA.mp4"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("AA,S1,Hall,c001 1.00,9.5", "line 3: found 'c001 1.00', expected a code"),
        ("AA,S1,Hall,c009 1.00 2.00,9.5", "line 3: found 'c009 1.00 2.00', expected a code"),
        ("AA,S1,Hall,c001 1.00 x,9.5", "line 3: found 'c001 1.00 x'"),
        ("AA,S1,Hall,c001 1.00 2.00,long", "line 3, length: found 'long', expected a length"),
        ("AA,S1", "line 3: found 2 cells, expected 5, one for each column"),
    ],
)
def test_malformed_line_is_named(write: Callable[..., Path], line: str, words: str) -> None:
    root = write(f"BB,S1,Hall,,9.5\n{line}\n")

    with pytest.raises(DatasetError) as caught:
        CHARADES.read(root)
    assert str(root / "Charades_v1_train.csv") in str(caught.value)
    assert words in str(caught.value)


def test_malformed_files_are_named(write: Callable[..., Path]) -> None:
    root = write("")
    (root / "Charades_v1_train.csv").write_text("id,script\n")
    with pytest.raises(DatasetError, match=r"no column subject, actions, length; found id, script"):
        CHARADES.read(root)
    (root / "Charades_v1_classes.txt").write_text("c000 Waving\nc000 Sitting\n")
    with pytest.raises(DatasetError, match="line 2: found 'c000 Sitting'"):
        CHARADES.read(root)
    (root / "Charades_v1_classes.txt").write_text("")
    with pytest.raises(DatasetError, match="the file is empty"):
        CHARADES.read(root)


def test_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"looked for Charades_v1_classes.txt, Charades/Charades_v1_classes.txt"
    ):
        CHARADES.read(tmp_path)
    with pytest.raises(ConfigError, match="level=segments: expected videos or pieces"):
        CHARADES.read(tmp_path, {"level": "segments"})


def test_real_files_have_their_documented_size(real_data: Path) -> None:
    root = real_data / "annotations" / "charades"
    with (root / "Charades_v1_train.csv").open(encoding="utf-8", newline="") as file:
        num_listed = len(list(csv.DictReader(file)))

    converted = CHARADES.read(root)

    counts = Counter(record.split for record in converted.records)
    assert (num_listed, counts["train"], counts["test"]) == (7985, 7985 - 174, 1863)
    assert sum(not record.labels for record in converted.records) == 49
    assert len(converted.labels) == 157
    assert converted.labels.names[0] == "Holding some clothes"
    assert converted.labels.names[156] == "Someone is eating something"
    first = converted.records[0]
    assert first.labels == ("Watching/Looking outside of a window", "Someone is cooking something")
    report = check_table(ClipTable(root, converted.records), decode=False)
    assert {problem.kind for problem in report.problems} == {"missing"}
    assert len(report.problems) == len(converted.records)


def test_real_pieces_agree_with_the_intervals_at_the_times_of_the_localisation_task(
    real_data: Path,
) -> None:
    """README of the data set: 25 equally spaced times a video, from 0."""
    root = real_data / "annotations" / "charades"
    converted = CHARADES.read(root, {"level": "pieces"})
    rows = defaultdict(list)
    for record in converted.records:
        rows[record.path.stem].append(record)
    names = {f"c{index:03}": name for index, name in enumerate(converted.labels)}
    num_compared = 0
    with (root / "Charades_v1_test.csv").open(encoding="utf-8", newline="") as file:
        for cells in list(csv.DictReader(file))[::10]:
            actions = [text.split() for text in cells["actions"].split(";") if text]
            for step in range(25):
                time = step * float(cells["length"]) / 25
                expected = {names[code] for code, a, b in actions if float(a) <= time < float(b)}
                [row] = [
                    row
                    for row in rows[cells["id"]]
                    if row.start_seconds <= time < row.end_seconds  # type: ignore[operator]
                ]
                assert set(row.labels) == expected
                num_compared += 1
    assert num_compared == 187 * 25
