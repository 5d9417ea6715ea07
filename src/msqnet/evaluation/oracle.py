"""The paper's released code's test on Charades, an oracle: ground truth chooses what is seen.

Frames without an annotated action are taken out of each test video before frames are sampled, and
the targets are the labels of the sampled frames alone. A figure on these rows says how well a model
does on moments that somebody has picked for it. Axes: T frames, K labels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import DatasetError
from msqnet.evaluation.rows import ScoredRows, evaluation_rows, rows_by_video
from msqnet.evaluation.views import score_clips
from msqnet.evaluation.whole_videos import VideoRows, joined_targets, needs_times
from msqnet.intervals import union
from msqnet.video.reader import open_video
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msqnet.clips import Clip
    from msqnet.data.records import ClipTable, Record
    from msqnet.inference.backends import Backend
    from msqnet.metrics.average_precision import FloatArray


def annotated_spans(video: VideoRows, duration_seconds: float) -> list[tuple[float, float]]:
    """Stretches in which some label is annotated, joined and in order.

    Args:
        video: rows of one video.
        duration_seconds: of the video; what lies behind is cut off.
    """
    spans = zip(video.rows.records, video.starts_seconds, video.ends_seconds, strict=True)
    return union(
        (float(start), min(float(end), duration_seconds))
        for record, start, end in spans
        if record.labels
    )


def oracle_times(spans: list[tuple[float, float]], num_frames: int) -> FloatArray:
    """Centres of T equal segments of what is left when all but the spans is cut out.

    Args:
        spans: (start, end) in seconds, in order, without overlap; at least one.
        num_frames: T.

    Returns:
        (T,) float64, rising, each inside of a span.
    """
    starts, ends = np.array(spans).T
    reached = np.cumsum(ends - starts)
    places = (np.arange(num_frames) + 0.5) / num_frames * reached[-1]
    span_of = np.searchsorted(reached, places, side="right")
    before = reached[span_of] - (ends - starts)[span_of]
    return np.asarray(starts[span_of] + (places - before))


def score_oracle(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredRows:
    """Scores of annotated moments of each video, one row a video.

    Args:
        table: rows with times; what they do not cover counts as without an action.
        backend: the model.
        batch_size: clips at a time; changes no score.
        progress: called with (videos done, videos with an action).

    Raises:
        DatasetError: no row has times, or no video an action.
        VideoError: a video cannot be read.
    """
    needs_times(table, "annotated actions with start and end")
    videos = rows_by_video(table)
    shown = {
        name: rows for name, rows in videos.items() if any(record.labels for record in rows.records)
    }
    if not shown:
        raise DatasetError(f"{table.path}: no row has a label; the oracle keeps nothing")
    targets: list[FloatArray] = []
    used: list[tuple[Record, float, float]] = []

    def clips() -> Iterator[Clip]:
        for rows in shown.values():
            clip, times, seen = _oracle_clip(rows, backend)
            targets.append(seen)
            used.append((rows.records[0], float(times[0]), float(times[-1])))
            yield clip

    def clips_done(number: int) -> None:
        if progress is not None:
            progress(number, len(shown))

    scores = score_clips(clips(), backend, batch_size=batch_size, progress=clips_done)
    chosen = replace(table, records=tuple(record for record, _, _ in used))
    num_left_out = len(videos) - len(shown)
    return ScoredRows(
        evaluation_rows(chosen, backend.labels, scores, np.stack(targets)),
        [record.row for record, _, _ in used],
        [first for _, first, _ in used],
        [last for _, _, last in used],
        (f"videos without an annotated action, which the oracle leaves out: {num_left_out}",),
    )


def _oracle_clip(rows: ClipTable, backend: Backend) -> tuple[Clip, FloatArray, FloatArray]:
    """The clip of one video, the (T,) times of its frames and the (K,) targets at these."""
    config = backend.clip_config
    path = rows.records[0].path
    with open_video(path, short_side_pixels=config.decode_short_side_pixels) as source:
        duration = source.duration_seconds
        video = VideoRows.gather(rows, backend.labels, duration)
        spans = annotated_spans(video, duration)
        if not spans:
            raise DatasetError(
                f"{path}: every annotated action starts after the end of the video at "
                f"{duration:g} s; correct its rows or drop them"
            )
        times = oracle_times(spans, config.num_frames)
        frames = source.frames_at(times.tolist())
    targets = joined_targets(video.targets_at(times, closed=False))
    return evaluation_clip(frames, config), times, targets
