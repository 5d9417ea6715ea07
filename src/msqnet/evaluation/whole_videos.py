"""Protocols on whole videos: one score per video, scores at points in time, the Charades oracle.

The oracle is the paper's released code's test on Charades: ground truth chooses what the model
sees. Frames without an annotated action are removed from each test video before frames are sampled,
and the targets are the labels of the sampled frames alone. A metric on these rows says how well a
model does on moments that somebody has picked for it.

Axes: M points, R table rows of one video, T frames, K labels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.errors import DatasetError, UnreadableVideo
from msqnet.evaluation.scored_rows import EvaluationRows, rows_by_video
from msqnet.evaluation.views import score_clips
from msqnet.intervals import intersect, union
from msqnet.labels import UNKNOWN
from msqnet.video.reader import open_video
from msqnet.video.sound import with_sound
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike

    from msqnet.clips import Clip
    from msqnet.data.records import ClipTable, Record
    from msqnet.inference.backends import Backend
    from msqnet.inference.predictor import Predictor
    from msqnet.labels import LabelSet
    from msqnet.metrics.average_precision import FloatArray
    from msqnet.predictions import VideoPredictions

NUM_POINTS = 25
"""Points a video of Charades' localisation protocol."""


def targets_at(
    times_seconds: FloatArray,
    rows: ClipTable,
    labels: LabelSet,
    *,
    closed: bool,
) -> FloatArray:
    """(M,) times to (M, K) of 1, 0 and `UNKNOWN`: 1 where any row that covers a time shows it.

    ``rows`` are those of one video; with ``closed`` a row holds at its end too.
    """
    times = np.asarray(times_seconds)[:, None]  # (M, 1)
    starts, ends = np.array([record.interval for record in rows.records]).T  # (R,) each
    covers = (starts <= times) & ((times <= ends) if closed else (times < ends))  # (M, R)
    targets = rows.targets(labels)  # (R, K)
    is_positive = covers.astype(np.float64) @ (targets == 1) > 0
    is_known = covers.astype(np.float64) @ (targets != UNKNOWN) > 0
    return np.where(is_positive, 1.0, np.where(is_known, 0.0, UNKNOWN))


def joined_targets(targets: ArrayLike) -> FloatArray:
    """(R, K) targets to (K,): 1 where any is 1, 0 where all are 0, else `UNKNOWN`."""
    is_negative = np.all(np.equal(targets, 0), axis=0)
    is_positive = np.any(np.equal(targets, 1), axis=0)
    return np.where(is_positive, 1.0, np.where(is_negative, 0.0, UNKNOWN))


def point_times(length_seconds: float, num_points: int = NUM_POINTS) -> FloatArray:
    """(M,) float64: 0, 1/M, ... (M - 1)/M of the length."""
    # In this order, as in Charades_v1_localize.m: some points fall on the end of an action exactly.
    return np.asarray(np.arange(num_points) / num_points * length_seconds)


def score_windows(
    table: ClipTable,
    predictor: Predictor,
    merge: Literal["mean", "max"],
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationRows:
    """One score for each whole video: that of its windows, merged label by label.

    A label of any of a video's rows is one of the video's. ``progress`` is called with (videos
    done, videos in all). A video that cannot be read as a whole is a `VideoError`.
    """
    scores, targets, videos = [], [], []
    labels = predictor.backend.labels
    for rows, result in _predicted(table, predictor, progress):
        windows = np.stack([window.scores for window in result.windows])  # (W, K)
        scores.append(windows.max(axis=0) if merge == "max" else windows.mean(axis=0))
        targets.append(joined_targets(rows.targets(labels)))
        videos.append(replace(rows.records[0], start_seconds=None, end_seconds=None))
    table = replace(table, records=tuple(videos))
    return EvaluationRows(labels, np.stack(scores), np.stack(targets), table)


def score_points(
    table: ClipTable,
    predictor: Predictor,
    num_points: int = NUM_POINTS,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationRows:
    """Scores at ``num_points`` equally spaced points of each video, read off its timeline.

    The length of a video is where its last row ends: the annotated one. A row holds from its start
    to its end, both included. Rows must cover each video to its annotated end, background included.
    ``progress`` is called with (videos done, videos in all). Rows without times, or a point behind
    the end of its video, are a `DatasetError`; a video that cannot be read as a whole, a
    `VideoError`.
    """
    _check_times(table, "rows that cut each video into pieces")
    scores, targets, records = [], [], []
    labels = predictor.backend.labels
    for rows, result in _predicted(table, predictor, progress):
        first, duration = rows.records[0], result.duration_seconds
        ends = [record.end_seconds for record in rows.records]
        end = max(duration if end is None else end for end in ends)
        points = point_times(end, num_points)
        if points[-1] >= duration:
            raise DatasetError(
                f"{first.path}: its rows end at {end:g} s, but the video at {duration:g} s, before "
                "the last point; correct the rows or the file"
            )
        scores.append(result.timeline.scores_at(points))
        targets.append(targets_at(points, rows, labels, closed=True))
        records += [replace(first, start_seconds=t, end_seconds=t) for t in points.tolist()]
    table = replace(table, records=tuple(records))
    return EvaluationRows(labels, np.concatenate(scores), np.concatenate(targets), table)


def _check_times(table: ClipTable, what: str) -> None:
    if all(r.start_seconds is None and r.end_seconds is None for r in table.records):
        raise DatasetError(
            f"{table.path}: no row has start or end; this protocol needs {what}, for instance "
            "from 'msqnet convert ... --option level=pieces'"
        )


def _predicted(
    table: ClipTable, predictor: Predictor, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[ClipTable, VideoPredictions]]:
    """The rows of each video and what is predicted for all of it."""
    videos = rows_by_video(table)
    for number, (name, rows) in enumerate(videos.items(), start=1):
        result = predictor(rows.records[0].path, fps=rows.records[0].fps)
        if result.is_partial:
            raise UnreadableVideo(
                f"{name}: {'; '.join(result.notes)}; an evaluation needs whole videos: repair the "
                "file or drop its rows"
            )
        yield rows, result
        if progress is not None:
            progress(number, len(videos))


def annotated_spans(rows: ClipTable, duration_seconds: float) -> list[tuple[float, float]]:
    """Intervals in which some label is annotated, joined, in order, and cut off at the end."""
    spans = [record.interval for record in rows.records if record.labels]
    return union((start, min(end, duration_seconds)) for start, end in spans)


def oracle_times(spans: list[tuple[float, float]], num_frames: int) -> FloatArray:
    """Centres of T equal segments of what is left when all but the spans is cut out.

    ``spans`` are at least one (start, end) in seconds, in order, without overlap; the times, (T,)
    float64, rise, and each is inside of a span.
    """
    starts, ends = np.array(spans).T
    lengths = ends - starts
    reached = np.cumsum(lengths)
    places = (np.arange(num_frames) + 0.5) / num_frames * reached[-1]
    span_of = np.searchsorted(reached, places, side="right")
    before = reached[span_of] - lengths[span_of]
    return np.asarray(starts[span_of] + (places - before))


def score_oracle(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationRows:
    """Scores of annotated moments of each video, one row a video.

    Time that no row covers counts as without an action. The batch size changes no score;
    ``progress`` is called with (videos done, videos with an action). Rows without times, or videos
    without an action, are a `DatasetError`; a video that cannot be read, a `VideoError`.
    """
    _check_times(table, "annotated actions with start and end")
    videos = rows_by_video(table).values()
    shown = [rows for rows in videos if any(record.labels for record in rows.records)]
    if not shown:
        raise DatasetError(f"{table.path}: no row has a label; the oracle keeps nothing")
    targets: list[FloatArray] = []
    records: list[Record] = []

    def clips() -> Iterator[Clip]:
        for rows in shown:
            clip, times, seen = _oracle_clip(rows, backend)
            targets.append(seen)
            start, end = float(times[0]), float(times[-1])
            records.append(replace(rows.records[0], start_seconds=start, end_seconds=end))
            yield clip

    def clips_done(number: int) -> None:
        if progress is not None:
            progress(number, len(shown))

    scores = score_clips(clips(), backend, batch_size=batch_size, progress=clips_done)
    num_left_out = len(videos) - len(shown)
    note = f"videos without an annotated action, which the oracle leaves out: {num_left_out}"
    table = replace(table, records=tuple(records))
    return EvaluationRows(backend.labels, scores, np.stack(targets), table, (note,))


def _oracle_clip(rows: ClipTable, backend: Backend) -> tuple[Clip, FloatArray, FloatArray]:
    """The clip of one video, the (T,) times of its frames and the (K,) targets at these."""
    config = backend.clip_config
    path = rows.records[0].path
    short_side, fps = config.decode_short_side_pixels, rows.records[0].fps
    with open_video(path, short_side_pixels=short_side, fps=fps) as source:
        duration = source.end_seconds
        spans = intersect(annotated_spans(rows, duration), source.shown_intervals)
        if not spans:
            raise DatasetError(
                f"{path}: no annotated action is in its pictures, which end at {duration:g} s; "
                "correct its rows or drop them"
            )
        times = oracle_times(spans, config.num_frames)
        frames = source.frames_at(times.tolist())
        frames = with_sound(frames, source, float(times[0]), float(times[-1]), config)
    targets = targets_at(times, rows, backend.labels, closed=False)
    return evaluation_clip(frames, config), times, joined_targets(targets)
