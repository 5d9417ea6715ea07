"""Deletion and insertion on a score whose cause is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.explanation_check import (
    Areas,
    areas,
    blurred_beyond_shapes,
    random_map,
    ranks,
)

from msqnet.clips import WHOLE_FRAME, Clip, Frames
from msqnet.config import ClipConfig

CONFIG = ClipConfig(
    num_frames=3,
    size_pixels=48,
    resize="stretch",
    short_side_pixels=48,
    decode_short_side_pixels=48,
)
SPOT = (slice(8, 16), slice(24, 32))


def frames_with_a_checkered_spot() -> Frames:
    """Grey noise, and a square of black and white cells that blurring removes."""
    pixels = np.random.default_rng(0).integers(100, 140, (3, 3, 48, 48), np.uint8)
    pixels[(..., *SPOT)] = (np.arange(8)[:, None] // 2 + np.arange(8) // 2) % 2 * 255
    return Frames(pixels, np.arange(3.0))


def contrast_of_the_spot(clip: Clip) -> float:
    """A score that depends on the spot alone."""
    return float(clip.pixels[(..., *SPOT)].std()) / 150


def map_of(*hot: slice) -> np.ndarray:
    heat = np.zeros((3, 48, 48), np.float32)
    heat[(slice(None), *hot)] = 1
    return heat


def test_map_of_the_cause_beats_random_maps_and_its_opposite_loses() -> None:
    frames = frames_with_a_checkered_spot()
    right = areas(frames, map_of(*SPOT), contrast_of_the_spot, CONFIG)
    wrong = areas(frames, 1 - map_of(*SPOT), contrast_of_the_spot, CONFIG)
    rng = np.random.default_rng(0)
    random = [
        areas(frames, random_map(3, 48, 48, rng), contrast_of_the_spot, CONFIG) for _ in range(5)
    ]
    for other in (*random, wrong):
        assert right.deletion < other.deletion
        assert right.insertion > other.insertion
    # The spot is 2.8 % of the frame: gone, or whole, from the first share of 5 % on.
    intact = contrast_of_the_spot(Clip(frames.pixels, None, WHOLE_FRAME, frames.pts_seconds))
    assert right.insertion == pytest.approx(float(np.log(intact / (1 - intact))), abs=1e-5)
    assert wrong.deletion == pytest.approx(right.insertion, abs=1e-5)
    assert right.difference == right.insertion - right.deletion


def test_the_second_look_stays_where_it_was() -> None:
    config = ClipConfig(
        num_frames=3, size_pixels=48, resize="stretch", short_side_pixels=48,
        decode_short_side_pixels=48, closeup=True,
    )  # fmt: skip
    frames = frames_with_a_checkered_spot()
    moved = frames.pixels.copy()
    moved[1:] = np.roll(frames.pixels[1:], 4, axis=-1)  # something moves
    seen = []

    def score(clip: Clip) -> float:
        seen.append(clip.motion_box)
        return 0.5

    found = areas(Frames(moved, frames.pts_seconds), map_of(*SPOT), score, config)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert found == Areas(0.0, 0.0)  # the log-odds of one half


def test_ranks_are_shares_of_hotter_cells_in_each_frame() -> None:
    heat = np.array([[[3, 1], [2, 0]], [[0, 0], [0, 9]]], np.float32)
    assert ranks(heat).tolist() == [
        [[0, 0.5], [0.25, 0.75]],
        [[0.25, 0.5], [0.75, 0]],  # equal ones in the order of the frame
    ]


def test_scores_of_exactly_0_and_1_have_finite_odds() -> None:
    frames = frames_with_a_checkered_spot()
    found = areas(frames, map_of(*SPOT), lambda _: 0.0, CONFIG)
    assert found.deletion == found.insertion == pytest.approx(-13.8155, abs=1e-3)


def test_random_maps_stand_still_and_differ_from_each_other() -> None:
    rng = np.random.default_rng(0)
    first, second = (random_map(4, 9, 16, rng) for _ in range(2))
    assert first.shape == (4, 9, 16)
    assert (first == first[:1]).all()
    assert not np.allclose(first, second)


def test_blur_leaves_light_and_no_shape() -> None:
    frames = frames_with_a_checkered_spot()
    blurred = blurred_beyond_shapes(frames.pixels)
    assert blurred.dtype == np.uint8
    assert blurred.mean() == pytest.approx(frames.pixels.mean(), abs=1)
    assert blurred[(..., *SPOT)].std() < 5 < frames.pixels[(..., *SPOT)].std()
