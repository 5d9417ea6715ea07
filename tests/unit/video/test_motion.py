"""The box around what moves, in scenes where the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from msqnet.clips import WHOLE_FRAME, Box, Pixels
from msqnet.config import MotionBoxConfig
from msqnet.video.transforms import grey_levels, motion_box, motion_energy
from tests.fixtures.scenes import NUM_FRAMES, SQUARE, textured_scene, with_square


def in_pixels(box: Box, frames: Pixels) -> tuple[float, float, float, float]:
    height, width = frames.shape[-2:]
    return box.left * width, box.top * height, box.right * width, box.bottom * height


@pytest.mark.parametrize(
    ("height", "width", "left", "top"),
    [(96, 160, 60, 40), (96, 160, 2, 2), (96, 160, 130, 80), (160, 96, 40, 90), (288, 480, 200, 9)],
    ids=["middle", "top left", "bottom right", "portrait", "above analysis size"],
)
def test_box_holds_what_moves_in_a_still_scene(
    height: int, width: int, left: int, top: int
) -> None:
    frames = with_square(textured_scene(height, width), left, top)
    box = motion_box(frames)
    assert box != WHOLE_FRAME
    x0, y0, x1, y1 = in_pixels(box, frames)
    end = left + 2 * (NUM_FRAMES - 1) + SQUARE
    # The path's first and last pixels may hold the tenth of the energy that is left out.
    assert x0 <= left + 2
    assert x1 >= end - 2
    assert y0 <= top + 1
    assert y1 >= top + SQUARE - 1
    assert (x1 - x0) * (y1 - y0) < 0.4 * height * width


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (96, 96)])
def test_box_is_square_in_pixels_and_at_least_the_smallest_side(size: tuple[int, int]) -> None:
    frames = with_square(textured_scene(*size), 40, 40, step=1)
    x0, y0, x1, y1 = in_pixels(motion_box(frames), frames)
    # Division by the frame's size and back.
    assert x1 - x0 == pytest.approx(y1 - y0, abs=1e-6)
    assert x1 - x0 >= 0.3 * min(size) - 1e-6


def test_box_has_the_smallest_side_around_tiny_motion() -> None:
    frames = textured_scene()
    frames[1::2, :, 50:54, 80:84] = 255
    x0, y0, x1, y1 = in_pixels(motion_box(frames), frames)
    assert (x1 - x0, y1 - y0) == pytest.approx((28.8, 28.8))
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((82, 52))


def test_larger_margin_gives_a_larger_box() -> None:
    frames = with_square(textured_scene(), 60, 40)
    tight = motion_box(frames, MotionBoxConfig(margin=1.0, min_side_share=0.1))
    wide = motion_box(frames, MotionBoxConfig(margin=2.0, min_side_share=0.1))
    assert wide.right - wide.left == pytest.approx(2 * (tight.right - tight.left))


def exposure_change(frames: Pixels) -> Pixels:
    steps = np.arange(len(frames))[:, None, None, None] * 10
    return (frames + steps).astype(np.uint8)


def panned(frames: Pixels) -> Pixels:
    return np.stack([np.roll(frame, 4 * index, axis=-1) for index, frame in enumerate(frames)])


def all_noise(frames: Pixels) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, frames.shape, np.uint8)


def sensor_noise(frames: Pixels) -> Pixels:
    noise = np.random.default_rng(1).integers(-4, 5, frames.shape)
    return (frames + noise).astype(np.uint8)


@pytest.mark.parametrize(
    "change",
    [np.copy, exposure_change, panned, all_noise, sensor_noise, lambda f: f[:1]],
    ids=["still", "exposure", "pan", "everything moves", "sensor noise", "one frame"],
)
def test_whole_frame_where_nothing_or_everything_moves(change: object) -> None:
    assert motion_box(change(textured_scene())) == WHOLE_FRAME


def test_motion_is_found_under_a_change_of_exposure() -> None:
    frames = with_square(textured_scene(), 60, 40)
    # 15 levels a frame, above what counts as noise.
    brighter = np.arange(NUM_FRAMES)[:, None, None, None] * 15
    frames = (frames // 2 + brighter).astype(np.uint8)
    x0, _, x1, _ = in_pixels(motion_box(frames), frames)
    assert x0 <= 62 < 84 <= x1
    assert x1 - x0 < 80


def test_motion_at_the_edge_is_left_out_up_to_its_share_of_the_energy() -> None:
    frames = textured_scene()
    frames[:] = 100
    frames[1::2, :, 40:56, 40:56] = 200  # 256 pixels
    frames[1::2, :, 48:50, 150:154] = 200  # 8 pixels: 3 % of the energy, far to the right
    assert in_pixels(motion_box(frames), frames)[2] < 80
    assert motion_box(frames, MotionBoxConfig(energy_share=1.0)) == WHOLE_FRAME


def test_box_as_large_as_the_frame_is_the_whole_frame() -> None:
    frames = textured_scene()
    frames[1::2, :, ::12, ::12] = 255
    assert motion_box(frames) == WHOLE_FRAME


def test_energy_lies_where_and_only_where_something_changes() -> None:
    frames = textured_scene(80, 120)
    frames[1, :, 30:40, 50:60] = 255
    energy = motion_energy(grey_levels(frames), noise_levels=12.0)
    assert energy.shape == (80, 120)
    assert (energy[30:40, 50:60] > 0).all()
    energy[30:40, 50:60] = 0
    assert not energy.any()
