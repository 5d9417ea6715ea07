"""Background and camera: a flat world that the camera pans over, and where the actor is seen.

World coordinates: x to the right, y up, the ground that the actor stands on at y = 0. The unit is
the width of the picture at zoom 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthetic.actions import Array

_TOP, _BOTTOM = 1.15, -0.75
_MAX_WANDER = 0.1  # of the picture's width
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Camera:
    """Where each frame looks.

    Attributes:
        centre: (T, 2) world point in the middle of the picture.
        zoom: (T,) 1 shows one unit across the picture.
        roll: (T,) radians.
    """

    centre: Array
    zoom: Array
    roll: Array

    def project(self, points: Array, size: int) -> Array:
        """World points (T, P, 2) to pixels (T, P, 2), x right and y down."""
        offset = (points - self.centre[:, None]) * (size * self.zoom)[:, None, None]
        cos, sin = np.cos(self.roll)[:, None], np.sin(self.roll)[:, None]
        x = cos * offset[..., 0] - sin * offset[..., 1]
        y = sin * offset[..., 0] + cos * offset[..., 1]
        return np.stack([size / 2 + x, size / 2 - y], axis=-1)


def draw_camera(followed: Array, seconds: Array, rng: np.random.Generator) -> Camera:
    """A camera that keeps a point in view, and wanders off it in one way whatever the point does.

    The point's path in the picture has one distribution for all actions, so that only its motion
    relative to the background tells where it goes.

    Args:
        followed: (T, 2) world point.
        seconds: (T,) times.
        rng: source of wandering, zoom, shake and roll.
    """
    centred = seconds - seconds.mean()
    place = rng.uniform(-0.05, 0.05, 2) + np.outer(centred, rng.uniform(-0.08, 0.08, 2) * [1, 0.4])
    if rng.random() < 0.4:
        place += rng.uniform(0, 0.012) * rng.standard_normal((len(seconds), 2))
    place = np.clip(place, -_MAX_WANDER, _MAX_WANDER)
    zoom = rng.uniform(0.9, 1.1) * np.exp(rng.uniform(-0.1, 0.1) * centred)
    roll = rng.uniform(-0.06, 0.06) + rng.uniform(-0.04, 0.04) * centred
    return Camera(followed - place / zoom[:, None], zoom, roll)


@dataclass(frozen=True)
class Background:
    """A painted world.

    Attributes:
        image: (H, W, 3) float32 in [0, 1]; its first row is the highest.
        left: World x of its first column.
        pixels_per_unit: Resolution.
    """

    image: NDArray[np.float32]
    left: float
    pixels_per_unit: float

    def view(self, camera: Camera, frame: int, size: int) -> NDArray[np.float32]:
        """(size, size, 3) float32 picture that the camera takes, interpolated bilinearly."""
        reach = ((np.arange(size) + 0.5) / size - 0.5) / camera.zoom[frame]
        x, y = reach[None, :], -reach[:, None]
        cos, sin = np.cos(camera.roll[frame]), np.sin(camera.roll[frame])
        world_x = camera.centre[frame, 0] + cos * x + sin * y
        world_y = camera.centre[frame, 1] - sin * x + cos * y
        columns = (world_x - self.left) * self.pixels_per_unit - 0.5
        rows = (_TOP - world_y) * self.pixels_per_unit - 0.5
        return _interpolate(self.image, rows, columns)


def _interpolate(image: NDArray[np.float32], rows: Array, columns: Array) -> NDArray[np.float32]:
    """Bilinear; outside of the image its border goes on."""
    rows = np.clip(rows, 0, image.shape[0] - 1.001)
    columns = np.clip(columns, 0, image.shape[1] - 1.001)
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    down = (rows - top).astype(np.float32)[..., None]
    right = (columns - left).astype(np.float32)[..., None]
    one = np.float32(1)
    upper = image[top, left] * (one - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (one - right) + image[top + 1, left + 1] * right
    mixed: NDArray[np.float32] = upper * (one - down) + lower * down
    return mixed


def draw_background(
    left: float, right: float, pixels_per_unit: float, rng: np.random.Generator
) -> Background:
    """Paint sky, ground, texture, blobs and lines.

    What is painted depends on world coordinates only, so that the same scene at another resolution
    shows the same things.

    Args:
        left: World x where the picture begins.
        right: World x where it ends.
        pixels_per_unit: Resolution.
        rng: Source of everything.
    """
    width = int(np.ceil((right - left) * pixels_per_unit))
    height = int(np.ceil((_TOP - _BOTTOM) * pixels_per_unit))
    x: Array = left + (np.arange(width, dtype=np.float64) + 0.5)[None, :] / pixels_per_unit
    y: Array = _TOP - (np.arange(height, dtype=np.float64) + 0.5)[:, None] / pixels_per_unit
    sky, low, ground = _backdrop_colours(rng)
    share = np.clip((y - 0.05) / (_TOP - 0.05), 0, 1)[..., None]
    image: Array = np.broadcast_to(low * (1 - share) + sky * share, (height, width, 3)).copy()
    horizon = rng.uniform(0.03, 0.3)
    wobble = rng.uniform(0, 0.04) * np.sin(rng.uniform(3, 9) * x + rng.uniform(0, 6))
    _mix(image, ground, np.clip((horizon + wobble - y) * pixels_per_unit, 0, 1))
    for _ in range(rng.integers(10, 22)):
        _paint_blob(image, x, y, (left, right), rng)
    for _ in range(rng.integers(3, 9)):
        _paint_line(image, x, y, (left, right), rng)
    for cell, strength in ((0.4, 0.12), (0.12, 0.14), (0.04, 0.1)):
        image += rng.uniform(0.3, 1) * strength * _noise(x, y, (left, right), cell, rng)[..., None]
    return Background(np.clip(image, 0, 1).astype(np.float32), left, pixels_per_unit)


def _backdrop_colours(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    base = rng.uniform(0.2, 0.8) + rng.uniform(-0.15, 0.15, 3)
    sky, low, ground = (np.clip(base + rng.uniform(-0.18, 0.18, 3), 0, 1) for _ in range(3))
    return sky, low, ground


def _mix(image: Array, colour: Array, cover: Array) -> None:
    image += np.broadcast_to(cover, image.shape[:2])[..., None] * (colour - image)


def _paint_blob(
    image: Array, x: Array, y: Array, reach: tuple[float, float], rng: np.random.Generator
) -> None:
    centre_x, centre_y = rng.uniform(*reach), rng.uniform(-0.4, 0.9)
    wide, high = rng.uniform(0.03, 0.2, 2)
    distance = np.hypot((x - centre_x) / wide, (y - centre_y) / high)
    softness = rng.uniform(0.05, 0.5)
    cover = rng.uniform(0.25, 0.7) * np.clip((1 - distance) / softness, 0, 1)
    _mix(image, rng.uniform(0, 1, 3), cover)


def _paint_line(
    image: Array, x: Array, y: Array, reach: tuple[float, float], rng: np.random.Generator
) -> None:
    through, foot = rng.uniform(*reach), rng.uniform(-0.3, 0.3)
    angle = rng.normal(np.pi / 2, 0.3) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    across = (x - through) * np.sin(angle) - (y - foot) * np.cos(angle)
    along = (x - through) * np.cos(angle) + (y - foot) * np.sin(angle)
    thick, length = rng.uniform(0.005, 0.03), rng.uniform(0.2, 1.2)
    inside = np.minimum(thick - np.abs(across), length / 2 - np.abs(along))
    _mix(image, rng.uniform(0, 1, 3), rng.uniform(0.25, 0.7) * np.clip(inside / 0.006, 0, 1))


def _noise(
    x: Array, y: Array, reach: tuple[float, float], cell: float, rng: np.random.Generator
) -> Array:
    """(H, W) smooth noise in [-1, 1] with lumps of the size of a cell."""
    shape = (int((_TOP - _BOTTOM) / cell) + 3, int((reach[1] - reach[0]) / cell) + 3)
    grid = rng.uniform(-1, 1, shape)[..., None].astype(np.float32)
    rows, columns = np.broadcast_arrays((_TOP - y) / cell, (x - reach[0]) / cell)
    return _interpolate(grid, rows, columns)[..., 0].astype(np.float64)


def mean_luma(background: Background) -> float:
    """Brightness of a background, 0 to 1."""
    return float((background.image.reshape(-1, 3) @ _LUMA).mean())
