"""Draws tapered capsules with soft edges: signed distances, nearest last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthetic.actions import Array

_EDGE_SHADE = 0.5


@dataclass(frozen=True)
class Paint:
    """Colour and pattern of one capsule.

    Attributes:
        colour: (3,) in [0, 1].
        pattern: ``plain``, ``stripes`` across the capsule or ``spots``.
        contrast: of the pattern, 0 to 1.
        pixels: length of one stripe and its gap.
    """

    colour: NDArray[np.float32]
    pattern: str = "plain"
    contrast: float = 0.0
    pixels: float = 8.0


@dataclass(frozen=True)
class Capsules:
    """P capsules of one frame in pixels, in the order of drawing.

    Attributes:
        starts: (P, 2) x and y.
        ends: (P, 2).
        start_radii: (P,).
        end_radii: (P,).
        paints: P.
        fade: (P,) factor of brightness.
    """

    starts: Array
    ends: Array
    start_radii: Array
    end_radii: Array
    paints: tuple[Paint, ...]
    fade: Array


def draw_capsules(image: NDArray[np.float32], capsules: Capsules) -> None:
    """Draw onto an image in place.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        capsules: what to draw.
    """
    for index in range(len(capsules.paints)):
        _draw(
            image,
            capsules.starts[index],
            capsules.ends[index],
            (float(capsules.start_radii[index]), float(capsules.end_radii[index])),
            capsules.paints[index],
            float(capsules.fade[index]),
        )


def _draw(
    image: NDArray[np.float32],
    start: Array,
    end: Array,
    radii: tuple[float, float],
    paint: Paint,
    fade: float,
) -> None:
    window = _window(image.shape, start, end, max(radii) + 1)
    if window is None:
        return
    rows, columns = window
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(start[0])
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(start[1])
    dx, dy = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    length2 = max(float(dx * dx + dy * dy), 1e-6)
    along = np.clip((x * dx + y * dy) / length2, 0, 1)
    radius = radii[0] + along * (radii[1] - radii[0])
    outside = np.hypot(x - along * dx, y - along * dy) - radius
    cover = np.clip(0.5 - outside, 0, 1)
    shade = 1 - _EDGE_SHADE * np.clip(1 + outside / np.maximum(radius, 1), 0, 1) ** 3
    if paint.pattern != "plain":
        shade = shade * _pattern(paint, x, y, along * length2**0.5)
    colour = (fade * shade)[..., None] * paint.colour
    patch = image[rows, columns]
    patch += cover[..., None] * (colour - patch)


def _pattern(
    paint: Paint, x: NDArray[np.float32], y: NDArray[np.float32], along: NDArray[np.float32]
) -> NDArray[np.float32]:
    turn = np.float32(2 * np.pi / paint.pixels)
    if paint.pattern == "stripes":
        wave = np.sin(turn * along)
    else:
        wave = 2 * np.sin(turn * x) * np.sin(turn * y) - 0.5
    marks: NDArray[np.float32] = 1 - paint.contrast * np.clip(2 * wave, 0, 1)
    return marks


def _window(
    shape: tuple[int, ...], start: Array, end: Array, margin: float
) -> tuple[slice, slice] | None:
    """Rows and columns that a capsule can touch; None where it is outside of the image."""
    slices = []
    for axis, size in ((1, shape[0]), (0, shape[1])):
        low = int(np.floor(min(start[axis], end[axis]) - margin))
        high = int(np.ceil(max(start[axis], end[axis]) + margin)) + 1
        low, high = max(low, 0), min(high, size)
        if low >= high:
            return None
        slices.append(slice(low, high))
    return slices[0], slices[1]
