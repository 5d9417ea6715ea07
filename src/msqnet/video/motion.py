"""Where something moves: the second look of the model, without a detector and for any actor.

A small animal in a large frame fills a few of the trunk's 7x7 cells. Frame differences tell where
it is, whatever it is, so the model looks a second time at a square around them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.clips import WHOLE_FRAME, Box
from msqnet.config import MotionBoxConfig

_ANALYSIS_LONG_SIDE_PIXELS = 160


def motion_energy(pixels: Tensor, noise_levels: float) -> Tensor:
    """Thresholded absolute frame differences, summed over time.

    The median difference of each pair of frames is taken off first, so that a change of exposure
    is not motion.

    Args:
        pixels: (T, 3, H, W) uint8.
        noise_levels: differences below it become 0.

    Returns:
        (h, w) float32 at the analysis resolution; zeros for a single frame.
    """
    grey = pixels.float().mean(dim=1, keepdim=True)  # (T, 1, H, W)
    scale = min(1.0, _ANALYSIS_LONG_SIDE_PIXELS / max(grey.shape[-2:]))
    size = [max(1, round(side * scale)) for side in grey.shape[-2:]]
    grey = F.interpolate(grey, size, mode="area")[:, 0]  # (T, h, w)
    if len(grey) < 2:
        return grey.new_zeros(size)
    step = grey[1:] - grey[:-1]
    step = (step - step.flatten(1).median(dim=1).values[:, None, None]).abs()
    return torch.where(step < noise_levels, 0.0, step).sum(dim=0)


def _central_interval(energy: Tensor, share: float) -> tuple[float, float]:
    """Ends, as fractions of the axis, between which the central ``share`` of ``energy`` lies."""
    cumulative = torch.cumsum(energy.double(), 0) / energy.double().sum()
    tail = (1 - share) / 2
    first = int(torch.searchsorted(cumulative, torch.tensor(tail, dtype=torch.float64)))
    last = int(torch.searchsorted(cumulative, torch.tensor(1 - tail, dtype=torch.float64)))
    last = min(last, len(energy) - 1)
    return first / len(energy), (last + 1) / len(energy)


def _placed(centre: float, side: float, length: float) -> tuple[float, float]:
    """An interval of ``side`` around ``centre``, moved inside [0, ``length``], as fractions."""
    start = min(max(centre - side / 2, 0.0), length - side)
    return max(start / length, 0.0), min((start + side) / length, 1.0)


def motion_box(pixels: Tensor, config: MotionBoxConfig | None = None) -> Box:
    """The square that holds most of what moves in a clip.

    Args:
        pixels: (T, 3, H, W) uint8 frames of one clip, in order.
        config: thresholds; the defaults are those of the shipped model.

    Returns:
        A square in pixels, as fractions of the frame; the whole frame where nothing moves, where
        everything moves, or where the square would not be smaller than the frame's short side.
    """
    config = config or MotionBoxConfig()
    energy = motion_energy(pixels, config.noise_levels)
    moving_share = float((energy > 0).float().mean())
    if not config.min_moving_share <= moving_share <= config.max_moving_share:
        return WHOLE_FRAME
    height, width = pixels.shape[-2:]
    left, right = _central_interval(energy.sum(dim=0), config.energy_share)
    top, bottom = _central_interval(energy.sum(dim=1), config.energy_share)
    tight = max((right - left) * width, (bottom - top) * height)
    short_side = min(height, width)
    side = max(tight * config.margin, config.min_side_share * short_side)
    if side >= short_side:
        return WHOLE_FRAME
    x0, x1 = _placed((left + right) / 2 * width, side, width)
    y0, y1 = _placed((top + bottom) / 2 * height, side, height)
    return Box(x0, y0, x1, y1)
