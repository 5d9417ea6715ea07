"""Where a model looked, in coordinates of the frame: what the looks of a clip saw, put in place.

Axes: K labels, G looks, T frames, h w cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from msqnet.clips import WHOLE_FRAME, Box
from msqnet.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.config import ClipConfig
    from msqnet.model.video_encoders.encoder import MemorySpans
    from msqnet.predictions import FloatArray, SecondsArray

LONG_SIDE_CELLS = 64
"""Cells along the long side of a map: finer than any encoder's patches, coarse enough to send."""


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Where a model looked for each label, over the frames of one clip.

    Attributes:
        labels: K names.
        maps: (K, T, h, w) float32 in [0, 1], in coordinates of the whole upright frame, as
            `stretched` scales them: labels can be compared in place, not in strength. What the
            model never sees (cut off at the edges) is 0.
        pts_seconds: (T,) float64, times of the frames, counted from the video's first one.
        scores: (K,) float32, the model's scores of the labels for this clip.

    Raises:
        ShapeError: the parts do not fit together.
    """

    labels: tuple[str, ...]
    maps: FloatArray
    pts_seconds: SecondsArray
    scores: FloatArray

    def __post_init__(self) -> None:
        expected = (len(self.labels), len(self.pts_seconds))
        if self.maps.ndim != 4 or self.maps.shape[:2] != expected:
            raise ShapeError(
                f"HeatMaps.maps: found {self.maps.shape}, expected (K, T, h, w) with K, T = "
                f"{expected}"
            )
        if self.scores.shape != expected[:1]:
            raise ShapeError(f"HeatMaps.scores: found {self.scores.shape}, expected {expected[:1]}")

    def at(self, time_seconds: float) -> FloatArray:
        """The maps (K, h, w) at a time, faded from one frame to the next."""
        place = np.interp(time_seconds, self.pts_seconds, np.arange(len(self.pts_seconds)))
        first = int(place)
        second = min(first + 1, len(self.pts_seconds) - 1)
        share = np.float32(place - first)
        return np.asarray(self.maps[:, first] * (1 - share) + self.maps[:, second] * share)


def aligned(maps: HeatMaps, other: HeatMaps) -> HeatMaps:
    """One model's maps at the times and on the cells of another's, which may see other frames.

    Args:
        maps: of the same stretch of the same video.
        other: whose times and cells count.
    """
    at_times = np.stack([maps.at(time) for time in other.pts_seconds.tolist()], axis=1)
    size = other.maps.shape[2:]
    if at_times.shape[2:] != size:
        cells = torch.from_numpy(at_times)
        at_times = np.asarray(F.interpolate(cells, size, mode="bilinear").numpy())
    return HeatMaps(maps.labels, at_times, other.pts_seconds, maps.scores)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the maps of a frame of ``width`` by ``height`` pixels."""
    scale = LONG_SIDE_CELLS / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def seen_box(width: int, height: int, config: ClipConfig) -> Box:
    """The part of a frame that the first look sees.

    Args:
        width: pixels of the upright frame.
        height: as ``width``.
        config: `crop` cuts a square from the centre, see `msqnet.video.transforms`.
    """
    if config.resize == "stretch":
        return WHOLE_FRAME
    side = config.size_pixels / config.short_side_pixels * min(width, height)
    across, down = side / width / 2, side / height / 2
    return Box(0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down)


def frames_from_steps(looks: Tensor, spans: MemorySpans, num_frames: int) -> Tensor:
    """Relevance of time steps to that of frames; a step shares its relevance among its frames.

    Args:
        looks: (K, G, T', h, w) float.
        spans: the frames of each memory item of the encoder; those of the T' time steps, whatever
            look they are of, tell which frames a step was made of.
        num_frames: T.

    Returns:
        (K, G, T, h, w) float.
    """
    steps = sorted({span for span in spans if span is not None})
    frames = looks.new_zeros(*looks.shape[:2], num_frames, *looks.shape[3:])
    for step, (first, end) in enumerate(steps):
        frames[:, :, first:end] += looks[:, :, step : step + 1] / (end - first)
    return frames


def in_frame(looks: Tensor, boxes: Sequence[Box], rows: int, columns: int) -> Tensor:
    """Put looks in place: density of relevance over the frame, the sum of all looks.

    A look at a part of the frame puts what it found on that part only, and so more densely.

    Args:
        looks: (K, G, T, h, w) float, relevance of the patches of each look.
        boxes: G parts of the frame that the looks saw.
        rows: of the result.
        columns: of the result.

    Returns:
        (K, T, rows, columns) float, interpolated between the centres of patches; 0 outside of the
        boxes.
    """
    num_labels, num_views, num_frames, height, width = looks.shape
    if len(boxes) != num_views:
        raise ShapeError(f"{num_views} looks with {len(boxes)} boxes; expected one for each")
    down = (torch.arange(rows, device=looks.device) + 0.5) / rows
    across = (torch.arange(columns, device=looks.device) + 0.5) / columns
    placed = looks.new_zeros(num_labels, num_frames, rows, columns)
    for look, box in enumerate(boxes):
        y = (down - box.top) / (box.bottom - box.top)  # in the look, 0 to 1 where it sees
        x = (across - box.left) / (box.right - box.left)
        inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))  # (rows, columns)
        y_grid, x_grid = torch.meshgrid(2 * y - 1, 2 * x - 1, indexing="ij")
        grid = torch.stack([x_grid, y_grid], dim=-1)  # (rows, columns, 2)
        patches = looks[:, look].flatten(0, 1)[:, None]  # (K*T, 1, h, w)
        sampled = F.grid_sample(
            patches,
            grid.expand(len(patches), -1, -1, -1).to(patches.dtype),
            padding_mode="border",
            align_corners=False,
        )
        area = (box.right - box.left) * (box.bottom - box.top) / (height * width)  # of a patch
        placed += (sampled[:, 0] * inside / area).unflatten(0, (num_labels, num_frames))
    return placed


def stretched(density: FloatArray) -> FloatArray:
    """Each label's density from its lowest (0) to its highest value (1), over all frames.

    Skip connections leave a part of the relevance everywhere, which tells nothing of a place.

    Args:
        density: (K, T, h, w) float, not negative; 0 where nothing was seen.

    Returns:
        (K, T, h, w) float32 in [0, 1]; 0 everywhere where a label's density is the same everywhere.
    """
    axes = (1, 2, 3)
    seen = np.where(density > 0, density, np.inf)
    lowest = np.minimum(seen.min(axis=axes, keepdims=True), density.max(axis=axes, keepdims=True))
    spread = density.max(axis=axes, keepdims=True) - lowest
    scaled = (density - lowest) / np.maximum(spread, np.finfo(np.float32).tiny)
    return np.asarray(scaled.clip(0, 1), dtype=np.float32)
