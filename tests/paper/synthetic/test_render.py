from __future__ import annotations

import numpy as np
import pytest

from synthetic.render import Capsules, Paint, draw_capsules


def covered(start: tuple[float, float], end: tuple[float, float], *radii: float) -> np.ndarray:
    image = np.zeros((40, 60, 3), np.float32)
    capsules = Capsules(
        np.array([start]),
        np.array([end]),
        np.array([radii[0]]),
        np.array([radii[1]]),
        (Paint(np.ones(3, np.float32)),),
        np.ones(1),
    )
    draw_capsules(image, capsules)
    return image[..., 0]


def test_disc_has_its_area_and_place() -> None:
    disc = covered((20.0, 15.0), (20.0, 15.0), 8.0, 8.0) > 0.2

    assert disc.sum() == pytest.approx(np.pi * 64, rel=0.08)
    rows, columns = np.nonzero(disc)
    assert (rows.mean(), columns.mean()) == pytest.approx((15, 20))


def test_capsule_is_as_long_and_as_thick_as_told() -> None:
    bar = covered((10.0, 20.0), (40.0, 20.0), 3.0, 6.0) > 0.2
    rows, columns = np.nonzero(bar)

    assert (columns.min(), columns.max()) == (7, 46)
    assert bar[:, 10].sum() == 7
    assert bar[:, 40].sum() == 13
    assert rows.mean() == 20


def test_outside_of_the_image_nothing_is_drawn() -> None:
    assert covered((-30.0, -30.0), (-20.0, -30.0), 5.0, 5.0).sum() == 0
    assert covered((-3.0, 20.0), (-3.0, 20.0), 5.0, 5.0).sum() > 0
