"""A known model under named protocols: figures, and the protocol's name on everything."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.config import ViewChoice, WindowConfig
from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.by_protocol import evaluate_protocol, evaluate_timelines
from msqnet.evaluation.protocols import PROTOCOLS, ProtocolName
from msqnet.evaluation.row_metrics import evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows
from msqnet.evaluation.views import score_rows
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import (
    BLACK,
    WHITE,
    TrainedBackend,
    write_video,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.evaluation.row_metrics import EvaluationResult


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    """Four videos of a second; the third is called by the label that it is not."""
    levels = {"a": 204, "b": 51, "c": 153, "d": 102}
    labels = {"a": "bright", "b": "dark", "c": "dark", "d": "dark"}
    return ClipTable(
        tmp_path / "clips.csv",
        tuple(
            Record(
                row=row,
                path=write_video(tmp_path / f"{name}.mov", [level] * 10),
                relative_path=f"{name}.mov",
                labels=(labels[name],),
            )
            for row, (name, level) in enumerate(levels.items(), start=2)
        ),
    )


def timed(table: ClipTable) -> ClipTable:
    """The same rows with start and end."""
    return replace(
        table,
        records=tuple(replace(r, start_seconds=0.0, end_seconds=1.0) for r in table.records),
    )


def evaluated(table: ClipTable, name: ProtocolName, **settings: Any) -> EvaluationResult:
    predictor = Predictor(TrainedBackend(), WindowConfig(window_seconds=1.0, stride_seconds=1.0))
    return evaluate_protocol(table, predictor, PROTOCOLS[name], num_bootstrap=0, **settings)[0]


def test_standard_gives_the_metrics_of_the_rows(table: ClipTable) -> None:
    backend = TrainedBackend()
    scores = score_rows(table, backend)
    rows = EvaluationRows(backend.labels, scores, table.targets(backend.labels), table)
    expected = evaluate_rows(
        rows,
        thresholds=backend.thresholds,
        train_positive_windows=(20, 20),
        num_bootstrap=10,
    ).metrics
    predictor = Predictor(TrainedBackend())
    result, scored = evaluate_protocol(table, predictor, PROTOCOLS["standard"], num_bootstrap=10)
    assert np.array_equal(scored.scores, scores)
    assert scored.scores.dtype == np.float32
    assert scored.table == table
    added = {"protocol", "notes"}
    assert {key: value for key, value in result.metrics.items() if key not in added} == expected
    assert result.metrics["protocol"] == {
        "name": "standard",
        "definition": PROTOCOLS["standard"].definition,
        "is_reference": False,
        "headline": "macro_map",
        "views": {"num_clips": 1, "crops": 1, "merge": "mean"},
        "views_changed": False,
    }


@pytest.mark.parametrize("name", ["hmdb51", "thumos14_trimmed"])
def test_top_1_is_given_whatever_the_models_task(table: ClipTable, name: ProtocolName) -> None:
    metrics = evaluated(table, name).metrics
    assert metrics["top_1_accuracy"] == 3 / 4
    assert evaluated(table, "standard").metrics["top_1_accuracy"] is None


def test_label_accuracy_stands_beside_the_all_negative_answer(table: ClipTable) -> None:
    metrics = evaluated(table, "hockey_part").metrics
    assert metrics["label_accuracy"] == 6 / 8
    assert metrics["all_negative_label_accuracy"] == 4 / 8
    for name in PROTOCOLS["hockey_part"].beside:
        assert metrics[name] is not None


def test_untrimmed_videos_are_scored_by_their_windows(table: ClipTable, tmp_path: Path) -> None:
    path = write_video(tmp_path / "e.mov", [WHITE] * 10 + [BLACK] * 30)
    both = Record(row=6, path=path, relative_path="e.mov", labels=("bright", "dark"))
    metrics = evaluated(
        replace(table, records=(*table.records, both)), "thumos14_untrimmed"
    ).metrics
    # e.mov has both labels, so it cannot be missed and has no single right answer.
    assert metrics["hit_at_1"] == metrics["top_1_accuracy"] == 3 / 4
    assert metrics["protocol"]["window_seconds"] == 1.0
    assert "hit_at_1" in metrics["definitions"]
    # Bright: a .8, c .6, d .4, e .25, b .2, right are a and e: precisions 1 and 2 / 4.
    # Dark: b .8, e .75, d .6, c .4, a .2, all right but a.
    assert metrics["macro_map"] == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)


def test_charades_videos_are_rows_without_times(table: ClipTable) -> None:
    metrics = evaluated(table, "charades_video", views=ViewChoice(num_clips=2)).metrics
    assert metrics["protocol"]["views"] == {"num_clips": 2, "crops": 1, "merge": "max"}
    assert metrics["protocol"]["views_changed"] is True
    assert metrics["charades_classify_map"] == metrics["macro_map"]
    with pytest.raises(DatasetError, match=r"row 2 has start or end.*level=videos"):
        evaluated(timed(table), "charades_video")


def test_localisation_scores_25_points_of_each_video(table: ClipTable) -> None:
    metrics = evaluated(timed(table), "charades_localisation").metrics
    assert metrics["num_windows"] == 100
    assert metrics["num_clips"] == 4
    assert metrics["protocol"]["views"] is None
    assert metrics["charades_localize_map"] == metrics["macro_map"]


def test_reference_figures_carry_their_name_everywhere(table: ClipTable, tmp_path: Path) -> None:
    for name in ("reference_micro_ap", "reference_charades_oracle"):
        result = evaluated(timed(table), name)
        assert result.metrics["protocol"]["headline"] == "reference_micro_ap"
        assert result.metrics["protocol"]["is_reference"] is True
        result.write(tmp_path / name)
        document = json.loads((tmp_path / name / "metrics.json").read_text())
        assert next(iter(document)) == "protocol"
        with (tmp_path / name / "per_label.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                assert row["protocol"] == name
                assert "not comparable with" in row["protocol_definition"]


def test_oracle_says_how_many_videos_it_left_out(table: ClipTable) -> None:
    metrics = evaluated(timed(table), "reference_charades_oracle").metrics
    assert metrics["notes"] == [
        "videos without an annotated action, which the oracle leaves out: 0"
    ]
    assert "ORACLE" in metrics["protocol"]["definition"]


def test_timelines_carry_their_protocol_too(table: ClipTable) -> None:
    predictor = Predictor(TrainedBackend(), WindowConfig(window_seconds=1.0, stride_seconds=1.0))
    figures, _ = evaluate_timelines(timed(table), predictor)
    assert figures["protocol"]["name"] == "timeline"
    with pytest.raises(ConfigError, match="evaluate_timelines"):
        evaluate_protocol(table, predictor, PROTOCOLS["timeline"])


def test_views_without_a_meaning_stop_before_any_video_is_read(table: ClipTable) -> None:
    missing = replace(table.records[0], path=table.path.with_name("missing.mov"))
    with pytest.raises(ConfigError, match="charades_localisation"):
        evaluated(
            replace(table, records=(missing,)), "charades_localisation", views=ViewChoice(crops=3)
        )
