"""Scores of the rows of a table, of one or several views each.

Views are clips spread over the time of a row, and crops spread over its frames.

In time, a row is cut into T equal segments, as for one clip. View i of n takes from each of them
the frame at (i + 0.5) / n of the segment: every view covers the whole time, and together they cover
it n times as densely. One view is the centre frames, those that training and prediction know.

In space, the short side is scaled to ``short_side_pixels`` as for the centre crop, and squares of
``size_pixels`` are cut at the left, the centre and the right; at the top, the centre and the bottom
of a video that is higher than wide.

Views are merged by the mean or the maximum of their scores, label by label, after the sigmoid or
the softmax; a maximum of softmax scores no longer sums to 1. Axes: V rows, K labels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from msqnet.clips import WHOLE_FRAME, Clip, Frames
from msqnet.config import ViewConfig
from msqnet.data.dataset import iter_batches, iter_clips, read_window
from msqnet.errors import ConfigError, ShapeError
from msqnet.inference.backends import clip_scores
from msqnet.model.computing import resolve_device
from msqnet.model.out_of_distribution import clip_embeddings
from msqnet.video.transforms import evaluation_clip, resize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msqnet.config import ClipConfig
    from msqnet.data.records import ClipTable, Record
    from msqnet.inference.backends import Backend
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import FloatArray


def check_views(views: ViewConfig, config: ClipConfig) -> None:
    """Refuse 3 crops for a model that sees the whole frame anyway, with a `ConfigError`."""
    if views.crops == 1:
        return
    if config.resize == "stretch":
        raise ConfigError(
            f"crops {views.crops}: the model sees the whole frame, scaled to a square (resize "
            "stretch), so that nothing is left for other crops to show; set crops to 1"
        )
    if config.closeup:
        raise ConfigError(
            f"crops {views.crops}: the model takes a close-up from the whole frame, which would be "
            "the same in every crop and count three times; set crops to 1"
        )


def read_views(record: Record, config: ClipConfig, num_clips: int) -> list[Frames]:
    """The T frames of every temporal view of a row, in order of time; decoded once.

    Errors are those of `read_window`.
    """
    # The centres of n T segments are the times of all views, one view after the other in turns.
    dense = read_window(record, replace(config, num_frames=config.num_frames * num_clips))
    return [
        Frames(dense.pixels[view::num_clips], dense.pts_seconds[view::num_clips], dense.sound)
        for view in range(num_clips)
    ]


def view_clips(frames: Frames, config: ClipConfig, crops: int) -> list[Clip]:
    """The spatial views of one temporal view, from left to right or from top to bottom."""
    if crops == 1:
        return [evaluation_clip(frames, config)]
    height, width = frames.pixels.shape[-2:]
    scale = config.short_side_pixels / min(height, width)
    pixels = resize(frames.pixels, max(round(height * scale), 1), max(round(width * scale), 1))
    side = config.size_pixels
    down, right = pixels.shape[-2] - side, pixels.shape[-1] - side
    # Both ends and the centre of the long side.
    places = [(down // 2, left) for left in (0, right // 2, right)]
    if height > width:
        places = [(top, right // 2) for top in (0, down // 2, down)]
    squares = [pixels[..., top : top + side, left : left + side] for top, left in places]
    pts_seconds, sound = frames.pts_seconds, frames.sound
    return [Clip(square, None, WHOLE_FRAME, pts_seconds, sound) for square in squares]


def score_rows(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    views: ViewConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Scores of every row, from the same clips and the same backend as prediction.

    By default each row has one view: T frames at the centres of T equal segments, of the window in
    its middle where it is long and its labels hold throughout. The batch size
    changes no score. ``progress`` is called with (rows done, rows in all).

    Returns:
        (V, K) float32 in [0, 1].

    Raises:
        ConfigError: views that the model cannot be given.
        VideoError: a video cannot be read; no row is left out silently.
        DatasetError: a row starts after the end of its video.
    """
    views = views or ViewConfig()
    config = backend.clip_config
    check_views(views, config)

    def clips_done(num_clips: int) -> None:
        if progress is not None:
            progress(num_clips // views.num_views, len(table))

    # The crops of the first temporal view of a row, then those of the second, ...
    clips = (
        clip
        for record in table.records
        for frames in read_views(
            record.windows(backend.window_seconds, 1)[0], config, views.num_clips
        )
        for clip in view_clips(frames, config, views.crops)
    )
    scores = score_clips(clips, backend, batch_size=batch_size, progress=clips_done)
    return merge_views(scores, views)


def score_clips(
    clips: Iterable[Clip],
    backend: Backend,
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> FloatArray:
    """(N, K) float32 scores of clips in their order, read a batch at a time.

    ``progress`` is called with the number of clips done.
    """
    parts: list[FloatArray] = []
    num_done = 0
    for batch in iter_batches(clips, batch_size):
        parts.append(clip_scores(backend, batch))
        num_done += len(batch.pixels)
        if progress is not None:
            progress(num_done)
    return np.concatenate(parts) if parts else np.zeros((0, len(backend.labels)), np.float32)


def merge_views(scores: FloatArray, views: ViewConfig) -> FloatArray:
    """Scores of rows from those of their views, label by label; of one view, exactly its scores.

    (V * num_views, K) float32, the views of a row one below the other, to (V, K) float32; a
    `ShapeError` for another number of scores.
    """
    if len(scores) % views.num_views:
        raise ShapeError(f"{len(scores)} scores are not {views.num_views} for each row")
    grouped = scores.reshape(-1, views.num_views, scores.shape[1])  # (V, num_views, K)
    if views.merge == "max":
        return np.asarray(grouped.max(axis=1))
    return np.asarray(grouped.mean(axis=1, dtype=np.float64), dtype=np.float32)


def row_outputs(
    table: ClipTable,
    model: MSQNet,
    *,
    device: str = "auto",
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Logits and embeddings of every row, one view per row.

    The first are (V, K) float32, not calibrated, the others (V, D) float32, see
    `msqnet.model.out_of_distribution.clip_embeddings`. The model is prepared for inference. The
    batch size changes nothing but rounding; ``progress`` is called with (rows done, rows in all).
    Errors are those of `score_rows`, and a `ConfigError` for a device that cannot be used.
    """
    torch.nn.Module.to(model, resolve_device(device))
    model.prepare_for_inference()
    logits, embeddings = [], []
    clips = iter_clips(table.records, model.config.clip_config)
    num_done = 0
    for batch in iter_batches(clips, batch_size):
        with torch.inference_mode():
            found = model(**batch.inputs())
        logits.append(found.logits.float().cpu().numpy())
        embeddings.append(clip_embeddings(model, found).cpu().numpy())
        num_done += len(batch.pixels)
        if progress is not None:
            progress(num_done, len(table))
    return np.concatenate(logits), np.concatenate(embeddings)
