from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.data.records import ClipTable, Record
from msqnet.errors import DatasetError
from msqnet.evaluation.scored_rows import (
    EvaluationRows,
    read_score_tables,
    write_score_tables,
)
from msqnet.labels import UNKNOWN, LabelSet

if TYPE_CHECKING:
    from pathlib import Path

LABELS = LabelSet(("walk", "rest"))
SCORES = np.array([[0.25, 0.5], [0.75, 1.0]], dtype=np.float32)


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    records = (
        Record(2, tmp_path / "a.mp4", "a.mp4", ("walk",), frozenset({"walk"}), 0.5, 2.0),
        Record(3, tmp_path / "sub/b.mp4", "sub/b.mp4", (), None),
    )
    return ClipTable(tmp_path / "clips.csv", records)


def write(folder: Path, table: ClipTable) -> None:
    rows = EvaluationRows(LABELS, SCORES, table.targets(LABELS), table)
    write_score_tables(folder, rows, {"name": "standard"})


def test_what_was_written_is_read_again(tmp_path: Path, table: ClipTable) -> None:
    write(tmp_path, table)
    tables = read_score_tables(tmp_path)
    assert tables.labels == ("walk", "rest")
    assert tables.rows == (2, 3)
    assert tables.path == ("a.mp4", "sub/b.mp4")
    assert tables.files == (str(tmp_path / "a.mp4"), str(tmp_path / "sub/b.mp4"))
    np.testing.assert_array_equal(tables.start_seconds, [0.5, np.nan])
    np.testing.assert_array_equal(tables.end_seconds, [2.0, np.nan])
    np.testing.assert_array_equal(tables.scores, SCORES)
    assert tables.targets is not None
    np.testing.assert_array_equal(tables.targets, [[1, UNKNOWN], [0, 0]])


def test_unknown_is_stored_as_nothing(tmp_path: Path, table: ClipTable) -> None:
    import pyarrow.parquet as pq

    write(tmp_path, table)
    stored = pq.read_table(tmp_path / "targets.parquet")
    assert stored["rest"].to_pylist() == [None, 0]
    assert str(stored.schema.field("walk").type) == "int8"


def test_scores_without_targets_are_read(tmp_path: Path, table: ClipTable) -> None:
    write(tmp_path, table)
    (tmp_path / "targets.parquet").unlink()
    tables = read_score_tables(tmp_path)
    assert tables.targets is None
    assert tables.files is None


def test_tables_of_different_rows_are_refused(tmp_path: Path, table: ClipTable) -> None:
    write(tmp_path, table)
    kept = (tmp_path / "targets.parquet").read_bytes()
    other = replace(table, records=(table.records[0], replace(table.records[1], row=9)))
    write(tmp_path, other)
    (tmp_path / "targets.parquet").write_bytes(kept)
    with pytest.raises(DatasetError, match="not of the same rows"):
        read_score_tables(tmp_path)


def test_another_file_is_refused(tmp_path: Path, table: ClipTable) -> None:
    write(tmp_path, table)
    (tmp_path / "scores.parquet").write_bytes((tmp_path / "targets.parquet").read_bytes())
    with pytest.raises(DatasetError, match="start_seconds"):
        read_score_tables(tmp_path)
    (tmp_path / "scores.parquet").write_text("no")
    with pytest.raises(DatasetError, match="not Parquet"):
        read_score_tables(tmp_path)
