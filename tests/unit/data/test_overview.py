from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.data.label_spelling import near_duplicates
from msqnet.data.overview import count_labels, seen_task
from msqnet.data.table import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable


def table_of(folder: Path, text: str) -> ClipTable:
    (folder / "clips.csv").write_text(text)
    return read_table(folder / "clips.csv")


@pytest.mark.parametrize(
    "text",
    [
        "path,labels\na,x\nb,y\n",
        "path,labels,annotated\na,x,*\nb,y,x|y\n",
        # Rows of one video one after the other, and the same label twice at a time.
        "path,labels,start,end\na,x,0,1\na,y,1,2\na,y,1,3\n",
    ],
)
def test_one_label_in_every_row_is_a_task_of_its_own(text: str, tmp_path: Path) -> None:
    task = seen_task(table_of(tmp_path, text))
    assert task.name == "single_label"
    assert "has exactly one of 2 labels" in task.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,labels\na,x\nb,x|y\n", "row 3 has 2 labels"),
        ("path,labels\na,x\nb,y\nc,\n", "row 4 has no label"),
        ("path,labels\na,x\nb,x\n", "there is 1 label"),
        ("path,labels,annotated\na,x,*\nb,y,\n", "row 3 leaves open whether it shows 'x'"),
        ("path,labels\na,x;y\nb,y\n", "row 2 has a label that holds ';'"),
        (
            "path,labels,start,end\na,x,0,5\na,x,1,2\na,y,3,4\n",
            "row 2 and row 4 show 'x' and 'y' at the same time",
        ),
        ("path,labels\na,x\na,y\n", "row 2 and row 3 show"),
    ],
)
def test_anything_else_is_many_labels(text: str, reason: str, tmp_path: Path) -> None:
    task = seen_task(table_of(tmp_path, text))
    assert task.name == "multi_label"
    assert task.reason.startswith(reason)


def test_folders_of_labels_are_one_label_each(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").touch()
    assert seen_task(read_table(tmp_path)).name == "single_label"


@pytest.mark.parametrize(
    ("rare", "usual", "counts", "is_near"),
    [
        ("rearin", "rearing", (5, 5), True),
        ("wlaking", "walking", (5, 5), True),
        ("siting", "sitting", (5, 5), True),
        ("face wahsing", "face_washing", (5, 5), True),
        ("groomimg", "grooming", (1, 9), True),
        ("groomimg", "grooming", (5, 9), False),
        ("reading", "rearing", (10, 78), False),
        ("talking", "walking", (1, 90), False),
        ("grom", "groom", (1, 9), True),
        ("walk", "walks", (5, 9), False),
        ("sit", "hit", (1, 90), False),
        ("walk", "wlak", (1, 90), False),
        ("left turn", "right turn", (1, 90), False),
        ("walk1", "walk2", (1, 90), False),
        ("Walking", "walking", (1, 90), False),
    ],
)
def test_misspelt_labels_are_told_from_other_words(
    rare: str, usual: str, counts: tuple[int, int], is_near: bool
) -> None:
    found = list(near_duplicates({usual: counts[1], rare: counts[0]}))
    # Which of two equally frequent ones is the right one, nobody knows.
    assert {frozenset(pair) for pair in found} == ({frozenset((rare, usual))} if is_near else set())


def test_clips_and_groups_are_counted_by_split(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "path,labels,split,group\na,x,train,1\nb,x|y,train,1\nc,x,test,2\nd,,test,2\ne,y,,3\n",
    )
    splits, rows = count_labels(table)
    assert splits == ["test", "train", ""]
    assert [tuple(row) for row in rows] == [
        ("x", (1, 2, 0), (1, 1, 0)),
        ("y", (0, 1, 1), (0, 1, 1)),
        ("", (1, 0, 0), (1, 0, 0)),
    ]
