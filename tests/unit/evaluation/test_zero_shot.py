"""The zero-shot protocol: splits, leakage, metrics worked by hand."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.zero_shot_protocol import (
    LabelSplit,
    check_labels,
    check_no_leakage,
    mean_and_deviation,
    random_splits,
    read_splits,
    training_part,
    write_splits,
)
from msqnet.metrics.classification import zero_shot_metrics

NAMES = ("dig", "eat", "run", "sit", "walk")
SPLIT = LabelSplit(("dig", "eat"), ("run", "sit"), "split_0", "by hand")


def record(row: int, labels: str, group: str = "", annotated: str | None = None) -> Record:
    return Record(
        row=row,
        path=Path(f"/videos/{row}.mp4"),
        relative_path=f"{row}.mp4",
        labels=tuple(labels.split("|")) if labels else (),
        annotated=None if annotated is None else frozenset(annotated.split("|")),
        group=group,
    )


def table(*records: Record) -> ClipTable:
    return ClipTable(Path("clips.csv"), records)


def test_random_splits_are_seeded_and_the_nth_does_not_depend_on_how_many() -> None:
    few = random_splits(NAMES, seen_share=0.6, num_splits=2, seed=3)
    many = random_splits(reversed(NAMES), seen_share=0.6, num_splits=5, seed=3)
    assert few == many[:2]
    assert len({split.seen for split in many}) > 1
    for split in many:
        assert len(split.seen) == 3
        assert sorted((*split.seen, *split.unseen)) == sorted(NAMES)
    assert random_splits(NAMES, seen_share=0.6, num_splits=1, seed=4) != few[:1]


def test_both_sides_of_a_random_split_have_a_label() -> None:
    [split] = random_splits(NAMES, seen_share=0.99, num_splits=1)
    assert (len(split.seen), len(split.unseen)) == (4, 1)
    with pytest.raises(ConfigError, match="1 labels"):
        random_splits(["dig"], seen_share=0.5, num_splits=1)
    with pytest.raises(ConfigError, match="in \\(0, 1\\)"):
        random_splits(NAMES, seen_share=1.0, num_splits=1)


def test_splits_survive_their_file(tmp_path: Path) -> None:
    splits = random_splits(NAMES, seen_share=0.5, num_splits=3)
    write_splits(splits, tmp_path / "new" / "splits.json")
    assert read_splits(tmp_path / "new" / "splits.json") == splits


def test_label_on_both_sides_or_an_empty_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="eat both seen and unseen"):
        LabelSplit(("dig", "eat"), ("eat",), "s", "hand")
    with pytest.raises(ConfigError, match="0 unseen"):
        LabelSplit(("dig",), (), "s", "hand")


@pytest.mark.parametrize("content", ["{", "[1]", '[{"seen": ["a"]}]'])
def test_file_without_splits_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected a JSON list"):
        read_splits(path)


def test_published_lists_of_thumos_are_read_in_the_order_of_their_numbers() -> None:
    if "MSQNET_DATA" not in os.environ:
        pytest.skip("MSQNET_DATA is not set: no published lists")
    root = Path(os.environ["MSQNET_DATA"]) / "annotations" / "zero_shot_splits_stale"
    for share, num_seen in (("train_75_test_25", 15), ("train_50_test_50", 10)):
        splits = read_splits(root / share / "THUMOS14")
        assert [split.name for split in splits] == [f"split_{number}" for number in range(10)]
        assert {len(split.seen) for split in splits} == {num_seen}
        assert {len(set(split.seen) | set(split.unseen)) for split in splits} == {20}
        assert all("published list" in split.origin for split in splits)


def test_list_without_its_counterpart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "split_0.list").write_text("dig\n")
    with pytest.raises(ConfigError, match=r"test/split_0.list"):
        read_splits(tmp_path)
    with pytest.raises(ConfigError, match=r"found no train"):
        read_splits(tmp_path / "train")


def test_labels_of_lists_are_found_under_the_tables_own_spelling() -> None:
    rows = table(record(2, "High_Jump"), record(3, "shot put"), record(4, "Diving"))
    written = LabelSplit(("HighJump", "Diving"), ("ShotPut",), "s", "list")
    found = check_labels(written, rows)
    assert (found.seen, found.unseen) == (("High_Jump", "Diving"), ("shot put",))
    with pytest.raises(DatasetError, match=r"shows no Sleeping"):
        check_labels(LabelSplit(("Sleeping",), ("Diving",), "s", "list"), rows)


def test_training_part_knows_nothing_of_unseen_labels_nor_of_their_videos() -> None:
    rows = table(
        record(2, "dig|eat"),
        record(3, "dig|run"),  # shows an unseen label
        record(4, "eat"),
        replace(record(5, "sit"), path=Path("/videos/4.mp4")),  # so row 4 goes too
        record(6, "", annotated="dig|sit"),
        record(7, "", annotated="run|sit"),  # nothing is known of a seen label
        record(8, "walk", annotated="walk|eat"),  # a label of neither side
        record(10, "eat", group="film"),  # of a group that stands in test
    )
    part = training_part(rows, SPLIT, table(record(9, "run", group="film")))
    assert [item.row for item in part.records] == [2, 6, 8]
    assert [set(item.annotated or ()) for item in part.records] == [
        {"dig", "eat"},
        {"dig"},
        {"eat"},
    ]
    assert [item.labels for item in part.records] == [("dig", "eat"), (), ()]
    check_no_leakage(part, table(record(9, "run")), SPLIT)


def test_seen_label_without_a_row_left_counts_nowhere() -> None:
    part = training_part(table(record(2, "dig"), record(3, "eat|run")), SPLIT, table())
    left = SPLIT.trained_on(part.label_names())
    assert (left.seen, left.unseen) == (("dig",), ("run", "sit"))
    with pytest.raises(DatasetError, match="no training row with a seen label"):
        training_part(table(record(3, "eat|run"), record(4, "walk")), SPLIT, table())


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (record(2, "dig|run", annotated="dig|run"), record(3, "run"), "unseen label run"),
        (record(2, "dig", annotated="dig|sit"), record(3, "run"), "unseen label sit"),
        (record(2, "dig"), record(3, "run"), "unseen label run"),  # all were checked
        (record(2, "dig", annotated="dig"), record(2, "run"), "1 videos stand in training"),
        (
            record(2, "dig", "cage", annotated="dig"),
            record(3, "run", "cage"),
            "1 groups stand in training",
        ),
    ],
)
def test_leakage_stops_loudly(train: Record, test: Record, message: str) -> None:
    with pytest.raises(DatasetError, match=f"leakage in split split_0.*{message}"):
        check_no_leakage(table(train), table(test), SPLIT)


def test_top_1_by_hand() -> None:
    targets = np.eye(4)[[0, 1, 2, 2, 3]]
    scores = np.array(
        [
            [0.9, 0.0, 0.1, 0.0],  # dig: right
            [0.1, 0.3, 0.6, 0.0],  # eat: run
            [0.5, 0.0, 0.4, 0.1],  # run: right among the unseen, dig among all
            [0.0, 0.0, 0.2, 0.3],  # run: sit
            [0.0, 0.1, 0.2, 0.7],  # sit: right
        ]
    )
    found = zero_shot_metrics(scores, targets, [0, 1], [2, 3], single_label=True)
    assert found["unseen"] == pytest.approx(2 / 3)
    assert found["chance_unseen"] == 0.5
    assert found["generalised_seen"] == 0.5
    assert found["generalised_unseen"] == pytest.approx(1 / 3)
    assert found["harmonic"] == pytest.approx(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3))


def test_map_by_hand_over_known_rows() -> None:
    targets = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, -100, 1], [0, 0, 1, 0]], dtype=float)
    scores = np.array(
        [[0.9, 0.1, 0.2, 0.3], [0.1, 0.9, 0.6, 0.1], [0.8, 0.2, 1.0, 0.2], [0.2, 0.3, 0.8, 0.1]]
    )
    found = zero_shot_metrics(scores, targets, [0, 1], [2, 3], single_label=False)
    # run over rows 0, 1, 3: ranked + - +, so (1 + 2/3) / 2; sit ranked - + - -: 1/2.
    assert found["unseen"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert found["generalised_unseen"] == found["unseen"]
    assert found["generalised_seen"] == 1.0
    # A constant score: the share of positives.
    assert found["chance_unseen"] == pytest.approx((2 / 3 + 1 / 4) / 2)


def test_side_without_anything_to_score_is_nan() -> None:
    found = zero_shot_metrics(np.zeros((1, 4)), np.eye(4)[[0]], [0, 1], [2, 3], single_label=True)
    assert math.isnan(found["unseen"])
    assert math.isnan(found["harmonic"])


def test_mean_and_sample_deviation_leave_out_nan() -> None:
    assert mean_and_deviation([1.0, 3.0, math.nan]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_deviation([1.0]) == (1.0, 0.0)
    assert all(math.isnan(value) for value in mean_and_deviation([math.nan]))


def test_split_as_plain_values_is_json() -> None:
    assert json.loads(json.dumps(SPLIT.to_dict()))["unseen"] == ["run", "sit"]
