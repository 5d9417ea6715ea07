from __future__ import annotations

import numpy as np

from synthetic.scene import Camera, draw_background, draw_camera

SECONDS = np.arange(4) / 8


def still_camera(x: float, zoom: float = 1.0) -> Camera:
    return Camera(np.array([[x, 0.2]]), np.array([zoom]), np.zeros(1))


def test_projection_puts_the_centre_in_the_middle_and_up_above() -> None:
    points = np.array([[[1.0, 0.2], [1.25, 0.45]]])

    pixels = still_camera(1.0, zoom=2.0).project(points, 100)

    np.testing.assert_allclose(pixels[0], [[50, 50], [100, 0]])


def test_camera_that_moves_right_shows_the_scene_further_left() -> None:
    background = draw_background(-1, 2, 64, np.random.default_rng(0))
    before = background.view(still_camera(0.0), 0, 64)
    after = background.view(still_camera(0.25), 0, 64)

    np.testing.assert_allclose(before[:, 16:], after[:, :48], atol=1e-4)


def test_background_agrees_with_the_projection_of_its_points() -> None:
    background = draw_background(-1, 1, 64, np.random.default_rng(1))
    camera = Camera(np.array([[0.1, 0.2]]), np.array([1.3]), np.array([0.2]))
    point = np.array([[[0.22, 0.31]]])
    x, y = camera.project(point, 256)[0, 0].astype(int)

    column = int((point[0, 0, 0] - background.left) * 64)
    row = int((1.15 - point[0, 0, 1]) * 64)
    seen = background.view(camera, 0, 256)[y, x]
    around = background.image[row - 1 : row + 2, column - 1 : column + 2]
    assert (seen >= around.min(axis=(0, 1)) - 1e-3).all()
    assert (seen <= around.max(axis=(0, 1)) + 1e-3).all()


def test_camera_wanders_off_what_it_follows_alike_wherever_that_goes() -> None:
    paths = []
    for speed in (-1.0, 0.0, 1.0):
        followed = np.stack([speed * SECONDS, np.zeros(4)], axis=1)
        camera = draw_camera(followed, SECONDS, np.random.default_rng(0))
        paths.append(camera.project(followed[:, None], 100)[:, 0])

    np.testing.assert_allclose(paths[0], paths[1])
    np.testing.assert_allclose(paths[2], paths[1])
