"""From the frames of a window to a model input: crops, resizing, augmentation. uint8 in, uint8 out.

Normalisation belongs to each encoder, not here. One random draw holds for all frames of a clip.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.clips import WHOLE_FRAME, Box, Clip, Frames
from msqnet.video.motion import motion_box

if TYPE_CHECKING:
    import numpy as np

    from msqnet.config import AugmentationConfig, ClipConfig

_MAX_LEVEL = 255.0


def cut(pixels: Tensor, box: Box) -> Tensor:
    """The part of the frames inside a box.

    Args:
        pixels: (T, 3, H, W) uint8.
        box: fractions of the frame; rounded to whole pixels, at least one.

    Returns:
        (T, 3, h, w) uint8, a view.
    """
    height, width = pixels.shape[-2:]
    top, left = round(box.top * height), round(box.left * width)
    bottom = max(round(box.bottom * height), top + 1)
    right = max(round(box.right * width), left + 1)
    return pixels[..., top:bottom, left:right]


def resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with anti-aliasing: (T, 3, H, W) uint8 -> (T, 3, height, width) uint8."""
    if pixels.shape[-2:] == (height, width):
        return pixels
    return F.interpolate(
        pixels.contiguous(), (height, width), mode="bilinear", antialias=True, align_corners=False
    )


def _centre_square(pixels: Tensor, config: ClipConfig) -> Tensor:
    """Short side to `short_side_pixels`, then the central square of `size_pixels` (the paper)."""
    height, width = pixels.shape[-2:]
    scale = config.short_side_pixels / min(height, width)
    pixels = resize(pixels, max(round(height * scale), 1), max(round(width * scale), 1))
    side = config.size_pixels
    top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
    return pixels[..., top : top + side, left : left + side]


def evaluation_clip(frames: Frames, config: ClipConfig) -> Clip:
    """The model input of a window, without randomness.

    Args:
        frames: the window's frames; any size.
        config: the model's own clip settings; ``num_frames`` is not checked here, the encoder does.

    Returns:
        A clip with (T, 3, S, S) pixels, S = ``size_pixels``, and a close-up where the model has
        one; the close-up shows the whole frame where the motion box falls back to it.
    """
    box = motion_box(frames.pixels, config.motion) if config.closeup else WHOLE_FRAME
    return looked_at(frames, config, box)


def looked_at(frames: Frames, config: ClipConfig, box: Box) -> Clip:
    """The model input of a window whose second look goes to a given place.

    Args:
        frames: see `evaluation_clip`.
        config: see `evaluation_clip`.
        box: where the second look goes; without effect on a model that has none.
    """
    pixels = whole_look(frames.pixels, config)
    if not config.closeup:
        return Clip(pixels, None, WHOLE_FRAME, frames.pts_seconds)
    return Clip(pixels, second_look(frames.pixels, config, box), box, frames.pts_seconds)


def whole_look(pixels: Tensor, config: ClipConfig) -> Tensor:
    """Whole frames at the model's size, each on its own: (T, 3, H, W) uint8 -> (T, 3, S, S)."""
    if config.resize == "crop":
        return _centre_square(pixels, config).contiguous()
    return resize(pixels, config.size_pixels, config.size_pixels).contiguous()


def second_look(pixels: Tensor, config: ClipConfig, box: Box) -> Tensor:
    """What is in a box, at the model's size: (T, 3, H, W) uint8 -> (T, 3, S, S)."""
    return resize(cut(pixels, box), config.size_pixels, config.size_pixels).contiguous()


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
    if keep_square:
        short_side = min(height, width)
        box_height, box_width = first * short_side / height, second * short_side / width
    else:
        box_height, box_width = first, second
    top, left = rng.random(2) * (1 - box_height, 1 - box_width)
    return Box(left, top, min(left + box_width, 1.0), min(top + box_height, 1.0))


def _jittered(box: Box, share: float, rng: np.random.Generator) -> Box:
    """The box with each edge moved by up to ``share`` of its side, kept inside the frame."""
    width, height = box.right - box.left, box.bottom - box.top
    shift = rng.uniform(-share, share, size=4)
    return Box(
        min(max(box.left + shift[0] * width, 0.0), 1.0),
        min(max(box.top + shift[1] * height, 0.0), 1.0),
        min(max(box.right + shift[2] * width, 0.0), 1.0),
        min(max(box.bottom + shift[3] * height, 0.0), 1.0),
    )


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
        for width in (config.brightness, config.contrast, config.saturation)
    )
    hue = float(rng.uniform(-config.hue, config.hue))
    if jitter >= config.colour_probability:
        brightness, contrast, saturation, hue = 1.0, 1.0, 1.0, 0.0
    if grey < config.grey_probability:
        saturation, hue = 0.0, 0.0
    return _Colours(brightness, contrast, saturation, hue)


def _recoloured(pixels: Tensor, colours: _Colours) -> Tensor:
    """Brightness, contrast, saturation, hue, in this order, on (T, 3, H, W) uint8."""
    from kornia.color import hsv_to_rgb, rgb_to_hsv
    from kornia.enhance import (
        adjust_contrast_with_mean_subtraction,
        adjust_saturation_with_gray_subtraction,
    )

    if colours == _Colours(1.0, 1.0, 1.0, 0.0):
        return pixels
    levels = (pixels.float() / _MAX_LEVEL * colours.brightness).clamp_(0, 1)
    if colours.contrast != 1.0:
        levels = adjust_contrast_with_mean_subtraction(levels, colours.contrast).clamp_(0, 1)
    if colours.saturation != 1.0:
        levels = adjust_saturation_with_gray_subtraction(levels, colours.saturation).clamp_(0, 1)
    if colours.hue != 0.0:
        hsv = rgb_to_hsv(levels)
        hsv[:, 0] = (hsv[:, 0] + 2 * pi * colours.hue) % (2 * pi)
        levels = hsv_to_rgb(hsv).clamp_(0, 1)
    return (levels * _MAX_LEVEL).round_().to(torch.uint8)


def training_clip(
    frames: Frames,
    config: ClipConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
) -> Clip:
    """A randomly changed model input of a window: crop, colour, grey, flip (paper, section 4).

    Args:
        frames: the window's frames; any size.
        config: the model's own clip settings.
        augmentation: what may change.
        rng: the only source of randomness; two equal generators give equal clips.

    Returns:
        As `evaluation_clip`; ``motion_box`` is the box before its jitter.
    """
    height, width = frames.pixels.shape[-2:]
    side = config.size_pixels
    crop = _random_box(augmentation, rng, height, width, keep_square=config.resize == "crop")
    flip = bool(rng.random() < 0.5) and augmentation.horizontal_flip
    colours = _drawn_colours(augmentation, rng)
    looks = [crop]
    box = WHOLE_FRAME
    if config.closeup:
        box = motion_box(frames.pixels, config.motion)
        looks.append(_jittered(box, augmentation.closeup_jitter, rng))
    images = []
    for look in looks:
        pixels = _recoloured(resize(cut(frames.pixels, look), side, side), colours)
        images.append((pixels.flip(-1) if flip else pixels).contiguous())
    closeup = images[1] if config.closeup else None
    return Clip(images[0], closeup, box, frames.pts_seconds)
