"""Evaluate a model by a named protocol: rows of a table, or the timelines of whole videos."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ConfigError, DatasetError, VocabularyError
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.row_metrics import evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows, rows_by_video
from msqnet.evaluation.views import score_rows
from msqnet.evaluation.whole_videos import score_oracle, score_points, score_windows
from msqnet.files import plain
from msqnet.intervals import SAME_TIME_SECONDS, Interval, intersect, subtract
from msqnet.metrics.average_precision import charades_classify_map, charades_localize_map
from msqnet.metrics.classification import hit_at_1
from msqnet.metrics.timed_labels import (
    TimedLabel,
    per_second_metrics,
    per_second_scores,
    per_second_targets,
    point_targets,
    segment_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import ArrayLike, NDArray

    from msqnet.config import ViewChoice, ViewConfig
    from msqnet.data.records import ClipTable, Record
    from msqnet.evaluation.protocols import Protocol
    from msqnet.evaluation.row_metrics import EvaluationResult
    from msqnet.inference.backends import Backend
    from msqnet.inference.predictor import Predictor
    from msqnet.labels import LabelSet
    from msqnet.predictions import VideoPredictions

PROTOCOL_METRICS: dict[str, tuple[Callable[[ArrayLike, ArrayLike], float], str]] = {
    "hit_at_1": (
        hit_at_1,
        "Share of rows with a label whose highest score is that of one of their labels.",
    ),
    "charades_classify_map": (
        charades_classify_map,
        "Mean average precision over the model's labels that the rows show, as "
        "Charades_v1_classify.m computes it: videos without an action rank below all others.",
    ),
    "charades_localize_map": (
        charades_localize_map,
        "Mean average precision over points and the model's labels that they show, as "
        "Charades_v1_localize.m computes it: actions at impossible times count as absent.",
    ),
}
"""Metrics that are given only where a protocol names them, by their key in `metrics.json`: a
function of scores (V, K) and targets (V, K) of 1, 0 and `UNKNOWN`, and its meaning."""

# Of timelines and of their truth; films have 25 to 30, and annotation is no finer than this.
_FRAMES_A_SECOND = 10
_NOT_IN_MODEL = (
    "the model does not have this label (an open-vocabulary model is asked for it by --labels)"
)


def missing_labels(table: ClipTable, backend: Backend, *, strict: bool) -> dict[str, str]:
    """Labels of the table that the model lacks, with the reason; an error if ``strict``."""
    missing = [name for name in table.label_names() if name not in backend.labels]
    if missing and strict:
        raise VocabularyError(
            f"{table.path}: the model does not have the label(s) {', '.join(missing)}; "
            "train it on them, or leave --strict-labels off to have them listed as not scored"
        )
    return dict.fromkeys(missing, _NOT_IN_MODEL)


def evaluate_protocol(
    table: ClipTable,
    predictor: Predictor,
    protocol: Protocol,
    *,
    views: ViewChoice | None = None,
    batch_size: int = 8,
    strict_labels: bool = False,
    num_bootstrap: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvaluationResult, EvaluationRows]:
    """Evaluate a model on a table by a protocol, except `timeline`, see `evaluate_timelines`.

    ``views`` stand in for the protocol's own, where its scores are not over time. With
    ``strict_labels`` a label that the model lacks is an error. ``batch_size`` changes no metric,
    ``num_bootstrap`` are the resamples for the intervals, and ``progress`` is called with (rows or
    videos done, rows or videos in all).

    Returns:
        The metrics with ``protocol`` among them, and the scores behind them.

    Raises:
        ConfigError: views that the protocol or the model has no use for.
        DatasetError: rows of another kind than the protocol scores.
        VocabularyError: see `missing_labels`.
        VideoError: a video cannot be read.
    """
    chosen = protocol.views_with(views)
    backend = predictor.backend
    missing = missing_labels(table, backend, strict=strict_labels)
    rows = _score(table, predictor, protocol, chosen, batch_size, progress)
    has_top_k = backend.single_label if protocol.has_top_k is None else protocol.has_top_k
    result = evaluate_rows(
        rows,
        thresholds=backend.thresholds,
        train_positive_windows=backend.train_positive_windows,
        train_negative_windows=backend.train_negative_windows,
        single_label=has_top_k,
        num_bootstrap=num_bootstrap,
        labels_not_in_model=missing,
    )
    description = protocol.describe(chosen)
    if protocol.unit in ("windows", "points"):
        description["window_seconds"] = predictor.window_seconds
        description["stride_seconds"] = predictor.stride_seconds
    names = [n for n in (protocol.headline, *protocol.beside) if n in PROTOCOL_METRICS]
    meanings = {name: PROTOCOL_METRICS[name][1] for name in names}
    metrics = {
        "protocol": description,
        **result.metrics,
        **{name: PROTOCOL_METRICS[name][0](rows.scores, rows.targets) for name in names},
        "notes": rows.notes,
        "definitions": result.metrics["definitions"] | meanings,
    }
    note = {"protocol": protocol.name, "protocol_definition": protocol.definition}
    per_label = [row | note for row in result.per_label]
    return replace(result, metrics=plain(metrics), per_label=per_label), rows


def _score(
    table: ClipTable,
    predictor: Predictor,
    protocol: Protocol,
    views: ViewConfig | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> EvaluationRows:
    backend = predictor.backend
    if protocol.unit == "oracle":
        return score_oracle(table, backend, batch_size=batch_size, progress=progress)
    if protocol.unit == "points":
        return score_points(table, predictor, progress=progress)
    if views is None:
        raise ConfigError(f"protocol {protocol.name}: evaluate_timelines gives its metrics")
    if protocol.unit == "windows":
        return score_windows(table, predictor, views.merge, progress)
    if protocol.unit == "videos":
        timed = [r.place for r in table.records if (r.start_seconds, r.end_seconds) != (None, None)]
        if timed:
            raise DatasetError(
                f"{table.path}: {timed[0]} has start or end, and so have {len(timed)} rows in "
                f"all; protocol {protocol.name} scores whole videos, for instance from "
                "'msqnet convert ... --option level=videos'"
            )
    scores = score_rows(table, backend, batch_size=batch_size, views=views, progress=progress)
    return EvaluationRows(backend.labels, scores, table.targets(backend.labels), table)


def video_truth(
    name: str,
    records: Sequence[Record],
    labels: LabelSet,
    shown: Sequence[Interval],
    *,
    scored: Collection[str],
) -> tuple[list[TimedLabel], list[TimedLabel]]:
    """The truth of one video from its rows; rows without times hold for the whole video.

    Intervals in which a label holds, touching and overlapping rows joined; and intervals without
    pictures, that no row covers, or only rows that do not know the label. ``shown`` are those with
    pictures. Labels that are not among ``scored`` are unknown throughout.
    """
    truths: list[TimedLabel] = []
    unknown: list[TimedLabel] = []
    duration = shown[-1][1]
    for index, label in enumerate(labels):
        positive, known = [], []
        for record in records if label in scored else ():
            start, end = record.interval
            interval = (start, min(end, duration))
            if label in record.labels:
                positive.append(interval)
            if record.annotated is None or label in record.labels or label in record.annotated:
                known.append(interval)
        truths += [TimedLabel(name, index, *interval) for interval in intersect(positive, shown)]
        gaps = subtract([(0.0, duration)], intersect(known, shown))
        unknown += [TimedLabel(name, index, *interval) for interval in gaps]
    return truths, unknown


@dataclass
class _Moments:
    """Scores and targets, (N, K) of each video, of so many moments a second."""

    a_second: int = 1
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    targets: list[NDArray[np.float64]] = field(default_factory=list)

    def metrics(self, labels: LabelSet, thresholds: ArrayLike) -> dict[str, Any]:
        found = per_second_metrics(
            np.concatenate(self.scores), np.concatenate(self.targets), thresholds
        )
        found["num_known_seconds"] //= self.a_second
        return found | {"label_ap": dict(zip(labels, found["label_ap"], strict=True))}


def evaluate_timelines(
    table: ClipTable,
    predictor: Predictor,
    *,
    strict_labels: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Any], list[VideoPredictions]]:
    """Predict whole videos and score their timelines against rows with start and end.

    Only labels that the model was trained on count. Time that no row covers was not annotated: it
    counts neither as right nor as wrong. Neither do labels that the rows of that time do not know.
    With ``strict_labels`` a label that the model lacks is an error; ``progress`` is called with
    (videos done, videos in all). Rows without times are a `DatasetError`, a video that cannot be
    read a `VideoError`. Beside the predictions it returns metrics as plain values: per second, by
    segments, with counts.
    """
    if not any(r.start_seconds is not None or r.end_seconds is not None for r in table.records):
        raise DatasetError(f"{table.path}: no row has start or end; --protocol timeline needs them")
    by_name = rows_by_video(table)
    not_scored = missing_labels(table, predictor.backend, strict=strict_labels)
    labels = predictor.backend.labels
    counts = predictor.backend.train_positive_windows or [1] * len(labels)
    trained = [name for name, count in zip(labels, counts, strict=True) if count]
    seconds, frames = _Moments(), _Moments(_FRAMES_A_SECOND)
    results = []
    ends: dict[str, float] = {}
    predicted: list[TimedLabel] = []
    truths: list[TimedLabel] = []
    unknown: list[TimedLabel] = []
    for number, (name, rows) in enumerate(by_name.items(), start=1):
        result = predictor(rows.records[0].path, fps=rows.records[0].fps)
        end = ends[name] = result.shown[-1][1]
        true, masked = video_truth(name, rows.records, labels, result.shown, scored=trained)
        num_seconds = math.ceil(end - SAME_TIME_SECONDS)
        timeline = result.timeline
        seconds.scores.append(
            per_second_scores(timeline.edges_seconds, timeline.scores, num_seconds)
        )
        seconds.targets.append(
            per_second_targets(true, masked, num_seconds=num_seconds, num_labels=len(labels))
        )
        times = (np.arange(end * _FRAMES_A_SECOND) + 0.5) / _FRAMES_A_SECOND
        frames.scores.append(timeline.scores_at(times).astype(np.float64))
        frames.targets.append(point_targets(true, masked, times, num_labels=len(labels)))
        truths += true
        unknown += masked
        predicted += [
            TimedLabel(name, labels.index(s.label), s.start_seconds, s.end_seconds, s.score)
            for s in result.segments
        ]
        results.append(result)
        if progress is not None:
            progress(number, len(by_name))
    metrics = {
        "protocol": PROTOCOLS["timeline"].describe(None),
        "num_videos": len(by_name),
        "not_scored": not_scored,
        "window_seconds": predictor.window_seconds,
        "stride_seconds": predictor.stride_seconds,
        "per_second": seconds.metrics(labels, predictor.thresholds),
        "per_frame": frames.metrics(labels, predictor.thresholds),
        "segments": segment_metrics(
            predicted, truths, unknown, num_labels=len(labels), end_seconds=ends
        ),
    }
    return plain(metrics), results
