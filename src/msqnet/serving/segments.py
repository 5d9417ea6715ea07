"""Segments of a stored result as a table, at any threshold."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np

from msqnet.config import SegmentConfig
from msqnet.inference.merge import segments_from_timeline
from msqnet.predictions import SEGMENT_COLUMNS, VideoPredictions
from msqnet.serving.refusals import Problem, Refusal

if TYPE_CHECKING:
    from pathlib import Path


def segments_csv(result: Path, threshold: float | None) -> str:
    """The table that `msqnet predict` writes.

    Args:
        result: JSON of a `VideoPredictions`.
        threshold: of all labels; None keeps the segments as they are.

    Raises:
        Refusal: the result was removed.
    """
    try:
        predictions = VideoPredictions.from_json(result.read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise Refusal(Problem("not_found", "the result was removed")) from error
    segments = list(predictions.segments)
    if threshold is not None:
        chosen = predictions.provenance["settings"]["segments"]
        segments = segments_from_timeline(
            predictions.timeline,
            predictions.labels,
            np.asarray(predictions.thresholds, dtype=np.float32),
            SegmentConfig(**{**chosen, "threshold": threshold}),
            single_label=predictions.single_label,
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SEGMENT_COLUMNS)
    for item in segments:
        writer.writerow(
            (predictions.path, item.label, item.start_seconds, item.end_seconds, item.score)
        )
    return text.getvalue()
