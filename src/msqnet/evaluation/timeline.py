"""Timelines of whole videos against rows with start and end.

What no row covers was not annotated: it counts neither as right nor as wrong. Neither do labels
that the rows of that time do not know.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import DatasetError
from msqnet.evaluation.evaluate import missing_labels
from msqnet.evaluation.plain import plain
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.rows import rows_by_video
from msqnet.intervals import SAME_TIME_SECONDS, subtract, union
from msqnet.metrics.segments import segment_metrics
from msqnet.metrics.timed_labels import TimedLabel
from msqnet.metrics.timeline import per_second_metrics, per_second_scores, per_second_targets
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from msqnet.data.records import ClipTable, Record
    from msqnet.inference.predictor import Predictor
    from msqnet.labels import LabelSet
    from msqnet.predictions import VideoPredictions


@dataclass(frozen=True)
class VideoTruth:
    """What is known of one video.

    Attributes:
        path: the file.
        name: as the table writes it.
        truths: stretches in which a label holds; touching and overlapping rows are joined.
        unknown: stretches in which nothing is known of a label.
    """

    path: Path
    name: str
    truths: tuple[TimedLabel, ...]
    unknown: tuple[TimedLabel, ...]


def video_truth(
    name: str,
    records: list[Record],
    labels: LabelSet,
    duration_seconds: float,
    *,
    scored: Collection[str],
) -> VideoTruth:
    """The truth of one video from its rows; rows without times hold for the whole video.

    Args:
        name: of the video.
        records: its rows.
        labels: columns.
        duration_seconds: of the video.
        scored: labels that count; the others are unknown all along.
    """
    truths: list[TimedLabel] = []
    unknown: list[TimedLabel] = []
    for index, label in enumerate(labels):
        positive, known = [], []
        for record in records:
            end = duration_seconds if record.end_seconds is None else record.end_seconds
            span = (record.start_seconds or 0.0, min(end, duration_seconds))
            if span[1] <= span[0]:
                continue
            if label not in scored:
                continue
            if label in record.labels:
                positive.append(span)
            if record.annotated is None or label in record.labels or label in record.annotated:
                known.append(span)
        truths += [TimedLabel(name, index, *span) for span in union(positive)]
        gaps = subtract([(0.0, duration_seconds)], known)
        unknown += [TimedLabel(name, index, *span) for span in gaps]
    return VideoTruth(records[0].path, name, tuple(truths), tuple(unknown))


def evaluate_timelines(
    table: ClipTable,
    predictor: Predictor,
    *,
    strict_labels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], list[VideoPredictions]]:
    """Predict whole videos and score their timelines.

    Only labels that the model was trained on and that the rows show count.

    Args:
        table: rows, of which at least one has a start or an end.
        predictor: the model with its window and segment settings.
        strict_labels: a label of the table that the model lacks is an error.
        progress: called with (videos done, videos in all).

    Returns:
        Figures as plain values: per second, by segments, with counts; and the predictions.

    Raises:
        DatasetError: no row has times.
        VideoError: a video cannot be read.
    """
    if not any(r.start_seconds is not None or r.end_seconds is not None for r in table.records):
        raise DatasetError(f"{table.path}: no row has start or end; --timeline needs them")
    by_name = rows_by_video(table)
    not_scored = missing_labels(table, predictor.backend, strict=strict_labels)
    labels = predictor.backend.labels
    counts = predictor.backend.train_positive_windows
    trained = [name for name, n in zip(labels, counts or [1] * len(labels), strict=True) if n]
    scores, targets, results = [], [], []
    predicted: list[TimedLabel] = []
    truths: list[TimedLabel] = []
    unknown: list[TimedLabel] = []
    for number, (name, rows) in enumerate(by_name.items(), start=1):
        records = list(rows.records)
        result = predictor(records[0].path)
        truth = video_truth(name, records, labels, result.duration_seconds, scored=trained)
        num_seconds = int(np.ceil(result.duration_seconds - SAME_TIME_SECONDS))
        timeline = result.timeline
        scores.append(per_second_scores(timeline.edges_seconds, timeline.scores, num_seconds))
        targets.append(
            per_second_targets(
                truth.truths, truth.unknown, num_seconds=num_seconds, num_labels=len(labels)
            )
        )
        truths += truth.truths
        unknown += truth.unknown
        predicted += [
            TimedLabel(name, labels.index(s.label), s.start_seconds, s.end_seconds, s.score)
            for s in result.segments
        ]
        results.append(result)
        if progress is not None:
            progress(number, len(by_name))
    seconds = per_second_metrics(
        np.concatenate(scores), np.concatenate(targets), predictor.thresholds
    )
    segments = segment_metrics(predicted, truths, unknown, num_labels=len(labels))
    figures = {
        "protocol": PROTOCOLS["timeline"].describe(None),
        "num_videos": len(by_name),
        "not_scored": not_scored,
        "window_seconds": predictor.window_seconds,
        "stride_seconds": predictor.stride_seconds,
        "per_second": plain(
            {
                "macro_map": seconds.macro_map,
                "macro_f1": seconds.macro_f1,
                "num_known_seconds": int(seconds.num_known_seconds.max(initial=0)),
                "num_labels_scored": int((~np.isnan(seconds.ap)).sum()),
                "label_ap": dict(zip(labels, seconds.ap, strict=True)),
            }
        ),
        "segments": plain(segments.to_dict()),
    }
    return figures, results


def write_figures(figures: dict[str, Any], path: Path) -> None:
    """Write ``timeline.json`` at once."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
