"""All results as one data set: three tables of Parquet files, one file of each for a video.

The files of a video are named by a digest of its name, so that predicting it again replaces them.
`docs/reference/result-files.md` describes the columns.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

FOLDER = "dataset"
TABLES = ("segments", "scores", "videos")
"""In the order in which they are published: where the last one is, all are."""

_FILE_NAME_LENGTH = 32


@dataclass(frozen=True)
class VideoRecord:
    """What table `videos` says of where results come from.

    Attributes:
        digest: SHA-256 of the video's content.
        provenance_digest: identifies the model and the settings.
        status: ``ok`` or ``partial``.
        message: what a reader must know.
        duration_seconds: of the video, as far as it decodes.
    """

    digest: str
    provenance_digest: str
    status: str
    message: str
    duration_seconds: float


def table_names(name: str) -> tuple[str, ...]:
    """Names of a video's files in the data set, in the order of `TABLES`.

    Args:
        name: of the video's results.
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    # The letter keeps readers from taking a part of digits alone for a number.
    file = f"part=p{digest[:2]}/{digest[:_FILE_NAME_LENGTH]}.parquet"
    return tuple(f"{FOLDER}/{table}/{file}" for table in TABLES)


def provenance_digest(provenance: dict[str, Any]) -> str:
    """Identifies a model and its settings: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:16]


def write_data_set(
    predictions: VideoPredictions, *, name: str, digest: str, num_bytes: int, folder: Path
) -> tuple[Path, ...]:
    """Write one video's files of the data set.

    Args:
        predictions: of the video.
        name: of its results.
        digest: of its content.
        num_bytes: of its content.
        folder: where to write.

    Returns:
        Paths in the order of `TABLES`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (
        _segments(predictions, name),
        _scores(predictions, name),
        _video(predictions, name, digest, num_bytes),
    )
    paths = tuple(folder / f"{table}.parquet" for table in TABLES)
    for path, (columns, types) in zip(paths, tables, strict=True):
        schema = pa.schema([(column, getattr(pa, kind)()) for column, kind in types.items()])
        # An open file: pyarrow takes no path that is not Unicode.
        with path.open("wb") as file:
            pq.write_table(pa.table(columns, schema=schema), file)
    return paths


def read_record(content: bytes) -> VideoRecord | None:
    """The record in a file of table `videos`; None if it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        row = pq.read_table(io.BytesIO(content)).to_pylist()[0]
        return VideoRecord(
            digest=row["digest"],
            provenance_digest=row["provenance_digest"],
            status=row["status"],
            message=row["message"],
            duration_seconds=row["duration_seconds"],
        )
    except (pa.ArrowInvalid, OSError, KeyError, IndexError):
        return None


_Table = tuple[dict[str, Any], dict[str, str]]


def _segments(predictions: VideoPredictions, name: str) -> _Table:
    items = predictions.segments
    columns = {
        "name": [_text(name)] * len(items),
        "label": [item.label for item in items],
        "start_seconds": [item.start_seconds for item in items],
        "end_seconds": [item.end_seconds for item in items],
        "score": [item.score for item in items],
    }
    types = {"name": "string", "label": "string", "start_seconds": "float64"}
    return columns, {**types, "end_seconds": "float64", "score": "float64"}


def _scores(predictions: VideoPredictions, name: str) -> _Table:
    """One line a step and label, steps in order."""
    edges, scores = predictions.timeline.edges_seconds, predictions.timeline.scores
    num_steps, num_labels = scores.shape
    columns = {
        "name": [_text(name)] * scores.size,
        "label": list(predictions.labels) * num_steps,
        "start_seconds": np.repeat(edges[:-1], num_labels),
        "end_seconds": np.repeat(edges[1:], num_labels),
        "score": scores.reshape(-1),  # (N, K) -> (N*K,)
    }
    types = {"name": "string", "label": "string", "start_seconds": "float64"}
    return columns, {**types, "end_seconds": "float64", "score": "float32"}


def _video(predictions: VideoPredictions, name: str, digest: str, num_bytes: int) -> _Table:
    provenance, novelty = predictions.provenance, predictions.novelty
    values: dict[str, tuple[Any, str]] = {
        "name": (_text(name), "string"),
        "path": (_text(predictions.path), "string"),
        "digest": (digest, "string"),
        "bytes": (num_bytes, "int64"),
        "status": ("partial" if predictions.notes else "ok", "string"),
        "message": ("; ".join(predictions.warnings), "string"),
        "duration_seconds": (predictions.duration_seconds, "float64"),
        "width": (predictions.width, "int64"),
        "height": (predictions.height, "int64"),
        "num_segments": (len(predictions.segments), "int64"),
        "novelty_share": (novelty and novelty.share, "float64"),
        "is_unlike_training": (novelty and novelty.is_unlike, "bool_"),
        "provenance_digest": (provenance_digest(provenance), "string"),
        "provenance": (json.dumps(provenance), "string"),
    }
    columns = {column: [value] for column, (value, _) in values.items()}
    return columns, {column: kind for column, (_, kind) in values.items()}


def _text(text: str) -> str:
    """Text that Parquet can hold: parts that are not Unicode (odd file names) are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
