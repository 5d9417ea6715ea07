"""Whether a heat map shows what a score rests on: deletion and insertion (Petsiuk et al. 2018).

Deletion takes away the parts of the frames that a map names first and watches the score fall;
insertion starts from blurred frames, puts these parts back and watches it rise
(arXiv:1806.07421). A good map has a small area under the first curve and a large one under the
second. Two things are different here:

- Every frame loses the same share of its own area, and the random maps that a map is compared with
  stand still, so that what is taken away flickers no more at random than by the map; to a model
  that looks at motion flicker is an event of its own.
- Curves are of log-odds, not of scores: between 0 and 1 a score of 0.02 and one of 0.0002 are
  alike, though the second is a hundred times surer.

What is taken away is replaced by the frame, blurred until no shape is left. The second look stays
where it was. Axes: T frames, F shares of the area, h w cells of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from msqnet.clips import Clip, Frames
from msqnet.video.transforms import evaluation_clip, looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from msqnet.config import ClipConfig
    from msqnet.predictions import FloatArray

AREA_SHARES = (0.05, 0.15, 0.3, 0.6)
"""Shares of each frame's area that are taken away or put back; close together where maps differ."""
_BLUR_CELLS = 6
_RANDOM_CELLS = 7
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of one map, in log-odds: means over the shares of the area.

    Attributes:
        deletion: smaller is better.
        insertion: larger is better.
    """

    deletion: float
    insertion: float

    @property
    def difference(self) -> float:
        """Insertion less deletion; larger is better."""
        return self.insertion - self.deletion


def random_map(num_frames: int, rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """A smooth random map that stands still: (T, rows, columns) float32 in [0, 1]."""
    noise = torch.from_numpy(rng.random((1, 1, _RANDOM_CELLS, _RANDOM_CELLS), dtype=np.float32))
    smooth = F.interpolate(noise, (rows, columns), mode="bilinear", align_corners=False)[0]
    return np.asarray(smooth.expand(num_frames, -1, -1).numpy())


def ranks(heat: FloatArray) -> FloatArray:
    """Share of a frame's cells that are hotter, for every cell: (T, h, w) -> (T, h, w) in [0, 1).

    Equal cells are ranked in the order of the frame.
    """
    flat = heat.reshape(len(heat), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(flat.shape[1])[None], axis=1)
    shares: FloatArray = (places / flat.shape[1]).astype(np.float32)
    return shares.reshape(heat.shape)


def areas(
    frames: Frames,
    heat: FloatArray,
    score: Callable[[Clip], float],
    config: ClipConfig,
    shares: Sequence[float] = AREA_SHARES,
) -> Areas:
    """Areas under deletion and insertion curve of one map.

    Args:
        frames: T frames of a window.
        heat: (T, h, w) float, the map in coordinates of the frame; only its order matters.
        score: of the label in [0, 1], for a clip.
        config: the model's own clip settings.
        shares: F shares of each frame's area, rising.
    """
    order = torch.from_numpy(ranks(heat))[:, None]  # (T, 1, h, w)
    order = F.interpolate(order, frames.pixels.shape[-2:], mode="nearest")
    blurred = blurred_beyond_shapes(frames.pixels)
    box = evaluation_clip(frames, config).motion_box

    def log_odds(is_kept: Tensor) -> float:
        mixed = Frames(torch.where(is_kept, frames.pixels, blurred), frames.pts_seconds)
        value = min(max(score(looked_at(mixed, config, box)), _LEAST_SCORE), 1 - _LEAST_SCORE)
        return float(np.log(value / (1 - value)))

    deletion = [log_odds(order >= share) for share in shares]
    insertion = [log_odds(order < share) for share in shares]
    width = shares[-1] - shares[0]
    return Areas(
        float(np.trapezoid(deletion, shares)) / width,
        float(np.trapezoid(insertion, shares)) / width,
    )


def blurred_beyond_shapes(pixels: Tensor) -> Tensor:
    """Frames of which only the distribution of light is left: (T, 3, H, W) uint8 -> the same."""
    coarse = F.interpolate(pixels.float(), (_BLUR_CELLS, _BLUR_CELLS), mode="area")
    smooth = F.interpolate(coarse, pixels.shape[-2:], mode="bilinear", align_corners=False)
    return smooth.round().clamp(0, 255).to(torch.uint8)
