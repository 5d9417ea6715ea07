"""Metrics of single protocols: by hand, and against the official Charades definitions.

`Charades_v1_classify.m` and `Charades_v1_localize.m` are written again here from their rules: a
class's AP is the mean over its positives of the precision at each, in falling order of score.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.data.records import ClipTable
from msqnet.evaluation.scored_rows import rows_by_video
from msqnet.evaluation.whole_videos import point_times, targets_at
from msqnet.labels import UNKNOWN
from msqnet.metrics.average_precision import (
    average_precision,
    charades_classify_map,
    charades_localize_map,
    macro_map,
)
from msqnet.metrics.classification import hit_at_1
from tests.fixtures.data_sets import CHARADES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NUM_CLASSES, NUM_POINTS = 157, 25


def official_map(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Mean over classes of the official AP."""
    values = []
    for column in range(truth.shape[1]):
        hits = truth[np.argsort(-scores[:, column], kind="stable"), column]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values.append(precision[hits].mean())
    return float(np.mean(values))


@pytest.fixture(scope="module")
def charades_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real test annotations, without the training ones."""
    root, given = tmp_path_factory.mktemp("charades"), real_data / "annotations" / "charades"
    for name in ("Charades_v1_test.csv", "Charades_v1_classes.txt"):
        (root / name).write_bytes((given / name).read_bytes())
    header = (given / "Charades_v1_test.csv").read_text().split("\n", 1)[0]
    (root / "Charades_v1_train.csv").write_text(header + "\n")
    return root


@pytest.fixture(scope="module")
def official(charades_root: Path) -> list[tuple[str, float, list[tuple[int, float, float]]]]:
    """Id, length and (class, start, end) of each test video, read without the adapter."""
    with (charades_root / "Charades_v1_test.csv").open(newline="") as file:
        return [
            (
                row["id"],
                float(row["length"]),
                [
                    (int(action.split()[0][1:]), *map(float, action.split()[1:]))
                    for action in row["actions"].split(";")
                    if action
                ],
            )
            for row in csv.DictReader(file)
        ]


def table_of(root: Path, level: str) -> tuple[ClipTable, object]:
    converted = CHARADES.read(root, {"level": level})
    return ClipTable(root / "clips.csv", converted.records), converted.labels


def test_classification_is_the_official_one(charades_root: Path, official) -> None:
    table, labels = table_of(charades_root, "videos")
    scores = np.random.default_rng(0).random((len(official), NUM_CLASSES))
    truth = np.zeros(scores.shape, bool)
    for row, (_, _, actions) in enumerate(official):
        truth[row, [code for code, _, _ in actions]] = True
    # The script takes no prediction for a video without an action: it stays at minus infinity.
    seen = np.where(truth.any(axis=1, keepdims=True), scores, -np.inf)

    assert [r.path.stem for r in table.records] == [name for name, _, _ in official]
    targets = table.targets(labels)  # type: ignore[arg-type]
    assert np.array_equal(targets == 1, truth)
    found = charades_classify_map(scores, targets)
    assert found == pytest.approx(official_map(seen, truth), abs=1e-12)
    # As negatives like any other these videos can only cost, and here they do.
    assert 0 < found - macro_map(average_precision(scores, targets)) < 0.01


def test_localisation_is_the_official_one(charades_root: Path, official) -> None:
    table, labels = table_of(charades_root, "pieces")
    videos = {rows.records[0].path.stem: rows for rows in rows_by_video(table).values()}
    assert len(videos) == len(official)
    targets, truth = [], []
    for name, length, actions in official:
        rows = videos[name]
        assert max(record.interval[1] for record in rows.records) == length
        times = point_times(length)
        targets.append(targets_at(times, rows, labels, closed=True))  # type: ignore[arg-type]
        points = [point / NUM_POINTS * length for point in range(NUM_POINTS)]
        holds = np.zeros((NUM_POINTS, NUM_CLASSES), bool)
        for code, start, end in actions:
            holds[[start <= point <= end for point in points], code] = True
        truth.append(holds)
    all_targets, all_truth = np.concatenate(targets), np.concatenate(truth)
    assert np.array_equal(all_targets == 1, all_truth)
    scores = np.random.default_rng(0).random(all_truth.shape)
    expected = official_map(scores, all_truth)
    assert charades_localize_map(scores, all_targets) == pytest.approx(expected, abs=1e-12)
    # All times of the test videos are possible: nothing is unknown, and macro mAP is the same.
    assert UNKNOWN not in all_targets


def test_videos_without_an_action_rank_last_in_the_official_classification() -> None:
    targets = np.array([[1, 0], [0, 1], [0, 0]], np.float64)
    scores = np.array([[0.5, 0.1], [0.2, 0.6], [0.9, 0.9]])
    assert charades_classify_map(scores, targets) == 1.0
    assert macro_map(average_precision(scores, targets)) == 0.5
    # The scores are left as they were.
    assert scores[2].tolist() == [0.9, 0.9]


def test_hit_at_1_takes_any_label_of_a_row() -> None:
    targets = np.array(
        [
            [1, 1, 0],  # the second label leads: a hit
            [1, 0, 0],  # a tie with a negative: no hit
            [0, 1, UNKNOWN],  # what is not known does not compete: a hit
            [0, 0, 0],  # no label: does not count
            [1, 1, 1],  # nothing to get wrong: does not count
        ]
    )
    scores = np.array(
        [[0.2, 0.8, 0.5], [0.5, 0.5, 0.1], [0.2, 0.3, 0.9], [0.9, 0.1, 0.1], [0.3, 0.3, 0.3]]
    )
    assert hit_at_1(scores, targets) == pytest.approx(2 / 3)
    assert np.isnan(hit_at_1(scores[3:], targets[3:]))
