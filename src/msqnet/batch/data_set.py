"""All results as one data set: three tables of Parquet files, one file of each for a video.

The files of a video are named by a digest of its name, so that predicting it again replaces them.
`docs/reference/result-files.md` describes the columns.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.parquet import only_text, write_parquet
from msqnet.style import printable

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.inference.results import Outcome
    from msqnet.parquet import Columns
    from msqnet.predictions import VideoPredictions

FOLDER = "dataset"
TABLES = ("segments", "scores", "videos")
"""In the order in which they are published: where the last one is, all are."""

_FILE_NAME_LENGTH = 32


def table_names(name: str) -> tuple[str, ...]:
    """Files of a video in the data set, in the order of `TABLES`, by the name of its results."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    # The letter keeps readers from taking a part of digits alone for a number.
    file = f"part=p{digest[:2]}/{digest[:_FILE_NAME_LENGTH]}.parquet"
    return tuple(f"{FOLDER}/{table}/{file}" for table in TABLES)


def provenance_digest(provenance: dict[str, Any]) -> str:
    """Identifies a model and its settings: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()[:16]


def write_data_set(
    predictions: VideoPredictions, outcome: Outcome, folder: Path
) -> tuple[Path, ...]:
    """Write one video's files of the data set; returns their paths in the order of `TABLES`.

    ``outcome`` holds its name, and digest and bytes of its content.
    """
    paths = tuple(folder / f"{table}.parquet" for table in TABLES)
    for path, make in zip(paths, (_segments, _scores, _video), strict=True):
        write_parquet(path, make(predictions, outcome))
    return paths


def stored_digest(content: bytes) -> str | None:
    """SHA-256 of the video in a file of table `videos`; None if the file is damaged."""
    return only_text(content, "digest")


def _segments(predictions: VideoPredictions, outcome: Outcome) -> Columns:
    items = predictions.segments
    return [
        ("name", "string", [printable(outcome.name)] * len(items)),
        ("label", "string", [item.label for item in items]),
        ("start_seconds", "float64", [item.start_seconds for item in items]),
        ("end_seconds", "float64", [item.end_seconds for item in items]),
        ("score", "float64", [item.score for item in items]),
    ]


def _scores(predictions: VideoPredictions, outcome: Outcome) -> Columns:
    """One line a step and label, steps in order."""
    edges, scores = predictions.timeline.edges_seconds, predictions.timeline.scores
    num_steps, num_labels = scores.shape
    flags = predictions.timeline.is_unknown
    unknown = [None] * scores.size if flags is None else np.repeat(flags, num_labels)
    return [
        ("name", "string", [printable(outcome.name)] * scores.size),
        ("label", "string", list(predictions.labels) * num_steps),
        ("start_seconds", "float64", np.repeat(edges[:-1], num_labels)),
        ("end_seconds", "float64", np.repeat(edges[1:], num_labels)),
        ("score", "float32", scores.reshape(-1)),  # (N, K) -> (N*K,)
        ("is_unknown", "bool", unknown),
    ]


def _video(predictions: VideoPredictions, outcome: Outcome) -> Columns:
    provenance, novelty = predictions.provenance, predictions.novelty
    return [
        ("name", "string", [printable(outcome.name)]),
        ("path", "string", [printable(predictions.path)]),
        ("digest", "string", [outcome.digest]),
        ("bytes", "int64", [outcome.num_bytes]),
        ("status", "string", ["partial" if predictions.is_partial else "ok"]),
        ("message", "string", ["; ".join(predictions.warnings)]),
        ("duration_seconds", "float64", [predictions.duration_seconds]),
        ("width", "int64", [predictions.width]),
        ("height", "int64", [predictions.height]),
        ("num_segments", "int64", [len(predictions.segments)]),
        ("novelty_share", "float64", [novelty and novelty.share]),
        ("unknown_share", "float64", [novelty and predictions.timeline.unknown_share]),
        ("is_unlike_training", "bool", [novelty and novelty.is_unlike]),
        ("provenance_digest", "string", [provenance_digest(provenance)]),
        ("provenance", "string", [json.dumps(provenance)]),
    ]
