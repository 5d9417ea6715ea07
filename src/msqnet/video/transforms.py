"""From the frames of a window to a model input: crops, resizing, augmentation. uint8 in, uint8 out.

Each encoder normalizes for itself. One random draw holds for all frames of a clip.

A small animal in a large frame fills a few cells of a backbone's feature maps. Frame differences
find it without a detector, whatever it is, so some models also take a motion crop: the square
around what moves, at the model's size.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from msqnet.clips import WHOLE_FRAME, Box, Clip, Frames
from msqnet.config import MotionBoxConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msqnet.clips import Pixels
    from msqnet.config import AugmentationConfig, ClipConfig

_ANALYSIS_LONG_SIDE_PIXELS = 160
_MAX_LEVEL = 255.0
# Of brightness, contrast and saturation, as shares; of the hue, as a share of the full circle.
_LARGEST_CHANGES = (0.4, 0.4, 0.2)
_LARGEST_HUE_CHANGE = 0.1


def cut(pixels: Pixels, box: Box) -> Pixels:
    """The part of frames (T, 3, H, W) uint8 inside a box, at least one pixel: (T, 3, h, w), a view.

    Edges are rounded to whole pixels.
    """
    height, width = pixels.shape[-2:]
    top, left = round(box.top * height), round(box.left * width)
    bottom = max(round(box.bottom * height), top + 1)
    right = max(round(box.right * width), left + 1)
    return pixels[..., top:bottom, left:right]


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Bilinear with anti-aliasing: (T, 3, H, W) uint8 -> (T, 3, height, width) uint8."""
    if pixels.shape[-2:] == (height, width):
        return pixels
    resized = np.empty((*pixels.shape[:-2], height, width), np.uint8)
    for place in np.ndindex(pixels.shape[:-2]):
        plane = Image.fromarray(pixels[place])
        resized[place] = plane.resize((width, height), Image.Resampling.BILINEAR)
    return resized


def evaluation_clip(frames: Frames, config: ClipConfig) -> Clip:
    """The model input of a window, without randomness: (T, 3, S, S) pixels of frames of any size.

    The motion crop, where the model takes one, shows the whole frame where `motion_box` falls back
    to it. The number of frames is not checked here; the encoder does.
    """
    box = motion_box(frames.pixels, config.motion) if config.closeup else WHOLE_FRAME
    return clip_with_crop(frames, config, box)


def clip_with_crop(frames: Frames, config: ClipConfig, box: Box) -> Clip:
    """As `evaluation_clip`, with the motion crop at a given place, if the model takes one."""
    pixels = whole_view(frames.pixels, config)
    if not config.closeup:
        return Clip(pixels, None, WHOLE_FRAME, frames.pts_seconds, frames.sound)
    crop = motion_crop(frames.pixels, config, box)
    return Clip(pixels, crop, box, frames.pts_seconds, frames.sound)


def whole_view(pixels: Pixels, config: ClipConfig) -> Pixels:
    """Whole frames at the model's size, each on its own: (T, 3, H, W) uint8 -> (T, 3, S, S).

    `crop` scales the short side to `short_side_pixels` and cuts the central square (the paper).
    """
    side = config.size_pixels
    if config.resize == "stretch":
        return resize(pixels, side, side)
    height, width = pixels.shape[-2:]
    scale = config.short_side_pixels / min(height, width)
    pixels = resize(pixels, max(round(height * scale), 1), max(round(width * scale), 1))
    top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
    return np.ascontiguousarray(pixels[..., top : top + side, left : left + side])


def is_whole_view(box: Box, config: ClipConfig) -> bool:
    """Whether the motion crop of a box shows what `whole_view` shows, to the bit."""
    return box == WHOLE_FRAME and config.resize == "stretch"


def motion_crop(pixels: Pixels, config: ClipConfig, box: Box) -> Pixels:
    """The inside of a box at the model's size: (T, 3, H, W) uint8 -> (T, 3, S, S)."""
    size = config.size_pixels
    return np.ascontiguousarray(resize(cut(pixels, box), size, size))


def grey_levels(pixels: Pixels) -> NDArray[np.float32]:
    """Mean levels, 0 to 255, at the analysis resolution: (T, 3, H, W) uint8 -> (T, h, w)."""
    sums: NDArray[Any] = pixels
    scale = min(1.0, _ANALYSIS_LONG_SIDE_PIXELS / max(pixels.shape[2:]))
    num_summed: Any = 3
    for axis in (2, 3):  # first over rows, which lie together in memory
        side = sums.shape[axis]
        small = max(1, round(side * scale))
        # Areas, of which neighbours may share a row.
        starts = np.arange(small) * side // small
        sizes = -(-np.arange(1, small + 1) * side // small) - starts
        is_small = axis == 2 and int(sizes.max()) * 255 < 2**16
        total = sums.take(starts, axis).astype(np.uint16 if is_small else np.int32)
        for step in range(1, int(sizes.max())):
            places = np.flatnonzero(sizes > step)
            chosen = slice(None) if len(places) == small else places  # a slice is no copy
            total[(slice(None),) * axis + (chosen,)] += sums.take(starts[places] + step, axis)
        sums = total.sum(axis=1, keepdims=True, dtype=np.int32) if axis == 2 else total
        num_summed = num_summed * sizes.reshape(-1, *[1] * (3 - axis))
    return np.asarray(sums[:, 0] / num_summed, np.float32)


def motion_energy(levels: NDArray[np.float32], noise_levels: float) -> NDArray[np.float32]:
    """Absolute differences of successive frames from ``noise_levels`` on, summed over time.

    (T, h, w) of `grey_levels` -> (h, w); zeros for a single frame. The median difference of each
    pair of frames is taken off first, so that a change of exposure is not motion.
    """
    size = levels[0].size
    step = np.diff(levels.reshape(len(levels), size), axis=0)
    middle = (size - 1) // 2
    step = np.abs(step - np.partition(step, middle, axis=1)[:, [middle]])
    step[step < noise_levels] = 0
    return np.asarray(step.sum(axis=0).reshape(levels.shape[1:]), np.float32)


def _central_interval(energy: NDArray[np.float32], share: float) -> tuple[float, float]:
    """Ends, as fractions of the axis, between which the central ``share`` of ``energy`` lies."""
    cumulative = np.cumsum(energy, dtype=np.float64) / energy.sum(dtype=np.float64)
    tail = (1 - share) / 2
    first, last = np.searchsorted(cumulative, (tail, 1 - tail)).tolist()
    return first / len(energy), (min(last, len(energy) - 1) + 1) / len(energy)


def _placed(centre: float, side: float, length: float) -> tuple[float, float]:
    """An interval of ``side`` around ``centre``, moved inside [0, ``length``], as fractions."""
    start = min(max(centre - side / 2, 0.0), length - side)
    return max(start / length, 0.0), min((start + side) / length, 1.0)


def motion_box(pixels: Pixels, config: MotionBoxConfig | None = None) -> Box:
    """The box, square in pixels, of most of the motion in a clip (T, 3, H, W) uint8, in order.

    The whole frame where nothing or everything moves, or where the square would not be smaller than
    the frame's short side.
    """
    height, width = pixels.shape[-2:]
    return box_of_motion(grey_levels(pixels), height, width, config or MotionBoxConfig())


def box_of_motion(
    levels: NDArray[np.float32], height: int, width: int, config: MotionBoxConfig
) -> Box:
    """`motion_box` of frames of this size by their `grey_levels` (T, h, w)."""
    energy = motion_energy(levels, config.noise_levels)
    moving_share = float((energy > 0).mean())
    if not config.min_moving_share <= moving_share <= config.max_moving_share:
        return WHOLE_FRAME
    left, right = _central_interval(energy.sum(axis=0), config.energy_share)
    top, bottom = _central_interval(energy.sum(axis=1), config.energy_share)
    tight = max((right - left) * width, (bottom - top) * height)
    short_side = min(height, width)
    side = max(tight * config.margin, config.min_side_share * short_side)
    if side >= short_side:
        return WHOLE_FRAME
    x0, x1 = _placed((left + right) / 2 * width, side, width)
    y0, y1 = _placed((top + bottom) / 2 * height, side, height)
    return Box(x0, y0, x1, y1)


def training_clip(
    frames: Frames,
    config: ClipConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
) -> Clip:
    """A randomly changed model input of a window: crop, colour, grey, flip (paper, section 4).

    Otherwise as `evaluation_clip`; ``motion_box`` is the box before its jitter. Two equal
    generators give equal clips; there is no other source of randomness. Sound stays as it is.
    """
    height, width = frames.pixels.shape[-2:]
    side = config.size_pixels
    views = [_random_box(augmentation, rng, height, width, keep_square=config.resize == "crop")]
    flip = bool(rng.random() < 0.5) and augmentation.horizontal_flip
    colours = _drawn_colours(augmentation, rng)
    box = WHOLE_FRAME
    if config.closeup:
        box = motion_box(frames.pixels, config.motion)
        views.append(_jittered(box, augmentation.closeup_jitter, rng))
    images = []
    for view in views:
        pixels = _recoloured(resize(cut(frames.pixels, view), side, side), colours)
        images.append(np.ascontiguousarray(pixels[..., ::-1] if flip else pixels))
    crop = images[1] if config.closeup else None
    return Clip(images[0], crop, box, frames.pts_seconds, frames.sound)


def _random_box(
    config: AugmentationConfig,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    keep_square: bool,
) -> Box:
    """A multi-scale crop: each side a random one of the scales, at a random place."""
    scales = config.crop_scales
    first, second = (scales[int(index)] for index in rng.integers(len(scales), size=2))
    box_height, box_width = first, second
    if keep_square:
        short_side = min(height, width)
        box_height, box_width = first * short_side / height, second * short_side / width
    top, left = rng.random(2) * (1 - box_height, 1 - box_width)
    return Box(left, top, min(left + box_width, 1.0), min(top + box_height, 1.0))


def _jittered(box: Box, share: float, rng: np.random.Generator) -> Box:
    """The box with each edge moved by up to ``share`` of its side, kept inside the frame."""
    width, height = box.right - box.left, box.bottom - box.top
    edges = np.array([box.left, box.top, box.right, box.bottom])
    shift = rng.uniform(-share, share, size=4) * (width, height, width, height)
    return Box(*(edges + shift).clip(0.0, 1.0).tolist())


class _Colours(NamedTuple):
    """Factors of one clip; 1 leaves brightness, contrast and saturation alone, 0 leaves hue."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def _drawn_colours(config: AugmentationConfig, rng: np.random.Generator) -> _Colours:
    # Everything is drawn in a fixed order: a probability of 0 then moves no other draw.
    jitter, grey = rng.random(2)
    brightness, contrast, saturation = (
        float(rng.uniform(max(0.0, 1 - width), 1 + width))
        for width in (change * config.colour_strength for change in _LARGEST_CHANGES)
    )
    largest_hue = _LARGEST_HUE_CHANGE * config.colour_strength
    hue = float(rng.uniform(-largest_hue, largest_hue))
    if jitter >= config.colour_probability:
        brightness, contrast, saturation, hue = 1.0, 1.0, 1.0, 0.0
    if grey < config.grey_probability:
        saturation, hue = 0.0, 0.0
    return _Colours(brightness, contrast, saturation, hue)


def _recoloured(pixels: Pixels, colours: _Colours) -> Pixels:
    """Brightness, contrast, saturation, hue, in this order, on (T, 3, H, W) uint8."""
    import torch
    from kornia.color import hsv_to_rgb, rgb_to_hsv
    from kornia.enhance import (
        adjust_contrast_with_mean_subtraction,
        adjust_saturation_with_gray_subtraction,
    )

    if colours == _Colours(1.0, 1.0, 1.0, 0.0):
        return pixels
    levels = (torch.from_numpy(pixels).float() / _MAX_LEVEL * colours.brightness).clamp_(0, 1)
    if colours.contrast != 1.0:
        levels = adjust_contrast_with_mean_subtraction(levels, colours.contrast).clamp_(0, 1)
    if colours.saturation != 1.0:
        levels = adjust_saturation_with_gray_subtraction(levels, colours.saturation).clamp_(0, 1)
    if colours.hue != 0.0:
        hsv = rgb_to_hsv(levels)
        hsv[:, 0] = (hsv[:, 0] + 2 * pi * colours.hue) % (2 * pi)
        levels = hsv_to_rgb(hsv).clamp_(0, 1)
    return (levels * _MAX_LEVEL).round_().to(torch.uint8).numpy()
