from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.data.records import ClipTable, Record
from msqnet.data.splits import grouped_folds, grouped_validation_split
from msqnet.data.table import read_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import LabelSet


def make_table(rows: list[tuple[str, str]]) -> ClipTable:
    """One clip a row, from (group, labels joined by a blank)."""
    records = (
        Record(
            number + 2, Path(f"/{number}.mp4"), f"{number}.mp4", tuple(names.split()), group=name
        )
        for number, (name, names) in enumerate(rows)
    )
    return ClipTable(Path("/clips.csv"), tuple(records))


def label_set_of(table: ClipTable) -> LabelSet:
    return LabelSet(table.label_names())


tables = st.lists(
    st.tuples(
        st.sampled_from(["g0", "g1", "g2", "g3", "g4", "g5", "g6", ""]),
        st.lists(st.sampled_from("abcd"), max_size=2, unique=True).map(" ".join),
    ),
    min_size=1,
    max_size=24,
).map(make_table)


@given(tables, st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.integers(0, 5))
def test_validation_split_keeps_groups_whole_and_training_complete(
    table: ClipTable, share: float, seed: int
) -> None:
    labels = label_set_of(table)
    try:
        train, validation = grouped_validation_split(table, labels, share=share, seed=seed)
    except DatasetError:
        groups_of = [
            {g for g, r in zip(table.group_ids(), table.records, strict=True) if name in r.labels}
            for name in labels
        ]
        lone = set().union(*(groups for groups in groups_of if len(groups) == 1))
        assert lone == set(table.group_ids())
        return

    groups = np.array(table.group_ids())
    assert sorted([*train, *validation]) == list(range(len(table)))
    assert not set(groups[train]) & set(groups[validation])
    assert len(validation) > 0
    assert set(table.take(train).label_names()) == set(labels)


@given(tables, st.integers(2, 4))
def test_folds_keep_groups_whole(table: ClipTable, num_folds: int) -> None:
    try:
        folds = grouped_folds(table, label_set_of(table), num_folds=num_folds)
    except DatasetError:
        return
    fold_of_group = dict(zip(table.group_ids(), folds, strict=True))

    assert [fold_of_group[group] for group in table.group_ids()] == list(folds)
    assert set(folds) <= set(range(num_folds))


def test_each_label_with_two_groups_is_on_both_sides() -> None:
    table = make_table([(f"g{number}", name) for number, name in enumerate("aabbccddee" * 2)])
    train, validation = grouped_validation_split(table, label_set_of(table), share=0.2)

    assert table.take(train).label_names() == tuple("abcde")
    assert table.take(validation).label_names() == tuple("abcde")
    assert len(validation) == 5


def test_labels_that_share_groups_are_all_validated_where_that_is_possible() -> None:
    # Only g1 and g2 together, or g0 and g3 together, leave every label on both sides.
    table = make_table([("g0", "a b"), ("g1", "a c"), ("g2", "b d"), ("g3", "c d")])
    for seed in range(10):
        train, validation = grouped_validation_split(table, label_set_of(table), seed=seed)

        assert table.take(train).label_names() == tuple("abcd")
        assert table.take(validation).label_names() == tuple("abcd")


def test_groups_are_moved_where_dealing_them_out_left_a_gap() -> None:
    # g1 alone shows b, so only both other groups together validate all other labels.
    table = make_table([("g0", "c d f"), ("g1", "b c d e f"), ("g2", "d e")])
    for seed in range(20):
        train, validation = grouped_validation_split(
            table, label_set_of(table), share=0.3, seed=seed
        )

        assert train.tolist() == [1]
        assert validation.tolist() == [0, 2]


def test_training_comes_first_where_labels_compete() -> None:
    # Three groups and three labels of two groups each: one label is on one side only.
    table = make_table([("g0", "a c"), ("g1", "a b"), ("g2", "b c")])
    for share in (0.2, 0.8):
        train, validation = grouped_validation_split(table, label_set_of(table), share=share)

        assert table.take(train).label_names() == ("a", "b", "c")
        assert len(validation) == 1


def test_validation_is_never_empty() -> None:
    train, validation = grouped_validation_split(
        make_table([("g0", "a"), ("g1", "")]), LabelSet(("a",)), share=0.1
    )

    assert train.tolist() == [0]
    assert validation.tolist() == [1]


def test_label_of_one_group_stays_in_training() -> None:
    table = make_table([("lone", "rare a"), ("lone", "a")] + [(f"g{n}", "a") for n in range(8)])
    labels = label_set_of(table)
    for seed in range(10):
        train, _ = grouped_validation_split(table, labels, share=0.5, seed=seed)
        assert {0, 1} <= set(train)


def test_folds_share_out_a_label_evenly() -> None:
    table = make_table([(f"g{number}", "a" if number < 10 else "b") for number in range(30)])
    folds = grouped_folds(table, label_set_of(table), num_folds=5)

    assert [int((folds[:10] == fold).sum()) for fold in range(5)] == [2] * 5
    assert [int((folds[10:] == fold).sum()) for fold in range(5)] == [4] * 5


def test_seed_decides_and_repeats() -> None:
    table = make_table([(f"g{number}", "ab"[number % 2]) for number in range(40)])
    labels = label_set_of(table)
    first, again, other = (
        grouped_validation_split(table, labels, seed=seed)[1].tolist() for seed in (3, 3, 4)
    )

    assert first == again
    assert first != other


def test_rows_of_one_file_stay_together_without_groups() -> None:
    records = tuple(
        Record(row + 2, Path(f"/{row // 4}.mp4"), f"{row // 4}.mp4", ("a",)) for row in range(40)
    )
    table = ClipTable(Path("/clips.csv"), records)
    train, validation = grouped_validation_split(table, label_set_of(table))

    assert len(validation) == 8
    assert not {row // 4 for row in train} & {row // 4 for row in validation}


def test_share_of_zero_sets_nothing_aside() -> None:
    train, validation = grouped_validation_split(
        make_table([("g", "a")]), LabelSet(("a",)), share=0
    )

    assert train.tolist() == [0]
    assert validation.size == 0


def test_what_cannot_be_split_is_said() -> None:
    table = make_table([("g0", "a"), ("g1", "b")])
    labels = label_set_of(table)

    with pytest.raises(DatasetError, match=r"/clips\.csv: nothing can be set aside"):
        grouped_validation_split(table, labels)
    with pytest.raises(DatasetError, match=r"2 group\(s\) or files can be held out"):
        grouped_folds(table, labels, num_folds=3)
    with pytest.raises(ConfigError, match="share 1"):
        grouped_validation_split(table, labels, share=1)
    with pytest.raises(ConfigError, match=r"1 fold\(s\)"):
        grouped_folds(table, labels, num_folds=1)


def test_real_benchmark_is_split_along_its_groups(real_data: Path) -> None:
    table = read_table(real_data / "mixed_actors.csv").select("train")
    labels = label_set_of(table)
    train, validation = grouped_validation_split(table, labels, share=0.2, seed=0)
    groups = np.array([record.group for record in table.records])
    num_groups = {
        name: len({r.group for r in table.records if name in r.labels}) for name in labels
    }

    assert not set(groups[train]) & set(groups[validation])
    assert len(validation) == pytest.approx(0.2 * 541, abs=10)
    assert table.take(train).label_names() == labels.names
    in_one_group = {name for name, count in num_groups.items() if count == 1}
    assert in_one_group == {"eating", "exercising", "scratching"}
    assert set(table.take(validation).label_names()) == set(labels) - in_one_group
