"""From frames to model inputs: sizes, what is cut off, and one draw for all frames of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from msqnet.clips import WHOLE_FRAME, Box, Frames, Pixels
from msqnet.config import AugmentationConfig, ClipConfig
from msqnet.video import transforms
from msqnet.video.transforms import cut, evaluation_clip, resize, training_clip
from tests.fixtures.scenes import textured_scene, with_square

CROP = ClipConfig(
    num_frames=4, size_pixels=32, short_side_pixels=40, decode_short_side_pixels=64, resize="crop"
)
STRETCH = replace(CROP, resize="stretch")
STRONG = AugmentationConfig(horizontal_flip=True, colour_probability=1.0)
PLAIN = AugmentationConfig(
    crop_scales=(1.0,), colour_probability=0.0, grey_probability=0.0, horizontal_flip=False
)


def frames_of(pixels: Pixels) -> Frames:
    return Frames(pixels, np.arange(len(pixels)) / 10)


def still_colours(height: int = 64, width: int = 96) -> Pixels:
    """(4, 3, H, W) uint8: red grows to the right, green downwards; the same in every frame."""
    image = np.zeros((3, height, width))
    image[0] = np.linspace(30, 220, width)
    image[1] = np.linspace(30, 220, height)[:, None]
    image[2] = 90
    return image.round().astype(np.uint8)[None].repeat(4, axis=0)


def trained(pixels: Pixels, config: ClipConfig, seed: int, **changes: Any) -> Pixels:
    augmentation = replace(STRONG, **changes)
    rng = np.random.default_rng(seed)
    return training_clip(frames_of(pixels), config, augmentation, rng).pixels


@pytest.mark.parametrize("size", [(64, 96), (97, 65), (64, 64), (20, 300)])
@pytest.mark.parametrize("config", [CROP, STRETCH], ids=["crop", "stretch"])
def test_clips_of_any_frame_size_have_the_model_size(
    size: tuple[int, int], config: ClipConfig
) -> None:
    frames = frames_of(still_colours(*size))
    config = replace(config, closeup=True)
    clips = [
        evaluation_clip(frames, config),
        training_clip(frames, config, STRONG, np.random.default_rng(0)),
    ]
    for clip in clips:
        assert clip.pixels.shape == clip.motion_crop.shape == (4, 3, 32, 32)
        assert clip.pixels.dtype == clip.motion_crop.dtype == np.uint8
        assert np.array_equal(clip.pts_seconds, frames.pts_seconds)


def test_cut_takes_the_pixels_of_the_box() -> None:
    pixels = still_colours()
    assert np.array_equal(cut(pixels, Box(0.25, 0.5, 0.5, 1.0)), pixels[:, :, 32:64, 24:48])
    assert cut(pixels, Box(0.5, 0.5, 0.5001, 0.5001)).shape[-2:] == (1, 1)


def test_resizing_down_averages_and_leaves_the_right_size_alone() -> None:
    pixels = np.tile(np.array([0, 255], np.uint8), (1, 3, 16, 8))
    # Stripes of one pixel become grey; without anti-aliasing they would stay black or white.
    smaller = resize(pixels, 4, 4)
    assert np.abs(smaller.astype(int) - 128).max() <= 24
    assert resize(pixels, 16, 16) is pixels


def test_crop_shows_the_centre_and_stretch_everything() -> None:
    pixels = still_colours()
    pixels[:, :, :, :12] = pixels[:, :, :, -12:] = 255
    # Short side 64 -> 40 and the central 32: the outer 22 of 96 columns are cut off.
    assert (evaluation_clip(frames_of(pixels), CROP).pixels[:, 2] < 100).all()
    stretched = evaluation_clip(frames_of(pixels), STRETCH).pixels
    assert (stretched[:, 2, :, [0, -1]] > 250).all()


def test_closeup_shows_what_moves_and_falls_back_to_the_whole_frame() -> None:
    config = replace(STRETCH, closeup=True, num_frames=8)
    still = evaluation_clip(frames_of(textured_scene()), config)
    assert still.motion_box == WHOLE_FRAME
    assert np.array_equal(still.motion_crop, still.pixels)
    clip = evaluation_clip(frames_of(with_square(textured_scene(), 60, 40)), config)
    assert clip.motion_box != WHOLE_FRAME
    white = [(pixels > 240).mean() for pixels in (clip.pixels, clip.motion_crop)]
    assert white[1] > 4 * white[0] > 0


@pytest.mark.parametrize("config", [CROP, STRETCH], ids=["crop", "stretch"])
def test_still_clips_stay_still_under_augmentation(config: ClipConfig) -> None:
    for seed in range(10):
        clip = trained(still_colours(), config, seed)
        assert np.array_equal(clip, clip[:1].repeat(len(clip), axis=0))


def test_both_looks_of_a_clip_change_alike() -> None:
    config = replace(STRETCH, closeup=True)
    augmentation = replace(STRONG, crop_scales=(1.0,), closeup_jitter=0.0)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # Nothing moves, so that the motion crop shows the whole frame too.
        clip = training_clip(frames_of(still_colours()), config, augmentation, rng)
        assert np.array_equal(clip.motion_crop, clip.pixels)


def test_equal_generators_give_equal_clips_and_others_do_not() -> None:
    pixels = still_colours()
    assert np.array_equal(trained(pixels, STRETCH, 3), trained(pixels, STRETCH, 3))
    assert not np.array_equal(trained(pixels, STRETCH, 3), trained(pixels, STRETCH, 4))


def test_without_changes_the_training_clip_is_the_stretched_frame() -> None:
    frames = frames_of(still_colours())
    clip = training_clip(frames, STRETCH, PLAIN, np.random.default_rng(0))
    assert np.array_equal(clip.pixels, evaluation_clip(frames, STRETCH).pixels)


def test_random_crops_vary_in_place_and_scale() -> None:
    pixels = still_colours()
    settings = {"colour_probability": 0.0, "grey_probability": 0.0, "horizontal_flip": False}
    spans = set()
    for seed in range(20):
        clip = trained(pixels, STRETCH, seed, **settings)
        spans.add((clip[0, 0, 0, 0].item(), clip[0, 0, 0, -1].item()))
    assert len(spans) > 10
    assert all(left < right for left, right in spans)


def test_square_crops_keep_the_shape_of_things() -> None:
    settings = {"colour_probability": 0.0, "grey_probability": 0.0, "horizontal_flip": False}
    clip = trained(still_colours(64, 640), CROP, 0, crop_scales=(1.0,), **settings)
    # The full height and a tenth of the width: 190 levels downwards, 19 to the right.
    red, green = clip[0, 0].astype(float), clip[0, 1].astype(float)
    assert (green[-1] - green[0]).mean() == pytest.approx(190, abs=8)
    assert (red[:, -1] - red[:, 0]).mean() == pytest.approx(19, abs=3)


def test_about_half_of_the_clips_are_mirrored_where_asked() -> None:
    pixels = still_colours()
    plain = evaluation_clip(frames_of(pixels), STRETCH).pixels
    mirrored = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        flipping = replace(PLAIN, horizontal_flip=True)
        clip = training_clip(frames_of(pixels), STRETCH, flipping, rng).pixels
        mirrored += np.array_equal(clip, plain[..., ::-1])
        assert np.array_equal(clip, plain) or np.array_equal(clip, plain[..., ::-1])
    # Six standard deviations of 60 throws.
    assert 7 <= mirrored <= 53


def test_mirroring_off_moves_no_other_draw() -> None:
    pixels = still_colours()
    for seed in range(6):
        flipped = trained(pixels, STRETCH, seed)
        straight = trained(pixels, STRETCH, seed, horizontal_flip=False)
        assert np.array_equal(flipped, straight) or np.array_equal(flipped, straight[..., ::-1])


def test_grey_clips_have_three_equal_channels() -> None:
    clip = trained(still_colours(), STRETCH, 0, grey_probability=1.0)
    spread = np.ptp(clip.astype(int), axis=1)
    # Rounding to whole levels.
    assert spread.max() <= 1
    assert clip.std() > 5


def test_hue_alone_keeps_the_brightest_channel_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "_LARGEST_CHANGES", (0.0, 0.0, 0.0))
    settings = {"horizontal_flip": False, "grey_probability": 0.0}
    pixels = still_colours()
    turned = trained(pixels, STRETCH, 1, crop_scales=(1.0,), **settings)
    plain = evaluation_clip(frames_of(pixels), STRETCH).pixels
    assert np.abs(turned.astype(int) - plain).max() > 3
    # In HSV the value is the largest channel; two roundings to whole levels.
    assert np.abs(turned.max(axis=1).astype(int) - plain.max(axis=1)).max() <= 2


def test_closeup_jitter_moves_the_crop_and_not_the_reported_box() -> None:
    frames = frames_of(with_square(textured_scene(), 60, 40))
    config = replace(STRETCH, closeup=True, num_frames=8)
    expected = evaluation_clip(frames, config)
    steady = training_clip(
        frames, config, replace(PLAIN, closeup_jitter=0.0), np.random.default_rng(0)
    )
    moved = training_clip(frames, config, PLAIN, np.random.default_rng(0))
    assert np.array_equal(steady.motion_crop, expected.motion_crop)
    assert not np.array_equal(moved.motion_crop, expected.motion_crop)
    assert moved.motion_box == steady.motion_box == expected.motion_box
