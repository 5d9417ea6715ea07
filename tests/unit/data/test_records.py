from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Problem, Record
from msqnet.errors import DatasetError
from msqnet.labels import UNKNOWN, LabelSet


def make_record(row: int, name: str = "a.mp4", labels: str = "", **values: str) -> Record:
    return Record(row, Path("/clips") / name, name, tuple(labels.split()), **values)  # type: ignore[arg-type]


def make_table(*records: Record) -> ClipTable:
    return ClipTable(Path("/clips/table.csv"), records)


def test_targets_say_seen_absent_or_unknown() -> None:
    everything = Record(2, Path("/a"), "a", ("eating", "walking"), annotated=None)
    some = Record(3, Path("/b"), "b", ("walking",), annotated=frozenset({"walking", "rearing"}))
    only_its_own = Record(4, Path("/c"), "c", ("eating",), annotated=frozenset())
    of_other_labels = Record(5, Path("/d"), "d", ("swimming",), frozenset({"swimming", "rearing"}))
    table = make_table(everything, some, only_its_own, of_other_labels)

    targets = table.targets(LabelSet(("rearing", "eating", "walking")))

    assert targets.dtype == np.float32
    assert targets.tolist() == [
        [0, 1, 1],
        [0, UNKNOWN, 1],
        [UNKNOWN, 1, UNKNOWN],
        [0, UNKNOWN, UNKNOWN],
    ]
    assert UNKNOWN == -100


def test_select_gives_the_rows_of_a_split() -> None:
    table = make_table(
        make_record(2, split="train"), make_record(3, split="test"), make_record(4, split="train")
    )

    assert [record.row for record in table.select("train").records] == [2, 4]
    assert table.select() is table
    assert table.split_names() == ("test", "train")


def test_unknown_split_is_an_error_that_lists_the_splits() -> None:
    table = make_table(make_record(2, split="train"), make_record(3, split="test"))

    with pytest.raises(DatasetError, match=r"table\.csv: no row has split 'val'.*: test, train"):
        table.select("val")
    with pytest.raises(DatasetError, match="there is no 'split' column"):
        make_table(make_record(2)).select("test")


def test_rows_are_taken_by_position_and_left_out_by_number() -> None:
    table = make_table(*(make_record(row) for row in (2, 3, 5)))

    assert [record.row for record in table.take(np.array([2, 0])).records] == [5, 2]
    problems = [
        Problem(3, "missing", "gone", "error"),
        Problem(4, "missing", "gone", "error"),
        Problem(None, "empty", "nothing", "error"),
        Problem(5, "missing", "in another table", "error", table="b.csv"),
    ]
    assert [record.row for record in table.without(problems).records] == [2, 5]


def test_labels_are_those_seen_at_least_once() -> None:
    unseen = Record(2, Path("/a"), "a", (), frozenset({"sleeping"}))

    assert make_table(unseen, make_record(3, labels="walking eating")).label_names() == (
        "eating",
        "walking",
    )


def test_windows_of_one_file_share_a_clip_however_it_is_written() -> None:
    file = Path("/clips/a.mp4")
    table = make_table(
        Record(2, file, "a.mp4", ()), Record(3, file, "./a.mp4", ()), make_record(4, "b.mp4")
    )

    assert table.clip_ids() == ["a.mp4", "a.mp4", "b.mp4"]


def test_group_is_the_file_where_none_is_given() -> None:
    table = make_table(
        make_record(2, "a.mp4"),
        make_record(3, "a.mp4"),
        make_record(4, "b.mp4"),
        make_record(5, "c.mp4", group="cage"),
        make_record(6, "d.mp4", group="cage"),
    )

    assert table.group_ids() == ["a.mp4", "a.mp4", "b.mp4", "cage", "cage"]


def test_groups_that_share_a_file_are_one() -> None:
    table = make_table(
        make_record(2, "a.mp4", group="monday"),
        make_record(3, "b.mp4", group="tuesday"),
        make_record(4, "c.mp4", group="wednesday"),
        make_record(5, "b.mp4", group="monday"),
        make_record(6, "c.mp4"),
    )

    assert table.group_ids() == ["monday", "monday", "wednesday", "monday", "wednesday"]


def test_long_rows_that_hold_throughout_are_cut_into_windows() -> None:
    row = Record(2, Path("a.mp4"), "a.mp4", ("x",), None, 10.0, 70.0, holds_throughout=True)
    windows = row.windows(2.0, 4)
    assert [w.interval for w in windows] == [(16.5, 18.5), (31.5, 33.5), (46.5, 48.5), (61.5, 63.5)]
    assert {w.labels for w in windows} == {("x",)}
    assert row.windows(2.0, 1)[0].interval == (39.0, 41.0)
    assert len(row.windows(2.0, 100)) == 30
    for other in (
        replace(row, holds_throughout=False),
        replace(row, end_seconds=None),
        replace(row, end_seconds=13.0),
    ):
        assert other.windows(2.0, 4) == (other,)
