"""Scores and targets of evaluated rows, and the files that hold them. Axes: V rows, K labels."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import DatasetError, ShapeError
from msqnet.files import replacing
from msqnet.labels import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet
    from msqnet.metrics.average_precision import FloatArray

METRICS_FILE = "metrics.json"
PER_LABEL_FILE = "per_label.csv"
SCORES_FILE = "scores.parquet"
TARGETS_FILE = "targets.parquet"
SCORE_COLUMNS = ("row", "path", "start_seconds", "end_seconds")
TARGET_COLUMNS = ("row", "path", "file")


@dataclass(frozen=True)
class EvaluationRows:
    """Scores and targets of evaluated windows, with the row of the table behind each.

    Attributes:
        labels: the K labels in the order of the columns.
        scores: (V, K) float in [0, 1].
        targets: (V, K) of 1 (present), 0 (known to be absent) and -100 (not annotated).
        table: V rows: the video of each window, its times, group, source and actor. Rows of one
            video are windows of one clip; a point in time ends where it starts.
        notes: for the reader, such as what was left out.
    """

    labels: LabelSet
    scores: NDArray[np.floating[Any]]
    targets: NDArray[np.floating[Any]]
    table: ClipTable
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (len(self.table), len(self.labels))
        if 0 in expected:
            raise ShapeError(
                f"EvaluationRows: {expected[0]} rows of {expected[1]} labels; expected some"
            )
        for name, values in (("scores", self.scores), ("targets", self.targets)):
            if np.shape(values) != expected:
                raise ShapeError(
                    f"EvaluationRows.{name}: found {np.shape(values)}, expected {expected}"
                )


def rows_by_video(table: ClipTable) -> dict[str, ClipTable]:
    """The rows of each video, by the name that the table gives it, sorted by name."""
    indices: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(table.clip_ids()):
        indices[name].append(index)
    return {name: table.take(found) for name, found in sorted(indices.items())}


def write_score_tables(folder: Path, rows: EvaluationRows, protocol: dict[str, Any]) -> None:
    """Write `scores.parquet` and `targets.parquet`, line for line the same rows.

    The first holds each row's number in the table, its path, its times and a score per label; the
    second its number, its path, the file of its video, and per label 1 (present), 0 (known to be
    absent) or nothing (not annotated). Both keep ``protocol``.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels, records = list(rows.labels), rows.table.records
    leading = pd.DataFrame(
        {
            "row": [record.row for record in records],
            "path": rows.table.clip_ids(),
            "start_seconds": [record.start_seconds for record in records],
            "end_seconds": [record.end_seconds for record in records],
            "file": [str(record.path) for record in records],
        }
    )
    known = np.where(rows.targets == UNKNOWN, np.nan, rows.targets)
    about = {b"msqnet": json.dumps({"protocol": protocol}).encode()}
    for name, columns, values in (
        (SCORES_FILE, SCORE_COLUMNS, pd.DataFrame(rows.scores, columns=labels)),
        (TARGETS_FILE, TARGET_COLUMNS, pd.DataFrame(known, columns=labels).astype("Int8")),
    ):
        written = pa.Table.from_pandas(pd.concat([leading[list(columns)], values], axis=1))
        metadata = {**(written.schema.metadata or {}), **about}
        with replacing(folder / name) as partial:
            pq.write_table(written.replace_schema_metadata(metadata), partial)


@dataclass(frozen=True)
class ScoreTables:
    """Scores of evaluated rows from the files of `write_score_tables`.

    Attributes:
        labels: the K labels in the order of the columns.
        rows: V numbers in the table.
        path: V videos as the table writes them.
        start_seconds: (V,) float64; NaN is the start of the video.
        end_seconds: (V,) float64; NaN is the end of the video.
        scores: (V, K) float64 in [0, 1].
        targets: (V, K) of 1, 0 and `UNKNOWN`; None, as `files`, where they are not stored.
    """

    labels: tuple[str, ...]
    rows: tuple[int, ...]
    path: tuple[str, ...]
    start_seconds: FloatArray
    end_seconds: FloatArray
    scores: FloatArray
    targets: FloatArray | None
    files: tuple[str, ...] | None


def read_score_tables(folder: Path) -> ScoreTables:
    """Read the files of `write_score_tables`; `targets.parquet` may be missing.

    A file of another kind, or two that are not of the same evaluation, are a `DatasetError`.
    """
    rows, labels, scores = _read(folder / SCORES_FILE, SCORE_COLUMNS)
    targets, files = None, None
    if (folder / TARGETS_FILE).exists():
        who, target_labels, targets = _read(folder / TARGETS_FILE, TARGET_COLUMNS)
        if target_labels != labels or not who["row"].equals(rows["row"]):
            raise DatasetError(
                f"{folder}: {TARGETS_FILE} and {SCORES_FILE} are not of the same rows and labels; "
                "evaluate again"
            )
        targets, files = np.nan_to_num(targets, nan=UNKNOWN), tuple(who["file"])
    return ScoreTables(
        labels=labels,
        rows=tuple(rows["row"].tolist()),
        path=tuple(rows["path"]),
        start_seconds=rows["start_seconds"].to_numpy(np.float64, na_value=np.nan),
        end_seconds=rows["end_seconds"].to_numpy(np.float64, na_value=np.nan),
        scores=scores,
        targets=targets,
        files=files,
    )


def _read(path: Path, leading: tuple[str, ...]) -> tuple[pd.DataFrame, tuple[str, ...], FloatArray]:
    """The leading columns, the names of the others, which are labels, and (V, K) of these."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns: pd.DataFrame = pq.read_table(path).to_pandas()
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{path}: not Parquet ({error}); evaluate again") from error
    names = tuple(columns.columns)
    if names[: len(leading)] != leading:
        raise DatasetError(
            f"{path}: found columns {names[: len(leading)]}, expected {leading}; evaluate again"
        )
    values = columns.iloc[:, len(leading) :].to_numpy(np.float64, na_value=np.nan)
    return columns.iloc[:, : len(leading)], names[len(leading) :], values
