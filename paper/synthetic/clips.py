"""One clip: a pure function of the benchmark's seed and the clip's number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthetic.actions import (
    ACTIONS,
    BY_NAME,
    GROUPS,
    RIGHT,
    Motion,
    Style,
    idle,
    slide,
)
from synthetic.actors import KINDS, build, draw_shape
from synthetic.render import Capsules, Paint, draw_capsules
from synthetic.scene import Camera, draw_background, draw_camera, mean_luma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from synthetic.actions import Array
    from synthetic.skeleton import Part, Shape

NUM_FRAMES = 16
FRAMES_PER_SECOND = 8
DURATION_SECONDS = NUM_FRAMES / FRAMES_PER_SECOND

_SHARE_WITH_ACTION = {"body": 0.82, "head": 0.42, "limb": 0.32, "tail": 0.32}
_SHARE_BACKWARDS = 0.12
_SHARE_SLIDING = 0.35  # of the clips without an action of the body
_TALLER = 1.15  # a tall actor is drawn smaller, to leave room for what it raises
_HEADROOM = 0.09
# Streams of random numbers: what one of them draws never moves another.
_PLAN, _MOTION, _BODY, _SCENE, _CAMERA = range(5)


@dataclass(frozen=True)
class ClipPlan:
    """What one clip shows.

    Attributes:
        seed: Of the benchmark.
        index: Number of the clip.
        kind: Kind of actor.
        labels: Actions, in the order of `ACTIONS`.
        facing: 1 has the actor face right at first, -1 left.
        is_backwards: The actor moves away from where it faces.
        is_sliding: The actor passes the background without a gait.
    """

    seed: int
    index: int
    kind: str
    labels: tuple[str, ...]
    facing: int
    is_backwards: bool = False
    is_sliding: bool = False

    def rng(self, stream: int) -> np.random.Generator:
        """The clip's source of random numbers for one purpose."""
        return clip_rng(self.seed, self.index, stream)


def clip_rng(seed: int, index: int, stream: int) -> np.random.Generator:
    """A source of random numbers that depends on nothing else."""
    # Seeds that differ by zeros at the end only are one seed to numpy, hence the 1.
    return np.random.default_rng((seed, index, stream, 1))


def plan_clip(seed: int, index: int) -> ClipPlan:
    """Choose actor and actions; kinds take turns, actions are independent of them.

    Args:
        seed: of the benchmark, 0 or more.
        index: number of the clip, 0 or more.
    """
    rng = clip_rng(seed, index, _PLAN)
    chosen: list[str] = []
    while not chosen:
        for group in GROUPS:
            names = [action.name for action in ACTIONS if action.group == group]
            if rng.random() < _SHARE_WITH_ACTION[group]:
                chosen.append(names[rng.integers(len(names))])
    labels = tuple(action.name for action in ACTIONS if action.name in chosen)
    direction = next((BY_NAME[name].direction for name in labels if BY_NAME[name].direction), 0)
    has_body_action = any(BY_NAME[name].group == "body" for name in labels)
    is_backwards = bool(rng.random() < _SHARE_BACKWARDS) and direction != 0
    is_sliding = bool(rng.random() < _SHARE_SLIDING) and not has_body_action
    facing = direction if direction else (RIGHT if rng.random() < 0.5 else -RIGHT)
    facing = -facing if is_backwards else facing
    return ClipPlan(
        seed, index, KINDS[index % len(KINDS)], labels, facing, is_backwards, is_sliding
    )


def frame_seconds() -> Array:
    """(T,) times of the frames."""
    return np.arange(NUM_FRAMES) / FRAMES_PER_SECOND


def clip_motion(plan: ClipPlan) -> Motion:
    """The channels that the clip's actions give."""
    rng, seconds = plan.rng(_MOTION), frame_seconds()
    parts: list[Mapping[str, Array]] = [idle(seconds, rng), {"phase": np.full(len(seconds), 0.7)}]
    for name in plan.labels:
        parts.append(BY_NAME[name].move(seconds, Style.draw(rng, is_backwards=plan.is_backwards)))
    if plan.is_sliding:
        parts.append(slide(seconds, Style.draw(rng)))
    return Motion.add(parts, len(seconds))


@dataclass(frozen=True)
class Stage:
    """A clip's geometry: the actor in the world, and the camera.

    Attributes:
        parts: P capsules, as built.
        starts: (T, P, 3) world x, y and depth towards the camera.
        ends: (T, P, 3).
        radii: (P, 2) world units.
        anchor: (T, 2) world point on the ground under the actor.
        camera: Where each frame looks.
    """

    parts: tuple[Part, ...]
    starts: Array
    ends: Array
    radii: Array
    anchor: Array
    camera: Camera


def stage_clip(plan: ClipPlan) -> Stage:
    """Place the actor of a clip in the world, frame by frame."""
    motion, rng = clip_motion(plan), plan.rng(_BODY)
    shape = draw_shape(plan.kind, rng)
    parts = build(plan.kind, shape, motion, near=plan.facing)
    width, height = _standing_size(plan.kind, shape, plan.facing)
    scale = rng.uniform(0.66, 0.78) / max(width, _TALLER * height)
    heading = (0 if plan.facing == RIGHT else np.pi) + rng.uniform(-0.3, 0.3) + motion.turn
    elevation = rng.uniform(0.1, 0.35)
    middle = _middle(parts)
    anchor = np.stack([scale * motion.advance, np.zeros(NUM_FRAMES)], axis=1)
    ends = []
    for points in ([part.start for part in parts], [part.end for part in parts]):
        stacked = np.stack(points, axis=1) - middle  # (T, P, 3)
        stacked[..., 1] += motion.height[:, None]
        turned = scale * _look(stacked, heading, elevation)
        turned[..., 0] += anchor[:, :1]
        ends.append(turned)
    radii = scale * np.array([(part.start_radius, part.end_radius) for part in parts])
    followed = anchor + np.array([0, 0.5 * scale * height + _HEADROOM])
    camera = draw_camera(followed, frame_seconds(), plan.rng(_CAMERA))
    return Stage(tuple(parts), ends[0], ends[1], radii, anchor, camera)


def _middle(parts: list[Part]) -> Array:
    """The point of the ground that the actor turns about: (3,), its middle over the whole clip."""
    x = np.concatenate([part.start[:, 0] for part in parts if part.role == "body"])
    return np.array([(x.min() + x.max()) / 2, 0.0, 0.0])


def _standing_size(kind: str, shape: Shape, facing: int) -> tuple[float, float]:
    """Width and height of the actor at rest."""
    still = Motion.add([], 1)
    corners = [
        np.concatenate([point - radius, point + radius])[:, :2]
        for part in build(kind, shape, still, near=facing)
        for point, radius in ((part.start, part.start_radius), (part.end, part.end_radius))
    ]
    points = np.concatenate(corners)
    width, height = points.max(axis=0) - points.min(axis=0)
    return float(width), float(height)


def _look(points: Array, heading: Array, elevation: float) -> Array:
    """Turn (T, P, 3) points of the body to what a camera sees that looks slightly down."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    x = cos * points[..., 0] + sin * points[..., 2]
    depth = -sin * points[..., 0] + cos * points[..., 2]
    y = np.cos(elevation) * points[..., 1] - np.sin(elevation) * depth
    return np.stack([x, y, depth], axis=-1)


def draw_clip(plan: ClipPlan, size: int = 128) -> NDArray[np.uint8]:
    """Draw all frames of a clip.

    Args:
        plan: what to draw.
        size: width and height in pixels.

    Returns:
        (T, size, size, 3) uint8 RGB.
    """
    stage, rng = stage_clip(plan), plan.rng(_SCENE)
    x = stage.camera.centre[:, 0]
    background = draw_background(float(x.min()) - 0.7, float(x.max()) + 0.7, size, rng)
    paints = _draw_paints(stage, size, mean_luma(background), rng)
    camera = stage.camera
    starts = camera.project(stage.starts[..., :2], size)
    ends = camera.project(stage.ends[..., :2], size)
    shadow = camera.project(stage.anchor[:, None], size)[:, 0]
    frames = np.empty((NUM_FRAMES, size, size, 3), np.uint8)
    for frame in range(NUM_FRAMES):
        image = background.view(camera, frame, size)
        half_width = _half_width(stage, frame) * size
        _shade_ground(image, shadow[frame], half_width)
        depth = (stage.starts[frame, :, 2] + stage.ends[frame, :, 2]) / 2
        order = np.argsort(depth, kind="stable")
        radii = stage.radii[order] * (size * camera.zoom[frame])
        capsules = Capsules(
            starts[frame, order],
            ends[frame, order],
            radii[:, 0],
            radii[:, 1],
            tuple(paints[index] for index in order),
            np.clip(0.92 + 2.0 * depth[order], 0.7, 1.05),
        )
        draw_capsules(image, capsules)
        frames[frame] = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    return frames


def _half_width(stage: Stage, frame: int) -> float:
    x = stage.starts[frame, :, 0] - stage.anchor[frame, 0]
    return float(np.clip(np.abs(x).max(), 0.08, 0.3))


def _shade_ground(image: NDArray[np.float32], centre: Array, half_width: float) -> None:
    """A soft shadow, which stays on the ground when the actor leaves it."""
    grid = np.arange(image.shape[0]) + 0.5
    distance = np.hypot(
        (grid[None, :] - centre[0]) / half_width, (grid[:, None] - centre[1]) / (0.16 * half_width)
    )
    image *= (1 - 0.4 * np.clip(1.2 - distance, 0, 1))[..., None].astype(np.float32)


def _contrasting(colour: Array, rng: np.random.Generator) -> Array:
    step = 0.3 if colour.mean() < 0.5 else -0.3
    return np.clip(colour + step + rng.uniform(-0.25, 0.25, 3), 0.03, 1)


def _draw_paints(
    stage: Stage, size: int, backdrop_luma: float, rng: np.random.Generator
) -> tuple[Paint, ...]:
    """One paint a part, by role; the actor is lighter or darker than the backdrop."""
    luma = backdrop_luma + 0.38 if backdrop_luma < 0.5 else backdrop_luma - 0.38
    tint = rng.uniform(-0.35, 0.35, 3)
    body = np.clip(luma + tint - tint.mean(), 0.04, 1)
    pattern = ("plain", "stripes", "spots")[rng.integers(3)]
    contrast, pixels = rng.uniform(0.15, 0.45), size * rng.uniform(0.05, 0.12)
    sign = 1 if body.mean() < 0.5 else -1
    colours = {
        "body": body,
        "limb": np.clip(body + 0.12 * sign + rng.uniform(-0.08, 0.08, 3), 0.03, 1),
        "head": np.clip(body * rng.uniform(0.9, 1.15) + rng.uniform(-0.1, 0.1, 3), 0.03, 1),
        "feature": _contrasting(body, rng),
        "eye": np.full(3, 0.97 if body.mean() < 0.35 else 0.03),
    }
    paints = {
        role: Paint(
            colour.astype(np.float32),
            pattern if role in ("body", "limb") else "plain",
            contrast,
            pixels,
        )
        for role, colour in colours.items()
    }
    return tuple(paints[part.role] for part in stage.parts)
