from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthetic.actions import ACTIONS, BY_NAME, LABELS
from synthetic.actors import KINDS
from synthetic.clips import (
    NUM_FRAMES,
    ClipPlan,
    Stage,
    clip_motion,
    draw_clip,
    plan_clip,
    stage_clip,
)

DIRECTED = [action for action in ACTIONS if action.direction]


def plan(kind: str, *labels: str, index: int = 0) -> ClipPlan:
    direction = next((BY_NAME[name].direction for name in labels if BY_NAME[name].direction), 1)
    return ClipPlan(0, index, kind, labels, facing=direction)


def part_angle(stage: Stage, role: str) -> np.ndarray:
    """(T,) radians in the picture, of the first part of a role: up is positive for both sides."""
    index = next(i for i, part in enumerate(stage.parts) if part.role == role)
    way = stage.ends[:, index] - stage.starts[:, index]
    return np.arctan2(way[:, 1], np.hypot(way[:, 0], way[:, 2]))


def num_turns(values: np.ndarray) -> int:
    """How often a curve turns between rising and falling."""
    steps = np.sign(np.diff(values))
    return int((steps[1:] != steps[:-1]).sum())


def lowest(stage: Stage) -> np.ndarray:
    """(T,) height of the lowest bearing point above the ground, in the picture's scale."""
    bearing = [i for i, part in enumerate(stage.parts) if part.stands]
    low = np.minimum(
        stage.starts[..., 1] - stage.radii[:, 0], stage.ends[..., 1] - stage.radii[:, 1]
    )
    return low[:, bearing].min(axis=1)


def test_a_clip_drawn_twice_is_the_same() -> None:
    first, second = draw_clip(plan_clip(3, 5), 48), draw_clip(plan_clip(3, 5), 48)

    assert first.shape == (NUM_FRAMES, 48, 48, 3)
    np.testing.assert_array_equal(first, second)
    assert (first != draw_clip(plan_clip(4, 5), 48)).mean() > 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [action.name for action in DIRECTED])
@pytest.mark.parametrize("is_backwards", [False, True])
def test_actor_moves_past_the_background_the_way_that_the_label_says(
    kind: str, label: str, is_backwards: bool
) -> None:
    clip = plan(kind, label)
    if is_backwards:
        clip = replace(clip, facing=-clip.facing, is_backwards=True)
    x = stage_clip(clip).starts[..., 0].mean(axis=1)

    assert (x[-1] - x[0]) * BY_NAME[label].direction > 0.15


@pytest.mark.parametrize("labels", [("lying down",), ("raising the tail",)])
def test_actor_without_direction_stays_in_its_place(labels: tuple[str, ...]) -> None:
    for kind in KINDS:
        anchor = stage_clip(plan(kind, *labels)).anchor
        np.testing.assert_array_equal(anchor, np.zeros_like(anchor))


def test_path_in_the_picture_does_not_tell_the_direction() -> None:
    for index in range(5):
        paths = []
        for label in ("running to the left", "running to the right", "nodding the head"):
            stage = stage_clip(plan("winged", label, index=index))
            paths.append(stage.camera.project(stage.anchor[:, None], 100)[:, 0, 0])
        np.testing.assert_allclose(paths[0], paths[2], atol=6)
        np.testing.assert_allclose(paths[1], paths[2], atol=6)


@pytest.mark.parametrize("kind", KINDS)
def test_head_goes_up_and_down_in_nodding_and_not_in_shaking(kind: str) -> None:
    spread = {}
    for label in ("nodding the head", "shaking the head", "wagging the tail"):
        angle = part_angle(stage_clip(plan(kind, label)), "head")
        spread[label] = np.ptp(angle)
        if label == "nodding the head":
            assert num_turns(angle) >= 2
            assert np.ptp(angle) > 1.0
    assert spread["shaking the head"] < 0.75 * spread["nodding the head"]
    assert spread["wagging the tail"] < 0.4 * spread["nodding the head"]


@pytest.mark.parametrize("kind", KINDS)
def test_head_turns_from_side_to_side_in_shaking(kind: str) -> None:
    stage = stage_clip(plan(kind, "shaking the head"))
    index = next(i for i, part in enumerate(stage.parts) if part.role == "head")
    way = stage.ends[:, index] - stage.starts[:, index]
    azimuth = np.arctan2(way[:, 2], way[:, 0])

    assert num_turns(azimuth) >= 2
    assert np.ptp(azimuth) > 1.8


@pytest.mark.parametrize("kind", KINDS)
def test_only_jumping_leaves_the_ground(kind: str) -> None:
    jump = lowest(stage_clip(plan(kind, "jumping to the right")))
    stand = lowest(stage_clip(plan(kind, "raising the head")))

    assert np.ptp(jump) > 0.12
    assert np.ptp(stand) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_lying_is_low_and_rearing_is_tall(kind: str) -> None:
    def top(label: str) -> float:
        stage = stage_clip(plan(kind, label))
        body = [i for i, part in enumerate(stage.parts) if part.role in ("body", "head")]
        return float(stage.ends[-1, body, 1].max())

    assert top("lying down") < 0.65 * top("waving a limb")
    assert top("rearing up") > 1.03 * top("waving a limb")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", ["waving a limb", "raising a limb"])
def test_limb_is_above_where_it_rests_and_swings_only_in_waving(kind: str, label: str) -> None:
    def tips(*labels: str) -> np.ndarray:
        stage = stage_clip(plan(kind, *labels))
        limbs = [i for i, part in enumerate(stage.parts) if part.role in ("limb", "feature")]
        return stage.ends[:, limbs, :2] - stage.anchor[:, None]

    moved = np.abs(tips(label)[-1, :, 1] - tips("raising the tail")[-1, :, 1]).max()
    late = tips(label)[NUM_FRAMES // 2 + 1 :]
    swing = np.ptp(late[..., 1], axis=0).max()

    assert moved > 0.08
    assert (swing > 0.1) == (label == "waving a limb")


@pytest.mark.parametrize("kind", KINDS)
def test_tail_wags_or_is_held(kind: str) -> None:
    wag = clip_motion(plan(kind, "wagging the tail"))
    held = clip_motion(plan(kind, "raising the tail"))

    assert num_turns(wag.tail_swing) >= 3
    assert np.ptp(wag.tail_swing) > 1.2
    assert held.tail_raise[-1] == 1
    assert np.ptp(held.tail_swing) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_every_action_moves_the_body_of_every_kind(kind: str) -> None:
    def tips(*labels: str) -> np.ndarray:
        stage = stage_clip(replace(plan(kind, *labels), facing=1))
        return stage.ends[..., :2] - np.array([1, 0]) * stage.anchor[:, None]

    still = tips()
    for label in LABELS:
        moved = np.hypot(*np.moveaxis(tips(label) - still, 2, 0))
        # A twentieth of the picture's width, which is 6 pixels of 128.
        assert moved.max() > 0.05, label


@pytest.mark.parametrize("label", ["lying down", "raising the head", "waving a limb"])
def test_action_changes_the_picture(label: str) -> None:
    still = draw_clip(plan("winged"), 48).astype(float)
    changed = np.abs(draw_clip(plan("winged", label), 48) - still).max(axis=3)

    assert (changed > 30).mean() > 0.005


def test_labels_match_the_channels_that_move() -> None:
    channels = {
        "head": ("head_pitch", "head_yaw"),
        "limb": ("limb_raise", "limb_swing"),
        "tail": ("tail_raise", "tail_swing"),
        "body": ("stride", "tuck", "rear", "lie", "turn"),
    }
    for index in range(60):
        clip = plan_clip(0, index)
        motion = clip_motion(clip)
        groups = {BY_NAME[name].group for name in clip.labels}
        for group, names in channels.items():
            largest = max(np.abs(getattr(motion, name)).max() for name in names)
            assert (largest > 0.4) == (group in groups), (index, group)


def test_actors_stay_in_the_picture() -> None:
    shares = []
    for index in range(80):
        stage = stage_clip(plan_clip(0, index))
        pixels = stage.camera.project(stage.ends[..., :2], 100)
        shares.append(((pixels > 0) & (pixels < 100)).all(axis=2).mean())

    assert np.mean(shares) > 0.97
    assert min(shares) > 0.75
