from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.errors import ShapeError
from msqnet.evaluation.row_metrics import DEFINITIONS, REFERENCE_BATCH_SIZE, evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows
from msqnet.files import plain
from msqnet.labels import UNKNOWN, LabelSet, split_labels
from msqnet.metrics.average_precision import (
    average_precision,
    micro_average_precision,
    reference_micro_ap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# Label a: shown by farm and lab; b: by the farm alone; c: known to be absent; d: always present;
# e: never annotated; f: no positive in training.
LABELS = LabelSet(("a", "b", "c", "d", "e", "f"))
SOURCES = ["farm"] * 6 + ["lab"] * 6
A = [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, UNKNOWN, UNKNOWN]
B = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
TARGETS = np.array(
    [A, B, [0] * 12, [1] * 12, [UNKNOWN] * 12, [0, 1] * 6], dtype=np.float64
).T  # (V, K)
TRAIN_POSITIVES = np.array([20, 4, 9, 9, 9, 0])


def table_of(paths: Sequence[str], **columns: Sequence[str]) -> ClipTable:
    """A row for each path, with its values of the columns."""
    records = (
        Record(
            row + 2, Path(path), path, (), **{key: column[row] for key, column in columns.items()}
        )
        for row, path in enumerate(paths)
    )
    return ClipTable(Path("clips.csv"), tuple(records))


def some_rows(seed: int = 0) -> EvaluationRows:
    return EvaluationRows(
        labels=LABELS,
        scores=np.random.default_rng(seed).random(TARGETS.shape),
        targets=TARGETS,
        table=table_of([f"clip{row // 2}.mp4" for row in range(12)], source=SOURCES),
    )


def evaluated(rows: EvaluationRows, **settings):
    arguments = {
        "thresholds": 0.5,
        "train_positive_windows": TRAIN_POSITIVES,
        "num_bootstrap": 50,
    }
    return evaluate_rows(rows, **(arguments | settings))


def row_of(result, label):
    (found,) = [row for row in result.per_label if row["label"] == label]
    return found


def test_headline_is_the_mean_over_trained_labels_with_both_classes():
    rows = some_rows()
    result = evaluated(rows)
    ap = average_precision(rows.scores, TARGETS)
    assert result.metrics["macro_map"] == pytest.approx((ap[0] + ap[1]) / 2)
    assert result.metrics["headline_labels"] == ["a", "b"]
    assert result.metrics["num_headline_labels"] == 2


def test_every_label_left_out_is_listed_with_its_reason():
    metrics = evaluated(
        some_rows(), labels_not_in_model={"g": "the model does not have it"}
    ).metrics
    assert metrics["not_scored"] == [
        {"label": "c", "reason": "no known positive in the evaluated rows"},
        {"label": "d", "reason": "no known negative in the evaluated rows"},
        {"label": "e", "reason": "not annotated in any evaluated row"},
        {"label": "f", "reason": "no positive in the model's training data"},
        {"label": "g", "reason": "the model does not have it"},
    ]


@pytest.mark.parametrize(("train_windows", "is_supported"), [(5, True), (4, False)])
def test_well_supported_needs_three_clips_and_five_training_windows(train_windows, is_supported):
    train = np.where(np.arange(6) == 0, train_windows, TRAIN_POSITIVES)
    result = evaluated(some_rows(), train_positive_windows=train)
    # Label a is positive in clips 0, 1 and 3; label b in clips 0 and 1 only.
    assert row_of(result, "a")["positive_clips"] == 3
    assert row_of(result, "b")["positive_clips"] == 2
    assert result.metrics["well_supported_labels"] == (["a"] if is_supported else [])
    expected = row_of(result, "a")["ap"] if is_supported else None
    assert result.metrics["well_supported_macro_map"] == expected


def test_within_source_scores_a_label_over_the_sources_that_show_it():
    rows = some_rows()
    result = evaluated(rows)
    farm = average_precision(rows.scores[:6], TARGETS[:6])
    assert row_of(result, "b")["within_source_ap"] == pytest.approx(farm[1])
    assert row_of(result, "a")["within_source_ap"] == pytest.approx(row_of(result, "a")["ap"])
    expected = (row_of(result, "a")["ap"] + farm[1]) / 2
    assert result.metrics["within_source_macro_map"] == pytest.approx(expected)


def test_a_scorer_that_knows_only_the_source_loses_its_lead_within_source():
    rows = some_rows()
    scores = rows.scores.copy()
    scores[:, 1] = [source == "farm" for source in SOURCES]
    result = evaluated(replace(rows, scores=scores))
    assert row_of(result, "b")["ap"] == pytest.approx(0.5)
    assert row_of(result, "b")["chance_ap"] == pytest.approx(0.25)
    # Within the farm half of the rows show b, and so constant scores get one half.
    assert row_of(result, "b")["within_source_ap"] == pytest.approx(0.5)


def test_label_without_negative_in_its_source_is_named():
    targets = TARGETS.copy()
    targets[:6, 1] = 1
    metrics = evaluated(replace(some_rows(), targets=targets)).metrics
    assert metrics["num_within_source_labels"] == 1
    assert metrics["not_scored_within_source"] == [
        {"label": "b", "reason": "no known negative in rows of the sources that show it"}
    ]


def test_missing_actors_give_no_figure_and_say_why():
    metrics = evaluated(some_rows()).metrics
    assert metrics["within_actor_macro_map"] is None
    assert metrics["num_windows_without_actor"] == 12
    assert metrics["not_scored_within_actor"][0] == {
        "label": "a",
        "reason": "no row names its actor",
    }


def test_micro_figures_hold_all_trained_labels():
    rows = some_rows()
    metrics = evaluated(rows).metrics
    trained = [0, 1, 2, 3, 4]
    micro = micro_average_precision(rows.scores[:, trained], TARGETS[:, trained])
    assert metrics["micro_ap"] == pytest.approx(micro)
    reference = reference_micro_ap(
        rows.scores[:, trained], TARGETS[:, trained], REFERENCE_BATCH_SIZE
    )
    assert metrics["reference_micro_ap"] == pytest.approx(reference)
    assert metrics["reference_batch_size"] == REFERENCE_BATCH_SIZE


def test_weighted_map_and_thirds_by_frequency():
    result = evaluated(some_rows())
    a, b = row_of(result, "a")["ap"], row_of(result, "b")["ap"]
    assert result.metrics["weighted_map"] == pytest.approx((3 * a + 3 * b) / 6)
    assert result.metrics["head_macro_map"] == pytest.approx(a)
    assert result.metrics["middle_macro_map"] == pytest.approx(b)
    assert result.metrics["tail_macro_map"] is None


def test_perfect_scores_are_perfect_everywhere():
    scores = np.where(TARGETS == 1, 0.9, 0.1)
    metrics = evaluated(replace(some_rows(), scores=scores)).metrics
    for name in ("macro_map", "within_source_macro_map", "micro_ap", "weighted_map", "macro_f1"):
        assert metrics[name] == 1
        assert metrics["intervals"][name] == [1, 1]
    assert metrics["subset_accuracy"] is None
    assert metrics["num_windows_all_labels_known"] == 0
    assert metrics["subset_accuracy_known"] == 1
    assert metrics["label_accuracy"] == 1
    assert metrics["all_negative_label_accuracy"] < 1
    assert metrics["expected_calibration_error"] == pytest.approx(0.1)


def test_thresholds_decide_f1_by_label():
    rows = some_rows()
    result = evaluated(rows, thresholds=np.array([0.0, 2.0, 0.5, 0.5, 0.5, 0.5]))
    assert row_of(result, "a")["f1"] == pytest.approx(2 * 3 / (3 + 10))
    assert row_of(result, "b")["f1"] == 0
    assert result.metrics["macro_f1"] == pytest.approx((6 / 13 + 0) / 2)


def test_unknown_training_counts_leave_support_open():
    result = evaluated(some_rows(), train_positive_windows=None)
    assert result.metrics["headline_labels"] == ["a", "b", "f"]
    assert result.metrics["well_supported_macro_map"] is None
    assert result.metrics["head_macro_map"] is None
    assert row_of(result, "a")["train_positive_windows"] is None


def test_single_label_rows_get_top_k():
    classes = [0, 1, 2, 0, 1, 2]
    scores = np.array(
        [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]] * 2,
    )
    rows = EvaluationRows(LabelSet(("x", "y", "z")), scores, np.eye(3)[classes], table_of("abcdef"))
    metrics = evaluate_rows(rows, thresholds=0.5, single_label=True, num_bootstrap=100).metrics
    assert metrics["top_1_accuracy"] == pytest.approx(2 / 3)
    assert metrics["top_5_accuracy"] == 1
    low, high = metrics["intervals"]["top_1_accuracy"]
    assert low < 2 / 3 < high
    assert metrics["subset_accuracy"] == pytest.approx(2 / 3)
    several = evaluate_rows(rows, thresholds=0.5, num_bootstrap=0).metrics
    assert several["top_1_accuracy"] is None
    assert several["intervals"] == {}


def test_order_of_rows_changes_nothing_but_the_reference_figure():
    rows = some_rows()
    order = np.random.default_rng(1).permutation(12)
    shuffled = replace(
        rows, scores=rows.scores[order], targets=TARGETS[order], table=rows.table.take(order)
    )
    first, second = evaluated(rows).metrics, evaluated(shuffled).metrics
    assert first.pop("reference_micro_ap") != second.pop("reference_micro_ap")
    numbers = {name for name, value in first.items() if isinstance(value, float)}
    assert len(numbers) > 8
    for name in numbers:
        assert second[name] == pytest.approx(first[name], abs=1e-12)
    for name, bounds in first["intervals"].items():
        assert second["intervals"][name] == pytest.approx(bounds, abs=1e-12)


def test_same_seed_gives_the_same_document():
    assert evaluated(some_rows(), seed=3) == evaluated(some_rows(), seed=3)
    first, second = evaluated(some_rows(), seed=3), evaluated(some_rows(), seed=4)
    assert first.metrics["intervals"] != second.metrics["intervals"]
    assert first.metrics["macro_map"] == second.metrics["macro_map"]


def test_every_defined_figure_is_in_the_document():
    metrics = evaluated(some_rows()).metrics
    assert set(DEFINITIONS) <= set(metrics)
    assert metrics["definitions"] == DEFINITIONS


def test_written_files_hold_what_was_computed(tmp_path):
    result = evaluated(some_rows())
    folder = tmp_path / "runs" / "test"
    result.write(folder)
    result.write(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "per_label.csv"]
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert document == result.metrics
    with (folder / "per_label.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["label"] for row in written] == list(LABELS)
    assert float(written[0]["ap"]) == result.per_label[0]["ap"]
    assert written[2]["ap"] == ""
    low, high = float(written[0]["ap_low"]), float(written[0]["ap_high"])
    assert low <= result.per_label[0]["ap"] <= high


def test_parts_that_do_not_fit_are_refused():
    rows = some_rows()
    with pytest.raises(ShapeError, match=r"scores: found \(12, 5\), expected \(12, 6\)"):
        replace(rows, scores=rows.scores[:, :5])
    with pytest.raises(ShapeError, match=r"targets: found \(3, 6\), expected \(12, 6\)"):
        replace(rows, targets=TARGETS[:3])
    with pytest.raises(ShapeError, match="0 rows of 6 labels"):
        EvaluationRows(LABELS, np.zeros((0, 6)), np.zeros((0, 6)), table_of([]))
    with pytest.raises(ShapeError, match=r"train_positive_windows: found shape \(2,\)"):
        evaluated(rows, train_positive_windows=[1, 2])


# Label: test windows, test clips, known test windows, positive training windows.
BENCHMARK = {
    "eating": (2, 1, 42, 2),
    "exercising": (0, 0, 216, 3),
    "face_washing": (9, 8, 213, 34),
    "falling": (22, 3, 145, 35),
    "fighting": (42, 42, 216, 84),
    "genital_licking": (6, 6, 216, 29),
    "grooming": (48, 24, 216, 135),
    "head_raising": (14, 14, 159, 10),
    "investigating": (4, 3, 57, 7),
    "reading": (0, 0, 216, 10),
    "rearing": (21, 20, 216, 57),
    "resting": (4, 2, 57, 11),
    "scratching": (1, 1, 132, 3),
    "sitting": (7, 1, 42, 32),
    "standing": (12, 5, 42, 7),
    "turning": (6, 6, 57, 15),
    "walking": (11, 6, 99, 27),
    "wall_supported_rearing": (9, 9, 212, 33),
}
BENCHMARK_WELL_SUPPORTED = set(BENCHMARK) - {
    "eating", "exercising", "reading", "resting", "scratching", "sitting"
}  # fmt: skip


def benchmark_targets(records, names):
    targets = np.full((len(records), len(names)), UNKNOWN)
    for row, record in enumerate(records):
        seen = split_labels(record["labels"])
        for column, name in enumerate(names):
            if name in seen:
                targets[row, column] = 1
            elif name in split_labels(record["annotated"]):
                targets[row, column] = 0
    return targets


def test_mixed_actor_benchmark_has_its_16_headline_and_12_well_supported_labels(real_data):
    with (real_data / "mixed_actors.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    train = [record for record in records if record["split"] == "train"]
    test = [record for record in records if record["split"] == "test"]
    names = sorted({name for record in train for name in split_labels(record["labels"])})
    assert names == sorted(BENCHMARK)
    targets, train_targets = benchmark_targets(test, names), benchmark_targets(train, names)
    rows = EvaluationRows(
        labels=LabelSet(tuple(names)),
        scores=np.random.default_rng(0).random(targets.shape),
        targets=targets,
        table=table_of(
            [record["path"] for record in test],
            **{name: [record[name] for record in test] for name in ("group", "source", "actor")},
        ),
    )
    result = evaluate_rows(
        rows, thresholds=0.5, train_positive_windows=(train_targets == 1).sum(axis=0)
    )
    found = {
        row["label"]: (
            row["positive_windows"],
            row["positive_clips"],
            row["known_windows"],
            row["train_positive_windows"],
        )
        for row in result.per_label
    }
    assert found == BENCHMARK
    assert result.metrics["num_windows"] == 216
    assert result.metrics["num_headline_labels"] == 16
    assert [item["label"] for item in result.metrics["not_scored"]] == ["exercising", "reading"]
    assert result.metrics["num_well_supported_labels"] == 12
    assert set(result.metrics["well_supported_labels"]) == BENCHMARK_WELL_SUPPORTED
    low, high = result.metrics["intervals"]["macro_map"]
    assert low < result.metrics["macro_map"] < high


# Four rows; a label is positive in the first one alone, and `rank` says how many rows are scored
# above it: AP = 1 / (rank + 1). Label h has no positive here, label i none in training.
NAMES_OF_THIRDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
RANK = [0, 1, 3, 0, 1, 3, 1, 0, 0]
TRAIN = [5, 100, 40, 7, 40, 3, 60, 500, 0]


def thirds_by_frequency(train_positives: list[int] | None) -> dict[str, float | None]:
    targets = np.zeros((4, len(NAMES_OF_THIRDS)))
    targets[0] = [name != "h" for name in NAMES_OF_THIRDS]
    scores = np.tile(np.array([[0.5], [0.1], [0.1], [0.1]]), len(NAMES_OF_THIRDS))
    for label, rank in enumerate(RANK):
        scores[1 : 1 + rank, label] = 0.9
    rows = EvaluationRows(LabelSet(NAMES_OF_THIRDS), scores, targets, table_of("wxyz"))
    metrics = evaluate_rows(
        rows, thresholds=0.5, train_positive_windows=train_positives, num_bootstrap=0
    ).metrics
    return {name: metrics[f"{name}_macro_map"] for name in ("head", "middle", "tail")}


def test_thirds_by_training_frequency_worked_by_hand():
    # By training windows: b 100, g 60, c 40, e 40 | d 7, a 5, f 3; of equals the first label leads.
    # Seven labels make thirds of 3, 2 and 2: the first one takes what is left over.
    assert thirds_by_frequency(TRAIN) == {
        "head": pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3),  # b, g, c
        "middle": pytest.approx((1 / 2 + 1) / 2),  # e, d
        "tail": pytest.approx((1 + 1 / 4) / 2),  # a, f
    }


def test_thirds_need_training_counts():
    assert set(thirds_by_frequency(None).values()) == {None}


def test_plain_values_are_strict_json_whatever_they_were():
    given = {"a": (np.float32(0.5), np.nan), "b": np.array([1, 2]), "c": [np.bool_(True), "x"]}
    found = plain(given)
    assert found == {"a": [0.5, None], "b": [1, 2], "c": [True, "x"]}
    assert [type(item) for item in (*found["b"], found["c"][0])] == [int, int, bool]
