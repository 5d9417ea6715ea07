"""Predictions with chosen scores, for what draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msqnet.config import SegmentConfig
from msqnet.inference.merge import segments_from_timeline
from msqnet.labels import LabelSet
from msqnet.predictions import Timeline, VideoPredictions, WindowScores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THRESHOLD = 0.5


def predictions_of(
    scores: Mapping[str, Sequence[float]], *, step_seconds: float = 1.0
) -> VideoPredictions:
    """Predictions whose label scores are given for each step of time; every threshold is 0.5."""
    labels = LabelSet(tuple(scores))
    columns = np.array(list(scores.values()), dtype=np.float32).T  # (N, K)
    edges = np.arange(len(columns) + 1) * step_seconds
    timeline = Timeline(edges, columns)
    thresholds = np.full(len(labels), THRESHOLD, np.float32)
    config = SegmentConfig(max_gap_seconds=0)
    return VideoPredictions(
        path="clip.mp4",
        labels=labels,
        duration_seconds=float(edges[-1]),
        width=640,
        height=480,
        window_seconds=step_seconds,
        stride_seconds=step_seconds,
        windows=tuple(
            WindowScores(start, end, row)
            for start, end, row in zip(edges, edges[1:], columns, strict=False)
        ),
        timeline=timeline,
        segments=tuple(segments_from_timeline(timeline, labels, thresholds, config)),
        thresholds=tuple(thresholds),
    )
