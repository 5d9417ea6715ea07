from __future__ import annotations

import numpy as np
import pytest
import torch

from msqnet.clips import WHOLE_FRAME, Box, Frames
from msqnet.config import ClipConfig
from msqnet.errors import ShapeError
from msqnet.explain.heat_maps import (
    HeatMaps,
    aligned,
    frames_from_steps,
    grid_of,
    in_frame,
    seen_box,
    stretched,
)
from msqnet.model.video_encoders.encoder import FrameSpan
from msqnet.video.transforms import evaluation_clip


def maps(values: list[float], scores: tuple[float, ...] = (0.5,)) -> HeatMaps:
    """One label, frames at 0, 1, 2, ... s, each map of one value."""
    heat = np.array(values, np.float32)[None, :, None, None]
    times = np.arange(len(values), dtype=np.float64)
    return HeatMaps(("walk",), heat, times, np.array(scores, np.float32))


def test_a_look_at_the_whole_frame_keeps_its_places() -> None:
    looks = torch.zeros(1, 1, 1, 2, 4)
    looks[..., 1, 3] = 1.0
    placed = in_frame(looks, [WHOLE_FRAME], 2, 4)
    assert placed[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 8]]  # density: 1 on an eighth


def test_a_look_at_a_part_lies_on_that_part_only_and_is_denser_there() -> None:
    looks = torch.full((1, 1, 3, 2, 2), 0.25)  # 1 in all, in each of 3 frames
    placed = in_frame(looks, [Box(0.5, 0.0, 1.0, 0.5)], 8, 8)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4, 4:] = True
    for frame in placed[0]:
        assert (frame[~inside] == 0).all()
        torch.testing.assert_close(frame[inside], torch.full((16,), 4.0))  # 1 on a quarter
        assert frame.mean() == pytest.approx(1.0)


def test_looks_add_up() -> None:
    looks = torch.rand(2, 2, 3, 4, 4)
    boxes = [WHOLE_FRAME, Box(0.2, 0.1, 0.7, 0.6)]
    together = in_frame(looks, boxes, 9, 16)
    apart = [in_frame(looks[:, [look]], [boxes[look]], 9, 16) for look in range(2)]
    torch.testing.assert_close(together, apart[0] + apart[1])
    with pytest.raises(ShapeError, match="2 looks with 1 boxes"):
        in_frame(looks, boxes[:1], 9, 16)


@pytest.mark.parametrize(("width", "height"), [(96, 48), (48, 96), (64, 64)])
def test_the_seen_part_is_what_the_transform_cuts(width: int, height: int) -> None:
    config = ClipConfig(
        num_frames=1, size_pixels=32, short_side_pixels=48, decode_short_side_pixels=48
    )
    # Each pixel says where it is.
    x = torch.arange(width).expand(height, width) * 255 // (width - 1)
    y = torch.arange(height)[:, None].expand(height, width) * 255 // (height - 1)
    pixels = torch.stack([x, y, x]).to(torch.uint8)[None]
    frames = Frames(pixels, torch.zeros(1, dtype=torch.float64))
    seen = evaluation_clip(frames, config).pixels[0].float() / 255  # (3, 32, 32)
    box = seen_box(width, height, config)
    found = [seen[0, 0, 0], seen[1, 0, 0], seen[0, 0, -1], seen[1, -1, 0]]
    expected = [box.left, box.top, box.right, box.bottom]
    # Edge pixels have their centres half a pixel inside.
    np.testing.assert_allclose(np.array(found), expected, atol=1.5 / min(width, height))
    whole = ClipConfig(resize="stretch")
    assert seen_box(width, height, whole) == WHOLE_FRAME


def test_grid_keeps_the_aspect_of_the_frame() -> None:
    assert grid_of(1280, 720) == (36, 64)
    assert grid_of(240, 320) == (64, 48)
    assert grid_of(1000, 1) == (1, 64)


def test_a_tubelet_shares_its_relevance_among_its_frames() -> None:
    looks = torch.tensor([2.0, 6.0]).view(1, 1, 2, 1, 1)
    spans = (None, FrameSpan(0, 2), FrameSpan(2, 4))
    frames = frames_from_steps(looks, spans, 4)
    assert frames.flatten().tolist() == [1, 1, 3, 3]


def test_items_of_two_looks_at_the_same_frames_are_one_step() -> None:
    looks = torch.arange(4.0).view(1, 2, 2, 1, 1)
    frames = tuple(FrameSpan(index, index + 1) for index in range(2))
    assert torch.equal(frames_from_steps(looks, (None, *frames, *frames), 2), looks)


def test_maps_fade_from_frame_to_frame_and_hold_at_both_ends() -> None:
    heat = maps([0.0, 1.0, 0.5])
    found = [float(heat.at(time)[0, 0, 0]) for time in (-1, 0, 0.25, 1, 1.5, 9)]
    assert found == pytest.approx([0, 0, 0.25, 1, 0.75, 0.5])


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"HeatMaps.maps: found \(1, 2, 1, 1\)"):
        HeatMaps(("a",), np.zeros((1, 2, 1, 1), np.float32), np.zeros(3), np.zeros(1, np.float32))
    with pytest.raises(ShapeError, match=r"HeatMaps.scores: found \(2,\)"):
        maps([0.0], scores=(0.1, 0.2))


def test_maps_are_stretched_over_what_was_seen_of_each_label() -> None:
    density = np.array([[[[0, 2, 3]], [[4, 2, 0]]], [[[5, 5, 5]], [[5, 5, 5]]]], np.float32)
    found = stretched(density)  # 0 is what was not seen
    assert found[0].tolist() == [[[0, 0, 0.5]], [[1, 0, 0]]]
    assert (found[1] == 0).all()


def test_maps_of_a_model_with_other_frames_and_cells_are_put_on_those_of_the_first() -> None:
    few = maps([0.0, 1.0])  # at 0 and 1 s, one cell
    heat = np.zeros((1, 3, 2, 4), np.float32)
    many = HeatMaps(("walk",), heat, np.array([0, 0.5, 1.0]), np.array([0.2], np.float32))
    found = aligned(few, many)
    assert found.maps.shape == many.maps.shape
    assert found.maps[0, :, 0, 0].tolist() == [0, 0.5, 1]
    assert found.scores == few.scores
